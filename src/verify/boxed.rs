use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use sync_wrapper::SyncWrapper;

use super::{
    request::{CacheLookup, VerifyRequest},
    verifier::{Outcome, Verifier, Verifying},
};

/// The boxed future of a verification.
///
/// It exists only if the verification takes time, and then one more allocation does not matter.
#[must_use = "a verification does nothing unless polled"]
pub struct BoxFuture(SyncWrapper<Pin<Box<dyn Future<Output = Outcome> + Send>>>);

impl BoxFuture {
    pub(crate) fn new(future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self(SyncWrapper::new(Box::pin(future)))
    }
}

impl Future for BoxFuture {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.get_mut().as_mut().poll(cx)
    }
}

impl fmt::Debug for BoxFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxFuture").finish_non_exhaustive()
    }
}

/// A [`Verifier`] whose type is erased.
///
/// An outcome that the inner verifier has at once is still returned at once, without an allocation;
/// only a future is boxed. Clones share the inner verifier.
///
/// ```
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     verify::{BoxVerifier, verify_fn},
/// };
///
/// let closed = verify_fn(async |_| Err(VerifyError::new(ErrorKind::Inactive)));
/// let verifier: BoxVerifier = BoxVerifier::new(closed);
/// # let _ = verifier;
/// ```
#[derive(Clone)]
pub struct BoxVerifier(Arc<dyn ErasedVerifier>);

impl BoxVerifier {
    /// Creates a boxed verifier from `verifier`.
    #[must_use]
    pub fn new<V>(verifier: V) -> Self
    where
        V: Verifier + Send + Sync + 'static,
        V::Future: Send + 'static,
    {
        Self(Arc::new(verifier))
    }
}

impl Verifier for BoxVerifier {
    type Future = BoxFuture;

    fn verify(&self, request: VerifyRequest) -> Verifying<BoxFuture> {
        self.0.verify_erased(request)
    }

    fn cached(&self, request: &CacheLookup<'_>) -> Option<Outcome> {
        self.0.cached_erased(request)
    }
}

impl fmt::Debug for BoxVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxVerifier").finish_non_exhaustive()
    }
}

trait ErasedVerifier: Send + Sync {
    fn verify_erased(&self, request: VerifyRequest) -> Verifying<BoxFuture>;
    fn cached_erased(&self, request: &CacheLookup<'_>) -> Option<Outcome>;
}

impl<V> ErasedVerifier for V
where
    V: Verifier + Send + Sync,
    V::Future: Send + 'static,
{
    fn verify_erased(&self, request: VerifyRequest) -> Verifying<BoxFuture> {
        self.verify(request).map_future(BoxFuture::new)
    }

    fn cached_erased(&self, request: &CacheLookup<'_>) -> Option<Outcome> {
        self.cached(request)
    }
}

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use super::{
    request::{RecallRequest, VerifyRequest},
    verifier::{Outcome, Verifier, Verifying},
};

pub(crate) type BoxFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

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
pub struct BoxVerifier(Arc<dyn Erased>);

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

    fn recall(&self, request: &RecallRequest<'_>) -> Option<Outcome> {
        self.0.recall_erased(request)
    }
}

impl fmt::Debug for BoxVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxVerifier").finish_non_exhaustive()
    }
}

trait Erased: Send + Sync {
    fn verify_erased(&self, request: VerifyRequest) -> Verifying<BoxFuture>;
    fn recall_erased(&self, request: &RecallRequest<'_>) -> Option<Outcome>;
}

impl<V> Erased for V
where
    V: Verifier + Send + Sync,
    V::Future: Send + 'static,
{
    fn verify_erased(&self, request: VerifyRequest) -> Verifying<BoxFuture> {
        self.verify(request).map_future(|future| Box::pin(future) as BoxFuture)
    }

    fn recall_erased(&self, request: &RecallRequest<'_>) -> Option<Outcome> {
        self.recall(request)
    }
}

use crate::{
    error::kind::ErrorKind,
    verify::{
        active::Method,
        boxed::{BoxFuture, BoxVerifier},
        request::VerifyRequest,
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// A verifier that falls back to a second one while the first is unavailable.
///
/// Use it for JWTs whose keys can't be fetched, or can't be used, while introspection still works.
/// Only [`Unavailable`](ErrorKind::Unavailable), [`UnusableKey`](ErrorKind::UnusableKey) and
/// [`UntriedKeys`](ErrorKind::UntriedKeys) lead to the second verifier; a token that the first refuses
/// stays refused. If the second is unavailable, or does not introspect JWTs, the outcome is that of
/// the first. A token admitted by the second has [`Method::Fallback`].
///
/// # Cancellation
///
/// Dropping the future drops the verification that is under way.
///
/// ```
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::Token,
///     route::Fallback,
///     verify::{BoxVerifier, Verifier, VerifyRequest, verify_fn},
/// };
///
/// let down = BoxVerifier::new(verify_fn(async |_| Err(VerifyError::new(ErrorKind::Unavailable))));
/// let remote = BoxVerifier::new(verify_fn(async |_| Err(VerifyError::new(ErrorKind::Inactive))));
/// let verifier = Fallback::new(down, remote);
/// # tokio_test::block_on(async {
/// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
/// assert_eq!(verifier.verify(request).await.unwrap_err().kind(), ErrorKind::Inactive);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Fallback {
    first: BoxVerifier,
    second: BoxVerifier,
}

impl Fallback {
    /// Creates a verifier that calls `first`, and `second` if `first` is unavailable.
    #[must_use]
    pub const fn new(first: BoxVerifier, second: BoxVerifier) -> Self {
        Self { first, second }
    }
}

impl Verifier for Fallback {
    type Future = BoxFuture;

    fn verify(&self, request: VerifyRequest) -> Verifying<BoxFuture> {
        let second_request = request.clone();
        match self.first.verify(request).now_or_later() {
            Ok(outcome) if !is_undecided(&outcome) => Verifying::done(outcome),
            Ok(outcome) => {
                let second = self.second.clone();
                Verifying::pending(BoxFuture::new(fall_back(outcome, second, second_request)))
            }
            Err(first) => {
                let second = self.second.clone();
                Verifying::pending(BoxFuture::new(async move {
                    let outcome = first.await;
                    if is_undecided(&outcome) {
                        return fall_back(outcome, second, second_request).await;
                    }
                    outcome
                }))
            }
        }
    }
}

/// Returns true if the verifier had no key for the token, which is not the client's fault.
fn is_undecided(outcome: &Outcome) -> bool {
    let undecided = |kind| {
        matches!(kind, ErrorKind::Unavailable | ErrorKind::UnusableKey | ErrorKind::UntriedKeys)
    };
    outcome.as_ref().is_err_and(|error| undecided(error.kind()))
}

fn is_unavailable(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable)
}

fn is_not_introspectable(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotIntrospectable)
}

async fn fall_back(first: Outcome, second: BoxVerifier, request: VerifyRequest) -> Outcome {
    match second.verify(request).await {
        Ok(active) => Ok(active.with_method(Method::Fallback)),
        // Neither verifier can decide, so the error of the first, which should have, is kept.
        second if is_unavailable(&second) || is_not_introspectable(&second) => first,
        second => second,
    }
}

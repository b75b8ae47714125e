use crate::error::kind::ErrorKind;
use crate::verify::{
    Outcome, Verifier, Verifying,
    active::Method,
    boxed::{BoxFuture, BoxVerifier},
    request::VerifyRequest,
};

/// Asks a second verifier where the first can't tell for want of its authorization server.
///
/// For JWTs whose keys can't be had while introspection still works. Only
/// [`Unavailable`](ErrorKind::Unavailable) leads to the second verifier: what the first refuses
/// stays refused. Where the second can't tell either, because its server is down or does not
/// introspect JWTs, it stays unavailable. A token admitted this way says so ([`Method::Fallback`]).
///
/// ```
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::Token,
///     verify::{BoxVerifier, Fallback, Verifier, VerifyRequest, verify_fn},
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
    /// Asks `first`, and `second` where that is unavailable.
    #[must_use]
    pub const fn new(first: BoxVerifier, second: BoxVerifier) -> Self {
        Self { first, second }
    }
}

impl Verifier for Fallback {
    type Future = BoxFuture;

    fn verify(&self, request: VerifyRequest) -> Verifying<BoxFuture> {
        let again = request.clone();
        match self.first.verify(request).now_or_later() {
            Ok(outcome) if !is_unavailable(&outcome) => Verifying::done(outcome),
            Ok(outcome) => {
                let second = self.second.clone();
                Verifying::pending(Box::pin(fall_back(outcome, second, again)))
            }
            Err(first) => {
                let second = self.second.clone();
                Verifying::pending(Box::pin(async move {
                    let outcome = first.await;
                    if is_unavailable(&outcome) {
                        return fall_back(outcome, second, again).await;
                    }
                    outcome
                }))
            }
        }
    }
}

fn is_unavailable(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable)
}

fn is_not_introspectable(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotIntrospectable)
}

async fn fall_back(first: Outcome, second: BoxVerifier, request: VerifyRequest) -> Outcome {
    match second.verify(request).await {
        Ok(active) => Ok(active.by(Method::Fallback)),
        // Neither can tell: the first is the one that should have answered.
        second if is_unavailable(&second) || is_not_introspectable(&second) => first,
        second => second,
    }
}

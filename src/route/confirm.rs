use std::{borrow::Cow, time::Duration};

use crate::{
    claims::{claims_set::Claims, token_type::check_token_type},
    error::{kind::ErrorKind, refusal::VerifyError},
    verify::{
        active::{ActiveToken, Method},
        boxed::{BoxFuture, BoxVerifier},
        request::{Freshness, VerifyRequest},
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// A verifier that lets a second verifier confirm the tokens that a first, cheaper one accepts.
///
/// Use it for JWTs that must still be active. The signature is checked first, so that forged tokens
/// cost the authorization server nothing. Then introspection confirms that the token is active,
/// with an outcome at most `max_age` old. The claims are those of the JWT, narrowed to what the
/// introspection response allows, and those that only the response has; the scope is what both
/// grant, or that of the one that names any. Their age is that of the confirmation
/// ([`Method::Confirmed`]). If the two disagree about the subject, the client, the token or its key, the outcome is
/// [`BadResponse`](ErrorKind::BadResponse). If the server does not introspect its JWTs, every JWT
/// is refused as [`Misconfigured`](ErrorKind::Misconfigured).
///
/// # Cancellation
///
/// Dropping the future drops the verification that is under way.
///
/// ```
/// use std::time::Duration;
/// use tower_introspect::{
///     ErrorKind, VerifyError,
///     credentials::Token,
///     route::Confirm,
///     verify::{BoxVerifier, Verifier, VerifyRequest, verify_fn},
/// };
///
/// let forged = BoxVerifier::new(verify_fn(async |_| Err(VerifyError::new(ErrorKind::BadSignature))));
/// let remote = BoxVerifier::new(verify_fn(async |_| unreachable!("introspection of a forged token")));
/// let verifier = Confirm::new(forged, remote, Duration::from_secs(10));
/// # tokio_test::block_on(async {
/// let request = VerifyRequest::new(Token::bearer("abc").unwrap());
/// assert_eq!(verifier.verify(request).await.unwrap_err().kind(), ErrorKind::BadSignature);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Confirm {
    local: BoxVerifier,
    remote: BoxVerifier,
    max_age: Duration,
}

impl Confirm {
    /// Creates a verifier in which `remote` confirms the tokens that `local` accepts.
    #[must_use]
    pub const fn new(local: BoxVerifier, remote: BoxVerifier, max_age: Duration) -> Self {
        Self { local, remote, max_age }
    }
}

impl Verifier for Confirm {
    type Future = BoxFuture;

    fn verify(&self, request: VerifyRequest) -> Verifying<BoxFuture> {
        let freshness = request.freshness().capped(self.max_age);
        let confirmation = request.clone().with_freshness(freshness);
        // A signature check has no age; the freshness applies to the confirmation.
        let local = self.local.verify(request.with_freshness(Freshness::Cached));
        match local.now_or_later() {
            Ok(Err(refused)) => Verifying::done(Err(refused)),
            Ok(Ok(local)) => match self.remote.verify(confirmation).now_or_later() {
                Ok(remote) => Verifying::done(combine(&local, remote)),
                Err(remote) => {
                    Verifying::pending(BoxFuture::new(async move { combine(&local, remote.await) }))
                }
            },
            Err(local) => {
                let remote = self.remote.clone();
                Verifying::pending(BoxFuture::new(async move {
                    let local = local.await?;
                    combine(&local, remote.verify(confirmation).await)
                }))
            }
        }
    }
}

/// Returns the claims of the JWT, narrowed to what the introspection response still allows, with the
/// members that only the response has.
fn combine(local: &ActiveToken, remote: Outcome) -> Outcome {
    let remote = remote.map_err(|error| match error.kind() {
        // The token is good. This service is misconfigured: it requests an introspection that the
        // server does not support.
        ErrorKind::NotIntrospectable => VerifyError::new(ErrorKind::Misconfigured)
            .with_context("the authorization server does not introspect its JWTs"),
        _ => error,
    })?;
    let (signed, confirmed) = (local.claims(), remote.claims());
    let differs = |read: fn(&Claims) -> Option<Cow<'_, str>>| match (read(signed), read(confirmed))
    {
        (Some(signed), Some(confirmed)) => signed != confirmed,
        _ => false,
    };
    let rebound = signed.confirmation().is_some()
        && confirmed.confirmation().is_some_and(|key| Some(key) != signed.confirmation());
    let other = differs(|claims| claims.subject().map(Cow::Borrowed))
        || differs(Claims::client_id)
        || differs(Claims::jwt_id);
    if local.issuer() != remote.issuer() || other || rebound {
        return Err(VerifyError::new(ErrorKind::BadResponse)
            .with_context("the introspection response is about another token"));
    }
    let claims = signed.confirmed_by(confirmed);
    // The key of either: the response may call the token bound and leave the key to the JWT.
    check_token_type(confirmed, claims.confirmation())
        .map_err(|why| VerifyError::new(ErrorKind::UnprovenPossession).with_context(why))?;
    let confirmed = local.with_claims(claims, Method::Confirmed, remote.verified_at());
    Ok(if remote.is_stale() { confirmed.as_stale() } else { confirmed })
}

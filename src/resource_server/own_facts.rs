//! The verifier of a custom issuer.

use std::sync::Arc;

use crate::{
    error::{kind::ErrorKind, refusal::VerifyError},
    verify::{
        active::ActiveToken,
        boxed::{BoxFuture, BoxVerifier},
        request::VerifyRequest,
        verifier::{Outcome, Verifier, Verifying},
    },
};

/// A verifier that refuses the facts of another one unless they are of its issuer.
///
/// Cutoffs, requirements and handlers rely on the issuer of the facts. A verifier of the application
/// that got it wrong could vouch for the tokens of another issuer.
#[derive(Clone)]
pub(super) struct OwnFacts {
    issuer: Arc<str>,
    inner: BoxVerifier,
}

impl OwnFacts {
    pub(super) fn new(issuer: &str, inner: BoxVerifier) -> Self {
        Self { issuer: issuer.into(), inner }
    }
}

impl Verifier for OwnFacts {
    type Future = BoxFuture;

    fn verify(&self, request: VerifyRequest) -> Verifying<BoxFuture> {
        match self.inner.verify(request).now_or_later() {
            Ok(outcome) => Verifying::done(check(&self.issuer, outcome)),
            Err(future) => {
                let issuer = Arc::clone(&self.issuer);
                let checked = async move { check(&issuer, future.await) };
                Verifying::pending(BoxFuture::new(checked))
            }
        }
    }
}

fn check(issuer: &str, outcome: Outcome) -> Outcome {
    let active = outcome?;
    if is_of(issuer, &active) {
        return Ok(active);
    }
    Err(VerifyError::new(ErrorKind::WrongIssuer)
        .with_context("a custom verifier vouched for the token of another issuer"))
}

/// Returns true if both the facts and their claim `iss`, if there is one, name the issuer.
fn is_of(issuer: &str, active: &ActiveToken) -> bool {
    let claims = active.claims();
    let claims_it = claims.raw("iss").is_none() || claims.issuer() == Some(issuer);
    active.issuer() == issuer && claims_it
}

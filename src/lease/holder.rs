//! The user, the client and the key that a stream belongs to.

use crate::{
    claims::{claims_set::Claims, confirmation::Confirmation},
    error::{kind::ErrorKind, refusal::VerifyError},
    verify::active::ActiveToken,
};

/// Refuses facts about another user, client or key than those of a stream.
pub(super) fn check_same_holder(
    before: &ActiveToken,
    now: &ActiveToken,
) -> Result<(), VerifyError> {
    let denied = |context| Err(VerifyError::new(ErrorKind::Denied).with_context(context));
    let (old, new) = (before.claims(), now.claims());
    if before.issuer() != now.issuer() {
        return denied("the token is of another issuer than the stream");
    }
    if old.subject() != new.subject() {
        return denied("the token is of another subject than the stream");
    }
    if old.client_id() != new.client_id() {
        return denied("the token is of another client than the stream");
    }
    if binding(old) != binding(new) {
        return Err(VerifyError::new(ErrorKind::UnprovenPossession)
            .with_context("the token is bound to another key than the stream"));
    }
    Ok(())
}

/// Returns the key that a token is bound to, and whether it says so.
fn binding(claims: &Claims) -> (bool, Option<&Confirmation>) {
    (claims.raw("cnf").is_some(), claims.confirmation())
}

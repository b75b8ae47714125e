//! The type of a token in an introspection response (RFC 7662 §2.2).

use super::{claims_set::Claims, confirmation::Confirmation};

/// Checks the `token_type` of an introspection response against the key that the token is bound to.
/// Returns the reason if they contradict each other.
///
/// RFC 9449 §6.2: the type of a token that is bound by DPoP is `DPoP`, if the response names one. A
/// server that calls it a bearer token lets others accept it without a proof, or has mixed up two
/// tokens.
pub(crate) fn check_token_type(
    response: &Claims,
    key: Option<&Confirmation>,
) -> Result<(), &'static str> {
    let has_key = key.is_some_and(|key| key.jkt().is_some());
    let has_type = response.raw("token_type").is_some();
    match (response.declares_dpop(), has_key) {
        (true, false) => Err("the server names no key for a DPoP-bound token"),
        (false, true) if has_type => Err("the server calls a DPoP-bound token another type"),
        _ => Ok(()),
    }
}

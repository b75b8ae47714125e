//! Advises the operator about good tokens that a policy or a requirement refuses.

use super::verified_token::VerifiedToken;
use crate::{
    claims::{
        claims_set::Claims,
        own_names::{OF_GRANTS, OF_KIND, present},
    },
    error::{kind::ErrorKind, refusal::VerifyError},
    telemetry::advice::{
        SEND_ACCESS_TOKEN, WrongKind, no_scope, wants_no_scope, wants_wrong_kind, wrong_kind,
    },
    verify::active::{ActiveToken, Method},
};

/// Reports a token that FAPI 2.0 does not allow for its type.
pub(super) fn tell_untyped(active: &ActiveToken, refused: ErrorKind) {
    let setting = "have the issuer set `typ` to at+jwt, as FAPI 2.0 needs it";
    tell_kind(active, refused, "`typ` at+jwt", setting);
}

/// Reports a token whose claims say that it is a refresh token.
pub(super) fn tell_refresh(active: &ActiveToken, refused: ErrorKind) {
    tell_kind(active, refused, "an access token", SEND_ACCESS_TOKEN);
}

fn tell_kind(
    active: &ActiveToken,
    refused: ErrorKind,
    wanted: &'static str,
    setting: &'static str,
) {
    let (ErrorKind::WrongTokenKind(kind), issuer) = (refused, active.issuer()) else { return };
    if wants_wrong_kind(issuer, kind) {
        let claims = &present(&OF_KIND, active.claims().members());
        wrong_kind(WrongKind { issuer, kind, typ: None, claims, wanted, setting });
    }
}

/// Reports a token without any scope, if `error` refuses it for lack of scope.
pub(super) fn tell_no_scope(token: &VerifiedToken, error: &VerifyError) {
    let lacks_all = error.kind() == ErrorKind::InsufficientScope && token.scope().is_empty();
    if lacks_all && wants_no_scope(token.issuer()) {
        let claims = token.claims();
        let names = present(&OF_GRANTS, claims.members());
        no_scope(token.issuer(), &names, claims.scope_claim(), setting(token.method(), claims));
    }
}

fn setting(method: Method, claims: &Claims) -> &'static str {
    let has = |name: &&str| claims.raw(name).is_some_and(|value| value.len() > 2);
    if method == Method::Custom {
        "the claims that the verifier returns"
    } else if OF_GRANTS.iter().skip(2).any(has) {
        "`scope_claim`, if one of these claims holds the scope; for roles and groups require the \
         claim instead, with `Requirement::claim_contains`"
    } else if has(&"scope") || has(&"scp") {
        "have the issuer write the scope as text, or as an array of texts with `Profile::Generic`; \
         a `scope_claim` is the only claim that is read"
    } else {
        "have the issuer grant a scope, and the client request it; `scope_claim` reads it from a \
         claim of another name"
    }
}

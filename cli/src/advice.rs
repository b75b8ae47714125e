//! What to change, for each kind of refusal.

use tower_introspect::{Blame, ErrorKind, TokenKind};

/// Who has to act.
pub(crate) const fn party(blame: Blame) -> &'static str {
    match blame {
        Blame::AuthorizationServer => "the authorization server",
        Blame::Client => "the client",
        Blame::ResourceServer => "this service",
        _ => "not known",
    }
}

/// What to change, the likeliest first. `looks` is what the token looks like, a [`Kind`]'s code.
///
/// [`Kind`]: crate::token::Kind
pub(crate) fn on(kind: ErrorKind, looks: &str) -> &'static [&'static str] {
    use ErrorKind as K;
    let other = matches!(kind, K::WrongTokenKind(_) | K::WrongAudience);
    match looks {
        "id_token" if other => return on(K::WrongTokenKind(TokenKind::Id), ""),
        "refresh_token" if other => return on(K::WrongTokenKind(TokenKind::Refresh), ""),
        "opaque" if kind == K::MalformedToken => {
            return &[
                "Its issuer is set to verify JWTs alone, and this is none: set mode `hybrid` or \
                 `introspect`.",
                "Or have the authorization server issue JWTs to this client.",
            ];
        }
        _ => {}
    }
    match kind {
        K::MissingCredentials => &[
            "Send `Authorization: Bearer TOKEN`.",
            "If the client does: look what arrives here; a proxy or a redirect may drop the header.",
        ],
        K::UnsupportedScheme => &["Send the token under the scheme `Bearer`."],
        K::MalformedCredentials => {
            &["Send `Bearer`, one space and the token: no quotes, line breaks or percent-encoding."]
        }
        K::RepeatedCredentials => {
            &["Send the token once, in one place: a proxy may add a header of its own."]
        }
        K::TokenTooLong => &[
            "Have the authorization server put less into it: groups and roles are what grows.",
            "Or raise the limit of the extractor, and those of the proxies in front.",
        ],
        K::MalformedToken => {
            &["Compare it with what the authorization server issued: it may be cut or changed. \
             `introspect decode` shows how far it can be read."]
        }
        K::UnsupportedToken => {
            &["Have the authorization server issue signed tokens, not encrypted or nested ones."]
        }
        K::UnsupportedAlgorithm => &[
            "Have the authorization server sign with an algorithm that is allowed here.",
            "Or allow it: `algorithms` of the issuer. Never because a token asks for it.",
            "If the algorithm is allowed, the key of that name is one of another: the wrong key set?",
        ],
        K::UnsupportedExtension => &["Have the authorization server leave `crit` and `b64` out."],
        K::UnknownKey => &[
            "The key was probably rotated: get a new token.",
            "If new tokens fail too, the authorization server signs with a key that it does not \
             publish, or the keys come from another place than the tokens.",
        ],
        K::BadSignature => &[
            "Get a new token: this one was changed, or its key was replaced under the same name.",
            "If new tokens fail too, the keys are not those of the server that issued it: another \
             environment, another tenant?",
        ],
        K::UnknownIssuer => &[
            "If it is to be trusted, add it to the configuration exactly as `iss` has it.",
            "If not, the client uses the wrong authorization server: another environment or tenant?",
        ],
        K::WrongIssuer => &[
            "Compare what was seen and wanted letter by letter: a slash at the end counts.",
            "If they are different servers, the client uses the wrong one.",
        ],
        K::WrongAudience => &[
            "Have the client ask for a token for this service (`resource`, RFC 8707, or what the \
             authorization server has for it).",
            "If this service goes by that name too, add it to `audience`.",
        ],
        K::WrongTokenKind(TokenKind::Id) => {
            &["Have the client send the `access_token` of the token response, not the `id_token`."]
        }
        K::WrongTokenKind(TokenKind::Refresh) => &[
            "Have the client send the `access_token` of the token response, not the \
             `refresh_token`.",
            "A refresh token that was sent around counts as leaked: revoke it.",
        ],
        K::WrongTokenKind(TokenKind::DpopProof) => {
            &["Send the proof in the header `DPoP`, and the access token in `Authorization`."]
        }
        K::WrongTokenKind(TokenKind::Other) => &[
            "If the issuer does not follow RFC 9068, set its `profile` to `generic`.",
            "Or have it mark its access tokens with the type `at+jwt`.",
        ],
        K::WrongTokenKind(_) => &["Have the client send an access token."],
        K::MissingClaim("aud") => &[
            "Have the authorization server name this service in `aud`.",
            "If it names it in another claim: `danger_audience_claim`.",
        ],
        K::MissingClaim(_) => &["Have the authorization server put that claim into its tokens."],
        K::InvalidClaim(_) => {
            &["Have the authorization server write that claim as its definition says."]
        }
        K::Expired => &[
            "Get a new token, as clients do with their refresh token.",
            "If it was issued just now, compare the clocks of this machine and the authorization \
             server.",
        ],
        K::NotYetValid => &[
            "Compare the clocks of this machine and the authorization server.",
            "If they can't be set right, `leeway_seconds` allows for a difference.",
        ],
        K::Inactive => &[
            "Get a new token: this one has expired, was revoked or was never issued there.",
            "If new tokens fail too, it is not the server that issued them, or it does not let this \
             client see them.",
        ],
        K::Revoked => &["Get a new token: this one was revoked."],
        K::NotIntrospectable => {
            &["The server does not answer for such tokens: verify them as JWTs, mode `jwt` or \
             `hybrid`."]
        }
        K::UnprovenPossession => &[
            "The token is bound to a key (`cnf`), or comes under a scheme that says so: send the \
             proof, or have a bearer token issued.",
        ],
        K::InvalidProof => &[
            "Have the client make a new DPoP proof for each request: its method, its URL as clients \
             see it, the hash of this token, the time of now.",
            "If it does: see which check failed below; the URL configured here may be another than \
             clients use.",
        ],
        K::NonceRequired => {
            &["Have the client repeat the request with a proof that holds the nonce of the \
             `DPoP-Nonce` header."]
        }
        K::ReplayUnavailable => &[
            "See below why the proof could not be recorded: the store is away or full. The token and \
             the proof may be good.",
        ],
        K::InsufficientScope => &[
            "Have the client ask for the scope that is needed.",
            "If it did, the user or the authorization server did not grant it.",
        ],
        K::InsufficientAuthentication => {
            &["Have the user log in again, as the challenge asks for."]
        }
        K::Denied => &["The policy of this service says no: another token will not help."],
        K::TooManyRequests => &["Wait: this peer has sent too many bad tokens."],
        K::Unavailable => {
            &["See below why the authorization server was not reached. The token may be good."]
        }
        K::BadResponse => &[
            "See below what the authorization server answered. The token may be good.",
            "The URL may be that of something else: a login page, a proxy, another version.",
        ],
        K::CredentialsRejected => {
            &["Set right the client identifier and secret with which this service asks, or how it \
             authenticates (`method`)."]
        }
        K::Misconfigured => &["Set the configuration of this service right, as told below."],
        _ => &["No advice is known for this."],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_advice_on_every_kind() {
        use ErrorKind as K;
        let kinds = [
            K::MissingCredentials,
            K::UnsupportedScheme,
            K::MalformedCredentials,
            K::RepeatedCredentials,
            K::TokenTooLong,
            K::MalformedToken,
            K::UnsupportedToken,
            K::UnsupportedAlgorithm,
            K::UnsupportedExtension,
            K::UnknownKey,
            K::BadSignature,
            K::UnknownIssuer,
            K::WrongIssuer,
            K::WrongAudience,
            K::WrongTokenKind(TokenKind::Id),
            K::WrongTokenKind(TokenKind::SecurityEvent),
            K::MissingClaim("aud"),
            K::InvalidClaim("exp"),
            K::Expired,
            K::NotYetValid,
            K::Inactive,
            K::Revoked,
            K::NotIntrospectable,
            K::UnprovenPossession,
            K::InvalidProof,
            K::NonceRequired,
            K::ReplayUnavailable,
            K::InsufficientScope,
            K::InsufficientAuthentication,
            K::Denied,
            K::TooManyRequests,
            K::Unavailable,
            K::BadResponse,
            K::CredentialsRejected,
            K::Misconfigured,
        ];
        for kind in kinds {
            assert!(!on(kind, "").is_empty());
            assert_ne!(on(kind, ""), ["No advice is known for this."], "{kind:?}");
        }
    }
}

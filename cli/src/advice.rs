//! The advice for each kind of refusal.

use tower_introspect::{Blame, ErrorKind, TokenKind};

/// Returns the party that has to act.
pub(crate) const fn responsible_party(blame: Blame) -> &'static str {
    match blame {
        Blame::AuthorizationServer => "the authorization server",
        Blame::Client => "the client",
        Blame::ResourceServer => "this service",
        _ => "not known",
    }
}

/// Returns advice on a refusal, the most likely solution first. `token` is the code of the token's
/// [`Kind`](crate::token::Kind).
pub(crate) fn for_error(kind: ErrorKind, token: &str) -> &'static [&'static str] {
    use ErrorKind as K;
    let other = matches!(kind, K::WrongTokenKind(_) | K::WrongAudience);
    match token {
        "id_token" if other => return for_error(K::WrongTokenKind(TokenKind::Id), ""),
        "refresh_token" if other => return for_error(K::WrongTokenKind(TokenKind::Refresh), ""),
        "opaque" if kind == K::MalformedToken => {
            return &[
                "The issuer's `mode` allows only JWTs, and this is not one: set `mode` to `hybrid` \
                 or `introspect`.",
                "Or have the authorization server issue JWTs to this client.",
            ];
        }
        _ => {}
    }
    match kind {
        K::MissingCredentials => &[
            "Send `Authorization: Bearer TOKEN`.",
            "If the client does, check what arrives here: a proxy or a redirect may drop the header.",
        ],
        K::UnsupportedScheme => &["Send the token with the scheme `Bearer`."],
        K::MalformedCredentials => {
            &["Send `Bearer`, one space and the token: no quotes, line breaks or percent-encoding."]
        }
        K::RepeatedCredentials => {
            &["Send the token once, in one place. A proxy may add a header of its own."]
        }
        K::TokenTooLong => &[
            "Have the authorization server put less into the token, such as groups and roles.",
            "Or raise `max_token_bytes` of the service, and the limits of the proxies in front of it.",
        ],
        K::MalformedToken => {
            &["Compare the token with the one that the authorization server issued: it may be cut \
             or changed. `introspect decode` shows how much of it can be read."]
        }
        K::UnsupportedToken => {
            &["Have the authorization server issue signed tokens, not encrypted or nested ones."]
        }
        K::UnsupportedAlgorithm => &[
            "Have the authorization server sign with an algorithm that is allowed here.",
            "Or allow the algorithm (`algorithms` of the issuer), but only if the issuer uses it.",
            "If it is allowed, the key with that name is for another algorithm: check the key set.",
        ],
        K::UnsupportedExtension => {
            &["Have the authorization server issue tokens without `crit` and `b64`."]
        }
        K::UnknownKey => &[
            "The key was probably rotated: get a new token.",
            "If new tokens fail too, the authorization server signs with a key that it does not \
             publish, or the keys and the tokens are from different servers.",
        ],
        K::BadSignature => &[
            "Get a new token: this one was changed, or its key was replaced under the same name.",
            "If new tokens fail too, the keys are not those of the server that issued the token: \
             check the environment and the tenant.",
        ],
        K::UnknownIssuer => &[
            "If the issuer should be trusted, add it to the configuration exactly as in `iss`.",
            "If not, the client uses the wrong authorization server: check its environment and \
             tenant.",
        ],
        K::WrongIssuer => &[
            "Compare the found and the expected issuer letter by letter: a final slash counts.",
            "If they are different servers, the client uses the wrong one.",
        ],
        K::WrongAudience => &[
            "Have the client request a token for this service (`resource`, RFC 8707, or the \
             parameter of the authorization server for it).",
            "If this service has that identifier too, add it to `audience`.",
        ],
        K::WrongTokenKind(TokenKind::Id) => {
            &["Have the client send the `access_token` of the token response, not the `id_token`."]
        }
        K::WrongTokenKind(TokenKind::Refresh) => &[
            "Have the client send the `access_token` of the token response, not the \
             `refresh_token`.",
            "Revoke the refresh token: it was sent to a service and counts as leaked.",
        ],
        K::WrongTokenKind(TokenKind::DpopProof) => {
            &["Send the proof in the header `DPoP`, and the access token in `Authorization`."]
        }
        K::WrongTokenKind(TokenKind::Unmarked) => &[
            "Have the client send the `access_token` of the token response, not the `id_token`.",
            "If it does, have the authorization server set the type of access tokens to `at+jwt`, \
             or put the scope or the client into them.",
            "If it can't, introspect the tokens (`mode` `introspect`), or see \
             `danger_accept_unmarked_jwts`.",
            "If the tokens identify services, as those of Google do, set `profile` to \
             `service_identity`.",
        ],
        K::WrongTokenKind(TokenKind::Other) => &[
            "Have the client send an access token.",
            "If it does, have the authorization server set the type of access tokens to `at+jwt`.",
            "If `profile` is `rfc9068` or `fapi2` is set, only that type is accepted.",
        ],
        K::WrongTokenKind(_) => &["Have the client send an access token."],
        K::MissingClaim("aud") => &[
            "Have the authorization server name this service in `aud`.",
            "If another claim of its JWTs names this service, set `danger_audience_claim`.",
            "If a JWT has no `aud` but the response about it has, set `mode` to `introspect`.",
            "If the introspection response has neither `scope`, `token_type` nor `sub`, this is \
             probably a refresh token or an authorization code: have the client send its access \
             token.",
        ],
        K::MissingClaim(_) => &["Have the authorization server put that claim into its tokens."],
        K::InvalidClaim(_) => {
            &["Have the authorization server give that claim the type of its definition."]
        }
        K::Expired => &[
            "Get a new token, for example with the refresh token.",
            "If it was issued just now, compare the clocks of this machine and the authorization \
             server.",
        ],
        K::NotYetValid => &[
            "Compare the clocks of this machine and the authorization server.",
            "If the clocks can't be corrected, `leeway_seconds` tolerates a difference.",
        ],
        K::Inactive => &[
            "Get a new token: this one has expired, was revoked or was never issued there.",
            "If new tokens fail too, another server issued them, or this client may not introspect \
             them.",
        ],
        K::Revoked => &["Get a new token: this one was revoked."],
        K::NotIntrospectable => {
            &["The server does not introspect such tokens: verify them as JWTs (`mode` `jwt` or \
             `hybrid`)."]
        }
        K::UnprovenPossession => &[
            "The token is bound to a key (`cnf`), or is sent with a scheme for bound tokens: send \
             the proof of possession, or have a bearer token issued.",
        ],
        K::InvalidProof => &[
            "Have the client create a new DPoP proof for each request, with its method, its URL as \
             clients see it, the hash of this token and the current time.",
            "If it does, see below which check failed. The URL configured here may differ from the \
             one that clients use.",
        ],
        K::NonceRequired => {
            &["Have the client repeat the request with a proof that contains the nonce of the \
             `DPoP-Nonce` header."]
        }
        K::ReplayUnavailable => &[
            "See below why the proof could not be recorded: the store is unavailable or full. The \
             token and the proof may be valid.",
        ],
        K::InsufficientScope => &[
            "Have the client request the required scope.",
            "If it did, the user or the authorization server did not grant it.",
        ],
        K::InsufficientAuthentication => {
            &["Have the user log in again, as the challenge requires."]
        }
        K::Denied => &["The policy of this service denies access: another token will not help."],
        K::TooManyRequests => &["Wait: this peer has sent too many bad tokens."],
        K::ClockWrong => &["Correct the clock of this machine. The token may be valid."],
        K::Unavailable => {
            &["See below why the authorization server was not reached. The token may be valid."]
        }
        K::BadResponse => &[
            "See below what is wrong with the response of the authorization server. The token may \
             be valid.",
            "The URL may belong to something else: a login page, a proxy, another version.",
            "A 4xx to an introspection may mean that the credentials of this service are wrong: not \
             every server says so.",
        ],
        K::FailsOnToken => &[
            "The authorization server fails on this token and answers about others: look into its \
             log. A firewall in front of it may refuse the characters of this token.",
        ],
        K::KeyPending => &[
            "Try again in a moment: the key of the token is not among the known ones, and they were \
             fetched just now. The token may be valid.",
        ],
        K::UnusableKey => &[
            "Check the published keys with `introspect keys lint`: it says why the key of the token \
             can't be used. The token may be valid.",
        ],
        K::UntriedKeys => {
            &["Have the issuer name the key in the header of its tokens (`kid`), or raise \
             `max_keys_tried`. The token may be valid."]
        }
        K::CredentialsRejected => {
            &["Correct the client identifier, the secret or the `method` that this service \
             authenticates with."]
        }
        K::Misconfigured => &["Correct the configuration of this service: see the cause below."],
        _ => &["There is no advice for this."],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_advice() {
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
            K::WrongTokenKind(TokenKind::Unmarked),
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
            K::ClockWrong,
            K::Unavailable,
            K::BadResponse,
            K::FailsOnToken,
            K::KeyPending,
            K::UnusableKey,
            K::UntriedKeys,
            K::CredentialsRejected,
            K::Misconfigured,
        ];
        for kind in kinds {
            assert!(!for_error(kind, "").is_empty());
            assert_ne!(for_error(kind, ""), ["There is no advice for this."], "{kind:?}");
        }
    }
}

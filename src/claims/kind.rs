//! Tells the other kinds of token from access tokens: by the header of a JWT, by its claims, and by
//! the members of an introspection response.

use super::json;
use crate::error::kind::TokenKind;

/// The back-channel logout event, as a JSON string.
const LOGOUT_EVENT: &str = "\"http://schemas.openid.net/event/backchannel-logout\"";

/// The `typ`s of the other JWTs that authorization servers and clients sign.
#[cfg(feature = "jwt")]
const TYPES: [(&str, TokenKind); 6] = [
    ("client-authentication+jwt", TokenKind::ClientAssertion),
    ("dpop+jwt", TokenKind::DpopProof),
    ("logout+jwt", TokenKind::Logout),
    ("rt+jwt", TokenKind::Refresh),
    ("secevent+jwt", TokenKind::SecurityEvent),
    ("token-introspection+jwt", TokenKind::IntrospectionResponse),
];

/// Returns the kind of JWT whose `typ` fulfils `is`, if it is a known one other than an access
/// token.
#[cfg(feature = "jwt")]
pub(crate) fn by_typ(is: impl Fn(&str) -> bool) -> Option<TokenKind> {
    TYPES.into_iter().find(|(name, _)| is(name)).map(|(_, kind)| kind)
}

/// Returns the kind of JWT that the claims show, if it is not an access token (RFC 8725 §3.12).
///
/// `members` are the names and the JSON values of the claims. `typed` is true if the header's `typ`
/// is that of an access token. Then the hashes and the `nonce` of an ID token prove nothing,
/// because some servers also leave them in access tokens.
#[cfg(feature = "jwt")]
pub(crate) fn by_claims<'a>(
    members: impl Iterator<Item = (&'a str, &'a str)>,
    typed: bool,
) -> Option<TokenKind> {
    // A single pass over the claims, because this runs for every token.
    let (mut scope, mut nonce, mut hashed) = (false, false, false);
    let (mut by_claim, mut words) = (None, [None; 3]);
    for (name, value) in members {
        match name {
            "events" if value.contains(LOGOUT_EVENT) => by_claim = Some(TokenKind::Logout),
            "events" => by_claim = Some(TokenKind::SecurityEvent),
            "token_introspection" => {
                by_claim = by_claim.or(Some(TokenKind::IntrospectionResponse));
            }
            "typ" => words[0] = Some(value),
            "token_use" => words[1] = Some(value),
            "token_type" => words[2] = Some(value),
            "at_hash" | "c_hash" | "s_hash" => hashed = true,
            "nonce" => nonce = true,
            "scope" | "scp" => scope = true,
            _ => {}
        }
    }
    if by_claim.is_some() {
        return by_claim;
    }
    let mut access = typed;
    for word in words.into_iter().flatten().filter_map(json::decode_string) {
        if is_one_of(&word, &["id", "id_token"]) {
            return Some(TokenKind::Id);
        }
        if is_one_of(&word, &["refresh", "refresh_token", "offline"]) {
            return Some(TokenKind::Refresh);
        }
        if is_one_of(&word, &["logout"]) {
            return Some(TokenKind::Logout);
        }
        access |= is_one_of(&word, &["access", "access_token", "bearer", "dpop"]);
    }
    (hashed && !typed || nonce && !access && !scope).then_some(TokenKind::Id)
}

/// Returns the kind of token that an introspection response shows, if it is not an access token.
///
/// `member` returns the JSON value of a member. Not every server marks the kind: a refresh token
/// may come back without a type, or as `Bearer`. Such a token lacks the audience of this service,
/// which the policy requires.
///
/// # Errors
///
/// The name of a member that must be a string and is not.
#[cfg(feature = "introspection")]
pub(crate) fn by_response<'a>(
    member: impl Fn(&str) -> Option<&'a str>,
) -> Result<Option<TokenKind>, &'static str> {
    // `token_type` is from RFC 7662 §2.2; the others are additions of servers.
    for (name, defined) in [("token_type", true), ("token_use", true), ("typ", false)] {
        let Some(value) = member(name) else { continue };
        match json::decode_string(value) {
            Some(word) => {
                if let Some(kind) = by_word(&word) {
                    return Ok(Some(kind));
                }
            }
            None if defined => return Err(name),
            None => {}
        }
    }
    let has = |name| member(name).is_some();
    Ok(if member("events").is_some_and(|events| events.contains(LOGOUT_EVENT)) {
        Some(TokenKind::Logout)
    } else if has("events") {
        Some(TokenKind::SecurityEvent)
    } else if ["at_hash", "c_hash", "s_hash"].into_iter().any(has) {
        Some(TokenKind::Id)
    } else if has("htm") && has("htu") {
        Some(TokenKind::DpopProof)
    } else if has("token_introspection") {
        Some(TokenKind::IntrospectionResponse)
    } else {
        None
    })
}

/// Returns the kind of token that servers call `word` in a response, if it is not an access token.
/// Knows the names of RFC 7009 §2.1 and RFC 8693 §3, and others that servers use.
#[cfg(feature = "introspection")]
fn by_word(word: &str) -> Option<TokenKind> {
    const REFRESH: [&str; 4] =
        ["refresh_token", "refresh", "offline", "urn:ietf:params:oauth:token-type:refresh_token"];
    const ID: [&str; 3] = ["id_token", "id", "urn:ietf:params:oauth:token-type:id_token"];
    if is_one_of(word, &REFRESH) {
        Some(TokenKind::Refresh)
    } else if is_one_of(word, &ID) {
        Some(TokenKind::Id)
    } else if is_one_of(word, &["logout", "logout_token"]) {
        Some(TokenKind::Logout)
    } else {
        None
    }
}

/// Returns true if the JSON `value` of `token_type` or `token_use` says that the token is a refresh
/// token. Every policy refuses these, however the token was verified.
pub(super) fn is_refresh(value: &str) -> bool {
    json::decode_string(value).is_some_and(|word| is_one_of(&word, &["refresh_token", "refresh"]))
}

fn is_one_of(word: &str, names: &[&str]) -> bool {
    names.iter().any(|name| word.eq_ignore_ascii_case(name))
}

//! Reads what an introspected token says of itself, if it is a JWT.
//!
//! Nothing of it is verified, and nothing of it grants anything. It can only add to the reasons to
//! refuse a token that the authorization server calls active. Some servers call ID tokens active,
//! and their response need not show that it is about one.
//!
//! The reading is lenient, because a server may be lenient too: an ID token must not pass because
//! its client appended a character to the signature, which the server ignores.

use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use serde_json::value::RawValue;

use super::{json, kind::Evidence, typ::Typ};
use crate::error::kind::TokenKind;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the evidence in the text of a token, or `None` if it is not a JWT whose claims can be
/// read.
pub(crate) fn evidence(token: &str) -> Option<Evidence> {
    let mut parts = token.split('.');
    let (header, payload) = (decode(parts.next()?)?, decode(parts.next()?)?);
    let (header, claims) = (json::members(&header)?, json::members(&payload)?);
    let mut typs = header.iter().filter(|(name, _)| name == "typ").map(|(_, value)| value);
    let typ = match (typs.next(), typs.next()) {
        (None, _) => Typ::of(None),
        (Some(typ), None) => match json::string(typ) {
            Some(typ) => Typ::of(Some(&typ)),
            None => Typ::Other(TokenKind::Other),
        },
        (Some(_), Some(_)) => Typ::Other(TokenKind::Other),
    };
    Some(Evidence::of_jwt(typ, claims.iter().map(|(name, value)| (&**name, value.get()))))
}

/// Describes the claims that show the kind of a token, for a recording of the checks.
pub(crate) fn describe(token: &str) -> Option<String> {
    let text = token.split('.').nth(1).and_then(decode)?;
    let claims = json::members(&text)?;
    let value = |name: &str| claims.iter().find(|(known, _)| known == name);
    evidence(token)?.describe(|name| value(name).map(|(_, value)| value.get()))
}

/// Returns true if the text of a token names an audience, and `audience` is not in it.
pub(crate) fn names_another_audience(token: &str, audience: &str) -> bool {
    let Some(claims) = token.split('.').nth(1).and_then(decode) else { return false };
    let Some(claims) = json::members(&claims) else { return false };
    let contains = |aud: &RawValue| match json::string(aud) {
        Some(one) => one == audience,
        None => json::strings(aud).is_some_and(|all| all.iter().any(|one| one == audience)),
    };
    claims.iter().any(|(name, value)| name == "aud" && value.get() != "null" && !contains(value))
}

fn decode(part: &str) -> Option<String> {
    let bytes = match part.contains(['+', '/']) {
        false => LENIENT.decode(part),
        true => LENIENT.decode(part.replace('+', "-").replace('/', "_")),
    };
    String::from_utf8(bytes.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn kind(token: &str) -> Option<Result<(), TokenKind>> {
        evidence(token).map(|evidence| evidence.judge())
    }

    #[test]
    fn id_token_is_recognised_in_every_encoding_a_server_may_accept() {
        let (header, claims) = (r#"{"alg":"RS256"}"#, r#"{"nonce":"~~~???","sub":"ä"}"#);
        let plain = |text: &str| STANDARD.encode(text);
        let url = |text: &str| LENIENT.encode(text);
        let none = |text: &str| url(text).trim_end_matches('=').to_owned();
        for (encode, end) in [
            (&plain as &dyn Fn(&str) -> String, "c2ln"),
            (&url, "c2ln=="),
            (&none, "c2ln"),
            (&none, "c2ln."),
            (&none, "not base64url!"),
        ] {
            let token = format!("{}.{}.{end}", encode(header), encode(claims));
            assert_eq!(kind(&token), Some(Err(TokenKind::Id)), "{token}");
        }
    }

    #[test]
    fn typ_that_is_no_single_text_is_another_kind() {
        for typ in [r#""typ":7"#, r#""typ":null"#, r#""typ":"JWT","typ":"at+jwt""#] {
            let token = format!(
                "{}.{}.x",
                LENIENT.encode(format!("{{\"alg\":\"RS256\",{typ}}}")),
                LENIENT.encode(r#"{"scope":"read"}"#)
            );
            assert_eq!(kind(&token), Some(Err(TokenKind::Other)), "{typ}");
        }
    }

    #[test]
    fn opaque_and_encrypted_tokens_say_nothing() {
        let jwe = format!("{}.AAAA.BBBB.CCCC.DDDD", LENIENT.encode(r#"{"alg":"dir","enc":"x"}"#));
        for token in
            ["", ".", "..", "2YotnFZFEjr1zCsicMWpAA", "ory_at_x.y", "e30", &jwe, "e30.W10.x"]
        {
            assert!(kind(token).is_none(), "{token}");
        }
        assert_eq!(kind("e30.e30.x"), Some(Err(TokenKind::Unmarked)));
    }
}

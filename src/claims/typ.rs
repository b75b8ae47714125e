//! The `typ` of a JWT's header (RFC 7515 §4.1.9), as evidence of the kind of token.

use crate::error::kind::TokenKind;

/// The `typ` of an access token (RFC 9068 §2.1).
const ACCESS_TOKEN: &str = "at+jwt";

/// The `typ`s of the other JWTs that authorization servers and clients sign.
const OTHERS: [(&str, TokenKind); 6] = [
    ("client-authentication+jwt", TokenKind::ClientAssertion),
    ("dpop+jwt", TokenKind::DpopProof),
    ("logout+jwt", TokenKind::Logout),
    ("rt+jwt", TokenKind::Refresh),
    ("secevent+jwt", TokenKind::SecurityEvent),
    ("token-introspection+jwt", TokenKind::IntrospectionResponse),
];

/// The kind of token that a `typ` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Typ {
    /// `at+jwt`.
    Access,
    /// `JWT`, or absent: no kind.
    Plain,
    /// Another kind, which may be unknown.
    Other(TokenKind),
}

impl Typ {
    /// Returns the kind that a header's `typ` names.
    pub(crate) fn of(typ: Option<&str>) -> Self {
        let Some(typ) = typ else { return Self::Plain };
        let is = |name| same_media_type(typ, name);
        if is(ACCESS_TOKEN) {
            Self::Access
        } else if is("jwt") {
            Self::Plain
        } else {
            let known = OTHERS.into_iter().find(|(name, _)| is(name));
            Self::Other(known.map_or(TokenKind::Other, |(_, kind)| kind))
        }
    }
}

/// Returns the `typ` of a header in words of this crate: unlike the `typ` itself, they may be logged.
#[cfg(feature = "jwt")]
pub(crate) fn typ_in_words(typ: Option<&str>) -> &'static str {
    let Some(written) = typ else { return "none" };
    let known = [ACCESS_TOKEN, "JWT"].into_iter().chain(OTHERS.map(|(name, _)| name));
    known.into_iter().find(|name| same_media_type(written, name)).unwrap_or("another one")
}

/// Returns true if `written` is `application/<name>` or `<name>`, in any case.
pub(crate) fn same_media_type(written: &str, name: &str) -> bool {
    const PREFIX: &str = "application/";
    let rest = match written.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => {
            written.get(PREFIX.len()..).unwrap_or_default()
        }
        _ => written,
    };
    rest.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7515_4_1_9_typ_compares_as_a_media_type() {
        for typ in ["at+jwt", "at+JWT", "AT+JWT", "application/at+jwt", "Application/AT+JWT"] {
            assert_eq!(Typ::of(Some(typ)), Typ::Access, "{typ}");
        }
        for typ in [None, Some("JWT"), Some("jwt"), Some("application/JWT")] {
            assert_eq!(Typ::of(typ), Typ::Plain, "{typ:?}");
        }
        for typ in [
            "at+jwt;v=1",
            "text/at+jwt",
            "at+jwt ",
            " at+jwt",
            "application/application/at+jwt",
            "",
            "application/",
            "ａt+jwt",
        ] {
            assert_eq!(Typ::of(Some(typ)), Typ::Other(TokenKind::Other), "{typ}");
        }
        assert_eq!(Typ::of(Some("application/RT+jwt")), Typ::Other(TokenKind::Refresh));
    }
}

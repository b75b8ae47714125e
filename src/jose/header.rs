//! Reads the header of a JWS (RFC 7515 §4).

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::claims::{json::Object, typ::same_media_type};

/// The error of a header that is not one strict JSON object, lacks `alg`, or has a parameter of
/// the wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeaderError;

/// The header of a JWS. Its contents are not verified.
pub(crate) struct Header<'a> {
    object: Object<'a>,
    /// `alg`, which may name an unknown algorithm.
    pub(crate) alg: Cow<'a, str>,
    pub(crate) kid: Option<Cow<'a, str>>,
    pub(crate) typ: Option<Cow<'a, str>>,
    pub(crate) cty: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    /// Reads a header. Ignores unknown parameters.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, HeaderError> {
        Self::from_object(Object::parse(text).map_err(|_| HeaderError)?)
    }

    /// Reads a header as [`parse`](Self::parse) does, but strict at the top level only.
    #[cfg(feature = "dpop")]
    pub(crate) fn parse_shallow(text: &'a [u8]) -> Result<Self, HeaderError> {
        let text = std::str::from_utf8(text).map_err(|_| HeaderError)?;
        Self::from_object(Object::parse_shallow(text).map_err(|_| HeaderError)?)
    }

    fn from_object(object: Object<'a>) -> Result<Self, HeaderError> {
        let string = |name| object.string(name).map_err(|_| HeaderError);
        let (kid, typ, cty) = (string("kid")?, string("typ")?, string("cty")?);
        let alg = string("alg")?.ok_or(HeaderError)?;
        Ok(Self { object, alg, kid, typ, cty })
    }

    /// Returns true if the header demands an extension. None is implemented, so any `crit` does,
    /// whatever it lists (RFC 7515 §4.1.11), and so does `b64` (RFC 7797 §6).
    pub(crate) fn demands_extension(&self) -> bool {
        self.get("crit").is_some() || self.get("b64").is_some()
    }

    /// Returns the JSON text of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.object.get(name)
    }

    /// Returns true if `typ` is this media type. Ignores case and the prefix `application/`, which
    /// is implied if there is no slash (RFC 7515 §4.1.9).
    pub(crate) fn is_typ(&self, media_type: &str) -> bool {
        self.typ.as_deref().is_some_and(|typ| same_media_type(typ, media_type))
    }

    /// Returns true if `cty` marks the payload as a JWT itself (RFC 7519 §5.2).
    pub(crate) fn is_nested(&self) -> bool {
        self.cty.as_deref().is_some_and(|cty| same_media_type(cty, "jwt"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7515_4_parameters_have_their_types() {
        for text in [
            r#"{}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{"alg":"RS256","kid":7}"#,
            r#"{"alg":"RS256","typ":["at+jwt"]}"#,
            r#"{"alg":"none","alg":"RS256"}"#,
            r#"{"alg":"RS256","x":1,"x":1}"#,
            r#"[]"#,
            "",
        ] {
            assert!(Header::parse(text.as_bytes()).is_err(), "{text}");
        }
        let header = Header::parse(br#"{"foo":1,"alg":"\u0052S256"}"#).unwrap();
        assert_eq!(header.alg, "RS256");
        assert!(!header.demands_extension());
    }
}

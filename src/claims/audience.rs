//! Audience (RFC 7519 §4.1.3).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::json;

/// The parties a token is meant for.
///
/// Compared code point by code point, without normalisation (RFC 7519 §2, §4.1.3).
///
/// ```
/// use tower_introspect::claims::Claims;
///
/// let claims = Claims::from_json(br#"{"aud": ["https://api.example.com", "other"]}"#).unwrap();
/// assert!(claims.audience().contains("https://api.example.com"));
/// assert!(!claims.audience().contains("https://api.example.com/"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience(Values);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Values {
    #[default]
    None,
    One(Box<str>),
    Many(Box<[Box<str>]>),
}

impl Audience {
    /// True if `identifier` is among the values.
    #[must_use]
    pub fn contains(&self, identifier: &str) -> bool {
        self.iter().any(|value| value == identifier)
    }

    /// The values.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match &self.0 {
            Values::None => (None, [].as_slice()),
            Values::One(value) => (Some(value), [].as_slice()),
            Values::Many(values) => (None, &**values),
        };
        one.into_iter().chain(many).map(AsRef::as_ref)
    }

    /// True if there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub(crate) fn one(value: &str) -> Self {
        Self(Values::One(value.into()))
    }

    /// Reads a string or an array of strings.
    pub(super) fn parse(value: &RawValue) -> Option<Self> {
        if let Some(one) = json::string(value) {
            return Some(Self::one(&one));
        }
        let many = json::strings(value)?;
        Some(Self(Values::Many(many.into_iter().map(Cow::into_owned).map(Into::into).collect())))
    }
}

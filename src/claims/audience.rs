//! The audience of a token (RFC 7519 §4.1.3).

use serde_json::value::RawValue;

use super::{
    json,
    text::{json_text::Text, span::Span, text_view::TextView},
};

/// The parties that a token is meant for.
///
/// Values are compared code point by code point, without normalisation (RFC 7519 §2, §4.1.3).
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
    One(TextView),
    Many(Box<[TextView]>),
}

impl Audience {
    /// Returns true if `identifier` is among the values.
    #[must_use]
    pub fn contains(&self, identifier: &str) -> bool {
        match &self.0 {
            Values::None => false,
            Values::One(value) => value.as_str() == identifier,
            Values::Many(values) => values.iter().any(|value| value.as_str() == identifier),
        }
    }

    /// Returns an iterator over the values.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match &self.0 {
            Values::None => (None, [].as_slice()),
            Values::One(value) => (Some(value), [].as_slice()),
            Values::Many(values) => (None, &**values),
        };
        one.into_iter().chain(many).map(TextView::as_str)
    }

    /// Returns true if there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Parses a string or an array of strings. `span_of` gives each value its span in a text.
    pub(super) fn parse(value: &RawValue, mut span_of: impl FnMut(&str) -> Span) -> Option<Self> {
        if let Some(one) = json::string(value) {
            return Some(Self::one(span_of(&one)));
        }
        let many = json::strings(value)?;
        Some(Self(Values::Many(many.iter().map(|one| TextView::at(span_of(one))).collect())))
    }

    /// Creates an audience of the one value at `span`.
    pub(super) const fn one(span: Span) -> Self {
        Self(Values::One(TextView::at(span)))
    }

    /// Sets the text that the values are parts of.
    pub(super) fn set_text(&mut self, text: &Text) {
        match &mut self.0 {
            Values::None => {}
            Values::One(value) => value.set_text(text),
            Values::Many(values) => values.iter_mut().for_each(|value| value.set_text(text)),
        }
    }

    /// Returns the same values at the spans that `span_of` gives them.
    pub(super) fn map(&self, mut span_of: impl FnMut(&str) -> Span) -> Self {
        let mut view = |value: &TextView| TextView::at(span_of(value.as_str()));
        Self(match &self.0 {
            Values::None => Values::None,
            Values::One(value) => Values::One(view(value)),
            Values::Many(values) => Values::Many(values.iter().map(view).collect()),
        })
    }

    /// Returns the size in bytes, without the struct itself and the text.
    pub(super) fn bytes(&self) -> usize {
        match &self.0 {
            Values::None | Values::One(_) => 0,
            Values::Many(values) => size_of_val(&**values),
        }
    }
}

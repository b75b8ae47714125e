//! Reads the `authorization_details` of a token (RFC 9396).

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    canonical::canonical,
    error::ClaimsError,
    json::{self, Object},
};

pub(super) const NAME: &str = "authorization_details";

/// One element of `authorization_details` (RFC 9396 §2).
///
/// ```
/// use tower_introspect::claims::Claims;
///
/// let claims = Claims::from_json(
///     br#"{"authorization_details": [{"type": "account", "actions": ["read"], "iban": "DE02"}]}"#,
/// )
/// .unwrap();
/// let details = claims.authorization_details().unwrap();
/// assert_eq!(details[0].kind(), "account");
/// assert!(details[0].allows("actions", "read"));
/// assert_eq!(details[0].get::<String>("iban").unwrap().as_deref(), Some("DE02"));
/// ```
pub struct AuthorizationDetail<'a> {
    kind: Cow<'a, str>,
    text: &'a str,
    object: Object<'a>,
}

impl<'a> AuthorizationDetail<'a> {
    /// Returns `type`, which defines the meaning of the other members (RFC 9396 §2).
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns `identifier`, the resource that the element is about (RFC 9396 §2.2).
    #[must_use]
    pub fn identifier(&self) -> Option<Cow<'a, str>> {
        json::string(self.object.get("identifier")?)
    }

    /// Returns true if `member` is an array of strings that has `value`, compared exactly.
    ///
    /// Examples of such members are `actions`, `locations`, `datatypes` and `privileges` (RFC 9396
    /// §2.2).
    #[must_use]
    pub fn allows(&self, member: &str, value: &str) -> bool {
        let values = self.object.get(member).and_then(json::strings).unwrap_or_default();
        values.iter().any(|have| have == value)
    }

    /// Returns a member as the JSON text that was received.
    #[must_use]
    pub fn raw(&self, member: &str) -> Option<&'a str> {
        self.object.get(member).map(RawValue::get)
    }

    /// Deserializes a member into a type of the application.
    ///
    /// # Errors
    ///
    /// Returns an error if the member is present and does not have that type. The error may quote
    /// the member: do not log it or send it in a response.
    pub fn get<T: DeserializeOwned>(&self, member: &str) -> Result<Option<T>, serde_json::Error> {
        self.raw(member).map(serde_json::from_str).transpose()
    }

    /// Deserializes the whole element into a type of the application.
    ///
    /// # Errors
    ///
    /// Returns an error if the element does not have that type. The error may quote a member: do
    /// not log it or send it in a response.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.text)
    }

    /// Parses an array of objects that each have a string `type`. Refuses anything else.
    pub(super) fn parse_all(text: &'a str) -> Result<Vec<Self>, ClaimsError> {
        let invalid = ClaimsError::Invalid(NAME);
        let value: &RawValue = serde_json::from_str(text).map_err(|_| invalid)?;
        let elements = json::array(value).ok_or(invalid)?;
        elements.into_iter().map(|element| Self::parse(element).ok_or(invalid)).collect()
    }

    fn parse(element: &'a RawValue) -> Option<Self> {
        let text = element.get();
        let object = Object::parse_shallow(text).ok()?;
        let kind = json::string(object.get("type")?)?;
        Some(Self { kind, text, object })
    }
}

/// Returns the elements of `own` that `later` has too, unless these are all of `own`.
///
/// An element grants what its type defines, so only an equal one is known to grant no less. A value
/// that is not valid has no elements.
pub(super) fn narrowed(own: &str, later: &str) -> Option<String> {
    let details = |text| AuthorizationDetail::parse_all(text).ok();
    let equal = |detail: &AuthorizationDetail<'_>| {
        serde_json::from_str(detail.text).ok().and_then(canonical)
    };
    let later: HashSet<String> =
        details(later).unwrap_or_default().iter().filter_map(equal).collect();
    let Some(own) = details(own) else { return Some("[]".to_owned()) };
    let is_in_both = |detail: &&AuthorizationDetail<'_>| {
        equal(detail).is_some_and(|detail| later.contains(&detail))
    };
    let both: Vec<&str> = own.iter().filter(is_in_both).map(|detail| detail.text).collect();
    (both.len() < own.len()).then(|| format!("[{}]", both.join(",")))
}

impl fmt::Debug for AuthorizationDetail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationDetail").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::claims_set::Claims;

    fn details(value: &str) -> Result<usize, ClaimsError> {
        let text = format!(r#"{{"authorization_details":{value}}}"#);
        let claims = Claims::from_json(text.as_bytes()).expect("strict claims");
        claims.authorization_details().map(|details| details.len())
    }

    #[test]
    fn rfc9396_2_only_an_array_of_objects_with_a_type_is_valid() {
        assert_eq!(details("[]"), Ok(0));
        assert_eq!(details(r#"[{"type":"a"},{"type":"b","x":[[[1]]]}]"#), Ok(2));
        for value in [
            r#"{"type":"a"}"#,
            r#""[]""#,
            "null",
            "7",
            "[7]",
            "[null]",
            "[{}]",
            r#"[{"type":7}]"#,
            r#"[{"type":["a"]}]"#,
            r#"[{"type":"a"},[]]"#,
        ] {
            assert_eq!(details(value), Err(ClaimsError::Invalid(NAME)), "{value}");
        }
    }

    #[test]
    fn rfc9396_2_2_member_that_is_no_array_of_strings_allows_nothing() {
        let text = br#"{"authorization_details":[
            {"type":"a","actions":"read"},{"type":"a","actions":["read",7]},{"type":"a","actions":{"read":1}}]}"#;
        let claims = Claims::from_json(text).unwrap();
        for detail in claims.authorization_details().unwrap() {
            assert!(!detail.allows("actions", "read"));
        }
    }

    #[test]
    fn claims_nested_a_thousand_deep_are_refused() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        let text = format!(r#"{{"authorization_details":[{{"type":"a","x":{deep}}}]}}"#);
        assert_eq!(Claims::from_json(text.as_bytes()).err(), Some(ClaimsError::Malformed));
    }
}

//! The rule of unset members, for JSON that servers publish: introspection responses, metadata and
//! key sets.
//!
//! Many serializers write `null` for a member that has no value, and `[]` for an empty list. RFC
//! 7662 §2.2, RFC 8414 §2 and RFC 7517 §4 have no meaning for these, so such a member counts as
//! absent. `[]` does so only where the specification wants at least one element.
//!
//! JWTs, JOSE headers and proofs stay strict: what is in them was signed as it is.

use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::json::Object;

/// Returns true if the member has no value: `null`.
pub(crate) fn is_unset(value: &RawValue) -> bool {
    value.get() == "null"
}

/// Does the same as [`is_unset`] for a list that must have an element: `null` or `[]`.
pub(crate) fn is_unset_list(value: &RawValue) -> bool {
    let inner = value.get().strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    is_unset(value) || inner.is_some_and(|text| text.trim().is_empty())
}

impl Object<'_> {
    /// Returns the object without its unset members. Those named in `lists` must have an element.
    #[must_use]
    pub(crate) fn without_unset(mut self, lists: &[&str]) -> Self {
        self.retain(|name, value| {
            !(is_unset(value) || lists.contains(&name) && is_unset_list(value))
        });
        self
    }
}

/// Returns the text of a response without its unset members, or `None` if it has none.
///
/// `cnf` is an object of such members itself (RFC 7800 §3.1). Members of other objects belong to
/// whoever defined those.
pub(crate) fn response_without_unset(object: &Object<'_>) -> Option<String> {
    let key = object.get("cnf").and_then(|value| Object::parse(value.get().as_bytes()).ok());
    let key = key.filter(|key| key.iter().any(|(_, value)| is_unset(value)));
    if key.is_none() && !object.iter().any(|(_, value)| is_unset(value)) {
        return None;
    }
    let key = key.map(|key| write(&key, None));
    Some(write(object, key.as_deref()))
}

/// Writes an object without its unset members, and with this `cnf` if it has one.
fn write(object: &Object<'_>, key: Option<&str>) -> String {
    let mut text = String::from("{");
    for (name, value) in object.iter().filter(|(_, value)| !is_unset(value)) {
        let value = key.filter(|_| name == "cnf").unwrap_or(value.get());
        let comma = if text.len() > 1 { "," } else { "" };
        // Writing to a `String` does not fail.
        let _ = write!(text, "{comma}{}:{value}", serde_json::Value::from(&**name));
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_empty_lists_are_unset() {
        let text = br#"{"a":null,"b":[],"c":[ ],"d":[null],"e":"null","f":0,"g":false,"h":"","i":{},"j":[]}"#;
        let object = Object::parse(text).unwrap().without_unset(&["b", "c", "d", "e", "i"]);
        let names: Vec<_> = object.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["d", "e", "f", "g", "h", "i", "j"]);
    }

    #[test]
    fn response_is_written_without_unset_members() {
        for (text, written) in [
            (r#"{"a":1}"#, None),
            (r#"{"a":[null],"x":{"y":null}}"#, None),
            (
                r#"{"a\"\u00e9":1 , "b":null,"c":"\u0041"}"#,
                Some("{\"a\\\"é\":1,\"c\":\"\\u0041\"}"),
            ),
            (r#"{"b":null}"#, Some("{}")),
            (r#"{"cnf":{"jkt":null,"x5t#S256":"x"}}"#, Some(r#"{"cnf":{"x5t#S256":"x"}}"#)),
            (r#"{"cnf":{"jkt":null}}"#, Some(r#"{"cnf":{}}"#)),
            (r#"{"cnf":7,"sub":null}"#, Some(r#"{"cnf":7}"#)),
        ] {
            let object = Object::parse(text.as_bytes()).unwrap();
            assert_eq!(response_without_unset(&object).as_deref(), written, "{text}");
        }
    }
}

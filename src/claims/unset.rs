//! The rule of unset members, for JSON that servers publish: introspection responses, metadata and
//! key sets.
//!
//! Many serializers write `null` for a member that has no value, and `[]` for an empty list. RFC
//! 7662 §2.2, RFC 8414 §2 and RFC 7517 §4 have no meaning for these, so such a member counts as
//! absent. `[]` does so only where the specification wants at least one element.
//!
//! JWTs, JOSE headers and proofs stay strict: what is in them was signed as it is.

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
}

//! Parses JSON objects and keeps the order of members and repeated members.
//!
//! The library refuses objects with repeated members. This program shows them.

use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object. Values are unparsed JSON.
pub(crate) type Members = Vec<(String, Box<RawValue>)>;

/// Returns the names that occur again after their first occurrence.
pub(crate) fn repeated(members: &Members) -> impl Iterator<Item = &str> {
    let names = members.iter().map(|(name, _)| &**name).enumerate();
    names.filter_map(|(at, name)| members[..at].iter().any(|one| one.0 == name).then_some(name))
}

/// Parses an object.
///
/// # Errors
///
/// The complete members before the mistake, and the mistake.
pub(crate) fn members(text: &str) -> Result<Members, (Members, String)> {
    let mut found = Members::new();
    let mut parser = serde_json::Deserializer::from_str(text);
    let outcome = parser.deserialize_map(Collect(&mut found)).and_then(|()| parser.end());
    match outcome {
        Ok(()) => Ok(found),
        Err(error) => Err((found, error.to_string())),
    }
}

struct Collect<'a>(&'a mut Members);

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key()? {
            let value = map.next_value::<Box<RawValue>>()?;
            self.0.push((name, value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_repeated_members_are_kept() {
        let found = members(r#"{"b":1,"a":{"x":1.0},"b":2}"#).unwrap();
        let found: Vec<_> = found.iter().map(|(name, value)| (&**name, value.get())).collect();
        assert_eq!(found, [("b", "1"), ("a", r#"{"x":1.0}"#), ("b", "2")]);
        let found = members(r#"{"b":1,"a":1,"b":2,"b":3}"#).unwrap();
        assert_eq!(repeated(&found).collect::<Vec<_>>(), ["b", "b"]);
    }

    #[test]
    fn a_truncated_object_keeps_its_complete_members() {
        let (found, _) = members(r#"{"sub":"alice","ex"#).unwrap_err();
        assert_eq!(found.len(), 1);
        let (found, problem) = members("[1]").unwrap_err();
        assert!(found.is_empty() && problem.contains("a JSON object"), "{problem}");
    }
}

//! JSON as it was written: members in their order, repeated ones too. The library refuses what
//! repeats a member; who looks for the reason wants to see it.

use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object, each value as its text.
pub(crate) type Members = Vec<(String, Box<RawValue>)>;

/// Reads an object; of one that is cut off, what is whole.
///
/// # Errors
///
/// The members that were read before it went wrong, and what was wrong.
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
    fn members_keep_their_order_and_their_doubles() {
        let found = members(r#"{"b":1,"a":{"x":1.0},"b":2}"#).unwrap();
        let found: Vec<_> = found.iter().map(|(name, value)| (&**name, value.get())).collect();
        assert_eq!(found, [("b", "1"), ("a", r#"{"x":1.0}"#), ("b", "2")]);
    }

    #[test]
    fn of_a_cut_object_the_beginning_is_there() {
        let (found, _) = members(r#"{"sub":"alice","ex"#).unwrap_err();
        assert_eq!(found.len(), 1);
        let (found, problem) = members("[1]").unwrap_err();
        assert!(found.is_empty() && problem.contains("a JSON object"), "{problem}");
    }
}

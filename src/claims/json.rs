//! Reads JSON objects strictly: without duplicate members and without unbounded depth.
//!
//! RFC 7519 §4 and RFC 7515 §4 demand unique names, or that the last one counts. If duplicates are
//! refused, no two parsers can disagree about the content of a token. Values keep their original
//! text, so numbers stay exact. The private marker keys by which `serde_json` tells raw values and
//! big numbers apart are refused.

use std::{borrow::Cow, fmt};

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The maximum depth of nesting. Real tokens stay below ten.
const MAX_DEPTH: usize = 32;

/// The prefix of the private member names that `serde_json` uses for raw values and big numbers.
const MARKER: &str = "$serde_json::private::";

/// The number of members up to which comparing each pair beats sorting.
const FEW_MEMBERS: usize = 16;

/// The error of JSON text that is malformed, too deep, not an object, or repeats a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotStrict;

/// The members of one JSON object, each value as JSON text.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Parses `text`, which must be exactly one object, strictly at every level.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, NotStrict> {
        let text = std::str::from_utf8(text).map_err(|_| NotStrict)?;
        let object = Self::parse_shallow(text)?;
        for (_, value) in &object.members {
            check_nested(value, MAX_DEPTH)?;
        }
        Ok(object)
    }

    /// Returns the value of a member.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// Returns a member that must be a string.
    pub(crate) fn string(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, WrongType> {
        self.get(name).map(|value| string(value).ok_or(WrongType(name))).transpose()
    }

    /// Returns all members, in the order of the text.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Cow<'a, str>, &'a RawValue)> {
        self.members.iter().map(|(key, value)| (key, *value))
    }

    /// Removes the members for which `keep` returns false.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&str, &RawValue) -> bool) {
        self.members.retain(|(name, value)| keep(name, value));
    }

    /// Parses `text`, which must be exactly one object, strictly at its top level only.
    pub(crate) fn parse_shallow(text: &'a str) -> Result<Self, NotStrict> {
        let members = members(text).ok_or(NotStrict)?;
        if has_duplicate(&members) {
            return Err(NotStrict);
        }
        Ok(Self { members })
    }
}

/// Returns the members of an object, without checking that their names are unique.
pub(crate) fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let members = parser.deserialize_map(Members).ok()?;
    parser.end().ok().map(|()| members)
}

/// The error of a member that has another type than its definition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongType(pub(crate) &'static str);

/// Returns the name of the byte order mark with which the text begins. Such text is no JSON (RFC
/// 8259 §8.1), but looks like it.
pub(crate) fn byte_order_mark(text: &[u8]) -> Option<&'static str> {
    match text {
        [0xef, 0xbb, 0xbf, ..] => Some("UTF-8"),
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] => Some("UTF-16"),
        _ => None,
    }
}

/// Returns the content of a JSON string, with escapes decoded.
pub(crate) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    decode_string(value.get())
}

/// Does the same as [`string`] for text that is known to be JSON.
pub(crate) fn decode_string(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(text).ok().map(Cow::Owned)
}

/// Returns the elements of a JSON array.
pub(crate) fn array(value: &RawValue) -> Option<Vec<&RawValue>> {
    if !value.get().starts_with('[') {
        return None;
    }
    serde_json::Deserializer::from_str(value.get()).deserialize_seq(Elements).ok()
}

/// Returns the strings of a JSON array that holds only strings.
pub(crate) fn strings(value: &RawValue) -> Option<Vec<Cow<'_, str>>> {
    array(value)?.into_iter().map(string).collect()
}

/// Returns the value of a JSON boolean.
pub(crate) fn boolean(value: &RawValue) -> Option<bool> {
    match value.get() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn check_nested(value: &RawValue, depth: usize) -> Result<(), NotStrict> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let depth = depth.checked_sub(1).ok_or(NotStrict)?;
            let object = Object::parse_shallow(text)?;
            object.members.iter().try_for_each(|(_, value)| check_nested(value, depth))
        }
        Some(b'[') => {
            let depth = depth.checked_sub(1).ok_or(NotStrict)?;
            let elements = array(value).ok_or(NotStrict)?;
            elements.into_iter().try_for_each(|value| check_nested(value, depth))
        }
        // The parser skips over a string with a lone surrogate, but can't decode it.
        Some(b'"') => string(value).map(drop).ok_or(NotStrict),
        _ => Ok(()),
    }
}

fn has_duplicate(members: &[(Cow<'_, str>, &RawValue)]) -> bool {
    if members.len() <= FEW_MEMBERS {
        return members
            .iter()
            .enumerate()
            .any(|(at, (name, _))| members[..at].iter().any(|(earlier, _)| earlier == name));
    }
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(FEW_MEMBERS);
        while let Some(Name(name)) = map.next_key()? {
            // Later readers that use serde must not take the value for a private one of
            // `serde_json`.
            if name.starts_with(MARKER) {
                return Err(de::Error::custom("a private marker"));
            }
            members.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(elements)
    }
}

/// A member name, borrowed from the text unless it is written with escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> de::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsName;
        impl<'de> Visitor<'de> for AsName {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(AsName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_json_text() {
        let object = Object::parse(br#" {"n": 18446744073709551617, "s": "a\u002fb"} "#).unwrap();
        assert_eq!(object.get("n").unwrap().get(), "18446744073709551617");
        assert_eq!(object.string("s").unwrap().unwrap(), "a/b");
        assert_eq!(object.string("n"), Err(WrongType("n")));
        assert_eq!(object.string("absent"), Ok(None));
    }

    #[test]
    fn rfc7519_4_duplicate_member_is_refused_at_every_level() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"a":2}]}"#,
        ] {
            assert_eq!(Object::parse(text.as_bytes()).err(), Some(NotStrict), "{text}");
        }
        let many = (0..40).map(|n| format!("\"m{n}\":{n},")).collect::<String>();
        assert!(Object::parse(format!("{{{many}\"z\":0}}").as_bytes()).is_ok());
        assert!(Object::parse(format!("{{{many}\"m7\":0}}").as_bytes()).is_err());
    }

    #[test]
    fn rfc7519_7_2_claims_set_is_exactly_one_json_object() {
        for text in [
            "",
            "[]",
            "null",
            "\"x\"",
            "1",
            "{}{}",
            "{}x",
            "{\"a\":NaN}",
            "{\"a\":01}",
            "{'a':1}",
            "\u{feff}{}",
            "{\"a\":1,}",
            "{/**/}",
            "{\"a\":\"\\ud800\"}",
        ] {
            assert!(Object::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_err());
        assert!(Object::parse(b" \r\n{}\t").is_ok());
    }

    #[test]
    fn nesting_depth_is_limited() {
        let nested = |depth: usize| {
            format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
        };
        assert!(Object::parse(&nested(MAX_DEPTH)).is_ok());
        assert!(Object::parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(Object::parse(&nested(100_000)).is_err());
    }

    #[test]
    fn private_markers_of_serde_json_are_refused() {
        for text in [
            r#"{"x":{"$serde_json::private::RawValue":"{\"scope\":\"admin\"}"}}"#,
            r#"{"exp":{"$serde_json::private::Number":"99"}}"#,
            r#"{"\u0024serde_json::private::RawValue":"1"}"#,
        ] {
            assert_eq!(Object::parse(text.as_bytes()).err(), Some(NotStrict), "{text}");
        }
    }
}

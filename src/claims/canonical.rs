//! A text of JSON values that is equal for equal values.

use serde_json::value::RawValue;

use super::json::{self, Object};

/// Returns a text that two values have in common if and only if they are equal: members in any
/// order, strings however they are escaped, numbers as they are written.
///
/// Numbers are not computed with. Two that differ beyond the precision of a float would be equal
/// then, and one of them might grant more.
///
/// Returns `None` for a value that repeats a member or can't be decoded.
pub(super) fn canonical(value: &RawValue) -> Option<String> {
    let mut text = String::new();
    write(value, &mut text)?;
    Some(text)
}

/// The recursion is bounded, because claims of greater depth are refused before.
fn write(value: &RawValue, text: &mut String) -> Option<()> {
    let raw = value.get();
    match raw.as_bytes().first()? {
        b'{' => {
            let object = Object::parse_shallow(raw).ok()?;
            let mut members: Vec<_> = object.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (name, value) in members {
                write_string(name, text);
                write(value, text)?;
            }
            text.push('}');
        }
        b'[' => {
            text.push('[');
            for element in json::array(value)? {
                write(element, text)?;
                text.push(',');
            }
            text.push(']');
        }
        b'"' => write_string(&json::string(value)?, text),
        // A number, `true`, `false` or `null`. The end keeps it apart from what follows.
        _ => {
            text.push_str(raw);
            text.push(';');
        }
    }
    Some(())
}

fn write_string(string: &str, text: &mut String) {
    text.push_str(&serde_json::Value::from(string).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_equal(one: &str, other: &str) -> bool {
        let text = |json: &str| canonical(serde_json::from_str(json).unwrap()).unwrap();
        text(one) == text(other)
    }

    #[test]
    fn values_are_equal_whatever_the_order_and_the_spelling() {
        for (one, other) in [
            (r#"{"a":1,"b":[true,null]}"#, r#" { "b" : [ true , null ] , "a" : 1 } "#),
            (r#"{"a":"\u0041\/"}"#, r#"{"\u0061":"A/"}"#),
            (r#""\ud83d\ude00""#, "\"\u{1f600}\""),
            ("{}", " { } "),
        ] {
            assert!(are_equal(one, other), "{one} {other}");
        }
    }

    #[test]
    fn different_values_are_never_equal() {
        let all = [
            "1",
            "1.0",
            "10",
            "1e1",
            "18446744073709551616",
            "18446744073709551617",
            "true",
            "null",
            "\"true\"",
            "\"1\"",
            "\"\"",
            "[]",
            "{}",
            "[[]]",
            "[1]",
            "[1,0]",
            "[10]",
            "[0,1]",
            "[\"a\",\"b\"]",
            "[\"a,b\"]",
            "[[\"a\"],\"b\"]",
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":{},"b":1}"#,
            r#"{"a":1,"b":1}"#,
            r#"["a",1]"#,
        ];
        for (at, one) in all.iter().enumerate() {
            for other in all.iter().skip(at + 1) {
                assert!(!are_equal(one, other), "{one} {other}");
            }
        }
    }

    #[test]
    fn repeated_member_is_equal_to_nothing() {
        assert_eq!(canonical(serde_json::from_str(r#"[{"a":1,"a":1}]"#).unwrap()), None);
    }
}

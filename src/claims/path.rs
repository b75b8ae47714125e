//! Paths to claims and to the members within them.

use std::fmt;

use super::json::{self, Object};

/// A path to a claim: a name, or a JSON Pointer (RFC 6901) to a member of a member.
///
/// A path that starts with a slash is a pointer, in which `~1` stands for a slash and `~0` for a
/// tilde. Any other path is the literal name of a claim, including its dots, colons and slashes. A
/// pointer leads through objects only.
///
/// ```
/// use tower_introspect::claims::{ClaimPath, Claims};
///
/// let claims = Claims::from_json(
///     br#"{"realm_access": {"roles": ["admin"]}, "https://example.com/tier": "gold"}"#,
/// )
/// .unwrap();
/// assert_eq!(claims.raw_at(&ClaimPath::new("/realm_access/roles")), Some(r#"["admin"]"#));
/// assert_eq!(claims.raw_at(&ClaimPath::new("https://example.com/tier")), Some(r#""gold""#));
/// assert_eq!(claims.raw_at(&ClaimPath::new("/https:~1~1example.com~1tier")), Some(r#""gold""#));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClaimPath {
    first: Box<str>,
    rest: Box<[Box<str>]>,
}

impl ClaimPath {
    /// Parses a path. Any text is valid.
    #[must_use]
    pub fn new(path: &str) -> Self {
        let Some(pointer) = path.strip_prefix('/') else {
            return Self { first: path.into(), rest: Box::default() };
        };
        // In this order, because `~0` first would turn `~01` into a slash (RFC 6901 §4).
        let step = |step: &str| step.replace("~1", "/").replace("~0", "~").into();
        let mut steps = pointer.split('/').map(step);
        Self { first: steps.next().unwrap_or_default(), rest: steps.collect() }
    }

    /// Follows the path from `value`, which its first step led to.
    ///
    /// Returns `None` if there is no value or it is `null`, and an error if a step leads into a
    /// value that is not an object.
    pub(super) fn follow<'a>(&self, value: &'a str) -> Result<Option<&'a str>, NotAnObject> {
        let mut value = value;
        for step in &self.rest {
            if value == "null" {
                return Ok(None);
            }
            let object = Object::parse_shallow(value).map_err(|json::NotStrict| NotAnObject)?;
            match object.get(step) {
                Some(next) => value = next.get(),
                None => return Ok(None),
            }
        }
        Ok((value != "null").then_some(value))
    }

    pub(super) fn first(&self) -> &str {
        &self.first
    }
}

impl From<&str> for ClaimPath {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

impl fmt::Debug for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first)?;
        self.rest.iter().try_for_each(|step| write!(f, "/{step}"))
    }
}

/// The error of a path that leads into a value that is not an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnObject;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::claims_set::Claims;

    #[test]
    fn rfc6901_4_pointer_selects_members_of_nested_objects() {
        let text = r#"{"a":{"b/c":{"~1":1,"":2}},"n":7,"null":null,"list":[{"x":1}],"a/b":3,"":4}"#;
        let claims = Claims::from_json(text.as_bytes()).unwrap();
        for (path, found) in [
            ("/a/b~1c/~01", Ok(Some("1"))),
            ("/a/b~1c/", Ok(Some("2"))),
            ("/n", Ok(Some("7"))),
            ("n", Ok(Some("7"))),
            ("a/b", Ok(Some("3"))),
            ("/", Ok(Some("4"))),
            ("", Ok(Some("4"))),
            ("/a/x/y", Ok(None)),
            ("/x/y", Ok(None)),
            ("/null", Ok(None)),
            ("/null/x", Ok(None)),
            ("/n/x", Err(NotAnObject)),
            ("/list/0", Err(NotAnObject)),
        ] {
            assert_eq!(claims.try_raw_at(&ClaimPath::new(path)), found, "{path}");
        }
    }
}

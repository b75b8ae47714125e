//! Scope values that imply other scope values.

use std::collections::BTreeMap;

use crate::claims::scope::{Scope, is_scope_token};

/// The implications between scope values, as the application declares them.
///
/// Implication is never derived from how values are spelled.
#[derive(Clone, Debug, Default)]
pub(super) struct ImpliedScopes {
    /// For each value, all values that imply it, directly or by way of others.
    broader: BTreeMap<Box<str>, Vec<Box<str>>>,
}

impl ImpliedScopes {
    pub(super) fn imply(&mut self, broad: &str, narrow: &str) {
        for value in [broad, narrow] {
            assert!(
                is_scope_token(value),
                "{value:?} is not a valid scope-token (RFC 6749 section 3.3)"
            );
        }
        // Values that imply the broad one also imply all that the narrow one implies.
        let mut above = self.broader.get(broad).cloned().unwrap_or_default();
        above.push(broad.into());
        let mut below: Vec<Box<str>> = vec![narrow.into()];
        for (value, broader) in &self.broader {
            if broader.iter().any(|one| **one == *narrow) {
                below.push(value.clone());
            }
        }
        for value in below {
            let known = self.broader.entry(value).or_default();
            for one in &above {
                if !known.contains(one) {
                    known.push(one.clone());
                }
            }
        }
    }

    /// Returns true if `scope` has `value` or a value that implies it.
    pub(super) fn has(&self, scope: &Scope, value: &str) -> bool {
        if scope.contains(value) {
            return true;
        }
        let broader = self.broader.get(value).map(Vec::as_slice).unwrap_or_default();
        broader.iter().any(|one| scope.contains(one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implication_is_transitive_in_any_order_of_declaration() {
        let steps = [("root", "files"), ("files", "files:write"), ("files:write", "files:read")];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2], [0, 2, 1], [2, 0, 1]] {
            let mut implied = ImpliedScopes::default();
            for at in order {
                let (broad, narrow) = steps[at];
                implied.imply(broad, narrow);
            }
            let has = |scope: &str, value: &str| implied.has(&Scope::parse(scope), value);
            assert!(has("root", "files:read") && has("files", "files:read"), "{order:?}");
            assert!(has("files:write", "files:read") && has("x files", "files:write"));
            assert!(!has("files:read", "files:write") && !has("files:read", "files"));
            assert!(!has("file", "files:read") && !has("", "files:read"));
        }
    }

    #[test]
    fn circular_implications_make_values_equivalent() {
        let mut implied = ImpliedScopes::default();
        for (broad, narrow) in [("a", "b"), ("b", "c"), ("c", "a"), ("a", "a")] {
            implied.imply(broad, narrow);
        }
        for scope in ["a", "b", "c"] {
            for value in ["a", "b", "c"] {
                assert!(implied.has(&Scope::parse(scope), value), "{scope} {value}");
            }
        }
    }
}

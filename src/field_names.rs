//! Compares header names as lenient servers fold them, and removes such headers.

use http::{HeaderMap, HeaderName, HeaderValue, header::CONNECTION};

/// Returns true if a lenient server may take one header name for the other.
pub(crate) fn may_be_confused(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len()
        && name.iter().zip(other).all(|(byte, other)| fold(*byte) == fold(*other))
}

/// Folds a byte of a header name as lenient servers do.
///
/// CGI (RFC 3875 §4.1.18) and its successors ignore case and treat `-` as `_`. Some servers also
/// replace other characters by `_`.
pub(crate) const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// Removes the headers whose names match `matches`, and their names from `Connection`.
pub(crate) fn remove(headers: &mut HeaderMap, matches: impl Fn(&[u8]) -> bool) {
    remove_except(headers, matches, |_| false);
}

/// Removes the same as [`remove`], except for headers that match `kept`.
///
/// The kept headers are for the next recipient. Their names still leave `Connection`, which would
/// have a proxy drop them (RFC 9110 §7.6.1).
pub(crate) fn remove_except(
    headers: &mut HeaderMap,
    matches: impl Fn(&[u8]) -> bool,
    kept: impl Fn(&[u8]) -> bool,
) {
    let names = headers.keys().filter(|name| {
        let name = name.as_str().as_bytes();
        matches(name) && !kept(name)
    });
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        headers.remove(name);
    }
    let options = || {
        let values = headers.get_all(CONNECTION).iter();
        let options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        options.map(<[u8]>::trim_ascii)
    };
    if !options().any(&matches) {
        return;
    }
    let left: Vec<_> = options().filter(|option| !matches(option)).collect();
    let left = (!left.is_empty()).then(|| HeaderValue::from_bytes(&left.join(&b", "[..])));
    headers.remove(CONNECTION);
    if let Some(Ok(value)) = left {
        headers.insert(CONNECTION, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_that_cgi_cannot_distinguish_are_alike() {
        let name = b"x-auth-subject";
        for other in ["x-auth-subject", "X_AUTH_SUBJECT", "x.auth-subject", "x-auth~subject"] {
            assert!(may_be_confused(name, other.as_bytes()), "{other}");
        }
        for other in ["x-auth-subjec", "x-auth-subjects", "xxauth-subject", "x-auth-subjekt", ""] {
            assert!(!may_be_confused(name, other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn rfc9110_7_6_1_connection_keeps_its_other_options() {
        let matches = |name: &[u8]| may_be_confused(b"x-auth-subject", name);
        for (before, after) in [
            (&["keep-alive", "Upgrade"][..], &["keep-alive", "Upgrade"][..]),
            (&["close, X-Auth-Subject , te"], &["close, te"]),
            (&["x_auth_subject"], &[]),
            (&["upgrade", "x-auth-subject", "\u{e9}"], &["upgrade, \u{e9}"]),
        ] {
            let mut headers = HeaderMap::new();
            for value in before {
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                headers.append(CONNECTION, value);
            }
            remove(&mut headers, matches);
            let left: Vec<_> =
                headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes).collect();
            let after: Vec<_> = after.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(left, after, "{before:?}");
        }
    }
}

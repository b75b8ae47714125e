//! Names of headers: which may tell an identity, and which pass for one that does.

use http::{HeaderMap, HeaderName, HeaderValue, header::CONNECTION};

/// Names that HTTP, proxies or authentication have a use for.
const TAKEN: [&str; 47] = [
    // The connection (RFC 9110 §7.6.1) and the message.
    "connection",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    // What is asked for, and what is answered.
    "accept",
    "accept-encoding",
    "accept-language",
    "age",
    "allow",
    "cache-control",
    "expires",
    "location",
    "pragma",
    "retry-after",
    "server",
    "strict-transport-security",
    "user-agent",
    "vary",
    // Credentials and keys.
    "authentication-info",
    "authorization",
    "client-cert",
    "client-cert-chain",
    "cookie",
    "dpop",
    "dpop-nonce",
    "set-cookie",
    "www-authenticate",
    // Where the request came from, and where it goes.
    "forwarded",
    "origin",
    "referer",
    "true-client-ip",
    "x-client-ip",
    "x-forwarded",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-real-ip",
    "x-rewrite-url",
];

/// The beginnings of such names.
const FAMILIES: [&str; 8] = [
    "access-control-",
    "content-",
    "grpc-",
    "if-",
    "proxy-",
    "sec-",
    "x-forwarded-",
    "x-original-",
];

/// What proxies of this kind are used to call an identity, although the family is taken.
const CUSTOMARY: [&str; 5] = [
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-user",
    "x-forwarded-scope",
];

/// The name of a header that may tell an identity.
pub(super) fn parse(name: &str) -> Result<HeaderName, String> {
    let shown = name.escape_debug();
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("`{shown}` is no field name (RFC 9110 §5.1)"))?;
    let folded: String = name.bytes().map(|byte| char::from(fold(byte))).collect();
    let family = FAMILIES.into_iter().any(|family| folded.starts_with(family));
    let taken = TAKEN.contains(&folded.as_str())
        || family && !CUSTOMARY.contains(&folded.as_str())
        || folded.ends_with("-bin");
    if taken { Err(format!("`{shown}` has a meaning of its own")) } else { Ok(header) }
}

/// Whether what reads names carelessly may take one for the other.
pub(super) fn alike(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len()
        && name.iter().zip(other).all(|(byte, other)| fold(*byte) == fold(*other))
}

/// CGI (RFC 3875 §4.1.18) and what came after it know no case, and `_` for `-`; some servers put it
/// in the place of anything else too.
const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// Removes the fields whose names are meant, and their names from `Connection`.
pub(super) fn remove(headers: &mut HeaderMap, meant: impl Fn(&[u8]) -> bool) {
    let names = headers.keys().filter(|name| meant(name.as_str().as_bytes()));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        headers.remove(name);
    }
    let options = || {
        let values = headers.get_all(CONNECTION).iter();
        let options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        options.map(<[u8]>::trim_ascii)
    };
    if !options().any(&meant) {
        return;
    }
    let left: Vec<_> = options().filter(|option| !meant(option)).collect();
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
    fn names_with_a_meaning_of_their_own_are_refused() {
        for name in [
            "Authorization",
            "proxy-authorization",
            "Host",
            "content-length",
            "content_length",
            "CONTENT.TYPE",
            "transfer-encoding",
            "Connection",
            "keep-alive",
            "te",
            "trailer",
            "upgrade",
            "cookie",
            "set-cookie",
            "x-forwarded-for",
            "x_forwarded_host",
            "x-original-uri",
            "sec-websocket-protocol",
            "grpc-timeout",
            "x-auth-subject-bin",
            "dpop",
            "client-cert",
        ] {
            assert!(parse(name).is_err(), "{name}");
        }
        for name in ["", "a b", "x-auth:", "x-auth\r\n", "x-äuth", "x\0"] {
            assert!(parse(name).unwrap_err().contains("no field name"), "{name:?}");
        }
        for name in ["X-Auth-Subject", "x_auth_subject", "x-forwarded-user", "remote-user"] {
            assert!(parse(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_that_a_gateway_interface_makes_one_are_alike() {
        let name = b"x-auth-subject";
        for other in ["x-auth-subject", "X_AUTH_SUBJECT", "x.auth-subject", "x-auth~subject"] {
            assert!(alike(name, other.as_bytes()), "{other}");
        }
        for other in ["x-auth-subjec", "x-auth-subjects", "xxauth-subject", "x-auth-subjekt", ""] {
            assert!(!alike(name, other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn rfc9110_7_6_1_connection_keeps_its_other_options() {
        let meant = |name: &[u8]| alike(b"x-auth-subject", name);
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
            remove(&mut headers, meant);
            let left: Vec<_> =
                headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes).collect();
            let after: Vec<_> = after.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(left, after, "{before:?}");
        }
    }
}

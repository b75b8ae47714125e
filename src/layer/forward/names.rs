//! Names of headers that may carry a verified claim.

use http::HeaderName;

/// Names that HTTP, proxies or authentication use.
const RESERVED: [&str; 47] = [
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
    // Content negotiation, caching, and response fields.
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
    // The sender and the target of the request.
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

/// Prefixes of names that HTTP, proxies or authentication use.
const RESERVED_PREFIXES: [&str; 8] = [
    "access-control-",
    "content-",
    "grpc-",
    "if-",
    "proxy-",
    "sec-",
    "x-forwarded-",
    "x-original-",
];

/// Names that proxies commonly use for an identity, allowed although their prefix is not.
const ALLOWED: [&str; 5] = [
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-user",
    "x-forwarded-scope",
];

/// Parses the name of a header that may carry a verified claim.
pub(super) fn parse(name: &str) -> Result<HeaderName, String> {
    let shown = name.escape_debug();
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("`{shown}` is not a field name (RFC 9110 §5.1)"))?;
    let folded: String =
        name.bytes().map(|byte| char::from(crate::field_names::fold(byte))).collect();
    let has_prefix = RESERVED_PREFIXES.into_iter().any(|prefix| folded.starts_with(prefix));
    let is_reserved = RESERVED.contains(&folded.as_str())
        || has_prefix && !ALLOWED.contains(&folded.as_str())
        || folded.ends_with("-bin");
    if is_reserved {
        Err(format!("`{shown}` is reserved by HTTP, proxies or authentication"))
    } else {
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_header_names_are_refused() {
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
            assert!(parse(name).unwrap_err().contains("not a field name"), "{name:?}");
        }
        for name in ["X-Auth-Subject", "x_auth_subject", "x-forwarded-user", "remote-user"] {
            assert!(parse(name).is_ok(), "{name}");
        }
    }
}

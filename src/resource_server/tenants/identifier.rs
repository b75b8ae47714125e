//! Tells the identifiers of issuers that have one spelling only.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::percent;

/// Returns true if an identifier is in the normal form of RFC 3986 §6.2.2, and no URL parser or
/// server that folds more reads another one in it.
///
/// An identifier from a token that is not verified yet is compared with what this service allows,
/// and then fetched from. `https://as.example.com/tenants/../x` starts with the path of the tenants,
/// and is fetched from elsewhere. So is what a parser makes a dot segment of: `%2e%2e`, a backslash,
/// or `..;` where the server has path parameters.
///
/// An empty path is not `/` here: identifiers are compared exactly.
pub(super) fn is_normal(identifier: &str) -> bool {
    if !identifier.bytes().all(is_allowed) || !are_octets_normal(identifier) {
        return false;
    }
    let (scheme, rest) = match identifier.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') => (scheme, rest),
        // Not a URL, so no host. It may be that of a resolver that fetches nothing.
        _ => ("", identifier),
    };
    let is_http = matches!(scheme, "http" | "https");
    let path = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            if !is_authority_normal(scheme, authority) {
                return false;
            }
            path
        }
        // Parsers add the slashes that are missing.
        None if is_http => return false,
        None => rest,
    };
    !scheme.bytes().any(|byte| byte.is_ascii_uppercase()) && path.split('/').all(is_plain_segment)
}

/// Returns true for the characters of RFC 3986 §2, without those of a query and a fragment, which an
/// issuer has not (RFC 8414 §2). Parsers turn a backslash into a slash, and leave out tabs and line
/// breaks.
const fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b':'
                | b'/'
                | b'['
                | b']'
                | b'@'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

/// Returns true if all percent-encoded octets have upper-case digits and need the encoding (RFC 3986
/// §6.2.2.1, §6.2.2.2).
///
/// A slash, a backslash and a percent sign may be encoded, but servers that decode a path before
/// they look for its segments see another one.
fn are_octets_normal(identifier: &str) -> bool {
    identifier.as_bytes().split(|byte| *byte == b'%').skip(1).all(|rest| {
        let Some(digits) = rest.get(..2) else { return false };
        let Some(octet) = percent::octet(digits) else { return false };
        let is_unreserved =
            octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~');
        !is_unreserved
            && !matches!(octet, b'/' | b'\\' | b'%')
            && !digits.iter().any(u8::is_ascii_lowercase)
    })
}

/// Returns true if a segment is no dot segment (RFC 3986 §5.2.4), with or without parameters.
fn is_plain_segment(segment: &str) -> bool {
    !matches!(segment.split(';').next(), Some("." | ".."))
}

/// Returns true if a host and a port are as parsers leave them. User information is none of an
/// issuer.
fn is_authority_normal(scheme: &str, authority: &str) -> bool {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').map_or(0, |at| at + 2),
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    is_host_normal(host) && (port.is_empty() || is_port_normal(scheme, port))
}

fn is_host_normal(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        // An embedded IPv4 address has two spellings.
        let is_normal = |parsed: Ipv6Addr| parsed.to_string() == address;
        return !address.contains('.') && address.parse().is_ok_and(is_normal);
    }
    let is_allowed =
        |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase() || b"-._".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_allowed) {
        return false;
    }
    // A name whose last label is a number is an address to parsers, however it is written.
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    !is_number || host.parse().is_ok_and(|parsed: Ipv4Addr| parsed.to_string() == host)
}

fn is_port_normal(scheme: &str, port: &str) -> bool {
    let number = port.strip_prefix(':').and_then(|digits| digits.parse::<u16>().ok());
    let is_default = matches!((scheme, number), ("https", Some(443)) | ("http", Some(80)));
    // Leading zeros and a sign are parsed, too.
    !is_default && number.is_some_and(|number| port == format!(":{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3986_6_2_2_identifier_that_normalization_changes_is_not_normal() {
        for normal in [
            "https://as.example.com",
            "https://as.example.com/",
            "https://as.example.com/tenants/acme",
            "https://as.example.com/tenants/acme/",
            "https://as.example.com:8443/a//b",
            "https://as.example.com/M%C3%BCller/a%20b/...;v=1/..a/.well-known/a:b@c",
            "https://192.0.2.7/t",
            "https://[2001:db8::1]:8443/t",
            "http://localhost:9000",
            "tenant-7",
            "urn:tenant:7",
            "",
        ] {
            assert!(is_normal(normal), "{normal}");
        }
        for path in [
            "/..",
            "/.",
            "/./a",
            "/../uploads/mallory",
            "/a/../b",
            "/%2e%2e/x",
            "/%2E%2E/x",
            "/.%2E/x",
            "/%2e./x",
            "/..;/x",
            "/.;a=b/x",
            "/..%2Fx",
            "/..%5Cx",
            "/%252e%252e/x",
            "/..\\x",
            "\\..\\x",
            "/%7Ealice",
            "/%7ealice",
            "/%c3%bc",
            "/%41",
            "/%",
            "/%4",
            "/%zz",
            "/a b",
            "/a\tb",
            "/a\nb",
            "/\u{fc}",
            "/a?b",
            "/a#b",
            "?",
            "#",
            "/<a>",
            "/a|b",
            "/{a}",
        ] {
            let identifier = format!("https://as.example.com/tenants{path}");
            assert!(!is_normal(&identifier), "{identifier:?}");
        }
        for identifier in [
            "HTTPS://as.example.com",
            "https://AS.example.com",
            "https://as%2Eexample.com",
            "https://as.example.com:443/t",
            "https://as.example.com:/t",
            "https://as.example.com:08443/t",
            "https://as.example.com:+8443/t",
            "https://as.example.com:99999/t",
            "https://as.example.com@evil.example.com/t",
            "https://as.example.com\\@evil.example.com/t",
            "http://localhost:80",
            "https:as.example.com/t",
            "https:/as.example.com/t",
            "https:///as.example.com/t",
            "https://",
            " https://as.example.com",
            "https://127.1/t",
            "https://0x7f.0.0.1/t",
            "https://2130706433/t",
            "https://127.0.0.01/t",
            "https://127.0.0.1./t",
            "https://[2001:DB8::1]/t",
            "https://[2001:db8:0:0::1]/t",
            "https://[::ffff:192.0.2.7]/t",
            "https://[::1/t",
            "a/../b",
            "..",
            "Urn:tenant:7",
        ] {
            assert!(!is_normal(identifier), "{identifier:?}");
        }
    }

    /// Whatever is normal, a URL parser leaves as it is, but for an empty path.
    #[cfg(feature = "reqwest")]
    #[test]
    fn url_parser_folds_nothing_of_a_normal_identifier() {
        const PIECES: [&str; 24] = [
            "", "/", "//", ".", "..", "%2E", "%2e", "%7E", "%20", "\\", ";", ":", ":443", ":08",
            "@", "a", "A", "0x1", "7", "[::1]", "\t", "?", "#", "\u{fc}",
        ];
        let mut normal = 0;
        for scheme in ["https:", "http:", "HTTPS:"] {
            for count in 0..PIECES.len().pow(4) {
                let at = |digit: u32| PIECES[count / PIECES.len().pow(digit) % PIECES.len()];
                let identifier = format!("{scheme}//{}{}{}{}", at(0), at(1), at(2), at(3));
                if !is_normal(&identifier) {
                    continue;
                }
                normal += 1;
                let parsed = reqwest::Url::parse(&identifier).unwrap();
                let parsed = parsed.as_str();
                assert!(
                    parsed == identifier || parsed.strip_suffix('/') == Some(&identifier),
                    "{identifier:?} is {parsed:?}"
                );
            }
        }
        assert!(normal > 1_000, "{normal} prove too little");
    }
}

//! Checks that a proof names the request it came with (`htu`, RFC 9449 §4.3, check 9).

use std::fmt::Write as _;

use percent_encoding::percent_encode_byte;

use crate::percent::octet;

/// The URL at which clients reach this service: scheme, host, port and the path prefix.
///
/// Both sides are compared after the syntax-based and scheme-based normalisation of RFC 3986 §6.2.2
/// and §6.2.3, and no other. A browser's URL parser would also treat a backslash as a slash.
///
/// Dot segments of the request are an exception. A service or proxy behind this one may resolve them
/// or not, so a path with dot segments is compared as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    origin: Origin,
    /// The path prefix without a trailing slash.
    prefix: String,
    /// The URL as most clients write it.
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    tls: bool,
    host: String,
    port: u16,
}

impl Base {
    /// Parses `url`.
    ///
    /// Returns `None` if it is no `http` or `https` URL, or has a query, a fragment or a user.
    pub(super) fn parse(url: &str) -> Option<Self> {
        if url.contains(['?', '#']) {
            return None;
        }
        let (origin, path) = split(url)?;
        let prefix = normal_path(path).trim_end_matches('/').to_owned();
        let scheme = if origin.tls { "https" } else { "http" };
        let mut text = format!("{scheme}://{}", origin.host);
        if origin.port != default_port(origin.tls) {
            let _ = write!(text, ":{}", origin.port);
        }
        text.push_str(&prefix);
        Some(Self { origin, prefix, text })
    }

    /// Returns true if `htu` is the URL of the resource at `path` below this URL.
    pub(super) fn matches(&self, htu: &str, path: &str) -> bool {
        // The target of `OPTIONS *` is no path and names no resource.
        if !path.is_empty() && !path.starts_with('/') {
            return false;
        }
        // Equal texts need no normalisation.
        if !path.is_empty() && htu.strip_prefix(&*self.text) == Some(path) {
            return true;
        }
        let Some((origin, named)) = split(htu) else { return false };
        if origin != self.origin {
            return false;
        }
        let expected = [&*self.prefix, path].concat();
        if has_dot_segments(path) {
            return named == expected;
        }
        normal_path(named) == normal_path(&expected)
    }
}

/// Splits an absolute URL into its origin and path, and drops query and fragment.
fn split(url: &str) -> Option<(Origin, &str)> {
    let url = url.split(['?', '#']).next()?;
    let (scheme, rest) = url.split_once("://")?;
    let tls = match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => true,
        _ if scheme.eq_ignore_ascii_case("http") => false,
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // The colons of an IPv6 address are inside brackets.
    let (host, port) = match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => (&authority[..at], &authority[at + 1..]),
        _ => (authority, ""),
    };
    let port = match port {
        "" => default_port(tls),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    Some((Origin { tls, host: normal_host(host)?, port }, path))
}

const fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// Normalises a host to lower case with no needless percent-encoding (RFC 3986 §3.2.2).
///
/// Returns `None` for an empty host, and for characters that no host has: a user before it, white
/// space, a backslash.
fn normal_host(host: &str) -> Option<String> {
    let literal = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    if let Some(inner) = literal {
        let address = inner.parse::<std::net::Ipv6Addr>().ok()?;
        return Some(format!("[{address}]"));
    }
    let plain = |byte: u8| is_unreserved(byte) || is_sub_delim(byte);
    let sound = !host.is_empty() && host.bytes().all(|byte| plain(byte) || byte == b'%');
    sound.then(|| normal_encoding(host, plain).to_ascii_lowercase())
}

/// Normalises a path: no needless percent-encoding and no dot segments (RFC 3986 §6.2.2).
///
/// An empty path becomes `/` (§6.2.3).
fn normal_path(path: &str) -> String {
    let path = normal_encoding(path, |byte| {
        is_unreserved(byte) || is_sub_delim(byte) || matches!(byte, b'/' | b':' | b'@')
    });
    let mut segments = Vec::new();
    let mut rest = path.split('/').skip(1).peekable();
    while let Some(segment) = rest.next() {
        let last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if last {
                    segments.push("");
                }
            }
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Returns true if a path has segments that mean another place (RFC 3986 §3.3), also percent-encoded.
fn has_dot_segments(path: &str) -> bool {
    path.split('/').any(|segment| matches!(&*normal_encoding(segment, |_| true), "." | ".."))
}

/// Decodes the unreserved octets of `text` (RFC 3986 §2.3), and percent-encodes all bytes that are
/// not `plain`, with upper-case digits.
///
/// An octet that is already percent-encoded stays so unless it is unreserved, because it may mean
/// something else than the plain character.
fn normal_encoding(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let octet = (byte == b'%').then(|| octet(bytes.get(at + 1..at + 3)?)).flatten();
        match octet {
            Some(octet) if is_unreserved(octet) => out.push(char::from(octet)),
            Some(octet) => out.push_str(percent_encode_byte(octet)),
            None if plain(byte) => out.push(char::from(byte)),
            None => out.push_str(percent_encode_byte(byte)),
        }
        at += if octet.is_some() { 3 } else { 1 };
    }
    out
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const fn is_sub_delim(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(base: &str, htu: &str, path: &str) -> bool {
        Base::parse(base).unwrap().matches(htu, path)
    }

    const RS: &str = "https://rs.example";

    #[test]
    fn rfc3986_6_2_equivalent_urls_are_equal() {
        for (htu, path) in [
            ("https://rs.example/r", "/r"),
            ("HTTPS://RS.EXAMPLE:443/a/../r", "/r"),
            ("https://rs.example:/r", "/r"),
            ("https://rs.example:0443/r", "/r"),
            ("https://rs.example", "/"),
            ("https://rs.example", ""),
            ("https://rs.example/", ""),
            ("https://%72s.example/%72", "/r"),
            ("https://rs.example/r?a=b", "/r"),
            ("https://rs.example/r#f", "/r"),
            ("https://rs.example?a=/b", "/"),
            ("https://rs.example/a%2fb", "/a%2Fb"),
            ("https://rs.example/%7euser", "/~user"),
            ("https://rs.example/%7Euser", "/%7euser"),
            ("https://rs.example/./a/./b/", "/a/b/"),
            ("https://rs.example/a/b/.", "/a/b/"),
            ("https://rs.example/a/b/..", "/a/"),
            ("https://rs.example/%2e%2E/r", "/r"),
            ("https://rs.example/x/../r", "/x/../r"),
            ("HTTPS://rs.example:443/x/%2e%2e/r?a=b", "/x/%2e%2e/r"),
            ("https://rs.example/...", "/..."),
            ("https://rs.example/.a/b..", "/%2ea/b%2e%2E"),
            ("https://rs.example/caf\u{e9}", "/caf%C3%A9"),
            ("https://rs.example/a b", "/a%20b"),
            ("https://rs.example/a%20b", "/a%20b"),
            ("https://rs.example/100%", "/100%25"),
            ("https://rs.example//r", "//r"),
        ] {
            assert!(is(RS, htu, path), "{htu} {path}");
        }
    }

    #[test]
    fn rfc9449_4_3_different_urls_are_not_equal() {
        for (htu, path) in [
            ("https://rs.example/R", "/r"),
            ("https://rs.example/r/", "/r"),
            ("https://rs.example/r", "/r/"),
            ("https://rs.example//r", "/r"),
            ("https://rs.example/a/b", "/a%2Fb"),
            ("https://rs.example/a%2Fb", "/a/b"),
            ("https://rs.example/a%3Bb", "/a;b"),
            ("https://rs.example/a%252Fb", "/a%2Fb"),
            ("https://rs.example/r", "/x/../r"),
            ("https://rs.example/r", "/x/%2e%2e/r"),
            ("https://rs.example/x/../r", "/x/%2e%2e/r"),
            ("https://rs.example/x/%2e%2E/r", "/x/%2e%2e/r"),
            ("https://rs.example/r", "/./r"),
            ("https://rs.example/r/", "/r/."),
            ("https://rs.example/r/", "/r/x/.."),
            ("https://rs.example/r", "/../r"),
            ("https://rs.example/a\\b", "/a/b"),
            ("http://rs.example/r", "/r"),
            ("https://rs.example:80/r", "/r"),
            ("https://rs.example:8443/r", "/r"),
            ("https://rs.example:65979/r", "/r"),
            ("https://rs.example:+443/r", "/r"),
            ("https://rs.example:443:443/r", "/r"),
            ("https://rs.example.:443/r", "/r"),
            ("https://rs.example.evil/r", "/r"),
            ("https://rs.example@evil/r", "/r"),
            ("https://evil@rs.example/r", "/r"),
            ("https://evil\\@rs.example/r", "/r"),
            ("https://rs.example\\/r", "/r"),
            ("https://rs.examp\u{130}le/r", "/r"),
            ("https:// rs.example/r", "/r"),
            (" https://rs.example/r", "/r"),
            ("https:///r", "/r"),
            ("https:rs.example/r", "/r"),
            ("https:/rs.example/r", "/r"),
            ("//rs.example/r", "/r"),
            ("rs.example/r", "/r"),
            ("/r", "/r"),
            ("", "/r"),
            ("*", "/r"),
            ("https://rs.example/", "*"),
            ("https://rs.example*", "*"),
            ("ftp://rs.example/r", "/r"),
            ("wss://rs.example/r", "/r"),
        ] {
            assert!(!is(RS, htu, path), "{htu} {path}");
        }
    }

    #[test]
    fn ports_and_addresses_are_compared_as_numbers() {
        assert!(is("http://127.0.0.1:8080", "http://127.0.0.1:8080/r", "/r"));
        assert!(is("http://rs.example:80", "http://rs.example/r", "/r"));
        assert!(is("https://[::1]:8443", "https://[0:0::1]:8443/r", "/r"));
        assert!(is("https://[2001:DB8::1]", "https://[2001:db8:0::1]/r", "/r"));
        assert!(!is("https://[::1]", "https://[::2]/r", "/r"));
        assert!(!is("https://[::1]", "https://::1/r", "/r"));
        assert!(!is("https://[::1]", "https://[::1/r", "/r"));
    }

    #[test]
    fn base_url_may_have_a_path() {
        for base in ["https://rs.example/api/v1", "https://rs.example/api/v1/"] {
            assert!(is(base, "https://rs.example/api/v1/r", "/r"));
            assert!(is(base, "https://rs.example/api/v1/", "/"));
            assert!(!is(base, "https://rs.example/r", "/r"));
            assert!(!is(base, "https://rs.example/api/v1", "/"));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_every_path_equals_itself(
            htu in ".{0,64}", path in "/[ -~]{0,32}", more in "[a-z0-9/.%:@\\[\\]]{0,24}"
        ) {
            let base = Base::parse(RS).unwrap();
            let _ = (base.matches(&htu, &path), Base::parse(&htu), Base::parse(&format!("https://{more}")));
            let path = path.replace(['?', '#'], "");
            let own = format!("{RS}{path}");
            proptest::prop_assert!(base.matches(&own, &path));
            let normal = normal_path(&path);
            proptest::prop_assert_eq!(&normal_path(&normal), &normal);
            let with_port = format!("{RS}:443{path}");
            proptest::prop_assert!(base.matches(&with_port, &path));
        }
    }

    #[test]
    fn invalid_base_url_is_refused() {
        for base in [
            "",
            "rs.example",
            "https://",
            "https://u@rs.example",
            "https://rs.example?a",
            "https://rs.example#a",
            "unix:/run/socket",
            "https://rs.example:99999",
            "https://[::1",
        ] {
            assert!(Base::parse(base).is_none(), "{base}");
        }
    }
}

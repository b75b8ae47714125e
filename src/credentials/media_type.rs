//! The media types of gRPC.

use http::{HeaderMap, Version, header::CONTENT_TYPE};

use super::grammar::is_http_token;

/// A protocol of the gRPC family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrpcMediaType {
    Grpc,
    GrpcWeb,
    GrpcWebText,
}

impl GrpcMediaType {
    const ALL: [Self; 3] = [Self::Grpc, Self::GrpcWeb, Self::GrpcWebText];

    /// Returns the media type, without the message format.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::GrpcWeb => "application/grpc-web",
            Self::GrpcWebText => "application/grpc-web-text",
        }
    }

    /// Returns the earliest version of HTTP that carries the protocol.
    ///
    /// gRPC needs the frames and trailers of HTTP/2. gRPC-Web was made for what browsers have
    /// without them.
    pub(super) const fn earliest_version(self) -> Version {
        match self {
            Self::Grpc => Version::HTTP_2,
            Self::GrpcWeb | Self::GrpcWebText => Version::HTTP_11,
        }
    }
}

/// Returns the protocol that the only `Content-Type` names, if it is one of these.
///
/// The value must be one of the types, or the type with `+` and a message format, and well-formed
/// parameters (RFC 9110 §8.3.1). Anything else is not gRPC, however it starts.
pub(crate) fn grpc_media_type(headers: &HeaderMap) -> Option<GrpcMediaType> {
    let mut fields = headers.get_all(CONTENT_TYPE).into_iter();
    let (Some(only), None) = (fields.next(), fields.next()) else { return None };
    let value = only.as_bytes();
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let (name, parameters) = (value[..end].trim_ascii(), &value[end..]);
    let is = |kind: &GrpcMediaType| {
        let Some((head, tail)) = name.split_at_checked(kind.as_str().len()) else { return false };
        let format =
            tail.split_first().is_none_or(|(plus, format)| *plus == b'+' && is_http_token(format));
        head.eq_ignore_ascii_case(kind.as_str().as_bytes()) && format
    };
    GrpcMediaType::ALL.into_iter().find(is).filter(|_| are_parameters(parameters))
}

/// Returns true if `text` is `*( OWS ";" OWS [ parameter ] )` (RFC 9110 §5.6.6).
fn are_parameters(mut text: &[u8]) -> bool {
    loop {
        text = text.trim_ascii_start();
        let [b';', rest @ ..] = text else { return text.is_empty() };
        let rest = rest.trim_ascii_start();
        if rest.first().is_none_or(|byte| *byte == b';') {
            text = rest;
            continue;
        }
        let Some(at) = rest.iter().position(|byte| *byte == b'=') else { return false };
        let (name, value) = (&rest[..at], &rest[at + 1..]);
        let length = match value.first() {
            Some(b'"') => quoted_length(value),
            _ => value
                .iter()
                .position(|byte| matches!(byte, b';' | b' ' | b'\t'))
                .or(Some(value.len()))
                .filter(|length| is_http_token(&value[..*length])),
        };
        let Some(length) = length.filter(|_| is_http_token(name)) else { return false };
        text = &value[length..];
    }
}

/// Returns the length of the quoted string (RFC 9110 §5.6.4) that `text` starts with.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    let close = text.iter().skip(1).position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })?;
    Some(close + 2)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&[u8]]) -> Option<GrpcMediaType> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_TYPE, HeaderValue::from_bytes(value).unwrap());
        }
        grpc_media_type(&headers)
    }

    #[test]
    fn rfc9110_8_3_1_media_type_is_exact_with_optional_format_and_parameters() {
        use GrpcMediaType::{Grpc, GrpcWeb, GrpcWebText};
        for (value, expected) in [
            ("application/grpc", Grpc),
            ("APPLICATION/gRPC", Grpc),
            ("application/grpc+proto", Grpc),
            ("application/grpc+x-y.z", Grpc),
            ("application/grpc ; a=b", Grpc),
            ("application/grpc;a=b;;c=\"d;, \\\"e\" ; ", Grpc),
            ("application/grpc-web", GrpcWeb),
            ("application/grpc-web+json; charset=utf-8", GrpcWeb),
            ("application/grpc-web-text", GrpcWebText),
            ("application/grpc-web-text+thrift", GrpcWebText),
        ] {
            assert_eq!(of(&[value.as_bytes()]), Some(expected), "{value}");
        }
    }

    #[test]
    fn other_values_are_not_grpc_however_they_start() {
        for value in [
            "application/grpc junk",
            "application/grpc+",
            "application/grpc+proto junk",
            "application/grpc +proto",
            "application/grpc+pro(to",
            "application/grpc-",
            "application/grpc-webx",
            "application/grpc-web-texts",
            "application/grpcx",
            "application/grpc, text/html",
            "application/grpc; junk",
            "application/grpc; a=",
            "application/grpc; =b",
            "application/grpc; a=b c",
            "application/grpc; a=b, text/html",
            "application/grpc; a=\"b",
            "application/grpc; a=\"b\"c",
            "text/application/grpc",
            "",
        ] {
            assert_eq!(of(&[value.as_bytes()]), None, "{value}");
        }
        assert_eq!(of(&[b"application/grpc\xff"]), None);
        assert_eq!(of(&[b"application/grpc; a=\xff"]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[b"application/grpc", b"application/grpc"]), None, "which one counts?");
        assert_eq!(of(&[b"application/grpc", b"text/html"]), None);
    }
}

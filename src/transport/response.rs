//! Reads the status and the headers of HTTP responses.

use std::{
    borrow::Cow,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};

use crate::{
    claims::json::byte_order_mark,
    clock::UnixTime,
    error::{kind::ErrorKind, refusal::VerifyError},
};

/// The maximum number of characters of a field that errors show.
const MAX_SHOWN: usize = 64;

/// The first bytes of a gzip member (RFC 1952 §2.3.1). No JSON and no JWT begins with them.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Returns the body of a response that is not encoded in any way.
///
/// Requests ask for no content coding. Some proxies compress the response all the same, and some
/// servers begin a text with a byte order mark. Then the error says so, and not that the text is
/// malformed.
pub(crate) fn plain_body(response: &Response<Bytes>) -> Result<&[u8], VerifyError> {
    let codings = response.headers().get_all(header::CONTENT_ENCODING);
    for coding in codings {
        if !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity") {
            let coding = String::from_utf8_lossy(coding.as_bytes());
            let coding: String = coding.chars().take(MAX_SHOWN).collect();
            return Err(bad(format!(
                "the response has the content coding {coding:?}, which was not asked for"
            )));
        }
    }
    let body = response.body();
    if body.starts_with(&GZIP) {
        return Err(bad("the response is compressed by gzip, which was not asked for"));
    }
    match byte_order_mark(body) {
        Some(mark) => Err(bad(format!("the response begins with a byte order mark ({mark})"))),
        None => Ok(body),
    }
}

/// Returns true if the one `Content-Type` is this media type, without regard to parameters and case
/// (RFC 9110 §8.3.1).
pub(crate) fn is_media_type(headers: &HeaderMap, media_type: &str) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let essence = only.to_str().ok().and_then(|text| text.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type))
}

/// The maximum `Retry-After`. A longer one counts as this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Returns the error for a response that can't be used.
pub(crate) fn bad(context: impl Into<Cow<'static, str>>) -> VerifyError {
    VerifyError::new(ErrorKind::BadResponse).with_context(context)
}

/// Adds to the context of an error what the response was about, for services with several issuers.
pub(crate) fn in_context(error: VerifyError, about: String) -> VerifyError {
    let context = match error.context() {
        Some(context) => format!("{about}: {context}"),
        None => about,
    };
    error.with_context(context)
}

/// Returns an error if the status is 5xx, 408 or 429, with the time to wait before the next attempt,
/// unless that is zero.
pub(crate) fn unavailable_error(response: &Response<Bytes>, now: UnixTime) -> Option<VerifyError> {
    let status = response.status();
    let overloaded = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if !status.is_server_error() && !overloaded {
        return None;
    }
    let error = VerifyError::new(ErrorKind::Unavailable)
        .with_context(format!("the server responded with status {}", status.as_u16()));
    Some(match retry_after(response.headers(), now) {
        Some(after) if !after.is_zero() => error.with_retry_after(after.min(MAX_RETRY_AFTER)),
        _ => error,
    })
}

/// Returns the delay that `Retry-After` gives, in seconds or as a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: UnixTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let since_epoch = date.duration_since(UNIX_EPOCH).ok()?;
    let then = UnixTime::from_millis(0).saturating_add(since_epoch);
    Some(then.saturating_duration_since(now))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: &header::HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn rfc9110_8_3_1_media_types_have_parameters_and_no_case() {
        let is_json = |values: &[_]| {
            is_media_type(&headers(&header::CONTENT_TYPE, values), "application/json")
        };
        for value in ["application/json", "Application/JSON ; charset=utf-8", "application/json;"] {
            assert!(is_json(&[value]), "{value}");
        }
        for value in
            ["application/jsonx", "text/json", "", ";application/json", "a, application/json"]
        {
            assert!(!is_json(&[value]), "{value}");
        }
        assert!(!is_json(&[]));
        assert!(!is_json(&["application/json", "text/html"]));
        assert!(!is_json(&["text/html", "application/json"]));
    }

    #[test]
    fn rfc9110_10_2_3_retry_after_is_seconds_or_a_date() {
        // 1994-11-06T08:49:37Z
        let now = UnixTime::from_secs(784_111_777);
        let after = |value| retry_after(&headers(&header::RETRY_AFTER, &[value]), now);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(after("120"), seconds(120));
        assert_eq!(after("0"), seconds(0));
        assert_eq!(after("18446744073709551615"), seconds(u64::MAX));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:37 GMT"), seconds(60));
        assert_eq!(after("Sun, 06 Nov 1994 08:48:37 GMT"), seconds(0));
        for value in ["", "-1", "+1", "1.5", "soon", "99999999999999999999999"] {
            assert_eq!(after(value), None, "{value}");
        }
    }

    #[test]
    fn rfc9110_8_4_coded_bodies_and_byte_order_marks_are_named() {
        let read = |codings: &[&'static str], body: &'static [u8]| {
            let mut response = Response::new(Bytes::from_static(body));
            *response.headers_mut() = headers(&header::CONTENT_ENCODING, codings);
            plain_body(&response).map(<[u8]>::to_vec).map_err(|error| {
                assert_eq!(error.kind(), ErrorKind::BadResponse);
                error.context().unwrap().to_owned()
            })
        };
        for codings in [&[][..], &["identity"], &["Identity"]] {
            assert_eq!(read(codings, b"{}").as_deref(), Ok(&b"{}"[..]), "{codings:?}");
        }
        for (codings, body, named) in [
            (&["gzip"][..], &b"\x1f\x8b"[..], "\"gzip\""),
            (&["identity", "br"], b"{}", "\"br\""),
            (&["gzip, \tbr"], b"", "\"gzip, \\tbr\""),
            (&[], b"\x1f\x8b\x08", "gzip"),
            (&[], b"\xef\xbb\xbf{}", "byte order mark (UTF-8)"),
            (&[], b"\xff\xfe{\0", "byte order mark (UTF-16)"),
            (&[], b"\xfe\xff\0{", "byte order mark (UTF-16)"),
        ] {
            let context = read(codings, body).unwrap_err();
            assert!(context.contains(named), "{context}");
        }
    }

    #[test]
    fn status_5xx_408_and_429_mean_unavailable() {
        let unavailable = |status: u16| {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
            unavailable_error(&response, UnixTime::default())
        };
        for status in [408, 429, 500, 502, 503, 504, 599] {
            let error = unavailable(status).unwrap();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{status}");
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)), "{status}");
        }
        for status in [200, 204, 302, 400, 401, 403, 404] {
            assert!(unavailable(status).is_none(), "{status}");
        }
    }
}

//! Reports the exchanges with a server, without their secrets.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json, value::RawValue};

use crate::{
    json,
    net::{Exchange, redact_userinfo},
    report::{Field, Report, Tone},
    token::Form,
};

/// The most characters to show of a body that is not JSON.
const MAX_CHARS: usize = 240;

/// The most headers to show.
const MAX_HEADERS: usize = 40;

/// The most characters to show of a text of the server.
const MAX_TEXT: usize = 200;

/// Describes a response in one line: its status, and the place of a redirect, the error and its
/// description (RFC 6749 §5.2), or the kind of the body.
pub(crate) fn summary(response: &Response<Bytes>) -> String {
    let (status, bytes) = (response.status(), response.body());
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let bounded = |text: &str| text.chars().take(MAX_TEXT).collect::<String>();
    let error = body["error"].as_str().map(|code| format!(", `{}`", bounded(code)));
    let why = body["error_description"].as_str().map(|why| format!(": \"{}\"", bounded(why)));
    let kind = header_text(response, &header::CONTENT_TYPE);
    let challenge = header_text(response, &header::WWW_AUTHENTICATE);
    match (error, why) {
        _ if status.is_redirection() => {
            format!("{status}, a redirect to {}", header_text(response, &header::LOCATION))
        }
        // Where the credentials are a bearer token (RFC 6750 §3).
        (None, None) if challenge.contains("error") => format!("{status}, {challenge}"),
        (None, None) if bytes.is_empty() => format!("{status} without content"),
        (None, None) if kind.starts_with("text/plain") => {
            format!("{status}: \"{}\"", bounded(String::from_utf8_lossy(bytes).trim()))
        }
        (None, None) if !body.is_object() => format!("{status}, {kind}, {} bytes", bytes.len()),
        (error, why) => format!("{status}{}{}", error.unwrap_or_default(), why.unwrap_or_default()),
    }
}

/// Returns the value of a header, truncated.
pub(crate) fn header_text(response: &Response<Bytes>, name: &HeaderName) -> String {
    let value = response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    value.map(|value| value.chars().take(MAX_TEXT).collect()).unwrap_or_default()
}

/// Removes the introspections of other tokens, by which a service judges the health of the server.
pub(crate) fn without_canaries(mut exchanges: Vec<Exchange>, token: &str) -> Vec<Exchange> {
    exchanges.retain(|exchange| {
        let body = String::from_utf8_lossy(exchange.request.body());
        let mut sent = body.split('&').filter_map(|pair| pair.strip_prefix("token="));
        sent.next().is_none_or(|sent| decode(sent) == token)
    });
    exchanges
}

/// Reports a request and its response.
pub(crate) fn report_exchange(report: &mut Report, exchange: &Exchange) {
    report_request(report, &exchange.request);
    let why = match &exchange.outcome {
        Some(Ok(response)) => {
            let fetched = exchange.request.method() == http::Method::GET;
            return report_response(report, response, exchange.millis(), fetched);
        }
        Some(Err(error)) => error.describe(),
        None => format!("none within {} ms", exchange.millis()),
    };
    report.heading("No response");
    report.line(Tone::Bad, format!("  {why}"));
}

fn report_request(report: &mut Report, request: &Request<Bytes>) {
    let url = redact_userinfo(&request.uri().to_string());
    report.heading(format!("{} {url}", request.method()));
    let headers = request.headers().iter().map(|(name, value)| {
        let value = value.to_str().unwrap_or_default();
        let value = if name == header::AUTHORIZATION { credentials(value) } else { value.into() };
        Field::new(name.as_str(), value)
    });
    let form = form(request).into_iter().map(|(name, value)| Field::new(name, value));
    report.fields(headers.chain(form));
}

fn report_response(report: &mut Report, response: &Response<Bytes>, millis: u128, fetched: bool) {
    let status = response.status();
    report.heading(format!("Response: {status}"));
    let document = fetched && status == http::StatusCode::OK;
    if document && json::members(&String::from_utf8_lossy(response.body())).is_ok() {
        // `doctor` and `keys lint` show the contents of metadata and keys.
        let length = response.body().len();
        report.line(Tone::Plain, format!("  {length} bytes of JSON in {millis} ms"));
        return;
    }
    let headers = headers(response.headers());
    let headers = headers.into_iter().map(|(name, value)| Field::new(name, value));
    report.fields([Field::new("took", format!("{millis} ms"))].into_iter().chain(headers));
    report.line(Tone::Plain, "");
    for line in body(response).lines() {
        report.line(Tone::Plain, format!("  {line}"));
    }
}

/// Returns an exchange as JSON.
pub(crate) fn to_json(exchange: &Exchange) -> Value {
    let request = &exchange.request;
    let mut out = json!({
        "method": request.method().as_str(),
        "url": redact_userinfo(&request.uri().to_string()),
        "form": BTreeMap::from_iter(form(request)),
        "milliseconds": u64::try_from(exchange.millis()).unwrap_or(u64::MAX),
    });
    let authorization = request.headers().get(header::AUTHORIZATION);
    if let Some(value) = authorization.and_then(|value| value.to_str().ok()) {
        out["authorization"] = credentials(value).into();
    }
    match &exchange.outcome {
        Some(Ok(response)) => {
            out["status"] = response.status().as_u16().into();
            out["headers"] = json!(BTreeMap::from_iter(headers(response.headers())));
            out["body"] =
                serde_json::from_slice(response.body()).unwrap_or_else(|_| body(response).into());
        }
        Some(Err(error)) => out["error"] = error.describe().into(),
        None => out["error"] = "no response in time".into(),
    }
    out
}

/// Returns the value of `Authorization` with its secret redacted.
fn credentials(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once(' ') else { return "[redacted]".to_owned() };
    if !scheme.eq_ignore_ascii_case("basic") {
        return format!("{scheme} [redacted]");
    }
    let pair = STANDARD.decode(rest).ok().and_then(|pair| String::from_utf8(pair).ok());
    match pair.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((id, _)) => format!("{scheme} {id}:[redacted]"),
        None => format!("{scheme} [redacted]"),
    }
}

/// Returns the parameters of a request. Secret values are redacted.
fn form(request: &Request<Bytes>) -> Vec<(String, String)> {
    let body = String::from_utf8_lossy(request.body());
    let pairs = body.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value);
            let shown = match name {
                "token" => format!("[the token, {} characters]", value.chars().count()),
                "client_secret" => "[redacted]".to_owned(),
                "client_assertion" => assertion(&value),
                _ => value,
            };
            (name.to_owned(), shown)
        })
        .collect()
}

/// Describes a client assertion, without its signature.
fn assertion(text: &str) -> String {
    let Form::Jws(jws) = Form::of(text) else { return "[redacted]".to_owned() };
    let member = |name: &str| {
        let value = jws.header.get(name).or_else(|| jws.payload.get(name))?;
        Some(format!("{name} {}", value.get()))
    };
    let members: Vec<_> = ["alg", "kid", "iss", "aud"].into_iter().filter_map(member).collect();
    format!("[redacted] {}", members.join(", "))
}

/// Decodes a value of a form (URL Standard, application/x-www-form-urlencoded).
fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Returns the names and values of headers, as far as they are no secrets.
pub(crate) fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let text = if name == header::SET_COOKIE { "[redacted]".to_owned() } else { text };
        (name.as_str().to_owned(), text)
    };
    headers.iter().take(MAX_HEADERS).map(shown).collect()
}

/// Returns a body as text: JSON with one member a line, in order; a JWT by its parts.
fn body(response: &Response<Bytes>) -> String {
    let bytes = response.body();
    if bytes.is_empty() {
        return "(no content)".to_owned();
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(members) = json::members(&text) {
        return object(&members);
    }
    if let Form::Jws(jws) = Form::of(text.trim()) {
        let member = |(name, value): &(String, Box<RawValue>)| match json::members(value.get()) {
            // RFC 9701 §5: the claim holds the introspection response.
            Ok(inner) if name == "token_introspection" => {
                format!("{name}:\n{}", indented(&object(&inner)))
            }
            _ => format!("{name}: {}", value.get()),
        };
        let claims: Vec<_> = jws.payload.members.iter().map(member).collect();
        return format!(
            "a JWT with this header:\n{}\nand these claims:\n{}",
            indented(&object(&jws.header.members)),
            indented(&claims.join("\n"))
        );
    }
    let start: String = text.chars().take(MAX_CHARS).collect();
    let more = if start.len() < text.len() { "..." } else { "" };
    // On one line: enough to recognise it.
    let words: Vec<_> = start.split_whitespace().collect();
    format!("{} bytes that are not JSON: {}{more}", bytes.len(), words.join(" "))
}

fn object(members: &json::Members) -> String {
    let lines = members.iter().map(|(name, value)| format!("{name}: {}", value.get()));
    lines.collect::<Vec<_>>().join("\n")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_redacted() {
        let basic = format!("Basic {}", STANDARD.encode("api:h%40rse"));
        assert_eq!(credentials(&basic), "Basic api:[redacted]");
        assert_eq!(credentials("Basic aG9yc2U="), "Basic [redacted]");
        assert_eq!(credentials("Bearer horse"), "Bearer [redacted]");
        assert_eq!(credentials("horse"), "[redacted]");
        let body = "token=horse&client_id=a%2Bb+c&client_secret=horse&client_assertion=horse";
        let shown = form(&Request::new(Bytes::from_static(body.as_bytes())));
        let shown: Vec<_> = shown.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(
            shown,
            [
                ("token", "[the token, 5 characters]"),
                ("client_id", "a+b c"),
                ("client_secret", "[redacted]"),
                ("client_assertion", "[redacted]"),
            ]
        );
    }

    #[test]
    fn responses_are_summed_up_with_what_the_server_says() {
        let summed_up = |status: u16, header: (&str, &str), body: &'static str| {
            let response = Response::builder().status(status).header(header.0, header.1);
            summary(&response.body(Bytes::from_static(body.as_bytes())).unwrap())
        };
        let json = ("content-type", "application/json");
        let error = r#"{"error":"a","error_description":"b"}"#;
        let bearer = ("www-authenticate", r#"Bearer error="invalid_token""#);
        for (summed_up, expected) in [
            (summed_up(400, json, error), r#"400 Bad Request, `a`: "b""#),
            (summed_up(400, json, r#"{"error":"a"}"#), "400 Bad Request, `a`"),
            (summed_up(200, json, r#"{"active":false}"#), "200 OK"),
            (summed_up(401, bearer, ""), r#"401 Unauthorized, Bearer error="invalid_token""#),
            (summed_up(403, json, ""), "403 Forbidden without content"),
            (summed_up(200, ("content-type", "text/plain"), "no\n"), r#"200 OK: "no""#),
            (summed_up(200, ("content-type", "text/html"), "<p>"), "200 OK, text/html, 3 bytes"),
            (summed_up(307, ("location", "/x"), "{}"), "307 Temporary Redirect, a redirect to /x"),
        ] {
            assert_eq!(summed_up, expected);
        }
    }

    #[test]
    fn invalid_escapes_are_shown_unchanged() {
        assert_eq!(decode("a%2"), "a%2");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%41"), "%zzA");
        assert_eq!(decode("%ff"), "\u{fffd}");
    }
}

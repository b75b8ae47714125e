//! Questions that no service would ask, to see what the server makes of them.
//!
//! Each is the question that was answered just now, with one thing changed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, header::AUTHORIZATION};
use serde_json::Value;

use super::Doctor;
use crate::{finding::Findings, net::Exchange};

pub(super) fn probe(
    doctor: &Doctor<'_>,
    question: &Exchange,
    method: &'static str,
    findings: &mut Findings,
) {
    let request = &question.request;
    if let Some(answer) = doctor.again(without_credentials(request)) {
        let text = shown(&answer);
        if answer.takes() {
            findings.warn(
                "no_credentials_needed",
                format!(
                    "without credentials it answers {text}: anyone can try out tokens there (RFC \
                     7662 §2.1)"
                ),
            );
        } else {
            findings.note("no_credentials", format!("without credentials it answers {text}"));
        }
    }
    if let Some(answer) = wrong_secret(request).and_then(|request| doctor.again(request)) {
        let text = shown(&answer);
        if answer.takes() {
            findings.bad(
                "wrong_secret_taken",
                format!("with a wrong secret it answers {text}: it checks none"),
            );
        } else {
            findings.note("wrong_secret", format!("with a wrong secret it answers {text}"));
        }
    }
    let Some(answer) = escaped(request).and_then(|request| doctor.again(request)) else { return };
    let text = shown(&answer);
    let raw = method == "basic_raw";
    if answer.takes() {
        findings.note(
            "basic_decoded",
            format!(
                "it form-decodes Basic credentials, as RFC 6749 §2.3.1 demands ({text}){}",
                if raw { ": use `basic` rather than `basic_raw`" } else { "" }
            ),
        );
    } else {
        findings.note(
            "basic_not_decoded",
            format!(
                "it does not form-decode Basic credentials ({text}){}",
                if raw {
                    ""
                } else {
                    ": a secret with other than letters, digits and `*-._` needs `basic_raw`"
                }
            ),
        );
    }
}

struct Answer(Exchange);

impl Answer {
    /// Whether it was answered as a question of someone known.
    fn takes(&self) -> bool {
        let Some(response) = self.0.response() else { return false };
        let body: Value = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        // A signed answer is one, too.
        response.status() == http::StatusCode::OK
            && (body["active"].is_boolean() || response.body().starts_with(b"ey"))
    }
}

impl Doctor<'_> {
    fn again(&self, request: Request<Bytes>) -> Option<Answer> {
        self.cx.wait("probing the introspection endpoint", self.wire.send(request)).ok()?;
        let answer = self.wire.take().pop().map(Answer)?;
        // Without an answer nothing was seen.
        answer.0.response().is_some().then_some(answer)
    }
}

fn shown(answer: &Answer) -> String {
    let Some(response) = answer.0.response() else { return String::new() };
    let body: Value = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
    let status = response.status();
    match body["error"].as_str() {
        Some(error) => format!("{status}, {}", error.chars().take(64).collect::<String>()),
        None if response.body().is_empty() => format!("{status} without content"),
        None => status.to_string(),
    }
}

fn without_credentials(request: &Request<Bytes>) -> Request<Bytes> {
    let mut request = request.clone();
    request.headers_mut().remove(AUTHORIZATION);
    let own = ["client_id", "client_secret", "client_assertion", "client_assertion_type"];
    with_form(request, |name, value| (!own.contains(&name)).then(|| value.to_owned()))
}

/// With another last character in the secret.
fn wrong_secret(request: &Request<Bytes>) -> Option<Request<Bytes>> {
    let wrong = |secret: &str| format!("{secret}x");
    if let Some((id, secret)) = basic(request) {
        return with_basic(request, &format!("{id}:{}", wrong(&secret)));
    }
    let body = String::from_utf8_lossy(request.body());
    body.contains("client_secret=").then(|| {
        with_form(request.clone(), |name, value| {
            Some(if name == "client_secret" { wrong(value) } else { value.to_owned() })
        })
    })
}

/// With one letter or digit of the secret as an escape: the same secret for who decodes it.
fn escaped(request: &Request<Bytes>) -> Option<Request<Bytes>> {
    let (id, secret) = basic(request)?;
    // One that is part of an escape already stays.
    let bytes = secret.as_bytes();
    let part = |at: usize| (1..=2).any(|back| at >= back && bytes.get(at - back) == Some(&b'%'));
    let at = (0..bytes.len()).find(|at| bytes[*at].is_ascii_alphanumeric() && !part(*at))?;
    let (before, rest) = secret.split_at(at);
    let (letter, after) = rest.split_at(1);
    let byte = letter.as_bytes().first()?;
    with_basic(request, &format!("{id}:{before}%{byte:02X}{after}"))
}

fn basic(request: &Request<Bytes>) -> Option<(String, String)> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let pair = String::from_utf8(STANDARD.decode(value.strip_prefix("Basic ")?).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

fn with_basic(request: &Request<Bytes>, pair: &str) -> Option<Request<Bytes>> {
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()?;
    value.set_sensitive(true);
    let mut request = request.clone();
    request.headers_mut().insert(AUTHORIZATION, value);
    Some(request)
}

/// The request with its form changed. Values stay encoded.
fn with_form(
    mut request: Request<Bytes>,
    change: impl Fn(&str, &str) -> Option<String>,
) -> Request<Bytes> {
    let body = String::from_utf8_lossy(request.body()).into_owned();
    let pairs: Vec<_> = body
        .split('&')
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some(format!("{name}={}", change(name, value)?))
        })
        .collect();
    *request.body_mut() = pairs.join("&").into();
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pair: &str, body: &'static str) -> Request<Bytes> {
        let mut request = Request::new(Bytes::from_static(body.as_bytes()));
        if !pair.is_empty() {
            request = with_basic(&request, pair).unwrap();
        }
        request
    }

    #[test]
    fn one_thing_is_changed() {
        let request = asked("api:a%20b", "token=x&client_id=api");
        let bare = without_credentials(&request);
        assert!(basic(&bare).is_none());
        assert_eq!(bare.body(), "token=x");
        let wrong = wrong_secret(&request).unwrap();
        assert_eq!(basic(&wrong), Some(("api".into(), "a%20bx".into())));
        assert_eq!(wrong.body(), request.body());
        let wrong = wrong_secret(&asked("", "token=x&client_secret=a%20b")).unwrap();
        assert_eq!(wrong.body(), "token=x&client_secret=a%20bx");
        assert!(wrong_secret(&asked("", "token=x&client_assertion=y")).is_none());
    }

    #[test]
    fn an_escape_is_the_same_secret() {
        for (pair, wanted) in [
            ("api:secret", Some("%73ecret")),
            ("api:%20a%41", Some("%20%61%41")),
            ("api:-*b", Some("-*%62")),
            // Nothing that could be written otherwise.
            ("api:%20%41", None),
            ("api:", None),
        ] {
            let found = escaped(&asked(pair, "")).and_then(|request| basic(&request));
            assert_eq!(found.map(|(_, secret)| secret).as_deref(), wanted, "{pair}");
        }
    }
}

//! Sends introspection requests that no service would send, and reports the responses.
//!
//! Each is the last successful request with one change.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, header::AUTHORIZATION};
use serde_json::Value;

use super::{Doctor, credentials::NO_CREDENTIALS};
use crate::{diagnosis::Setting, exchange::summary, net::Exchange};

impl Doctor<'_> {
    /// Sends the changed requests. `exchange` is an introspection that succeeded.
    ///
    /// Returns the responses to requests with other credentials, if all of them were refused.
    /// Otherwise nothing shows what the server does with those of this service.
    pub(super) fn probe(&mut self, exchange: &Exchange, method: &'static str) -> Vec<String> {
        let request = &exchange.request;
        // Without credentials in the settings, that was the request itself. A certificate belongs to
        // the connection.
        if [NO_CREDENTIALS, "mtls"].contains(&method) {
            return Vec::new();
        }
        let mut refused = Vec::new();
        match self.send_probe(without_credentials(request)) {
            Some((true, text)) => {
                self.found.warn("no_credentials_needed").text(format!(
                    "the introspection endpoint checks no credentials: without any, the \
                     response is {text} too. Everyone who reaches it can try tokens there (RFC \
                     7662 §2.1), so only the network protects it"
                ));
                let text = "`client = { method = \"danger_none\" }` says so, and sends no secret. \
                            Let nobody but this service reach the endpoint";
                self.found.change(self.place().with(Setting::CLIENT, text));
                return Vec::new();
            }
            Some((false, text)) => refused.push(format!("without credentials: {text}")),
            None => {}
        }
        match with_wrong_secret(request).and_then(|request| self.send_probe(request)) {
            Some((true, text)) => {
                self.found.bad("wrong_secret_taken").text(format!(
                    "the server does not check the secret: with a wrong one, the response is \
                     {text} too"
                ));
                let change = "at the authorization server: what this client authenticates with";
                self.found.change(change);
                return Vec::new();
            }
            Some((false, text)) => refused.push(format!("with a wrong secret: {text}")),
            None => {}
        }
        if !refused.is_empty() {
            self.probe_escaping(request, method);
        }
        refused
    }

    /// Sends the secret with a needless escape. Other secrets are refused, so the response shows
    /// whether the server decodes it.
    fn probe_escaping(&mut self, request: &Request<Bytes>, method: &'static str) {
        let escaped = with_escaped_secret(request).and_then(|request| self.send_probe(request));
        let Some((accepted, text)) = escaped else { return };
        let (code, does, standard) = match accepted {
            true => ("basic_decoded", "form-decodes", ", as RFC 6749 §2.3.1 requires"),
            false => ("basic_not_decoded", "does not form-decode", ""),
        };
        let more = match (accepted, method == "basic_raw") {
            (true, true) => ": use `basic` instead of `basic_raw`",
            (false, false) => {
                ": a secret with characters other than letters, digits and `*-._` needs `basic_raw`"
            }
            _ => "",
        };
        let text = format!("the server {does} Basic credentials{standard} ({text}){more}");
        self.found.note(code).text(text);
    }

    /// Sends a request. Returns whether the response is one for an authenticated client, and its
    /// summary. `None` if there is no response.
    fn send_probe(&self, request: Request<Bytes>) -> Option<(bool, String)> {
        self.cx.wait("probing the introspection endpoint", self.transport.send(request)).ok()?;
        let exchange = self.transport.take().pop()?;
        let response = exchange.response()?;
        let body: Value = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
        // A signed response starts with the header of a JWT.
        let introspected = body["active"].is_boolean() || response.body().starts_with(b"ey");
        Some((response.status() == http::StatusCode::OK && introspected, summary(response)))
    }
}

fn without_credentials(request: &Request<Bytes>) -> Request<Bytes> {
    let mut request = request.clone();
    request.headers_mut().remove(AUTHORIZATION);
    let own = ["client_id", "client_secret", "client_assertion", "client_assertion_type"];
    with_form(request, |name, value| (!own.contains(&name)).then(|| value.to_owned()))
}

/// Appends a character to the secret.
fn with_wrong_secret(request: &Request<Bytes>) -> Option<Request<Bytes>> {
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

/// Escapes one letter or digit of the secret. A server that decodes it gets the same secret.
fn with_escaped_secret(request: &Request<Bytes>) -> Option<Request<Bytes>> {
    let (id, secret) = basic(request)?;
    // The digits of an existing escape are left alone.
    let bytes = secret.as_bytes();
    let in_escape =
        |at: usize| (1..=2).any(|back| at >= back && bytes.get(at - back) == Some(&b'%'));
    let at = (0..bytes.len()).find(|at| bytes[*at].is_ascii_alphanumeric() && !in_escape(*at))?;
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

/// Changes the form of a request. Values stay encoded; `None` removes a parameter.
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

    fn request(pair: &str, body: &'static str) -> Request<Bytes> {
        let mut request = Request::new(Bytes::from_static(body.as_bytes()));
        if !pair.is_empty() {
            request = with_basic(&request, pair).unwrap();
        }
        request
    }

    #[test]
    fn each_probe_changes_one_thing() {
        let original = request("api:a%20b", "token=x&client_id=api");
        let bare = without_credentials(&original);
        assert!(basic(&bare).is_none());
        assert_eq!(bare.body(), "token=x");
        let wrong = with_wrong_secret(&original).unwrap();
        assert_eq!(basic(&wrong), Some(("api".into(), "a%20bx".into())));
        assert_eq!(wrong.body(), original.body());
        let wrong = with_wrong_secret(&request("", "token=x&client_secret=a%20b")).unwrap();
        assert_eq!(wrong.body(), "token=x&client_secret=a%20bx");
        assert!(with_wrong_secret(&request("", "token=x&client_assertion=y")).is_none());
    }

    #[test]
    fn an_escaped_secret_decodes_to_the_same_secret() {
        for (pair, wanted) in [
            ("api:secret", Some("%73ecret")),
            ("api:%20a%41", Some("%20%61%41")),
            ("api:-*b", Some("-*%62")),
            // Without a letter or digit to escape.
            ("api:%20%41", None),
            ("api:", None),
        ] {
            let escaped = with_escaped_secret(&request(pair, ""));
            let found = escaped.and_then(|request| basic(&request));
            assert_eq!(found.map(|(_, secret)| secret).as_deref(), wanted, "{pair}");
        }
    }
}

//! Checks the credentials of the service at the introspection endpoint.

use bytes::Bytes;
use http::Response;
use serde_json::Value;
use tower_introspect::{
    ErrorKind, VerifyError,
    credentials::Token,
    inspect::{self, ClientSettings, IssuerSettings},
    introspection::IntrospectionVerifier,
    verify::{ActiveToken, Verifier as _, VerifyRequest},
};

use super::{Doctor, probe};
use crate::{causes, finding::Findings, keys::header_text, net::Exchange, when};

/// The default timeout of an introspection, in milliseconds.
const DEFAULT_TIMEOUT: u128 = 3000;

/// The latency that causes a warning, in milliseconds. Users notice it.
const SLOW: u128 = 250;

/// The result of an introspection.
pub(super) type Introspected = Result<ActiveToken, VerifyError>;

impl Doctor<'_> {
    /// Introspects a random token, which must be inactive.
    pub(super) fn check_credentials(
        &mut self,
        at: usize,
        issuer: &IssuerSettings,
        findings: &mut Findings,
    ) -> Vec<Exchange> {
        let Some(client) = &issuer.client else { return Vec::new() };
        let Some(verifier) = self.verifier(at, None) else { return Vec::new() };
        let Some(token) = inspect::random_text() else { return Vec::new() };
        let mut all = Vec::new();
        let mut last = None;
        // The second exchange needs no time to connect.
        for _ in 0..2 {
            let Some((outcome, exchanges)) = self.introspect(&verifier, &token, findings) else {
                break;
            };
            last = introspection(&exchanges).cloned();
            all.extend(exchanges);
            if !matches!(&outcome, Err(error) if error.kind() == ErrorKind::Inactive) {
                // The check of certificates reports problems with TLS.
                let failure = all.last().and_then(|one| one.outcome.as_ref());
                if !matches!(failure, Some(Err(error)) if error.is_tls()) {
                    let id = client_name(client);
                    report_unexpected(&outcome, last.as_ref(), id, findings);
                }
                return all;
            }
        }
        let Some(exchange) = last else { return all };
        let text = match client.method {
            NO_CREDENTIALS => {
                "the server introspects without credentials, and a random token is inactive"
                    .to_owned()
            }
            method => format!(
                "the credentials of this service are accepted (`{}`, {method}), and a random token \
                 is inactive",
                client_name(client)
            ),
        };
        findings.good("credentials", text);
        self.check_latency(issuer, &exchange, findings);
        if self.args.probe {
            probe::probe(self, &exchange, client.method, findings);
        }
        all
    }

    /// Returns a verifier that introspects at this issuer, without a cache.
    pub(super) fn verifier(&self, at: usize, hint: Option<&str>) -> Option<IntrospectionVerifier> {
        // The settings were checked before.
        let builder = self.deployment.config.introspection(at).ok()??;
        let builder = builder.transport(self.transport.transport());
        let builder = match hint {
            Some(hint) => builder.token_type_hint(hint),
            None => builder,
        };
        builder.build().ok()
    }

    /// Introspects a token, and returns the outcome with the exchanges.
    pub(super) fn introspect(
        &self,
        verifier: &IntrospectionVerifier,
        token: &str,
        findings: &mut Findings,
    ) -> Option<(Introspected, Vec<Exchange>)> {
        let request = VerifyRequest::new(Token::bearer(token)?);
        let activity = format!("introspecting a token at {}", verifier.issuer());
        let outcome = self.cx.wait(&activity, async { verifier.verify(request).await });
        let exchanges = self.transport.take();
        match outcome {
            Ok(outcome) => Some((outcome, exchanges)),
            Err(failure) => {
                findings.unknown("timeout", failure.message);
                None
            }
        }
    }

    fn check_latency(
        &mut self,
        issuer: &IssuerSettings,
        exchange: &Exchange,
        findings: &mut Findings,
    ) {
        let millis = exchange.millis();
        self.slowest = self.slowest.max(millis);
        let timeout = issuer.timeout.map_or(DEFAULT_TIMEOUT, |it| it.as_millis());
        add_latency(millis, timeout, findings);
        let response = exchange.response();
        let closes = response.is_some_and(|response| {
            let connection = header_text(response, &http::header::CONNECTION).to_ascii_lowercase();
            connection.contains("close") || response.version() == http::Version::HTTP_10
        });
        if closes {
            let text = "the server closes connections: every introspection opens a new one";
            findings.note("no_keep_alive", text);
        }
    }

    /// Adds the lifetime of a token, by its claims or its introspection response.
    pub(super) fn add_lifetime(
        &mut self,
        token: &str,
        claims: &Value,
        jwt: bool,
        findings: &mut Findings,
    ) {
        let number = |name: &str| claims[name].as_f64();
        let Some(exp) = number("exp") else { return };
        #[expect(clippy::cast_precision_loss, reason = "seconds of these centuries are exact")]
        let now = self.cx.now().as_secs() as f64;
        let (start, from) = match number("iat") {
            Some(iat) => (iat, "from its `iat` on"),
            None => (now, "from now on (no `iat`)"),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let seconds = (exp - start).max(0.0) as u64;
        let span = when::span(seconds.into());
        findings.note("lifetime", format!("it is valid for {span} {from}"));
        self.lifetimes.push(super::Lifetime { token: token.to_owned(), seconds, jwt });
    }
}

/// The method that sends no credentials.
pub(super) const NO_CREDENTIALS: &str = "danger_none";

/// Returns the name of a client, or words in place of one.
pub(super) fn client_name(client: &ClientSettings) -> &str {
    client.id.as_deref().unwrap_or(match client.method {
        NO_CREDENTIALS => "(no client)",
        _ => "(client of the token)",
    })
}

/// Returns `error`, the code of an error response (RFC 6749 §5.2).
pub(super) fn error_code(response: &Response<Bytes>) -> Option<String> {
    let body: Value = serde_json::from_slice(response.body()).ok()?;
    Some(body["error"].as_str()?.chars().take(64).collect())
}

/// Returns the last introspection request among exchanges that may include discovery.
pub(super) fn introspection(exchanges: &[Exchange]) -> Option<&Exchange> {
    exchanges.iter().rfind(|one| one.request.method() == http::Method::POST)
}

/// Reports a response for a random token that does not say that the token is inactive.
fn report_unexpected(
    outcome: &Introspected,
    exchange: Option<&Exchange>,
    id: &str,
    findings: &mut Findings,
) {
    let response = exchange.and_then(Exchange::response);
    let is_refused = response.is_some_and(|response| response.status().is_client_error());
    let status = response.map(|response| {
        let kind = header_text(response, &http::header::CONTENT_TYPE);
        let kind = if kind.is_empty() { "no content type".to_owned() } else { kind };
        let length = response.body().len();
        let error = error_code(response).map(|code| format!(", `error` is `{code}`"));
        format!("{}, {kind}, {length} bytes{}", response.status(), error.unwrap_or_default())
    });
    let status = status.unwrap_or_else(|| "no response".to_owned());
    match outcome {
        Ok(_) => findings.bad(
            "active_to_nonsense",
            "a random token is active: the server accepts anything, and must not be trusted",
        ),
        Err(error) => match error.kind() {
            ErrorKind::CredentialsRejected => findings.bad(
                "credentials_rejected",
                format!(
                    "the credentials of this service (`{id}`) are rejected ({status}): every \
                     request would fail with 500"
                ),
            ),
            ErrorKind::NotIntrospectable => findings.note(
                "not_introspectable",
                format!("the response for a random token is {status}, and does not say inactive"),
            ),
            ErrorKind::Unavailable => {
                let causes = causes::chain(error).join(": ");
                findings.unknown("introspection_unreachable", format!("{status}: {causes}"));
            }
            // Not every server names the credentials when it refuses them.
            ErrorKind::BadResponse if is_refused => findings.bad(
                "introspection_refused",
                format!(
                    "the server refuses to introspect a random token ({status}): every request \
                     would fail with 503. The credentials of this service (`{id}`) may be wrong, \
                     this client may not introspect, the realm may be disabled, or a setting such \
                     as `token_type_hint` may not suit the server"
                ),
            ),
            _ => findings.bad("introspection_out_of_protocol", format!("{status}: {error}")),
        },
    }
}

/// Adds the time that one introspection took, for which requests wait until `timeout`.
fn add_latency(millis: u128, timeout: u128, findings: &mut Findings) {
    if millis * 2 > timeout {
        findings.warn(
            "introspection_slow",
            format!(
                "an introspection takes {millis} ms, and `timeout_seconds` allows {timeout} ms: \
                 under load, requests will fail with 503"
            ),
        );
    } else if millis > SLOW {
        findings.warn(
            "introspection_slow",
            format!(
                "an introspection takes {millis} ms: each request with a token that is not cached \
                 waits that long"
            ),
        );
    } else {
        findings.good("introspection_latency", format!("an introspection takes {millis} ms"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    #[test]
    fn introspection_is_slow_beyond_250_ms_and_beyond_half_of_its_timeout() {
        for (millis, timeout, level, words) in [
            (0, 3_000, Level::Good, "takes 0 ms"),
            (250, 3_000, Level::Good, "takes 250 ms"),
            (251, 3_000, Level::Warning, "waits that long"),
            (1_500, 3_000, Level::Warning, "waits that long"),
            (1_501, 3_000, Level::Warning, "allows 3000 ms"),
            (50, 100, Level::Good, "takes 50 ms"),
            (51, 100, Level::Warning, "allows 100 ms"),
        ] {
            let mut findings = Findings::default();
            add_latency(millis, timeout, &mut findings);
            let [found] = &findings.0[..] else { panic!("{findings:?}") };
            let slow =
                if level == Level::Good { "introspection_latency" } else { "introspection_slow" };
            assert_eq!((found.level, found.code), (level, slow), "{millis} of {timeout}");
            assert!(found.text.contains(words), "{}", found.text);
        }
    }
}

//! Checks the credentials of the service at the introspection endpoint.

use http::{Response, StatusCode};
use serde_json::Value;
use tower_introspect::{
    ErrorKind, VerifyError,
    credentials::Token,
    inspect::{self, ClientSettings, IssuerSettings},
    introspection::IntrospectionVerifier,
    verify::{ActiveToken, Verifier as _, VerifyRequest},
};

use super::Doctor;
use crate::{
    causes,
    diagnosis::Setting,
    exchange::{header_text, summary},
    finding::Findings,
    net::Exchange,
    when,
};

/// The default timeout of an introspection, in milliseconds.
const DEFAULT_TIMEOUT: u128 = 3000;

/// The latency that causes a warning, in milliseconds. Users notice it.
const SLOW: u128 = 250;

/// The result of an introspection.
pub(super) type Introspected = Result<ActiveToken, VerifyError>;

impl Doctor<'_> {
    /// Introspects a random token, which must be inactive.
    pub(super) fn try_credentials(&mut self, at: usize, issuer: &IssuerSettings) -> Vec<Exchange> {
        let Some(client) = &issuer.client else { return Vec::new() };
        let Some(verifier) = self.verifier(at, None) else { return Vec::new() };
        let Some(token) = inspect::random_text() else { return Vec::new() };
        let mut all = Vec::new();
        let mut last = None;
        // The second exchange needs no time to connect.
        for _ in 0..2 {
            let Some((outcome, exchanges)) = self.introspect(&verifier, &token) else {
                break;
            };
            last = introspection(&exchanges).cloned();
            all.extend(exchanges);
            if !matches!(&outcome, Err(error) if error.kind() == ErrorKind::Inactive) {
                // The check of certificates reports problems with TLS.
                let failure = all.last().and_then(|one| one.outcome.as_ref());
                if !matches!(failure, Some(Err(error)) if error.is_tls()) {
                    self.report_unexpected(&outcome, last.as_ref(), client);
                }
                return all;
            }
        }
        let Some(exchange) = last else { return all };
        let before = self.found.0.len();
        let refused = match self.args.probe {
            true => self.probe(&exchange, client.method).join(", "),
            false => String::new(),
        };
        let probed = self.found.0.split_off(before);
        let (id, method, millis) = (client_name(client), client.method, exchange.millis());
        let inactive = format!("a random token is inactive ({millis} ms)");
        self.found.good("credentials").text(match (method, &*refused) {
            (NO_CREDENTIALS, _) => format!("introspection without credentials works: {inactive}"),
            (_, "") => format!(
                "requests with the credentials of `{id}` ({method}) are answered: {inactive}"
            ),
            (_, refused) => format!(
                "the credentials of `{id}` ({method}) are accepted: {inactive}. Others are \
                 refused ({refused})"
            ),
        });
        self.found.0.extend(probed);
        self.slowest = self.slowest.max(millis);
        let timeout = issuer.timeout.map_or(DEFAULT_TIMEOUT, |it| it.as_millis());
        add_latency(millis, timeout, &mut self.found);
        let closes = exchange.response().is_some_and(|response| {
            let connection = header_text(response, &http::header::CONNECTION).to_ascii_lowercase();
            connection.contains("close") || response.version() == http::Version::HTTP_10
        });
        if closes {
            let text = "the server closes connections: every introspection opens a new one";
            self.found.note("no_keep_alive").text(text);
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
        &mut self,
        verifier: &IntrospectionVerifier,
        token: &str,
    ) -> Option<(Introspected, Vec<Exchange>)> {
        let request = VerifyRequest::new(Token::bearer(token)?);
        let activity = format!("introspecting a token at {}", verifier.issuer());
        let outcome = self.cx.wait(&activity, async { verifier.verify(request).await });
        let exchanges = self.transport.take();
        match outcome {
            Ok(outcome) => Some((outcome, exchanges)),
            Err(failure) => {
                self.found.unknown("timeout").text(failure.message);
                None
            }
        }
    }

    /// Reports a response for a random token that does not say that the token is inactive.
    fn report_unexpected(
        &mut self,
        outcome: &Introspected,
        exchange: Option<&Exchange>,
        client: &ClientSettings,
    ) {
        let id = client_name(client);
        let response = exchange.and_then(Exchange::response);
        let status = response.map_or_else(|| "no response".to_owned(), summary);
        let of_client = self.place().name(Setting::CLIENT);
        let of_endpoint = self.place().name(Setting::ENDPOINT);
        let Err(error) = outcome else {
            self.found.bad("active_to_nonsense").text(
                "a random token is active: the server accepts anything, and must not be trusted",
            );
            let change = format!("{of_endpoint}: is it the endpoint of the right server?");
            return self.found.change(change);
        };
        let code = response.map(Response::status).unwrap_or_default();
        let none = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::GONE];
        match error.kind() {
            ErrorKind::CredentialsRejected => {
                self.found.bad("credentials_rejected").text(format!(
                    "the credentials of this service (`{id}`) are rejected ({status}): every \
                     request would fail with 500"
                ));
                self.found.change(format!(
                    "{of_client}: its `id`, its `method` (now `{}`), or the secret in {}",
                    client.method, client.secret_location
                ));
            }
            ErrorKind::NotIntrospectable => self
                .found
                .note("not_introspectable")
                .text(format!("for a random token the response is {status}, not inactive")),
            ErrorKind::Unavailable => self
                .found
                .unknown("introspection_unreachable")
                .text(format!("{status}: {}", causes::chain(error).join(": "))),
            _ if code.is_redirection() || none.contains(&code) => {
                self.found.bad("introspection_elsewhere").text(format!(
                    "the introspection endpoint is not there: the response is {status}. Every \
                     request would fail with 503, because redirects are not followed"
                ));
                self.found.change(format!("{of_endpoint}: the URL that answers itself"));
            }
            // Not every server names the credentials when it refuses them.
            ErrorKind::BadResponse if code.is_client_error() => {
                self.found.bad("introspection_refused").text(format!(
                    "the server refuses to introspect a random token ({status}): every request \
                     would fail with 503"
                ));
                self.found.change(format!(
                    "{of_client}: the credentials of `{id}` may be wrong, or a setting such as \
                     `token_type_hint` may not suit the server"
                ));
                self.found.change(
                    "at the authorization server: this client may not introspect, or the realm may \
                     be disabled",
                );
            }
            _ => {
                self.found.bad("introspection_out_of_protocol").text(format!("{status}: {error}"));
                self.found.change(format!("{of_endpoint}: it may belong to something else"));
            }
        }
    }

    /// Adds the lifetime of a token, by its claims.
    pub(super) fn add_lifetime(&mut self, token: &str, claims: &Value, jwt: bool) {
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
        self.found.note("lifetime").text(format!("it is valid for {span} {from}"));
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

/// Returns the last introspection request among exchanges that may include discovery.
pub(super) fn introspection(exchanges: &[Exchange]) -> Option<&Exchange> {
    exchanges.iter().rfind(|one| one.request.method() == http::Method::POST)
}

/// Warns of the time that one introspection took, for which requests wait until `timeout`.
fn add_latency(millis: u128, timeout: u128, findings: &mut Findings) {
    let cost = match millis {
        _ if millis * 2 > timeout => format!(
            ", and `timeout_seconds` allows {timeout} ms: under load, requests will fail with 503"
        ),
        _ if millis > SLOW => {
            ": each request with a token that is not cached waits that long".to_owned()
        }
        _ => return,
    };
    findings.warn("introspection_slow").text(format!("an introspection takes {millis} ms{cost}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn introspection_is_slow_beyond_250_ms_and_beyond_half_of_its_timeout() {
        for (millis, timeout, words) in [
            (0, 3_000, ""),
            (250, 3_000, ""),
            (251, 3_000, "waits that long"),
            (1_500, 3_000, "waits that long"),
            (1_501, 3_000, "allows 3000 ms"),
            (50, 100, ""),
            (51, 100, "allows 100 ms"),
        ] {
            let mut findings = Findings::default();
            add_latency(millis, timeout, &mut findings);
            let text = findings.0.first().map(|found| &*found.text).unwrap_or_default();
            assert_eq!(text.is_empty(), words.is_empty(), "{millis} of {timeout}");
            assert!(text.contains(words), "{text}");
        }
    }
}

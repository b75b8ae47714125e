//! Our credentials at the introspection endpoint.

use serde_json::Value;
use tower_introspect::{
    ErrorKind, VerifyError,
    credentials::Token,
    inspect::{self, IssuerSettings},
    introspection::IntrospectionVerifier,
    verify::{ActiveToken, Verifier as _, VerifyRequest},
};

use super::{Doctor, probe};
use crate::{finding::Findings, keys, net::Exchange, network, when};

/// How long the library waits for an answer where nothing is configured, in seconds.
const DEFAULT_TIMEOUT: u64 = 3;

/// Slower answers are felt by whoever waits for them.
const SLOW: u128 = 250;

/// What came of asking about a token.
pub(super) type Asked = Result<ActiveToken, VerifyError>;

impl Doctor<'_> {
    /// Asks about a token that nobody has seen, which must be inactive.
    pub(super) fn credentials(
        &mut self,
        at: usize,
        issuer: &IssuerSettings,
        findings: &mut Findings,
    ) -> Vec<Exchange> {
        let Some(client) = &issuer.client else { return Vec::new() };
        let Some(verifier) = self.verifier(at, None) else { return Vec::new() };
        let Some(token) = inspect::random_text() else { return Vec::new() };
        let mut seen = Vec::new();
        let mut question = None;
        // The second answer is without the time to connect.
        for _ in 0..2 {
            let Some((asked, exchanges)) = self.ask(&verifier, &token, findings) else { break };
            let last = exchanges.iter().rfind(|one| one.request.method() == http::Method::POST);
            question = last.cloned();
            seen.extend(exchanges);
            if !matches!(&asked, Err(error) if error.kind() == ErrorKind::Inactive) {
                // What is wrong with a certificate is told once.
                let last = seen.last().and_then(|one| one.outcome.as_ref());
                if matches!(last, Some(Err(trouble)) if trouble.is_tls()) {
                    return seen;
                }
                let id = client.id.as_deref().unwrap_or("(by token)");
                refused(&asked, question.as_ref(), id, findings);
                return seen;
            }
        }
        let Some(question) = question else { return seen };
        let id = client.id.as_deref().unwrap_or("whoever the token is of");
        findings.good(
            "credentials",
            format!(
                "it takes our credentials (`{id}`, {}), and calls a random token inactive",
                client.method
            ),
        );
        self.latency(issuer, &question, findings);
        if self.args.probe {
            probe::probe(self, &question, client.method, findings);
        }
        seen
    }

    /// What asks this issuer, alone and remembering nothing.
    pub(super) fn verifier(&self, at: usize, hint: Option<&str>) -> Option<IntrospectionVerifier> {
        // That its settings are right was seen before.
        let builder = self.deployed.config.introspection(at).ok()??;
        let builder = builder.transport(self.wire.transport());
        let builder = match hint {
            Some(hint) => builder.token_type_hint(hint),
            None => builder,
        };
        builder.build().ok()
    }

    /// Asks, and says what went over the wire.
    pub(super) fn ask(
        &self,
        verifier: &IntrospectionVerifier,
        token: &str,
        findings: &mut Findings,
    ) -> Option<(Asked, Vec<Exchange>)> {
        let token = Token::bearer(token)?;
        let what = format!("asking {} about a token", verifier.issuer());
        let asked = self.cx.wait(&what, async { verifier.verify(VerifyRequest::new(token)).await });
        let exchanges = self.wire.take();
        match asked {
            Ok(asked) => Some((asked, exchanges)),
            Err(failure) => {
                findings.unknown("timeout", failure.message);
                None
            }
        }
    }

    fn latency(&mut self, issuer: &IssuerSettings, question: &Exchange, findings: &mut Findings) {
        let millis = question.millis();
        self.slowest = self.slowest.max(millis);
        let timeout =
            issuer.timeout.map_or(u128::from(DEFAULT_TIMEOUT) * 1000, |it| it.as_millis());
        if millis * 2 > timeout {
            findings.warn(
                "introspection_slow",
                format!(
                    "one introspection takes {millis} ms, and `timeout_seconds` gives it {timeout} \
                     ms: under load requests will be answered 503"
                ),
            );
        } else if millis > SLOW {
            findings.warn(
                "introspection_slow",
                format!(
                    "one introspection takes {millis} ms: each request with a token that is not \
                     remembered waits that long"
                ),
            );
        } else {
            findings.good("introspection_latency", format!("one introspection takes {millis} ms"));
        }
        let response = question.response();
        let closes = response.is_some_and(|response| {
            let connection = keys::text(response, &http::header::CONNECTION).to_ascii_lowercase();
            connection.contains("close") || response.version() == http::Version::HTTP_10
        });
        if closes {
            findings
                .note("no_keep_alive", "it closes each connection: every question connects anew");
        }
    }

    /// Notes for how long a token is good, by what was said of it.
    pub(super) fn lifetime(
        &mut self,
        what: &str,
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
            None => (now, "from now on"),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let seconds = (exp - start).max(0.0) as u64;
        let span = when::span(seconds.into());
        findings.note("lifetime", format!("it is good for {span} {from}"));
        self.lifetimes.push(super::Lifetime { what: what.to_owned(), seconds, jwt });
    }
}

/// What it means that a random token is not simply inactive.
fn refused(asked: &Asked, question: Option<&Exchange>, id: &str, findings: &mut Findings) {
    let status = question.and_then(Exchange::response).map(|response| {
        let kind = keys::text(response, &http::header::CONTENT_TYPE);
        let kind = if kind.is_empty() { "no content type".to_owned() } else { kind };
        let length = response.body().len();
        format!("{}, {kind}, {length} bytes", response.status())
    });
    let status = status.unwrap_or_else(|| "no answer".to_owned());
    match asked {
        Ok(_) => findings.bad(
            "active_to_nonsense",
            "it calls a random token active: it says so of anything, and must not be trusted",
        ),
        Err(error) => match error.kind() {
            ErrorKind::CredentialsRejected => findings.bad(
                "credentials_rejected",
                format!(
                    "it rejects our credentials (`{id}`) with {status}: every request would be \
                     answered 500"
                ),
            ),
            ErrorKind::NotIntrospectable => findings.note(
                "not_introspectable",
                format!("it answers {status} to a random token, instead of calling it inactive"),
            ),
            ErrorKind::Unavailable => {
                let causes = network::causes(error).join(": ");
                findings.unknown("introspection_unreachable", format!("{status}: {causes}"));
            }
            _ => findings.bad("introspection_out_of_protocol", format!("{status}: {error}")),
        },
    }
}

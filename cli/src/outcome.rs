//! Reports the outcome of a request: in brief, or with everything that was seen.

use http::Response;
use serde_json::json;
use tower_introspect::{VerifiedToken, VerifyError, checks::Check, verify::Method};

use crate::{
    Context,
    attempt::Attempt,
    checks,
    diagnosis::{Case, Diagnosis, Place, shortened},
    exchange,
    net::Exchange,
    pasted::Pasted,
    proxy,
    report::{Exit, Field, Report, Tone},
    token::Kind,
    when,
};

/// The amount that a screen shows.
#[derive(clap::Args)]
#[command(next_help_heading = "Screen")]
pub(crate) struct ViewArgs {
    /// Show the verdict and what to change. The default on a terminal.
    #[arg(long)]
    brief: bool,
    /// Show the request, the response and all checks too. The default elsewhere.
    #[arg(long, conflicts_with = "brief")]
    all: bool,
}

/// A request with a token, and what came of it.
pub(crate) struct Outcome<'a> {
    pub(crate) attempt: &'a Attempt,
    pub(crate) pasted: Option<&'a Pasted>,
    pub(crate) place: Place<'a>,
    pub(crate) exchanges: &'a [Exchange],
    /// The checks that passed only because the command line does not ask for them.
    pub(crate) not_requested: &'a [Check],
    /// The request, for the long screen.
    pub(crate) request: Vec<Field>,
    /// The servers that were contacted.
    pub(crate) urls: &'a [&'a str],
}

impl Outcome<'_> {
    /// Reports the outcome: first the verdict, in at most ten lines.
    pub(crate) fn report(&self, command: &str, view: &ViewArgs, cx: &Context) -> Report {
        let mut report = Report::new(command, Exit::Accepted);
        let kind = self.pasted.map_or_else(Kind::absent, |pasted| Kind::of(&pasted.token));
        let (error, trace) = (self.attempt.refusal(), &self.attempt.trace);
        let diagnosis = error.map(|error| {
            let (place, exchanges, now) = (self.place, self.exchanges, cx.now());
            Diagnosis::of(&Case { error, trace, kind: &kind, place, exchanges, now })
        });
        report.set("complete", self.not_requested.is_empty());
        report.set("kind", kind.code);
        match (&diagnosis, self.attempt.token()) {
            (Some(diagnosis), _) => diagnosis.report_to(&mut report),
            (None, Some(token)) => self.report_acceptance(&mut report, token, &kind, cx),
            (None, None) => report.line(Tone::Good, "ACCEPTED without a token"),
        }
        if let Some(pasted) = self.pasted {
            pasted.report_cleanups(&mut report);
        }
        proxy::report_proxies(&mut report, self.urls);
        let brief = view.brief || cx.screen.is_terminal() && !view.all;
        let head = report.blocks.len();
        report.heading("Request");
        let token = Field::new("token", &kind.description);
        report.fields(self.request.iter().cloned().chain([token, cx.clock_field()]));
        if error.is_some() {
            report_response(&mut report, &self.attempt.response);
        }
        checks::report_checks(&mut report, trace, self.not_requested, cx.now());
        if !checks::explains(trace, error.map(VerifyError::kind)) {
            report.line(Tone::Warning, "  None of these checks refused the request.");
        }
        if let Some(diagnosis) = &diagnosis {
            diagnosis.report_rest(&mut report);
        }
        if brief {
            report.blocks.truncate(head);
            let counts = checks::counts(trace, self.not_requested);
            report.line(Tone::Faint, format!("Checks: {counts}. `--all` lists them."));
        }
        report
    }

    fn report_acceptance(
        &self,
        report: &mut Report,
        token: &VerifiedToken,
        kind: &Kind,
        cx: &Context,
    ) {
        let is_other = !matches!(kind.code, "access_token" | "opaque" | "jwe" | "paseto");
        match (is_other, self.not_requested) {
            (true, _) => report.line(Tone::Warning, "ACCEPTED, although it may be no access token"),
            (false, []) => report.line(Tone::Good, "ACCEPTED"),
            _ => report.line(Tone::Warning, "ACCEPTED, but some checks were skipped"),
        }
        let expiry = token.expires_at().map(|expiry| when::both(expiry, cx.now()));
        let none = || "none".to_owned();
        let scope = Some(token.scope().to_string()).filter(|scope| !scope.is_empty());
        let mut fields = Vec::new();
        if is_other {
            let telling = kind.evidence.iter().filter(|one| !one.contains("all kinds"));
            let evidence = telling.map(String::as_str).collect::<Vec<_>>().join("; ");
            let warning = format!("this is {}: {evidence}", kind.description);
            fields.push(Field::new("warning", shortened(&warning, 2)));
            let setting = self.place.admitting(token.issuer());
            report.set("warning", json!({ "text": warning, "setting": &setting }));
            fields.push(Field::new("setting", setting));
        }
        fields.extend([
            Field::new("issuer", token.issuer()),
            Field::new("subject", token.subject().map_or_else(none, str::to_owned)),
            Field::new("client", token.client_id().map_or_else(none, Into::into)),
            Field::new("scope", scope.unwrap_or_else(none)),
            Field::new("expires", expiry.unwrap_or_else(|| "never".to_owned())),
        ]);
        fields.extend(self.kept(token).map(|text| Field::new("kept", text)));
        report.fields(fields);
        let token = json!({
            "issuer": token.issuer(),
            "subject": token.subject(),
            "client_id": token.client_id(),
            "scope": token.scope().to_string(),
            "expires_at": token.expires_at().map(|time| time.as_secs()),
        });
        report.set("token", token);
    }

    /// Describes how long the service keeps what it found out about the token.
    fn kept(&self, token: &VerifiedToken) -> Option<String> {
        let settings = self.place.settings()?;
        if token.method() == Method::Jwt {
            let then = "then its signature is verified again; no server is asked";
            return Some(format!("for {} s, {then}", settings.jwt_max_age.as_secs()));
        }
        let own = self.place.issuer(Some(token.issuer()))?.confirmation_max_age;
        let own = own.filter(|_| token.method() == Method::Confirmed);
        let age = own.unwrap_or(settings.max_age) + settings.stale_if_error;
        Some(match age.as_secs() {
            0 => "not at all: each request introspects it".to_owned(),
            age => format!("for at most {age} s; until then a revocation does not count"),
        })
    }
}

fn report_response<B>(report: &mut Report, response: &Response<B>) {
    let (status, headers) = (response.status(), exchange::headers(response.headers()));
    report.heading(format!("Response: {status}"));
    report.fields(headers.iter().map(|(name, value)| Field::new(name, value)));
    report.set("response", json!({ "status": status.as_u16(), "headers": headers }));
}

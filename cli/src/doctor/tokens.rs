//! Checks real tokens: what the service does with them, and what introspection tells about them.

use serde_json::{Value, json};
use tower_introspect::{
    Blame, ErrorKind, TokenKind, VerifiedToken, VerifyError, inspect, jwt::Profile, verify::Method,
};

use super::{
    Args, Doctor,
    credentials::introspection,
    response::{describe_members, introspection_response, is_bare, marks},
};
use crate::{
    attempt::{self, Attempt},
    diagnosis::{Case, Diagnosis, Setting},
    exchange::{summary, without_canaries},
    finding::Findings,
    input,
    net::Exchange,
    pasted::Pasted,
    report::{Exit, Failure, Field},
    token::{Form, Kind},
};

/// A token, with the name of its file or variable.
pub(super) struct GivenToken {
    place: String,
    pub(super) token: String,
}

/// Reads the tokens that the command line names.
///
/// # Errors
///
/// If one can't be read.
pub(super) fn read(args: &Args) -> Result<Vec<GivenToken>, Failure> {
    let mut all = Vec::new();
    for path in &args.token_file {
        all.push((format!("`{}`", path.display()), input::file(path)?));
    }
    for name in &args.token_env {
        all.push((format!("`{name}`"), input::variable(name)?.into_bytes()));
    }
    let read = |(place, bytes): (String, Vec<u8>)| match Pasted::read(&bytes) {
        Ok(pasted) => Ok(GivenToken { place, token: pasted.token }),
        Err(problem) => Err(Failure::usage(format!("{place}: {problem}"))),
    };
    all.into_iter().map(read).collect()
}

/// A token, and what was seen of it.
pub(super) struct Seen<'a> {
    pub(super) given: &'a GivenToken,
    pub(super) form: &'a Form,
    kind: &'a Kind,
    pub(super) attempt: &'a Attempt,
    exchanges: &'a [Exchange],
    /// The introspection response, or null if the service did not introspect the token.
    pub(super) response: Value,
}

impl Doctor<'_> {
    /// Checks each token.
    pub(super) fn check_tokens(&mut self, tokens: &[GivenToken]) {
        for given in tokens {
            let mut findings = Findings::default();
            let form = Form::of(&given.token);
            let kind = Kind::of(&given.token, &form);
            findings.note("token_kind").text(format!("this is {}", kind.description));
            self.check_token(given, &form, &kind, &mut findings);
            let title = format!("Token from {}", given.place);
            self.add_section(title, findings, json!({ "kind": kind.code }));
        }
    }

    /// Sends the token through the service, as a client would.
    ///
    /// The claims do not become part of the report: reports are kept, and claims are personal data.
    fn check_token(
        &mut self,
        given: &GivenToken,
        form: &Form,
        kind: &Kind,
        findings: &mut Findings,
    ) {
        let attempt = attempt::request("Bearer", &given.token).and_then(|mut request| {
            if let Some(name) = &self.deployment.settings.token_header
                && let Ok(value) = given.token.parse()
            {
                request.headers_mut().clear();
                request.headers_mut().insert(name, value);
            }
            Attempt::of(self.cx, &self.server, request, "verifying a token")
        });
        let exchanges = without_canaries(self.transport.take(), &given.token);
        let attempt = match &attempt {
            Ok(attempt) => attempt,
            Err(failure) if failure.exit == Exit::Usage => {
                return findings.bad("token_malformed").text(&failure.message);
            }
            Err(failure) => return findings.unknown("timeout").text(&failure.message),
        };
        let response = introspection_response(&exchanges);
        let seen = Seen { given, form, kind, attempt, exchanges: &exchanges, response };
        match (attempt.token(), attempt.refusal()) {
            (Some(token), _) => self.report_admitted(&seen, token, findings),
            (None, Some(error)) => self.report_refused(&seen, error, findings),
            (None, None) => {
                findings.bad("not_admitted").text("this service admits it without a look")
            }
        }
        if seen.response["active"] == true {
            findings.note("response").text(describe_members(&seen.response));
        }
    }

    fn report_admitted(&mut self, seen: &Seen<'_>, token: &VerifiedToken, findings: &mut Findings) {
        findings
            .good("admitted")
            .text("this service admits it: it passes all checks of the configuration");
        if self.check_admitted_kind(seen, token, findings) {
            self.admitted.push(token.issuer().to_owned());
        }
        if token.expires_at().is_none() {
            findings.warn("no_exp").text("it has no `exp`: only a revocation ends it");
        }
        let claims = token.claims().deserialize().unwrap_or(Value::Null);
        let by_signature = token.method() == Method::Jwt;
        self.add_lifetime(&seen.given.place, &claims, by_signature, findings);
        self.check_profile(seen.form, token.issuer(), findings);
        if self.args.probe
            && seen.response["active"] == true
            && let Some(at) = self.introspecting_issuer(seen)
        {
            self.probe_wrong_hint(at, &seen.given.token, findings);
        }
    }

    /// Warns of a token that is admitted, although it may not be an access token. Returns false if it
    /// has the marks of another kind.
    fn check_admitted_kind(
        &self,
        seen: &Seen<'_>,
        token: &VerifiedToken,
        findings: &mut Findings,
    ) -> bool {
        let response = &seen.response;
        if !matches!(seen.kind.code, "access_token" | "opaque" | "jwe" | "jwt" | "unmarked") {
            let issuer = self.place().issuer(Some(token.issuer()));
            let (setting, text) = match issuer {
                Some(issuer) if issuer.accepts_unmarked => {
                    (Setting::UNMARKED, "remove it, if access tokens can be told from ID tokens")
                }
                Some(issuer) if issuer.profile == Some(Profile::ServiceIdentity) => {
                    (Setting::PROFILE, "it takes tokens that identify somebody")
                }
                _ => (Setting::MODE, "the server calls it an access token, and its word counts"),
            };
            let evidence = seen.kind.evidence.join("; ");
            let text_of = format!(
                "this service admits it, although it is {} ({evidence})",
                seen.kind.description
            );
            findings.warn("other_kind_admitted").text(text_of);
            findings.change(format!("{}: {text}", self.place().name(setting)));
            return false;
        }
        if response["active"] == true && inspect::judge_response(&response.to_string()) == Ok(false)
        {
            findings.warn("response_no_kind").text(
                "nothing in the response shows the kind of token: give an ID token and a refresh \
                 token too (`--token-file`), to see whether they are admitted",
            );
        }
        true
    }

    /// Proposes the strict profile for an issuer whose access tokens have the type that it demands.
    fn check_profile(&self, form: &Form, issuer: &str, findings: &mut Findings) {
        let Form::Jws(jws) = form else { return };
        let issuer = self.place().issuer(Some(issuer));
        let is_generic = issuer.is_some_and(|issuer| issuer.profile == Some(Profile::Generic));
        if is_generic && inspect::is_access_token_type(jws.header.text("typ").as_deref()) {
            findings.note("profile_rfc9068").text(format!(
                "its type is at+jwt: if all access tokens of the issuer have it, set {} to \
                     `rfc9068`, the strict one",
                self.place().name(Setting::PROFILE)
            ));
        }
    }

    /// Reports a refusal once: for its cause, if that is known.
    fn report_refused(&self, seen: &Seen<'_>, error: &VerifyError, findings: &mut Findings) {
        let is_of_client = error.blame() == Blame::Client;
        let named = self.introspecting_issuer(seen);
        let named = named.map(|at| &self.deployment.settings.issuers[at].issuer);
        let is_troubled = match named {
            Some(named) => self.troubled.contains(named),
            None => !self.troubled.is_empty(),
        };
        if is_troubled && !is_of_client {
            let text = "this service can't judge it, for the problem of its issuer";
            return findings.note("not_verified").text(text);
        }
        let of_issuer = [ErrorKind::UnknownIssuer, ErrorKind::WrongIssuer].contains(&error.kind());
        if of_issuer && self.has_finding("issuer_mismatch") {
            let text = format!("this service refuses it for the spelling of the issuer: {error}");
            return findings.note("not_admitted").text(text);
        }
        if self.report_bound(seen, findings)
            || self.report_other_kind(seen, error, findings)
            || error.kind() == ErrorKind::Inactive && self.probe_right_hint(seen, findings)
        {
            return;
        }
        let diagnosis = Diagnosis::of(&Case {
            error,
            trace: &seen.attempt.trace,
            token: Some((seen.form, seen.kind)),
            place: self.place(),
            exchanges: seen.exchanges,
            now: self.cx.now(),
        });
        let kind = error.kind();
        match error.blame() {
            Blame::AuthorizationServer if kind != ErrorKind::NotIntrospectable => {
                findings
                    .unknown("not_verified")
                    .text(format!("this service can't judge it: {kind}"));
            }
            _ => findings.bad("not_admitted").text(format!("this service refuses it: {kind}")),
        }
        for Field { name, value, .. } in diagnosis.head().0 {
            findings.detail(&name, value);
        }
    }

    /// Reports a token that is no access token. The service is right to refuse it.
    fn report_other_kind(
        &self,
        seen: &Seen<'_>,
        error: &VerifyError,
        findings: &mut Findings,
    ) -> bool {
        let is_active = seen.response["active"] == true;
        let is_told = !seen.kind.description.starts_with("perhaps")
            && !matches!(
                seen.kind.code,
                "access_token" | "opaque" | "jwe" | "jwt" | "unmarked" | "other"
            );
        let what = match error.kind() {
            _ if is_told && error.blame() == Blame::Client => {
                format!("it is {}", seen.kind.description)
            }
            // These may be access tokens that are not marked as such.
            ErrorKind::WrongTokenKind(TokenKind::Unmarked | TokenKind::Other) => return false,
            ErrorKind::WrongTokenKind(_) => error.kind().to_string(),
            ErrorKind::MissingClaim(_) if is_active && is_bare(&seen.response) => {
                "it is probably a refresh token or an authorization code".to_owned()
            }
            _ => return false,
        };
        let marks = match is_active {
            true if is_bare(&seen.response) => {
                "no `scope`, `token_type` or `sub` in the response".to_owned()
            }
            true => marks(&seen.response),
            false => seen.kind.evidence.join("; "),
        };
        let marks = if marks.is_empty() { String::new() } else { format!(" ({marks})") };
        let active = if is_active { "the server calls it active, but " } else { "" };
        let code = if is_active { "response_other_kind" } else { "other_kind_refused" };
        let text = format!("{active}{what}{marks}: this service refuses it, as it must");
        findings.warn(code).text(text);
        findings.change("nothing here: have the client send its access token");
        true
    }

    /// Returns the issuer that a token was introspected at, or would be: the one that a JWT names, or
    /// the only one with introspection.
    ///
    /// No token is sent to another issuer than its own.
    fn introspecting_issuer(&self, seen: &Seen<'_>) -> Option<usize> {
        let named = match seen.form {
            Form::Jws(jws) => jws.payload.text("iss"),
            _ => None,
        };
        let issuers = self.deployment.settings.issuers.iter().enumerate();
        let mut candidates = issuers.filter(|(_, issuer)| {
            let own = named.as_ref().is_none_or(|name| *name == issuer.issuer);
            issuer.client.is_some() && own
        });
        let (at, _) = candidates.next()?;
        candidates.next().is_none().then_some(at)
    }

    /// Tries a hint for a token that is inactive without it.
    fn probe_right_hint(&self, seen: &Seen<'_>, findings: &mut Findings) -> bool {
        const HINT: &str = "access_token";
        let Some(at) = self.introspecting_issuer(seen).filter(|_| self.args.probe) else {
            return false;
        };
        let issuer = &self.deployment.settings.issuers[at];
        let sent = match issuer.hint.as_deref() {
            Some(HINT) => return false,
            Some(hint) => format!("with the hint `{hint}`"),
            None => "without a hint".to_owned(),
        };
        let Some(verifier) = self.verifier(at, Some(HINT)) else { return false };
        let token = &seen.given.token;
        let Some((_, exchanges)) = self.introspect(&verifier, token, findings) else {
            return false;
        };
        if introspection_response(&exchanges)["active"] != true {
            return false;
        }
        findings.bad("hint_needed").text(format!(
            "this service refuses it: {sent} the server calls it inactive, and active with \
                 `token_type_hint` {HINT}"
        ));
        let line = self.place().line(Setting::HINT, HINT);
        findings.change(format!("{}: {line}", self.place().name(Setting::HINT)));
        true
    }

    fn probe_wrong_hint(&self, at: usize, token: &str, findings: &mut Findings) {
        let Some(verifier) = self.verifier(at, Some("refresh_token")) else { return };
        let Some((outcome, exchanges)) = self.introspect(&verifier, token, findings) else {
            return;
        };
        match outcome {
            Ok(_) => {
                findings.note("wrong_hint_ignored").text("a wrong `token_type_hint` makes no difference")
            }
            Err(error) if error.kind() == ErrorKind::Inactive => findings.note("wrong_hint_inactive").text("with a wrong `token_type_hint`, the token is inactive: set no hint, or the right \
                 one"),
            Err(error) => {
                let status = introspection(&exchanges).and_then(Exchange::response).map(summary);
                let status = status.unwrap_or_else(|| "no response".to_owned());
                let text = format!("with a wrong `token_type_hint`: {status}, {error}");
                findings.note("wrong_hint").text(text);
            }
        }
    }
}

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
    input,
    net::Exchange,
    pasted::Pasted,
    report::{Exit, Failure, Field},
    token::Kind,
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
    let files = args.token_file.iter().map(|path| input::named(Some(path), None));
    let variables = args.token_env.iter().map(|name| input::named(None, Some(name)));
    let named = files.chain(variables).filter_map(Result::transpose);
    let read = |(bytes, place): (Vec<u8>, String)| match Pasted::read(&bytes) {
        Ok(pasted) => Ok(GivenToken { place, token: pasted.token }),
        Err(problem) => Err(Failure::usage(format!("{place}: {problem}"))),
    };
    named.map(|named| read(named?)).collect()
}

/// A token, and what was seen of it.
pub(super) struct Seen<'a> {
    pub(super) given: &'a GivenToken,
    pub(super) kind: &'a Kind,
    pub(super) attempt: &'a Attempt,
    exchanges: &'a [Exchange],
    /// The introspection response, or null if the service did not introspect the token.
    pub(super) response: Value,
}

impl Doctor<'_> {
    /// Checks each token.
    pub(super) fn check_tokens(&mut self, tokens: &[GivenToken]) {
        for given in tokens {
            let kind = Kind::of(&given.token);
            self.found.note("token_kind").text(format!("this is {}", kind.description));
            self.check_token(given, &kind);
            let title = format!("Token from {}", given.place);
            self.add_section(title, json!({ "kind": kind.code }));
        }
    }

    /// Sends the token through the service, as a client would.
    ///
    /// The claims do not become part of the report: reports are kept, and claims are personal data.
    fn check_token(&mut self, given: &GivenToken, kind: &Kind) {
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
                return self.found.bad("token_malformed").text(&failure.message);
            }
            Err(failure) => return self.found.unknown("timeout").text(&failure.message),
        };
        let response = introspection_response(&exchanges);
        let seen = Seen { given, kind, attempt, exchanges: &exchanges, response };
        match (attempt.token(), attempt.refusal()) {
            (Some(token), _) => self.report_admitted(&seen, token),
            (None, Some(error)) => self.report_refused(&seen, error),
            (None, None) => {
                self.found.bad("not_admitted").text("this service admits it without a look")
            }
        }
        if seen.response["active"] == true {
            self.found.note("response").text(describe_members(&seen.response));
        }
    }

    fn report_admitted(&mut self, seen: &Seen<'_>, token: &VerifiedToken) {
        let text = "this service admits it: it passes all checks of the configuration";
        self.found.good("admitted").text(text);
        if self.check_admitted_kind(seen, token) {
            self.admitted.push(token.issuer().to_owned());
        }
        if token.expires_at().is_none() {
            self.found.warn("no_exp").text("it has no `exp`: only a revocation ends it");
        }
        let claims = token.claims().deserialize().unwrap_or(Value::Null);
        let by_signature = token.method() == Method::Jwt;
        self.add_lifetime(&seen.given.place, &claims, by_signature);
        self.check_session(token, &claims);
        self.check_profile(seen.kind, token.issuer());
        if self.args.probe
            && seen.response["active"] == true
            && let Some(at) = self.introspecting_issuer(seen)
        {
            self.probe_wrong_hint(at, &seen.given.token);
        }
    }

    /// Warns of a token that is admitted, although it may not be an access token. Returns false if it
    /// has the marks of another kind.
    fn check_admitted_kind(&mut self, seen: &Seen<'_>, token: &VerifiedToken) -> bool {
        let response = &seen.response;
        if !matches!(seen.kind.code, "access_token" | "opaque" | "jwe" | "jwt" | "unmarked") {
            let (what, evidence) = (&seen.kind.description, seen.kind.evidence.join("; "));
            let text = format!("this service admits it, although it is {what} ({evidence})");
            self.found.warn("other_kind_admitted").text(text);
            self.found.change(self.place().admitting(token.issuer()));
            return false;
        }
        if response["active"] == true && inspect::judge_response(&response.to_string()) == Ok(false)
        {
            self.found.warn("response_no_kind").text(
                "nothing in the response shows the kind of token: give an ID token and a refresh \
                 token too (`--token-file`), to see whether they are admitted",
            );
        }
        true
    }

    /// Proposes the strict profile for an issuer whose access tokens have the type that it demands.
    fn check_profile(&mut self, kind: &Kind, issuer: &str) {
        let typ = kind.form.jws().and_then(|jws| jws.header.text("typ"));
        let issuer = self.place().issuer(Some(issuer));
        let is_generic = issuer.is_some_and(|issuer| issuer.profile == Some(Profile::Generic));
        if is_generic && inspect::is_access_token_type(typ.as_deref()) {
            let setting = self.place().name(Setting::PROFILE);
            self.found.note("profile_rfc9068").text(format!(
                "its type is at+jwt: if all access tokens of the issuer have it, set {setting} to \
                 `rfc9068`, the strict one"
            ));
        }
    }

    /// Reports a refusal once: for its cause, if that is known.
    fn report_refused(&mut self, seen: &Seen<'_>, error: &VerifyError) {
        let is_of_client = error.blame() == Blame::Client;
        let named = self.introspecting_issuer(seen);
        let named = named.map(|at| &self.deployment.settings.issuers[at].issuer);
        let is_troubled = match named {
            Some(named) => self.troubled.contains(named),
            None => !self.troubled.is_empty(),
        };
        if is_troubled && !is_of_client {
            let text = "this service can't judge it, for the problem of its issuer";
            return self.found.note("not_verified").text(text);
        }
        let of_issuer = [ErrorKind::UnknownIssuer, ErrorKind::WrongIssuer].contains(&error.kind());
        if of_issuer && self.has_finding("issuer_mismatch") {
            let text = format!("this service refuses it for the spelling of the issuer: {error}");
            return self.found.note("not_admitted").text(text);
        }
        if self.report_bound(seen)
            || self.report_other_kind(seen, error)
            || error.kind() == ErrorKind::Inactive && self.probe_right_hint(seen)
        {
            return;
        }
        let diagnosis = Diagnosis::of(&Case {
            error,
            trace: &seen.attempt.trace,
            kind: seen.kind,
            place: self.place(),
            exchanges: seen.exchanges,
            now: self.cx.now(),
        });
        let kind = error.kind();
        match error.blame() {
            Blame::AuthorizationServer if kind != ErrorKind::NotIntrospectable => {
                let text = format!("this service can't judge it: {kind}");
                self.found.unknown("not_verified").text(text);
            }
            _ => self.found.bad("not_admitted").text(format!("this service refuses it: {kind}")),
        }
        for Field { name, value, .. } in diagnosis.head().0 {
            self.found.detail(&name, value);
        }
    }

    /// Reports a token that is no access token. The service is right to refuse it.
    fn report_other_kind(&mut self, seen: &Seen<'_>, error: &VerifyError) -> bool {
        let is_active = seen.response["active"] == true;
        let (code, description) = (seen.kind.code, &seen.kind.description);
        let is_told = !description.starts_with("perhaps")
            && !["access_token", "opaque", "jwe", "jwt", "unmarked", "other"].contains(&code);
        let what = match error.kind() {
            _ if is_told && error.blame() == Blame::Client => format!("it is {description}"),
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
        self.found.warn(code).text(text);
        self.found.change("nothing here: have the client send its access token");
        true
    }

    /// Returns the issuer that a token was introspected at, or would be: the one that a JWT names, or
    /// the only one with introspection.
    ///
    /// No token is sent to another issuer than its own.
    fn introspecting_issuer(&self, seen: &Seen<'_>) -> Option<usize> {
        let named = seen.kind.form.jws().and_then(|jws| jws.payload.text("iss"));
        let issuers = self.deployment.settings.issuers.iter().enumerate();
        let mut candidates = issuers.filter(|(_, issuer)| {
            let own = named.as_ref().is_none_or(|name| *name == issuer.issuer);
            issuer.client.is_some() && own
        });
        let (at, _) = candidates.next()?;
        candidates.next().is_none().then_some(at)
    }

    /// Tries a hint for a token that is inactive without it.
    fn probe_right_hint(&mut self, seen: &Seen<'_>) -> bool {
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
        let Some((_, exchanges)) = self.introspect(&verifier, token) else {
            return false;
        };
        if introspection_response(&exchanges)["active"] != true {
            return false;
        }
        self.found.bad("hint_needed").text(format!(
            "this service refuses it: {sent} the server calls it inactive, and active with \
             `token_type_hint` {HINT}"
        ));
        self.found.change(self.place().set(Setting::HINT, HINT));
        true
    }

    fn probe_wrong_hint(&mut self, at: usize, token: &str) {
        let Some(verifier) = self.verifier(at, Some("refresh_token")) else { return };
        let Some((outcome, exchanges)) = self.introspect(&verifier, token) else {
            return;
        };
        let (code, text) = match outcome {
            Ok(_) => {
                ("wrong_hint_ignored", "a wrong `token_type_hint` makes no difference".to_owned())
            }
            Err(error) if error.kind() == ErrorKind::Inactive => {
                let text = "with a wrong `token_type_hint`, the token is inactive: set no hint, or \
                            the right one";
                ("wrong_hint_inactive", text.to_owned())
            }
            Err(error) => {
                let status = introspection(&exchanges).and_then(Exchange::response).map(summary);
                let status = status.unwrap_or_else(|| "no response".to_owned());
                ("wrong_hint", format!("with a wrong `token_type_hint`: {status}, {error}"))
            }
        };
        self.found.note(code).text(text);
    }
}

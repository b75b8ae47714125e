//! Checks real tokens and their introspection responses.

use serde_json::{Value, json};
use tower_introspect::{
    ErrorKind, VerifyError,
    credentials::{Scheme, Token},
    inspect,
    jwt::Profile,
    verify::{Verifier as _, VerifyRequest},
};

use super::{Args, Doctor, credentials::introspection};
use crate::{
    finding::Findings,
    input,
    net::Exchange,
    pasted::Pasted,
    report::Failure,
    token::{Form, Kind},
};

/// A token, with the name of its file or variable.
pub(super) struct GivenToken {
    place: String,
    token: String,
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

impl Doctor<'_> {
    /// Checks each token.
    pub(super) fn check_tokens(&mut self, tokens: &[GivenToken]) {
        for given in tokens {
            let mut findings = Findings::default();
            let form = Form::of(&given.token);
            let kind = Kind::of(&given.token, &form);
            findings.note("token_kind", format!("this is {}", kind.description));
            let issuer = self.introspecting_issuer(&form);
            let confirms =
                issuer.is_some_and(|at| self.deployment.settings.issuers[at].mode != "hybrid");
            if let Form::Jws(jws) = &form
                && !confirms
            {
                let claims = serde_json::from_str(&jws.payload.text).unwrap_or(Value::Null);
                self.add_lifetime(&given.place, &claims, true, &mut findings);
            }
            let title = format!("Token from {}", given.place);
            let Some(token) = Token::bearer(&given.token) else {
                findings.bad("token_malformed", "this is not a bearer token (RFC 6750 §2.1)");
                self.add_section(title, findings, Value::Null);
                continue;
            };
            self.check_profile(&form, &mut findings);
            self.check_admission(token, &mut findings);
            self.check_introspection(given, &form, &mut findings);
            self.add_section(title, findings, json!({ "kind": kind.code }));
        }
    }

    /// Proposes the strict profile for an issuer whose access tokens have the type that it demands.
    fn check_profile(&self, form: &Form, findings: &mut Findings) {
        let Form::Jws(jws) = form else { return };
        let named = jws.payload.text("iss");
        let mut issuers = self.deployment.settings.issuers.iter();
        let issuer = issuers.find(|issuer| Some(&issuer.issuer) == named.as_ref());
        let is_generic = issuer.is_some_and(|issuer| issuer.profile == Some(Profile::Generic));
        if is_generic && inspect::is_access_token_type(jws.header.text("typ").as_deref()) {
            findings.note(
                "profile_rfc9068",
                "its type is at+jwt: if all access tokens of the issuer have it, set `profile` to \
                 `rfc9068`, the strict one",
            );
        }
    }

    /// Verifies the token and checks the policy, as for a request of a client.
    fn check_admission(&self, token: Token, findings: &mut Findings) {
        let (verifier, policy) = (self.server.verifier(), self.server.policy());
        let verified = self.cx.wait("verifying a token", async {
            let active = verifier.verify(VerifyRequest::new(token)).await?;
            policy.admit(active, Scheme::Bearer)
        });
        // Removes these exchanges from those of the following introspection.
        self.transport.take();
        match verified {
            Err(failure) => findings.unknown("timeout", failure.message),
            Ok(Ok(_)) => findings.good("admitted", "this service accepts the token"),
            Ok(Err(error)) => match error.blame() {
                tower_introspect::Blame::AuthorizationServer => {
                    findings.unknown("not_verified", error.to_string());
                }
                _ => {
                    findings.bad("not_admitted", format!("this service refuses the token: {error}"))
                }
            },
        }
    }

    /// Introspects the token and checks the members of the response.
    ///
    /// The claims do not become part of the report: reports are kept, and claims are personal data.
    fn check_introspection(&mut self, given: &GivenToken, form: &Form, findings: &mut Findings) {
        let Some(at) = self.introspecting_issuer(form) else { return };
        let Some(verifier) = self.verifier(at, None) else { return };
        let Some((outcome, exchanges)) = self.introspect(&verifier, &given.token, findings) else {
            return;
        };
        let response = introspection_response(&exchanges);
        let hybrid = self.deployment.settings.issuers[at].mode == "hybrid";
        if let Err(error) = &outcome {
            report_refusal(error, &exchanges, hybrid, findings);
        }
        if response["active"] == true {
            check_kind(&response, findings);
            check_members(&response, findings);
            let verified_locally = matches!(form, Form::Jws(_)) && hybrid;
            if !verified_locally {
                self.add_lifetime(&given.place, &response, false, findings);
            }
            if self.args.probe {
                self.probe_wrong_hint(at, &given.token, findings);
            }
        }
    }

    /// Returns the issuer to introspect at: the one that a JWT names, or the only one with
    /// introspection.
    ///
    /// No token is sent to another issuer than its own.
    fn introspecting_issuer(&self, form: &Form) -> Option<usize> {
        let named = match form {
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

    fn probe_wrong_hint(&self, at: usize, token: &str, findings: &mut Findings) {
        let Some(verifier) = self.verifier(at, Some("refresh_token")) else { return };
        let Some((outcome, _)) = self.introspect(&verifier, token, findings) else { return };
        match outcome {
            Ok(_) => {
                findings.note("wrong_hint_ignored", "a wrong `token_type_hint` makes no difference")
            }
            Err(error) if error.kind() == ErrorKind::Inactive => findings.note(
                "wrong_hint_inactive",
                "with a wrong `token_type_hint`, the token is inactive: set no hint, or the right \
                 one",
            ),
            Err(error) => {
                findings.note("wrong_hint", format!("with a wrong `token_type_hint`: {error}"))
            }
        }
    }
}

/// Returns the introspection response. That of a signed response is one of its claims.
fn introspection_response(exchanges: &[Exchange]) -> Value {
    let exchange = introspection(exchanges);
    let Some(response) = exchange.and_then(Exchange::response) else { return Value::Null };
    if let Ok(value) = serde_json::from_slice(response.body()) {
        return value;
    }
    let Form::Jws(jws) = Form::of(&String::from_utf8_lossy(response.body())) else {
        return Value::Null;
    };
    let inner = jws.payload.get("token_introspection").map(|value| value.get());
    inner.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
}

/// Reports why the library refuses the introspection response.
fn report_refusal(
    error: &VerifyError,
    exchanges: &[Exchange],
    hybrid: bool,
    findings: &mut Findings,
) {
    let status = introspection(exchanges)
        .and_then(Exchange::response)
        .map_or("no response".to_owned(), |response| response.status().to_string());
    match error.kind() {
        ErrorKind::NotIntrospectable => {
            let text = format!(
                "the introspection response is {status}: the server does not introspect this kind \
                 of token"
            );
            if hybrid {
                findings.note("not_introspectable", format!("{text}; it is verified locally"));
            } else {
                findings
                    .bad("not_introspectable", format!("{text}; use the mode `hybrid` or `jwt`"));
            }
        }
        ErrorKind::Inactive => findings
            .note("introspection_inactive", "the introspection response says that it is inactive"),
        ErrorKind::WrongTokenKind(_) => {
            findings.note(
                "introspection_other_kind",
                format!("the introspection response is {status}, but {error}"),
            );
        }
        _ => findings.warn("introspection_failed", format!("introspection: {status}, {error}")),
    }
}

/// Reports which kind of token the response shows, as the library judges it.
fn check_kind(response: &Value, findings: &mut Findings) {
    match inspect::judge_response(&response.to_string()) {
        Err(kind) => {
            let kind = ErrorKind::WrongTokenKind(kind);
            findings.warn(
                "response_other_kind",
                format!("the server calls it active, but by its response {kind}"),
            );
        }
        Ok(true) => {
            findings.note("response_access_token", "its response is that about an access token")
        }
        Ok(false) if is_bare(response) => findings.warn("response_bare", PROBABLY_NONE),
        Ok(false) => findings.warn(
            "response_no_kind",
            "nothing in the response shows the kind of token: introspect an ID token and a refresh \
             token too (`--token-file`), to see whether the server calls them active",
        ),
    }
}

/// The probable subject of a response that has none of the members of an access token.
const PROBABLY_NONE: &str = "the response has neither `scope`, `token_type` nor `sub`: probably the \
     token is a refresh token or an authorization code. Even `danger_default_audience` does not \
     admit it";

/// Returns true if the response shows nothing that an access token has.
fn is_bare(response: &Value) -> bool {
    ["scope", "token_type", "sub"].into_iter().all(|name| response[name].is_null())
}

/// Checks the presence and types of members, in which servers differ.
fn check_members(response: &Value, findings: &mut Findings) {
    match &response["aud"] {
        Value::Null if is_bare(response) => {
            findings.warn("no_aud", "there is no `aud`: the policy refuses the token")
        }
        Value::Null => findings.warn(
            "no_aud",
            "there is no `aud`: the policy refuses the token, unless the client requests this \
             resource (RFC 8707) or `danger_default_audience` is set",
        ),
        Value::String(text) if text.contains(' ') => findings.warn(
            "aud_list",
            format!(
                "`aud` is a list in one string (\"{}\"), which is not an audience",
                truncated(text)
            ),
        ),
        Value::String(_) => findings.note("aud_string", "`aud` is a string"),
        Value::Array(all) if all.is_empty() => findings.warn(
            "aud_empty",
            "`aud` is empty: the token is for nobody, and the policy refuses it. Have the client \
             request this resource",
        ),
        Value::Array(all) => {
            findings.note("aud_array", format!("`aud` is an array of {}", all.len()))
        }
        _ => findings.bad("aud_type", "`aud` is neither a string nor an array"),
    }
    match &response["exp"] {
        Value::Null => findings.warn("no_exp", "there is no `exp`"),
        Value::Number(number) if number.is_f64() => {
            findings.note("exp_float", "`exp` is a fraction")
        }
        Value::Number(_) => findings.note("exp_integer", "`exp` is an integer"),
        _ => findings.bad("exp_type", "`exp` is not a number (RFC 7662 §2.2)"),
    }
    match response["token_type"].as_str() {
        None => findings.note("no_token_type", "there is no `token_type`"),
        Some(kind @ ("Bearer" | "DPoP")) => {
            findings.note("token_type", format!("`token_type` is {kind}"))
        }
        Some(kind) => findings.note(
            "token_type_spelling",
            format!(
                "`token_type` is \"{}\", not Bearer (RFC 6749 §5.1: case does not matter)",
                truncated(kind)
            ),
        ),
    }
    for (name, code) in
        [("iss", "no_iss"), ("sub", "no_sub"), ("client_id", "no_client_id"), ("scope", "no_scope")]
    {
        if response[name].is_null() {
            findings.note(code, format!("there is no `{name}`"));
        }
    }
    if !response["cnf"].is_null() {
        findings.warn(
            "bound",
            "the token is bound to a key (`cnf`): clients must prove possession of that key",
        );
    }
}

fn truncated(text: &str) -> String {
    text.chars().take(64).collect()
}

//! Real tokens, and what the authorization server says of them.

use serde_json::{Value, json};
use tower_introspect::{
    ErrorKind, VerifyError,
    credentials::{Scheme, Token},
    verify::{Verifier as _, VerifyRequest},
};

use super::{Args, Doctor};
use crate::{
    finding::Findings,
    input,
    net::Exchange,
    pasted::Pasted,
    report::Failure,
    token::{Form, Kind},
};

/// A token to look at, and where it was.
pub(super) struct Given {
    place: String,
    token: String,
}

/// The tokens that the command line names.
///
/// # Errors
///
/// If one can't be read.
pub(super) fn given(args: &Args) -> Result<Vec<Given>, Failure> {
    let mut all = Vec::new();
    for path in &args.token_file {
        all.push((format!("`{}`", path.display()), input::file(path)?));
    }
    for name in &args.token_env {
        all.push((format!("`{name}`"), input::variable(name)?.into_bytes()));
    }
    let read = |(place, bytes): (String, Vec<u8>)| match Pasted::read(&bytes) {
        Ok(pasted) => Ok(Given { place, token: pasted.token }),
        Err(problem) => Err(Failure::usage(format!("{place}: {problem}"))),
    };
    all.into_iter().map(read).collect()
}

impl Doctor<'_> {
    /// Looks at each token.
    pub(super) fn tokens(&mut self, tokens: &[Given]) {
        for given in tokens {
            let mut findings = Findings::default();
            let form = Form::of(&given.token);
            let kind = Kind::of(&given.token, &form);
            findings.note("token_kind", format!("it is {}", kind.words));
            if let Form::Jws(jws) = &form {
                let claims = serde_json::from_str(&jws.payload.text).unwrap_or(Value::Null);
                self.lifetime(&given.place, &claims, true, &mut findings);
            }
            let Some(token) = Token::bearer(&given.token) else {
                findings.bad("token_malformed", "it is no bearer token (RFC 6750 §2.1)");
                self.section(format!("Token of {}", given.place), findings, Value::Null);
                continue;
            };
            self.whole(token, &mut findings);
            self.direct(given, &form, &mut findings);
            let title = format!("Token of {}", given.place);
            self.section(title, findings, json!({ "kind": kind.code }));
        }
    }

    /// As a request of a client would have it: verified, and held against the policy.
    fn whole(&self, token: Token, findings: &mut Findings) {
        let (verifier, policy) = (self.server.verifier(), self.server.policy());
        let verified = self.cx.wait("verifying a token", async {
            let active = verifier.verify(VerifyRequest::new(token)).await?;
            policy.admit(active, Scheme::Bearer)
        });
        self.wire.take();
        match verified {
            Err(failure) => findings.unknown("timeout", failure.message),
            Ok(Ok(_)) => findings.good("admitted", "this service admits it"),
            Ok(Err(error)) => match error.blame() {
                tower_introspect::Blame::AuthorizationServer => {
                    findings.unknown("not_verified", error.to_string());
                }
                _ => findings.bad("not_admitted", format!("this service refuses it: {error}")),
            },
        }
    }

    /// What the issuer that is asked about such tokens says of this one. Its words are looked at and
    /// not kept: reports are, and the claims are someone's.
    fn direct(&mut self, given: &Given, form: &Form, findings: &mut Findings) {
        let Some(at) = self.asked_about(form) else { return };
        let Some(verifier) = self.verifier(at, None) else { return };
        let Some((asked, exchanges)) = self.ask(&verifier, &given.token, findings) else { return };
        let answer = said(&exchanges);
        let hybrid = self.deployed.settings.issuers[at].mode == "hybrid";
        if let Err(error) = &asked {
            not_active(error, &exchanges, hybrid, findings);
        }
        if answer["active"] == true {
            members(&answer, findings);
            let own = matches!(form, Form::Jws(_)) && hybrid;
            if !own {
                self.lifetime(&given.place, &answer, false, findings);
            }
            if self.args.probe {
                self.wrong_hint(at, &given.token, findings);
            }
        }
    }

    /// The issuer to ask: the one a JWT names, or else the only one that is asked at all.
    ///
    /// No other: the others are not to see the token.
    fn asked_about(&self, form: &Form) -> Option<usize> {
        let named = match form {
            Form::Jws(jws) => jws.payload.text("iss"),
            _ => None,
        };
        let issuers = self.deployed.settings.issuers.iter().enumerate();
        let mut asked = issuers.filter(|(_, issuer)| {
            let own = named.as_ref().is_none_or(|name| *name == issuer.issuer);
            issuer.client.is_some() && own
        });
        let (at, _) = asked.next()?;
        asked.next().is_none().then_some(at)
    }

    fn wrong_hint(&self, at: usize, token: &str, findings: &mut Findings) {
        let Some(verifier) = self.verifier(at, Some("refresh_token")) else { return };
        let Some((asked, _)) = self.ask(&verifier, token, findings) else { return };
        match asked {
            Ok(_) => {
                findings.note("wrong_hint_ignored", "a wrong `token_type_hint` makes no difference")
            }
            Err(error) if error.kind() == ErrorKind::Inactive => findings.note(
                "wrong_hint_inactive",
                "with a wrong `token_type_hint` it calls this token inactive: set none, or the \
                 right one",
            ),
            Err(error) => {
                findings.note("wrong_hint", format!("with a wrong `token_type_hint`: {error}"))
            }
        }
    }
}

/// The answer of the introspection endpoint; of a signed one what is signed.
fn said(exchanges: &[Exchange]) -> Value {
    let question = exchanges.iter().rfind(|one| one.request.method() == http::Method::POST);
    let Some(response) = question.and_then(Exchange::response) else { return Value::Null };
    if let Ok(value) = serde_json::from_slice(response.body()) {
        return value;
    }
    let Form::Jws(jws) = Form::of(&String::from_utf8_lossy(response.body())) else {
        return Value::Null;
    };
    let inner = jws.payload.get("token_introspection").map(|value| value.get());
    inner.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
}

fn not_active(error: &VerifyError, exchanges: &[Exchange], hybrid: bool, findings: &mut Findings) {
    let question = exchanges.iter().rfind(|one| one.request.method() == http::Method::POST);
    let status = question
        .and_then(Exchange::response)
        .map_or("no answer".to_owned(), |response| response.status().to_string());
    match error.kind() {
        ErrorKind::NotIntrospectable => {
            let text = format!(
                "introspection answers {status} to it: it does not know this kind of token"
            );
            if hybrid {
                findings.note("not_introspectable", format!("{text}; it is verified locally"));
            } else {
                findings
                    .bad("not_introspectable", format!("{text}; use the mode `hybrid` or `jwt`"));
            }
        }
        ErrorKind::Inactive => {
            findings.note("introspection_inactive", "introspection calls it inactive")
        }
        ErrorKind::WrongTokenKind(_) => {
            findings.note(
                "introspection_other_kind",
                format!("introspection answers {status}, but {error}"),
            );
        }
        _ => findings.warn("introspection_failed", format!("introspection: {status}, {error}")),
    }
}

/// What is there and of which type, as servers differ in it.
fn members(answer: &Value, findings: &mut Findings) {
    match &answer["aud"] {
        Value::Null => findings.warn(
            "no_aud",
            "introspection names no `aud`: the policy refuses it, unless the client asks for this \
             resource (RFC 8707) or `danger_default_audience` is set",
        ),
        Value::String(text) if text.contains(' ') => findings.warn(
            "aud_list",
            format!("`aud` is a list in one string (\"{}\"), which is no audience", short(text)),
        ),
        Value::String(_) => findings.note("aud_string", "`aud` is a string"),
        Value::Array(all) => {
            findings.note("aud_array", format!("`aud` is an array of {}", all.len()))
        }
        _ => findings.bad("aud_type", "`aud` is neither a string nor an array"),
    }
    match &answer["exp"] {
        Value::Null => findings.warn("no_exp", "introspection does not say when it expires"),
        Value::Number(number) if number.is_f64() => {
            findings.note("exp_float", "`exp` is a fraction")
        }
        Value::Number(_) => findings.note("exp_integer", "`exp` is an integer"),
        _ => findings.bad("exp_type", "`exp` is no number (RFC 7662 §2.2)"),
    }
    match answer["token_type"].as_str() {
        None => findings.note("no_token_type", "there is no `token_type`"),
        Some(kind @ ("Bearer" | "DPoP")) => {
            findings.note("token_type", format!("`token_type` is {kind}"))
        }
        Some(kind) => findings.note(
            "token_type_spelling",
            format!(
                "`token_type` is \"{}\", not Bearer (RFC 6749 §5.1: case does not matter)",
                short(kind)
            ),
        ),
    }
    for (name, code) in
        [("iss", "no_iss"), ("sub", "no_sub"), ("client_id", "no_client_id"), ("scope", "no_scope")]
    {
        if answer[name].is_null() {
            findings.note(code, format!("there is no `{name}`"));
        }
    }
    if !answer["cnf"].is_null() {
        findings.warn("bound", "it is bound to a key (`cnf`): this version refuses such tokens");
    }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

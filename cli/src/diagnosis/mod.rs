//! The finding about a refused request: what failed, who has to act, and what to change.

mod advice;
mod explanation;
mod head;
mod place;

use serde::Serialize;
use serde_json::{Value, json};
use tower_introspect::{
    Blame, ErrorKind, VerifyError,
    checks::{Check, Detail, Trace, Value as Found},
    clock::UnixTime,
};

pub(crate) use self::{
    head::shortened,
    place::{Place, Setting},
};
use crate::{
    causes,
    net::Exchange,
    report::Exit,
    token::{Jws, Kind},
    when,
};

/// All that is known about a refused request.
pub(crate) struct Case<'a> {
    pub(crate) error: &'a VerifyError,
    pub(crate) trace: &'a Trace,
    /// The kind of the token.
    pub(crate) kind: &'a Kind,
    pub(crate) place: Place<'a>,
    /// The exchanges with authorization servers that were recorded.
    pub(crate) exchanges: &'a [Exchange],
    pub(crate) now: UnixTime,
}

/// The party that has to act: its name in JSON, and in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Actor(&'static str, &'static str);

impl Actor {
    const CLIENT: Self = Self("client", "the client");
    const SERVER: Self = Self("authorization_server", "the authorization server");
    const SERVICE: Self = Self("service", "this service");
    /// The people who configure the authorization server.
    const SETTINGS: Self =
        Self("authorization_server_settings", "the settings of the authorization server");
    const ALL: [Self; 4] = [Self::CLIENT, Self::SERVER, Self::SERVICE, Self::SETTINGS];
}

/// A change that may solve the problem.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Change {
    pub(crate) text: String,
    /// The line of a file or the options to set.
    pub(crate) line: Option<String>,
}

/// The finding about a refused request.
pub(crate) struct Diagnosis {
    pub(crate) kind: ErrorKind,
    /// The check that failed. `None` if something around the checks refused the request.
    pub(crate) check: Option<Check>,
    pub(crate) found: Option<String>,
    pub(crate) expected: Option<String>,
    /// The likely reason behind the failed check.
    pub(crate) because: Option<String>,
    pub(crate) actor: Actor,
    /// The setting that decided, with the file that has it.
    pub(crate) setting: Option<String>,
    /// The changes that may help, the likeliest first.
    pub(crate) changes: Vec<Change>,
    /// The messages of the error and its causes.
    pub(crate) causes: Vec<String>,
}

impl Diagnosis {
    /// Makes one finding of a refusal.
    pub(crate) fn of(case: &Case<'_>) -> Self {
        let error = case.error;
        let step = case.trace.failed().filter(|step| step.outcome == Err(error.kind()));
        let detail = step.map(|step| &step.detail);
        let causes = causes::chain(error);
        let mut diagnosis = Self {
            kind: error.kind(),
            check: step.map(|step| step.check),
            found: detail.and_then(|detail| found(detail, case.now)),
            expected: detail.and_then(|detail| detail.wanted.clone()),
            because: None,
            actor: match error.blame() {
                Blame::AuthorizationServer => Actor::SERVER,
                Blame::ResourceServer => Actor::SERVICE,
                _ => Actor::CLIENT,
            },
            setting: None,
            changes: Vec::new(),
            causes,
        };
        if !diagnosis.explain(case) {
            diagnosis.advise(case);
        }
        diagnosis
    }

    /// Adds a change.
    fn change(&mut self, text: impl Into<String>) {
        self.changes.push(Change { text: text.into(), line: None });
    }

    /// Adds a change of a setting.
    fn change_line(&mut self, text: impl Into<String>, line: impl Into<String>) {
        self.changes.push(Change { text: text.into(), line: Some(line.into()) });
    }

    /// Returns the exit code.
    pub(crate) const fn exit(&self) -> Exit {
        match self.kind.blame() {
            Blame::AuthorizationServer => Exit::Unavailable,
            Blame::ResourceServer => Exit::Usage,
            _ => Exit::Refused,
        }
    }

    /// Returns the finding as JSON.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "check": self.check.map(Check::name),
            "found": self.found,
            "expected": self.expected,
            "because": self.because,
            "actor": self.actor.0,
            "setting": self.setting,
            "changes": self.changes,
        })
    }
}

impl Case<'_> {
    fn jws(&self) -> Option<&Jws> {
        self.kind.form.jws()
    }

    /// Returns a claim in the text of the token. Nothing of it need be verified.
    fn claim(&self, name: &str) -> Option<Value> {
        serde_json::from_str(self.jws()?.payload.get(name)?.get()).ok()
    }

    fn issuer_in_token(&self) -> Option<String> {
        self.jws()?.payload.text("iss")
    }

    /// Returns the settings of the token's issuer.
    fn issuer(&self) -> Option<&tower_introspect::inspect::IssuerSettings> {
        self.place.issuer(self.issuer_in_token().as_deref())
    }
}

/// Describes the value that a check found.
pub(crate) fn found(detail: &Detail, now: UnixTime) -> Option<String> {
    match &detail.seen {
        Some(Found::Text(text)) => Some(text.clone()),
        Some(Found::Time(time)) => Some(when::both(*time, now)),
        _ => detail.wanted.as_ref().map(|_| "none".to_owned()),
    }
}

//! The finding about a refused request: what failed, who has to act, and what to change.

mod advice;
mod explanation;
mod place;

use serde_json::{Value, json};
use tower_introspect::{
    Blame, ErrorKind, VerifyError,
    checks::{Check, Detail, Trace, Value as Found},
    clock::UnixTime,
};

pub(crate) use self::place::{Place, Setting};
use crate::{
    causes,
    net::Exchange,
    report::{Exit, Field, Report, Tone},
    token::{Form, Jws, Kind},
    when,
};

/// All that is known about a refused request.
pub(crate) struct Case<'a> {
    pub(crate) error: &'a VerifyError,
    pub(crate) trace: &'a Trace,
    /// The form and the kind of the token, if there was one.
    pub(crate) token: Option<(&'a Form, &'a Kind)>,
    pub(crate) place: Place<'a>,
    /// The exchanges with authorization servers that were recorded.
    pub(crate) exchanges: &'a [Exchange],
    pub(crate) now: UnixTime,
}

/// The party that has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    AuthorizationServer,
    /// The people who configure the authorization server.
    AuthorizationServerSettings,
    Client,
    Service,
}

/// A change that may solve the problem.
#[derive(Clone, Debug)]
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
                Blame::AuthorizationServer => Actor::AuthorizationServer,
                Blame::ResourceServer => Actor::Service,
                _ => Actor::Client,
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

    /// Names the party that has to act, and the setting.
    pub(crate) fn who(&self) -> String {
        let actor = self.actor.describe();
        match (&self.setting, self.actor) {
            (Some(setting), Actor::Service) => format!("{actor}: {setting}"),
            (Some(setting), _) => format!("{actor}; or this service: {setting}"),
            (None, _) => actor.to_owned(),
        }
    }

    /// Reports the finding in at most ten lines of 80 columns.
    pub(crate) fn report_to(&self, report: &mut Report) {
        report.exit = self.exit();
        let word = match report.exit {
            Exit::Unavailable => "NOT KNOWN",
            Exit::Usage => "MISCONFIGURED",
            _ => "REFUSED",
        };
        let reason = self.kind.reason();
        report.line(Tone::Bad, format!("{word}: {} ({reason})", self.kind));
        let mut fields = Vec::new();
        let mut add = |name: &str, value: Option<String>, lines: usize| {
            fields.extend(value.map(|value| Field::new(name, fitted(&value, lines))));
        };
        let title = |check: Check| format!("{} ({})", check.title(), check.section());
        add("check", self.check.map(title), 1);
        let long = if self.because.is_some() { 1 } else { 2 };
        add("found", self.found.clone(), long);
        add("expected", self.expected.clone(), 1);
        add("because", self.because.clone(), 2);
        add("who acts", Some(self.who()), 1);
        for (at, change) in self.changes.iter().enumerate() {
            let name = if at == 0 { "change" } else { "or" };
            fields.push(Field::new(name, change.to_string()));
        }
        // The verdict takes one line.
        let mut lines = 1;
        fields.retain(|field| {
            lines += lines_of(&field.value);
            field.name != "or" || lines <= HEAD_LINES
        });
        report.fields(fields);
        self.set_json(report);
    }

    /// Reports the changes that do not fit into the first lines, and the causes of the error.
    pub(crate) fn report_rest(&self, report: &mut Report) {
        if self.changes.len() > 1 {
            report.heading("What to change");
            for change in &self.changes {
                report.item(Tone::Plain, "-", change.to_string());
            }
        }
        // The checks show the mistakes of clients.
        if self.actor != Actor::Client && self.because.is_none() {
            report.heading("Cause");
            for cause in &self.causes {
                report.item(Tone::Plain, "-", cause);
            }
        }
    }

    fn set_json(&self, report: &mut Report) {
        let kind = self.kind;
        report.set("reason", kind.reason());
        report.set("message", kind.to_string());
        report.set("diagnosis", self.to_json());
        report.set("causes", self.causes.clone());
    }

    /// Returns the finding as JSON.
    pub(crate) fn to_json(&self) -> Value {
        let changes = self.changes.iter();
        let changes = changes.map(|change| json!({"text": change.text, "line": change.line}));
        json!({
            "check": self.check.map(Check::name),
            "found": self.found,
            "expected": self.expected,
            "because": self.because,
            "actor": self.actor.code(),
            "setting": self.setting,
            "changes": changes.collect::<Vec<_>>(),
        })
    }
}

impl Actor {
    const fn code(self) -> &'static str {
        match self {
            Self::AuthorizationServer => "authorization_server",
            Self::AuthorizationServerSettings => "authorization_server_settings",
            Self::Client => "client",
            Self::Service => "service",
        }
    }

    const fn describe(self) -> &'static str {
        match self {
            Self::AuthorizationServer => "the authorization server",
            Self::AuthorizationServerSettings => "the settings of the authorization server",
            Self::Client => "the client",
            Self::Service => "this service",
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.line {
            Some(line) => write!(f, "{}: {line}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl Case<'_> {
    fn jws(&self) -> Option<&Jws> {
        match self.token {
            Some((Form::Jws(jws), _)) => Some(jws),
            _ => None,
        }
    }

    /// Returns a claim in the text of the token. Nothing of it need be verified.
    fn claim(&self, name: &str) -> Option<Value> {
        serde_json::from_str(self.jws()?.payload.get(name)?.get()).ok()
    }

    /// Returns the code of the token's kind.
    fn kind_code(&self) -> &'static str {
        self.token.map_or("none", |(_, kind)| kind.code)
    }

    fn issuer_in_token(&self) -> Option<String> {
        self.jws()?.payload.text("iss")
    }

    /// Returns the settings of the token's issuer.
    fn issuer(&self) -> Option<&tower_introspect::inspect::IssuerSettings> {
        self.place.issuer(self.issuer_in_token().as_deref())
    }
}

/// The lines of the finding.
const HEAD_LINES: usize = 10;

/// The columns of a value in a line of 80.
const COLUMNS: usize = 66;

/// Returns the lines that a value takes.
fn lines_of(value: &str) -> usize {
    value.chars().count().div_ceil(COLUMNS).max(1)
}

/// Shortens a value to this number of lines. Tokens and servers choose many of the values.
fn fitted(value: &str, lines: usize) -> String {
    // Lines break at spaces, so that they are not filled.
    let max = lines * COLUMNS - 8 * (lines - 1);
    if value.chars().count() <= max {
        return value.to_owned();
    }
    value.chars().take(max - 4).chain(" ...".chars()).collect()
}

/// Describes the value that a check found.
pub(crate) fn found(detail: &Detail, now: UnixTime) -> Option<String> {
    match &detail.seen {
        Some(Found::Text(text)) => Some(text.clone()),
        Some(Found::Time(time)) => {
            Some(format!("{} ({})", when::date(*time), when::relative(*time, now)))
        }
        _ => detail.wanted.as_ref().map(|_| "none".to_owned()),
    }
}

//! The entry for the runbook: what is deployed, what ends when, how to check it, what to bring back.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tower_introspect::clock::UnixTime;

use super::Args;
use crate::{
    report::{Exit, Field, Report, Tone},
    settings::Deployed,
    when,
};

/// The most characters of a value.
const LONGEST: usize = 512;

/// The entry, as it is put together.
#[derive(Default)]
pub(super) struct Runbook {
    deployed: Vec<(String, String)>,
    expires: Vec<(String, UnixTime)>,
    verify: Vec<String>,
    restore: Vec<String>,
    outcome: &'static str,
    date: UnixTime,
}

impl Runbook {
    pub(super) fn new(deployed: &Deployed, args: &Args) -> Self {
        let mut runbook = Self::default();
        let settings = &deployed.settings;
        let path = deployed.path.display();
        runbook.deployed("library", concat!("tower-introspect ", env!("CARGO_PKG_VERSION")));
        runbook.deployed("configuration", &path.to_string());
        runbook.deployed("audience", &settings.audiences.join(", "));
        if !settings.required_scopes.is_empty() {
            runbook.deployed("required scopes", &settings.required_scopes.join(" "));
        }
        if settings.issuers.iter().any(|issuer| issuer.client.is_some()) {
            let seconds = (settings.max_age + settings.stale_if_error).as_secs();
            let text = format!("{seconds} s at most after it is revoked, where introspected");
            runbook.deployed("a token passes for", &text);
        }
        runbook.restore.push(format!("the configuration `{path}`"));
        for issuer in &settings.issuers {
            let name = &issuer.issuer;
            runbook.deployed("issuer", &format!("{name} ({})", issuer.mode));
            if let Some(client) = &issuer.client {
                let id = client.id.as_deref().unwrap_or("whoever the token is of");
                runbook
                    .deployed(&format!("client at {name}"), &format!("{id}, by {}", client.method));
                runbook.restore.push(format!(
                    "the secret of the client `{id}` at {name}, in {}; if it is lost, have a \
                     new one made there",
                    client.place
                ));
            }
            if let Some(url) = &issuer.endpoint {
                runbook.deployed(&format!("introspection of {name}"), url);
            }
            if let Some(file) = &issuer.jwks_file {
                runbook.restore.push(format!("the keys of {name}, in the file {}", file.display()));
            }
        }
        runbook.verify.push(format!("introspect doctor {path}{}", options(args)));
        for issuer in settings.issuers.iter().filter(|issuer| issuer.client.is_some()) {
            let name = &issuer.issuer;
            runbook.verify.push(format!(
                "introspect introspect --config {path} --issuer {name}{} < TOKEN",
                args.net.again()
            ));
        }
        if let Ok(Some((file, _))) = args.net.certificate() {
            let file = file.display();
            runbook
                .restore
                .push(format!("the client certificate and its private key, in the file {file}"));
        }
        runbook
    }

    pub(super) fn deployed(&mut self, name: &str, value: &str) {
        // Some of it is the word of servers.
        self.deployed.push((name.to_owned(), value.chars().take(LONGEST).collect()));
    }

    pub(super) fn expires(&mut self, what: &str, end: UnixTime) {
        if !self.expires.iter().any(|(have, _)| have == what) {
            self.expires.push((what.to_owned(), end));
        }
    }

    pub(super) fn finish(mut self, exit: Exit, now: UnixTime) -> Self {
        self.outcome = match exit {
            Exit::Accepted => "ready",
            Exit::Unavailable => "not known",
            _ => "not ready",
        };
        self.date = now;
        self.expires.sort_by_key(|(_, end)| *end);
        self
    }

    pub(super) fn tell(&self, report: &mut Report) {
        report.heading("For the runbook");
        let mut fields =
            vec![Field::new("checked", when::date(self.date)).remark(Tone::Plain, self.outcome)];
        fields.extend(self.deployed.iter().map(|(name, value)| Field::new(name, value)));
        report.fields(fields);
        let dates: Vec<_> = self
            .expires
            .iter()
            .map(|(what, end)| format!("{}  {what}", when::date(*end)))
            .collect();
        for (title, lines) in [
            ("Expires", &dates),
            ("How to check", &self.verify),
            ("What to restore", &self.restore),
        ] {
            if lines.is_empty() {
                continue;
            }
            report.line(Tone::Plain, format!("  {title}:"));
            lines.iter().for_each(|line| report.item(Tone::Plain, "-", line));
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let deployed =
            self.deployed.iter().map(|(name, value)| json!({"name": name, "value": value}));
        let expires =
            self.expires.iter().map(|(what, end)| json!({"what": what, "at": when::date(*end)}));
        json!({
            "checked": when::date(self.date),
            "outcome": self.outcome,
            "deployed": deployed.collect::<Vec<_>>(),
            "expires": expires.collect::<Vec<_>>(),
            "verify": self.verify,
            "restore": self.restore,
        })
    }

    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        let (date, outcome) = (when::date(self.date), self.outcome);
        // Writing to a `String` does not fail.
        let _ = writeln!(
            out,
            "## Token verification\n\nChecked {date}: **{outcome}**.\n\n| | |\n|---|---|"
        );
        for (name, value) in &self.deployed {
            let _ = writeln!(out, "| {} | {} |", cell(name), cell(value));
        }
        if !self.expires.is_empty() {
            let _ = writeln!(out, "\n### Expires\n\n| when | what |\n|---|---|");
            for (what, end) in &self.expires {
                let _ = writeln!(out, "| {} | {} |", when::date(*end), cell(what));
            }
        }
        let _ = writeln!(out, "\n### How to check\n");
        for line in &self.verify {
            let _ = writeln!(out, "    {}", plain(line));
        }
        let _ = writeln!(out, "\n### What to restore\n");
        for line in &self.restore {
            let _ = writeln!(out, "* {}", cell(line));
        }
        out
    }
}

/// The options that a repetition needs.
fn options(args: &Args) -> String {
    let mut out = args.net.again();
    for (on, name) in [(args.probe, " --probe"), (args.strict, " --strict")] {
        if on {
            out.push_str(name);
        }
    }
    out
}

/// Text of others, which must be no markup.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for char in plain(text).chars() {
        if matches!(char, '|' | '<' | '>' | '*' | '[' | ']' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

fn plain(text: &str) -> String {
    crate::screen::printable(text)
}

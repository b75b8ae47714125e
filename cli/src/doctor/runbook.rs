//! The entry for the runbook: the settings, expiry dates, check commands and secrets to restore.

use serde::Serialize;
use tower_introspect::{clock::UnixTime, inspect};

use super::{
    Args,
    credentials::{NO_CREDENTIALS, client_name},
};
use crate::{
    deployment::Deployment,
    report::{Field, Report, Tone},
    screen::printable,
    when,
};

/// The most characters of a value.
const MAX_CHARS: usize = 512;

/// The entry for the runbook.
#[derive(Default, Serialize)]
pub(super) struct Runbook {
    checked: String,
    outcome: String,
    deployed: Vec<Deployed>,
    expires: Vec<Expiry>,
    verify: Vec<String>,
    restore: Vec<String>,
}

#[derive(Serialize)]
struct Deployed {
    name: String,
    value: String,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Expiry {
    at: String,
    what: String,
}

impl Runbook {
    /// Creates the entry with all values that the configuration has.
    pub(super) fn new(deployment: &Deployment, args: &Args) -> Self {
        let mut runbook = Self::default();
        let settings = &deployment.settings;
        let path = deployment.path.display();
        runbook.add_setting("library", &format!("tower-introspect {}", inspect::VERSION));
        runbook.add_setting("configuration", &path.to_string());
        runbook.add_setting("audience", &settings.audiences.join(", "));
        if !settings.required_scopes.is_empty() {
            runbook.add_setting("required scopes", &settings.required_scopes.join(" "));
        }
        if let Some(limit) = settings.max_token_bytes {
            runbook.add_setting("longest token", &format!("{limit} bytes"));
        }
        if settings.issuers.iter().any(|issuer| issuer.client.is_some()) {
            let seconds = (settings.max_age + settings.stale_if_error).as_secs();
            let text = format!("for at most {seconds} s, if introspected");
            runbook.add_setting("revoked tokens accepted", &text);
        }
        runbook.restore.push(format!("the configuration `{path}`"));
        for issuer in &settings.issuers {
            let name = &issuer.issuer;
            runbook.add_setting("issuer", &format!("{name} ({})", issuer.mode));
            if let Some(client) = &issuer.client {
                let id = client_name(client);
                let text = format!("{id}, by {}", client.method);
                runbook.add_setting(&format!("client at {name}"), &text);
                if client.method != NO_CREDENTIALS {
                    runbook.restore.push(format!(
                        "the secret of the client `{id}` at {name}, in {}; if it is lost, create \
                         a new one at the authorization server",
                        client.secret_location
                    ));
                }
            }
            if let Some(url) = &issuer.endpoint {
                runbook.add_setting(&format!("introspection of {name}"), url);
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
                args.net.to_options()
            ));
        }
        runbook.add_signals(deployment);
        if let Ok(Some((file, _))) = args.net.certificate() {
            let what = "the client certificate and its private key, in the file";
            runbook.restore.push(format!("{what} {}", file.display()));
        }
        runbook
    }

    fn add_signals(&mut self, deployment: &Deployment) {
        let Some(signals) = &deployment.settings.signals else { return };
        if let Some(client) = &signals.logout_client_id {
            self.add_setting("logouts of the client", client);
        }
        for transmitter in &signals.transmitters {
            let name = &transmitter.issuer;
            let way = if transmitter.is_polled { "poll" } else { "push" };
            self.add_setting("transmitter", &format!("{name} ({way})"));
            if let Some(access) = &transmitter.access {
                let path = deployment.path.display();
                self.verify.push(format!(
                    "introspect signals status --config {path} --transmitter {name}"
                ));
                let place = &access.secret_location;
                self.restore
                    .push(format!("the credentials for the transmitter {name}, in {place}"));
            }
        }
    }

    pub(super) fn add_setting(&mut self, name: &str, value: &str) {
        // Bounded: servers control some of the values.
        let value = value.chars().take(MAX_CHARS).collect();
        self.deployed.push(Deployed { name: name.to_owned(), value });
    }

    pub(super) fn add_expiry(&mut self, what: &str, end: UnixTime) {
        if !self.expires.iter().any(|expiry| expiry.what == what) {
            self.expires.push(Expiry { at: when::date(end), what: what.to_owned() });
        }
    }

    /// Sets the outcome and the date.
    pub(super) fn finish(mut self, outcome: &str, now: UnixTime) -> Self {
        self.outcome = outcome.to_lowercase();
        self.checked = when::date(now);
        self.expires.sort();
        self
    }

    pub(super) fn report_to(&self, report: &mut Report) {
        report.heading("For the runbook");
        let checked = Field::new("checked", &self.checked).remark(Tone::Plain, &self.outcome);
        let deployed = self.deployed.iter().map(|one| Field::new(&one.name, &one.value));
        report.fields([checked].into_iter().chain(deployed));
        let dates = self.expires.iter().map(|Expiry { at, what }| format!("{at}  {what}"));
        let dates: Vec<_> = dates.collect();
        let lists = [&dates, &self.verify, &self.restore];
        for (title, lines) in ["Expires", "How to check", "What to restore"].iter().zip(lists) {
            if !lines.is_empty() {
                report.line(Tone::Plain, format!("  {title}:"));
            }
            lines.iter().for_each(|line| report.item(Tone::Plain, "-", line));
        }
    }

    pub(super) fn markdown(&self) -> String {
        let Self { checked, outcome, .. } = self;
        let row = |left: &str, right: &str| format!("| {left} | {} |\n", escaped(right));
        let deployed: String =
            self.deployed.iter().map(|one| row(&escaped(&one.name), &one.value)).collect();
        let mut expires: String = self.expires.iter().map(|one| row(&one.at, &one.what)).collect();
        if !expires.is_empty() {
            expires = format!("\n### Expires\n\n| when | what |\n|---|---|\n{expires}");
        }
        let verify = self.verify.iter().map(|line| format!("    {}\n", printable(line)));
        let verify: String = verify.collect();
        let restore: String =
            self.restore.iter().map(|line| format!("* {}\n", escaped(line))).collect();
        format!(
            "## Token verification\n\nChecked {checked}: **{outcome}**.\n\n| | |\n|---|---|\n\
             {deployed}{expires}\n### How to check\n\n{verify}\n### What to restore\n\n{restore}"
        )
    }
}

/// Returns the options for the command that repeats the check.
fn options(args: &Args) -> String {
    let flags = [(args.probe, " --probe"), (args.strict, " --strict")];
    let flags: String = flags.iter().filter_map(|(on, name)| on.then_some(*name)).collect();
    args.net.to_options() + &flags
}

/// Escapes Markdown in text from configurations and servers.
fn escaped(text: &str) -> String {
    let escaped = |char| match char {
        '|' | '<' | '>' | '*' | '[' | ']' | '\\' => format!("\\{char}"),
        _ => char.to_string(),
    };
    printable(text).chars().map(escaped).collect()
}

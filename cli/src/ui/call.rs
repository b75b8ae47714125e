//! A request of the page for a command.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use clap::Parser as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Cli, Context,
    report::{Block, Failure, Report, Tone},
    screen::printable,
    verify,
};

/// The options of `verify` and of `explain` that the page may set. None names a file or a variable;
/// `jwks` does if it is no URL.
const VERIFY: &str = "alg any-audience audience danger-allow-http-loopback issuer jwks leeway \
    max-token-bytes profile scope scope-claim";
const EXPLAIN: &str = "header method no-token path scheme";

/// A command, its options with their values, and the text that replaces standard input.
///
/// Options without a value have an empty list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    command: String,
    pub(super) token: String,
    #[serde(default)]
    options: BTreeMap<String, Vec<String>>,
}

impl Call {
    /// Returns true if the command may wait for a server.
    pub(super) fn waits(&self) -> bool {
        self.command != "decode"
    }

    /// Runs the command with the validation of the command line, and returns what the page shows.
    pub(super) fn run(&self, cx: &Context, config: Option<&Path>) -> Value {
        let (exit, blocks) = match self.report(cx, config) {
            Ok(report) => (report.exit, report.blocks),
            Err(Failure { exit, message, hints }) => {
                let lines = message.lines().map(|line| Block::Line(Tone::Bad, line.to_owned()));
                let hints = hints.into_iter().map(|hint| Block::Item(Tone::Plain, "-", hint));
                (exit, lines.chain(hints).collect())
            }
        };
        escaped(json!({ "outcome": exit, "blocks": blocks }))
    }

    fn report(&self, cx: &Context, config: Option<&Path>) -> Result<Report, Failure> {
        let cli = Cli::try_parse_from(self.arguments(config)?).map_err(|error| {
            let text = error.render().to_string();
            // The usage that follows is about the command line.
            let text = text.split("\n\nUsage").next().unwrap_or_default();
            Failure::usage(text.strip_prefix("error: ").unwrap_or(text).trim_end())
        })?;
        cli.command.run(cx)
    }

    fn arguments(&self, config: Option<&Path>) -> Result<Vec<OsString>, Failure> {
        let mut arguments = vec!["introspect".into(), self.command.clone().into()];
        let allowed = match (&*self.command, config) {
            ("decode", _) => "",
            ("verify", _) => VERIFY,
            ("explain", Some(config)) => {
                arguments.extend(["--config".into(), config.into()]);
                EXPLAIN
            }
            ("explain", None) => return Err(Failure::usage("the page has no `--config`")),
            _ => return Err(Failure::usage("the page can't run this command")),
        };
        if self.waits() {
            arguments.push("--all".into());
        }
        for (name, values) in &self.options {
            if !allowed.split(' ').any(|one| one == name && !one.is_empty()) {
                return Err(Failure::usage(format!("the page can't set `--{name}`")));
            }
            if name == "jwks" && !values.iter().all(|value| verify::is_url(value)) {
                return Err(Failure::usage("`--jwks` is not a URL, and the page reads no files"));
            }
            if values.is_empty() {
                arguments.push(format!("--{name}").into());
            }
            // A value never becomes an argument of its own.
            arguments.extend(values.iter().map(|value| format!("--{name}={value}").into()));
        }
        Ok(arguments)
    }
}

/// Escapes all texts as on the screen: characters that turn the direction of writing or that no one
/// sees deceive in a browser too. The page never reads text as markup.
fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => printable(&text).into(),
        Value::Array(values) => values.into_iter().map(escaped).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, escaped(value))).collect()
        }
        other => other,
    }
}

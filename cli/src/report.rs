//! The result of a command: blocks of text for people, a JSON object for machines.

use serde::Serialize;
use serde_json::{Map, Value, json};
use tower_introspect::ConfigError;

/// The exit code of a command. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Exit {
    Accepted = 0,
    Refused = 1,
    Usage = 2,
    Unavailable = 3,
}

/// The meaning of a text, which decides its colour. The words always say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
    Warning,
    Faint,
    Strong,
}

/// A part of a screen. Texts are unescaped; the screen escapes them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Block {
    /// A line.
    Line(Tone, String),
    /// A title, after an empty line.
    Heading(String),
    /// Aligned names and values, each with an optional remark.
    Fields(Vec<Field>),
    /// A line with a mark, such as `✓`.
    Item(Tone, &'static str, String),
    /// Aligned checks, each with its details below.
    Checks(Vec<CheckLine>),
    /// Text that is printed unescaped, such as a page of the manual.
    Verbatim(String),
}

/// A check of a token on the screen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CheckLine {
    pub(crate) tone: Tone,
    pub(crate) mark: &'static str,
    pub(crate) title: &'static str,
    pub(crate) section: &'static str,
    /// The line below the check.
    pub(crate) detail: Option<String>,
}

/// A name and a value.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) remark: Option<(Tone, String)>,
}

impl Field {
    pub(crate) fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), remark: None }
    }

    pub(crate) fn remark(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.remark = Some((tone, text.into()));
        self
    }
}

/// The result of a command.
pub(crate) struct Report {
    pub(crate) exit: Exit,
    pub(crate) blocks: Vec<Block>,
    json: Map<String, Value>,
}

impl Report {
    pub(crate) fn new(command: &str, exit: Exit) -> Self {
        let json = [("command".to_owned(), command.into())].into_iter().collect();
        Self { exit, blocks: Vec::new(), json }
    }

    pub(crate) fn line(&mut self, tone: Tone, text: impl Into<String>) {
        self.blocks.push(Block::Line(tone, text.into()));
    }

    pub(crate) fn heading(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Heading(text.into()));
    }

    pub(crate) fn item(&mut self, tone: Tone, mark: &'static str, text: impl Into<String>) {
        self.blocks.push(Block::Item(tone, mark, text.into()));
    }

    pub(crate) fn fields(&mut self, fields: impl IntoIterator<Item = Field>) {
        self.blocks.push(Block::Fields(fields.into_iter().collect()));
    }

    pub(crate) fn verbatim(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Verbatim(text.into()));
    }

    /// Sets a member of the JSON object.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.json.insert(name.to_owned(), value.into());
    }

    /// Returns the JSON object.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = self.json.clone();
        json.insert("exit".to_owned(), (self.exit as u8).into());
        json.insert("outcome".to_owned(), json!(self.exit));
        Value::Object(json)
    }
}

/// The reason why a command has no report.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hints: Vec<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hints: Vec::new() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Returns a failure with all problems of settings that options gave. The library calls a
    /// setting by its name in a file.
    pub(crate) fn of_options(problems: &ConfigError) -> Self {
        let text = problems.to_string();
        Self::usage(text.replace("`danger_allow_http_loopback`", "`--danger-allow-http-loopback`"))
    }

    /// Adds a hint that helps to solve the problem.
    #[must_use]
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }
}

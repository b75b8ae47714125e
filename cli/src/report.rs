//! What a command has to say: for people in blocks, for machines in members of one object.

use std::process::ExitCode;

use serde_json::{Map, Value};

/// How a command ends. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Accepted = 0,
    Refused = 1,
    Usage = 2,
    Unavailable = 3,
}

impl Exit {
    /// Its name in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Usage => "usage",
            Self::Unavailable => "unavailable",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What a piece of text means, and so its colour. Colour never says what the words don't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
    Warning,
    Faint,
}

/// A part of a screen. Text may be anyone's: what shows it escapes it.
#[derive(Clone, Debug)]
pub(crate) enum Block {
    /// A line on its own.
    Line(Tone, String),
    /// The title of what follows, after an empty line.
    Heading(String),
    /// Names and values, aligned; a remark after the value.
    Fields(Vec<Field>),
    /// A line with a mark before it, such as `✓`.
    Item(Tone, &'static str, String),
    /// Statements that hold or do not, aligned, each with what is known of it below.
    Checks(Vec<CheckLine>),
    /// Text as it is, such as a page of a manual.
    Verbatim(String),
}

#[derive(Clone, Debug)]
pub(crate) struct CheckLine {
    pub(crate) tone: Tone,
    pub(crate) mark: &'static str,
    pub(crate) title: &'static str,
    pub(crate) section: &'static str,
    /// Beside the section.
    pub(crate) remark: Option<&'static str>,
    /// Below.
    pub(crate) detail: Option<String>,
}

#[derive(Clone, Debug)]
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

/// The outcome of a command.
pub(crate) struct Report {
    pub(crate) exit: Exit,
    pub(crate) blocks: Vec<Block>,
    json: Map<String, Value>,
}

impl Report {
    pub(crate) fn new(command: &str, exit: Exit) -> Self {
        let mut json = Map::new();
        json.insert("command".to_owned(), command.into());
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

    pub(crate) fn checks(&mut self, lines: Vec<CheckLine>) {
        self.blocks.push(Block::Checks(lines));
    }

    pub(crate) fn verbatim(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Verbatim(text.into()));
    }

    /// A member of the JSON.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.json.insert(name.to_owned(), value.into());
    }

    /// All of it for machines.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = self.json.clone();
        json.insert("exit".to_owned(), (self.exit as u8).into());
        json.insert("outcome".to_owned(), self.exit.name().into());
        Value::Object(json)
    }
}

/// Why a command has no report.
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

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }
}

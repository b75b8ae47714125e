//! Reports a finding: first its head of ten lines, then what did not fit.

use std::borrow::Cow;

use textwrap::{Options, WordSplitter};
use tower_introspect::checks::Check;

use super::{Actor, Change, Diagnosis};
use crate::report::{Exit, Field, Report, Tone};

/// The lines of the head.
const HEAD: usize = 10;

/// The columns of a screen, and those of a value beside its name.
const SCREEN: usize = 80;
const VALUE: usize = 68;

impl Diagnosis {
    /// Reports the head: the finding in at most ten lines of 80 columns.
    pub(crate) fn report_to(&self, report: &mut Report) {
        report.exit = self.exit();
        report.line(Tone::Bad, self.verdict());
        report.fields(self.head().0);
        let kind = self.kind;
        report.set("reason", kind.reason());
        report.set("message", kind.to_string());
        report.set("diagnosis", self.to_json());
        report.set("causes", self.causes.clone());
    }

    /// Reports the changes that do not fit into the head, and the causes of the error.
    pub(crate) fn report_rest(&self, report: &mut Report) {
        let others = self.changes.get(self.head().1..).unwrap_or_default();
        if !others.is_empty() {
            report.heading("What else to change");
        }
        for Change { text, line } in others {
            let line = line.as_ref().map(|line| format!(" {line}")).unwrap_or_default();
            report.item(Tone::Plain, "-", format!("{text}{line}"));
        }
        // The checks show the mistakes of clients.
        if self.actor != Actor::CLIENT {
            report.heading("Cause");
            self.causes.iter().for_each(|cause| report.item(Tone::Plain, "-", cause));
        }
    }

    fn verdict(&self) -> String {
        let word = match self.exit() {
            Exit::Unavailable => "NOT KNOWN",
            Exit::Usage => "MISCONFIGURED",
            _ => "REFUSED",
        };
        format!("{word}: {} ({})", self.kind, self.kind.reason())
    }

    /// Returns the lines below the verdict, and the number of changes in them.
    pub(crate) fn head(&self) -> (Vec<Field>, usize) {
        let title = |check: Check| format!("{} ({})", check.title(), check.section());
        let values = [
            ("check", self.check.map(title)),
            ("found", self.found.clone()),
            ("expected", self.expected.clone()),
            ("because", self.because.clone()),
            ("who acts", Some(self.who())),
        ];
        let present = values.into_iter().filter_map(|(name, value)| Some(Field::new(name, value?)));
        let mut fields: Vec<_> = present.collect();
        let rows = |Change { text, line }: &Change, name| {
            let line = line.iter().map(|line| Field::new("", line.as_str()));
            [Field::new(name, text)].into_iter().chain(line).collect::<Vec<_>>()
        };
        let mut room = HEAD - lines_of(&self.verdict(), SCREEN).len();
        let first = self.changes.first().map(|change| rows(change, "change")).unwrap_or_default();
        room = room.saturating_sub(height(&first));
        fit(&mut fields, room);
        room = room.saturating_sub(height(&fields));
        fields.extend(first);
        let mut shown = 1;
        for change in self.changes.iter().skip(1) {
            let others = rows(change, "or");
            let Some(left) = room.checked_sub(height(&others)) else { break };
            room = left;
            shown += 1;
            fields.extend(others);
        }
        (fields, shown)
    }

    /// Names the party that has to act, and the setting.
    fn who(&self) -> String {
        let actor = self.actor.1;
        let Some(setting) = &self.setting else { return actor.to_owned() };
        match (self.actor, setting.starts_with("`-")) {
            (Actor::SERVICE, true) => format!("the option {setting}"),
            (Actor::SERVICE, false) => format!("{actor}: {setting}"),
            (_, true) => format!("{actor}; or the option {setting}"),
            (_, false) => format!("{actor}; or this service: {setting}"),
        }
    }
}

/// Shortens values until the fields fit. Tokens and servers choose many of the values.
fn fit(fields: &mut [Field], room: usize) {
    const STEPS: [(&str, usize); 7] = [
        ("found", 3),
        ("expected", 2),
        ("because", 2),
        ("found", 2),
        ("expected", 1),
        ("found", 1),
        ("who acts", 1),
    ];
    for (name, limit) in STEPS {
        if height(fields) > room {
            let named = fields.iter_mut().filter(|field| field.name == name);
            named.for_each(|field| field.value = shortened(&field.value, limit));
        }
    }
}

/// Returns the lines that fields take.
fn height(fields: &[Field]) -> usize {
    fields.iter().map(|field| lines_of(&field.value, VALUE).len()).sum()
}

fn lines_of(text: &str, columns: usize) -> Vec<Cow<'_, str>> {
    textwrap::wrap(text, Options::new(columns).word_splitter(WordSplitter::NoHyphenation))
}

/// Shortens a text to this number of lines.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    let mut lines = lines_of(text, VALUE);
    if lines.len() <= limit {
        return text.to_owned();
    }
    lines.truncate(limit);
    let mut last = lines.pop().unwrap_or_default().into_owned();
    while last.chars().count() + 4 > VALUE {
        // At the end of a word, if there is one.
        last.truncate(
            last.rfind(' ').or(last.char_indices().last().map(|(at, _)| at)).unwrap_or(0),
        );
    }
    last.push_str(" ...");
    lines.push(last.into());
    lines.join(" ")
}

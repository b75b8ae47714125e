//! The findings of `doctor` and `keys lint`.

use std::time::Duration;

use serde::Serialize;
use tower_introspect::clock::UnixTime;

use crate::{
    report::{Exit, Field, Report, Tone},
    when,
};

/// The most characters of a finding.
const MAX_CHARS: usize = 800;

/// The severity of a finding, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Correct.
    Good,
    /// Information only.
    Note,
    /// Could not be tried here, and need not be a fault.
    Unseen,
    /// Works now, but may cause problems.
    Warning,
    /// Could not be determined.
    Unknown,
    /// Does not work, or is unsafe.
    Bad,
}

impl Level {
    /// Returns the mark in front of a line, and its tone.
    const fn mark(self) -> (&'static str, Tone) {
        match self {
            Self::Good => ("✓", Tone::Good),
            Self::Note | Self::Unseen => ("-", Tone::Plain),
            Self::Warning => ("!", Tone::Warning),
            Self::Unknown => ("?", Tone::Warning),
            Self::Bad => ("✗", Tone::Bad),
        }
    }
}

/// A finding. Scripts may rely on its code.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) code: &'static str,
    pub(crate) text: String,
    /// The value found, the value expected, and the changes to make.
    pub(crate) details: Vec<Detail>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Detail {
    name: String,
    text: String,
}

impl Detail {
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

impl Finding {
    pub(crate) fn report_to(&self, report: &mut Report, with_details: bool) {
        let (mark, tone) = self.level.mark();
        report.item(tone, mark, &self.text);
        let details = self.details.iter().filter(|_| with_details);
        report.fields(details.map(|one| Field::new(format!("  {:8}", one.name), &*one.text)));
    }
}

/// The time, and the days before an expiry on which to warn of it.
#[derive(Clone, Copy)]
pub(crate) struct Today {
    pub(crate) now: UnixTime,
    pub(crate) warn_days: u32,
}

/// The findings about one subject.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, level: Level, code: &'static str, text: impl Into<String>) {
        self.0.push(Finding { level, code, text: bounded(text.into()), details: Vec::new() });
    }

    /// Adds a detail to the last finding.
    pub(crate) fn detail(&mut self, name: &str, text: impl Into<String>) {
        if let Some(last) = self.0.last_mut() {
            last.details.push(Detail { name: name.to_owned(), text: bounded(text.into()) });
        }
    }

    /// Says what to change because of the last finding, or what else.
    pub(crate) fn change(&mut self, text: impl Into<String>) {
        let details = self.0.last().map(|last| &*last.details).unwrap_or_default();
        let is_first = !details.iter().any(|one| one.name == "change");
        self.detail(if is_first { "change" } else { "or" }, text);
    }

    /// Adds an expiry: good, or a warning if it is soon, or bad.
    pub(crate) fn add_expiry(
        &mut self,
        code: &'static str,
        what: &str,
        end: UnixTime,
        today: Today,
    ) {
        let Today { now, warn_days } = today;
        let (date, relative) = (when::date(end), when::relative(end, now));
        let soon = now.saturating_add(Duration::from_secs(86_400) * warn_days);
        if end <= now {
            self.bad(code).text(format!("{what} expired {relative} ({date})"));
        } else if end <= soon {
            self.warn(code).text(format!("{what} expires {relative} ({date})"));
        } else {
            self.good(code).text(format!("{what} is valid until {date}, {relative}"));
        }
    }

    /// Returns true if something is wrong or not known.
    pub(crate) fn has_problem(&self) -> bool {
        self.0.iter().any(|finding| finding.level >= Level::Unknown)
    }

    pub(crate) const fn good(&mut self, code: &'static str) -> Entry<'_> {
        Entry(self, Level::Good, code)
    }

    pub(crate) const fn note(&mut self, code: &'static str) -> Entry<'_> {
        Entry(self, Level::Note, code)
    }

    pub(crate) const fn unseen(&mut self, code: &'static str) -> Entry<'_> {
        Entry(self, Level::Unseen, code)
    }

    pub(crate) const fn warn(&mut self, code: &'static str) -> Entry<'_> {
        Entry(self, Level::Warning, code)
    }

    pub(crate) const fn unknown(&mut self, code: &'static str) -> Entry<'_> {
        Entry(self, Level::Unknown, code)
    }

    pub(crate) const fn bad(&mut self, code: &'static str) -> Entry<'_> {
        Entry(self, Level::Bad, code)
    }

    pub(crate) fn report_to(&self, report: &mut Report) {
        self.0.iter().for_each(|finding| finding.report_to(report, true));
    }
}

/// A finding that waits for its text.
#[must_use]
pub(crate) struct Entry<'a>(&'a mut Findings, Level, &'static str);

impl Entry<'_> {
    pub(crate) fn text(self, text: impl Into<String>) {
        self.0.add(self.1, self.2, text);
    }
}

/// Returns a text that is not too long to read. Servers control parts of it.
fn bounded(text: String) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Returns the exit code for these findings. A bad one counts more than an unknown one.
pub(crate) fn exit<'a>(all: impl IntoIterator<Item = &'a Findings>, strict: bool) -> Exit {
    let worst = all.into_iter().flat_map(|findings| &findings.0).map(|finding| finding.level).max();
    match worst {
        Some(Level::Bad) => Exit::Refused,
        Some(Level::Unknown) => Exit::Unavailable,
        Some(Level::Warning) if strict => Exit::Refused,
        _ => Exit::Accepted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_findings_count_most_and_warnings_only_in_strict_mode() {
        let found = |levels: &[Level]| {
            let mut findings = Findings::default();
            levels.iter().for_each(|level| findings.add(*level, "x", "x"));
            [findings]
        };
        use Level::{Bad, Good, Note, Unknown, Unseen, Warning};
        for (levels, strict, wanted) in [
            (&[][..], true, Exit::Accepted),
            (&[Good, Note, Warning], false, Exit::Accepted),
            (&[Good, Note, Unseen], true, Exit::Accepted),
            (&[Warning], true, Exit::Refused),
            (&[Warning, Unknown], true, Exit::Unavailable),
            (&[Unknown, Bad, Good], false, Exit::Refused),
        ] {
            assert_eq!(exit(&found(levels), strict), wanted, "{levels:?}");
        }
    }
}

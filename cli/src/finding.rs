//! What a check found.

use serde_json::{Value, json};

use crate::report::{Exit, Report, Tone};

/// The most characters of a finding.
const LONGEST: usize = 800;

/// How much a finding matters, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Works today.
    Warning,
    /// Could not be found out.
    Unknown,
    /// Does not work, or must not go on.
    Bad,
}

impl Level {
    /// Its name in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Bad => "bad",
        }
    }

    /// Its mark before a line. The word is there too where it matters: marks are for the eye.
    pub(crate) const fn mark(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Note => "-",
            Self::Warning => "!",
            Self::Unknown => "?",
            Self::Bad => "✗",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Good => Tone::Good,
            Self::Note => Tone::Plain,
            Self::Warning | Self::Unknown => Tone::Warning,
            Self::Bad => Tone::Bad,
        }
    }
}

/// One thing that was found, with a name that scripts may rely on.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

/// All that was found of one subject.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, level: Level, code: &'static str, text: impl Into<String>) {
        let text: String = text.into();
        // Servers may say anything, and at any length.
        let text = match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        };
        self.0.push(Finding { level, code, text });
    }

    pub(crate) fn good(&mut self, code: &'static str, text: impl Into<String>) {
        self.add(Level::Good, code, text);
    }

    pub(crate) fn note(&mut self, code: &'static str, text: impl Into<String>) {
        self.add(Level::Note, code, text);
    }

    pub(crate) fn warn(&mut self, code: &'static str, text: impl Into<String>) {
        self.add(Level::Warning, code, text);
    }

    pub(crate) fn unknown(&mut self, code: &'static str, text: impl Into<String>) {
        self.add(Level::Unknown, code, text);
    }

    pub(crate) fn bad(&mut self, code: &'static str, text: impl Into<String>) {
        self.add(Level::Bad, code, text);
    }

    pub(crate) fn tell(&self, report: &mut Report) {
        for finding in &self.0 {
            report.item(finding.level.tone(), finding.level.mark(), &finding.text);
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let one = |finding: &Finding| {
            let Finding { level, code, text } = finding;
            json!({"level": level.name(), "code": code, "text": text})
        };
        self.0.iter().map(one).collect()
    }
}

/// How a command ends that found these. What is bad is certain, whatever else is unknown.
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
    fn what_is_bad_is_certain_and_warnings_count_where_they_are_told_to() {
        let found = |levels: &[Level]| {
            let mut findings = Findings::default();
            levels.iter().for_each(|level| findings.add(*level, "x", "x"));
            [findings]
        };
        use Level::{Bad, Good, Note, Unknown, Warning};
        for (levels, strict, wanted) in [
            (&[][..], true, Exit::Accepted),
            (&[Good, Note, Warning], false, Exit::Accepted),
            (&[Good, Note], true, Exit::Accepted),
            (&[Warning], true, Exit::Refused),
            (&[Warning, Unknown], true, Exit::Unavailable),
            (&[Unknown, Bad, Good], false, Exit::Refused),
        ] {
            assert_eq!(exit(&found(levels), strict), wanted, "{levels:?}");
        }
    }
}

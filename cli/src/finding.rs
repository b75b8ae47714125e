//! The findings of `doctor` and `keys lint`.

use serde_json::{Value, json};

use crate::report::{Exit, Report, Tone};

/// The most characters of a finding.
const MAX_CHARS: usize = 800;

/// The severity of a finding, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Correct.
    Good,
    /// Information only.
    Note,
    /// Works now, but may cause problems.
    Warning,
    /// Could not be determined.
    Unknown,
    /// Does not work, or is unsafe.
    Bad,
}

impl Level {
    /// Returns the name in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Bad => "bad",
        }
    }

    /// Returns the mark in front of a line.
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

/// A finding. Scripts may rely on its code.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

/// The findings about one subject.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, level: Level, code: &'static str, text: impl Into<String>) {
        let text: String = text.into();
        // Bounded: servers control parts of the text.
        let text = match text.char_indices().nth(MAX_CHARS) {
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

    pub(crate) fn report_to(&self, report: &mut Report) {
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

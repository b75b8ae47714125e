//! Prints reports and errors, in colour on a terminal.
//!
//! Text from tokens and servers never reaches a terminal unescaped. Characters that move the
//! cursor, turn the direction of writing or start another line are escaped here, in every block
//! but [`Block::Verbatim`].

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _, Write as _},
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

use clap::ColorChoice;
use serde_json::json;

use crate::report::{Block, CheckLine, Exit, Failure, Field, Report, Tone};

/// Returns true if output is coloured. `plain` is true if the environment disables colour.
const fn is_coloured(choice: ColorChoice, terminal: bool, plain: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Auto => terminal && !plain,
        ColorChoice::Never => false,
    }
}

/// Standard output and standard error.
pub(crate) struct Screen {
    terminal: bool,
    colour: bool,
    error_colour: bool,
    json: bool,
}

impl Screen {
    pub(crate) fn new(colour: ColorChoice, json: bool) -> Self {
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        // By convention, any value of `NO_COLOR` counts unless it is empty.
        let plain = !variable("NO_COLOR").is_empty() || variable("TERM") == "dumb";
        let on = |terminal| is_coloured(colour, terminal, plain);
        let terminal = io::stdout().is_terminal();
        let (colour, error_colour) = (on(terminal) && !json, on(io::stderr().is_terminal()));
        Self { terminal, colour, error_colour, json }
    }

    /// Returns true if a person reads standard output at once.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Prints a report and returns its exit code.
    pub(crate) fn show(&self, report: &Report) -> Exit {
        if self.json {
            print(&format!("{:#}\n", report.to_json()));
        } else {
            let mut page = Page::new(self.colour, columns(self.terminal));
            page.add(&report.blocks);
            print(&page.out);
        }
        report.exit
    }

    /// Prints a failure and returns its exit code. With `--json` it goes to standard output, as
    /// reports do.
    pub(crate) fn fail(&self, failure: &Failure) -> Exit {
        if self.json {
            let Failure { exit, message, hints } = failure;
            let code = *exit as u8;
            let json = json!({"exit": code, "outcome": exit, "error": message, "hints": hints});
            print(&format!("{json:#}\n"));
            return *exit;
        }
        let mut lines = failure.message.lines();
        let first = format!(" {}", lines.next().unwrap_or_default());
        self.say(2, &[(Tone::Bad, "introspect:"), (Tone::Plain, &first)]);
        lines.for_each(|line| self.say(4, &[(Tone::Plain, &format!("  {line}"))]));
        for hint in &failure.hints {
            self.say(4, &[(Tone::Plain, &format!("  hint: {hint}"))]);
        }
        failure.exit
    }

    /// Prints a warning on standard error, also with `--json`.
    pub(crate) fn warn(&self, text: &str) {
        self.say(2, &[(Tone::Warning, "warning:"), (Tone::Plain, &format!(" {text}"))]);
    }

    /// Prints an instruction for the person at the terminal.
    pub(crate) fn note(&self, text: &str) {
        self.say(0, &[(Tone::Faint, text)]);
    }

    /// Prints a line on standard error.
    fn say(&self, hang: usize, parts: &[(Tone, &str)]) {
        let mut page = Page::new(self.error_colour, columns(io::stderr().is_terminal()));
        page.line(hang, parts);
        print_error(&page.out);
    }

    /// Shows a spinner on a terminal until the guard is dropped.
    pub(crate) fn spin(&self, activity: &str) -> Option<Spinner> {
        (io::stderr().is_terminal() && !self.json).then(|| Spinner::start(printable(activity)))
    }
}

/// A spinner on the terminal. Dropping it clears the line.
pub(crate) struct Spinner {
    stop: mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Spinner {
    fn start(activity: String) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            // Short activities show no spinner.
            let mut pause = Duration::from_millis(300);
            for frame in ['|', '/', '-', '\\'].into_iter().cycle() {
                if stopped.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) {
                    break;
                }
                print_error(&format!("\r{frame} {activity} "));
                pause = Duration::from_millis(100);
            }
            print_error("\r\x1b[K");
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes to standard output. A closed pipe, such as that of `head`, is not an error.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes to standard error.
pub(crate) fn print_error(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The text of a screen.
struct Page {
    out: String,
    colour: bool,
    /// The width to wrap at.
    columns: usize,
}

impl Page {
    fn new(colour: bool, columns: Option<usize>) -> Self {
        Self { out: String::new(), colour, columns: columns.unwrap_or(usize::MAX) }
    }

    /// Adds blocks.
    fn add(&mut self, blocks: &[Block]) {
        for block in blocks {
            match block {
                Block::Line(tone, text) => {
                    let hang = text.len() - text.trim_start_matches(' ').len();
                    self.line(hang, &[(*tone, text)]);
                }
                Block::Heading(text) => {
                    self.out.push('\n');
                    self.line(2, &[(Tone::Strong, text)]);
                }
                Block::Item(tone, mark, text) => {
                    let text = format!(" {text}");
                    self.line(4, &[(Tone::Plain, "  "), (*tone, mark), (Tone::Plain, &text)]);
                }
                Block::Fields(fields) => self.fields(fields),
                Block::Checks(lines) => self.checks(lines),
                Block::Verbatim(text) => self.out.push_str(text),
            }
        }
    }

    /// Adds a line of several parts, each in its tone. Words that do not fit go on below, at the
    /// column `hang`.
    ///
    /// Each part is escaped before it is wrapped, and painted after that, so that no escape sequence
    /// is cut.
    fn line(&mut self, hang: usize, parts: &[(Tone, &str)]) {
        let below = " ".repeat(hang.min(self.columns / 2));
        let mut column = 0;
        for (tone, text) in parts {
            let text = printable(text);
            let words = text.trim_matches(' ');
            // Spaces at the ends align columns, and are kept.
            let (before, after) = text.split_once(words).unwrap_or((&text, ""));
            self.out.push_str(before);
            let before = " ".repeat(column + before.len());
            let options = textwrap::Options::new(self.columns);
            let options = options.initial_indent(&before).subsequent_indent(&below);
            // Options, URLs and tokens are not split at a hyphen.
            let options = options.word_splitter(textwrap::WordSplitter::NoHyphenation);
            for (at, line) in textwrap::wrap(words, options).iter().enumerate() {
                let mut start = before.len();
                if at > 0 {
                    self.end_line();
                    self.out.push_str(&below);
                    start = below.len();
                }
                let line = line.get(start..).unwrap_or_default();
                self.out.push_str(&paint(*tone, line, self.colour));
                column = start + textwrap::core::display_width(line);
            }
            self.out.push_str(after);
            column += after.len();
        }
        self.end_line();
    }

    fn end_line(&mut self) {
        let end = self.out.trim_end_matches(' ').len();
        self.out.truncate(end);
        self.out.push('\n');
    }

    fn fields(&mut self, fields: &[Field]) {
        let width = |field: &Field| field.name.chars().count();
        let width = fields.iter().map(width).max().unwrap_or(0).min(24);
        for Field { name, value, remark } in fields {
            let name = format!("  {:width$}  ", printable(name));
            let (tone, remark) = match remark {
                Some((tone, remark)) => (*tone, format!("  ({remark})")),
                None => (Tone::Plain, String::new()),
            };
            let parts = [(Tone::Plain, &*name), (Tone::Plain, value), (tone, &*remark)];
            self.line(width + 4, &parts);
        }
    }

    fn checks(&mut self, lines: &[CheckLine]) {
        let width = lines.iter().map(|line| line.title.chars().count()).max().unwrap_or(0);
        for CheckLine { tone, mark, title, section, detail } in lines {
            let (mark, title) = (format!("  {mark:4}"), format!("  {title:width$}  "));
            self.line(8, &[(*tone, &*mark), (Tone::Plain, &*title), (Tone::Faint, section)]);
            if let Some(detail) = detail {
                self.line(8, &[(Tone::Plain, "        "), (Tone::Plain, &truncated(detail))]);
            }
        }
    }
}

/// Returns the width to wrap at: that of `COLUMNS`, or else that of the terminal.
pub(crate) fn columns(terminal: bool) -> Option<usize> {
    let variable = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let width = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let columns = variable.or_else(|| width().filter(|_| terminal));
    // Narrower than a word, wrapping would only make more lines.
    columns.filter(|columns| *columns > 0).map(|columns| columns.max(20))
}

/// Truncates a text that is too long to read.
fn truncated(text: &str) -> Cow<'_, str> {
    const MAX_CHARS: usize = 400;
    if text.chars().count() <= MAX_CHARS {
        return text.into();
    }
    let mut start: String = text.chars().take(MAX_CHARS).collect();
    start.push_str(" ...");
    start.into()
}

fn paint(tone: Tone, text: &str, colour: bool) -> String {
    let code = match tone {
        _ if !colour || text.is_empty() => return text.to_owned(),
        Tone::Plain => return text.to_owned(),
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Warning => "33",
        Tone::Faint => "2",
        Tone::Strong => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Returns the text with all characters escaped that a terminal acts upon.
pub(crate) fn printable(text: &str) -> String {
    let acts_on_terminal = |char: char| {
        char.is_control()
            || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    if !text.contains(acts_on_terminal) {
        return text.to_owned();
    }
    let escaped = |char: char| match acts_on_terminal(char) {
        true => char.escape_default().to_string(),
        false => char.to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(blocks: &[Block], colour: bool, columns: Option<usize>) -> String {
        let mut page = Page::new(colour, columns);
        page.add(blocks);
        page.out
    }

    #[test]
    fn text_can_not_act_upon_the_terminal() {
        let evil = "a\x1b[2Jb\r\nc\u{202e}d\u{9b}e\u{200b}";
        let blocks = [
            Block::Line(Tone::Plain, evil.to_owned()),
            Block::Heading(evil.to_owned()),
            Block::Item(Tone::Bad, "x", evil.to_owned()),
            Block::Fields(vec![Field::new(evil, evil).remark(Tone::Bad, evil)]),
        ];
        let shown = render(&blocks, false, None);
        // One line for each block, and an empty one before the heading.
        assert_eq!(shown.lines().count(), 5, "{shown}");
        for shown in [shown, render(&blocks, false, Some(20))] {
            assert!(!shown.contains(['\x1b', '\r', '\u{202e}', '\u{9b}', '\u{200b}']), "{shown:?}");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_escape_sequence_is_cut() {
        let text = "some words, one https://as.example.com/that/is/longer/than/the/line, \u{1b}";
        let blocks = [
            Block::Line(Tone::Bad, format!("  {text}")),
            Block::Heading(text.to_owned()),
            Block::Item(Tone::Good, "✓", text.to_owned()),
            Block::Fields(vec![Field::new("name", text).remark(Tone::Warning, text)]),
            Block::Checks(vec![CheckLine {
                tone: Tone::Bad,
                mark: "FAIL",
                title: "the token meets the requirements of the request",
                section: "RFC 6750 §3.1",
                detail: Some(text.to_owned()),
            }]),
        ];
        for columns in 20..100 {
            let plain = render(&blocks, false, Some(columns));
            for line in plain.lines() {
                assert!(line.chars().count() <= columns, "{columns}: {line:?}");
                assert_eq!(line, line.trim_end(), "{columns}");
            }
            // Each sequence is whole, and ends on its line.
            let coloured = render(&blocks, true, Some(columns));
            let mut without = coloured.clone();
            for code in ["1", "2", "31", "32", "33", "0"] {
                without = without.replace(&format!("\x1b[{code}m"), "");
            }
            assert!(!without.contains('\x1b'), "{columns}: {without:?}");
            for line in coloured.lines() {
                let ends = line.matches("\x1b[0m").count();
                assert_eq!(line.matches("\x1b[").count(), 2 * ends, "{columns}: {line:?}");
            }
        }
    }

    #[test]
    fn colour_is_on_for_terminals_and_on_request() {
        use ColorChoice::{Always, Auto, Never};
        assert!(is_coloured(Auto, true, false));
        assert!(!is_coloured(Auto, false, false) && !is_coloured(Auto, true, true));
        assert!(is_coloured(Always, false, true) && !is_coloured(Never, true, false));
    }

    #[test]
    fn text_has_escape_sequences_only_in_colour() {
        let blocks = [Block::Line(Tone::Bad, "no".to_owned())];
        assert_eq!(render(&blocks, false, None), "no\n");
        assert_eq!(render(&blocks, true, None), "\x1b[31mno\x1b[0m\n");
    }
}

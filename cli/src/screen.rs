//! Prints reports and errors, in colour on a terminal.
//!
//! Text from tokens and servers never reaches a terminal unescaped. Characters that move the
//! cursor, turn the direction of writing or start another line are escaped here, in every block
//! but [`Block::Verbatim`].

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

use clap::ValueEnum;
use serde_json::json;

use crate::report::{Block, CheckLine, Exit, Failure, Field, Report, Tone};

/// The value of `--color`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    Always,
    Auto,
    Never,
}

impl Colour {
    /// Returns true if output is coloured. `plain` is true if the environment disables colour.
    const fn is_on(self, terminal: bool, plain: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Auto => terminal && !plain,
            Self::Never => false,
        }
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
    pub(crate) fn new(colour: Colour, json: bool) -> Self {
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        // By convention, any value of `NO_COLOR` counts unless it is empty.
        let plain = !variable("NO_COLOR").is_empty() || variable("TERM") == "dumb";
        let on = |terminal| colour.is_on(terminal, plain);
        let terminal = io::stdout().is_terminal();
        Self {
            terminal,
            colour: on(terminal) && !json,
            error_colour: on(io::stderr().is_terminal()),
            json,
        }
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
            print(&render(&report.blocks, self.colour));
        }
        report.exit
    }

    /// Prints a failure and returns its exit code. With `--json` it goes to standard output, as
    /// reports do.
    pub(crate) fn fail(&self, failure: &Failure) -> Exit {
        if self.json {
            let json = json!({
                "exit": failure.exit as u8,
                "outcome": failure.exit.name(),
                "error": failure.message,
                "hints": failure.hints,
            });
            print(&format!("{json:#}\n"));
            return failure.exit;
        }
        let mut out = String::new();
        let mut lines = failure.message.lines();
        let first = lines.next().unwrap_or_default();
        let name = paint(Tone::Bad, "introspect:", self.error_colour);
        let _ = writeln!(out, "{name} {}", printable(first));
        for line in lines {
            let _ = writeln!(out, "  {}", printable(line));
        }
        for hint in &failure.hints {
            let _ = writeln!(out, "  hint: {}", printable(hint));
        }
        print_error(&out);
        failure.exit
    }

    /// Prints a warning on standard error, also with `--json`.
    pub(crate) fn warn(&self, text: &str) {
        let word = paint(Tone::Warning, "warning:", self.error_colour);
        print_error(&format!("{word} {}\n", printable(text)));
    }

    /// Prints an instruction for the person at the terminal.
    pub(crate) fn note(&self, text: &str) {
        print_error(&format!("{}\n", paint(Tone::Faint, &printable(text), self.error_colour)));
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

/// Returns the blocks as text.
fn render(blocks: &[Block], colour: bool) -> String {
    let mut out = String::new();
    for block in blocks {
        // Writing to a `String` does not fail.
        let _ = match block {
            Block::Line(tone, text) => writeln!(out, "{}", paint(*tone, &printable(text), colour)),
            Block::Heading(text) => writeln!(out, "\n{}", bold(&printable(text), colour)),
            Block::Item(tone, mark, text) => {
                writeln!(out, "  {} {}", paint(*tone, mark, colour), printable(text))
            }
            Block::Fields(fields) => {
                render_fields(&mut out, fields, colour);
                Ok(())
            }
            Block::Checks(lines) => {
                render_checks(&mut out, lines, colour);
                Ok(())
            }
            Block::Verbatim(text) => {
                out.push_str(text);
                Ok(())
            }
        };
    }
    out
}

fn render_fields(out: &mut String, fields: &[Field], colour: bool) {
    let names: Vec<_> = fields.iter().map(|field| printable(&field.name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(24);
    for (field, name) in fields.iter().zip(names) {
        let _ = write!(out, "  {name:width$}  {}", printable(&field.value));
        if let Some((tone, remark)) = &field.remark {
            let _ = write!(out, "  {}", paint(*tone, &format!("({})", printable(remark)), colour));
        }
        out.push('\n');
    }
}

fn render_checks(out: &mut String, lines: &[CheckLine], colour: bool) {
    let width = lines.iter().map(|line| line.title.chars().count()).max().unwrap_or(0);
    for CheckLine { tone, mark, title, section, remark, detail } in lines {
        let mark = paint(*tone, &format!("{mark:4}"), colour);
        let rest = match remark {
            Some(remark) => format!("{section:17}  {remark}"),
            None => (*section).to_owned(),
        };
        let rest = paint(Tone::Faint, &rest, colour);
        let _ = writeln!(out, "  {mark}  {title:width$}  {rest}");
        if let Some(detail) = detail {
            let _ = writeln!(out, "        {}", printable(&truncated(detail)));
        }
    }
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
        _ if !colour => return text.to_owned(),
        Tone::Plain => return text.to_owned(),
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Warning => "33",
        Tone::Faint => "2",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

fn bold(text: &str, colour: bool) -> String {
    if colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
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
    text.chars().fold(String::with_capacity(text.len()), |mut out, char| {
        if acts_on_terminal(char) {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_not_act_upon_the_terminal() {
        let evil = "a\x1b[2Jb\r\nc\u{202e}d\u{9b}e\u{200b}";
        let shown = render(
            &[
                Block::Line(Tone::Plain, evil.to_owned()),
                Block::Heading(evil.to_owned()),
                Block::Item(Tone::Bad, "x", evil.to_owned()),
                Block::Fields(vec![Field::new(evil, evil).remark(Tone::Bad, evil)]),
            ],
            false,
        );
        assert!(!shown.contains(['\x1b', '\r', '\u{202e}', '\u{9b}', '\u{200b}']), "{shown:?}");
        // One line for each block, and an empty one before the heading.
        assert_eq!(shown.lines().count(), 5, "{shown}");
    }

    #[test]
    fn colour_is_on_for_terminals_and_on_request() {
        assert!(Colour::Auto.is_on(true, false));
        assert!(!Colour::Auto.is_on(false, false) && !Colour::Auto.is_on(true, true));
        assert!(Colour::Always.is_on(false, true) && !Colour::Never.is_on(true, false));
    }

    #[test]
    fn text_has_escape_sequences_only_in_colour() {
        let blocks = [Block::Line(Tone::Bad, "no".to_owned())];
        assert_eq!(render(&blocks, false), "no\n");
        assert_eq!(render(&blocks, true), "\x1b[31mno\x1b[0m\n");
    }
}

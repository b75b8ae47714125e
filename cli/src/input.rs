//! Tokens and secrets from where they are kept.

use std::{
    io::{self, IsTerminal as _, Read},
    path::{Path, PathBuf},
};

use crate::{Context, pasted::Pasted, report::Failure};

/// More than any token; a pipe may be endless.
const MAX_INPUT: u64 = 1024 * 1024;

/// Where a command finds its token.
#[derive(clap::Args, Clone)]
#[group(multiple = false)]
pub(crate) struct TokenArgs {
    /// The token itself, visible to everyone on this machine; `-` or nothing for standard input.
    #[arg(value_name = "TOKEN")]
    token: Option<String>,
    /// A file with the token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The name of a variable of the environment with the token.
    #[arg(long, value_name = "VARIABLE")]
    token_env: Option<String>,
}

impl TokenArgs {
    /// The token, cleaned.
    ///
    /// # Errors
    ///
    /// If there is none, or what is there is no text.
    pub(crate) fn read(&self, cx: &Context) -> Result<Pasted, Failure> {
        let (bytes, place) = match (&self.token, &self.token_file, &self.token_env) {
            (_, Some(path), _) => (file(path)?, format!("`{}`", path.display())),
            (_, _, Some(name)) => (variable(name)?.into_bytes(), format!("`{name}`")),
            (Some(token), ..) if token != "-" => {
                cx.screen.warn(
                    "a token on the command line is visible in the list of processes, and stays \
                     in the history of the shell; give it on standard input, with --token-file \
                     or with --token-env",
                );
                (token.clone().into_bytes(), "the command line".to_owned())
            }
            _ => (standard_input(cx)?, "standard input".to_owned()),
        };
        Pasted::read(&bytes).map_err(|problem| Failure::usage(format!("{place}: {problem}")))
    }
}

/// A secret from a file or a variable, without the line end that editors put after it.
///
/// # Errors
///
/// If it can't be read, or is empty. Never what was read.
pub(crate) fn secret(path: Option<&Path>, name: Option<&str>) -> Result<Option<String>, Failure> {
    let (text, place) = match (path, name) {
        (Some(path), _) => {
            let text = String::from_utf8(file(path)?)
                .map_err(|_| Failure::usage(format!("`{}` is no text", path.display())))?;
            (text, format!("`{}`", path.display()))
        }
        (None, Some(name)) => (variable(name)?, format!("`{name}`")),
        (None, None) => return Ok(None),
    };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(Failure::usage(format!("{place}: it is empty")));
    }
    Ok(Some(text.to_owned()))
}

/// Reads a file of reasonable size.
///
/// # Errors
///
/// If it can't be read, or is larger.
pub(crate) fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |problem: &dyn std::fmt::Display| {
        Failure::usage(format!("`{}`: {problem}", path.display()))
    };
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    bounded(file).map_err(|error| failed(&error))
}

pub(crate) fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|error| {
        Failure::usage(match error {
            std::env::VarError::NotPresent => format!("the variable `{name}` is not set"),
            std::env::VarError::NotUnicode(_) => format!("the variable `{name}` is no text"),
        })
    })
}

/// All of standard input, of reasonable size.
///
/// # Errors
///
/// If it can't be read, or is larger.
pub(crate) fn all_of_standard_input() -> Result<Vec<u8>, Failure> {
    let read = bounded(io::stdin().lock());
    read.map_err(|error| Failure::usage(format!("standard input: {error}")))
}

fn standard_input(cx: &Context) -> Result<Vec<u8>, Failure> {
    let input = io::stdin();
    if input.is_terminal() {
        cx.screen.note("paste the token, then press Enter and Ctrl-D");
    }
    let bytes = bounded(input.lock());
    let bytes = bytes.map_err(|error| Failure::usage(format!("standard input: {error}")))?;
    if input.is_terminal() && bytes.split(|byte| *byte == b'\n').any(is_whole_line) {
        cx.screen
            .warn("a terminal passes on no longer line: if the token is cut, put it into a file");
    }
    Ok(bytes)
}

fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_INPUT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(io::Error::other("it is longer than any token"));
    }
    Ok(bytes)
}

/// Whether a line is as long as a terminal lets any be: 4095 bytes on Linux, 1023 elsewhere.
const fn is_whole_line(line: &[u8]) -> bool {
    matches!(line.len(), 1023 | 4095)
}

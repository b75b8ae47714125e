//! Reads tokens and secrets from files, environment variables and standard input.

use std::{
    io::{self, IsTerminal as _, Read},
    path::{Path, PathBuf},
};

use crate::{Context, pasted::Pasted, report::Failure};

/// The most bytes to read. It is larger than any token, and bounds an endless pipe.
const MAX_INPUT: u64 = 1024 * 1024;

/// The source of the token of a command.
#[derive(clap::Args, Clone)]
#[group(multiple = false)]
pub(crate) struct TokenArgs {
    /// The token, visible to everyone on this machine. By default, or with `-`, standard input is
    /// read.
    #[arg(value_name = "TOKEN")]
    token: Option<String>,
    /// A file with the token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The name of an environment variable with the token.
    #[arg(long, value_name = "VARIABLE")]
    token_env: Option<String>,
}

impl TokenArgs {
    /// Reads the token and removes what does not belong to it.
    ///
    /// # Errors
    ///
    /// If there is no token, or the input is not text.
    pub(crate) fn read(&self, cx: &Context) -> Result<Pasted, Failure> {
        let named = named(self.token_file.as_deref(), self.token_env.as_deref())?;
        let (bytes, place) = match (named, &self.token) {
            (Some(named), _) => named,
            (None, Some(token)) if token != "-" => {
                cx.screen.warn(
                    "a token on the command line is visible in the list of processes and stays \
                     in the history of the shell: use standard input, --token-file or --token-env",
                );
                (token.clone().into_bytes(), "the command line".to_owned())
            }
            _ => match &cx.input {
                Some(text) => (text.clone().into_bytes(), "the token".to_owned()),
                None => (token_on_standard_input(cx)?, "standard input".to_owned()),
            },
        };
        Pasted::read(&bytes).map_err(|problem| Failure::usage(format!("{place}: {problem}")))
    }
}

/// Reads a secret from a file or a variable, without the line end that editors append.
///
/// # Errors
///
/// If it can't be read, or is empty. The error never holds the secret.
pub(crate) fn secret(path: Option<&Path>, name: Option<&str>) -> Result<Option<String>, Failure> {
    let Some((bytes, place)) = named(path, name)? else { return Ok(None) };
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| Failure::usage(format!("{place} is not text")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(Failure::usage(format!("{place} is empty")));
    }
    Ok(Some(text.to_owned()))
}

/// Reads a file of at most 1 MiB.
///
/// # Errors
///
/// If it can't be read, or is larger.
pub(crate) fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = std::fs::File::open(path).and_then(read_bounded);
    read.map_err(|error| Failure::usage(format!("`{}`: {error}", path.display())))
}

/// Reads a file or an environment variable, and returns its bytes and its name.
///
/// # Errors
///
/// If it can't be read, is larger than 1 MiB, is not set, or is not text.
pub(crate) fn named(
    path: Option<&Path>,
    name: Option<&str>,
) -> Result<Option<(Vec<u8>, String)>, Failure> {
    Ok(match (path, name) {
        (Some(path), _) => Some((file(path)?, format!("`{}`", path.display()))),
        (None, Some(name)) => Some((variable(name)?.into_bytes(), format!("`{name}`"))),
        (None, None) => None,
    })
}

/// Reads an environment variable.
///
/// # Errors
///
/// If it is not set, or is not text.
pub(crate) fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|error| {
        Failure::usage(match error {
            std::env::VarError::NotPresent => format!("the variable `{name}` is not set"),
            std::env::VarError::NotUnicode(_) => format!("the variable `{name}` is not text"),
        })
    })
}

/// Reads standard input, at most 1 MiB.
///
/// # Errors
///
/// If it can't be read, or is larger.
pub(crate) fn standard_input() -> Result<Vec<u8>, Failure> {
    let read = read_bounded(io::stdin().lock());
    read.map_err(|error| Failure::usage(format!("standard input: {error}")))
}

fn token_on_standard_input(cx: &Context) -> Result<Vec<u8>, Failure> {
    let terminal = io::stdin().is_terminal();
    if terminal {
        cx.screen.note("paste the token, then press Enter and Ctrl-D");
    }
    let bytes = standard_input()?;
    if terminal && bytes.split(|byte| *byte == b'\n').any(fills_terminal_line) {
        cx.screen.warn("terminals limit the length of a line: put a token that is cut into a file");
    }
    Ok(bytes)
}

fn read_bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_INPUT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(io::Error::other("it is longer than any token"));
    }
    Ok(bytes)
}

/// Returns true if a line has the length at which terminals cut: 4095 bytes on Linux, 1023
/// elsewhere.
const fn fills_terminal_line(line: &[u8]) -> bool {
    matches!(line.len(), 1023 | 4095)
}

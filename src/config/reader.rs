//! Reads a table, reports every problem in it, and overlooks no setting.

use std::{fmt::Display, path::PathBuf, str::FromStr, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use toml::{Table, Value};

use crate::{
    error::config::ConfigError,
    jose::{algorithm::Algorithm, signing::SigningKey},
    jwt::keys::KeySet,
};

/// The maximum size of a file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// A table that is being read. Settings are taken out as they are read. Those left over are
/// unknown.
pub(super) struct Section {
    unread: Table,
    problems: ConfigError,
}

impl Section {
    pub(super) fn new(table: Table) -> Self {
        Self { unread: table, problems: ConfigError::new() }
    }

    pub(super) fn problem(&mut self, name: &str, problem: impl Display) {
        self.problems.push(name, problem);
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.unread.contains_key(name)
    }

    /// Reports a problem if a setting is missing.
    pub(super) fn require(&mut self, name: &str) {
        if !self.has(name) {
            self.problem(name, "missing");
        }
    }

    /// Reports a problem if a setting that has to be one of `keywords` is missing.
    pub(super) fn require_keyword<T>(&mut self, name: &str, keywords: &[(&str, T)]) {
        if !self.has(name) {
            self.problem(name, format!("missing, expected {}", words(keywords)));
        }
    }

    /// Takes a text that is not empty.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, "a non-empty text", text)
    }

    /// Takes one text or an array of them, none of them empty.
    pub(super) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        self.take(name, "a non-empty text or an array of them", |value| match value {
            Value::Array(values) if !values.is_empty() => values.into_iter().map(text).collect(),
            one => text(one).map(|one| vec![one]),
        })
    }

    /// Takes all settings that are unread, with texts that are not empty.
    pub(super) fn pairs(&mut self) -> Vec<(String, String)> {
        let names: Vec<_> = self.unread.keys().cloned().collect();
        let pair = |name: String| self.text(&name).map(|text| (name, text));
        names.into_iter().filter_map(pair).collect()
    }

    /// Takes a text and its translations: `name` and `name#tag`, each with its value.
    pub(super) fn localized(&mut self, name: &str) -> Vec<(Option<String>, String)> {
        let tag = |key: &String| Some(key.strip_prefix(name)?.strip_prefix('#')?.to_owned());
        let tags: Vec<String> = self.unread.keys().filter_map(tag).collect();
        let mut all = Vec::new();
        if let Some(text) = self.text(name) {
            all.push((None, text));
        }
        for tag in tags {
            if let Some(text) = self.text(&format!("{name}#{tag}")) {
                all.push((Some(tag), text));
            }
        }
        all
    }

    /// Takes one or more texts and parses each.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &str) -> Option<Vec<T>>
    where
        T::Err: Display,
    {
        let mut all = Vec::new();
        for text in self.texts(name)? {
            match text.parse() {
                Ok(value) => all.push(value),
                Err(error) => self.problem(name, format!("`{}`: {error}", text.escape_debug())),
            }
        }
        Some(all)
    }

    /// Takes one of several keywords.
    pub(super) fn keyword<T: Copy>(&mut self, name: &str, keywords: &[(&str, T)]) -> Option<T> {
        self.take(name, &words(keywords), |value| {
            let value = value.as_str()?;
            keywords.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning)
        })
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        self.take(name, "true or false", |value| value.as_bool()).unwrap_or_default()
    }

    /// Takes a whole number greater than zero.
    pub(super) fn count(&mut self, name: &str) -> Option<usize> {
        self.take(name, "a whole number greater than zero", |value| {
            value.as_integer().and_then(|count| count.try_into().ok()).filter(|&count| count > 0)
        })
    }

    /// Takes a number of seconds, whole or not.
    pub(super) fn seconds(&mut self, name: &str) -> Option<Duration> {
        self.take(name, "a number of seconds", |value| match value {
            Value::Integer(secs) => u64::try_from(secs).ok().map(Duration::from_secs),
            Value::Float(secs) => Duration::try_from_secs_f64(secs).ok(),
            _ => None,
        })
    }

    /// Takes a nested table.
    pub(super) fn section<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let table = self.take(name, "a table", |value| match value {
            Value::Table(table) => Some(table),
            _ => None,
        })?;
        Some(self.within(name, table, read))
    }

    /// Takes a nested table, unless there is a problem in it.
    pub(super) fn valid_section<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let before = self.problems.problems().count();
        let value = self.section(name, read);
        value.filter(|_| self.problems.problems().count() == before)
    }

    /// Takes an array of tables, without those that have problems.
    pub(super) fn valid_sections<T>(
        &mut self,
        name: &str,
        read: impl Fn(&mut Self) -> T,
    ) -> Vec<T> {
        let tables = self.take(name, "an array of tables", |value| {
            let Value::Array(values) = value else { return None };
            let table = |value| match value {
                Value::Table(table) => Some(table),
                _ => None,
            };
            values.into_iter().map(table).collect::<Option<Vec<_>>>()
        });
        let mut valid = Vec::new();
        for (at, table) in tables.unwrap_or_default().into_iter().enumerate() {
            let before = self.problems.problems().count();
            let value = self.within(&format!("{name}[{at}]"), table, &read);
            if self.problems.problems().count() == before {
                valid.push(value);
            }
        }
        valid
    }

    /// Takes the location of a secret: exactly one of `NAME_file`, `NAME_env`, `danger_NAME`.
    pub(super) fn secret(&mut self, name: &str) -> Option<Secret> {
        let [file, env, inline] =
            [format!("{name}_file"), format!("{name}_env"), format!("danger_{name}")];
        let given = [&file, &env, &inline].into_iter().filter(|name| self.has(name)).count();
        if given != 1 {
            self.problem(name, format!("give exactly one of `{file}`, `{env}` and `{inline}`"));
        }
        let file = self.text(&file).map(|path| Secret::File(path.into()));
        let env = self.text(&env).map(Secret::Env);
        let inline = self.text(&inline).map(|secret| Secret::Inline(secret.into()));
        file.or(env).or(inline)
    }

    /// Takes the location of a secret that may be missing.
    #[cfg(any(feature = "dpop", feature = "signals"))]
    pub(super) fn optional_secret(&mut self, name: &str) -> Option<Secret> {
        self.has_secret(name).then(|| self.secret(name)).flatten()
    }

    #[cfg(any(feature = "dpop", feature = "signals"))]
    pub(super) fn has_secret(&self, name: &str) -> bool {
        self.has(&format!("{name}_file"))
            || self.has(&format!("{name}_env"))
            || self.has(&format!("danger_{name}"))
    }

    /// Takes a private key: its algorithm, its key identifier if it has one, and its location.
    pub(super) fn signing_key(&mut self) -> (Option<Algorithm>, Option<String>, Option<Secret>) {
        self.require("algorithm");
        let algorithms = self.parsed::<Algorithm>("algorithm").unwrap_or_default();
        if algorithms.len() > 1 {
            self.problem("algorithm", "expected one algorithm");
        }
        (algorithms.into_iter().next(), self.text("kid"), self.secret("key"))
    }

    /// Returns the problems, including one for each setting that was not read.
    pub(super) fn finish(mut self) -> ConfigError {
        for (name, _) in self.unread {
            self.problems.push(name, "unknown setting");
        }
        self.problems
    }

    fn within<T>(&mut self, name: &str, table: Table, read: impl FnOnce(&mut Self) -> T) -> T {
        let mut inner = Self::new(table);
        let value = read(&mut inner);
        self.problems.merge(name, inner.finish());
        value
    }

    /// Takes a setting out. Problems are reported without its value, which may be secret.
    fn take<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<T> {
        let value = read(self.unread.remove(name)?);
        if value.is_none() {
            self.problem(name, format!("expected {expected}"));
        }
        value
    }
}

fn words<T>(keywords: &[(&str, T)]) -> String {
    let known: Vec<_> = keywords.iter().map(|(word, _)| format!("`{word}`")).collect();
    known.join(" or ")
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// The location of a secret.
#[derive(Clone)]
pub(super) enum Secret {
    Env(String),
    File(PathBuf),
    Inline(SecretString),
}

impl Secret {
    /// Reads the secret, without the line end that editors append.
    ///
    /// # Errors
    ///
    /// Returns why the secret can't be read, never its content.
    pub(super) fn load(&self) -> Result<String, String> {
        let text = match self {
            Self::Env(name) => std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => format!("the variable `{name}` is not set"),
                std::env::VarError::NotUnicode(_) => format!("the variable `{name}` is not UTF-8"),
            })?,
            Self::File(path) => String::from_utf8(load_file(path)?)
                .map_err(|_| format!("`{}` is not UTF-8", path.display()))?,
            Self::Inline(secret) => secret.expose_secret().to_owned(),
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() { Err("the secret is empty".to_owned()) } else { Ok(text.to_owned()) }
    }
}

/// Reads a private key. Missing settings were reported when the table was read.
///
/// # Errors
///
/// Returns why there is no key, never its content.
pub(super) fn load_key(
    key: Option<&Secret>,
    algorithm: Option<Algorithm>,
    kid: Option<&str>,
) -> Result<SigningKey, String> {
    let pem = key.map_or(Ok(String::new()), Secret::load)?;
    let key = SigningKey::from_pem(algorithm.unwrap_or(Algorithm::ES256), pem.as_bytes())
        .map_err(|error| error.to_string())?;
    Ok(match kid {
        Some(kid) => key.with_kid(kid),
        None => key,
    })
}

/// Reads a file with a JWK Set.
pub(super) fn load_keys(file: &std::path::Path) -> Result<KeySet, String> {
    let text = load_file(file)?;
    KeySet::from_jwks(&text).map_err(|error| format!("`{}`: {error}", file.display()))
}

/// Reads a file of at most [`MAX_FILE`] bytes.
pub(super) fn load_file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("`{}`: {error}", path.display()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("`{}` is too large", path.display()));
    }
    Ok(bytes)
}

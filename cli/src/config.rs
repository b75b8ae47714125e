//! Reads the configuration of a service and locates mistakes in its file.

use std::path::Path;

use toml::{
    Spanned, Table,
    de::{DeTable, DeValue},
};
use tower_introspect::{ConfigError, config::Config};

use crate::{input, report::Failure};

/// The table with the settings in files that have other settings too, such as those of
/// `forward-auth`.
const TABLE: &str = "resource_server";

/// The text of a configuration, to locate mistakes in it.
pub(crate) struct ConfigFile {
    name: String,
    text: String,
    /// True if the settings are in [`TABLE`].
    nested: bool,
}

impl ConfigFile {
    /// Reads a file and the settings in it.
    ///
    /// # Errors
    ///
    /// All mistakes, each with its position. The error never holds text of the file, which may have
    /// secrets.
    pub(crate) fn read(path: &Path) -> Result<(Self, Config), Failure> {
        let name = path.display().to_string();
        let text = String::from_utf8(input::file(path)?)
            .map_err(|_| Failure::usage(format!("`{name}` is not text")))?;
        let (_, mut errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.span().map(|span| span.start));
            let line = |error: &toml::de::Error| {
                let at = error.span().map_or_else(String::new, |span| position(&text, span.start));
                format!("{name}:{at} {}", error.message())
            };
            let problems: Vec<_> = errors.iter().map(line).collect();
            return Err(failure(&name, &problems));
        }
        let table: Table = text.parse().unwrap_or_default();
        let part = table.get(TABLE).and_then(toml::Value::as_table);
        let part = part.filter(|_| !table.contains_key("issuer"));
        let file = Self { name, text, nested: part.is_some() };
        let part = part.map_or_else(|| file.text.clone(), Table::to_string);
        match Config::from_toml(&part) {
            // The program has no connections of clients.
            Ok(config) => Ok((file, config.peer_address_fn(|_| None))),
            Err(problems) => Err(file.failure(&problems)),
        }
    }

    /// Returns a failure with all problems, each with its position.
    pub(crate) fn failure(&self, problems: &ConfigError) -> Failure {
        let located = |(name, problem)| (self.offset_of(name), name, problem);
        let mut all: Vec<_> = problems.problems().map(located).collect();
        all.sort_by_key(|(at, ..)| *at);
        let line = |(at, name, problem): &(Option<usize>, &str, &str)| {
            let at = at.map_or_else(String::new, |at| position(&self.text, at));
            format!("{}:{at} {name}: {problem}", self.name)
        };
        failure(&self.name, &all.iter().map(line).collect::<Vec<_>>())
    }

    /// Returns the offset of a setting, or of its table if the setting is missing.
    fn offset_of(&self, name: &str) -> Option<usize> {
        let root = DeTable::parse(&self.text).ok()?;
        let mut at = root.span().start;
        let mut table = root.get_ref();
        if self.nested {
            let (key, part) = entry(table, TABLE)?;
            at = key;
            table = part.get_ref().as_table()?;
        }
        let named = ["issuer", "signals.transmitter"]
            .into_iter()
            .find_map(|list| Some((list, name.strip_prefix(list)?.strip_prefix(' ')?)));
        let (mut table, rest, start) = match named {
            Some((list, named)) => table_of(table, list, named)?,
            None => (table, name, at),
        };
        at = start;
        for (step, index) in steps(rest) {
            // Problems name secrets without the suffix of their source and dangerous settings
            // without their prefix. They also name parts of a builder, which no file has.
            let names = [
                step.to_owned(),
                format!("{step}_file"),
                format!("{step}_env"),
                format!("danger_{step}"),
            ];
            let Some((key, value)) = names.iter().find_map(|name| entry(table, name)) else {
                continue;
            };
            at = key;
            let value = match (index, value.get_ref().as_array()) {
                (Some(index), Some(values)) => {
                    let Some(value) = values.get(index) else { break };
                    at = value.span().start;
                    value
                }
                _ => value,
            };
            match value.get_ref().as_table() {
                Some(inner) => table = inner,
                None => break,
            }
        }
        Some(at)
    }
}

/// Splits `a[1].b` into names, each with its index.
fn steps(name: &str) -> impl Iterator<Item = (&str, Option<usize>)> {
    name.split('.').map(|step| match step.strip_suffix(']').and_then(|step| step.split_once('[')) {
        Some((step, index)) => (step, index.parse().ok()),
        None => (step, None),
    })
}

/// The table of an issuer or a transmitter, the name of the setting in it, and its offset.
type NamedTable<'a, 'i> = (&'a DeTable<'i>, &'a str, usize);

/// Finds the table in a list whose issuer `named` begins with, in backticks. The name of a setting
/// follows it.
fn table_of<'a, 'i>(
    mut table: &'a DeTable<'i>,
    list: &str,
    named: &'a str,
) -> Option<NamedTable<'a, 'i>> {
    let (named, rest) = named.strip_prefix('`')?.split_once('`')?;
    let mut key = list;
    if let Some((outer, inner)) = list.split_once('.') {
        table = entry(table, outer)?.1.get_ref().as_table()?;
        key = inner;
    }
    let (_, all) = entry(table, key)?;
    let table = |one: &'a Spanned<DeValue<'i>>| Some((one.get_ref().as_table()?, one.span().start));
    let tables = all.get_ref().as_array()?.iter().filter_map(table);
    let mut named = tables.filter(|(table, _)| {
        entry(table, "issuer").is_some_and(|(_, name)| name.get_ref().as_str() == Some(named))
    });
    let (table, at) = named.next()?;
    Some((table, rest.strip_prefix('.').unwrap_or(rest), at))
}

/// Returns the offset of the name of a setting, and its value.
fn entry<'a, 'i>(table: &'a DeTable<'i>, name: &str) -> Option<(usize, &'a Spanned<DeValue<'i>>)> {
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    Some((key.span().start, value))
}

/// Formats an offset as `LINE:COLUMN:`, counted from one.
fn position(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{line}:{column}:")
}

fn failure(name: &str, problems: &[String]) -> Failure {
    let count = match problems.len() {
        1 => "one mistake".to_owned(),
        count => format!("{count} mistakes"),
    };
    Failure::usage(format!("`{name}` has {count}:\n{}", problems.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(text: &str, nested: bool, names: &[&str]) -> Vec<String> {
        let file = ConfigFile { name: "f".into(), text: text.into(), nested };
        let found =
            |name: &&str| file.offset_of(name).map_or("none".into(), |at| position(text, at));
        names.iter().map(found).collect()
    }

    const TEXT: &str = "audience = \"a\"\n\n[[issuer]]\nissuer = \"https://a\"\nmode = \"jwt\"\n\n\
        [[issuer]]\nissuer = \"https://a.b\"\n  client = { method = \"basic\", secret_file = \"x\" }\n";

    #[test]
    fn settings_are_located() {
        assert_eq!(
            positions(
                TEXT,
                false,
                &[
                    "audience",
                    "issuer[0].mode",
                    "issuer[1].client.secret",
                    "issuer[1].nothing",
                    "issuer `https://a.b`.client.secret",
                    "issuer `https://a`.jwt.mode",
                    "issuer `https://c`",
                ]
            ),
            ["1:1:", "5:1:", "9:32:", "7:1:", "9:32:", "5:1:", "none"]
        );
        let signals = "[[signals.transmitter]]\nissuer = \"https://a\"\naudience = \"b\"\n";
        let names = ["signals.transmitter[0].audience", "signals.transmitter `https://a`.audience"];
        assert_eq!(positions(signals, false, &names), ["3:1:", "3:1:"]);
        let nested = format!(
            "listen = \"x\"\n[resource_server]\n{}",
            TEXT.replace("[[", "[[resource_server.")
        );
        assert_eq!(positions(&nested, true, &["audience", "issuer[0].mode"]), ["3:1:", "7:1:"]);
    }
}

//! Explains the causes of errors: certificates, TLS, host names and connections.

use std::{collections::BTreeMap, error::Error, sync::LazyLock};

/// Returns the messages of an error and of its causes.
pub(crate) fn chain(error: &dyn Error) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut cause = error.source();
    // Bounded: an error may name itself as its source.
    for _ in 0..16 {
        let Some(error) = cause else { break };
        let message = error.to_string();
        // Wrappers repeat the message of what they wrap.
        if messages.last() != Some(&message) {
            messages.push(message);
        }
        cause = error.source();
    }
    messages
}

/// Words in errors, by their kind. Each has a problem, and may have an option that solves it.
static WORDS: LazyLock<BTreeMap<String, Vec<Vec<String>>>> =
    LazyLock::new(|| toml::from_str(include_str!("causes.toml")).unwrap_or_default());

/// Returns a sentence that explains these messages.
pub(crate) fn hint(chain: &[String]) -> Option<String> {
    let (problem, _) = tls_problem(chain).or_else(|| problem("connection", chain))?;
    let first = problem.get(..1)?.to_ascii_uppercase();
    Some(format!("{first}{}.", problem.get(1..)?))
}

/// Returns the problem with TLS or a certificate, and the option that solves it, if there is one.
pub(crate) fn tls_problem(chain: &[String]) -> Option<(&'static str, Option<&'static str>)> {
    problem("tls", chain)
}

fn problem(kind: &str, chain: &[String]) -> Option<(&'static str, Option<&'static str>)> {
    let text = chain.join("\n").to_lowercase().replace(' ', "");
    let row = WORDS.get(kind)?.iter().find(|row| text.contains(&row[0]))?;
    Some((&row[1], row.get(2).map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_lower_case_and_have_problems() {
        assert_eq!(WORDS.keys().collect::<Vec<_>>(), ["connection", "tls"]);
        for row in WORDS.values().flatten() {
            assert!(matches!(row.len(), 2 | 3), "{row:?}");
            assert_eq!(row[0], row[0].to_lowercase().replace(' ', ""));
        }
    }

    #[test]
    fn the_most_specific_problem_is_the_hint() {
        let hint = |text: &str| hint(&["error".to_owned(), text.to_owned()]);
        let tls = "invalid peer certificate: certificate not valid for name \"x\"; refused";
        let name = "The certificate of the server is for another name than the URL has.";
        assert_eq!(hint(tls).as_deref(), Some(name));
        let refused = "Nothing listens there, or a firewall rejects the connection.";
        assert_eq!(hint("Connection refused (os error 111)").as_deref(), Some(refused));
        assert_eq!(hint("something else"), None);
    }
}

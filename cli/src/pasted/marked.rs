//! Finds the token in a text by the names that stand before it.

use super::{Cleanup, SEVERAL, WORDS};

/// The names that stand before a token.
const MARKS: [(&str, Cleanup); 3] = [
    ("authorization", Cleanup::HEADER_NAME),
    // The option `--oauth2-bearer` of curl.
    ("--oauth2-", Cleanup::COMMAND),
    ("access_token", Cleanup::PARAMETER),
];

/// Bounds the work for a text that is made of names.
pub(super) const MAX_MARKS: usize = 100;

/// Finds the token in a command, a list of headers, a URL, or JSON within other text.
pub(super) fn marked(text: &str) -> Result<Option<(Cleanup, String)>, String> {
    let lower = text.to_ascii_lowercase();
    let mut found: Option<(Cleanup, &str)> = None;
    for (mark, cleanup) in MARKS {
        if lower.matches(mark).nth(MAX_MARKS).is_some() {
            return Err(WORDS.to_owned());
        }
        for (at, _) in lower.match_indices(mark) {
            let (before, rest) = (&lower[..at], &text[at + mark.len()..]);
            let line = before.rsplit('\n').next().unwrap_or_default();
            // Another name, unless it is the option `-H` of curl.
            let longer = before.ends_with(|char: char| char.is_alphanumeric() || char == '_');
            if longer && !before.ends_with(" -h") || line.contains("cookie") {
                continue;
            }
            let Some(value) = value_after(rest) else { continue };
            match found {
                None => found = Some((cleanup, value)),
                Some((_, other)) if bare(other) == bare(value) => {}
                Some(_) => return Err(SEVERAL.to_owned()),
            }
        }
    }
    Ok(found.map(|(cleanup, value)| (cleanup, value.to_owned())))
}

/// Returns the value after a name: up to the quote that ends it, or else one word, or two with a
/// scheme.
pub(super) fn value_after(rest: &str) -> Option<&str> {
    let is_quote = |char| matches!(char, '"' | '\'' | '`' | '^');
    let is_glue = |char: char| char.is_whitespace() || is_quote(char) || ":=>,$\\".contains(char);
    let mut value = rest.trim_start_matches(is_glue);
    // `{"name": "Authorization", "value": ".."}`, as in exports of browsers.
    value = value.strip_prefix("value\"").map_or(value, |rest| rest.trim_start_matches(is_glue));
    let glue = &rest[..rest.len() - value.len()];
    let quoted = &value[..value.find(is_quote).unwrap_or(value.len())];
    let word_end = |text: &str| text.find(|char| !is_token_char(char)).unwrap_or(text.len());
    let mut end = word_end(value);
    let scheme = SCHEMES.iter().any(|scheme| value[..end].eq_ignore_ascii_case(scheme));
    // Without a value, the name of the next header follows.
    if !scheme && (!glue.contains([':', '=']) || glue.contains(['\n', ','])) {
        return None;
    }
    // A mail may have wrapped it.
    if quoted.chars().all(|char| is_token_char(char) || char.is_whitespace()) {
        end = quoted.len();
    } else if scheme {
        let token = value[end..].trim_start_matches([' ', '\t', '\\']);
        end = value.len() - token.len() + word_end(token);
    } else if value[end..].starts_with([' ', '\t']) {
        // Another scheme.
        return None;
    }
    Some(value[..end].trim()).filter(|value| !value.is_empty())
}

const SCHEMES: [&str; 3] = ["bearer", "dpop", "basic"];

/// The characters of a token (RFC 6750 §2.1), and the `%` of a URL.
pub(super) fn is_token_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || "-._~+/=%".contains(char)
}

/// Returns the token after a scheme, or after the name of the header `DPoP`.
pub(super) fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(char::is_whitespace)?;
    let scheme = scheme.trim_end_matches([':', '\\']);
    SCHEMES[..2].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then_some(token)
}

/// Returns the value of a mark without its scheme and its line breaks.
fn bare(value: &str) -> String {
    without_scheme(value).unwrap_or(value).split_whitespace().collect()
}

//! Names what is not a token.

use super::marked::{MAX_MARKS, value_after};

/// Recognises texts that programs write where there is no token.
pub(super) fn not_a_token(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    let is = |words: &[&str]| words.contains(&&*lower);
    Some(
        if is(&["null", "undefined", "none", "nil", "nan", "[object object]", "[object promise]"]) {
            "a program wrote this where it had no token: its variable was not set, or is not text"
        } else if is(&["bearer", "bearer:", "dpop", "dpop:"]) {
            "the scheme (`Bearer`) has no token after it: the client's variable was empty"
        } else if lower.contains("<html") || text.starts_with('<') && text.contains("</") {
            "this is an HTML or XML page, such as a login or an error page, and not a token"
        } else if lower.starts_with("basic ") {
            "these are Basic credentials, which authenticate a client, and not a token"
        } else {
            return None;
        },
    )
}

/// Recognises texts without a token, once there is no token to be found in them.
pub(super) fn other_than_token(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    for (at, mark) in lower.match_indices("error").take(MAX_MARKS) {
        // A member of JSON, or a parameter of a URL or a challenge. A word of prose is neither.
        let is_name = lower[..at].ends_with(['"', '?', '&', '#', ' ', ',']);
        let rest = &text[at + mark.len()..];
        if is_name
            && rest.trim_start_matches('"').trim_start().starts_with([':', '='])
            && rest.len() > 1
        {
            let name = value_after(rest).unwrap_or_default().trim();
            let is_name =
                |char: char| char.is_ascii_alphabetic() || matches!(char, '_' | '-' | ' ');
            let named = !name.is_empty() && name.len() <= 40 && name.chars().all(is_name);
            let named = if named { format!(", `{name}`,") } else { String::new() };
            return Some(format!("this is an error response{named} and not a token"));
        }
    }
    Some(
        if text.starts_with('[') {
            "this is a JSON array, and not a token"
        } else if text.starts_with('{') {
            "this is JSON without an `access_token`"
        } else if has(&["client_secret", "client-secret"]) {
            "this is a client secret, which authenticates a client, and not a token"
        } else if lower.starts_with("cookie:") || has(&["\ncookie:", "set-cookie:"]) {
            "this is a cookie: services read tokens from the header `Authorization`"
        } else if lower.starts_with("http://") || lower.starts_with("https://") {
            "this is a URL without an `access_token`"
        } else {
            return None;
        }
        .to_owned(),
    )
}

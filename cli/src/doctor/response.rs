//! Describes introspection responses.

use serde_json::Value;

use super::credentials::introspection;
use crate::{net::Exchange, token::Form};

/// Returns the introspection response. That of a signed response is one of its claims.
pub(super) fn introspection_response(exchanges: &[Exchange]) -> Value {
    let exchange = introspection(exchanges);
    let Some(response) = exchange.and_then(Exchange::response) else { return Value::Null };
    if let Ok(value) = serde_json::from_slice(response.body()) {
        return value;
    }
    let form = Form::of(&String::from_utf8_lossy(response.body()));
    let inner = form.jws().and_then(|jws| jws.payload.get("token_introspection"));
    inner.and_then(|inner| serde_json::from_str(inner.get()).ok()).unwrap_or(Value::Null)
}

/// Returns the words of a response that name another kind than an access token.
pub(super) fn marks(response: &Value) -> String {
    let other = |name: &&str| {
        let word = response[*name].as_str()?.to_ascii_lowercase();
        let is_usual = ["bearer", "dpop", "at+jwt"].contains(&&*word) || word.starts_with("access");
        (!is_usual).then(|| format!("`{name}` is \"{}\"", truncated(&word)))
    };
    let names = ["token_use", "token_type", "typ"];
    names.iter().filter_map(other).collect::<Vec<_>>().join(", ")
}

/// Returns true if the response shows nothing that an access token has.
pub(super) fn is_bare(response: &Value) -> bool {
    ["scope", "token_type", "sub"].into_iter().all(|name| response[name].is_null())
}

/// Describes the members of a response, in which servers differ, in one line.
pub(super) fn describe_members(response: &Value) -> String {
    let audience = match &response["aud"] {
        Value::Null => None,
        Value::String(text) if text.contains(' ') => Some(format!(
            "`aud` is a list in one string (\"{}\"), not an audience",
            truncated(text)
        )),
        Value::String(_) => Some("`aud` is a string".to_owned()),
        Value::Array(all) if all.is_empty() => Some("`aud` is empty: it is for nobody".to_owned()),
        Value::Array(all) => Some(format!("`aud` is an array of {}", all.len())),
        _ => Some("`aud` is neither a string nor an array".to_owned()),
    };
    let expiry = match &response["exp"] {
        Value::Null => None,
        Value::Number(number) if number.is_f64() => Some("`exp` is a fraction".to_owned()),
        Value::Number(_) => Some("`exp` is an integer".to_owned()),
        _ => Some("`exp` is not a number (RFC 7662 §2.2)".to_owned()),
    };
    let kind = response["token_type"].as_str();
    let kind = kind.map(|kind| format!("`token_type` is {}", truncated(kind)));
    let told: Vec<_> = [audience, expiry, kind].into_iter().flatten().collect();
    let names = ["aud", "exp", "token_type", "iss", "sub", "client_id", "scope"];
    let absent = names.into_iter().filter(|name| response[*name].is_null());
    let absent: Vec<_> = absent.map(|name| format!("`{name}`")).collect();
    let absent =
        if absent.is_empty() { String::new() } else { format!("; without {}", absent.join(", ")) };
    format!("the introspection response: {}{absent}", told.join(", "))
}

fn truncated(text: &str) -> String {
    text.chars().take(64).collect()
}

//! Subject identifiers (RFC 9493 §3, SSF 1.0).

use serde_json::{Value, json};

/// Returns the identifier of a subject of `issuer`.
pub(super) fn of_subject(issuer: &str, subject: &str) -> Value {
    json!({"format": "iss_sub", "iss": issuer, "sub": subject})
}

/// Returns the identifier of a session of a subject of `issuer`.
pub(super) fn of_session(issuer: &str, subject: &str, sid: &str) -> Value {
    json!({
        "format": "complex",
        "user": of_subject(issuer, subject),
        "session": {"format": "opaque", "id": sid},
    })
}

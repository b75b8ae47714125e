//! The outcomes of received SETs that the transmitter does not know yet.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::signals::received::Refusal;

/// Outcomes by `jti`. There are at most as many as one response has SETs.
#[derive(Debug, Default)]
pub(super) struct Outcomes(BTreeMap<String, Result<(), Refusal>>);

impl Outcomes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, jti: &str) -> bool {
        self.0.contains_key(jti)
    }

    pub(super) fn insert(&mut self, jti: &str, outcome: Result<(), Refusal>) {
        self.0.insert(jti.to_owned(), outcome);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn has_errors(&self) -> bool {
        self.0.values().any(Result::is_err)
    }

    /// Returns the body of a poll that reports them (RFC 8936 §2.2).
    pub(super) fn to_json(&self, max_events: usize, return_immediately: bool) -> Value {
        let (mut ack, mut errors) = (Vec::new(), Map::new());
        for (jti, outcome) in &self.0 {
            match outcome {
                Ok(()) => ack.push(jti),
                Err(Refusal { err, description }) => {
                    errors.insert(jti.clone(), json!({ "err": err, "description": description }));
                }
            }
        }
        let mut body = json!({ "maxEvents": max_events, "returnImmediately": return_immediately });
        if !ack.is_empty() {
            body["ack"] = json!(ack);
        }
        if !errors.is_empty() {
            body["setErrs"] = errors.into();
        }
        body
    }
}

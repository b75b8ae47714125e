//! The claims of a security event token (RFC 8417, SSF 1.0 §4).

use serde_json::value::RawValue;

use super::{
    error::{SetClaim, SetError},
    subject::Subject,
    types::{EventType, SubjectEvent},
};
use crate::{
    claims::{
        claims_set::numeric_date,
        json::{self, NotStrict, Object},
    },
    clock::{EARLIEST, UnixTime},
    signals::transmitter::stream::StreamStatus,
};

/// The claims of a security event token.
///
/// It has no `Debug` form: most of it is personal data.
pub(super) struct SecurityEvents {
    pub(super) issuer: String,
    pub(super) issued_at: UnixTime,
    audience: Vec<String>,
    /// Present if there is an event about a subject.
    pub(super) subject: Option<Subject>,
    /// The events about the subject, each with its time. Some senders write zero for no time, or minutes:
    /// that would revoke nothing, so a time before this crate counts as none.
    pub(super) events: Vec<(SubjectEvent, Option<UnixTime>)>,
    pub(super) verification: Option<Verification>,
    pub(super) stream_updated: Option<StreamUpdate>,
}

/// A verification event (SSF 1.0 §8.1.4.1).
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Verification {
    /// The state of the request that the event responds to. The transmitter may send the event
    /// unasked, without a state.
    pub(super) state: Option<String>,
}

/// A change of the status of a stream (SSF 1.0 §8.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamUpdate {
    /// `None` for a status that the specification does not know.
    pub(super) status: Option<StreamStatus>,
}

impl SecurityEvents {
    /// Reads the payload of a token. Its signature is verified later.
    ///
    /// Unknown claims are ignored, and so are the members of events that have no effect here.
    pub(super) fn read(payload: &[u8]) -> Result<Self, SetError> {
        let claims = Object::parse(payload).map_err(|NotStrict| SetError::Malformed)?;
        if claims.get("exp").is_some() {
            return Err(SetError::Expires);
        }
        if claims.get("sub").is_some() {
            return Err(SetError::NamesSubject);
        }
        let text = |name, claim| match claims.string(name) {
            Ok(Some(text)) if !text.is_empty() => Ok(text.into_owned()),
            _ => Err(SetError::Claim(claim)),
        };
        let date = claims.get("iat").and_then(|value| numeric_date(value.get()));
        let subject = claims.get("sub_id").map(Subject::read).transpose();
        // Required (RFC 8417 §2.2), and of no use here.
        text("jti", SetClaim::JwtId)?;
        let mut set = Self {
            issuer: text("iss", SetClaim::Issuer)?,
            issued_at: date.ok_or(SetError::Claim(SetClaim::IssuedAt))?,
            audience: audience(claims.get("aud")).ok_or(SetError::Claim(SetClaim::Audience))?,
            subject: subject.map_err(|_| SetError::Claim(SetClaim::SubjectId))?,
            events: Vec::new(),
            verification: None,
            stream_updated: None,
        };
        let events = claims.get("events").and_then(events).filter(|events| !events.is_empty());
        for (event_type, event) in events.ok_or(SetError::Claim(SetClaim::Events))? {
            set.add(event_type, &event)?;
        }
        if set.subject.is_none() && !set.events.is_empty() {
            return Err(SetError::Claim(SetClaim::SubjectId));
        }
        Ok(set)
    }

    /// Refuses a token that is from another transmitter or for another receiver (RFC 8935 §2).
    pub(super) fn check_parties(&self, issuer: &str, audience: &str) -> Result<(), SetError> {
        if self.issuer != issuer {
            return Err(SetError::Issuer);
        }
        let is_for_us = self.audience.iter().any(|value| value == audience);
        is_for_us.then_some(()).ok_or(SetError::Audience)
    }

    fn add(&mut self, event_type: EventType, event: &Object<'_>) -> Result<(), SetError> {
        let text = |name| event.string(name).map_err(|_| SetError::Claim(SetClaim::Events));
        match event_type {
            EventType::Subject(event_type) => {
                let happened =
                    event.get("event_timestamp").and_then(|value| numeric_date(value.get()));
                let can_be_right = |time: &UnixTime| *time >= EARLIEST;
                let happened = happened.filter(can_be_right);
                let issued = Some(self.issued_at).filter(can_be_right);
                let time = match event_type.has_no_good_tokens_after() {
                    // The later one: whoever has a token of the time between is not the user.
                    true => happened.max(issued),
                    false => happened.or(issued),
                };
                self.events.push((event_type, time));
            }
            EventType::Verification => {
                let state = text("state")?.map(String::from);
                self.verification = Some(Verification { state });
            }
            EventType::StreamUpdated => {
                // Keycloak 26.7 has the whole status there, as an object.
                let status = match event.get("status").map(RawValue::get) {
                    Some(raw) if raw.starts_with('{') => Object::parse_shallow(raw)
                        .ok()
                        .and_then(|status| Some(status.string("status").ok()??.into_owned())),
                    _ => text("status")?.map(String::from),
                };
                let status = status.as_deref().and_then(StreamStatus::named);
                self.stream_updated = Some(StreamUpdate { status });
            }
            EventType::Other => {}
        }
        Ok(())
    }
}

/// Reads a claim that is text or a list of text. Without it, the token is for nobody.
fn audience(value: Option<&RawValue>) -> Option<Vec<String>> {
    let Some(value) = value else { return Some(Vec::new()) };
    match json::string(value) {
        Some(one) => Some(vec![one.into_owned()]),
        None => Some(json::strings(value)?.into_iter().map(String::from).collect()),
    }
}

fn events(value: &RawValue) -> Option<Vec<(EventType, Object<'_>)>> {
    let events = Object::parse_shallow(value.get()).ok()?;
    let read = events.iter().map(|(uri, event)| {
        let event = Object::parse_shallow(event.get()).ok()?;
        Some((EventType::from_uri(uri), event))
    });
    read.collect()
}

#[cfg(test)]
#[path = "tests/set.rs"]
mod tests;

//! The actor of a token (RFC 8693 §4.1).

use std::{borrow::Cow, fmt};

use serde_json::value::RawValue;

use super::{
    error::ClaimsError,
    json::{self, Object},
};

/// The party that acts for the subject of a token: the outermost `act` (RFC 8693 §4.1).
///
/// Nested actors belong to earlier steps and are informational only, as the RFC says. They are not
/// checked, and neither are members that do not identify the actor.
///
/// ```
/// use tower_introspect::claims::Claims;
///
/// let claims = Claims::from_json(br#"{"sub": "alice", "act": {"sub": "gateway", "act": {"sub": "app"}}}"#);
/// let actor = claims.unwrap();
/// let actor = actor.actor().unwrap().expect("there is one");
/// assert_eq!(actor.subject().as_deref(), Some("gateway"));
/// ```
pub struct Actor<'a>(Object<'a>);

impl<'a> Actor<'a> {
    /// Returns `sub`, the actor, unique only within its issuer.
    #[must_use]
    pub fn subject(&self) -> Option<Cow<'a, str>> {
        self.string("sub")
    }

    /// Returns `iss`, the issuer of the actor's `sub`, if it is not the issuer of the token.
    #[must_use]
    pub fn issuer(&self) -> Option<Cow<'a, str>> {
        self.string("iss")
    }

    /// Returns a member that is a string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        json::string(self.0.get(name)?)
    }

    /// Returns a member as the JSON text that was received.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(RawValue::get)
    }

    /// Parses an object whose `sub` and `iss` must be strings if they are present.
    pub(super) fn parse(text: &'a str) -> Result<Self, ClaimsError> {
        let invalid = ClaimsError::Invalid("act");
        let object = Object::parse_shallow(text).map_err(|_| invalid)?;
        for name in ["sub", "iss"] {
            if object.get(name).is_some_and(|value| json::string(value).is_none()) {
                return Err(invalid);
            }
        }
        Ok(Self(object))
    }
}

impl fmt::Debug for Actor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actor").finish_non_exhaustive()
    }
}

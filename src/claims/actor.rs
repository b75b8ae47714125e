//! The actor (RFC 8693 §4.1).

use std::{borrow::Cow, fmt};

use serde_json::value::RawValue;

use super::{
    ClaimsError,
    json::{self, Object},
};

/// Who acts for the subject of a token: the outermost `act` (RFC 8693 §4.1).
///
/// Actors within it are those of earlier steps, which the RFC calls informational only. They are not
/// read, and neither are members that say nothing about who acts.
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
    /// `sub`: the actor, unique only within its issuer.
    #[must_use]
    pub fn subject(&self) -> Option<Cow<'a, str>> {
        self.string("sub")
    }

    /// `iss`: the issuer of that name, if it is another one.
    #[must_use]
    pub fn issuer(&self) -> Option<Cow<'a, str>> {
        self.string("iss")
    }

    /// A member that is a string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        json::string(self.0.get(name)?)
    }

    /// A member as the JSON text it came in.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(RawValue::get)
    }

    /// Reads an object whose names are strings.
    pub(super) fn parse(text: &'a str) -> Result<Self, ClaimsError> {
        let invalid = ClaimsError::Invalid("act");
        let object = Object::shallow(text).map_err(|_| invalid)?;
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

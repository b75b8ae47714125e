//! Confirmation: the key a token is bound to (RFC 7800 §3.1).

use serde_json::value::RawValue;

use super::json::{self, Object};

/// The members of a `cnf` claim.
///
/// A token that has one must not be accepted on its own: holding it is not enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    jkt: Option<Box<str>>,
    x5t_s256: Option<Box<str>>,
}

impl Confirmation {
    /// The thumbprint of the key by which DPoP proofs are to be signed (RFC 9449 §6.1).
    #[must_use]
    pub fn jkt(&self) -> Option<&str> {
        self.jkt.as_deref()
    }

    /// The thumbprint of the client certificate (RFC 8705 §3.1).
    #[must_use]
    pub fn x5t_s256(&self) -> Option<&str> {
        self.x5t_s256.as_deref()
    }

    pub(super) fn parse(value: &RawValue) -> Option<Self> {
        let object = Object::parse(value.get().as_bytes()).ok()?;
        let member = |name| match object.get(name) {
            Some(value) => json::string(value).map(|text| Some(text.into())).ok_or(()),
            None => Ok(None),
        };
        Some(Self { jkt: member("jkt").ok()?, x5t_s256: member("x5t#S256").ok()? })
    }
}

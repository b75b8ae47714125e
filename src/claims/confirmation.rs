//! The key that a token is bound to (RFC 7800 §3.1).

use serde_json::value::RawValue;

use super::json::{self, Object};

/// The members of a `cnf` claim.
///
/// # Security
///
/// A token with this claim must not be accepted on its own: the client must also prove possession
/// of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    jkt: Option<Box<str>>,
    x5t_s256: Option<Box<str>>,
}

impl Confirmation {
    /// Returns the thumbprint of the key that must sign the DPoP proofs (RFC 9449 §6.1).
    #[must_use]
    pub fn jkt(&self) -> Option<&str> {
        self.jkt.as_deref()
    }

    /// Returns the thumbprint of the client certificate (RFC 8705 §3.1).
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

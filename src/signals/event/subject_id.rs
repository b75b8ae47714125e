//! One subject identifier (RFC 9493 §3).

use std::fmt;

use crate::claims::json::{self, Object};

/// The maximum number of members of a subject identifier. The known formats have two at most.
pub(super) const MAX_MEMBERS: usize = 16;

/// An identifier of a user, a session or another subject of a security event (RFC 9493).
///
/// Its `Debug` form does not show the values, which are personal data.
///
/// ```
/// use tower_introspect::signals::SubjectId;
///
/// /// Returns the `sub` of the account with this address.
/// fn subject(id: &SubjectId) -> Option<String> {
///     match (id.format(), id.member("email")) {
///         ("email", Some("alice@example.com")) => Some("alice".to_owned()),
///         _ => None,
///     }
/// }
/// # let _ = subject;
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SubjectId {
    format: Box<str>,
    members: Box<[(Box<str>, Box<str>)]>,
}

/// The error of a value that is no subject identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotASubject;

/// The formats that name claims of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A `sub` of an issuer.
    IssuerSubject { issuer: &'a str, subject: &'a str },
    /// A name that only the transmitter and the receiver understand.
    Opaque(&'a str),
    /// A `jti` of an issuer.
    Token { issuer: &'a str, jwt_id: &'a str },
    /// Another format.
    Other,
}

impl SubjectId {
    /// Returns the name of the format, such as `email`, `phone_number` or `account`.
    ///
    /// A format that this crate does not know keeps its name.
    #[must_use]
    pub fn format(&self) -> &str {
        &self.format
    }

    /// Returns a member that is text, such as `email` in the format `email`.
    ///
    /// The members that RFC 9493 §3.2 and SSF 1.0 §3.5 require of a known format are there and not
    /// empty. Text is compared as it is: the domain of an address may come in capital letters.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&str> {
        self.members.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// Reads an identifier that is no list of identifiers and not complex.
    pub(super) fn read(object: &Object<'_>) -> Result<Self, NotASubject> {
        let format = object.string("format").ok().flatten().ok_or(NotASubject)?;
        if ["aliases", "complex"].contains(&&*format) || object.iter().len() > MAX_MEMBERS {
            return Err(NotASubject);
        }
        let text = object.iter().filter_map(|(name, value)| Some((name, json::string(value)?)));
        let members = text.map(|(name, value)| ((**name).into(), (*value).into())).collect();
        let id = Self { format: (*format).into(), members };
        let is_complete = required(&format)
            .iter()
            .all(|name| id.member(name).is_some_and(|value| !value.is_empty()));
        is_complete.then_some(id).ok_or(NotASubject)
    }

    pub(super) fn kind(&self) -> Kind<'_> {
        let member = |name| self.member(name).unwrap_or_default();
        match &*self.format {
            "iss_sub" => Kind::IssuerSubject { issuer: member("iss"), subject: member("sub") },
            "opaque" => Kind::Opaque(member("id")),
            "jwt_id" => Kind::Token { issuer: member("iss"), jwt_id: member("jti") },
            _ => Kind::Other,
        }
    }
}

impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = !required(&self.format).is_empty();
        let format = if known { &*self.format } else { "unknown" };
        f.debug_struct("SubjectId").field("format", &format).finish_non_exhaustive()
    }
}

/// Returns the members that a known format must have.
fn required(format: &str) -> &'static [&'static str] {
    match format {
        "account" | "uri" => &["uri"],
        "did" => &["url"],
        "email" => &["email"],
        "iss_sub" => &["iss", "sub"],
        "jwt_id" => &["iss", "jti"],
        "opaque" => &["id"],
        "phone_number" => &["phone_number"],
        "saml_assertion_id" => &["issuer", "assertion_id"],
        _ => &[],
    }
}

//! The subject of a security event (RFC 9493, SSF 1.0 §3).

use std::fmt;

use serde_json::value::RawValue;

use super::subject_id::{MAX_MEMBERS, NotASubject, SubjectId};
use crate::claims::json::{self, Object};

/// The maximum number of identifiers in the format `aliases`.
const MAX_ALIASES: usize = 16;

/// The members that describe a complex subject (SSF 1.0 §3.3). More may be agreed.
const COMPLEX_MEMBERS: [&str; 7] =
    ["user", "device", "session", "application", "tenant", "org_unit", "group"];

/// The subject of a security event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// One subject, by one identifier or several.
    Simple(Vec<SubjectId>),
    /// A subject that all members describe together.
    Complex(Complex),
}

/// The members of a complex subject.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Complex {
    pub(super) user: Option<Vec<SubjectId>>,
    pub(super) session: Option<Vec<SubjectId>>,
    /// The names of the other members, which no cutoff can express.
    pub(super) others: Vec<String>,
}

impl Subject {
    /// Reads a subject from JSON whose members are known to be unique at every level.
    ///
    /// Drafts of SSF 1.0 had complex subjects without `format`. They are read as such if they have
    /// a member that the specification names.
    pub(super) fn read(value: &RawValue) -> Result<Self, NotASubject> {
        let object = object(value)?;
        match object.string("format").map_err(|_| NotASubject)?.as_deref() {
            Some("complex") => Complex::read(&object).map(Self::Complex),
            Some(_) => identifiers(&object).map(Self::Simple),
            None if COMPLEX_MEMBERS.iter().any(|name| object.get(name).is_some()) => {
                Complex::read(&object).map(Self::Complex)
            }
            None => Err(NotASubject),
        }
    }
}

impl Complex {
    fn read(object: &Object<'_>) -> Result<Self, NotASubject> {
        let members = object.iter().filter(|(name, _)| *name != "format");
        let mut complex = Self { user: None, session: None, others: Vec::new() };
        for (name, value) in members {
            match &**name {
                "user" => complex.user = Some(identifiers(&self::object(value)?)?),
                "session" => complex.session = Some(identifiers(&self::object(value)?)?),
                known if COMPLEX_MEMBERS.contains(&known) => {
                    self::object(value)?;
                    complex.others.push(known.to_owned());
                }
                // Even a value that is no object counts: the member may be critical.
                other => complex.others.push(other.to_owned()),
            }
        }
        let is_empty =
            complex.user.is_none() && complex.session.is_none() && complex.others.is_empty();
        if is_empty || object.iter().len() > MAX_MEMBERS {
            return Err(NotASubject);
        }
        Ok(complex)
    }
}

impl fmt::Debug for Complex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Complex")
            .field("user", &self.user)
            .field("session", &self.session)
            .field("others", &self.others.len())
            .finish()
    }
}

/// Reads the identifiers of one subject: those of `aliases`, which can't be nested (RFC 9493
/// §3.2.8), or the only one.
fn identifiers(object: &Object<'_>) -> Result<Vec<SubjectId>, NotASubject> {
    if object.string("format").ok().flatten().as_deref() != Some("aliases") {
        return SubjectId::read(object).map(|id| vec![id]);
    }
    let aliases = object.get("identifiers").and_then(json::array).ok_or(NotASubject)?;
    if aliases.is_empty() || aliases.len() > MAX_ALIASES {
        return Err(NotASubject);
    }
    aliases.into_iter().map(|alias| SubjectId::read(&self::object(alias)?)).collect()
}

fn object(value: &RawValue) -> Result<Object<'_>, NotASubject> {
    Object::parse_shallow(value.get()).map_err(|json::NotStrict| NotASubject)
}

#[cfg(test)]
#[path = "tests/subject.rs"]
mod tests;

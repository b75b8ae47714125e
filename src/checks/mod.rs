//! The checks that are made of a token, for those who ask why it was refused.
//!
//! Every check passes its result through `step` where it is made, so that what is told of it is
//! what happened. Only the program `introspect` listens, in builds with its feature; in all others
//! nothing is left of this. No part of the API.

pub(crate) mod check;
#[cfg(feature = "checks")]
mod record;

use std::fmt::{self, Display};

pub use self::check::{Check, Stage};
#[cfg(feature = "checks")]
pub use self::record::{Recording, State, Step, Trace};
use crate::{
    clock::UnixTime,
    error::{kind::ErrorKind, refusal::VerifyError},
};

/// What a check saw, and what it wanted to see.
///
/// # Security
///
/// What it saw is the token's: for the eyes of who has the token, never for a log.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detail {
    /// `None`: there was nothing to see.
    pub seen: Option<Value>,
    /// In words.
    pub wanted: Option<String>,
}

/// Something a check saw.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// As it stands in the token.
    Text(String),
    /// A time, to be told by whoever knows what time it is.
    Time(UnixTime),
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detail").finish_non_exhaustive()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").finish_non_exhaustive()
    }
}

/// What was seen.
pub(crate) fn seen(value: impl Display) -> Detail {
    Detail { seen: Some(Value::Text(value.to_string())), wanted: None }
}

/// What was seen, if it was there.
pub(crate) fn seen_if(value: Option<impl Display>) -> Detail {
    value.map_or_else(Detail::default, seen)
}

/// The time that was seen, if it was there.
pub(crate) fn seen_time(time: Option<UnixTime>) -> Detail {
    Detail { seen: time.map(Value::Time), wanted: None }
}

/// The values of a list.
pub(crate) fn list(values: impl IntoIterator<Item = impl Display>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

impl Detail {
    /// What was wanted.
    pub(crate) fn wanted(self, value: impl Display) -> Self {
        Self { wanted: Some(value.to_string()), ..self }
    }
}

/// What a check fails with.
pub(crate) trait Fault {
    fn kind(&self) -> ErrorKind;
}

impl Fault for ErrorKind {
    fn kind(&self) -> ErrorKind {
        *self
    }
}

impl Fault for VerifyError {
    fn kind(&self) -> ErrorKind {
        Self::kind(self)
    }
}

/// Passes on the outcome of a check.
#[cfg(not(feature = "checks"))]
#[inline(always)]
pub(crate) fn step<T, E: Fault>(
    _: Check,
    _: impl FnOnce() -> Detail,
    outcome: Result<T, E>,
) -> Result<T, E> {
    outcome
}

/// Passes on the outcome of a check, and notes it if someone listens.
#[cfg(feature = "checks")]
#[inline]
pub(crate) fn step<T, E: Fault>(
    check: Check,
    detail: impl FnOnce() -> Detail,
    outcome: Result<T, E>,
) -> Result<T, E> {
    if record::is_on() {
        record::note(check, detail(), outcome.as_ref().map(drop).map_err(Fault::kind));
    }
    outcome
}

/// Makes a check that fails with `otherwise`.
#[inline(always)]
pub(crate) fn demand(
    check: Check,
    detail: impl FnOnce() -> Detail,
    met: bool,
    otherwise: ErrorKind,
) -> Result<(), ErrorKind> {
    step(check, detail, if met { Ok(()) } else { Err(otherwise) })
}

//! Records the checks that a token goes through, to explain why it was refused.
//!
//! Each check passes its result through `step` at the place where it is made, so the record can't
//! differ from what happened. Only the program `introspect` records checks, in builds with its
//! feature; in all other builds `step` compiles to nothing. This module is not part of the API.

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

/// The value that a check found, and the value that it expected.
///
/// # Security
///
/// The found value comes from the token. Show it only to a person who has the token; never log it.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detail {
    /// The value that was found. `None` if there was none.
    pub seen: Option<Value>,
    /// The value that was expected, as text for people.
    pub wanted: Option<String>,
}

/// A value that a check found.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// A text, exactly as in the token.
    Text(String),
    /// A time. The reader relates it to the current time.
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

/// Creates a detail from the value that was found.
pub(crate) fn seen(value: impl Display) -> Detail {
    Detail { seen: Some(Value::Text(value.to_string())), wanted: None }
}

/// Creates a detail from the value that was found, if there was one.
pub(crate) fn seen_if(value: Option<impl Display>) -> Detail {
    value.map_or_else(Detail::default, seen)
}

/// Creates a detail from the time that was found, if there was one.
pub(crate) fn seen_time(time: Option<UnixTime>) -> Detail {
    Detail { seen: time.map(Value::Time), wanted: None }
}

/// Joins values with commas.
pub(crate) fn list(values: impl IntoIterator<Item = impl Display>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

impl Detail {
    /// Adds the value that was expected.
    pub(crate) fn wanted(self, value: impl Display) -> Self {
        Self { wanted: Some(value.to_string()), ..self }
    }
}

/// An error that a check can fail with.
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

/// Returns the outcome of a check unchanged.
#[cfg(not(feature = "checks"))]
#[inline(always)]
pub(crate) fn step<T, E: Fault>(
    _: Check,
    _: impl FnOnce() -> Detail,
    outcome: Result<T, E>,
) -> Result<T, E> {
    outcome
}

/// Returns the outcome of a check unchanged, and records it if a recording is on.
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

/// Makes a check that fails with `otherwise` unless `met` is true.
#[inline(always)]
pub(crate) fn demand(
    check: Check,
    detail: impl FnOnce() -> Detail,
    met: bool,
    otherwise: ErrorKind,
) -> Result<(), ErrorKind> {
    step(check, detail, if met { Ok(()) } else { Err(otherwise) })
}

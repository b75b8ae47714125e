//! The values that a check found and expected.

use std::fmt::{self, Display};

use crate::clock::UnixTime;

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

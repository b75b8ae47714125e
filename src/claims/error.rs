//! The errors of reading claims.

use std::{error::Error, fmt};

use super::json::WrongType;

/// The reason a text can't be read as claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimsError {
    /// The text is not one JSON object, repeats a member, or nests too deeply.
    Malformed,
    /// The claim of this name has the wrong type.
    Invalid(&'static str),
}

impl fmt::Display for ClaimsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("not one JSON object with unique members"),
            Self::Invalid(name) => write!(f, "`{name}` has the wrong type"),
        }
    }
}

impl Error for ClaimsError {}

impl From<WrongType> for ClaimsError {
    fn from(WrongType(name): WrongType) -> Self {
        Self::Invalid(name)
    }
}

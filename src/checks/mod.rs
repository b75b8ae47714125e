//! Records the checks that a token goes through, to explain why it was refused.
//!
//! Each check passes its result through `record` at the place where it is made, so the record can't
//! differ from what happened. Only builds with the hidden feature `checks` record anything, which
//! the program `introspect` enables; in all other builds `record` compiles to nothing. This module is
//! not part of the API.

pub(crate) mod check;
pub(crate) mod detail;
pub(crate) mod record;
#[cfg(feature = "checks")]
mod recording;

#[cfg(feature = "checks")]
pub use self::recording::{Recording, State, Step, Trace};
pub use self::{
    check::{Check, Stage},
    detail::{Detail, Value},
};

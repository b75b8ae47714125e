//! Requirements on a token, and their combinations.

mod check;
pub(crate) mod constructors;
pub(crate) mod detail_matcher;
#[cfg(feature = "_crypto")]
mod union;
mod unmet;
pub(crate) mod verdict;

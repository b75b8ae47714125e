//! Requirements on a token, and their combinations.

mod check;
pub(crate) mod constructors;
pub(crate) mod detail_matcher;
mod unmet;
pub(crate) mod verdict;

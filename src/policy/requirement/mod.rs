//! Requirements on a token, and their combinations.

pub(crate) mod detail;
pub(crate) mod expression;
mod judge;
pub(crate) mod verdict;

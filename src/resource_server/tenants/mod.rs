//! Issuers that are found when their first token arrives.

mod calls;
mod identifier;
pub(super) mod registry;
pub(crate) mod resolver;
mod tenant;

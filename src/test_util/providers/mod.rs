//! Tokens, introspection responses and key sets in the shapes of providers.

pub(super) mod answers;
pub(super) mod claims;
pub(super) mod facts;
pub(super) mod members;
pub(super) mod provider;

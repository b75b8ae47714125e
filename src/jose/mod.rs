//! JOSE primitives.

pub(crate) mod crypto;

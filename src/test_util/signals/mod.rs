//! Signals: logout tokens and security event tokens.

pub(super) mod delivery;
pub(super) mod logout_token;
pub(super) mod names;
pub(super) mod security_event;
mod sending;
mod subjects;

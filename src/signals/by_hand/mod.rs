//! Revokes by hand, and lists the cutoffs in force.

pub(crate) mod desk;
mod listing;
mod name;
mod order;
pub(crate) mod service;

//! Instances that share a real Redis, and failures of it.

mod cutoffs;
mod replay;
mod server;

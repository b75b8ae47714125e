//! What instances share, in a real Redis, and what happens when it fails.

mod cutoffs;
mod replay;
mod server;

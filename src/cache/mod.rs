//! A cache of verified facts. Decisions are never cached.

mod decide;
/// The future of the cache.
pub mod future;
pub(crate) mod layer;
mod part;
pub(crate) mod state;
mod store;
mod table;
pub(crate) mod verifier;

pub use self::{layer::CacheLayer, verifier::Cache};

//! Layers that protect the authorization server.

pub(crate) mod breaker;
mod breaker_canary;
mod breaker_clients;
pub(crate) mod budget;
mod budget_table;
pub(crate) mod bulkhead;
#[cfg(feature = "_crypto")]
pub(crate) mod coalesce;
#[cfg(feature = "_crypto")]
mod flights;
#[cfg(all(feature = "introspection", feature = "_crypto"))]
pub(crate) mod guard;

#[cfg(feature = "_crypto")]
#[cfg_attr(docsrs, doc(cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))))]
pub use self::coalesce::{Coalesce, CoalesceLayer};
pub use self::{
    breaker::{CircuitBreaker, CircuitBreakerLayer},
    budget::{MissBudget, MissBudgetLayer},
    bulkhead::{Bulkhead, BulkheadLayer},
};

/// The futures of the verifiers.
pub mod future {
    pub use super::{breaker::BreakerFuture, budget::BudgetFuture, bulkhead::BulkheadFuture};
}

//! Events and metrics for operators.
//!
//! They carry bounded names and numbers, never a token, a claim or anything else that a client
//! wrote. The one exception is the subject of a token, if the application enables it.

pub(crate) mod advice;
#[cfg(feature = "signals")]
pub(crate) mod audit;
pub(crate) mod endpoint_kind;
pub(crate) mod events;
pub(crate) mod feed;
#[cfg(feature = "tracing")]
mod limit;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod refused_by;
pub(crate) mod report;
pub(crate) mod server_state;
pub(crate) mod signal_state;
#[cfg(feature = "signals")]
pub(crate) mod signals;
pub(crate) mod span;

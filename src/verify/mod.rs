//! Verifiers, and the layers that compose them.
//!
//! A [`Verifier`] turns a token into an [`ActiveToken`], a *fact*: the claims that an issuer
//! vouches for, and the time at which they were established. The [`Policy`](crate::Policy) decides
//! whether the fact is enough for a request. It runs on every request, also if the verifier cached
//! the fact.
//!
//! ```
//! use tower_introspect::{
//!     ErrorKind, VerifyError,
//!     claims::Claims,
//!     clock::{Moment, SystemClock},
//!     verify::{ActiveToken, Method, Verifier, VerifyRequest, verify_fn},
//! };
//!
//! let verifier = verify_fn(|request: VerifyRequest| async move {
//!     if request.token().secret_str() != "letmein" {
//!         return Err(VerifyError::new(ErrorKind::Inactive));
//!     }
//!     let claims = Claims::from_json(br#"{"aud": "https://api.example.com"}"#).expect("strict JSON");
//!     let verified_at = Moment::now(&SystemClock);
//!     Ok(ActiveToken::new("https://as.example.com", claims, Method::Custom, verified_at))
//! });
//! # tokio_test::block_on(async {
//! let token = tower_introspect::credentials::Token::bearer("letmein").unwrap();
//! let active = verifier.verify(VerifyRequest::new(token)).await?;
//! assert_eq!(active.issuer(), "https://as.example.com");
//! # Ok::<(), VerifyError>(()) }).unwrap();
//! ```
//!
//! Composes by hand the layers that a [`ResourceServer`](crate::ResourceServer) puts around a
//! verifier:
//!
//! ```
//! # #[cfg(feature = "cache")] {
//! use tower::ServiceBuilder;
//! use tower_introspect::{
//!     ErrorKind,
//!     cache::CacheLayer,
//!     revocation::{RevocationLayer, Revocations},
//!     upstream::{BulkheadLayer, CircuitBreakerLayer, CoalesceLayer},
//!     verify::verify_fn,
//! };
//!
//! let revocations = Revocations::new();
//! let verifier = ServiceBuilder::new()
//!     .layer(RevocationLayer::new(revocations.clone())) // outside of the cache
//!     .layer(CacheLayer::new().revocations(revocations))
//!     .layer(CoalesceLayer::new())
//!     .layer(BulkheadLayer::default())
//!     .layer(CircuitBreakerLayer::new())
//!     .service(verify_fn(async |_| Err(ErrorKind::Inactive.into())));
//! # let _ = verifier;
//! # }
//! ```

pub(crate) mod active;
pub(crate) mod boxed;
pub(crate) mod bridge;
pub(crate) mod keeper;
pub(crate) mod peer;
pub(crate) mod readiness;
pub(crate) mod request;
pub(crate) mod stats;
pub(crate) mod verifier;
pub(crate) mod waiters;

#[doc(hidden)]
pub use self::request::CacheLookup;
pub use self::{
    active::{ActiveToken, Method},
    boxed::BoxVerifier,
    bridge::{FromService, IntoService},
    peer::PeerKey,
    readiness::Readiness,
    request::{Freshness, VerifyRequest},
    stats::{BreakerState, Stats},
    verifier::{Outcome, Verifier, VerifyFn, Verifying, verify_fn},
};
pub use crate::telemetry::{server_state::ServerState, signal_state::SignalState};

/// The futures of the verifiers.
pub mod future {
    pub use super::{boxed::BoxFuture, bridge::Oneshot};
}

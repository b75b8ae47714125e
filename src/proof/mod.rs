//! Proof of possession: admits a token that is bound to a key only together with that key.
//!
//! The issuer decides whether a token is bound to a key. It says so with `cnf` in the token or in
//! the introspection response (RFC 7800 §3.1). Every known member of `cnf` must be satisfied: `jkt`
//! by a DPoP proof ([`Dpop`], RFC 9449), `x5t#S256` by a client certificate ([`Mtls`], RFC 8705). A
//! token is refused if it is bound only in unknown ways, or in a way that is not configured. A
//! bound token is never treated as a bearer token.
//!
//! ```
//! use tower_introspect::{ErrorKind, IntrospectLayer, Policy, proof::Dpop, verify::verify_fn};
//!
//! let closed = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
//! let policy = Policy::new("https://api.example.com").dpop(Dpop::new("https://api.example.com")?);
//! let layer = IntrospectLayer::new(closed, policy);
//! # let _ = layer;
//! # Ok::<(), tower_introspect::ConfigError>(())
//! ```
//!
//! [`docs::security`](crate::docs::security) lists the attacks that this prevents and those that it
//! does not.

#[cfg(feature = "dpop")]
pub(crate) mod dpop;
pub(crate) mod effects;
#[cfg(feature = "mtls")]
pub(crate) mod mtls;
pub(crate) mod presented;
pub(crate) mod proof_config;
pub(crate) mod replay;

#[cfg(feature = "mtls")]
#[cfg_attr(docsrs, doc(cfg(feature = "mtls")))]
pub use self::mtls::{certificate::PeerCertificate, field::CertificateField, settings::Mtls};
pub use self::replay::store::{Mark, Marked, Marking, ReplayStore};
#[cfg(feature = "dpop")]
#[cfg_attr(docsrs, doc(cfg(feature = "dpop")))]
pub use self::{
    dpop::{nonce::NonceSecret, settings::Dpop},
    replay::memory::MemoryReplay,
};

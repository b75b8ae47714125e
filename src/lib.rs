//! ```text
//! Request -> credentials -> verify ------------> policy -------> handler
//!            Token          ActiveToken (fact)   VerifiedToken (admission)
//! any refusal, anywhere -> one VerifyError -> HTTP challenge | gRPC status
//! ```
//!
//! Tower middleware that makes an axum, tonic, hyper or plain tower service an OAuth 2.0 resource
//! server. It takes the access token off each request, has it verified, locally as a JWT or
//! remotely by introspection, holds it against the policy of this service, and hands the handler a
//! [`VerifiedToken`].
//!
//! # Quick start
//!
//! [`ResourceServer`] is the paved path: who this service is, whom it trusts, and safe defaults.
//!
//! ```no_run
//! # #[cfg(all(feature = "axum", feature = "reqwest"))]
//! # mod example {
//! use axum::{Router, routing::get};
//! use tower_introspect::{Issuer, RequireScope, ResourceServer, VerifiedToken};
//!
//! async fn list(token: VerifiedToken) -> String {
//!     format!("payments of {:?}", token.subject())
//! }
//!
//! # async fn run() -> Result<Router, Box<dyn std::error::Error>> {
//! let api = ResourceServer::builder("https://api.example.com")
//!     .issuer(Issuer::jwt("https://as.example.com"))
//!     .build()?;
//!
//! let app: Router = Router::new()
//!     .route("/payments", get(list).route_layer(RequireScope::all(["read:payments"])))
//!     .layer(api.layer());
//! # Ok(app) }
//! # }
//! ```
//!
//! By its parts: an [`IntrospectLayer`] takes any [`verify::Verifier`], ours or yours, and a
//! [`Policy`].
//!
//! ```
//! use tower_introspect::{ErrorKind, IntrospectLayer, Policy, verify::verify_fn};
//!
//! let closed = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
//! let layer = IntrospectLayer::new(closed, Policy::new("https://api.example.com"));
//! # let _ = layer;
//! ```
//!
//! # Where things are
//!
//! | room | what it is for |
//! |---|---|
//! | [`resource_server`] | the facade |
//! | [`layer`], [`require`] | the middleware, and what routes and methods require |
//! | [`axum`], [`tonic`] | extractors, interceptors |
//! | [`policy`] | what is asked of each token, on every request |
//! | [`proof`] | tokens that are bound to a key |
//! | [`verify`] | the contract of verification, and what composes it: memory, cutoffs, routing by issuer |
//! | [`jwt`], [`introspection`] | the two ways to verify |
//! | [`respond`] | from a refusal to a response |
//! | [`credentials`], [`claims`], [`http`], [`clock`] | what the rest stands on |
//! | [`test_util`] | an authorization server for your tests |
//!
//! The [design](docs::design), the [security model](docs::security), [where layers go](docs::layers),
//! what to know when [operating](docs::operations) it and recipes for [providers](docs::providers) are
//! chapters of this documentation.
//!
//! # Features
//!
//! Features add, they never change what is there; but for `cache`, with which a [`ResourceServer`]
//! remembers what it verified unless it is told otherwise, and `jwt`, without which every token is
//! opaque.
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `jwt` | yes | local verification; needs one of the two cryptography features |
//! | `introspection` | yes | remote verification (RFC 7662; with `jwt` also RFC 9701) |
//! | `cache` | yes | remembering what was verified; needs one of the two cryptography features |
//! | `reqwest` | yes | the HTTP client; without it, bring a [`transport::HttpTransport`] |
//! | `aws-lc-rs` | yes | cryptography by AWS-LC; needs a C compiler |
//! | `rust-crypto` | no | cryptography in pure Rust; with both, AWS-LC does the work |
//! | `tracing` | yes | events for refusals and key refreshes, a span for a verification that takes time |
//! | `metrics` | no | counters, gauges and histograms, through the crate `metrics` |
//! | `dpop` | no | [`proof::Dpop`]: tokens that are bound to a key, admitted by proofs (RFC 9449) |
//! | `mtls` | no | [`proof::Mtls`]: tokens that are bound to a client certificate (RFC 8705, RFC 9440) |
//! | `axum` | no | extractors |
//! | `tonic` | no | interceptors and `Status` |
//! | `config` | no | a [`ResourceServer`] from TOML |
//! | `test-util` | no | [`test_util`] |
//! | `full` | no | all but `rust-crypto` |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
// A helper may serve one feature alone. With all of them on, nothing may be left over.
#![cfg_attr(not(feature = "full"), allow(dead_code, unused_imports))]

#[cfg(all(
    any(feature = "cache", feature = "dpop", feature = "jwt", feature = "mtls"),
    not(feature = "_crypto")
))]
compile_error!(
    "the features `cache`, `dpop`, `jwt` and `mtls` of `tower-introspect` need cryptography: add the \
     feature `aws-lc-rs` (needs a C compiler) or `rust-crypto` (pure Rust)"
);

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub mod axum;
#[cfg(feature = "cache")]
#[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
pub mod cache;
#[cfg(feature = "checks")]
#[doc(hidden)]
pub mod checks;
#[cfg(not(feature = "checks"))]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "nothing records them")]
mod checks;
pub mod claims;
pub mod clock;
#[cfg(feature = "config")]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub mod config;
pub mod credentials;
mod error;
mod field_names;
#[cfg(feature = "checks")]
#[doc(hidden)]
pub mod inspect;
#[cfg(feature = "introspection")]
#[cfg_attr(docsrs, doc(cfg(feature = "introspection")))]
pub mod introspection;
#[cfg(feature = "_crypto")]
#[cfg_attr(docsrs, doc(cfg(any(feature = "jwt", feature = "dpop"))))]
pub mod jose;
#[cfg(feature = "jwt")]
#[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
pub mod jwt;
pub mod layer;
mod percent;
pub mod policy;
pub mod proof;
mod refresh;
pub mod require;
#[cfg(any(feature = "introspection", feature = "jwt"))]
pub mod resource_server;
pub mod respond;
pub mod revocation;
pub mod route;
mod telemetry;
#[cfg(feature = "test-util")]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod test_util;
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub mod tonic;
pub mod transport;
pub mod upstream;
pub mod verify;

#[cfg(feature = "introspection")]
#[cfg_attr(docsrs, doc(cfg(feature = "introspection")))]
pub use self::introspection::auth::ClientAuth;
#[cfg(any(feature = "introspection", feature = "jwt"))]
pub use self::resource_server::{fresh::RequireFresh, issuer::Issuer, server::ResourceServer};
pub use self::{
    error::{
        boxed::BoxError,
        config::ConfigError,
        kind::{Blame, ErrorKind, TokenKind},
        refusal::VerifyError,
    },
    layer::introspect_layer::IntrospectLayer,
    policy::{admitted::VerifiedToken, terms::Policy, verified::Identity},
    require::require_layer::{RequireAcr, RequireAudience, RequireScope},
};

/// Longer texts.
#[cfg(any(doc, all(doctest, feature = "full")))]
pub mod docs {
    #[doc = include_str!("../docs/conformance.md")]
    pub mod conformance {}
    #[doc = include_str!("../docs/design.md")]
    pub mod design {}
    #[doc = include_str!("../docs/layers.md")]
    pub mod layers {}
    #[doc = include_str!("../docs/operations.md")]
    pub mod operations {}
    #[doc = include_str!("../docs/providers.md")]
    pub mod providers {}
    #[doc = include_str!("../docs/security.md")]
    pub mod security {}
}

/// The snippets of the README.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme {}

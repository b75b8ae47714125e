//! Tower middleware that makes an axum, tonic, hyper or plain tower service an OAuth 2.0 resource
//! server.
//!
//! The middleware takes the access token from each request, verifies it, checks it against the
//! policy of this service, and passes a [`VerifiedToken`] to the handler. A request that fails is
//! refused with the response that the specifications ask for.
//!
//! ```text
//! Request -> credentials -> verify ------------> policy -------> handler
//!            Token          ActiveToken (fact)   VerifiedToken (admission)
//! any refusal, anywhere -> one VerifyError -> HTTP challenge | gRPC status
//! ```
//!
//! # Quick start
//!
//! ```sh
//! cargo add tower-introspect --features axum --path ../tower-introspect
//! cargo add axum@0.8
//! cargo add tokio@1 --features full
//! ```
//!
//! The crate is not published yet, hence `--path`, with a checkout of the repository beside your own
//! crate.
//!
//! A [`ResourceServer`] needs an identifier, which tokens must have as audience, and at least one
//! issuer. Everything else has a safe default. This is a complete `main.rs`:
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use tower_introspect::{Issuer, RequireScope, ResourceServer, VerifiedToken};
//!
//! async fn payments(token: VerifiedToken) -> String {
//!     format!("payments of {:?}", token.subject())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let api = ResourceServer::builder("https://api.example.com")
//!         .issuer(Issuer::jwt("https://as.example.com"))
//!         .build()?;
//!     let app = Router::new()
//!         .route("/payments", get(payments).route_layer(RequireScope::all(["read:payments"])))
//!         .layer(api.layer());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     Ok(axum::serve(listener, app).await?)
//! }
//! ```
//!
//! The parts of a [`ResourceServer`] can be used alone. An [`IntrospectLayer`] takes a
//! [`Verifier`](verify::Verifier), for example a closure, and a [`Policy`]:
//!
//! ```
//! use tower_introspect::{ErrorKind, IntrospectLayer, Policy, verify::verify_fn};
//!
//! let closed = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
//! let layer = IntrospectLayer::new(closed, Policy::new("https://api.example.com"));
//! # let _ = layer;
//! ```
//!
//! # Modules
//!
//! | module | contents |
//! |---|---|
//! | [`resource_server`] | the facade: one builder for the audience, the issuers and the layers |
//! | [`config`] | a [`ResourceServer`] from TOML |
//! | [`layer`], [`require`] | the middleware, and the requirements of routes and methods |
//! | [`signals`] | receivers of logouts and security events, which revoke at once |
//! | [`stream`] | streams that end when their token does |
//! | [`axum`], [`tonic`] | extractors, interceptors and statuses |
//! | [`policy`] | the requirements that every token is checked against on every request |
//! | [`proof`] | proof of possession, for tokens that are bound to a key |
//! | [`jwt`], [`introspection`] | local and remote verification |
//! | [`verify`] | the contract of verifiers, and bridges to and from [`tower::Service`] |
//! | [`route`] | verifiers that choose another verifier for a token |
//! | [`cache`] | a cache of verified facts |
//! | [`revocation`] | revocation by cutoffs |
//! | [`upstream`] | layers that protect the authorization server |
//! | [`respond`] | responses for refusals |
//! | [`transport`] | HTTP requests to authorization servers |
//! | [`jose`] | algorithms, keys and signatures |
//! | [`credentials`], [`claims`], [`clock`] | tokens in requests, claims in tokens, and the time |
//! | [`test_util`] | an authorization server for tests |
//!
//! The documentation has six more chapters: the [design](docs::design), the [security
//! model](docs::security), the [order of layers](docs::layers), [operations](docs::operations),
//! recipes for [providers](docs::providers), and notes on [platforms](docs::platforms). A table tells [which requirement to
//! write](docs::layers#which-requirement-to-write) for a route, a handler or every token.
//!
//! # Features
//!
//! Features are additive: none weakens another. Two of them change a default. With `cache` a
//! [`ResourceServer`] caches verification results, unless it is told otherwise. Without `jwt` every
//! token is opaque.
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `jwt` | yes | local verification; needs one of the two cryptography features |
//! | `introspection` | yes | remote verification (RFC 7662; with `jwt` also RFC 9701) |
//! | `cache` | yes | a cache of verification results; needs one of the two cryptography features |
//! | `reqwest` | yes | the HTTP client; without it, bring a [`transport::HttpTransport`] |
//! | `aws-lc-rs` | yes | cryptography by AWS-LC; needs a C compiler |
//! | `rust-crypto` | no | cryptography in pure Rust; with both, AWS-LC does the work |
//! | `tracing` | yes | events for refusals and key refreshes, a span for a verification that takes time |
//! | `metrics` | no | counters, gauges and histograms, through the crate `metrics` |
//! | `dpop` | no | [`proof::Dpop`]: tokens bound to a key (RFC 9449); needs one of the two cryptography features |
//! | `mtls` | no | [`proof::Mtls`]: tokens bound to a client certificate (RFC 8705, RFC 9440); needs one of the two cryptography features |
//! | `signals` | no | [`signals`]: back-channel logouts, security events, and a route that revokes by hand; needs one of the two cryptography features |
//! | `axum` | no | extractors |
//! | `tonic` | no | interceptors and `Status` |
//! | `config` | no | a [`ResourceServer`] from TOML |
//! | `test-util` | no | [`test_util`], for tests only |
//! | `full` | no | all features but `rust-crypto` and `test-util` |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
// A helper may serve one feature alone. With all of them on, nothing may be left over.
#![cfg_attr(not(feature = "full"), allow(dead_code, unused_imports))]

#[cfg(all(
    any(
        feature = "cache",
        feature = "dpop",
        feature = "jwt",
        feature = "mtls",
        feature = "signals"
    ),
    not(feature = "_crypto")
))]
compile_error!(
    "the features `cache`, `dpop`, `jwt`, `mtls` and `signals` of `tower-introspect` need \
     cryptography: add the feature `aws-lc-rs` (needs a C compiler) or `rust-crypto` (pure Rust)"
);

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub mod axum;
#[cfg(feature = "cache")]
#[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
pub mod cache;
mod changes;
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
#[cfg(feature = "_crypto")]
mod lease;
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
#[cfg(feature = "signals")]
#[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
pub mod signals;
#[cfg(feature = "_crypto")]
#[cfg_attr(docsrs, doc(cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))))]
pub mod stream;
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
pub use self::resource_server::{issuer::Issuer, server::ResourceServer};
pub use self::{
    error::{
        boxed::BoxError,
        config::ConfigError,
        kind::{Blame, ErrorKind, TokenKind},
        refusal::VerifyError,
    },
    layer::introspect_layer::IntrospectLayer,
    policy::{identity::Identity, settings::Policy, verified_token::VerifiedToken},
    require::require_layer::RequireScope,
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
    #[doc = include_str!("../docs/platforms.md")]
    pub mod platforms {}
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

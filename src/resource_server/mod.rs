//! Builds a resource server: the audience of this service, the issuers it trusts, and the layers
//! that follow from them.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use tower_introspect::{
//!     ClientAuth, Issuer, RequireScope, ResourceServer, VerifiedToken,
//! };
//!
//! async fn list(token: VerifiedToken) -> String {
//!     format!("payments of {:?}", token.subject())
//! }
//!
//! # async fn run(secret: String) -> Result<(), Box<dyn std::error::Error>> {
//! let api = ResourceServer::builder("https://api.example.com")
//!     .issuer(Issuer::jwt("https://as.example.com"))
//!     .issuer(Issuer::introspect("https://opaque.example.com", ClientAuth::basic("api", secret)))
//!     .build()?;
//! api.warm().await?;
//!
//! let app: Router = Router::new()
//!     .route("/payments", get(list).route_layer(RequireScope::all(["read:payments"])))
//!     .layer(api.layer());
//! # Ok(()) }
//! ```

pub(crate) mod builder;
#[cfg(feature = "signals")]
mod by_hand;
mod custom;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
mod export;
pub(crate) mod fresh;
pub(crate) mod issuer;
pub mod metadata;
mod own_facts;
#[cfg(feature = "jwt")]
mod presets;
pub mod readiness;
pub(crate) mod server;
mod shared;
#[cfg(feature = "signals")]
mod signals;
mod stack;
#[cfg(feature = "_crypto")]
mod streams;
#[cfg(feature = "jwt")]
mod tenants;
mod trusted;

#[cfg(feature = "signals")]
#[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
pub use self::by_hand::RevocationService;
#[cfg(feature = "jwt")]
#[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
pub use self::tenants::resolver::IssuerResolver;
pub use self::{builder::server_builder::ResourceServerBuilder, shared::SharedTier};

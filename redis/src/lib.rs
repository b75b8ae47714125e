//! Shares cutoffs and used proofs between all instances of a service, through Redis or Valkey.
//!
//! Without it a logout that one instance is told holds in that instance alone, and each instance accepts
//! a DPoP proof once. With a [`RedisTier`] a cutoff holds in all of them within milliseconds, and all of
//! them together accept a proof once (RFC 9449 §11.1).
//!
//! ```no_run
//! use tower_introspect::{Issuer, ResourceServer, proof::Dpop};
//! use tower_introspect_redis::{RedisTier, SharedSecret};
//!
//! # async fn start(secret: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! let client = redis::Client::open("redis://api:secret@127.0.0.1/")?;
//! let connection = client.get_multiplexed_async_connection().await?;
//! let feed = client.get_multiplexed_async_connection().await?;
//! let tier = RedisTier::new(connection, SharedSecret::new(secret)?).feed(feed);
//! for problem in tier.proofs().check().await.problems() {
//!     eprintln!("redis: {problem}");
//! }
//! let api = ResourceServer::builder("https://api.example.com")
//!     .issuer(Issuer::jwt("https://as.example.com"))
//!     .dpop(Dpop::new("https://api.example.com")?)
//!     .shared(tier)
//!     .build()?;
//! # let _ = api;
//! # Ok(())
//! # }
//! ```
//!
//! [`RedisReplayStore`] alone shares used proofs.
//!
//! # Connections
//!
//! The connection is made by the application, with the crate `redis`: a single server, TLS, a
//! cluster or sentinels are its choice. Services should use `redis::aio::ConnectionManager` or
//! `redis::cluster_async::ClusterConnection`, because both connect again after a failure. Their
//! features are enabled in the application:
//!
//! ```toml
//! redis = { version = "1.8", default-features = false, features = ["connection-manager", "tokio-rustls-comp"] }
//! ```
//!
//! With a lazy connection the service starts while Redis is down:
//!
//! ```no_run
//! # fn start() -> redis::RedisResult<()> {
//! let client = redis::Client::open("rediss://api:secret@redis.example.com/")?;
//! let settings = redis::aio::ConnectionManagerConfig::new()
//!     .set_connection_timeout(Some(std::time::Duration::from_secs(1)));
//! let connection = redis::aio::ConnectionManager::new_lazy_with_config(client, settings)?;
//! let store = tower_introspect_redis::RedisReplayStore::new(connection);
//! # Ok(())
//! # }
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod cutoffs;
mod replay;
mod secret;
mod tier;

pub use self::{
    cutoffs::feed::NotTold,
    replay::{mark_error::MarkError, report::StoreReport, store::RedisReplayStore},
    secret::{SharedSecret, WeakSecret},
    tier::RedisTier,
};

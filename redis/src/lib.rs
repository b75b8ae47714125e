//! Shares the proofs that were used between all machines of a service, through Redis or Valkey.
//!
//! A DPoP proof is good once (RFC 9449 §11.1). Without a shared store each instance of a service
//! accepts it once. [`RedisReplayStore`] keeps the marks of used proofs in Redis, so that all
//! instances together accept it once.
//!
//! ```no_run
//! use tower_introspect::proof::Dpop;
//! use tower_introspect_redis::RedisReplayStore;
//!
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! let client = redis::Client::open("redis://api:secret@127.0.0.1/")?;
//! let connection = client.get_multiplexed_async_connection().await?;
//! let store = RedisReplayStore::new(connection);
//! for problem in store.check().await.problems() {
//!     eprintln!("replay store: {problem}");
//! }
//! let dpop = Dpop::new("https://api.example.com")?.replay_store(store);
//! # let _ = dpop;
//! # Ok(())
//! # }
//! ```
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

mod exchange;
mod mark_error;
mod report;
mod settings;
mod store;

pub use self::{mark_error::MarkError, report::StoreReport, store::RedisReplayStore};

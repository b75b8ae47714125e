//! One instance of the API.

use axum::{Json, Router, body::Body, routing::get};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use serde_json::{Value, json};
use tower_introspect::{Issuer, ResourceServer, VerifiedToken};
use tower_introspect_redis::{RedisTier, SharedSecret};

use crate::Outcome;

/// The identifier of the API, which its tokens are for.
pub(crate) const API: &str = "https://api.example.com";

/// The client that users log in to.
pub(crate) const CLIENT: &str = "web";

/// Serves the API until it is killed.
pub(crate) async fn run(name: &str, port: &str, redis: &str, issuer: &str) -> Outcome<()> {
    // A service reads it from a file that all instances have.
    let secret = SharedSecret::new(b"32 random bytes, the same for all")?;
    let tier = RedisTier::new(connection(redis)?, secret).feed(connection(redis)?);
    let api = ResourceServer::builder(API)
        .issuer(Issuer::jwt(issuer))
        .danger_allow_http_loopback()
        .shared(tier)
        .build()?;

    let name = name.to_owned();
    let hello = async move |token: VerifiedToken| -> Json<Value> {
        Json(json!({ "instance": name, "subject": token.subject() }))
    };
    let app = Router::new()
        .route("/", get(hello))
        .layer(api.layer())
        // Added after the layer: neither the authorization server nor a load balancer has a token.
        .route_service("/backchannel-logout", api.logout_service::<Body>(CLIENT))
        .route_service("/ready", api.readiness_service::<Body>());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    Ok(axum::serve(listener, app).await?)
}

/// Returns a connection that is made when it is needed, and again when it breaks. The instance starts while
/// Redis is away.
fn connection(url: &str) -> redis::RedisResult<ConnectionManager> {
    let settings = ConnectionManagerConfig::new()
        .set_min_delay(std::time::Duration::from_millis(50))
        .set_max_delay(std::time::Duration::from_secs(1));
    ConnectionManager::new_lazy_with_config(redis::Client::open(url)?, settings)
}

//! Serves the API on a port of this machine, with an authorization server in the same process.
//!
//! ```sh
//! cargo run --manifest-path examples/api_keys/Cargo.toml
//! ```
//!
//! It keeps its keys in the SQLite database `api_keys.db` of the current directory, or in the file
//! that `API_KEYS_DB` names, and prints curl lines to paste. `API_KEYS_LISTEN` sets the address.

use std::{env, error::Error};

use api_keys::{AUDIENCE, ApiKeys, app, resource_server};
use sqlx::sqlite::SqliteConnectOptions;
use tokio::net::TcpListener;
use tower_introspect::test_util::AuthorizationServer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The authorization server. It runs until `_listening` is dropped.
    let (authority, _listening) = AuthorizationServer::on_loopback().await?;
    let file = env::var("API_KEYS_DB").unwrap_or_else(|_| "api_keys.db".to_owned());
    let keys = ApiKeys::open(SqliteConnectOptions::new().filename(file), AUDIENCE).await?;
    let api = resource_server(authority.issuer(), &keys)
        // Only because the issuer of this example is on this machine and has no TLS.
        .danger_allow_http_loopback()
        .build()?;
    let app = app(&api, &keys, authority.issuer())?;

    let address = env::var("API_KEYS_LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let alice = authority.jwt().subject("alice").audience(AUDIENCE).scope("reports:read").mint();
    println!("listening on {url}");
    println!("# A key for a program of alice:");
    println!("curl -X POST -H 'Authorization: Bearer {alice}' {url}/keys");
    println!("# With the key that this printed:");
    println!("curl -H 'Authorization: Bearer exkey_..' {url}/reports");
    println!("# The keys of alice, and when they were used:");
    println!("curl -H 'Authorization: Bearer {alice}' {url}/keys");
    println!("# Revokes a key by its id, from the next request on:");
    println!("curl -X DELETE -H 'Authorization: Bearer {alice}' {url}/keys/..");
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

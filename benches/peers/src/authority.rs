//! An authorization server on loopback, and the tokens it gives out.

use axum::http::HeaderValue;
use tower_introspect::{
    jwt::Algorithm,
    test_util::{AuthorizationServer, Client, Endpoint, Listening},
};

use crate::drive::Credentials;

/// Who all contenders say they are.
pub const AUDIENCE: &str = "https://api.example.com";
pub const CLIENT: &str = "api";
pub const SECRET: &str = "s3cret";

/// Stops listening when it is dropped.
pub struct Authority {
    pub server: AuthorizationServer,
    listening: Listening,
}

impl Authority {
    pub async fn start() -> Self {
        let (server, listening) =
            AuthorizationServer::on_loopback().await.expect("there is a port on loopback");
        server.register(Client::new(CLIENT, SECRET));
        // zitadel's discovery can't do without; nothing is ever sent there.
        server.set_metadata("authorization_endpoint", format!("{}/authorize", server.issuer()));
        Self { server, listening }
    }

    pub fn issuer(&self) -> &str {
        self.server.issuer()
    }

    pub fn jwks_url(&self) -> String {
        self.server.url(Endpoint::Jwks)
    }

    /// The published keys of one algorithm, for who can't read the others.
    pub fn jwks_of(&self, algorithm: Algorithm) -> serde_json::Value {
        let mut jwks = self.server.jwks();
        if let Some(keys) = jwks["keys"].as_array_mut() {
            keys.retain(|key| key["alg"] == algorithm.as_str());
        }
        jwks
    }

    pub fn jwt(&self, algorithm: Algorithm) -> String {
        self.server
            .jwt()
            .algorithm(algorithm)
            .subject("248289761001")
            .client_id("s6BhdRkqt3")
            .audience(AUDIENCE)
            .scope("openid profile read:payments write:payments")
            .mint()
    }

    pub fn opaque(&self) -> String {
        self.server.opaque().audience(AUDIENCE).scope("read:payments").mint()
    }

    /// How often it was asked about a token.
    pub fn introspections(&self) -> usize {
        self.server.calls(Endpoint::Introspection)
    }

    /// Closes the port and all connections.
    pub fn close(self) -> AuthorizationServer {
        drop(self.listening);
        self.server
    }
}

pub fn bearer(token: &str) -> Credentials {
    let value = format!("Bearer {token}");
    Some(HeaderValue::from_str(&value).expect("tokens are visible ASCII"))
}

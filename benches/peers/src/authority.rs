//! An authorization server on loopback, and the tokens it gives out.

use axum::http::HeaderValue;
use serde_json::Value;
use tower_introspect::{
    jose::Algorithm,
    test_util::{AuthorizationServer, Client, Endpoint, Jwt, Listening, TokenBuilder},
};

use crate::drive::Credentials;

/// The audience, and the credentials of all contenders.
pub const AUDIENCE: &str = "https://api.example.com";
pub const CLIENT: &str = "api";
pub const SECRET: &str = "s3cret";

/// The start of the modulus of the RSA key that signs tokens.
const RSA: &str = "nIyi";

/// Stops listening when it is dropped.
pub struct Authority {
    pub server: AuthorizationServer,
    listening: Listening,
}

impl Authority {
    pub async fn start() -> Self {
        let (server, listening) =
            AuthorizationServer::on_loopback().await.expect("there is a port on loopback");
        // Which of its three RSA keys a server has depends on its port, and `rsa` 0.9 takes twice as
        // long with one of them. So always the same signs.
        while !modulus(&server).starts_with(RSA) {
            server.rotate_keys();
        }
        server.remove_old_keys();
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

    /// The key that tokens of this algorithm are signed with, as it is published.
    pub fn jwk(&self, algorithm: Algorithm) -> Value {
        jwk(&self.server, algorithm)
    }

    pub fn jwt(&self, algorithm: Algorithm) -> String {
        self.unminted(algorithm).mint()
    }

    /// A good JWT of the usual size that can still be made bad.
    pub fn unminted(&self, algorithm: Algorithm) -> TokenBuilder<Jwt> {
        self.server
            .jwt()
            .algorithm(algorithm)
            .subject("248289761001")
            .client_id("s6BhdRkqt3")
            .audience(AUDIENCE)
            .scope("openid profile read:payments write:payments")
    }

    pub fn opaque(&self) -> String {
        self.server.opaque().audience(AUDIENCE).scope("read:payments").mint()
    }

    /// Returns the number of introspections.
    pub fn introspections(&self) -> usize {
        self.server.calls(Endpoint::Introspection)
    }

    /// Closes the port and all connections.
    pub fn close(self) -> AuthorizationServer {
        drop(self.listening);
        self.server
    }
}

fn jwk(server: &AuthorizationServer, algorithm: Algorithm) -> Value {
    let (kid, jwks) = (server.kid(algorithm), server.jwks());
    let mut keys = jwks["keys"].as_array().into_iter().flatten();
    let key = keys.find(|key| key["kid"] == *kid);
    key.expect("the key that the server signs with is published").clone()
}

fn modulus(server: &AuthorizationServer) -> String {
    let key = jwk(server, Algorithm::RS256);
    key["n"].as_str().expect("an RSA key has a modulus").to_owned()
}

pub fn bearer(token: &str) -> Credentials {
    let value = format!("Bearer {token}");
    Some(HeaderValue::from_str(&value).expect("tokens are visible ASCII"))
}

//! A strict authorization server for tests.
//!
//! [`AuthorizationServer`] runs in the process of the test, without a socket or on one. It reads
//! requests as real servers do, and refuses those that a real server could refuse. It issues valid and invalid tokens, revokes them,
//! rotates its keys, fails in the ways servers fail, and counts the requests it receives.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, header};
//! use tower_introspect::test_util::{AuthorizationServer, Client, Endpoint};
//!
//! let server = AuthorizationServer::new("https://as.example.com")
//!     .with_client(Client::new("api", "s3cret"));
//! let token = server.opaque().audience("https://api.example.com").scope("read").mint();
//! assert_eq!(server.calls(Endpoint::Introspection), 0);
//!
//! // Give `server.transport()` to the code under test. The token is active until it is revoked.
//! let transport = server.transport();
//! server.revoke(&token);
//! # let _ = transport;
//! ```
//!
//! Clients in another process, or with an HTTP client of their own, reach it on a socket:
//!
//! ```
//! use tower_introspect::test_util::AuthorizationServer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let (server, listening) = AuthorizationServer::on_loopback().await?;
//! assert!(server.issuer().starts_with("http://127.0.0.1:"));
//! drop(listening); // stops it
//! # Ok(())
//! # }
//! ```
//!
//! # Handlers without a server
//!
//! [`authenticated`] makes a request as a handler receives it, for axum and tonic, and
//! [`verified_token`] the token alone:
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use http::{Request, StatusCode};
//! use serde_json::json;
//! use tower::ServiceExt as _;
//! use tower_introspect::{VerifiedToken, test_util::authenticated};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # async fn whoami(_: VerifiedToken) {}
//! # let app: Router = Router::new().route("/me", get(whoami));
//! let request = authenticated(Request::get("/me").body(Body::empty())?, &json!({"sub": "bob"}));
//! assert_eq!(app.oneshot(request).await?.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! # Tokens that must be refused
//!
//! [`TokenBuilder::expired`] and [`TokenBuilder::with_defect`] mint tokens that no service may
//! accept, and [`Defect::ALL`] lists the reasons.
//!
//! # Signals
//!
//! [`AuthorizationServer::logout_token`] and [`security_event`](AuthorizationServer::security_event)
//! build valid and invalid signals. When a session ends or a token is revoked, the server makes them
//! itself. [`deliveries`](AuthorizationServer::deliveries) hands them to the test, which delays, loses,
//! repeats and reorders them. Streams of security events are also polled and managed over HTTP
//! ([`Endpoint::Poll`], [`Endpoint::Streams`]):
//!
//! ```
//! use tower_introspect::test_util::{AuthorizationServer, Client, Defect};
//!
//! let api = Client::new("api", "s3cret").with_logout_url("https://api.example.com/logout");
//! let server = AuthorizationServer::new("https://as.example.com").with_client(api);
//! server.add_poll_stream("api");
//!
//! let token = server.jwt().subject("alice").session("s-1").mint();
//! server.revoke(&token);
//! let logout = server.deliveries().remove(0);
//! assert_eq!(logout.url(), "https://api.example.com/logout");
//! assert_eq!(server.queued_events().len(), 1);
//!
//! let forged = server.security_event("api").of_subject("alice").session_revoked();
//! server.queue_event(&forged.with_defect(Defect::ForeignKey).mint());
//! # let _ = logout.request();
//! ```
//!
//! # Tokens of providers
//!
//! [`AuthorizationServer::with_provider`] gives tokens, introspection responses and keys the shapes
//! of Keycloak, Entra ID, Okta and other [providers](Provider). A test then fails where production
//! would:
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use http::{Request, StatusCode};
//! use tower::ServiceExt as _;
//! use tower_introspect::{
//!     Issuer, ResourceServer,
//!     test_util::{AuthorizationServer, Provider},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keycloak = AuthorizationServer::new("https://sso.example.com/realms/acme")
//!     .with_provider(Provider::Keycloak);
//! let api = ResourceServer::builder("https://api.example.com")
//!     .issuer(Issuer::jwt(keycloak.issuer()))
//!     .transport(keycloak.transport()) // no socket
//!     .build()?;
//! let app: Router = Router::new().route("/", get(async || "hello")).layer(api.layer());
//! let status = async |token: String| {
//!     let request = Request::get("/").header("authorization", format!("Bearer {token}"));
//!     let response = app.clone().oneshot(request.body(Body::empty()).expect("a request")).await;
//!     response.expect("infallible").status()
//! };
//!
//! // Without an audience mapper, the audience is `account`.
//! assert_eq!(status(keycloak.jwt().mint()).await, StatusCode::UNAUTHORIZED);
//! let mapped = keycloak.jwt().audience("https://api.example.com");
//! assert_eq!(status(mapped.mint()).await, StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! # Time
//!
//! [`TestClock`] follows tokio's time, or [stands still](TestClock::pinned) until the test steps it.
//!
//! # Faults
//!
//! [`AuthorizationServer::inject`] makes an endpoint fail, for some requests or until it is
//! cleared. Every wait uses tokio's time, so tests of outages take no time under
//! `tokio::time::pause`.
//!
//! ```
//! use tower_introspect::test_util::{AuthorizationServer, Endpoint, Fault};
//!
//! let server = AuthorizationServer::new("https://as.example.com");
//! server.inject(Endpoint::Jwks, Fault::hang().for_next(1));
//! server.inject(Endpoint::Jwks, Fault::html());
//! server.clear(Endpoint::Jwks);
//! ```
//!
//! # Tokens that are bound to a key
//!
//! With the feature `dpop`, [`Prover`] makes valid and invalid proofs, and a client that sends
//! valid ones.
//!
//! # Security
//!
//! The private keys are public knowledge. Only tests may trust this server.

mod assertion;
mod authenticate;
mod client;
mod clock;
mod defect;
#[cfg(feature = "dpop")]
mod dpop;
mod endpoints;
mod error;
mod fault;
mod form;
mod handler;
mod jws;
mod keys;
mod listen;
mod lock;
mod mint;
mod providers;
mod response;
mod serve;
mod server;
mod signals;
mod state;
mod token;
mod transmitter;

#[cfg(feature = "dpop")]
#[cfg_attr(docsrs, doc(cfg(feature = "dpop")))]
pub use self::dpop::{
    client::{DpopClient, DpopClientLayer},
    proof::ProofBuilder,
    prover::Prover,
};
pub use self::{
    client::Client,
    clock::TestClock,
    defect::Defect,
    fault::{Endpoint, Fault},
    handler::{HandlerRequest, anonymous, authenticated, verified_token},
    listen::Listening,
    providers::provider::Provider,
    server::AuthorizationServer,
    signals::{
        delivery::{Delivery, DeliveryKind},
        logout_token::LogoutToken,
        security_event::SecurityEvent,
    },
    token::{AccessToken, Jwt, Opaque, TokenBuilder},
};

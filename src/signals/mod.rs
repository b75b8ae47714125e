//! Receivers of logouts and security events. A revocation that reaches them holds with the next request
//! instead of after [`max_age`](crate::resource_server::ResourceServerBuilder::max_age).
//!
//! * [`LogoutService`] receives the logouts of users (OpenID Connect Back-Channel Logout 1.0).
//! * [`EventReceiver`] receives the events of a [`Transmitter`] (RFC 8417, OpenID Shared Signals Framework
//!   1.0, CAEP, RISC), by [push](EventReceiver::push_service) (RFC 8935) or by
//!   [poll](EventReceiver::poller) (RFC 8936).
//! * [`EventStreams`] manages the streams of this service at a transmitter.
//! * [`ResourceServer::revocation_service`](crate::ResourceServer::revocation_service) is a route for support
//!   staff.
//!
//! Signals become [cutoffs](crate::ResourceServer::revocations) of the resource server, which apply to
//! cached facts, local JWTs, verifications under way and open streams. Each receiver is mounted outside of
//! the layer, because its sender has no access token.
//!
//! ```
//! use axum::{Router, body::Body, routing::get};
//! use http::Request;
//! use tower::ServiceExt as _;
//! use tower_introspect::{Issuer, ResourceServer, test_util::AuthorizationServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = AuthorizationServer::new("https://as.example.com");
//! let api = ResourceServer::builder("https://api.example.com")
//!     .issuer(Issuer::jwt(server.issuer()))
//!     .transport(server.transport())
//!     .build()?;
//! let app: Router = Router::new()
//!     .route("/", get(|| async {}))
//!     .layer(api.layer())
//!     // Added after the layer: the authorization server has no access token.
//!     .route_service("/backchannel-logout", api.logout_service::<Body>("web"));
//!
//! let token = server.jwt().subject("alice").audience("https://api.example.com").mint();
//! let get = || Request::get("/").header("authorization", format!("Bearer {token}"));
//! assert_eq!(app.clone().oneshot(get().body(Body::empty())?).await?.status(), 200);
//!
//! // Alice logs out, and the authorization server sends a logout token.
//! let logout = server.logout_token("web").subject("alice").mint();
//! let delivery = Request::post("/backchannel-logout")
//!     .header("content-type", "application/x-www-form-urlencoded")
//!     .body(Body::from(format!("logout_token={logout}")))?;
//! assert_eq!(app.clone().oneshot(delivery).await?.status(), 200);
//! assert_eq!(app.oneshot(get().body(Body::empty())?).await?.status(), 401);
//! # Ok(()) }
//! ```
//!
//! # Events
//!
//! | event | effect |
//! |---|---|
//! | CAEP `session-revoked` | the session, or all tokens of the user, issued until then are revoked |
//! | CAEP `credential-change`; RISC `account-disabled`, `account-purged`, `sessions-revoked`, `credential-compromise` | all tokens of the user issued until then are revoked |
//! | CAEP `token-claims-change`, `assurance-level-change`, `device-compliance-change` | introspected tokens of the user are verified again; JWTs that are verified locally stand |
//! | SSF `verification`, `stream-updated` | shows whether signals are [stale](crate::verify::SignalState) |
//! | others | none; they are acknowledged |
//!
//! A subject is a user (`iss_sub`), a session or a user by the name that the transmitter has for it
//! (`opaque`), a token (`jwt_id`), or several of these (`aliases`, `complex`). A part of a subject that no
//! cutoff can express widens the effect, and never narrows it: an event about a device revokes the tokens of
//! its user, or of the whole issuer if no user is named. A user who is named by an e-mail address or a
//! telephone number needs a [map](Transmitter::subjects). Without one, introspected tokens of all users are
//! verified again, and JWTs that are verified locally stand.
//!
//! # Security
//!
//! No signal has an effect before its signature verifies. Signals make revocations faster. They do not replace
//! the bound of `max_age`: a sender may forget one, and one may be lost. The chapters on
//! [operations](crate::docs::operations#logouts-and-security-events) and
//! [security](crate::docs::security#m-receivers-of-logouts-and-security-events) say more.

mod answer;
mod applied;
mod backoff;
mod body;
pub(crate) mod by_hand;
pub(crate) mod event;
pub(crate) mod host;
mod intake;
pub(crate) mod issuers;
mod liveness;
pub(crate) mod logout;
mod pending;
mod received;
pub(crate) mod settling;
mod statement;
#[cfg(feature = "config")]
pub(crate) mod stream_task;
pub(crate) mod transmitter;

pub use self::{
    event::{
        push::EventService, receiver::EventReceiver, subject_id::SubjectId,
        transmitter::Transmitter,
    },
    logout::service::LogoutService,
    transmitter::{
        access::TransmitterAuth,
        error::{TransmitterError, TransmitterErrorKind},
        poll::Poller,
        stream::{EventStream, StreamStatus},
        stream_configuration::{DeliveryMethod, StreamConfiguration, StreamRequest},
        streams::{EventStreams, EventStreamsBuilder},
        verification::VerificationTask,
    },
};

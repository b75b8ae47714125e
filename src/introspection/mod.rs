//! Remote verification of tokens by introspection (RFC 7662).
//!
//! An [`IntrospectionVerifier`] sends the token to the introspection endpoint of the authorization
//! server and returns the claims in the response, if the token is active. It caches nothing: each
//! verification sends a request, so that it meets every
//! [`Freshness`](crate::verify::Freshness).
//!
//! Only the boolean `true` makes a token active. If the response names an issuer, it must be the
//! configured one. A member that is `null` counts as absent. As for every verifier, the
//! [`Policy`](crate::Policy) checks the times and the audience.
//!
//! A token that the response marks as a refresh token, an ID token or a security event is refused.
//! If the token is a JWT, so is one whose own text does: some servers call ID tokens active and
//! don't say so. Nothing else in the text counts.
//!
//! | response | outcome |
//! |---|---|
//! | 200, `"active": true` | the token's claims |
//! | 200, `"active": false` | [`Inactive`](crate::ErrorKind::Inactive) |
//! | 200, anything else; a redirect; another 4xx | [`BadResponse`](crate::ErrorKind::BadResponse) |
//! | 400 with `unsupported_token_type` | [`NotIntrospectable`](crate::ErrorKind::NotIntrospectable) |
//! | `invalid_client`, `unauthorized_client`; 401 with a challenge | [`CredentialsRejected`](crate::ErrorKind::CredentialsRejected) |
//! | 408, 429, 5xx, timeout | [`Unavailable`](crate::ErrorKind::Unavailable), with `Retry-After` where given |
//!
//! ```
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use tower_introspect::transport::HttpTransport;
//! use tower_introspect::{
//!     ClientAuth,
//!     credentials::Token,
//!     introspection::IntrospectionVerifier,
//!     verify::{Verifier, VerifyRequest},
//! };
//! # let transport = HttpTransport::new(tower::service_fn(async |request: Request<Bytes>| {
//! #     assert_eq!(request.body(), "token=2YotnFZFEjr1zCsicMWpAA");
//! #     Response::builder()
//! #         .header("content-type", "application/json")
//! #         .body(Bytes::from(r#"{"active": true, "sub": "alice", "aud": "https://api.example.com"}"#))
//! # }));
//!
//! let auth = ClientAuth::basic("api", "correct horse");
//! let verifier = IntrospectionVerifier::builder("https://as.example.com", auth)
//!     .endpoint("https://as.example.com/introspect")
//!     .transport(transport)
//!     .build()?;
//!
//! # tokio_test::block_on(async {
//! let token = Token::bearer("2YotnFZFEjr1zCsicMWpAA").unwrap();
//! let active = verifier.verify(VerifyRequest::new(token)).await?;
//! assert_eq!(active.claims().subject(), Some("alice"));
//! # Ok::<(), tower_introspect::VerifyError>(()) }).unwrap();
//! # Ok::<(), tower_introspect::ConfigError>(())
//! ```

#[cfg(feature = "jwt")]
mod assertion;
pub(crate) mod auth;
pub(crate) mod auth_method;
mod build;
pub(crate) mod builder;
mod exchange;
pub(crate) mod form;
mod response;
#[cfg(feature = "jwt")]
pub(crate) mod signed;
pub(crate) mod verifier;

#[cfg(feature = "jwt")]
#[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
pub use self::signed::SignedResponse;
pub use self::{builder::IntrospectionVerifierBuilder, verifier::IntrospectionVerifier};

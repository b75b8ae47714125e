//! Remote verification: asking the authorization server about each token (RFC 7662).
//!
//! [`IntrospectionVerifier`] sends the token to the introspection endpoint and takes over what the
//! server says of an active one. It remembers nothing: each verification is one question, so that
//! every [`Freshness`](crate::verify::Freshness) is met.
//!
//! Whatever the server says, only the boolean `true` makes a token active, a named issuer must be
//! the one that was asked, and what is called a refresh token, an ID token or a security event is
//! refused. Time and audience are the business of the [`Policy`](crate::Policy), as everywhere.
//!
//! | answer | outcome |
//! |---|---|
//! | 200, `"active": true` | the token's claims |
//! | 200, `"active": false` | [`Inactive`](ErrorKind::Inactive) |
//! | 200, anything else; a redirect; another status | [`BadResponse`](ErrorKind::BadResponse) |
//! | 400 with `unsupported_token_type` | [`NotIntrospectable`](ErrorKind::NotIntrospectable) |
//! | other 400, 401, 403 | [`CredentialsRejected`](ErrorKind::CredentialsRejected) |
//! | 429, 5xx, none in time | [`Unavailable`](ErrorKind::Unavailable), with `Retry-After` where given |
//!
//! ```
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use tower_introspect::http::HttpTransport;
//! use tower_introspect::{
//!     credentials::Token,
//!     introspection::{ClientAuth, IntrospectionVerifier},
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

#[cfg(all(feature = "jwt", feature = "_crypto"))]
mod assertion;
pub(crate) mod auth;
pub(crate) mod builder;
mod exchange;
mod form;
pub mod future;
mod response;
#[cfg(all(feature = "jwt", feature = "_crypto"))]
pub(crate) mod signed;

use std::{fmt, sync::Arc};

#[cfg(all(feature = "jwt", feature = "_crypto"))]
#[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
pub use self::signed::SignedResponse;
pub use self::{auth::ClientAuth, builder::IntrospectionVerifierBuilder};
use self::{exchange::Exchange, future::ResponseFuture};
#[cfg(doc)]
use crate::error::kind::ErrorKind;
use crate::{
    clock::Moment,
    error::refusal::VerifyError,
    verify::{Verifier, Verifying, readiness::Readiness, request::VerifyRequest},
};

/// A [`Verifier`] that asks the authorization server. See the [module docs](self).
///
/// # Clone
///
/// Clones share the transport, the metadata of the server and the budget for retries.
#[derive(Clone)]
pub struct IntrospectionVerifier {
    exchange: Arc<Exchange>,
}

impl IntrospectionVerifier {
    /// Starts to configure a verifier that asks `issuer`, and as whom.
    ///
    /// See the [module docs](self) for an example.
    pub fn builder(issuer: impl Into<String>, auth: ClientAuth) -> IntrospectionVerifierBuilder {
        IntrospectionVerifierBuilder::new(issuer.into(), auth)
    }

    /// Finds the introspection endpoint now, instead of with the first token.
    ///
    /// # Errors
    ///
    /// If the metadata of the server can't be had or names no such endpoint.
    pub async fn warm(&self) -> Result<(), VerifyError> {
        self.exchange.warm().await
    }

    /// Starts to find what is missing. Never waits.
    pub(crate) fn begin(&self) {
        self.exchange.begin();
    }

    /// Whether the introspection endpoint is known, and what is wrong if it can't be found; with
    /// [signed answers](IntrospectionVerifierBuilder::require_signed_response), also whether there
    /// are keys. Asks for nothing.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.exchange.readiness()
    }

    /// The issuer that is asked.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.exchange.issuer()
    }
}

impl Verifier for IntrospectionVerifier {
    type Future = ResponseFuture;

    fn verify(&self, request: VerifyRequest) -> Verifying<ResponseFuture> {
        let start = Moment::now(&self.exchange.clock);
        let exchange = Arc::clone(&self.exchange);
        Verifying::pending(ResponseFuture::new(async move {
            exchange.ask(request.token(), start).await
        }))
    }
}

impl fmt::Debug for IntrospectionVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionVerifier")
            .field("issuer", &self.issuer())
            .finish_non_exhaustive()
    }
}

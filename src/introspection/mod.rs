//! Remote verification of tokens by introspection (RFC 7662).
//!
//! An [`IntrospectionVerifier`] sends the token to the introspection endpoint of the authorization
//! server and returns the claims in the response, if the token is active. It caches nothing: each
//! verification sends a request, so that it meets every
//! [`Freshness`](crate::verify::Freshness).
//!
//! Only the boolean `true` makes a token active. If the response names an issuer, it must be the
//! configured one. A token that the response marks as a refresh token, an ID token or a security
//! event is refused. As for every verifier, the [`Policy`](crate::Policy) checks the times and the
//! audience.
//!
//! | response | outcome |
//! |---|---|
//! | 200, `"active": true` | the token's claims |
//! | 200, `"active": false` | [`Inactive`](ErrorKind::Inactive) |
//! | 200, anything else; a redirect; another status | [`BadResponse`](ErrorKind::BadResponse) |
//! | 400 with `unsupported_token_type` | [`NotIntrospectable`](ErrorKind::NotIntrospectable) |
//! | other 400, 401, 403 | [`CredentialsRejected`](ErrorKind::CredentialsRejected) |
//! | 429, 5xx, timeout | [`Unavailable`](ErrorKind::Unavailable), with `Retry-After` where given |
//!
//! ```
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use tower_introspect::transport::HttpTransport;
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

/// A [`Verifier`] that introspects each token. See the [module docs](self).
///
/// # Clone
///
/// Clones share the transport, the metadata of the server and the retry budget.
#[derive(Clone)]
pub struct IntrospectionVerifier {
    exchange: Arc<Exchange>,
}

impl IntrospectionVerifier {
    /// Returns a builder of a verifier that introspects tokens at `issuer` and authenticates with
    /// `auth`.
    ///
    /// See the [module docs](self) for an example.
    pub fn builder(issuer: impl Into<String>, auth: ClientAuth) -> IntrospectionVerifierBuilder {
        IntrospectionVerifierBuilder::new(issuer.into(), auth)
    }

    /// Discovers the introspection endpoint now, so that the first request does not wait for it.
    ///
    /// # Errors
    ///
    /// Returns an error if the metadata of the server can't be fetched or names no introspection
    /// endpoint, or if that endpoint offers no method for the client secret.
    ///
    /// # Cancellation
    ///
    /// Dropping the future stops the waiting, not the fetch of the metadata.
    pub async fn warm(&self) -> Result<(), VerifyError> {
        self.exchange.warm().await
    }

    /// Starts to fetch missing metadata and keys, without waiting.
    pub(crate) fn begin(&self) {
        self.exchange.begin();
    }

    /// Returns whether the introspection endpoint is known, and the error if it can't be
    /// discovered. Sends nothing.
    ///
    /// With [signed responses](IntrospectionVerifierBuilder::require_signed_response), the verifier
    /// is ready only if it also has keys.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.exchange.readiness()
    }

    /// Returns the issuer whose introspection endpoint is used.
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

//! The verifier that introspects tokens at one issuer.

use std::{fmt, sync::Arc};

use super::exchange::Exchange;
use crate::{
    clock::Moment,
    error::refusal::VerifyError,
    verify::{
        boxed::BoxFuture,
        readiness::Readiness,
        request::VerifyRequest,
        verifier::{Verifier, Verifying},
    },
};
#[cfg(feature = "_crypto")]
use crate::{
    transport::{common::Location, endpoint::Endpoint},
    upstream::guard::verifier::Target,
};

/// A [`Verifier`] that introspects each token. See the [module docs](super).
///
/// # Clone
///
/// Clones share the transport and the metadata of the server.
///
/// # Cancellation
///
/// Dropping the future of a verification drops the request to the authorization server. No other
/// caller waits for that request. A fetch of metadata or keys continues.
#[derive(Clone)]
pub struct IntrospectionVerifier {
    pub(super) exchange: Arc<Exchange>,
}

impl IntrospectionVerifier {
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
    pub(crate) fn start_fetching(&self) {
        self.exchange.start_fetching();
    }

    /// Returns whether the introspection endpoint is known, and the error if it can't be
    /// discovered. Sends nothing.
    ///
    /// With [signed responses](super::IntrospectionVerifierBuilder::require_signed_response), the
    /// verifier is ready only if it also has keys.
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

#[cfg(feature = "_crypto")]
impl IntrospectionVerifier {
    /// Returns the server that is asked.
    pub(crate) fn target(&self) -> Target {
        let Exchange { issuer, location, timeout, canary_token, .. } = &*self.exchange;
        let origin = match location {
            Location::Fixed(endpoint) => endpoint.origin(),
            // Its metadata may name another host, which is not known yet.
            Location::Discovered(_) => origin_of(issuer),
        };
        Target {
            origin,
            issuer: Arc::clone(issuer),
            timeout: *timeout,
            canary_token: canary_token.clone(),
        }
    }
}

/// Returns the scheme, host and port of an issuer, or the whole identifier if it is no URL.
#[cfg(feature = "_crypto")]
fn origin_of(issuer: &str) -> String {
    Endpoint::parse(issuer, true).map_or_else(|_| issuer.to_owned(), |url| url.origin())
}

impl Verifier for IntrospectionVerifier {
    type Future = BoxFuture;

    fn verify(&self, request: VerifyRequest) -> Verifying<BoxFuture> {
        let start = Moment::now(&self.exchange.clock);
        let exchange = Arc::clone(&self.exchange);
        Verifying::pending(BoxFuture::new(async move {
            exchange.introspect(request.token(), start).await
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

//! A resource server: its verifiers, policy and metadata.

use std::{fmt, sync::Arc};

#[cfg(feature = "jwt")]
use super::tenants::registry::Tenants;
use super::{metadata::document::Document, trusted::TrustedIssuer};
#[cfg(feature = "cache")]
use crate::credentials::token::Token;
#[cfg(feature = "_crypto")]
use crate::lease::leases::Leases;
use crate::{
    clock::Clock,
    credentials::extract::Extractor,
    error::refusal::VerifyError,
    layer::{forward::headers::ForwardHeaders, introspect_layer::IntrospectLayer},
    policy::settings::Policy,
    respond::{hook::RefusalHook, responder::Auto},
    revocation::{feed::FeedState, revocations::Revocations},
    verify::{
        boxed::BoxVerifier, peer::PeerFn, readiness::Readiness, request::Freshness, stats::Stats,
    },
};
#[cfg(feature = "signals")]
use crate::{
    signals::{host::Receivers, settling::Settling},
    transport::common::CommonSettings,
};

/// A resource server: its audience, the issuers it trusts, and the policy for their tokens.
///
/// See the [module docs](super) for an example.
///
/// # Clone
///
/// Clones share everything: key sets, connections, metadata, cache entries and cutoffs.
///
/// # Type parameter
///
/// `R` is the responder, which [`ResourceServerBuilder::responder`] sets.
///
/// [`ResourceServerBuilder::responder`]: crate::resource_server::ResourceServerBuilder::responder
pub struct ResourceServer<R = Auto>(pub(super) Arc<Parts>, pub(super) Arc<R>);

pub(super) struct Parts {
    pub(super) verifier: BoxVerifier,
    pub(super) policy: Policy,
    pub(super) extractor: Extractor,
    pub(super) freshness: Freshness,
    pub(super) peer: Option<Arc<PeerFn>>,
    pub(super) hook: Option<RefusalHook>,
    pub(super) log_subjects: bool,
    /// Labels the metrics.
    pub(super) audience: Arc<str>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) forward: Option<ForwardHeaders>,
    pub(super) metadata: Option<Arc<Document>>,
    pub(super) issuers: Vec<TrustedIssuer>,
    pub(super) revocations: Revocations,
    #[cfg(feature = "_crypto")]
    pub(super) leases: Leases,
    #[cfg(feature = "signals")]
    pub(super) receivers: Receivers,
    #[cfg(feature = "signals")]
    pub(super) settling: Settling,
    /// The settings of requests to transmitters of security events.
    #[cfg(feature = "signals")]
    pub(super) outbound: CommonSettings,
    /// True if `outbound` has the transport that the builder was given.
    #[cfg(all(feature = "signals", feature = "config"))]
    pub(super) has_given_transport: bool,
    #[cfg(feature = "jwt")]
    pub(super) tenants: Option<Tenants>,
}

impl<R> ResourceServer<R> {
    /// Returns a layer that verifies the token of each request.
    ///
    /// All layers of one resource server share its keys and connections.
    #[must_use]
    pub fn layer(&self) -> IntrospectLayer<BoxVerifier, R> {
        self.layer_with(self.policy())
    }

    /// Returns the same layer with another policy.
    pub(super) fn layer_with(&self, policy: Policy) -> IntrospectLayer<BoxVerifier, R> {
        let mut layer = IntrospectLayer::new(self.verifier(), policy)
            .shared_responder(Arc::clone(&self.1))
            .extractor(self.0.extractor.clone())
            .freshness(self.0.freshness);
        if let Some(peer) = self.0.peer.clone() {
            layer = layer.peer_fn(move |head| peer(head));
        }
        if let Some(hook) = &self.0.hook {
            layer = layer.refusal_hook(hook.clone());
        }
        if self.0.log_subjects {
            layer = layer.log_subjects();
        }
        match self.forward_headers() {
            Some(headers) => layer.forward(headers.clone()),
            None => layer,
        }
    }

    /// Returns the headers that verified claims are written into, if any were set.
    #[must_use]
    pub fn forward_headers(&self) -> Option<&ForwardHeaders> {
        self.0.forward.as_ref()
    }

    /// Returns the verifier of the tokens of all trusted issuers, to compose layers by hand.
    #[must_use]
    pub fn verifier(&self) -> BoxVerifier {
        self.0.verifier.clone()
    }

    /// Returns the policy that every token must satisfy.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.0.policy.clone()
    }

    /// Returns the cutoffs that every token is checked against.
    ///
    /// Call [`Revocations::revoke`] on them for each logout or revocation that this process learns
    /// of.
    ///
    /// ```no_run
    /// use tower_introspect::{ResourceServer, revocation::Cutoff};
    ///
    /// # fn run(api: ResourceServer) {
    /// // Alice logged out. From the next request on, JWTs issued to her until now are refused,
    /// // and her other tokens are introspected again.
    /// api.revocations().revoke(&Cutoff::subject("https://as.example.com", "alice"));
    /// # }
    /// ```
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.0.revocations
    }

    /// Returns whether this instance knows the cutoffs of the others, or `None` if it shares none
    /// ([`shared`](crate::resource_server::ResourceServerBuilder::shared)).
    #[must_use]
    pub fn feed_state(&self) -> Option<FeedState> {
        self.0.revocations.feed_state()
    }

    /// Returns the counters of caching, coalescing and circuit breaking, summed over all issuers.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let all =
            self.0.issuers.iter().map(TrustedIssuer::stats).fold(Stats::default(), Stats::merge);
        #[cfg(feature = "jwt")]
        if let Some(tenants) = &self.0.tenants {
            return all.merge(tenants.stats());
        }
        all
    }

    /// Returns the counters of one issuer, or `None` if the issuer is neither configured nor
    /// currently resolved.
    #[must_use]
    pub fn issuer_stats(&self, issuer: &str) -> Option<Stats> {
        let named = self.0.issuers.iter().find(|trusted| trusted.name() == issuer);
        #[cfg(feature = "jwt")]
        if let (None, Some(tenants)) = (named, &self.0.tenants) {
            return tenants.stats_of(issuer);
        }
        named.map(TrustedIssuer::stats)
    }

    /// Removes a token from the cache, so that it is verified again. Returns true if it was cached.
    ///
    /// If it has open streams, it is verified again at once.
    ///
    /// To handle a revocation, prefer [`revocations`](Self::revocations): a cutoff also applies to
    /// verifications that are under way.
    #[cfg(feature = "cache")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
    pub fn evict(&self, token: &Token) -> bool {
        let issuers = self.0.issuers.iter();
        let evicted = issuers.filter(|trusted| trusted.evict(token)).count() > 0;
        #[cfg(feature = "jwt")]
        let evicted =
            self.0.tenants.as_ref().is_some_and(|tenants| tenants.evict(token)) || evicted;
        #[cfg(feature = "_crypto")]
        self.0.leases.recheck(token);
        evicted
    }

    /// Returns the readiness of each issuer. Fetches nothing.
    ///
    /// An issuer is ready if everything that its tokens are verified with is available. The result
    /// covers the issuers given to the builder, in their order, but not those that a resolver
    /// found. See [`readiness_service`](Self::readiness_service) for load balancers.
    ///
    /// ```
    /// use tower_introspect::{Issuer, ResourceServer, jose::Algorithm, jwt::KeySet};
    ///
    /// let keys = KeySet::from_secret(Algorithm::HS256, &[7; 32])?;
    /// let given = Issuer::jwt("https://as.example.com").configure_jwt(|jwt| jwt.keys(keys));
    /// let api = ResourceServer::builder("https://api.example.com").issuer(given).build()?;
    /// assert!(api.readiness().iter().all(|issuer| issuer.is_ready()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn readiness(&self) -> Vec<Readiness> {
        self.0.readiness()
    }

    /// Fetches the metadata and keys of all issuers now, instead of with the first token.
    ///
    /// A service need not wait for this. Without it, and after it failed, everything that is
    /// missing is fetched when it is needed.
    ///
    /// # Errors
    ///
    /// Returns an error if an issuer could not be reached or sent an invalid response. The other
    /// issuers are ready all the same.
    ///
    /// # Cancellation
    ///
    /// Dropping the future stops the waiting, not the fetches.
    pub async fn warm(&self) -> Result<(), VerifyError> {
        let all = self.0.issuers.iter().map(TrustedIssuer::warm);
        futures_util::future::join_all(all).await.into_iter().collect()
    }
}

impl Parts {
    pub(super) fn readiness(&self) -> Vec<Readiness> {
        let each = self.issuers.iter().map(TrustedIssuer::readiness);
        #[cfg(feature = "signals")]
        let each = each.map(|readiness| {
            let signals = self.receivers.state_for(readiness.issuer());
            readiness.with_signals(signals)
        });
        each.collect()
    }
}

impl<R> Clone for ResourceServer<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), Arc::clone(&self.1))
    }
}

impl<R> fmt::Debug for ResourceServer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceServer")
            .field("policy", &self.policy)
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

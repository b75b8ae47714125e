//! The facade: who this service is, whom it trusts, and the parts that follow from it.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use tower_introspect::{
//!     ClientAuth, Issuer, RequireScope, ResourceServer, VerifiedToken,
//! };
//!
//! async fn list(token: VerifiedToken) -> String {
//!     format!("payments of {:?}", token.subject())
//! }
//!
//! # async fn run(secret: String) -> Result<(), Box<dyn std::error::Error>> {
//! let api = ResourceServer::builder("https://api.example.com")
//!     .issuer(Issuer::jwt("https://as.example.com"))
//!     .issuer(Issuer::introspect("https://opaque.example.com", ClientAuth::basic("api", secret)))
//!     .build()?;
//! api.warm().await?;
//!
//! let app: Router = Router::new()
//!     .route("/payments", get(list).route_layer(RequireScope::all(["read:payments"])))
//!     .layer(api.layer());
//! # Ok(()) }
//! ```

mod builder;
#[cfg(all(feature = "config", feature = "_crypto"))]
#[cfg_attr(docsrs, doc(cfg(feature = "config")))]
pub mod config;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
mod export;
mod fresh;
mod issuer;
pub mod metadata;
pub mod readiness;
mod stack;
#[cfg(all(feature = "jwt", feature = "_crypto"))]
mod tenants;

use std::{fmt, sync::Arc};

#[cfg(all(feature = "config", feature = "_crypto"))]
pub use self::config::Config;
#[cfg(all(feature = "jwt", feature = "_crypto"))]
#[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
pub use self::tenants::IssuerResolver;
#[cfg(all(feature = "jwt", feature = "_crypto"))]
use self::tenants::Tenants;
pub use self::{
    builder::ResourceServerBuilder, fresh::RequireFresh, issuer::Issuer,
    metadata::settings::ProtectedResourceMetadata, readiness::ReadinessService,
};
use self::{issuer::Trusted, metadata::document::Document};
#[cfg(all(feature = "cache", feature = "_crypto"))]
use crate::credentials::Token;
use crate::{
    clock::Clock,
    credentials::extract::Extractor,
    error::refusal::VerifyError,
    layer::{IntrospectLayer, PeerOf, forward::ForwardHeaders},
    policy::Policy,
    respond::hook::RefusalHook,
    revocation::Revocations,
    verify::{boxed::BoxVerifier, readiness::Readiness, request::Freshness, stats::Stats},
};

/// A resource server: an audience, the issuers it trusts, and what it asks of their tokens.
///
/// See the [module docs](self) for an example.
///
/// # Clone
///
/// Clones share everything: keys, connections, metadata, memory, cutoffs.
#[derive(Clone)]
pub struct ResourceServer(Arc<Inner>);

struct Inner {
    verifier: BoxVerifier,
    policy: Policy,
    extractor: Extractor,
    freshness: Freshness,
    peer: Option<Arc<PeerOf>>,
    hook: Option<RefusalHook>,
    log_subjects: bool,
    /// The audience.
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    forward: Option<ForwardHeaders>,
    metadata: Option<Arc<Document>>,
    issuers: Vec<Trusted>,
    revocations: Revocations,
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
    tenants: Option<Tenants>,
}

impl ResourceServer {
    /// Starts to configure a service that is the audience `audience`: its resource identifier,
    /// usually its URL (RFC 8707 §2).
    ///
    /// ```
    /// use tower_introspect::ResourceServer;
    ///
    /// // Nobody is trusted, so there is nothing to build.
    /// let problems = ResourceServer::builder("https://api.example.com").build().unwrap_err();
    /// assert_eq!(problems.to_string(), "issuer: no issuer is trusted");
    /// ```
    pub fn builder(audience: impl Into<String>) -> ResourceServerBuilder {
        ResourceServerBuilder::new(audience.into())
    }

    /// The middleware. All layers of one resource server share its keys and connections.
    #[must_use]
    pub fn layer(&self) -> IntrospectLayer<BoxVerifier> {
        let mut layer = IntrospectLayer::new(self.verifier(), self.policy())
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
        match self.forwarded() {
            Some(headers) => layer.forward(headers.clone()),
            None => layer,
        }
    }

    /// The headers in which requests tell what was verified, if any were set.
    #[must_use]
    pub fn forwarded(&self) -> Option<&ForwardHeaders> {
        self.0.forward.as_ref()
    }

    /// What verifies the tokens of all trusted issuers, for those who compose by hand.
    #[must_use]
    pub fn verifier(&self) -> BoxVerifier {
        self.0.verifier.clone()
    }

    /// What is asked of every token.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.0.policy.clone()
    }

    /// The cutoffs that every token is held against: where logouts and revocations are made known that
    /// this process hears of.
    ///
    /// ```no_run
    /// use tower_introspect::{ResourceServer, verify::Cutoff};
    ///
    /// # fn run(api: ResourceServer) {
    /// // Alice logged out. With the next request, JWTs that were issued to her until now are refused,
    /// // and the authorization server is asked anew about her other tokens.
    /// api.revocations().revoke(&Cutoff::subject("https://as.example.com", "alice"));
    /// # }
    /// ```
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.0.revocations
    }

    /// What caching, coalescing and breaking have come to so far, all issuers together.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let all = self.0.issuers.iter().map(Trusted::stats).fold(Stats::default(), Stats::merge);
        #[cfg(all(feature = "jwt", feature = "_crypto"))]
        if let Some(tenants) = &self.0.tenants {
            return all.merge(tenants.stats());
        }
        all
    }

    /// The same for one issuer, if it is trusted and known.
    #[must_use]
    pub fn issuer_stats(&self, issuer: &str) -> Option<Stats> {
        let named = self.0.issuers.iter().find(|trusted| trusted.name() == issuer);
        #[cfg(all(feature = "jwt", feature = "_crypto"))]
        if let (None, Some(tenants)) = (named, &self.0.tenants) {
            return tenants.stats_of(issuer);
        }
        named.map(Trusted::stats)
    }

    /// Forgets what is remembered of a token, which is then verified anew; says whether there was
    /// anything.
    ///
    /// For a revocation, [`revocations`](Self::revocations) does more: it also stops answers on their
    /// way.
    #[cfg(all(feature = "cache", feature = "_crypto"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "cache")))]
    pub fn evict(&self, token: &Token) -> bool {
        let issuers = self.0.issuers.iter();
        let evicted = issuers.filter(|trusted| trusted.evict(token)).count() > 0;
        #[cfg(feature = "jwt")]
        if let Some(tenants) = &self.0.tenants {
            return tenants.evict(token) || evicted;
        }
        evicted
    }

    /// Whether what the tokens of each issuer are verified with is there. Fetches nothing.
    ///
    /// Of the issuers given to the builder, in their order; not of those that a resolver found. See
    /// [`readiness_service`](Self::readiness_service) for load balancers.
    ///
    /// ```
    /// use tower_introspect::{Issuer, ResourceServer, jwt::{Algorithm, KeySet}};
    ///
    /// let keys = KeySet::from_secret(Algorithm::HS256, &[7; 32])?;
    /// let given = Issuer::jwt("https://as.example.com").configure_jwt(|jwt| jwt.keys(keys));
    /// let api = ResourceServer::builder("https://api.example.com").issuer(given).build()?;
    /// assert!(api.readiness().iter().all(|issuer| issuer.is_ready()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn readiness(&self) -> Vec<Readiness> {
        self.0.issuers.iter().map(Trusted::readiness).collect()
    }

    /// Fetches the metadata and keys of all issuers now, instead of with the first token.
    ///
    /// A service need not wait for this: without it, and after it failed, what is missing is
    /// fetched when it is needed.
    ///
    /// # Errors
    ///
    /// If any issuer could not be reached or answered nonsense; the others are ready all the same.
    pub async fn warm(&self) -> Result<(), VerifyError> {
        let all = self.0.issuers.iter().map(Trusted::warm);
        futures_util::future::join_all(all).await.into_iter().collect()
    }
}

impl fmt::Debug for ResourceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceServer")
            .field("policy", &self.0.policy)
            .field("issuers", &self.0.issuers)
            .finish_non_exhaustive()
    }
}

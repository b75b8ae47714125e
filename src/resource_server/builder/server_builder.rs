//! The builder of a resource server.

use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "_crypto")]
use crate::lease::leases::DEFAULT_CAPACITY;
#[cfg(feature = "jwt")]
use crate::resource_server::tenants::resolver::IssuerResolver;
use crate::{
    clock::{Clock, SystemClock},
    credentials::{extract::Extractor, head::RequestHead},
    layer::forward::headers::ForwardHeaders,
    policy::{settings::Policy, verified_token::Requirement},
    resource_server::{
        issuer::Issuer, metadata::settings::ProtectedResourceMetadata, server::ResourceServer,
        shared::SharedTier, stack::Settings,
    },
    respond::{hook::RefusalHook, refusal::Refusal, responder::Auto},
    revocation::revocations::Revocations,
    transport::http_transport::HttpTransport,
    upstream::budget::MissBudgetLayer,
    verify::{
        peer::{PeerFn, PeerKey},
        request::Freshness,
    },
};

/// A builder that configures a [`ResourceServer`].
#[must_use = "a builder does nothing until built"]
pub struct ResourceServerBuilder<R = Auto> {
    pub(super) responder: Arc<R>,
    pub(super) audience: String,
    pub(super) policy: Policy,
    pub(super) issuers: Vec<Issuer>,
    pub(super) extractor: Extractor,
    pub(super) freshness: Freshness,
    pub(super) forward: Option<ForwardHeaders>,
    pub(super) metadata: Option<ProtectedResourceMetadata>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) transport: Option<HttpTransport>,
    pub(super) loopback_http: bool,
    pub(super) stack: Settings,
    pub(super) peer: Option<Arc<PeerFn>>,
    pub(super) hook: Option<RefusalHook>,
    pub(super) log_subjects: bool,
    pub(super) own_revocations: bool,
    pub(super) shared: Option<Arc<dyn SharedTier>>,
    #[cfg(feature = "_crypto")]
    pub(super) max_streams: usize,
    #[cfg(feature = "jwt")]
    pub(super) resolver: Option<IssuerResolver>,
}

impl ResourceServer {
    /// Creates a builder for a resource server with the audience `audience`: its resource
    /// identifier, usually its URL (RFC 8707 §2).
    ///
    /// ```
    /// use tower_introspect::ResourceServer;
    ///
    /// // No issuer is trusted, so there is nothing to build.
    /// let problems = ResourceServer::builder("https://api.example.com").build().unwrap_err();
    /// assert_eq!(problems.to_string(), "issuer: no issuer is trusted");
    /// ```
    pub fn builder(audience: impl Into<String>) -> ResourceServerBuilder {
        ResourceServerBuilder::new(audience.into())
    }
}

impl ResourceServerBuilder {
    pub(crate) fn new(audience: String) -> Self {
        Self {
            responder: Arc::new(Auto::new()),
            policy: Policy::new(&audience),
            audience,
            issuers: Vec::new(),
            extractor: Extractor::new(),
            freshness: Freshness::Cached,
            forward: None,
            metadata: None,
            clock: Arc::new(SystemClock),
            transport: None,
            loopback_http: false,
            stack: Settings::default(),
            peer: None,
            hook: None,
            log_subjects: false,
            own_revocations: true,
            shared: None,
            #[cfg(feature = "_crypto")]
            max_streams: DEFAULT_CAPACITY,
            #[cfg(feature = "jwt")]
            resolver: None,
        }
    }
}

impl<R> ResourceServerBuilder<R> {
    /// Adds an issuer to trust.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// Sets a resolver, whose issuers are trusted as well.
    #[cfg(feature = "jwt")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    pub fn resolve_issuers(mut self, resolver: IssuerResolver) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Changes the policy for every token: further audiences, leeway, requirements, the content of
    /// challenges.
    ///
    /// ```
    /// use tower_introspect::{ResourceServer, policy::Requirement};
    ///
    /// let builder = ResourceServer::builder("https://api.example.com").policy(|policy| {
    ///     policy.or_audience("api").require(Requirement::all_scopes(["api"]))
    /// });
    /// # let _ = builder;
    /// ```
    pub fn policy(mut self, change: impl FnOnce(Policy) -> Policy) -> Self {
        self.policy = change(self.policy);
        self
    }

    /// Adds a requirement for every token. There are [others for routes and
    /// handlers](crate::docs::layers#which-requirement-to-write).
    pub fn require(self, requirement: Requirement) -> Self {
        self.policy(|policy| policy.require(requirement))
    }

    /// Admits tokens that are bound to a key by DPoP. See [`Policy::dpop`].
    ///
    /// ```
    /// use tower_introspect::{ResourceServer, proof::Dpop};
    ///
    /// let builder = ResourceServer::builder("https://api.example.com")
    ///     .dpop(Dpop::new("https://api.example.com")?.require_nonce());
    /// # let _ = builder;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    #[cfg(feature = "dpop")]
    #[cfg_attr(docsrs, doc(cfg(feature = "dpop")))]
    pub fn dpop(self, dpop: crate::proof::dpop::settings::Dpop) -> Self {
        self.policy(|policy| policy.dpop(dpop))
    }

    /// Admits tokens that are bound to a client certificate. See [`Policy::mtls`].
    ///
    /// ```
    /// use tower_introspect::{ResourceServer, proof::Mtls};
    ///
    /// let builder = ResourceServer::builder("https://api.example.com").mtls(Mtls::new());
    /// # let _ = builder;
    /// ```
    #[cfg(feature = "mtls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "mtls")))]
    pub fn mtls(self, mtls: crate::proof::mtls::settings::Mtls) -> Self {
        self.policy(|policy| policy.mtls(mtls))
    }

    /// Refuses tokens that are not bound to a key. See [`Policy::require_binding`].
    pub fn require_binding(self) -> Self {
        self.policy(Policy::require_binding)
    }

    /// Sets the leeway for the clocks of issuers. See [`Policy::leeway`].
    pub fn leeway(self, leeway: Duration) -> Self {
        self.policy(|policy| policy.leeway(leeway))
    }

    /// Sets the longest lifetime of a token, from `iat` to `exp`. Cutoffs then end.
    ///
    /// A token that lives longer is refused, and so is one without `iat` or `exp`. So a cutoff
    /// ([`ResourceServer::revocations`]) is needed only until every token that it covers has
    /// expired. Without this setting cutoffs do not end.
    ///
    /// Cutoffs that are set by [`revocations`](Self::revocations) have a setting of their own
    /// ([`Revocations::max_token_lifetime`]); tokens must meet both.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_introspect::ResourceServer;
    ///
    /// let builder = ResourceServer::builder("https://api.example.com")
    ///     .max_token_lifetime(Duration::from_secs(3600));
    /// # let _ = builder;
    /// ```
    pub fn max_token_lifetime(self, longest: Duration) -> Self {
        self.policy(|policy| policy.max_token_lifetime(longest))
    }

    /// Sets where tokens are taken from. A layer may override it.
    pub fn extractor(mut self, extractor: Extractor) -> Self {
        self.extractor = extractor;
        self
    }

    /// Describes this service to clients (RFC 9728), and names the URL of that document in
    /// challenges.
    ///
    /// The audience must be the https URL under which clients know this service. See
    /// [`metadata`](crate::resource_server::metadata) for how to serve the document.
    ///
    /// ```
    /// use tower_introspect::ResourceServer;
    ///
    /// let builder = ResourceServer::builder("https://api.example.com/mcp")
    ///     .metadata(|about| about.scopes_supported(["mcp:read", "mcp:write"]))
    ///     // The scope that challenges tell a client without a token to request.
    ///     .policy(|policy| policy.advertise_scope("mcp:read"));
    /// # let _ = builder;
    /// ```
    pub fn metadata(
        mut self,
        describe: impl FnOnce(ProtectedResourceMetadata) -> ProtectedResourceMetadata,
    ) -> Self {
        let metadata = self.metadata.unwrap_or_else(ProtectedResourceMetadata::new);
        self.metadata = Some(describe(metadata));
        self
    }

    /// Sets how recently tokens must have been verified. A layer may override it.
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Writes verified claims into these request headers, in all layers of this resource server.
    /// See [`IntrospectLayer::forward`](crate::IntrospectLayer::forward).
    ///
    /// # Security
    ///
    /// Headers of these names that a client sends are removed from every request.
    pub fn forward(mut self, headers: ForwardHeaders) -> Self {
        self.forward = Some(headers);
        self
    }

    /// Sets the maximum number of concurrent introspections at each server: at all issuers under
    /// one scheme, host and port together. 64 by default.
    ///
    /// Half of them are for tokens that the server called active within the last ten minutes, which
    /// may take any free one. The other half is for unknown tokens, in shares of peers if
    /// [`miss_budget`](Self::miss_budget) tells peers apart. An introspection beyond the limit waits
    /// for a quarter of the timeout, and is then refused as
    /// [`Unavailable`](crate::ErrorKind::Unavailable).
    pub fn max_concurrent_introspections(mut self, limit: usize) -> Self {
        self.stack.limit_introspections(limit);
        self
    }

    /// Sets the maximum number of streams that are open under a lease. 100 000 by default.
    ///
    /// See [`Leases::capacity`](crate::stream::Leases::capacity).
    #[cfg(feature = "_crypto")]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))))]
    pub const fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// Limits the introspections of bad tokens that each peer may cause, over all issuers.
    ///
    /// `peer` returns the key of the peer that sent a request. A request without a key is not
    /// limited. There is no limit by default. See [`MissBudgetLayer`].
    ///
    /// ```
    /// use std::{net::SocketAddr, time::Duration};
    /// use axum::extract::ConnectInfo;
    /// use tower_introspect::{ResourceServer, upstream::MissBudgetLayer, verify::PeerKey};
    ///
    /// let budget = MissBudgetLayer::new(20, Duration::from_secs(1));
    /// let builder = ResourceServer::builder("https://api.example.com").miss_budget(budget, |head| {
    ///     let ConnectInfo(address) = head.extension::<ConnectInfo<SocketAddr>>()?;
    ///     Some(PeerKey::address(address.ip()))
    /// });
    /// # let _ = builder;
    /// ```
    pub fn miss_budget<F>(mut self, budget: MissBudgetLayer, peer: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Option<PeerKey> + Send + Sync + 'static,
    {
        self.stack.budget = Some(budget);
        self.peer = Some(Arc::new(peer));
        self
    }

    /// Calls `hook` once for each request that is refused, by any layer of this resource server or
    /// by requirements inside of it.
    ///
    /// See [`IntrospectLayer::on_refusal`](crate::IntrospectLayer::on_refusal) for what the hook
    /// may do.
    ///
    /// ```
    /// use tower_introspect::{Blame, ResourceServer, respond::Refusal};
    ///
    /// let builder = ResourceServer::builder("https://api.example.com").on_refusal(
    ///     |refusal: &Refusal<'_>| {
    ///         if refusal.error().blame() == Blame::ResourceServer {
    ///             // Alert the operators.
    ///         }
    ///     },
    /// );
    /// # let _ = builder;
    /// ```
    pub fn on_refusal<F>(mut self, hook: F) -> Self
    where
        F: Fn(&Refusal<'_>) + Send + Sync + 'static,
    {
        self.hook = Some(RefusalHook::new(hook));
        self
    }

    /// Includes the subject of tokens in events and spans.
    ///
    /// See [`IntrospectLayer::log_subjects`](crate::IntrospectLayer::log_subjects), also for its
    /// effect on privacy.
    pub fn log_subjects(mut self) -> Self {
        self.log_subjects = true;
        self
    }

    /// Checks tokens against these cutoffs, which other resource servers may share.
    ///
    /// By default each resource server has cutoffs of its own. See [`ResourceServer::revocations`].
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.stack.revocations = revocations;
        self.own_revocations = false;
        self
    }

    /// Shares used proofs and cutoffs with the other instances of this service.
    ///
    /// A store of proofs that was set by [`Dpop::replay_store`](crate::proof::Dpop::replay_store) stays.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tower_introspect::{ResourceServer, proof::ReplayStore, resource_server::SharedTier};
    ///
    /// struct Proofs(Arc<dyn ReplayStore>);
    ///
    /// impl SharedTier for Proofs {
    ///     fn replay_store(&self) -> Option<Arc<dyn ReplayStore>> {
    ///         Some(Arc::clone(&self.0))
    ///     }
    /// }
    ///
    /// fn builder(store: Arc<dyn ReplayStore>) -> tower_introspect::resource_server::ResourceServerBuilder {
    ///     ResourceServer::builder("https://api.example.com").shared(Proofs(store))
    /// }
    /// # let _ = builder;
    /// ```
    pub fn shared(mut self, tier: impl SharedTier) -> Self {
        self.shared = Some(Arc::new(tier));
        self
    }

    /// Sets the clock of all parts. The system clock by default.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the transport that reaches authorization servers.
    ///
    /// With the feature `reqwest` the default is a pooled client with safe settings. Without it
    /// there is no default.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Accepts `http` URLs of this machine, for tests.
    ///
    /// # Security
    ///
    /// Tokens and credentials then travel unencrypted to any process that listens on that port.
    pub fn danger_allow_http_loopback(mut self) -> Self {
        self.loopback_http = true;
        self
    }
}

impl<R> fmt::Debug for ResourceServerBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceServerBuilder")
            .field("policy", &self.policy)
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

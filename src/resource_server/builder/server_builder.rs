//! The builder of a resource server.

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer as _;

#[cfg(feature = "jwt")]
use crate::resource_server::{issuer::routed, tenants::IssuerResolver};
use crate::{
    clock::{Clock, SystemClock},
    credentials::{extract::Extractor, head::RequestHead},
    error::config::ConfigError,
    layer::{forward::headers::ForwardHeaders, settings::PeerOf},
    policy::{admitted::Requirement, terms::Policy},
    resource_server::{
        fresh::never_live,
        issuer::{Defaults, Issuer, Trusted, verifier_of},
        metadata::{
            document::{Document, Known},
            settings::ProtectedResourceMetadata,
        },
        server::{Parts, ResourceServer},
        stack::Settings,
    },
    respond::{hook::RefusalHook, refusal::Refusal},
    revocation::{layer::RevocationLayer, revocations::Revocations},
    transport::http_transport::HttpTransport,
    upstream::{budget::MissBudgetLayer, bulkhead::BulkheadLayer},
    verify::{boxed::BoxVerifier, peer::PeerKey, request::Freshness},
};

/// A builder that configures a [`ResourceServer`].
#[must_use = "a builder does nothing until built"]
pub struct ResourceServerBuilder {
    audience: String,
    policy: Policy,
    issuers: Vec<Issuer>,
    extractor: Extractor,
    freshness: Freshness,
    forward: Option<ForwardHeaders>,
    metadata: Option<ProtectedResourceMetadata>,
    clock: Arc<dyn Clock>,
    transport: Option<HttpTransport>,
    loopback_http: bool,
    pub(super) stack: Settings,
    peer: Option<Arc<PeerOf>>,
    hook: Option<RefusalHook>,
    log_subjects: bool,
    own_revocations: bool,
    #[cfg(feature = "jwt")]
    resolver: Option<IssuerResolver>,
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
            #[cfg(feature = "jwt")]
            resolver: None,
        }
    }

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

    /// Sets the maximum number of concurrent introspections per issuer. 64 by default.
    ///
    /// An introspection beyond the limit is refused at once, as
    /// [`Unavailable`](crate::ErrorKind::Unavailable).
    pub fn max_concurrent_introspections(mut self, limit: usize) -> Self {
        self.stack.bulkhead = BulkheadLayer::new(limit);
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

    /// Builds the resource server. Sends no request.
    ///
    /// # Errors
    ///
    /// Returns every problem of the settings, each with the name of its setting.
    pub fn build(mut self) -> Result<ResourceServer, ConfigError> {
        let mut problems = ConfigError::new();
        self.check(&mut problems);
        let metadata = self.document(&mut problems);
        if let Some(document) = &metadata {
            self.policy = self.policy.resource_metadata(document.url());
        }
        if self.own_revocations {
            self.stack.revocations = Revocations::new().clock(Arc::clone(&self.clock));
        }
        let (settings, defaults) = (self.stack.clone(), self.defaults(&mut problems));
        let issuers = trusted(self.issuers, &defaults, &mut problems);
        let remembering = |route| settings.remember_issuers(route);
        #[cfg(feature = "jwt")]
        let tenants = self.resolver.map(|resolver| resolver.build(defaults));
        #[cfg(feature = "jwt")]
        let verifier = match &tenants {
            Some(tenants) => BoxVerifier::new(
                remembering(routed(&issuers)).or_dynamic(Arc::new(tenants.clone())),
            ),
            None => verifier_of(&issuers, remembering),
        };
        #[cfg(not(feature = "jwt"))]
        let verifier = verifier_of(&issuers, remembering);
        // The outermost layer, so that no cached or shared result bypasses the cutoffs.
        let verifier = RevocationLayer::new(self.stack.revocations.clone()).layer(verifier);
        problems.or_ok(ResourceServer(Arc::new(Parts {
            verifier: BoxVerifier::new(verifier),
            policy: self.policy.clock(Arc::clone(&self.clock)),
            extractor: self.extractor,
            freshness: self.freshness,
            peer: self.peer,
            hook: self.hook,
            log_subjects: self.log_subjects,
            name: self.audience.into(),
            clock: self.clock,
            forward: self.forward,
            metadata,
            issuers,
            revocations: self.stack.revocations,
            #[cfg(feature = "jwt")]
            tenants,
        })))
    }

    /// Returns true if no issuer is trusted.
    fn trusts_none(&self) -> bool {
        #[cfg(feature = "jwt")]
        if self.resolver.is_some() {
            return false;
        }
        self.issuers.is_empty()
    }

    /// Adds the problems with the audience and the names of issuers to `problems`.
    fn check(&self, problems: &mut ConfigError) {
        if self.audience.is_empty() {
            problems.push("audience", "it is empty");
        }
        if self.trusts_none() {
            problems.push("issuer", "no issuer is trusted");
        }
        for (at, issuer) in self.issuers.iter().enumerate() {
            let earlier = || self.issuers.iter().take(at);
            if earlier().any(|earlier| earlier.name() == issuer.name()) {
                problems.push("issuer", format!("`{}` is given twice", issuer.name()));
            }
            if let Some(prefix) = issuer.prefix()
                && earlier().any(|earlier| earlier.prefix() == Some(prefix))
            {
                problems.push("token_prefix", format!("`{prefix}` is that of two issuers"));
            }
            if self.freshness == Freshness::Live && !issuer.is_remote() {
                never_live(issuer.name(), problems);
            }
        }
    }

    /// Makes the metadata document, if this service is described.
    fn document(&mut self, problems: &mut ConfigError) -> Option<Arc<Document>> {
        let about = self.metadata.take()?;
        let known = Known {
            resource: &self.audience,
            issuers: self.issuers.iter().map(Issuer::name).collect(),
            policy: &self.policy,
            extractor: &self.extractor,
            loopback_http: self.loopback_http,
        };
        let document = Document::new(about, &known);
        document.map(Arc::new).map_err(|problem| problems.merge("metadata", problem)).ok()
    }

    /// Returns the settings of all issuers.
    fn defaults(&self, problems: &mut ConfigError) -> Defaults {
        // The default transport is needed only if there are issuers and no transport was given.
        let shared = match &self.transport {
            None if !self.trusts_none() => default_transport(problems),
            _ => None,
        };
        Defaults {
            transport: self.transport.clone(),
            shared,
            clock: Arc::clone(&self.clock),
            loopback_http: self.loopback_http,
            stack: self.stack.clone(),
            resolved: false,
        }
    }
}

/// Builds the issuers that have no problem.
fn trusted(issuers: Vec<Issuer>, defaults: &Defaults, problems: &mut ConfigError) -> Vec<Trusted> {
    let build = |issuer: Issuer| {
        let name = format!("issuer {}", issuer.name());
        issuer.build(defaults).map_err(|problem| problems.merge(&name, problem)).ok()
    };
    issuers.into_iter().filter_map(build).collect()
}

impl fmt::Debug for ResourceServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceServerBuilder")
            .field("policy", &self.policy)
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "reqwest")]
fn default_transport(problems: &mut ConfigError) -> Option<HttpTransport> {
    HttpTransport::reqwest().map_err(|problem| problems.merge("transport", problem)).ok()
}

/// Returns none. An issuer that needs a transport reports the lack when it is built.
#[cfg(not(feature = "reqwest"))]
fn default_transport(_: &mut ConfigError) -> Option<HttpTransport> {
    None
}

//! TODO

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer as _;

#[cfg(all(feature = "jwt", feature = "_crypto"))]
use crate::resource_server::{issuer::routed, tenants::IssuerResolver};
use crate::{
    clock::{Clock, SystemClock},
    credentials::{extract::Extractor, head::RequestHead},
    error::config::ConfigError,
    layer::{forward::headers::ForwardHeaders, settings::PeerOf},
    policy::{admitted::Requirement, terms::Policy},
    resource_server::{
        issuer::{Defaults, Issuer, verifier_of},
        metadata::{
            document::{Document, Known},
            settings::ProtectedResourceMetadata,
        },
        server::{Inner, ResourceServer},
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
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
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
            #[cfg(all(feature = "jwt", feature = "_crypto"))]
            resolver: None,
        }
    }

    /// Adds an issuer to trust.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// Sets a resolver, whose issuers are trusted as well.
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
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

    /// Adds a requirement for every token.
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
    #[cfg(all(feature = "dpop", feature = "_crypto"))]
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
    #[cfg(all(feature = "mtls", feature = "_crypto"))]
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
    /// [`metadata`](super::metadata) for how to serve the document.
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
    pub fn build(self) -> Result<ResourceServer, ConfigError> {
        let mut problems = ConfigError::new();
        if self.audience.is_empty() {
            problems.push("audience", "it is empty");
        }
        #[cfg(all(feature = "jwt", feature = "_crypto"))]
        let nobody = self.issuers.is_empty() && self.resolver.is_none();
        #[cfg(not(all(feature = "jwt", feature = "_crypto")))]
        let nobody = self.issuers.is_empty();
        if nobody {
            problems.push("issuer", "no issuer is trusted");
        }
        for (at, issuer) in self.issuers.iter().enumerate() {
            if self.issuers.iter().take(at).any(|earlier| earlier.name() == issuer.name()) {
                problems.push("issuer", format!("`{}` is given twice", issuer.name()));
            }
            if let Some(prefix) = issuer.prefix()
                && self.issuers.iter().take(at).any(|earlier| earlier.prefix() == Some(prefix))
            {
                problems.push("token_prefix", format!("`{prefix}` is that of two issuers"));
            }
            if self.freshness == Freshness::Live && !issuer.is_remote() {
                let problem = format!("`{}` can't be asked for a live answer", issuer.name());
                problems.push("freshness", problem);
            }
        }
        let mut policy = self.policy;
        let known = Known {
            resource: &self.audience,
            issuers: self.issuers.iter().map(Issuer::name).collect(),
            policy: &policy,
            extractor: &self.extractor,
            loopback_http: self.loopback_http,
        };
        let metadata = self.metadata.and_then(|about| publish(about, &known, &mut problems));
        if let Some(document) = &metadata {
            policy = policy.resource_metadata(document.url());
        }
        // The default transport is needed only if there are issuers and no transport was given.
        let shared = match &self.transport {
            None if !nobody => default_transport(&mut problems),
            _ => None,
        };
        let mut stack = self.stack;
        if self.own_revocations {
            stack.revocations = Revocations::new().clock(Arc::clone(&self.clock));
        }
        let revocations = stack.revocations.clone();
        let settings = stack.clone();
        let remembering = |route| settings.remember_issuers(route);
        let clock = Arc::clone(&self.clock);
        let defaults = Defaults {
            transport: self.transport,
            shared,
            clock: self.clock,
            loopback_http: self.loopback_http,
            stack,
            resolved: false,
        };
        let policy = policy.clock(Arc::clone(&defaults.clock));
        let mut issuers = Vec::with_capacity(self.issuers.len());
        for issuer in self.issuers {
            let name = format!("issuer {}", issuer.name());
            match issuer.build(&defaults) {
                Ok(trusted) => issuers.push(trusted),
                Err(problem) => problems.merge(&name, problem),
            }
        }
        #[cfg(all(feature = "jwt", feature = "_crypto"))]
        let tenants = self.resolver.map(|resolver| resolver.build(defaults));
        #[cfg(all(feature = "jwt", feature = "_crypto"))]
        let verifier = match &tenants {
            Some(tenants) => BoxVerifier::new(
                remembering(routed(&issuers)).or_strangers(Arc::new(tenants.clone())),
            ),
            None => verifier_of(&issuers, remembering),
        };
        #[cfg(not(all(feature = "jwt", feature = "_crypto")))]
        let verifier = verifier_of(&issuers, remembering);
        // The outermost layer, so that no cached or shared result bypasses the cutoffs.
        let verifier = RevocationLayer::new(revocations.clone()).layer(verifier);
        problems.or_ok(ResourceServer(Arc::new(Inner {
            verifier: BoxVerifier::new(verifier),
            policy,
            extractor: self.extractor,
            freshness: self.freshness,
            peer: self.peer,
            hook: self.hook,
            log_subjects: self.log_subjects,
            name: self.audience.into(),
            clock,
            forward: self.forward,
            metadata,
            issuers,
            revocations,
            #[cfg(all(feature = "jwt", feature = "_crypto"))]
            tenants,
        })))
    }
}

fn publish(
    about: ProtectedResourceMetadata,
    known: &Known<'_>,
    problems: &mut ConfigError,
) -> Option<Arc<Document>> {
    match Document::new(about, known) {
        Ok(document) => Some(Arc::new(document)),
        Err(problem) => {
            problems.merge("metadata", problem);
            None
        }
    }
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
    match HttpTransport::reqwest() {
        Ok(transport) => Some(transport),
        Err(problem) => {
            problems.merge("transport", problem);
            None
        }
    }
}

/// Returns none. An issuer that needs a transport reports the lack when it is built.
#[cfg(not(feature = "reqwest"))]
fn default_transport(_: &mut ConfigError) -> Option<HttpTransport> {
    None
}

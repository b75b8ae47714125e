#[cfg(all(feature = "cache", feature = "_crypto"))]
mod memory;

use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{
    Inner, ResourceServer,
    issuer::{Defaults, Issuer, verifier_of},
    metadata::{
        document::{Document, Known},
        settings::ProtectedResourceMetadata,
    },
    stack::Settings,
};
#[cfg(all(feature = "jwt", feature = "_crypto"))]
use super::{issuer::routed, tenants::IssuerResolver};
use crate::{
    clock::{Clock, SystemClock},
    credentials::extract::Extractor,
    error::config::ConfigError,
    layer::{PeerOf, forward::ForwardHeaders},
    policy::{Policy, requirement::Requirement},
    respond::{Refusal, RequestHead, hook::RefusalHook},
    revocation::{Revocations, layer::RevocationLayer},
    transport::HttpTransport,
    upstream::{
        budget::{MissBudgetLayer, PeerKey},
        bulkhead::BulkheadLayer,
    },
    verify::{boxed::BoxVerifier, request::Freshness},
};

/// Configures a [`ResourceServer`].
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
    stack: Settings,
    peer: Option<Arc<PeerOf>>,
    hook: Option<RefusalHook>,
    log_subjects: bool,
    own_revocations: bool,
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
    resolver: Option<IssuerResolver>,
}

impl ResourceServerBuilder {
    pub(super) fn new(audience: String) -> Self {
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

    /// Trusts an issuer.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// Also trusts the issuers that this resolver finds.
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    pub fn resolve_issuers(mut self, resolver: IssuerResolver) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Changes what is asked of every token: further audiences, leeway, requirements, what is told
    /// to clients.
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

    /// Also asks this of every token.
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
    pub fn dpop(self, dpop: crate::proof::dpop::Dpop) -> Self {
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
    pub fn mtls(self, mtls: crate::proof::mtls::Mtls) -> Self {
        self.policy(|policy| policy.mtls(mtls))
    }

    /// Refuses tokens that are bound to no key. See [`Policy::require_binding`].
    pub fn require_binding(self) -> Self {
        self.policy(Policy::require_binding)
    }

    /// Sets how far the clocks of issuers may be off. See [`Policy::leeway`].
    pub fn leeway(self, leeway: Duration) -> Self {
        self.policy(|policy| policy.leeway(leeway))
    }

    /// Sets where tokens are taken from, unless a layer says otherwise.
    pub fn extractor(mut self, extractor: Extractor) -> Self {
        self.extractor = extractor;
        self
    }

    /// Describes this service to clients (RFC 9728), and names the description in its challenges.
    ///
    /// The audience must be the https URL by which clients know this service. See
    /// [`metadata`](super::metadata) for what to do with it.
    ///
    /// ```
    /// use tower_introspect::ResourceServer;
    ///
    /// let builder = ResourceServer::builder("https://api.example.com/mcp")
    ///     .metadata(|about| about.scopes_supported(["mcp:read", "mcp:write"]))
    ///     // What a client without a token is told to ask for first.
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

    /// Sets how recently tokens must have been verified, unless a layer says otherwise.
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Has requests tell in these headers what was verified, below all layers of this resource server.
    /// See [`IntrospectLayer::forward`](crate::IntrospectLayer::forward).
    pub fn forward(mut self, headers: ForwardHeaders) -> Self {
        self.forward = Some(headers);
        self
    }

    /// Sets how many questions to the authorization server of an issuer may be under way. 64 by
    /// default; what is over that is refused at once, as
    /// [`Unavailable`](crate::ErrorKind::Unavailable).
    pub fn max_concurrent_introspections(mut self, limit: usize) -> Self {
        self.stack.bulkhead = BulkheadLayer::new(limit);
        self
    }

    /// Limits how many questions about bad tokens each peer may cause, all issuers together; `peer` says
    /// who sends a request. Without limit by default. See [`MissBudgetLayer`].
    ///
    /// ```
    /// use std::{net::SocketAddr, time::Duration};
    /// use axum::extract::ConnectInfo;
    /// use tower_introspect::{
    ///     ResourceServer,
    ///     verify::{MissBudgetLayer, PeerKey},
    /// };
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

    /// Calls `hook` once for each request that is refused, by any layer of this resource server and what
    /// is further in. See [`IntrospectLayer::on_refusal`](crate::IntrospectLayer::on_refusal) for what
    /// it may do.
    ///
    /// ```
    /// use tower_introspect::{Blame, ResourceServer, respond::Refusal};
    ///
    /// let builder = ResourceServer::builder("https://api.example.com").on_refusal(
    ///     |refusal: &Refusal<'_>| {
    ///         if refusal.error().blame() == Blame::ResourceServer {
    ///             // Wake somebody up.
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

    /// Shows the subject of tokens in events and spans. See
    /// [`IntrospectLayer::log_subjects`](crate::IntrospectLayer::log_subjects).
    pub fn log_subjects(mut self) -> Self {
        self.log_subjects = true;
        self
    }

    /// Holds tokens against these cutoffs, which others may share. By default it has its own. See
    /// [`ResourceServer::revocations`].
    pub fn revocations(mut self, revocations: Revocations) -> Self {
        self.stack.revocations = revocations;
        self.own_revocations = false;
        self
    }

    /// Sets the clock of all parts.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets how authorization servers are reached. By default, with the feature `reqwest`, by a
    /// pooled client with safe defaults.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Takes `http` URLs of this machine, for tests.
    ///
    /// # Security
    ///
    /// Tokens and credentials then travel in the clear to whoever listens on that port.
    pub fn danger_allow_http_loopback(mut self) -> Self {
        self.loopback_http = true;
        self
    }

    /// The resource server. Sends nothing.
    ///
    /// # Errors
    ///
    /// All that is wrong with the settings, each problem with the name of its setting.
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
        // No client is made for issuers that will not need one.
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
        // Outside of all that remembers or shares answers, so that none gets by.
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

/// Issuers that need a transport miss it when they are built.
#[cfg(not(feature = "reqwest"))]
fn default_transport(_: &mut ConfigError) -> Option<HttpTransport> {
    None
}

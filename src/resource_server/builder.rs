use std::{sync::Arc, time::Duration};

use super::{
    Inner, ResourceServer,
    issuer::{Defaults, Issuer, verifier_of},
};
#[cfg(all(feature = "jwt", feature = "_crypto"))]
use super::{issuer::route, tenants::IssuerResolver};
use crate::{
    clock::{Clock, SystemClock},
    error::ConfigError,
    http::HttpTransport,
    policy::{Policy, Requirement},
    verify::{BoxVerifier, Freshness},
};

/// Configures a [`ResourceServer`].
#[derive(Debug)]
#[must_use = "a builder does nothing until built"]
pub struct ResourceServerBuilder {
    audience: String,
    policy: Policy,
    issuers: Vec<Issuer>,
    freshness: Freshness,
    clock: Arc<dyn Clock>,
    transport: Option<HttpTransport>,
    loopback_http: bool,
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
    resolver: Option<IssuerResolver>,
}

impl ResourceServerBuilder {
    pub(super) fn new(audience: String) -> Self {
        Self {
            policy: Policy::new(&audience),
            audience,
            issuers: Vec::new(),
            freshness: Freshness::Cached,
            clock: Arc::new(SystemClock),
            transport: None,
            loopback_http: false,
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

    /// Sets how far the clocks of issuers may be off. See [`Policy::leeway`].
    pub fn leeway(self, leeway: Duration) -> Self {
        self.policy(|policy| policy.leeway(leeway))
    }

    /// Sets how recently tokens must have been verified, unless a layer says otherwise.
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
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
            if self.freshness == Freshness::Live && !issuer.is_remote() {
                let problem = format!("`{}` can't be asked for a live answer", issuer.name());
                problems.push("freshness", problem);
            }
        }
        let transport = match self.transport {
            Some(transport) => Some(transport),
            // No client is made for issuers that will not need one.
            None if nobody => None,
            None => default_transport(&mut problems),
        };
        let defaults = Defaults { transport, clock: self.clock, loopback_http: self.loopback_http };
        let policy = self.policy.clock(Arc::clone(&defaults.clock));
        let mut issuers = Vec::with_capacity(self.issuers.len());
        for issuer in self.issuers {
            let name = format!("issuer {}", issuer.name());
            match issuer.build(&defaults) {
                Ok(trusted) => issuers.push(trusted),
                Err(problem) => problems.merge(&name, problem),
            }
        }
        #[cfg(all(feature = "jwt", feature = "_crypto"))]
        let verifier = match self.resolver {
            Some(resolver) => {
                let tenants = Arc::new(resolver.build(defaults));
                BoxVerifier::new(route(&issuers).or_strangers(tenants))
            }
            None => verifier_of(&issuers),
        };
        #[cfg(not(all(feature = "jwt", feature = "_crypto")))]
        let verifier = verifier_of(&issuers);
        let freshness = self.freshness;
        problems.or_ok(ResourceServer(Arc::new(Inner { verifier, policy, freshness, issuers })))
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

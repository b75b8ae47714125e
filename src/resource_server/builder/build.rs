//! Builds a resource server from the settings of its builder.

use std::sync::Arc;

use tower_layer::Layer as _;

use super::server_builder::ResourceServerBuilder;
#[cfg(feature = "_crypto")]
use crate::lease::leases::Leases;
#[cfg(feature = "jwt")]
use crate::resource_server::trusted::route_of;
#[cfg(feature = "signals")]
use crate::signals::{host::Receivers, settling::Settling};
use crate::{
    error::config::ConfigError,
    refresh::turns_by_origin::TurnsByOrigin,
    resource_server::{
        fresh::push_live_problem,
        issuer::{Defaults, Issuer},
        metadata::document::{Document, DocumentSource},
        server::{Parts, ResourceServer},
        shared::SharedTier,
        trusted::{TrustedIssuer, verifier_of},
    },
    revocation::{layer::RevocationLayer, revocations::Revocations},
    transport::http_transport::HttpTransport,
    verify::{boxed::BoxVerifier, request::Freshness},
};

impl<R> ResourceServerBuilder<R> {
    /// Builds the resource server. Sends no request.
    ///
    /// # Errors
    ///
    /// Returns every problem of the settings, each with the name of its setting.
    pub fn build(mut self) -> Result<ResourceServer<R>, ConfigError> {
        let mut problems = ConfigError::new();
        self.check(&mut problems);
        let metadata = self.build_document(&mut problems);
        if let Some(document) = &metadata {
            self.policy = self.policy.resource_metadata(document.url());
        }
        if self.own_revocations {
            let own = Revocations::new().clock(Arc::clone(&self.clock));
            self.stack.revocations = match self.policy.longest_lifetime() {
                Some(longest) => own.max_token_lifetime(longest),
                None => own,
            };
        }
        self.policy = self.policy.revocations(self.stack.revocations.clone());
        if let Some(tier) = self.shared.take() {
            if let Some(store) = tier.replay_store() {
                self.policy = self.policy.default_replay_store(&store);
            }
            self.connect_feed(&*tier, &mut problems);
        }
        let (settings, defaults) = (self.stack.clone(), self.issuer_defaults(&mut problems));
        #[cfg(feature = "signals")]
        let outbound = defaults.common("", None);
        let issuers = build_issuers(self.issuers, &defaults, &mut problems);
        let with_cache = |route| settings.cache_issuers(route);
        #[cfg(feature = "jwt")]
        let tenants = self.resolver.map(|resolver| resolver.build(defaults));
        #[cfg(feature = "jwt")]
        let verifier = match &tenants {
            Some(tenants) => BoxVerifier::new(
                with_cache(route_of(&issuers)).or_dynamic(Arc::new(tenants.clone())),
            ),
            None => verifier_of(&issuers, with_cache),
        };
        #[cfg(not(feature = "jwt"))]
        let verifier = verifier_of(&issuers, with_cache);
        // The outermost layer, so that no cached or shared result bypasses the cutoffs.
        let verifier = RevocationLayer::new(self.stack.revocations.clone()).layer(verifier);
        let verifier = BoxVerifier::new(verifier);
        let parts = Parts {
            #[cfg(feature = "_crypto")]
            leases: {
                let (max_age, more) = self.stack.ages();
                Leases::new(verifier.clone())
                    .max_age(max_age)
                    .stale_if_error(more)
                    .capacity(self.max_streams)
                    .revocations(self.stack.revocations.clone())
                    .clock(Arc::clone(&self.clock))
            },
            #[cfg(feature = "signals")]
            receivers: Receivers::default(),
            #[cfg(feature = "signals")]
            settling: Settling::new(self.stack.revocations.clone(), Arc::clone(&self.clock)),
            #[cfg(feature = "signals")]
            outbound,
            #[cfg(all(feature = "signals", feature = "config"))]
            has_given_transport: self.transport.is_some(),
            verifier,
            policy: self.policy.clock(Arc::clone(&self.clock)),
            extractor: self.extractor,
            freshness: self.freshness,
            peer: self.peer,
            hook: self.hook,
            log_subjects: self.log_subjects,
            audience: self.audience.into(),
            clock: self.clock,
            forward: self.forward,
            metadata,
            issuers,
            revocations: self.stack.revocations,
            #[cfg(feature = "jwt")]
            tenants,
        };
        problems.or_ok(ResourceServer(Arc::new(parts), self.responder))
    }

    /// Shares the cutoffs with the other instances, if the tier can.
    fn connect_feed(&self, tier: &dyn SharedTier, problems: &mut ConfigError) {
        let revocations = &self.stack.revocations;
        if revocations.feed_state().is_some() {
            // The tier would start another one for nothing.
            return problems.push("shared", "the revocations have a feed already");
        }
        match tier.cutoff_feed(revocations.local(), Arc::clone(&self.clock)) {
            Ok(Some(feed)) => {
                if let Err(problem) = revocations.connect(feed) {
                    problems.merge("shared", problem);
                }
            }
            Ok(None) => {}
            Err(problem) => problems.push("shared", problem.to_string()),
        }
    }

    /// Returns true if no issuer is trusted.
    fn trusts_none(&self) -> bool {
        #[cfg(feature = "jwt")]
        if self.resolver.is_some() {
            return false;
        }
        self.issuers.is_empty()
    }

    /// Returns true if authorization servers may have to be reached.
    fn has_servers(&self) -> bool {
        !self.issuers.iter().all(Issuer::is_custom)
            || (self.issuers.is_empty() && !self.trusts_none())
    }

    /// Adds the problems with the audience and the names of issuers to `problems`.
    fn check(&self, problems: &mut ConfigError) {
        if self.audience.is_empty() {
            problems.push("audience", "the audience is empty");
        }
        if self.trusts_none() {
            problems.push("issuer", "no issuer is trusted");
        }
        for (at, issuer) in self.issuers.iter().enumerate() {
            let earlier = || self.issuers.iter().take(at);
            if earlier().any(|earlier| earlier.name() == issuer.name()) {
                problems.push("issuer", format!("`{}` is configured twice", issuer.name()));
            }
            if let Some(prefix) = issuer.prefix() {
                for other in earlier().filter_map(Issuer::prefix) {
                    if prefix.starts_with(other) || other.starts_with(prefix) {
                        let problem = format!("the prefixes `{other}` and `{prefix}` overlap");
                        problems.push("token_prefix", problem);
                    }
                }
            }
            let is_ambiguous = |other: &Issuer| {
                let any_is_custom = issuer.is_custom() || other.is_custom();
                any_is_custom && issuer.takes_any_opaque() && other.takes_any_opaque()
            };
            for other in earlier().filter(|other| is_ambiguous(other)) {
                let (one, other) = (other.name(), issuer.name());
                let problem = format!(
                    "nothing tells tokens of `{one}` from those of `{other}`: set a prefix or a shape"
                );
                problems.push("token_prefix", problem);
            }
            if self.freshness == Freshness::Live && !issuer.can_be_asked() {
                push_live_problem(issuer.name(), problems);
            }
        }
    }

    /// Makes the metadata document, if this service is described.
    fn build_document(&mut self, problems: &mut ConfigError) -> Option<Arc<Document>> {
        let about = self.metadata.take()?;
        let source = DocumentSource {
            resource: &self.audience,
            issuers: self
                .issuers
                .iter()
                .filter(|issuer| !issuer.is_custom())
                .map(Issuer::name)
                .collect(),
            policy: &self.policy,
            extractor: &self.extractor,
            loopback_http: self.loopback_http,
        };
        let document = Document::new(about, &source);
        document.map(Arc::new).map_err(|problem| problems.merge("metadata", problem)).ok()
    }

    /// Returns the settings of all issuers.
    fn issuer_defaults(&self, problems: &mut ConfigError) -> Defaults {
        // The default transport is needed only if there are servers to reach and none was given.
        let shared = match &self.transport {
            None if self.has_servers() => default_transport(problems),
            _ => None,
        };
        Defaults {
            transport: self.transport.clone(),
            shared,
            clock: Arc::clone(&self.clock),
            loopback_http: self.loopback_http,
            stack: self.stack.clone(),
            follows_fapi2: self.policy.proofs().fapi2,
            is_resolved: false,
            turns: TurnsByOrigin::default(),
        }
    }
}

/// Builds the issuers that have no problem.
fn build_issuers(
    issuers: Vec<Issuer>,
    defaults: &Defaults,
    problems: &mut ConfigError,
) -> Vec<TrustedIssuer> {
    let build = |issuer: Issuer| {
        let name = format!("issuer `{}`", issuer.name());
        issuer.build(defaults).map_err(|problem| problems.merge(&name, problem)).ok()
    };
    issuers.into_iter().filter_map(build).collect()
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

//! A trusted issuer and the verifiers of its tokens.

use std::{fmt, sync::Arc, time::Duration};

use super::stack::{Settings, Stack};
#[cfg(feature = "cache")]
use crate::credentials::token::Token;
#[cfg(feature = "introspection")]
use crate::introspection::{
    auth::ClientAuth, builder::IntrospectionVerifierBuilder, verifier::IntrospectionVerifier,
};
#[cfg(feature = "jwt")]
use crate::jwt::{builder::JwtVerifierBuilder, verifier::JwtVerifier};
use crate::{
    clock::Clock,
    error::{config::ConfigError, refusal::VerifyError},
    route::{
        by_issuer::{IssuerRoute, Route},
        confirm::Confirm,
        fallback::Fallback,
    },
    transport::{common::CommonSettings, http_transport::HttpTransport},
    verify::{boxed::BoxVerifier, readiness::Readiness, stats::Stats},
};

/// An issuer whose tokens are accepted, and the way in which they are verified.
///
/// The identifier is compared exactly. Copy it from the `issuer` member of the server's metadata,
/// with or without a trailing slash as it appears there.
///
/// ```
/// use tower_introspect::{ClientAuth, Issuer, jose::Algorithm, jwt::Profile};
///
/// // JWTs are verified by their signature, with keys found by discovery.
/// let local = Issuer::jwt("https://as.example.com")
///     .configure_jwt(|jwt| jwt.profile(Profile::Generic).algorithms([Algorithm::ES256]));
/// // All tokens are introspected.
/// let remote = Issuer::introspect("https://opaque.example.com", ClientAuth::basic("api", "secret"));
/// // JWTs are verified by their signature, other tokens are introspected.
/// let mixed = Issuer::hybrid("https://mixed.example.com", ClientAuth::basic("api", "secret"));
/// # let _ = (local, remote, mixed);
/// ```
#[must_use = "an issuer is trusted only once it is given to a builder"]
pub struct Issuer {
    name: String,
    #[cfg(feature = "jwt")]
    jwt: Option<(JwtVerifierBuilder, Vec<Change<JwtVerifierBuilder>>)>,
    #[cfg(feature = "introspection")]
    introspection:
        Option<(IntrospectionVerifierBuilder, Vec<Change<IntrospectionVerifierBuilder>>)>,
    prefix: Option<String>,
    both: Both,
    transport: Option<HttpTransport>,
}

/// How local verification and introspection are combined for JWTs, if an issuer has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Both {
    /// JWTs are verified locally.
    Apart,
    /// JWTs are verified locally, and introspection must confirm that they are active.
    Confirm { max_age: Duration },
    /// JWTs are verified locally, or introspected while the keys are unavailable.
    FallBack,
}

/// A change by the application, made after the defaults of the resource server.
type Change<B> = Box<dyn FnOnce(B) -> B + Send>;

fn changed<B>(builder: B, changes: Vec<Change<B>>) -> B {
    changes.into_iter().fold(builder, |builder, change| change(builder))
}

impl Issuer {
    fn bare(name: String) -> Self {
        Self {
            name,
            #[cfg(feature = "jwt")]
            jwt: None,
            #[cfg(feature = "introspection")]
            introspection: None,
            prefix: None,
            both: Both::Apart,
            transport: None,
        }
    }

    /// Creates an issuer whose tokens are JWTs and are verified locally.
    ///
    /// Its keys are found by discovery, unless configured.
    #[cfg(feature = "jwt")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    pub fn jwt(issuer: impl Into<String>) -> Self {
        let mut this = Self::bare(issuer.into());
        this.jwt = Some((JwtVerifier::builder(this.name.clone()), Vec::new()));
        this
    }

    /// Creates an issuer whose tokens are all introspected (RFC 7662).
    ///
    /// Its introspection endpoint is found by discovery, unless configured.
    #[cfg(feature = "introspection")]
    #[cfg_attr(docsrs, doc(cfg(feature = "introspection")))]
    pub fn introspect(issuer: impl Into<String>, auth: ClientAuth) -> Self {
        let mut this = Self::bare(issuer.into());
        let builder = IntrospectionVerifier::builder(this.name.clone(), auth);
        this.introspection = Some((builder, Vec::new()));
        this
    }

    /// Creates an issuer whose JWTs are verified locally and whose other tokens are introspected.
    #[cfg(all(feature = "jwt", feature = "introspection", feature = "_crypto"))]
    #[cfg_attr(docsrs, doc(cfg(all(feature = "jwt", feature = "introspection"))))]
    pub fn hybrid(issuer: impl Into<String>, auth: ClientAuth) -> Self {
        let issuer = issuer.into();
        Self { jwt: Self::jwt(issuer.clone()).jwt, ..Self::introspect(issuer, auth) }
    }

    /// Creates an issuer whose JWTs are verified locally and then confirmed by introspection.
    ///
    /// The confirmation is at most `max_age` old. All other tokens are introspected. Use this for
    /// JWTs that can be revoked. A forged token causes no introspection. See
    /// [`Confirm`](crate::route::Confirm).
    #[cfg(all(feature = "jwt", feature = "introspection", feature = "_crypto"))]
    #[cfg_attr(docsrs, doc(cfg(all(feature = "jwt", feature = "introspection"))))]
    pub fn jwt_and_introspect(
        issuer: impl Into<String>,
        auth: ClientAuth,
        max_age: Duration,
    ) -> Self {
        Self { both: Both::Confirm { max_age }, ..Self::hybrid(issuer, auth) }
    }

    /// Introspects JWTs too, as long as the keys of the issuer are unavailable. See
    /// [`Fallback`](crate::route::Fallback).
    ///
    /// This is for a [`hybrid`](Self::hybrid) issuer and has no effect on any other.
    #[cfg(all(feature = "jwt", feature = "introspection", feature = "_crypto"))]
    #[cfg_attr(docsrs, doc(cfg(all(feature = "jwt", feature = "introspection"))))]
    pub fn introspect_without_keys(mut self) -> Self {
        if self.both == Both::Apart {
            self.both = Both::FallBack;
        }
        self
    }

    /// Changes how JWTs are verified. Has no effect if all tokens of the issuer are introspected.
    #[cfg(feature = "jwt")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    pub fn configure_jwt<F>(mut self, change: F) -> Self
    where
        F: FnOnce(JwtVerifierBuilder) -> JwtVerifierBuilder + Send + 'static,
    {
        if let Some((_, changes)) = &mut self.jwt {
            changes.push(Box::new(change));
        }
        self
    }

    /// Changes how tokens are introspected. Has no effect if the issuer's tokens are only verified
    /// locally.
    #[cfg(feature = "introspection")]
    #[cfg_attr(docsrs, doc(cfg(feature = "introspection")))]
    pub fn configure_introspection<F>(mut self, change: F) -> Self
    where
        F: FnOnce(IntrospectionVerifierBuilder) -> IntrospectionVerifierBuilder + Send + 'static,
    {
        if let Some((_, changes)) = &mut self.introspection {
            changes.push(Box::new(change));
        }
        self
    }

    /// Sets a prefix that all opaque tokens of this issuer start with, and those of no other
    /// issuer.
    ///
    /// With several introspecting issuers, this avoids introspection at the wrong ones.
    pub fn token_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Sets the transport to this issuer, unless the resource server has one for all issuers.
    #[cfg(feature = "config")]
    pub(crate) fn transport_if_none(mut self, transport: HttpTransport) -> Self {
        self.transport = Some(transport);
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// Returns true if tokens are introspected.
    pub(super) fn is_remote(&self) -> bool {
        #[cfg(feature = "introspection")]
        return self.introspection.is_some();
        #[cfg(not(feature = "introspection"))]
        false
    }

    pub(super) fn build(self, defaults: &Defaults) -> Result<Trusted, ConfigError> {
        let mut problems = ConfigError::new();
        if self.prefix.as_deref() == Some("") {
            problems.push("token_prefix", "every token starts with nothing");
        }
        let mut trusted = Trusted::new(self.name, self.prefix, self.both);
        let transport = self.transport.as_ref();
        #[cfg(feature = "jwt")]
        if let Some((mut builder, changes)) = self.jwt {
            defaults.apply(&mut builder.common, transport);
            let built = changed(builder, changes).build();
            trusted.jwt = built.map_err(|problem| problems.merge("jwt", problem)).ok();
            let verifier = trusted.jwt.clone();
            trusted.local = verifier.map(|jwt| Stack::local(jwt, &defaults.stack, &defaults.clock));
        }
        #[cfg(feature = "introspection")]
        if let Some((mut builder, changes)) = self.introspection {
            defaults.apply(&mut builder.common, transport);
            let built = changed(builder, changes).build();
            let built = built.map_err(|problem| problems.merge("introspection", problem));
            trusted.introspection = built.ok();
            let verifier = trusted.introspection.clone();
            trusted.remote =
                verifier.map(|all| Stack::remote(all, &defaults.stack, &defaults.clock));
        }
        problems.or_ok(trusted)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Issuer").field(&self.name).finish()
    }
}

/// The settings of all issuers of one resource server, unless an issuer overrides them.
pub(super) struct Defaults {
    /// The transport that was given for all issuers.
    pub(super) transport: Option<HttpTransport>,
    /// The transport that issuers share if none was given.
    pub(super) shared: Option<HttpTransport>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) loopback_http: bool,
    pub(super) stack: Settings,
    /// True if an `IssuerResolver` finds the issuers, so that their number is not bounded.
    pub(super) resolved: bool,
}

impl Defaults {
    /// Applies these settings to a verifier of an issuer with a transport of its own, or none.
    fn apply(&self, common: &mut CommonSettings, own: Option<&HttpTransport>) {
        let transport = self.transport.as_ref().or(own).or(self.shared.as_ref());
        common.transport = transport.cloned();
        common.clock = Arc::clone(&self.clock);
        common.loopback_http = self.loopback_http;
        common.is_resolved = self.resolved;
    }
}

/// A trusted issuer with its verifiers.
pub(super) struct Trusted {
    name: String,
    prefix: Option<String>,
    both: Both,
    local: Option<Stack>,
    remote: Option<Stack>,
    #[cfg(feature = "jwt")]
    jwt: Option<JwtVerifier>,
    #[cfg(feature = "introspection")]
    introspection: Option<IntrospectionVerifier>,
}

impl Trusted {
    fn new(name: String, prefix: Option<String>, both: Both) -> Self {
        Self {
            name,
            prefix,
            both,
            local: None,
            remote: None,
            #[cfg(feature = "jwt")]
            jwt: None,
            #[cfg(feature = "introspection")]
            introspection: None,
        }
    }

    fn local(&self) -> Option<BoxVerifier> {
        let jwt = self.local.as_ref()?.verifier();
        Some(match (self.both, self.remote()) {
            (Both::Confirm { max_age }, Some(remote)) => {
                BoxVerifier::new(Confirm::new(jwt, remote, max_age))
            }
            (Both::FallBack, Some(remote)) => BoxVerifier::new(Fallback::new(jwt, remote)),
            _ => jwt,
        })
    }

    fn remote(&self) -> Option<BoxVerifier> {
        self.remote.as_ref().map(Stack::verifier)
    }

    /// Returns true if tokens can be introspected.
    pub(super) fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    fn stacks(&self) -> impl Iterator<Item = &Stack> {
        self.local.iter().chain(&self.remote)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the counters of the layers around its verifiers.
    pub(super) fn stats(&self) -> Stats {
        self.stacks().map(Stack::stats).fold(Stats::default(), Stats::merge)
    }

    /// Removes a token from the caches. Returns true if it was cached.
    #[cfg(feature = "cache")]
    pub(super) fn evict(&self, token: &Token) -> bool {
        self.stacks().filter(|stack| stack.evict(token)).count() > 0
    }

    /// Returns the verifier, if there is exactly one.
    fn single(&self) -> Option<BoxVerifier> {
        match (self.local(), self.remote()) {
            (Some(only), None) | (None, Some(only)) => Some(only),
            _ => None,
        }
    }

    fn route(&self) -> IssuerRoute {
        let mut route = IssuerRoute::new(&self.name);
        if let Some(verifier) = self.local() {
            route = route.jwt(verifier);
        }
        if let Some(verifier) = self.remote() {
            route = route.introspection(verifier);
        }
        if matches!(self.both, Both::Confirm { .. }) {
            route = route.jwt_is_live();
        }
        match &self.prefix {
            Some(prefix) => route.prefix(prefix),
            None => route,
        }
    }

    /// Returns whether the verifiers have everything they need.
    pub(super) fn readiness(&self) -> Readiness {
        let readiness = Readiness::always_ready(self.name.as_str());
        #[cfg(feature = "jwt")]
        let readiness = match &self.jwt {
            Some(verifier) => readiness.merge(&verifier.readiness()),
            None => readiness,
        };
        #[cfg(feature = "introspection")]
        let readiness = match &self.introspection {
            Some(verifier) => readiness.merge(&verifier.readiness()),
            None => readiness,
        };
        readiness.with_breaker(self.is_remote().then(|| self.stats().breaker))
    }

    /// Starts to fetch everything the verifiers lack, without waiting.
    pub(super) fn begin(&self) {
        #[cfg(feature = "jwt")]
        if let Some(verifier) = &self.jwt {
            verifier.begin();
        }
        #[cfg(feature = "introspection")]
        if let Some(verifier) = &self.introspection {
            verifier.begin();
        }
    }

    /// Fetches everything the verifiers need.
    pub(super) async fn warm(&self) -> Result<(), VerifyError> {
        let named = |error: VerifyError| {
            let context =
                error.context().map_or_else(String::new, |context| format!(" ({context})"));
            error.with_context(format!("warming {}{context}", self.name))
        };
        #[cfg(feature = "jwt")]
        if let Some(verifier) = &self.jwt {
            verifier.warm().await.map_err(named)?;
        }
        #[cfg(feature = "introspection")]
        if let Some(verifier) = &self.introspection {
            verifier.warm().await.map_err(named)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Issuer").field(&self.name).finish()
    }
}

/// Returns the verifier of all tokens of these issuers.
///
/// A single issuer with a single mode needs no routing. Its verifier is returned as it is and
/// judges every token.
pub(super) fn verifier_of(issuers: &[Trusted], route: impl FnOnce(Route) -> Route) -> BoxVerifier {
    let single = match issuers {
        [only] => only.single(),
        _ => None,
    };
    single.unwrap_or_else(|| BoxVerifier::new(route(routed(issuers))))
}

pub(super) fn routed(issuers: &[Trusted]) -> Route {
    Route::new(issuers.iter().map(Trusted::route))
}

//! The configuration of an issuer.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    own_facts::OwnFacts,
    stack::{Settings, Stack},
    trusted::{JwtMode, TrustedIssuer},
};
#[cfg(feature = "introspection")]
use crate::introspection::{
    auth::ClientAuth, builder::IntrospectionVerifierBuilder, verifier::IntrospectionVerifier,
};
#[cfg(feature = "signals")]
use crate::jwt::statement::StatementKeys;
#[cfg(feature = "jwt")]
use crate::jwt::{builder::JwtVerifierBuilder, profile::Profile, verifier::JwtVerifier};
use crate::{
    clock::Clock,
    error::config::ConfigError,
    refresh::turns_by_origin::TurnsByOrigin,
    route::issuer_route::Shape,
    transport::{common::CommonSettings, http_transport::HttpTransport},
    verify::boxed::BoxVerifier,
};

/// An issuer whose tokens are accepted, and the way in which they are verified.
///
/// The identifier is compared exactly. Copy it from the `issuer` member of the server's metadata,
/// with or without a trailing slash as it appears there.
///
/// ```
/// use tower_introspect::{ClientAuth, Issuer, jose::Algorithm};
///
/// // JWTs are verified by their signature, with keys found by discovery.
/// let local = Issuer::jwt("https://as.example.com")
///     .configure_jwt(|jwt| jwt.algorithms([Algorithm::ES256]));
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
    jwt: Option<Changed<JwtVerifierBuilder>>,
    #[cfg(feature = "introspection")]
    introspection: Option<Changed<IntrospectionVerifierBuilder>>,
    pub(super) custom: Option<BoxVerifier>,
    prefix: Option<String>,
    pub(super) shape: Option<Arc<Shape>>,
    jwt_mode: JwtMode,
    transport: Option<HttpTransport>,
    /// The argument of a preset that no issuer of the provider can have, and why.
    problem: Option<(&'static str, &'static str)>,
}

/// A change by the application, made after the defaults of the resource server.
type Change<B> = Box<dyn FnOnce(B) -> B + Send>;

/// The builder of a verifier, and the changes to make to it.
type Changed<B> = (B, Vec<Change<B>>);

impl Issuer {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            #[cfg(feature = "jwt")]
            jwt: None,
            #[cfg(feature = "introspection")]
            introspection: None,
            custom: None,
            prefix: None,
            shape: None,
            jwt_mode: JwtMode::LocalOnly,
            transport: None,
            problem: None,
        }
    }

    /// Refuses to be built if `is_wrong`.
    #[cfg(feature = "jwt")]
    pub(super) const fn with_problem(
        mut self,
        is_wrong: bool,
        argument: &'static str,
        problem: &'static str,
    ) -> Self {
        if is_wrong {
            self.problem = Some((argument, problem));
        }
        self
    }

    /// Creates an issuer whose tokens are JWTs and are verified locally.
    ///
    /// Its keys are found by discovery, unless configured.
    #[cfg(feature = "jwt")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    pub fn jwt(issuer: impl Into<String>) -> Self {
        let mut this = Self::new(issuer.into());
        this.jwt = Some((JwtVerifier::builder(this.name.clone()), Vec::new()));
        this
    }

    /// Creates an issuer whose tokens are all introspected (RFC 7662).
    ///
    /// Its introspection endpoint is found by discovery, unless configured.
    #[cfg(feature = "introspection")]
    #[cfg_attr(docsrs, doc(cfg(feature = "introspection")))]
    pub fn introspect(issuer: impl Into<String>, auth: ClientAuth) -> Self {
        let mut this = Self::new(issuer.into());
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
        Self { jwt_mode: JwtMode::Confirm { max_age }, ..Self::hybrid(issuer, auth) }
    }

    /// Introspects JWTs too, as long as the keys of the issuer are unavailable, and those whose
    /// published key can't be used. See
    /// [`Fallback`](crate::route::Fallback).
    ///
    /// This is for a [`hybrid`](Self::hybrid) issuer and has no effect on any other.
    #[cfg(all(feature = "jwt", feature = "introspection", feature = "_crypto"))]
    #[cfg_attr(docsrs, doc(cfg(all(feature = "jwt", feature = "introspection"))))]
    pub fn fall_back_to_introspection(mut self) -> Self {
        if self.jwt_mode == JwtMode::LocalOnly {
            self.jwt_mode = JwtMode::IntrospectWithoutKeys;
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
    /// With several introspecting issuers, this avoids introspection at the wrong ones. The prefix
    /// is compared exactly, with the case of letters. No prefix may be the start of another.
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

    pub(super) const fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    /// Returns true if a server or a custom verifier can be asked about each token.
    pub(super) const fn can_be_asked(&self) -> bool {
        #[cfg(feature = "introspection")]
        return self.introspection.is_some() || self.custom.is_some();
        #[cfg(not(feature = "introspection"))]
        self.custom.is_some()
    }

    /// Returns true if nothing tells its opaque tokens from those of others.
    pub(super) const fn takes_any_opaque(&self) -> bool {
        self.can_be_asked() && self.prefix.is_none() && self.shape.is_none()
    }

    pub(super) fn build(self, defaults: &Defaults) -> Result<TrustedIssuer, ConfigError> {
        let mut problems = ConfigError::new();
        if let Some((argument, problem)) = self.problem {
            problems.push(argument, problem);
        }
        if self.prefix.as_deref() == Some("") {
            problems.push("token_prefix", "the prefix is empty");
        }
        if self.shape.is_some() && self.custom.is_none() {
            problems.push("token_shape", "only a custom issuer has one");
        }
        if self.custom.is_some() && self.name.is_empty() {
            problems.push("issuer", "the name is empty");
        }
        let custom = self.custom.map(|verifier| OwnFacts::new(&self.name, verifier));
        let common = defaults.common(&self.name, self.transport);
        let mut trusted = TrustedIssuer::new(self.name, self.prefix, self.shape, self.jwt_mode);
        trusted.custom_stack =
            custom.map(|verifier| Stack::for_custom(verifier, &defaults.stack, &defaults.clock));
        #[cfg(feature = "jwt")]
        if let Some(mut jwt) = self.jwt {
            jwt.0.common = common.clone();
            if defaults.follows_fapi2 {
                jwt.0.default_profile = Profile::Rfc9068;
            }
            let built = defaults.build(jwt, JwtVerifierBuilder::build, Stack::for_jwt);
            let built = built.map_err(|problem| problems.merge("jwt", problem)).ok();
            #[cfg(feature = "signals")]
            {
                let verifier = built.as_ref().map(|(verifier, _)| verifier);
                trusted.statement_keys = verifier.map(StatementKeys::of_verifier);
            }
            (trusted.jwt, trusted.jwt_stack) = built.unzip();
        }
        #[cfg(feature = "introspection")]
        if let Some(mut all) = self.introspection {
            #[cfg(feature = "signals")]
            if trusted.statement_keys.is_none() {
                trusted.statement_keys = StatementKeys::published(&common);
            }
            all.0.common = common;
            #[cfg(feature = "cache")]
            {
                all.0.confirms_jwts = matches!(self.jwt_mode, JwtMode::Confirm { .. });
            }
            let build = IntrospectionVerifierBuilder::build;
            let built = defaults.build(all, build, Stack::for_introspection);
            let built = built.map_err(|problem| problems.merge("introspection", problem)).ok();
            (trusted.introspection, trusted.introspection_stack) = built.unzip();
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
    /// True if the policy follows FAPI 2.0.
    pub(super) follows_fapi2: bool,
    /// True if an `IssuerResolver` finds the issuers, so that their number is not bounded.
    pub(super) is_resolved: bool,
    /// The turns of key fetches, shared by the issuers on one server.
    pub(super) turns: TurnsByOrigin,
}

impl Defaults {
    /// Returns the settings of requests to `issuer`, which may have a transport of its own.
    pub(super) fn common(&self, issuer: &str, own: Option<HttpTransport>) -> CommonSettings {
        CommonSettings {
            issuer: issuer.to_owned(),
            transport: self.transport.clone().or(own).or_else(|| self.shared.clone()),
            loopback_http: self.loopback_http,
            is_resolved: self.is_resolved,
            clock: Arc::clone(&self.clock),
            turns: self.turns.clone(),
        }
    }

    /// Builds a verifier after the changes of the application, and the stack around it.
    fn build<B, V: Clone>(
        &self,
        (builder, changes): Changed<B>,
        build: impl FnOnce(B) -> Result<V, ConfigError>,
        stack: impl FnOnce(V, &Settings, &Arc<dyn Clock>) -> Stack,
    ) -> Result<(V, Stack), ConfigError> {
        let verifier = build(changes.into_iter().fold(builder, |builder, change| change(builder)))?;
        Ok((verifier.clone(), stack(verifier, &self.stack, &self.clock)))
    }
}

use std::sync::Arc;

use super::{
    Inner, JwtVerifier, Profile,
    jwks::{Location, RemoteKeys},
    keys::KeySet,
    source::Source,
    validate::Rules,
};
use crate::jose::algorithm::Algorithm;
use crate::{
    clock::{Clock, SystemClock},
    error::config::ConfigError,
    jose::algorithm::KeyType,
    telemetry::{self, Called},
    transport::{HttpTransport, discovery::Discovery, endpoint::Endpoint, upstream::Upstream},
};

/// Builds a [`JwtVerifier`]. See [`JwtVerifier::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct JwtVerifierBuilder {
    issuer: String,
    keys: Option<KeySet>,
    jwks_uri: Option<String>,
    transport: Option<HttpTransport>,
    loopback_http: bool,
    algorithms: Option<Vec<Algorithm>>,
    profile: Profile,
    scope_claim: Option<String>,
    audience_claim: Option<String>,
    resolved: bool,
    clock: Arc<dyn Clock>,
}

impl JwtVerifierBuilder {
    pub(super) fn new(issuer: String) -> Self {
        Self {
            issuer,
            keys: None,
            jwks_uri: None,
            transport: None,
            loopback_http: false,
            algorithms: None,
            profile: Profile::default(),
            scope_claim: None,
            audience_claim: None,
            resolved: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the keys of the issuer. Then nothing is ever fetched.
    pub fn keys(mut self, keys: KeySet) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Sets the URL that the keys are fetched from, for issuers without metadata.
    ///
    /// By default it is the `jwks_uri` of the issuer's metadata (RFC 8414, OpenID Connect
    /// Discovery), so that it is not left behind when the keys move.
    ///
    /// ```
    /// use tower_introspect::jwt::JwtVerifier;
    ///
    /// let builder = JwtVerifier::builder("https://as.example.com");
    /// assert!(builder.clone().jwks_uri("https://as.example.com/keys").build().is_ok());
    /// assert!(builder.jwks_uri("http://as.example.com/keys").build().is_err());
    /// ```
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.jwks_uri = Some(url.into());
        self
    }

    /// Sets how the issuer is reached. By default by `HttpTransport::reqwest`, where the feature
    /// `reqwest` is on.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// States that the issuer is one of any number, which share one name in metrics.
    pub(crate) fn resolved(mut self) -> Self {
        self.resolved = true;
        self
    }

    /// Takes `http` URLs of this machine, for tests.
    ///
    /// # Security
    ///
    /// The keys then come from whoever listens on that port.
    pub fn danger_allow_http_loopback(mut self) -> Self {
        self.loopback_http = true;
        self
    }

    /// Sets the algorithms that are allowed.
    ///
    /// By default those that the keys are for; where keys are fetched, all that use a public key.
    /// An algorithm of a shared secret is never allowed for fetched keys.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = Some(algorithms.into_iter().collect());
        self
    }

    /// Sets what tokens look like. [`Profile::Rfc9068`] by default.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Takes the scope from this claim instead of `scope`: a space-delimited string or an array of
    /// strings.
    ///
    /// For issuers that call it `scp`, or `permissions`.
    pub fn scope_claim(mut self, name: impl Into<String>) -> Self {
        self.scope_claim = Some(name.into());
        self
    }

    /// Takes the audience of a token without `aud` from this claim, a string.
    ///
    /// For issuers that leave `aud` out: `client_id`, for AWS Cognito, and then the audiences of
    /// the [`Policy`](crate::Policy) are the clients that may come. A token that has `aud` is held
    /// to it, whatever else it says.
    ///
    /// # Security
    ///
    /// Who asked for a token is not whom it is meant for. A token that such a client got for
    /// another service passes for one meant for this service (RFC 9700 §2.3), so require a scope
    /// that no other service grants anything for; and where clients choose their own identifiers,
    /// don't use this. Prefer an issuer that names the audience.
    ///
    /// ```
    /// use tower_introspect::jwt::{JwtVerifier, Profile};
    ///
    /// let verifier = JwtVerifier::builder("https://as.example.com")
    ///     .profile(Profile::Generic)
    ///     .danger_audience_claim("client_id")
    ///     .build()?;
    /// # let _ = verifier;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    pub fn danger_audience_claim(mut self, name: impl Into<String>) -> Self {
        self.audience_claim = Some(name.into());
        self
    }

    /// Sets the clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the verifier. Nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// All that is wrong with the settings.
    pub fn build(self) -> Result<JwtVerifier, ConfigError> {
        let mut problems = ConfigError::new();
        if self.issuer.is_empty() {
            problems.push("issuer", "empty");
        }
        if self.audience_claim.as_deref().is_some_and(|name| matches!(name, "" | "aud")) {
            problems.push("audience_claim", "it takes the place of `aud`");
        }
        let source = self.source(&mut problems);
        let algorithms = self.allowed(&source, &mut problems);
        let rules = Rules {
            issuer: self.issuer.into(),
            algorithms: algorithms.into(),
            profile: self.profile,
            scope_claim: self.scope_claim.map(Into::into),
            audience_claim: self.audience_claim.map(Into::into),
        };
        problems.or_ok(JwtVerifier(Arc::new(Inner { rules, source, clock: self.clock })))
    }

    fn source(&self, problems: &mut ConfigError) -> Source {
        let Some(keys) = &self.keys else { return self.remote(problems) };
        if keys.is_empty() {
            problems.push("keys", "there is no usable key");
        }
        if self.jwks_uri.is_some() {
            problems.push("jwks_uri", "there are `keys` already");
        }
        Source::Static(Arc::new(keys.clone()))
    }

    fn remote(&self, problems: &mut ConfigError) -> Source {
        let transport = HttpTransport::or_default(self.transport.as_ref(), problems);
        let location = transport.as_ref().and_then(|via| self.location(via, problems));
        let (Some(transport), Some(location)) = (transport, location) else {
            // There are problems, so nobody gets to see this.
            return Source::Static(Arc::default());
        };
        let issuer = self.issuer.as_str().into();
        let upstream = self.upstream(Called::Jwks);
        let keys = RemoteKeys::new(issuer, location, transport, upstream);
        Source::Remote(Arc::new(keys))
    }

    fn upstream(&self, what: Called) -> Upstream {
        let name = telemetry::issuer_label(&self.issuer, self.resolved);
        Upstream::new(name, what, Arc::clone(&self.clock))
    }

    fn location(&self, transport: &HttpTransport, problems: &mut ConfigError) -> Option<Location> {
        if let Some(url) = &self.jwks_uri {
            let endpoint = Endpoint::parse(url, self.loopback_http);
            return endpoint
                .map(Location::Fixed)
                .map_err(|problem| problems.push("jwks_uri", problem))
                .ok();
        }
        let upstream = self.upstream(Called::Metadata);
        Discovery::new(&self.issuer, transport.clone(), self.loopback_http, upstream)
            .map(Location::Discovered)
            .map_err(|problem| {
                // That there is no issuer has been said.
                if !self.issuer.is_empty() {
                    problems.push("issuer", problem);
                }
            })
            .ok()
    }

    fn allowed(&self, source: &Source, problems: &mut ConfigError) -> Vec<Algorithm> {
        let known: Vec<_> = match source {
            Source::Remote(_) => Algorithm::ASYMMETRIC.into(),
            Source::Static(keys) => keys.algorithms().collect(),
        };
        let Some(wanted) = &self.algorithms else { return known };
        // A secret verifies nothing but what it was given for; to allow its algorithm where there
        // is none is a misunderstanding that must not go unnoticed (RFC 8725 §3.1).
        for algorithm in wanted {
            if algorithm.key_type() == KeyType::Secret && !known.contains(algorithm) {
                problems.push("algorithms", format_args!("{algorithm} needs a secret in `keys`"));
            }
        }
        if !known.is_empty() && !wanted.iter().any(|algorithm| known.contains(algorithm)) {
            problems.push("algorithms", "none of them is one that a key is for");
        }
        wanted.clone()
    }
}

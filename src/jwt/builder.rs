//! The builder of [`JwtVerifier`].

use std::sync::Arc;

use super::{
    keys::{KeySet, MAX_TRIES},
    profile::{Profile, TypeCount},
    read_keys::MAX_KEYS,
    remote_keys::RemoteKeys,
    source::KeySource,
    validate::Rules,
    verifier::{JwtVerifier, RulesAndKeys},
};
use crate::{
    clock::Clock,
    error::config::ConfigError,
    jose::algorithm::{Algorithm, KeyType},
    transport::{
        common::{CommonSettings, Location},
        http_transport::HttpTransport,
    },
};

/// A builder of a [`JwtVerifier`]. See [`JwtVerifier::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct JwtVerifierBuilder {
    pub(crate) common: CommonSettings,
    keys: Option<KeySet>,
    jwks_uri: Option<String>,
    algorithms: Option<Vec<Algorithm>>,
    profile: Option<Profile>,
    /// The profile if none is set.
    pub(crate) default_profile: Profile,
    accept_unmarked: bool,
    scope_claim: Option<String>,
    audience_claim: Option<String>,
    max_keys: usize,
    max_tries: usize,
}

impl JwtVerifier {
    /// Returns a builder of a verifier for the tokens of `issuer`, the exact text of their `iss`
    /// claim (RFC 9068 §4).
    ///
    /// ```
    /// use tower_introspect::{jose::Algorithm, jwt::{JwtVerifier, KeySet, Profile}};
    ///
    /// let verifier = JwtVerifier::builder("https://as.example.com/")
    ///     .keys(KeySet::from_secret(Algorithm::HS256, &[7; 32])?)
    ///     .profile(Profile::Rfc9068)
    ///     .build()?;
    /// assert_eq!(verifier.issuer(), "https://as.example.com/");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(issuer: impl Into<String>) -> JwtVerifierBuilder {
        JwtVerifierBuilder::new(issuer.into())
    }
}

impl JwtVerifierBuilder {
    pub(super) fn new(issuer: String) -> Self {
        Self {
            common: CommonSettings::new(issuer),
            keys: None,
            jwks_uri: None,
            algorithms: None,
            profile: None,
            default_profile: Profile::default(),
            accept_unmarked: false,
            scope_claim: None,
            audience_claim: None,
            max_keys: MAX_KEYS,
            max_tries: MAX_TRIES,
        }
    }

    /// Sets the keys of the issuer. The verifier then never fetches any.
    pub fn keys(mut self, keys: KeySet) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Sets the URL that the keys are fetched from, for issuers without metadata.
    ///
    /// The default is the `jwks_uri` of the issuer's metadata (RFC 8414, OpenID Connect Discovery),
    /// which stays correct when the issuer moves its keys. The URL must be `https`.
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

    /// Sets how many keys of a fetched set are kept: the first that serve this issuer and can be
    /// used. The default is 64.
    ///
    /// Tokens of the others are refused with [`UnusableKey`](crate::ErrorKind::UnusableKey).
    ///
    /// ```
    /// use tower_introspect::jwt::JwtVerifier;
    ///
    /// let builder = JwtVerifier::builder("https://as.example.com").max_keys(200);
    /// assert!(builder.clone().build().is_ok());
    /// assert!(builder.max_keys(0).build().is_err());
    /// ```
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// Sets how many keys are tried for one token. The default is 4.
    ///
    /// More than one key fits a token if the token has no `kid`, or several keys have the same one.
    /// If more keys fit than are tried, and none of those verifies the token, it is refused with
    /// [`UntriedKeys`](crate::ErrorKind::UntriedKeys).
    ///
    /// # Security
    ///
    /// Each try costs a signature check, which anyone can cause with a made-up token.
    pub fn max_keys_tried(mut self, keys: usize) -> Self {
        self.max_tries = keys;
        self
    }

    /// Sets the transport for requests to the issuer. The default is `HttpTransport::reqwest`, if
    /// the feature `reqwest` is enabled.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.common.transport = Some(transport);
        self
    }

    /// Allows `http` URLs of the loopback interface, for tests.
    ///
    /// # Security
    ///
    /// The keys then come from any process that listens on that port.
    pub fn danger_allow_http_loopback(mut self) -> Self {
        self.common.loopback_http = true;
        self
    }

    /// Sets the allowed algorithms.
    ///
    /// The default is the algorithms of the configured keys, or, if keys are fetched, all that use
    /// a public key. An algorithm with a shared secret is never allowed for fetched keys.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = Some(algorithms.into_iter().collect());
        self
    }

    /// Sets the form of the tokens. The default is [`Profile::Generic`], or
    /// [`Profile::Rfc9068`] in a [`ResourceServer`](crate::ResourceServer) that follows FAPI 2.0.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Accepts JWTs that nothing marks as access tokens: without a scope, a client and a word for
    /// their kind, and with a `typ` of `JWT` or none. See [`Profile::Generic`].
    ///
    /// # Security
    ///
    /// An ID token may look exactly like this. Only the audience then keeps the ID tokens of the
    /// issuer out, so give the service an audience that is not the identifier of a client. Prefer
    /// an issuer that sets `typ` to `at+jwt`, or introspection.
    ///
    /// ```
    /// use tower_introspect::Issuer;
    ///
    /// let issuer = Issuer::jwt("https://as.example.com")
    ///     .configure_jwt(|jwt| jwt.danger_accept_unmarked_jwts());
    /// # let _ = issuer;
    /// ```
    pub fn danger_accept_unmarked_jwts(mut self) -> Self {
        self.accept_unmarked = true;
        self
    }

    /// Reads the scope from this claim only, such as `permissions`. By default it is read from
    /// `scope`, or from `scp` if there is no `scope`.
    ///
    /// The claim is a string or an array of strings. Unlike `scope` and `scp`, it is not split at
    /// spaces: the names of permissions and roles may contain them, and each part could grant more
    /// than the whole. A value with a space is no scope.
    pub fn scope_claim(mut self, name: impl Into<String>) -> Self {
        self.scope_claim = Some(name.into());
        self
    }

    /// Reads the audience of a token without `aud` from this claim, which must be a string.
    ///
    /// For issuers that leave `aud` out. For AWS Cognito the claim is `client_id`; the audiences of
    /// the [`Policy`](crate::Policy) are then the identifiers of the allowed clients. If a token
    /// has `aud`, only that counts.
    ///
    /// # Security
    ///
    /// The client that requested a token is not the service that the token is meant for. A token
    /// that an allowed client got for another service is accepted here (RFC 9700 §2.3), so require
    /// a scope that grants nothing at any other service. Don't use this setting if clients choose
    /// their own identifiers. Prefer an issuer that names the audience.
    ///
    /// ```
    /// use tower_introspect::jwt::JwtVerifier;
    ///
    /// let verifier = JwtVerifier::builder("https://as.example.com")
    ///     .danger_audience_claim("client_id")
    ///     .build()?;
    /// # let _ = verifier;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    pub fn danger_audience_claim(mut self, name: impl Into<String>) -> Self {
        self.audience_claim = Some(name.into());
        self
    }

    /// Sets the clock. The default is the clock of the operating system.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.common.clock = Arc::new(clock);
        self
    }

    /// Builds the verifier, without fetching anything.
    ///
    /// # Errors
    ///
    /// Returns all problems with the settings.
    pub fn build(self) -> Result<JwtVerifier, ConfigError> {
        let mut problems = ConfigError::new();
        if self.common.issuer.is_empty() {
            problems.push("issuer", "empty");
        }
        if self.audience_claim.as_deref().is_some_and(|name| matches!(name, "" | "aud")) {
            problems.push("audience_claim", "must be neither empty nor `aud`");
        }
        for (name, number) in [("max_keys", self.max_keys), ("max_keys_tried", self.max_tries)] {
            if number == 0 {
                problems.push(name, "must not be 0");
            }
        }
        if self.scope_claim.as_deref() == Some("") {
            problems.push("scope_claim", "empty");
        }
        let source = self.source(&mut problems);
        let algorithms = self.allowed(&source, &mut problems);
        let rules = Rules {
            issuer: self.common.issuer.into(),
            algorithms: algorithms.into(),
            profile: self.profile.unwrap_or(self.default_profile),
            accept_unmarked: self.accept_unmarked,
            scope_claim: self.scope_claim.map(Into::into),
            audience_claim: self.audience_claim.map(Into::into),
            max_tries: self.max_tries,
        };
        problems.or_ok(JwtVerifier(Arc::new(RulesAndKeys {
            rules,
            source,
            types: TypeCount::default(),
            clock: self.common.clock,
        })))
    }

    fn source(&self, problems: &mut ConfigError) -> KeySource {
        let Some(keys) = &self.keys else { return self.remote(problems) };
        let keys = keys.clone().for_issuer(&self.common.issuer);
        if keys.is_empty() {
            problems.push("keys", "the set has no key that can be used for this issuer");
        }
        if self.jwks_uri.is_some() {
            problems.push("jwks_uri", "must not be combined with `keys`");
        }
        KeySource::Static(Arc::new(keys))
    }

    fn remote(&self, problems: &mut ConfigError) -> KeySource {
        let transport = HttpTransport::or_default(self.common.transport.as_ref(), problems);
        let location = transport.as_ref().and_then(|via| self.location(via, problems));
        let (Some(transport), Some(location)) = (transport, location) else {
            // A placeholder: `build` returns the problems instead of this source.
            return KeySource::Static(Arc::default());
        };
        KeySource::Remote(RemoteKeys::new(&self.common, location, transport, self.max_keys))
    }

    fn location(&self, transport: &HttpTransport, problems: &mut ConfigError) -> Option<Location> {
        if let Some(url) = &self.jwks_uri {
            return self.common.fixed_location(url, "jwks_uri", problems);
        }
        let discovery = self.common.discovery(transport).map_err(|problem| {
            // `build` has already reported an empty issuer.
            if !self.common.issuer.is_empty() {
                problems.push("issuer", problem);
            }
        });
        discovery.map(Location::Discovered).ok()
    }

    fn allowed(&self, source: &KeySource, problems: &mut ConfigError) -> Vec<Algorithm> {
        let known: Vec<_> = match source {
            KeySource::Remote(_) => Algorithm::ASYMMETRIC.into(),
            KeySource::Static(keys) => keys.algorithms().collect(),
        };
        let Some(wanted) = &self.algorithms else { return known };
        // A secret is only used with the algorithm it was configured for. To allow an `HS`
        // algorithm without such a secret is a mistake that must be reported (RFC 8725 §3.1).
        for algorithm in wanted {
            if algorithm.key_type() == KeyType::Secret && !known.contains(algorithm) {
                problems.push("algorithms", format_args!("{algorithm} needs a secret in `keys`"));
            }
        }
        if !known.is_empty() && !wanted.iter().any(|algorithm| known.contains(algorithm)) {
            problems.push("algorithms", "no configured key is for any of them");
        }
        wanted.clone()
    }
}

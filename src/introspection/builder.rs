//! The builder of [`IntrospectionVerifier`].

use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "jwt")]
use super::signed::{SignedResponse, SignedResponseVerifier};
use super::{
    auth::ClientAuth,
    exchange::{Exchange, ResponseFormat},
    response::ClaimSettings,
    verifier::IntrospectionVerifier,
};
use crate::{
    clock::Clock,
    error::config::ConfigError,
    telemetry::endpoint_kind::EndpointKind,
    transport::{
        common::{CommonSettings, Location},
        discovery::discover::Discovery,
        http_transport::HttpTransport,
    },
};
#[cfg(feature = "_crypto")]
use crate::{credentials::token::Token, upstream::guard::verifier::CanaryToken};

/// The default limit on how long a client waits for the authorization server.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// Parameters that have a setting of their own, or that [`ClientAuth`] sets.
const RESERVED: [&str; 6] = [
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "token",
    "token_type_hint",
];

/// A builder of an [`IntrospectionVerifier`].
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use tower_introspect::transport::HttpTransport;
/// use std::time::Duration;
/// use tower_introspect::{ClientAuth, introspection::IntrospectionVerifier};
/// # let transport = HttpTransport::new(tower::service_fn(async |_: Request<Bytes>| {
/// #     Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))
/// # }));
///
/// let auth = ClientAuth::post("api", "correct horse");
/// let verifier = IntrospectionVerifier::builder("https://as.example.com", auth)
///     .endpoint("https://as.example.com/introspect")
///     .transport(transport)
///     .token_type_hint("access_token")
///     .parameter("resource", "https://api.example.com")
///     .timeout(Duration::from_secs(1))
///     .build()?;
/// assert_eq!(verifier.issuer(), "https://as.example.com");
/// # Ok::<(), tower_introspect::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct IntrospectionVerifierBuilder {
    pub(crate) common: CommonSettings,
    auth: ClientAuth,
    endpoint: Option<String>,
    hint: Option<String>,
    parameters: Vec<(String, String)>,
    timeout: Duration,
    connection_per_request: bool,
    claim_settings: ClaimSettings,
    #[cfg(feature = "_crypto")]
    canary_token: Option<CanaryToken>,
    #[cfg(feature = "jwt")]
    signed: Option<SignedResponse>,
}

impl IntrospectionVerifier {
    /// Returns a builder of a verifier that introspects tokens at `issuer` and authenticates with
    /// `auth`.
    ///
    /// See the [module docs](super) for an example.
    pub fn builder(issuer: impl Into<String>, auth: ClientAuth) -> IntrospectionVerifierBuilder {
        IntrospectionVerifierBuilder::new(issuer.into(), auth)
    }
}

impl IntrospectionVerifierBuilder {
    pub(super) fn new(issuer: String, auth: ClientAuth) -> Self {
        Self {
            common: CommonSettings::new(issuer),
            auth,
            endpoint: None,
            hint: None,
            parameters: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            connection_per_request: false,
            claim_settings: ClaimSettings::default(),
            #[cfg(feature = "_crypto")]
            canary_token: None,
            #[cfg(feature = "jwt")]
            signed: None,
        }
    }

    /// Sets the URL of the introspection endpoint. By default it is discovered (RFC 8414).
    ///
    /// If nothing else is discovered, the issuer is only the name that its tokens bear in `iss`. It
    /// need not be an https URL.
    ///
    /// ```
    /// use tower_introspect::{ClientAuth, Issuer};
    ///
    /// let issuer = Issuer::introspect("urn:example:sso", ClientAuth::basic("api", "secret"))
    ///     .configure_introspection(|remote| remote.endpoint("https://sso.example.com/introspect"));
    /// # let _ = issuer;
    /// ```
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Sets the transport for requests to the authorization server. The default is
    /// `HttpTransport::reqwest`, if the feature `reqwest` is enabled.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.common.transport = Some(transport);
        self
    }

    /// Sets the `token_type_hint` of each request (RFC 7662 §2.1). By default none is sent.
    ///
    /// A hint is meant to speed up the lookup, but some servers treat a token as inactive if it is
    /// not of the hinted type.
    pub fn token_type_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a parameter to each request.
    ///
    /// [`build`](Self::build) refuses repeated names, and the names of parameters that other
    /// settings send.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Sets the timeout of a verification, including discovery and a retry. The default is 3
    /// seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends each introspection request over a connection of its own. By default connections are
    /// kept.
    ///
    /// Over HTTP/1.1 only the order tells which request a response belongs to. If a proxy in front
    /// of the server sends one response too many, the next request of a kept connection gets it,
    /// and with it the identity of another client. A connection of its own has no next request. The
    /// price is one connection and one TLS handshake for each introspection. HTTP/2 numbers its
    /// requests, and does not need this setting.
    ///
    /// A transport other than `ReqwestTransport` must heed
    /// [`NewConnection`](crate::transport::NewConnection).
    ///
    /// ```
    /// use tower_introspect::{ClientAuth, Issuer};
    ///
    /// let issuer = Issuer::introspect("https://as.example.com", ClientAuth::basic("api", "secret"))
    ///     .configure_introspection(|remote| remote.connection_per_request());
    /// # let _ = issuer;
    /// ```
    pub fn connection_per_request(mut self) -> Self {
        self.connection_per_request = true;
        self
    }

    /// Requires signed responses (RFC 9701). All others are refused.
    ///
    /// Without this setting no signed response is requested or accepted.
    #[cfg(feature = "jwt")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    pub fn require_signed_response(mut self, settings: SignedResponse) -> Self {
        self.signed = Some(settings);
        self
    }

    /// Reads the scope from this member of responses only, such as `permissions`. By default it is
    /// read from `scope`, or from `scp` if there is no `scope`.
    ///
    /// The member is a string or an array of strings. Unlike `scope` and `scp`, it is not split at
    /// spaces: a value with a space is no scope.
    ///
    /// ```
    /// use tower_introspect::{ClientAuth, Issuer};
    ///
    /// let issuer = Issuer::introspect("https://as.example.com", ClientAuth::basic("api", "secret"))
    ///     .configure_introspection(|remote| remote.scope_claim("permissions"));
    /// # let _ = issuer;
    /// ```
    pub fn scope_claim(mut self, name: impl Into<String>) -> Self {
        self.claim_settings.scope_claim = Some(name.into().into());
        self
    }

    /// Sets the audience of tokens whose response has no `aud`.
    ///
    /// It is used only if the response has `scope`, `token_type` or `sub`. Other active tokens are
    /// probably refresh tokens or authorization codes, and are refused.
    ///
    /// # Security
    ///
    /// Some servers never name the audience. With this setting, every token of such a server counts
    /// as meant for this service. That includes tokens that a client got for another service, and
    /// refresh tokens that the server describes like access tokens. Prefer a server that names the
    /// audience.
    pub fn danger_default_audience(mut self, audience: impl Into<String>) -> Self {
        self.claim_settings.default_audience = Some(audience.into().into());
        self
    }

    /// Accepts JWTs that nothing marks as access tokens, neither in their own text nor in the
    /// response: a response without a `scope`, and without a `token_type` of `Bearer` or `DPoP`.
    ///
    /// # Security
    ///
    /// A server may call ID tokens active, and an ID token may look exactly like this.
    ///
    /// ```
    /// use tower_introspect::{ClientAuth, Issuer};
    ///
    /// let issuer = Issuer::introspect("https://as.example.com", ClientAuth::basic("api", "secret"))
    ///     .configure_introspection(|remote| remote.danger_accept_unmarked_jwts());
    /// # let _ = issuer;
    /// ```
    pub fn danger_accept_unmarked_jwts(mut self) -> Self {
        self.claim_settings.accept_unmarked = true;
        self
    }

    /// Sets a function that returns an access token of this service's own, for canaries.
    ///
    /// A [`ResourceServer`](crate::ResourceServer) judges the health of the authorization server by
    /// introspecting a random token from time to time. A server may answer about a random token
    /// without the storage that it needs for a real one. A real token, such as one that this
    /// service got by client credentials, shows whether that storage works. Where the function
    /// returns `None`, a random token is used.
    ///
    /// ```
    /// # fn token_of_this_service() -> Option<String> { None }
    /// use tower_introspect::{ClientAuth, credentials::Token, introspection::IntrospectionVerifier};
    ///
    /// let auth = ClientAuth::basic("api", "correct horse");
    /// let builder = IntrospectionVerifier::builder("https://as.example.com", auth)
    ///     .canary_token(|| Token::bearer(&token_of_this_service()?));
    /// # let _ = builder;
    /// ```
    #[cfg(feature = "_crypto")]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))))]
    pub fn canary_token<F>(mut self, token: F) -> Self
    where
        F: Fn() -> Option<Token> + Send + Sync + 'static,
    {
        self.canary_token = Some(Arc::new(token));
        self
    }

    /// Sets the clock. The default is the clock of the operating system.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.common.clock = Arc::new(clock);
        self
    }

    /// Allows `http` URLs of the loopback interface, for tests.
    ///
    /// # Security
    ///
    /// Tokens and credentials are then sent unencrypted to any process that listens on that port.
    pub fn danger_allow_http_loopback(mut self) -> Self {
        self.common.loopback_http = true;
        self
    }

    /// Builds the verifier, without sending anything.
    ///
    /// # Errors
    ///
    /// Returns all problems with the settings.
    pub fn build(self) -> Result<IntrospectionVerifier, ConfigError> {
        let mut problems = ConfigError::new();
        self.check(&mut problems);
        let transport = HttpTransport::or_default(self.common.transport.as_ref(), &mut problems);
        let discovery = transport.as_ref().and_then(|via| self.discovery(via, &mut problems));
        let location = self.location(discovery.clone(), &mut problems);
        let format = transport.as_ref().and_then(|via| self.format(via, discovery));
        let (Some(transport), Some(location), Some(format)) = (transport, location, format) else {
            return Err(problems);
        };
        let calls = self.common.calls(EndpointKind::Introspection);
        let hint = self.hint.map(|hint| ("token_type_hint".to_owned(), hint));
        let exchange = Exchange {
            issuer: self.common.issuer.into(),
            calls,
            auth: self.auth.0,
            location,
            format,
            transport,
            parameters: hint.into_iter().chain(self.parameters).collect(),
            timeout: self.timeout,
            connection_per_request: self.connection_per_request,
            claim_settings: self.claim_settings,
            #[cfg(feature = "_crypto")]
            canary_token: self.canary_token,
            clock: self.common.clock,
        };
        problems.or_ok(IntrospectionVerifier { exchange: Arc::new(exchange) })
    }

    /// Returns the metadata of the issuer, if anything has to be discovered. Otherwise the issuer is
    /// only a name, which need not be a URL.
    fn discovery(
        &self,
        transport: &HttpTransport,
        problems: &mut ConfigError,
    ) -> Option<Discovery> {
        #[cfg(feature = "jwt")]
        let for_keys = self.signed.as_ref().is_some_and(SignedResponse::discovers_keys);
        #[cfg(not(feature = "jwt"))]
        let for_keys = false;
        if self.endpoint.is_some() && !for_keys {
            return None;
        }
        let discovery = self.common.discovery(transport).map_err(|problem| {
            // An empty issuer is reported in any case.
            if !self.common.issuer.is_empty() {
                problems.push("issuer", problem);
            }
        });
        discovery.ok()
    }

    #[cfg_attr(
        not(feature = "jwt"),
        expect(
            clippy::unused_self,
            clippy::needless_pass_by_value,
            unused_variables,
            reason = "only signed responses need these"
        )
    )]
    fn format(
        &self,
        transport: &HttpTransport,
        discovery: Option<Discovery>,
    ) -> Option<ResponseFormat> {
        #[cfg(feature = "jwt")]
        if let Some(settings) = &self.signed {
            let transport = transport.clone();
            let (settings, client_id) = (settings.clone(), self.auth.0.client_id());
            return SignedResponseVerifier::new(
                settings,
                client_id,
                &self.common,
                transport,
                discovery,
            )
            .map(ResponseFormat::Signed);
        }
        Some(ResponseFormat::Json)
    }

    fn location(
        &self,
        discovery: Option<Discovery>,
        problems: &mut ConfigError,
    ) -> Option<Location> {
        match &self.endpoint {
            Some(url) => self.common.fixed_location(url, "endpoint", problems),
            None => discovery.map(Location::Discovered),
        }
    }

    fn check(&self, problems: &mut ConfigError) {
        if self.common.issuer.is_empty() {
            problems.push("issuer", "empty");
        }
        self.auth.0.check(problems);
        #[cfg(feature = "jwt")]
        if let Some(settings) = &self.signed {
            settings.check(self.auth.0.client_id(), &self.common, problems);
        }
        if self.claim_settings.scope_claim.as_deref() == Some("") {
            problems.push("scope_claim", "empty");
        }
        if self.timeout.is_zero() {
            problems.push("timeout", "must be greater than zero");
        }
        for (at, (name, _)) in self.parameters.iter().enumerate() {
            if RESERVED.contains(&name.as_str()) {
                problems.push("parameter", format!("`{name}` has a setting of its own"));
            } else if self.parameters.iter().take(at).any(|(earlier, _)| earlier == name) {
                problems.push("parameter", format!("`{name}` is given twice"));
            }
        }
    }
}

impl fmt::Debug for IntrospectionVerifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionVerifierBuilder")
            .field("issuer", &self.common.issuer)
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

//! The builder of [`IntrospectionVerifier`].

use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "jwt")]
use super::signed::SignedResponse;
use super::{auth::ClientAuth, response::ClaimSettings, verifier::IntrospectionVerifier};
use crate::{
    clock::Clock,
    transport::{common::CommonSettings, http_transport::HttpTransport},
};
#[cfg(feature = "_crypto")]
use crate::{credentials::token::Token, upstream::guard::verifier::CanaryToken};

/// The default limit on how long a client waits for the authorization server.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

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
    pub(super) auth: ClientAuth,
    pub(super) endpoint: Option<String>,
    pub(super) hint: Option<String>,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) connection_per_request: bool,
    pub(super) claim_settings: ClaimSettings,
    #[cfg(feature = "cache")]
    pub(crate) confirms_jwts: bool,
    #[cfg(feature = "_crypto")]
    pub(super) canary_token: Option<CanaryToken>,
    #[cfg(feature = "jwt")]
    pub(super) signed: Option<SignedResponse>,
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
            #[cfg(feature = "cache")]
            confirms_jwts: false,
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
}

impl fmt::Debug for IntrospectionVerifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionVerifierBuilder")
            .field("issuer", &self.common.issuer)
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

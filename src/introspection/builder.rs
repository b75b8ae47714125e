//! The builder of [`IntrospectionVerifier`].

use std::{fmt, sync::Arc, time::Duration};

use tower::retry::budget::TpsBudget;

#[cfg(all(feature = "jwt", feature = "_crypto"))]
use super::signed::{Opener, SignedResponse, Surroundings};
use super::{
    auth::ClientAuth,
    exchange::{Exchange, Format, Target},
    verifier::IntrospectionVerifier,
};
use crate::{
    clock::{Clock, SystemClock},
    error::config::ConfigError,
    telemetry::{self, called::Called},
    transport::{
        discovery::discover::Discovery, endpoint::Endpoint, http_transport::HttpTransport,
        upstream::Upstream,
    },
};

/// The default limit on how long a client waits for the authorization server.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// The retry budget: one retry a second, and one more for every ten requests whose response was no
/// server error. A server that is down gets hardly more requests than the clients cause.
const RETRY_WINDOW: Duration = Duration::from_secs(10);
const RETRIES_PER_SECOND: u32 = 1;
const RETRIES_PER_ANSWER: f32 = 0.1;

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
    issuer: String,
    auth: ClientAuth,
    endpoint: Option<String>,
    transport: Option<HttpTransport>,
    hint: Option<String>,
    parameters: Vec<(String, String)>,
    timeout: Duration,
    default_audience: Option<String>,
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
    signed: Option<SignedResponse>,
    resolved: bool,
    clock: Arc<dyn Clock>,
    loopback_http: bool,
}

impl IntrospectionVerifier {
    /// Returns a builder of a verifier that introspects tokens at `issuer` and authenticates with
    /// `auth`.
    ///
    /// See the [module docs](self) for an example.
    pub fn builder(issuer: impl Into<String>, auth: ClientAuth) -> IntrospectionVerifierBuilder {
        IntrospectionVerifierBuilder::new(issuer.into(), auth)
    }
}

impl IntrospectionVerifierBuilder {
    pub(super) fn new(issuer: String, auth: ClientAuth) -> Self {
        Self {
            issuer,
            auth,
            endpoint: None,
            transport: None,
            hint: None,
            parameters: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            default_audience: None,
            #[cfg(all(feature = "jwt", feature = "_crypto"))]
            signed: None,
            resolved: false,
            clock: Arc::new(SystemClock),
            loopback_http: false,
        }
    }

    /// Sets the URL of the introspection endpoint. By default it is discovered (RFC 8414).
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Sets the transport for requests to the authorization server. The default is
    /// `HttpTransport::reqwest`, if the feature `reqwest` is enabled.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.transport = Some(transport);
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

    /// Requires signed responses (RFC 9701). All others are refused.
    ///
    /// Without this setting no signed response is requested or accepted.
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    pub fn require_signed_response(mut self, settings: SignedResponse) -> Self {
        self.signed = Some(settings);
        self
    }

    /// Sets the audience of tokens whose response has no `aud`.
    ///
    /// # Security
    ///
    /// Some servers never name the audience. With this setting, every token of such a server counts
    /// as meant for this service. That includes tokens that a client got for another service, and
    /// refresh tokens that the server reports as active. Prefer a server that names the audience.
    pub fn danger_default_audience(mut self, audience: impl Into<String>) -> Self {
        self.default_audience = Some(audience.into());
        self
    }

    /// Sets the clock. The default is the clock of the operating system.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Marks the issuer as one of an unbounded number, which share one label in metrics.
    pub(crate) fn resolved(mut self) -> Self {
        self.resolved = true;
        self
    }

    /// Allows `http` URLs of the loopback interface, for tests.
    ///
    /// # Security
    ///
    /// Tokens and credentials are then sent unencrypted to any process that listens on that port.
    pub fn danger_allow_http_loopback(mut self) -> Self {
        self.loopback_http = true;
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
        let issuer: Arc<str> = self.issuer.as_str().into();
        let transport = HttpTransport::or_default(self.transport.as_ref(), &mut problems);
        let discovery = transport.as_ref().and_then(|transport| {
            let (transport, upstream) = (transport.clone(), self.upstream(Called::Metadata));
            Discovery::new(&issuer, transport, self.loopback_http, upstream)
                .map_err(|problem| problems.push("issuer", problem))
                .ok()
        });
        let target = self.target(discovery.clone(), &mut problems);
        let (Some(transport), Some(discovery), Some(target)) = (transport, discovery, target)
        else {
            return Err(problems);
        };
        let Some(format) = self.format(&issuer, &transport, &discovery) else {
            return Err(problems);
        };
        let upstream = self.upstream(Called::Introspection);
        let hint = self.hint.map(|hint| ("token_type_hint".to_owned(), hint));
        let exchange = Exchange {
            issuer,
            upstream,
            auth: self.auth,
            target,
            format,
            transport,
            parameters: hint.into_iter().chain(self.parameters).collect(),
            timeout: self.timeout,
            default_audience: self.default_audience,
            budget: TpsBudget::new(RETRY_WINDOW, RETRIES_PER_SECOND, RETRIES_PER_ANSWER),
            clock: self.clock,
        };
        problems.or_ok(IntrospectionVerifier { exchange: Arc::new(exchange) })
    }

    #[cfg_attr(
        not(all(feature = "jwt", feature = "_crypto")),
        expect(clippy::unused_self, unused_variables, reason = "only signed answers need these")
    )]
    fn format(
        &self,
        issuer: &Arc<str>,
        transport: &HttpTransport,
        discovery: &Discovery,
    ) -> Option<Format> {
        #[cfg(all(feature = "jwt", feature = "_crypto"))]
        if let Some(settings) = &self.signed {
            let around = Surroundings {
                issuer: Arc::clone(issuer),
                client_id: self.auth.client_id(),
                transport: transport.clone(),
                discovery: discovery.clone(),
                upstream: self.upstream(Called::Jwks),
                loopback_http: self.loopback_http,
            };
            return Opener::new(settings.clone(), around).map(Format::Signed);
        }
        Some(Format::Json)
    }

    fn upstream(&self, what: Called) -> Upstream {
        let name = telemetry::report::issuer_label(&self.issuer, self.resolved);
        Upstream::new(name, what, Arc::clone(&self.clock))
    }

    fn target(&self, discovery: Option<Discovery>, problems: &mut ConfigError) -> Option<Target> {
        let Some(url) = &self.endpoint else { return discovery.map(Target::Discovered) };
        let endpoint = Endpoint::parse(url, self.loopback_http);
        endpoint.map(Target::Fixed).map_err(|problem| problems.push("endpoint", problem)).ok()
    }

    fn check(&self, problems: &mut ConfigError) {
        self.auth.check(problems);
        #[cfg(all(feature = "jwt", feature = "_crypto"))]
        if let Some(settings) = &self.signed {
            settings.check(self.auth.client_id(), self.loopback_http, problems);
        }
        if self.timeout.is_zero() {
            problems.push("timeout", "no time at all");
        }
        for (at, (name, _)) in self.parameters.iter().enumerate() {
            if RESERVED.contains(&name.as_str()) {
                problems.push("parameter", format!("`{name}` is set otherwise"));
            } else if self.parameters.iter().take(at).any(|(earlier, _)| earlier == name) {
                problems.push("parameter", format!("`{name}` is given twice"));
            }
        }
    }
}

impl fmt::Debug for IntrospectionVerifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionVerifierBuilder")
            .field("issuer", &self.issuer)
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

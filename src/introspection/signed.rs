//! Verifies signed introspection responses (RFC 9701).

use std::{sync::Arc, time::Duration};

use crate::{
    checks::{check::Check, detail::Detail, record::record},
    claims::claims_set::Claims,
    clock::UnixTime,
    error::{config::ConfigError, kind::ErrorKind, refusal::VerifyError},
    jose::{algorithm::Algorithm, header::Header, jws::CompactJws},
    jwt::{
        keys::{KeySet, Mismatch},
        read_keys::MAX_KEYS,
        remote_keys::RemoteKeys,
        source::KeySource,
        statement::StatementKeys,
    },
    refresh::asker::Asker,
    transport::{
        common::{CommonSettings, Location},
        discovery::discover::Discovery,
        endpoint::Endpoint,
        http_transport::HttpTransport,
        response::bad,
    },
    verify::readiness::Readiness,
};

/// The media type of a signed response, also sent in `Accept` (RFC 9701 §4, §5).
pub(super) const MEDIA_TYPE: &str = "application/token-introspection+jwt";

const TYP: &str = "token-introspection+jwt";

/// The maximum age of a response, in addition to the clock skew. An older one was made for another
/// request.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The accepted difference between the clocks of the server and this service.
const SKEW: Duration = Duration::from_secs(30);

/// The requirements for a signed introspection response (RFC 9701).
///
/// By default the response must be signed by one of the keys that the issuer publishes, with an
/// asymmetric algorithm, and its audience must be the client identifier of this service.
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use tower_introspect::transport::HttpTransport;
/// use tower_introspect::{
///     ClientAuth,
///     introspection::{IntrospectionVerifier, SignedResponse},
///     jose::Algorithm,
/// };
/// # let transport = HttpTransport::new(tower::service_fn(async |_: Request<Bytes>| {
/// #     Ok::<_, std::convert::Infallible>(Response::new(Bytes::new()))
/// # }));
///
/// let auth = ClientAuth::basic("api", "correct horse");
/// let verifier = IntrospectionVerifier::builder("https://as.example.com", auth)
///     .require_signed_response(SignedResponse::new().algorithms([Algorithm::ES256]))
///     .transport(transport)
///     .build()?;
/// # let _ = verifier;
/// # Ok::<(), tower_introspect::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "does nothing until passed to `require_signed_response`"]
pub struct SignedResponse {
    keys: Option<KeySet>,
    jwks_uri: Option<String>,
    algorithms: Vec<Algorithm>,
    audience: ExpectedAudience,
}

/// The audience that a response must have.
#[derive(Clone, Debug)]
enum ExpectedAudience {
    /// The client identifier of this service.
    Client,
    Exactly(Box<str>),
    /// One of the audiences of the token.
    Token,
}

impl SignedResponse {
    /// Creates the default requirements. See the [type's documentation](Self) for an example.
    pub fn new() -> Self {
        Self {
            keys: None,
            jwks_uri: None,
            algorithms: Algorithm::ASYMMETRIC.to_vec(),
            audience: ExpectedAudience::Client,
        }
    }

    /// Sets the keys that may sign, instead of those the issuer publishes.
    pub fn keys(mut self, keys: KeySet) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Sets the URL that the keys are fetched from. By default it is discovered (RFC 8414).
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.jwks_uri = Some(url.into());
        self
    }

    /// Sets the allowed algorithms. The default is all asymmetric ones.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Sets the required audience of a response, instead of the client identifier of this service.
    ///
    /// For servers that use the identifier of the resource server as the audience (RFC 9701 §5).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = ExpectedAudience::Exactly(audience.into().into());
        self
    }

    /// Requires that a response and the token it describes share an audience.
    ///
    /// For servers that set the audience of the response to that of the token.
    ///
    /// # Security
    ///
    /// If a token is meant for this service and another one, a response made for the other service
    /// is accepted here. The [`Policy`](crate::Policy) still requires that the token is meant for
    /// this service.
    pub fn danger_audience_of_token(mut self) -> Self {
        self.audience = ExpectedAudience::Token;
        self
    }

    /// Returns true if the metadata of the issuer has to say where the keys are.
    pub(super) const fn discovers_keys(&self) -> bool {
        self.keys.is_none() && self.jwks_uri.is_none()
    }

    /// Adds the problems with the settings to `problems`.
    pub(super) fn check(
        &self,
        client_id: Option<&str>,
        common: &CommonSettings,
        problems: &mut ConfigError,
    ) {
        if let Some(url) = &self.jwks_uri {
            let _ = common.fixed_location(url, "signed_response.jwks_uri", problems);
        }
        let mut problem = |text| problems.push("signed_response", text);
        if self.algorithms.is_empty() {
            problem("no algorithm is allowed");
        }
        let shared = |algorithm| !Algorithm::ASYMMETRIC.contains(algorithm);
        match &self.keys {
            Some(keys) if keys.is_empty() => problem("there is no key"),
            Some(_) if self.jwks_uri.is_some() => {
                problem("`keys` and `jwks_uri` must not be combined")
            }
            None if self.algorithms.iter().any(shared) => {
                problem("an `HS` algorithm needs a secret in `keys`")
            }
            _ => {}
        }
        match &self.audience {
            ExpectedAudience::Client if client_id.is_none() => {
                problem("the credentials have no client identifier, so an audience must be set");
            }
            ExpectedAudience::Exactly(audience) if audience.is_empty() => {
                problem("the audience is empty")
            }
            _ => {}
        }
    }
}

impl Default for SignedResponse {
    fn default() -> Self {
        Self::new()
    }
}

/// Verifies responses by the requirements of a [`SignedResponse`].
pub(super) struct SignedResponseVerifier {
    keys: StatementKeys,
    audience: Option<Box<str>>,
}

impl SignedResponseVerifier {
    /// Creates a verifier. Returns `None` if the settings do not pass [`SignedResponse::check`].
    pub(super) fn new(
        settings: SignedResponse,
        client_id: Option<&str>,
        common: &CommonSettings,
        transport: HttpTransport,
        discovery: Option<Discovery>,
    ) -> Option<Self> {
        let audience = match settings.audience {
            ExpectedAudience::Client => client_id.map(Into::into),
            ExpectedAudience::Exactly(audience) => Some(audience),
            ExpectedAudience::Token => None,
        };
        let keys = match settings.keys {
            Some(keys) => KeySource::Static(Arc::new(keys)),
            None => {
                let location = match settings.jwks_uri {
                    Some(url) => Location::Fixed(Endpoint::parse(&url, common.loopback_http).ok()?),
                    None => Location::Discovered(discovery?),
                };
                KeySource::Remote(RemoteKeys::new(common, location, transport, MAX_KEYS))
            }
        };
        let keys = StatementKeys::new(&*common.issuer, keys, settings.algorithms);
        Some(Self { keys, audience })
    }

    /// Starts to fetch the keys if there are none, without waiting.
    pub(super) fn start_fetching(&self) {
        self.keys.start_fetching();
    }

    /// Returns the state of the keys.
    pub(super) fn readiness(&self) -> Readiness {
        self.keys.readiness()
    }

    /// Verifies the response and returns the claims that `read` finds in its part about the token.
    ///
    /// Any problem with the response itself is the server's fault, never the client's.
    pub(super) async fn claims(
        &self,
        body: &[u8],
        now: UnixTime,
        read: impl FnOnce(&[u8]) -> Result<Claims, VerifyError>,
    ) -> Result<Claims, VerifyError> {
        let response = self.verify(body, now).await;
        let response = record(Check::AnswerSignature, Detail::default, response)?;
        // This member describes the token; all others describe the response (RFC 9701 §5).
        let token = response.raw("token_introspection").unwrap_or_default();
        let claims = read(token.as_bytes());
        let names = |audience: &str| response.audience().contains(audience);
        let fits = match (&self.audience, &claims) {
            (Some(expected), _) => names(expected),
            (None, Ok(claims)) => claims.audience().iter().any(names),
            // A refusal grants nothing, so its audience does not matter.
            (None, Err(_)) => true,
        };
        if !fits {
            let other = Err(bad("the signed response has another audience"));
            return record(Check::AnswerSignature, Detail::default, other);
        }
        claims
    }

    /// Returns the claims of the response, if the issuer signed it and it is recent.
    async fn verify(&self, body: &[u8], now: UnixTime) -> Result<Claims, VerifyError> {
        let jws = std::str::from_utf8(body).ok().and_then(|text| CompactJws::parse(text).ok());
        let jws = jws.ok_or_else(|| bad("the signed response is not a JWS"))?;
        self.check_signature(&jws).await?;
        let response = Claims::from_json(jws.payload()).map_err(|error| {
            bad("the claims of the signed response are malformed").with_source(error)
        })?;
        if response.issuer() != Some(self.keys.issuer()) {
            return Err(bad("the signed response is from another issuer"));
        }
        check_time(&response, now)?;
        Ok(response)
    }

    async fn check_signature(&self, jws: &CompactJws<'_>) -> Result<(), VerifyError> {
        let header = Header::parse(jws.header())
            .map_err(|_| bad("the header of the signed response is malformed"))?;
        let Some(algorithm) = self.keys.algorithm(&header.alg) else {
            return Err(bad("the algorithm of the signed response is not allowed"));
        };
        if header.demands_extension() || header.is_nested() {
            return Err(bad("the signed response is nested or demands an extension"));
        }
        if !header.is_typ(TYP) {
            return Err(bad(format!("the `typ` of the signed response is not {TYP}")));
        }
        // The server has just made the response.
        let key = (algorithm, header.kid.as_deref());
        let outcome =
            self.keys.verify(jws, key, (None, None), Asker::Own).await.map_err(unavailable)?;
        outcome.map_err(|mismatch| {
            bad(match mismatch {
                Mismatch::BadSignature => "the signature of the response does not verify",
                Mismatch::UnknownKey => "no key of the issuer fits the signed response",
                Mismatch::Untried => "more keys fit the signed response than are tried",
                Mismatch::Unusable => "the published key of the signed response can't be used",
                Mismatch::WrongAlgorithm => {
                    "the key of the signed response is for another algorithm"
                }
            })
        })
    }
}

/// Returns the error for a response whose key is not known yet. No client can cause it.
fn unavailable(error: VerifyError) -> VerifyError {
    if error.kind() != ErrorKind::KeyPending {
        return error;
    }
    let unavailable = VerifyError::new(ErrorKind::Unavailable)
        .with_context("the key of the signed response is not known yet");
    error.retry_after().into_iter().fold(unavailable, VerifyError::with_retry_after)
}

/// Refuses a response that was not made just now. RFC 9701 §5 requires `iat` and advises against
/// `exp`.
fn check_time(response: &Claims, now: UnixTime) -> Result<(), VerifyError> {
    let issued_at = response.issued_at().ok_or_else(|| bad("the signed response lacks `iat`"))?;
    let (past, future) = (now.saturating_sub(SKEW), now.saturating_add(SKEW));
    let fresh = issued_at >= past.saturating_sub(MAX_AGE)
        && issued_at <= future
        && response.expires_at().is_none_or(|end| end > past)
        && response.not_before().is_none_or(|start| start <= future);
    if fresh { Ok(()) } else { Err(bad("the signed response is not recent")) }
}

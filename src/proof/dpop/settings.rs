//! The settings of DPoP.

use std::{fmt, sync::Arc, time::Duration};

use http::Uri;

use super::{
    nonce::{NonceSecret, Nonces},
    target::Base,
};
use crate::{
    credentials::head::RequestHead,
    error::config::ConfigError,
    jose::algorithm::{Algorithm, KeyType},
    proof::{
        presented::FAPI2,
        replay::{memory::MemoryReplay, store::ReplayStore},
    },
};

/// The default for how old `iat` may be.
const DEFAULT_WINDOW: Duration = Duration::from_secs(30);

/// How far `iat` may lie in the future at most (FAPI 2.0 Security Profile §5.3.2.1).
const MAX_AHEAD: Duration = Duration::from_secs(60);

/// The longest window that can be configured.
const MAX_WINDOW: Duration = Duration::from_secs(300);

/// The default algorithms of proofs.
const DEFAULT_ALGORITHMS: [Algorithm; 5] =
    [Algorithm::ES256, Algorithm::EdDSA, Algorithm::PS256, Algorithm::ES384, Algorithm::RS256];

/// Admits tokens that are bound to a key, with a proof that the client signs for each request (RFC
/// 9449).
///
/// Set it with [`Policy::dpop`](crate::Policy::dpop) and `ResourceServerBuilder::dpop`.
///
/// ```
/// use std::time::Duration;
/// use tower_introspect::{Policy, jose::Algorithm, proof::Dpop};
///
/// let dpop = Dpop::new("https://api.example.com")?
///     .algorithms([Algorithm::ES256, Algorithm::EdDSA])
///     .window(Duration::from_secs(10))
///     .require_nonce();
/// let policy = Policy::new("https://api.example.com").dpop(dpop);
/// # let _ = policy;
/// # Ok::<(), tower_introspect::ConfigError>(())
/// ```
///
/// # Which URL a proof must name
///
/// A proof must name the URL by which the client knows the resource. That is the configured URL
/// followed by the path of the request, compared as RFC 9449 §4.3 requires, without query and
/// fragment. `Host`, `:authority`, `Forwarded` and `X-Forwarded-*` are ignored: a client controls
/// them, so they cannot say for whom a proof was meant.
///
/// If a proxy strips a prefix from the path, configure a URL with that prefix. A nested axum router
/// strips its prefix too: put the layer outside of the nested router, or restore the original URI
/// with [`request_uri`](Self::request_uri). Otherwise every proof is refused.
///
/// A path with dot segments (`/a/../b`, also percent-encoded) is compared as it was sent, and a proof
/// for `/b` is not good for it: what serves the request may or may not resolve them.
///
/// gRPC needs nothing else: the method is `POST`, and the path names service and method.
///
/// # Clone
///
/// Clones share the replay store.
#[derive(Clone)]
pub struct Dpop(pub(super) Arc<DpopConfig>);

#[derive(Clone)]
pub(super) struct DpopConfig {
    pub(super) bases: Vec<Base>,
    algorithms: Vec<Algorithm>,
    pub(super) window: Duration,
    max_ahead: Option<Duration>,
    pub(super) nonce_mode: NonceMode,
    pub(super) nonces: Nonces,
    pub(super) store: Arc<dyn ReplayStore>,
    /// True if the application set the store.
    has_own_store: bool,
    pub(super) request_uri: Option<Arc<RequestUriFn>>,
}

type RequestUriFn = dyn for<'a> Fn(RequestHead<'a>) -> Option<&'a Uri> + Send + Sync;

/// How nonces are used in proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NonceMode {
    Off,
    /// A nonce may replace `iat`, for clients whose clock is wrong.
    Optional,
    Required,
}

impl NonceMode {
    pub(super) const fn accepts_nonces(self) -> bool {
        !matches!(self, Self::Off)
    }

    pub(super) const fn requires_nonces(self) -> bool {
        matches!(self, Self::Required)
    }
}

impl Dpop {
    /// Accepts proofs for resources below `url`.
    ///
    /// `url` holds the scheme and host of this service as clients see them, and the path prefix
    /// before its own paths, if there is one.
    ///
    /// ```
    /// use tower_introspect::proof::Dpop;
    ///
    /// assert!(Dpop::new("https://api.example.com").is_ok());
    /// assert!(Dpop::new("https://gateway.example.com/payments").is_ok());
    /// assert!(Dpop::new("api.example.com").is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// If `url` is no `http` or `https` URL, or has a query, a fragment or a user; or if the
    /// operating system provides no random bytes.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(DpopConfig {
            bases: vec![base(url)?],
            algorithms: DEFAULT_ALGORITHMS.into(),
            window: DEFAULT_WINDOW,
            max_ahead: None,
            nonce_mode: NonceMode::Off,
            nonces: Nonces::new(NonceSecret::random()?),
            store: Arc::new(MemoryReplay::new()),
            has_own_store: false,
            request_uri: None,
        })))
    }

    /// Also accepts proofs for resources below `url`, for a service with several names.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub fn or_url(self, url: &str) -> Result<Self, ConfigError> {
        let base = base(url)?;
        Ok(self.with(|config| config.bases.push(base)))
    }

    /// Sets the algorithms of proofs. The default is ES256, EdDSA, PS256, ES384 and RS256.
    ///
    /// Challenges list them in this order. Algorithms with a shared secret are left out: a proof is
    /// made with a private key (RFC 9449 §4.2).
    #[must_use]
    pub fn algorithms(self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let asymmetric = |algorithm: &Algorithm| algorithm.key_type() != KeyType::Secret;
        let algorithms = algorithms.into_iter().filter(asymmetric).collect();
        self.with(|config| config.algorithms = algorithms)
    }

    /// Sets how far `iat` may lie in the past. The default is 30 s.
    ///
    /// It may lie in the future by as much, or by one minute if the window is longer, unless
    /// [`max_ahead`](Self::max_ahead) is set. The window is capped at five minutes. The replay store
    /// keeps a proof until it leaves the window, so a wide window takes more memory.
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        self.with(|config| config.window = window.min(MAX_WINDOW))
    }

    /// Sets how far `iat` may lie in the future, for clients whose clock is ahead.
    ///
    /// The default is the [`window`](Self::window). The value is capped at one minute, by default
    /// too. FAPI 2.0 wants at least ten seconds. A proof that was made ahead is good for that much
    /// longer, and the replay store keeps it until then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_introspect::proof::Dpop;
    ///
    /// // A proof is good for five seconds, or fifteen if the clock of the client is ten seconds ahead.
    /// let dpop = Dpop::new("https://api.example.com")?
    ///     .window(Duration::from_secs(5))
    ///     .max_ahead(Duration::from_secs(10));
    /// # let _ = dpop;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    #[must_use]
    pub fn max_ahead(self, ahead: Duration) -> Self {
        self.with(|config| config.max_ahead = Some(ahead))
    }

    /// Requires a nonce of this service in every proof (RFC 9449 §9).
    ///
    /// No proof can then be made long before it is used, and the clocks of clients do not matter:
    /// `iat` must be present but is not compared. A proof that states `exp` or `nbf` itself is held to
    /// them. A client without a nonce receives one with the
    /// refusal. It receives the next one with a response before the old one expires.
    #[must_use]
    pub fn require_nonce(self) -> Self {
        self.with(|config| config.nonce_mode = NonceMode::Required)
    }

    /// Accepts a nonce of this service in place of a current `iat`.
    ///
    /// A client whose clock is wrong receives a nonce with the refusal. Other clients receive none.
    #[must_use]
    pub fn accept_nonce(self) -> Self {
        self.with(|config| config.nonce_mode = NonceMode::Optional)
    }

    /// Sets the secret from which nonces are made, so that several instances accept each other's
    /// nonces.
    ///
    /// By default it is random for each instance.
    #[must_use]
    pub fn nonce_secret(self, secret: NonceSecret) -> Self {
        self.with(|config| config.nonces = config.nonces.clone().with_secret(secret))
    }

    /// Sets how long nonces are made with one key, before the next key is derived from the secret.
    ///
    /// A nonce is accepted during its own rotation and the next. The default is one minute; the
    /// value is rounded down to whole seconds and clamped to between ten seconds and one hour.
    /// Instances that share a secret must use the same rotation.
    #[must_use]
    pub fn nonce_rotation(self, rotation: Duration) -> Self {
        self.with(|config| config.nonces = config.nonces.clone().with_rotation(rotation))
    }

    /// Sets the store of used proofs. The default is a [`MemoryReplay`] in this process.
    #[must_use]
    pub fn replay_store(self, store: impl ReplayStore) -> Self {
        self.with(|config| {
            config.store = Arc::new(store);
            config.has_own_store = true;
        })
    }

    /// Sets the store of used proofs, unless the application set one.
    pub(crate) fn default_replay_store(self, store: Arc<dyn ReplayStore>) -> Self {
        if self.0.has_own_store { self } else { self.with(|config| config.store = store) }
    }

    /// Sets how to find the original URI of a request that something outside of the layer has
    /// rewritten.
    ///
    /// Only the path of the returned URI is used. `None` stands for the URI of the request.
    ///
    /// For a layer inside a nested axum router:
    ///
    /// ```
    /// use axum::extract::OriginalUri;
    /// use tower_introspect::proof::Dpop;
    ///
    /// let dpop = Dpop::new("https://api.example.com")?
    ///     .request_uri(|head| head.extension::<OriginalUri>().map(|OriginalUri(uri)| uri));
    /// # let _ = dpop;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    ///
    /// # Security
    ///
    /// Never take the URI from a header that clients can write.
    #[must_use]
    pub fn request_uri<F>(self, request_uri: F) -> Self
    where
        F: for<'a> Fn(RequestHead<'a>) -> Option<&'a Uri> + Send + Sync + 'static,
    {
        self.with(|config| config.request_uri = Some(Arc::new(request_uri)))
    }

    /// Returns the names of the accepted algorithms.
    pub(crate) fn algorithm_names(&self, fapi2: bool) -> impl Iterator<Item = &'static str> {
        self.0.accepted(fapi2).map(Algorithm::as_str)
    }

    fn with(mut self, change: impl FnOnce(&mut DpopConfig)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl DpopConfig {
    /// Returns how far `iat` may lie in the future.
    pub(super) fn max_ahead(&self) -> Duration {
        self.max_ahead.unwrap_or(self.window).min(MAX_AHEAD)
    }

    pub(super) fn accepted(&self, fapi2: bool) -> impl Iterator<Item = Algorithm> {
        self.algorithms.iter().copied().filter(move |algorithm| !fapi2 || FAPI2.contains(algorithm))
    }
}

impl fmt::Debug for Dpop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpop")
            .field("bases", &self.0.bases)
            .field("algorithms", &self.0.algorithms)
            .field("window", &self.0.window)
            .field("max_ahead", &self.0.max_ahead())
            .field("nonces", &self.0.nonce_mode)
            .finish_non_exhaustive()
    }
}

fn base(url: &str) -> Result<Base, ConfigError> {
    Base::parse(url).ok_or_else(|| {
        ConfigError::of("url", "must be an http or https URL without query, fragment or user")
    })
}

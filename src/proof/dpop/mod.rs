//! Proof of possession by DPoP (RFC 9449).

mod check;
pub(crate) mod nonce;
mod target;

use std::{fmt, sync::Arc, time::Duration};

use http::Uri;

use self::nonce::NonceSecret;
use self::{
    check::{Expected, flawed},
    nonce::Nonces,
    target::Base,
};
use super::{
    FAPI2, Presented, Shown,
    replay::{Mark, Pending, Proven, ReplayStore, memory::MemoryReplay},
};
use crate::{
    clock::Moment,
    error::{config::ConfigError, refusal::VerifyError},
    jose::algorithm::{Algorithm, KeyType},
    respond::RequestHead,
};

/// How far `iat` may be off, unless configured.
const DEFAULT_WINDOW: Duration = Duration::from_secs(30);

/// The longest window.
const MAX_WINDOW: Duration = Duration::from_secs(300);

/// The furthest that `iat` may be ahead, whatever the window (FAPI 2.0 Security Profile §5.3.2.1).
const MAX_AHEAD: Duration = Duration::from_secs(60);

/// The algorithms of proofs, unless configured.
const DEFAULT_ALGORITHMS: [Algorithm; 5] =
    [Algorithm::ES256, Algorithm::EdDSA, Algorithm::PS256, Algorithm::ES384, Algorithm::RS256];

/// Admits tokens that are bound to a key, by proofs that the client signs for each request
/// (RFC 9449).
///
/// For [`Policy::dpop`](crate::Policy::dpop) and `ResourceServerBuilder::dpop`.
///
/// ```
/// use std::time::Duration;
/// use tower_introspect::{Policy, proof::{Algorithm, Dpop}};
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
/// That by which the client knows the resource: the configured URL and the path of the request, compared
/// as RFC 9449 §4.3 wants, without query and fragment. `Host`, `:authority`, `Forwarded` and
/// `X-Forwarded-*` are not looked at: what a client sends can't say whom a proof was meant for.
///
/// A proxy that takes a prefix off the path is told by a URL with that prefix. An axum router does the
/// same to what is nested in it: put the layer outside of the nest, or have it look at what the request
/// was before, see [`request_uri`](Self::request_uri). Otherwise no proof is good.
///
/// gRPC needs nothing else: the method is `POST`, and the path names service and method.
///
/// # Clone
///
/// Clones share the memory of used proofs.
#[derive(Clone)]
pub struct Dpop(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    bases: Vec<Base>,
    algorithms: Vec<Algorithm>,
    window: Duration,
    mode: Mode,
    nonces: Nonces,
    store: Arc<dyn ReplayStore>,
    request_uri: Option<Arc<RequestUri>>,
}

type RequestUri = dyn for<'a> Fn(RequestHead<'a>) -> Option<&'a Uri> + Send + Sync;

/// What nonces are to proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Off,
    /// They may stand in for `iat`, where the clock of a client is wrong.
    Optional,
    Required,
}

impl Mode {
    const fn takes_nonces(self) -> bool {
        !matches!(self, Self::Off)
    }

    const fn demands_nonces(self) -> bool {
        matches!(self, Self::Required)
    }
}

impl Dpop {
    /// Takes proofs for the resources that clients find below `url`: the scheme and host of this service
    /// as they see it, and the path before its own, if there is one.
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
    /// If it is no `http` or `https` URL, or has a query, a fragment or a user; or if the operating
    /// system gives no random bytes.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(Inner {
            bases: vec![base(url)?],
            algorithms: DEFAULT_ALGORITHMS.into(),
            window: DEFAULT_WINDOW,
            mode: Mode::Off,
            nonces: Nonces::new(NonceSecret::random()?),
            store: Arc::new(MemoryReplay::new()),
            request_uri: None,
        })))
    }

    /// Also takes proofs for what clients find below `url`, where the service has several names.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn or_url(self, url: &str) -> Result<Self, ConfigError> {
        let base = base(url)?;
        Ok(self.with(|inner| inner.bases.push(base)))
    }

    /// Sets the algorithms of proofs: by default ES256, EdDSA, PS256, ES384 and RS256. Clients are told
    /// them in this order.
    ///
    /// Those with a secret are left out: a proof is made with a private key (RFC 9449 §4.2).
    #[must_use]
    pub fn algorithms(self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let asymmetric = |algorithm: &Algorithm| algorithm.key_type() != KeyType::Secret;
        let algorithms = algorithms.into_iter().filter(asymmetric).collect();
        self.with(|inner| inner.algorithms = algorithms)
    }

    /// Sets how far `iat` may be off, to either side. 30 s by default; it is cut to five minutes, and
    /// what is to come to one.
    ///
    /// A proof is remembered for as long, so a wide window takes more memory.
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        self.with(|inner| inner.window = window.min(MAX_WINDOW))
    }

    /// Demands a nonce of this service in every proof (RFC 9449 §9).
    ///
    /// Then no proof can be made long before it is used, and the clocks of clients do not matter:
    /// `iat` must be there but is not compared. A client without a nonce is given one with the refusal,
    /// and another with a response before that gets too old.
    #[must_use]
    pub fn require_nonce(self) -> Self {
        self.with(|inner| inner.mode = Mode::Required)
    }

    /// Takes a nonce of this service in place of an `iat` of now.
    ///
    /// A client whose clock is wrong is given one with the refusal, others never hear of it.
    #[must_use]
    pub fn accept_nonce(self) -> Self {
        self.with(|inner| inner.mode = Mode::Optional)
    }

    /// Sets the secret that nonces are made with, for instances that take each other's. By default it is
    /// random.
    #[must_use]
    pub fn nonce_secret(self, secret: NonceSecret) -> Self {
        self.with(|inner| inner.nonces = inner.nonces.clone().with_secret(secret))
    }

    /// Sets after how long nonces are made with another key, derived from the secret. A nonce is taken
    /// for one rotation, and up to one more. A minute by default; between ten seconds and one hour. The
    /// same for instances that share a secret.
    #[must_use]
    pub fn nonce_rotation(self, rotation: Duration) -> Self {
        self.with(|inner| inner.nonces = inner.nonces.clone().with_rotation(rotation))
    }

    /// Sets what remembers used proofs. By default that is a [`MemoryReplay`] of this process.
    #[must_use]
    pub fn replay_store(self, store: impl ReplayStore) -> Self {
        self.with(|inner| inner.store = Arc::new(store))
    }

    /// Says which URI a request had when it came, where something outside of the layer has changed it.
    /// Of what is returned only the path counts; where that is `None`, it is the request's own.
    ///
    /// For a layer within a nested axum router:
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
    /// A header that clients can write is no place to take it from.
    #[must_use]
    pub fn request_uri<F>(self, request_uri: F) -> Self
    where
        F: for<'a> Fn(RequestHead<'a>) -> Option<&'a Uri> + Send + Sync + 'static,
    {
        self.with(|inner| inner.request_uri = Some(Arc::new(request_uri)))
    }

    /// The names of the algorithms.
    pub(crate) fn names(&self, fapi2: bool) -> impl Iterator<Item = &'static str> {
        self.0.accepted(fapi2).map(Algorithm::as_str)
    }

    /// Holds the proof of a request against the key `jkt`, and notes what is still to be done.
    pub(super) fn check(
        &self,
        jkt: &str,
        presented: &Presented<'_>,
        fapi2: bool,
        now: Moment,
        shown: &mut Shown,
    ) -> Result<(), VerifyError> {
        let inner = &*self.0;
        let head = presented.head;
        let proof = check::find(head.headers()).map_err(flawed)?;
        // Whoever leaves the token out has nothing that a proof could be for.
        let token = presented.token.ok_or_else(|| flawed("there is no token to compare"))?;
        let original = inner.request_uri.as_deref().and_then(|original| original(head));
        let expected = Expected {
            method: head.method().as_str(),
            path: original.unwrap_or(head.uri()).path(),
            token,
            jkt,
            fapi2,
            now: now.wall(),
        };
        let proof = inner.verify(proof, &expected)?;
        let mark = Mark::new(jkt, &proof.jti, now, proof.until);
        let pending = Pending::new(&inner.store, mark);
        let settled = head.extension::<Proven>().is_some_and(|done| pending.is_settled_by(done));
        shown.pending = (!settled).then_some(pending);
        shown.left.nonce = proof.is_aging.then(|| inner.nonces.make(now.wall())).flatten();
        Ok(())
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl Inner {
    fn accepted(&self, fapi2: bool) -> impl Iterator<Item = Algorithm> {
        self.algorithms.iter().copied().filter(move |algorithm| !fapi2 || FAPI2.contains(algorithm))
    }
}

impl fmt::Debug for Dpop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpop")
            .field("bases", &self.0.bases)
            .field("algorithms", &self.0.algorithms)
            .field("window", &self.0.window)
            .field("nonces", &self.0.mode)
            .finish_non_exhaustive()
    }
}

fn base(url: &str) -> Result<Base, ConfigError> {
    Base::parse(url).ok_or_else(|| {
        let mut problem = ConfigError::new();
        problem.push("url", "it is no http or https URL, or has a query, a fragment or a user");
        problem
    })
}

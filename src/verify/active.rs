use std::{fmt, sync::Arc};

#[cfg(all(feature = "jwt", feature = "_crypto"))]
use crate::jose::{algorithm::Algorithm, key::VerificationKey};
use crate::{claims::Claims, clock::Moment};

/// How a token was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// By its signature, and by asking the authorization server whether it still holds.
    Confirmed,
    /// By a verifier of the application's own.
    Custom,
    /// By asking the authorization server about a JWT, because its keys could not be had.
    Fallback,
    /// By asking the authorization server (RFC 7662).
    Introspection,
    /// By its signature (RFC 7519).
    Jwt,
}

impl Method {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Custom => "custom",
            Self::Fallback => "fallback",
            Self::Introspection => "introspection",
            Self::Jwt => "jwt",
        }
    }
}

/// What an issuer vouches for: a fact, not a permission.
///
/// Cheap to clone, and the only thing a cache may hold. It becomes a
/// [`VerifiedToken`](crate::VerifiedToken) by passing a [`Policy`](crate::Policy).
#[derive(Clone)]
pub struct ActiveToken(Arc<Facts>);

struct Facts {
    issuer: Arc<str>,
    claims: Claims,
    method: Method,
    verified_at: Moment,
    key: Option<Key>,
    stale: bool,
}

/// The key that a token was verified with, and how.
#[cfg(all(feature = "jwt", feature = "_crypto"))]
#[derive(Clone)]
struct Key {
    key: Arc<VerificationKey>,
    algorithm: Algorithm,
}

/// Without local verification there is none.
#[cfg(not(all(feature = "jwt", feature = "_crypto")))]
#[derive(Clone)]
enum Key {}

impl ActiveToken {
    /// States that `issuer` vouches for `claims`.
    ///
    /// `issuer` is the identifier of the trusted issuer whose key or whose introspection endpoint
    /// established it, never one that the token merely names. `verified_at` is the *start* of the
    /// verification: a revocation after that moment may have been missed.
    ///
    /// ```
    /// use tower_introspect::{
    ///     claims::Claims,
    ///     clock::{Moment, SystemClock},
    ///     verify::{ActiveToken, Method},
    /// };
    ///
    /// let start = Moment::now(&SystemClock);
    /// let claims = Claims::from_json(br#"{"sub": "alice"}"#).unwrap();
    /// let active = ActiveToken::new("https://as.example.com", claims, Method::Custom, start);
    /// assert_eq!(active.claims().subject(), Some("alice"));
    /// ```
    #[must_use]
    pub fn new(
        issuer: impl Into<Arc<str>>,
        claims: Claims,
        method: Method,
        verified_at: Moment,
    ) -> Self {
        let issuer = issuer.into();
        Self(Arc::new(Facts { issuer, claims, method, verified_at, key: None, stale: false }))
    }

    /// States that `issuer` signed `claims` with `key`, by `algorithm`.
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
    pub(crate) fn signed(
        issuer: Arc<str>,
        claims: Claims,
        key: Arc<VerificationKey>,
        algorithm: Algorithm,
        verified_at: Moment,
    ) -> Self {
        let (method, key) = (Method::Jwt, Some(Key { key, algorithm }));
        Self(Arc::new(Facts { issuer, claims, method, verified_at, key, stale: false }))
    }

    /// The same facts, established in another way.
    pub(crate) fn by(&self, method: Method) -> Self {
        self.restated(self.claims().clone(), method, self.verified_at())
    }

    /// Other claims of the same token, known from `verified_at` on. They hold no longer than the
    /// key that signed it.
    pub(crate) fn restated(&self, claims: Claims, method: Method, verified_at: Moment) -> Self {
        self.with(claims, method, verified_at, self.0.stale)
    }

    /// The same facts, older than was asked for, because nothing newer can be had.
    pub(crate) fn as_stale(&self) -> Self {
        self.with(self.claims().clone(), self.method(), self.verified_at(), true)
    }

    /// Whether these are the very same facts, not others that say the same.
    #[cfg(feature = "cache")]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How much memory they take.
    #[cfg(feature = "cache")]
    pub(crate) fn bytes(&self) -> usize {
        let counters = 2 * size_of::<usize>();
        // The claims count their own size. The issuer may be shared with others, but it need not be.
        let own = size_of::<Facts>() - size_of::<Claims>() + self.claims().bytes();
        counters + own + counters + self.issuer().len()
    }

    fn with(&self, claims: Claims, method: Method, verified_at: Moment, stale: bool) -> Self {
        let Facts { issuer, key, .. } = &*self.0;
        let (issuer, key) = (Arc::clone(issuer), key.clone());
        Self(Arc::new(Facts { issuer, claims, method, verified_at, key, stale }))
    }

    /// The issuer that vouches.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// What it vouches for.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.0.claims
    }

    /// How the token was verified.
    #[must_use]
    pub fn method(&self) -> Method {
        self.0.method
    }

    /// When the verification started.
    #[must_use]
    pub fn verified_at(&self) -> Moment {
        self.0.verified_at
    }

    /// True if these facts are older than was asked for, and used only because the authorization
    /// server is not available. Only where `CacheLayer::stale_if_error` is set.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.0.stale
    }

    /// Whether the key that signed the token is no longer one of its issuer.
    ///
    /// From the moment on that keys are fetched without it, or with another under its name, what
    /// it signed is no fact any more, and a [`Policy`](crate::Policy) refuses it. Whatever
    /// remembers facts can drop exactly those: the answer costs one load. A fact that rests on no
    /// fetched key never becomes so.
    ///
    /// ```
    /// use tower_introspect::{
    ///     claims::Claims,
    ///     clock::{Moment, SystemClock},
    ///     verify::{ActiveToken, Method},
    /// };
    ///
    /// let (claims, start) = (Claims::from_json(b"{}").unwrap(), Moment::now(&SystemClock));
    /// let active = ActiveToken::new("https://as.example.com", claims, Method::Custom, start);
    /// assert!(!active.is_retired());
    /// ```
    #[must_use]
    pub fn is_retired(&self) -> bool {
        #[cfg(all(feature = "jwt", feature = "_crypto"))]
        return self.0.key.as_ref().is_some_and(|signed| signed.key.is_retired());
        #[cfg(not(all(feature = "jwt", feature = "_crypto")))]
        false
    }
}

impl ActiveToken {
    /// The algorithm of the signature, where one was verified here.
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        self.0.key.as_ref().map(|signed| signed.algorithm)
    }
}

impl fmt::Debug for ActiveToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveToken")
            .field("issuer", &self.0.issuer)
            .field("method", &self.0.method)
            .field("verified_at", &self.0.verified_at.wall())
            .finish_non_exhaustive()
    }
}

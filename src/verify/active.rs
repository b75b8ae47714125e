use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

#[cfg(feature = "jwt")]
use crate::jose::{algorithm::Algorithm, key::VerificationKey};
use crate::{claims::claims_set::Claims, clock::Moment};

/// How a token was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// By its signature, and by an introspection request that confirmed it.
    Confirmed,
    /// By a custom verifier of the application.
    Custom,
    /// By introspection of a JWT, because the keys of its issuer could not be fetched.
    Fallback,
    /// By introspection (RFC 7662).
    Introspection,
    /// By its signature (RFC 7519).
    Jwt,
}

impl Method {
    /// Returns a stable name for logs and metrics.
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

/// The claims that an issuer vouches for: a fact, not a permission.
///
/// Cheap to clone. A cache may hold this type and nothing else. It becomes a
/// [`VerifiedToken`](crate::VerifiedToken) by passing a [`Policy`](crate::Policy).
#[derive(Clone)]
pub struct ActiveToken(Arc<Facts>);

/// The size in bytes of what is kept of a combination beside the texts.
#[cfg(feature = "cache")]
const COMBINATION_OVERHEAD: usize = 640;

struct Facts {
    issuer: Arc<str>,
    claims: Claims,
    method: Method,
    verified_at: Moment,
    signed_by: Option<SignedBy>,
    stale: bool,
    /// The set of revocations that noted the `iat` of these facts last, or zero.
    noted_by: AtomicU32,
    /// The length of the JWT that these facts confirm, which is 64 KiB at most, or zero. The padding
    /// holds it.
    #[cfg(feature = "cache")]
    confirmed_len: u16,
}

impl Facts {
    fn new(issuer: Arc<str>, claims: Claims, method: Method, verified_at: Moment) -> Self {
        Self {
            issuer,
            claims,
            method,
            verified_at,
            signed_by: None,
            stale: false,
            noted_by: AtomicU32::new(0),
            #[cfg(feature = "cache")]
            confirmed_len: 0,
        }
    }
}

/// The key that a token was verified with, the algorithm, and the type of the token.
#[cfg(feature = "jwt")]
#[derive(Clone)]
pub(crate) struct SignedBy {
    pub(crate) key: Arc<VerificationKey>,
    pub(crate) algorithm: Algorithm,
    /// The `typ` of the header is `at+jwt`.
    pub(crate) typed: bool,
}

/// Uninhabited: without local verification there is no key.
#[cfg(not(feature = "jwt"))]
#[derive(Clone)]
enum SignedBy {}

impl ActiveToken {
    /// Creates the fact that `issuer` vouches for `claims`.
    ///
    /// `issuer` is the identifier of the trusted issuer whose key or whose introspection endpoint
    /// established the claims, never a name that was only read from the token. `verified_at` is the
    /// *start* of the verification: a revocation after that moment may have been missed.
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
        Self(Arc::new(Facts::new(issuer.into(), claims, method, verified_at)))
    }

    /// Creates the fact that `issuer` signed `claims`.
    #[cfg(feature = "jwt")]
    pub(crate) fn signed(
        issuer: Arc<str>,
        claims: Claims,
        signed_by: SignedBy,
        verified_at: Moment,
    ) -> Self {
        let facts = Facts::new(issuer, claims, Method::Jwt, verified_at);
        Self(Arc::new(Facts { signed_by: Some(signed_by), ..facts }))
    }

    /// Returns the same facts with another method.
    pub(crate) fn with_method(&self, method: Method) -> Self {
        self.with_claims(self.claims().clone(), method, self.verified_at())
    }

    /// Returns the same token with other claims, known since `verified_at`. The claims still depend
    /// on the key that signed the token.
    pub(crate) fn with_claims(&self, claims: Claims, method: Method, verified_at: Moment) -> Self {
        self.rebuild(claims, method, verified_at, self.0.stale)
    }

    /// Returns the same facts, marked as older than requested.
    pub(crate) fn as_stale(&self) -> Self {
        self.rebuild(self.claims().clone(), self.method(), self.verified_at(), true)
    }

    /// Returns true if both share the same allocation. Equal facts from another verification do not
    /// count.
    #[cfg(feature = "cache")]
    pub(crate) fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the memory that the facts take, in bytes.
    #[cfg(feature = "cache")]
    pub(crate) fn bytes(&self) -> usize {
        let counters = 2 * size_of::<usize>();
        // `Claims::bytes` includes the size of `Claims`. The issuer counts in full, although other
        // facts may share it.
        let own = size_of::<Facts>() - size_of::<Claims>() + self.claims().bytes();
        counters + own + counters + self.issuer().len() + self.bytes_of_combination()
    }

    /// Returns the memory that the claims take, at most, that these facts are combined with, and those
    /// of the combination. Both are kept beside the text of these facts.
    #[cfg(feature = "cache")]
    fn bytes_of_combination(&self) -> usize {
        match usize::from(self.0.confirmed_len) {
            0 => 0,
            // The claims are three quarters of a JWT at most.
            len => COMBINATION_OVERHEAD + len / 2 * 3 + self.claims().bytes(),
        }
    }

    /// Returns the same facts, to confirm a JWT of this length.
    #[cfg(all(feature = "cache", feature = "introspection"))]
    pub(crate) fn confirming(self, len: usize) -> Self {
        let Self(mut facts) = self;
        if let Some(facts) = Arc::get_mut(&mut facts) {
            facts.confirmed_len = u16::try_from(len).unwrap_or(u16::MAX);
        }
        Self(facts)
    }

    fn rebuild(&self, claims: Claims, method: Method, verified_at: Moment, stale: bool) -> Self {
        let facts = Facts::new(Arc::clone(&self.0.issuer), claims, method, verified_at);
        Self(Arc::new(Facts { signed_by: self.0.signed_by.clone(), stale, ..facts }))
    }

    /// Returns the set of revocations that noted the `iat` of these facts last, or zero.
    #[inline]
    pub(crate) fn noted_by(&self) -> u32 {
        self.0.noted_by.load(Ordering::Relaxed)
    }

    pub(crate) fn set_noted_by(&self, id: u32) {
        self.0.noted_by.store(id, Ordering::Relaxed);
    }

    /// Returns the issuer that vouches for the claims.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Returns the claims.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.0.claims
    }

    /// Returns how the token was verified.
    #[must_use]
    pub fn method(&self) -> Method {
        self.0.method
    }

    /// Returns the moment at which the verification started.
    #[must_use]
    pub fn verified_at(&self) -> Moment {
        self.0.verified_at
    }

    /// Returns true if these facts are older than requested, and are used only because the
    /// authorization server is unavailable. Never true unless `CacheLayer::stale_if_error` is set.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.0.stale
    }

    /// Returns true if the key that signed the token is no longer one of its issuer.
    ///
    /// A key is retired as soon as a key set is fetched that misses it, or that has another key
    /// under its `kid`. From then on a [`Policy`](crate::Policy) refuses the tokens that the key
    /// signed. A cache can drop exactly those entries: the check costs one atomic load. Facts that
    /// do not depend on a fetched key are never retired.
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
        #[cfg(feature = "jwt")]
        return self.0.signed_by.as_ref().is_some_and(|by| by.key.is_retired());
        #[cfg(not(feature = "jwt"))]
        false
    }

    /// Returns how the token was signed, if that was verified locally.
    #[cfg(feature = "jwt")]
    pub(crate) fn signed_by(&self) -> Option<&SignedBy> {
        self.0.signed_by.as_ref()
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

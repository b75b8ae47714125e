use std::{fmt, sync::Arc};

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
}

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
        Self(Arc::new(Facts { issuer: issuer.into(), claims, method, verified_at }))
    }

    /// The same facts, established in another way.
    pub(super) fn by(&self, method: Method) -> Self {
        let Facts { issuer, claims, verified_at, .. } = &*self.0;
        Self::new(Arc::clone(issuer), claims.clone(), method, *verified_at)
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

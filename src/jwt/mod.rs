//! Local verification of JWT access tokens.
//!
//! A [`JwtVerifier`] vouches for the tokens of one issuer: that one of the issuer's keys signed
//! them, with an algorithm that is allowed, that they are access tokens and not one of the other
//! things an authorization server signs, and that they name the issuer, an audience and an expiry.
//! Whether this service is in the audience, and whether it is not too late, the
//! [`Policy`](crate::Policy) decides on every request.
//!
//! ```
//! use serde_json::json;
//! use tower_introspect::{
//!     credentials::Token,
//!     jwt::{Algorithm, JwtVerifier, KeySet, SigningKey},
//!     verify::{Verifier, VerifyRequest},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pem = b"-----BEGIN PRIVATE KEY-----\n\
//!     MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
//!     -----END PRIVATE KEY-----\n";
//! let key = SigningKey::from_pem(Algorithm::EdDSA, pem)?.with_kid("2026");
//! let jwk = key.public_jwk().expect("no secret").to_string();
//! let verifier = JwtVerifier::builder("https://as.example.com")
//!     .keys(KeySet::from_jwk(jwk.as_bytes())?)
//!     .build()?;
//!
//! let token = key.sign(
//!     &json!({"alg": "EdDSA", "kid": "2026", "typ": "at+jwt"}),
//!     &json!({"iss": "https://as.example.com", "aud": "api", "exp": 1893456000, "sub": "alice"}),
//! )?;
//! let request = VerifyRequest::new(Token::bearer(&token).expect("a b64token"));
//! // Where keys are at hand the answer is there at once.
//! let active = verifier.verify(request).now_or_later().ok().expect("at once")?;
//! assert_eq!(active.claims().subject(), Some("alice"));
//! # Ok(()) }
//! ```
//!
//! # Keys that are fetched
//!
//! Without [`keys`](JwtVerifierBuilder::keys) the issuer is asked for them: at the `jwks_uri` of
//! its metadata (RFC 8414, or else OpenID Connect Discovery; its `issuer` must be the one
//! configured, byte for byte), or at [a URL of yours](JwtVerifierBuilder::jwks_uri).
//!
//! * They are first fetched when they are needed, or by [`warm`](JwtVerifier::warm), and then in
//!   the background at 80 % of their freshness: 10 minutes, or what `Cache-Control` says, within
//!   1 minute and 24 hours. A token whose key is there never waits.
//! * A token of an unknown key waits for one fetch, which all such tokens share. There is at most
//!   one in 30 seconds, and none for a `kid` that was not found within the last minute.
//! * A failure is followed by a pause of 1 second, after each further one of twice as long, up to
//!   30 seconds, or of what `Retry-After` says, up to 5 minutes. Meanwhile the last good keys
//!   serve, for at most 24 hours; without any, the answer is
//!   [`Unavailable`](ErrorKind::Unavailable), never that the token is bad.
//! * A key that is published no more, or with other material or another algorithm under its name,
//!   is retired by the fetch that shows it, and with it exactly what it
//!   [verified](crate::verify::ActiveToken::is_retired).
//! * A fetch takes at most 3 seconds, 512 KiB and 64 keys, goes to `https` URLs only, and follows
//!   no redirect. A key that can't be used is left out. Secrets are never taken from there.
//!
//! # Differences from common JWT libraries
//!
//! A `crit` of any kind is refused, as is `b64`; so are repeated members at every level of the
//! header and the claims, base64url with padding or stray bits, tokens without `exp`, `aud` or
//! `iss`, an `iss` that is an array, and `typ`s of other things. Keys in the header (`jwk`, `x5c`)
//! or behind URLs in it (`jku`, `x5u`) are ignored.

pub(crate) mod builder;
pub mod future;
pub(crate) mod jwks;
pub(crate) mod keys;
pub(crate) mod source;
mod validate;

use std::{fmt, sync::Arc};

pub use self::{builder::JwtVerifierBuilder, keys::KeySet};
use self::{
    future::VerifyFuture,
    source::{FetchKeys, Source},
    validate::{Refused, Rules},
};
pub use crate::jose::{
    algorithm::{Algorithm, UnknownAlgorithm},
    error::KeyError,
    signing::SigningKey,
};
use crate::{
    checks::{Detail, check::Check, step},
    clock::{Clock, Moment, Reading},
    error::{kind::ErrorKind, refusal::VerifyError},
    verify::{
        Outcome, Verifier, Verifying,
        active::ActiveToken,
        readiness::Readiness,
        request::{Freshness, VerifyRequest},
    },
};
#[cfg(feature = "checks")]
use crate::{claims::Claims, error::kind::TokenKind};

/// What the access tokens of an issuer look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Any JWT that is not marked as something else.
    ///
    /// For issuers that don't follow RFC 9068. `typ` may be absent or `JWT`; types of other things
    /// are refused, and so are tokens whose claims are those of an ID token, a refresh token, a
    /// logout token or a security event.
    ///
    /// # Security
    ///
    /// Where an issuer marks its ID tokens in no way, only their audience keeps them from being
    /// taken for access tokens. Give the service an audience that is no client's id.
    Generic,
    /// `typ` must be `at+jwt` (RFC 9068 §4).
    #[default]
    Rfc9068,
}

/// Verifies the JWT access tokens of one issuer.
///
/// Clones share the keys. See the [module docs](self) for an example.
#[derive(Clone)]
pub struct JwtVerifier(Arc<Inner>);

struct Inner {
    rules: Rules,
    source: Source,
    clock: Arc<dyn Clock>,
}

impl JwtVerifier {
    /// Starts to build a verifier of the tokens of `issuer`, the exact text of their `iss` claim
    /// (RFC 9068 §4).
    ///
    /// ```
    /// use tower_introspect::jwt::{Algorithm, JwtVerifier, KeySet, Profile};
    ///
    /// let verifier = JwtVerifier::builder("https://as.example.com/")
    ///     .keys(KeySet::from_secret(Algorithm::HS256, &[7; 32])?)
    ///     .profile(Profile::Generic)
    ///     .build()?;
    /// assert_eq!(verifier.issuer(), "https://as.example.com/");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(issuer: impl Into<String>) -> JwtVerifierBuilder {
        JwtVerifierBuilder::new(issuer.into())
    }

    /// The issuer whose tokens are verified.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.rules.issuer
    }

    /// Fetches the keys now, so that the first request need not wait for them.
    ///
    /// # Errors
    ///
    /// If they can't be had. That is no reason to stop: they are fetched again when they are
    /// needed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future stops the waiting, not the fetch.
    pub async fn warm(&self) -> Result<(), VerifyError> {
        match &self.0.source {
            Source::Remote(keys) => keys.load().await.map(drop),
            Source::Static(_) => Ok(()),
        }
    }

    /// Whether there are keys that may be used. Fetches nothing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness().is_ready()
    }

    /// Whether there are keys that may be used, and what is wrong if they can't be fetched.
    /// Fetches nothing.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let issuer = Arc::clone(&self.0.rules.issuer);
        match &self.0.source {
            Source::Remote(keys) => keys.standing().readiness(issuer),
            Source::Static(_) => Readiness::given(issuer),
        }
    }

    /// Starts to fetch the keys if there are none. Never waits.
    pub(crate) fn begin(&self) {
        if let Source::Remote(keys) = &self.0.source {
            keys.begin();
        }
    }

    fn verify_fetching(
        &self,
        keys: &Arc<dyn FetchKeys>,
        request: VerifyRequest,
        at: Reading,
    ) -> Verifying<VerifyFuture> {
        let start = at.moment();
        let snapshot = keys.snapshot();
        let none = KeySet::default();
        let token = request.token().secret_str();
        let kid = match self.0.verify(token, snapshot.as_deref().unwrap_or(&none), start) {
            Ok(outcome) => return Verifying::done_at(outcome, Some(at)),
            Err(kid) => kid,
        };
        // Only a token in which nothing else is wrong gets here.
        let fetching = match &snapshot {
            Some(_) => keys.refresh_for(kid.as_deref().unwrap_or_default()),
            None => Some(keys.load()),
        };
        let Some(fetching) = fetching else {
            return Verifying::done(Err(ErrorKind::UnknownKey.into()));
        };
        let inner = Arc::clone(&self.0);
        Verifying::pending(VerifyFuture::new(async move {
            let keys = step(Check::Keys, Detail::default, fetching.await)?;
            inner.verify(request.token().secret_str(), &keys, start).unwrap_or_else(unknown_key)
        }))
    }
}

impl Verifier for JwtVerifier {
    type Future = VerifyFuture;

    fn verify(&self, request: VerifyRequest) -> Verifying<VerifyFuture> {
        let live = request.freshness() == Freshness::Live;
        let start = Reading::take(&*self.0.clock);
        let verifying = match &self.0.source {
            Source::Remote(keys) => self.verify_fetching(keys, request, start),
            Source::Static(keys) => {
                let token = request.token().secret_str();
                let outcome = self.0.verify(token, keys, start.moment());
                Verifying::done_at(outcome.unwrap_or_else(unknown_key), Some(start))
            }
        };
        if !live {
            return verifying;
        }
        match verifying.now_or_later() {
            Ok(outcome) => Verifying::done(outcome.and_then(not_live)),
            Err(future) => {
                Verifying::pending(VerifyFuture::new(
                    async move { future.await.and_then(not_live) },
                ))
            }
        }
    }
}

/// A signature says nothing about now. A token that is no good is refused for that all the same, so
/// that nobody without one can make this look broken.
fn not_live(_: ActiveToken) -> Outcome {
    Err(VerifyError::new(ErrorKind::Misconfigured)
        .with_context("a live answer is asked for, but the issuer is not asked about its tokens"))
}

impl Inner {
    /// The outcome; `Err` with the name of the key if that is all that is missing.
    fn verify(
        &self,
        token: &str,
        keys: &KeySet,
        start: Moment,
    ) -> Result<Outcome, Option<Box<str>>> {
        match self.rules.verify(token, keys) {
            Ok((claims, key, algorithm)) => {
                let issuer = Arc::clone(&self.rules.issuer);
                Ok(Ok(ActiveToken::signed(issuer, claims, Arc::clone(key), algorithm, start)))
            }
            Err(Refused::Because(kind)) => Ok(Err(kind.into())),
            Err(Refused::UnknownKey(kid)) => Err(kid),
        }
    }
}

/// What a JWT is by the `typ` of its header, if that is no access token.
#[cfg(feature = "checks")]
#[doc(hidden)]
#[must_use]
pub fn kind_by_typ(typ: &str) -> Option<TokenKind> {
    validate::kind_by_typ(typ)
}

/// What a JWT is by its claims, if that is no access token. `typed`: its `typ` says that it is.
#[cfg(feature = "checks")]
#[doc(hidden)]
#[must_use]
pub fn kind_by_claims(claims: &Claims, typed: bool) -> Option<TokenKind> {
    validate::foreign_kind(claims, typed)
}

fn unknown_key(_: Option<Box<str>>) -> Outcome {
    Err(ErrorKind::UnknownKey.into())
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("rules", &self.0.rules)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

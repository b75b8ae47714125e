//! Local verification of JWT access tokens.
//!
//! A [`JwtVerifier`] verifies the tokens of one issuer. It checks that one of the issuer's keys
//! signed the token with an allowed algorithm, that the token is an access token and not another
//! kind of JWT that an authorization server signs, and that it names the issuer, an audience and
//! an expiry. The [`Policy`](crate::Policy) decides on every request whether this service is in
//! the audience and whether the token has expired.
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
//! // With configured keys the outcome is available at once.
//! let active = verifier.verify(request).now_or_later().ok().expect("at once")?;
//! assert_eq!(active.claims().subject(), Some("alice"));
//! # Ok(()) }
//! ```
//!
//! # Fetched keys
//!
//! Without configured [`keys`](JwtVerifierBuilder::keys) the verifier fetches the key set of the
//! issuer. The URL is the `jwks_uri` of the issuer's metadata (RFC 8414, or else OpenID Connect
//! Discovery; the `issuer` in the metadata must equal the configured one byte for byte), or [the
//! configured URL](JwtVerifierBuilder::jwks_uri).
//!
//! * The first token that needs the keys fetches them, or [`warm`](JwtVerifier::warm) does. From
//!   then on they are renewed in the background at 80 % of their freshness. They are fresh for 10
//!   minutes, or as long as `Cache-Control` says, within 1 minute and 24 hours. A token whose key
//!   is known never waits.
//! * A token of an unknown key waits for one fetch, which all such tokens share. There is at most
//!   one such fetch in 30 seconds, and none for a `kid` that was not found within the last minute.
//! * After a failed fetch no fetch starts for 1 second. Each further failure doubles the pause, up
//!   to 30 seconds. `Retry-After` can lengthen it, up to 5 minutes. Meanwhile the last good keys
//!   stay in use, for at most 24 hours. Without any keys the error is
//!   [`Unavailable`](ErrorKind::Unavailable), never one that blames the token.
//! * A key is retired by the fetch that shows that it is no longer published, or is published with
//!   other key material or another algorithm under the same name. Exactly the tokens that it
//!   verified [are retired](crate::verify::ActiveToken::is_retired) with it.
//! * A fetch takes at most 3 seconds, 512 KiB and 64 keys. It goes to `https` URLs only and follows
//!   no redirect. Keys that can't be used are left out. Secrets are never accepted from a fetched
//!   key set.
//!
//! # Differences from common JWT libraries
//!
//! The verifier refuses a `crit` of any kind, and `b64`. It refuses repeated members at every level
//! of the header and the claims, base64url with padding or stray bits, tokens without `exp`, `aud`
//! or `iss`, an `iss` that is an array, and the `typ` of another kind of JWT. It ignores keys in
//! the header (`jwk`, `x5c`) and URLs of keys in it (`jku`, `x5u`).

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

/// The form of the access tokens of an issuer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Any JWT that is not marked as something else.
    ///
    /// For issuers that don't follow RFC 9068. `typ` may be absent, `JWT` or `at+jwt`. Any other
    /// `typ` is refused, and so are tokens whose claims are those of an ID token, a refresh token,
    /// a logout token or a security event.
    ///
    /// # Security
    ///
    /// If an issuer does not mark its ID tokens, only their audience keeps them from being accepted
    /// as access tokens. Give the service an audience that is not the identifier of a client.
    Generic,
    /// JWTs whose `typ` is `at+jwt` (RFC 9068 §4).
    #[default]
    Rfc9068,
}

/// A [`Verifier`] of the JWT access tokens of one issuer.
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
    /// Returns a builder of a verifier for the tokens of `issuer`, the exact text of their `iss`
    /// claim (RFC 9068 §4).
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

    /// Returns the issuer whose tokens are verified.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.rules.issuer
    }

    /// Fetches the keys now, so that the first request does not wait for them.
    ///
    /// # Errors
    ///
    /// Returns an error if the keys can't be fetched, or none of them is usable. The service need
    /// not stop: the keys are fetched again when a token needs them.
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

    /// Returns true if there are keys that may be used. Fetches nothing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness().is_ready()
    }

    /// Returns whether there are keys that may be used, and the error if they can't be fetched.
    /// Fetches nothing.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let issuer = Arc::clone(&self.0.rules.issuer);
        match &self.0.source {
            Source::Remote(keys) => keys.standing().readiness(issuer),
            Source::Static(_) => Readiness::given(issuer),
        }
    }

    /// Starts to fetch the keys if there are none, without waiting.
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
        // A token with any other fault has been refused above and causes no fetch.
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

/// Refuses a verified token if the request demands [`Freshness::Live`]: a signature does not show
/// that the token is still active.
///
/// A bad token is refused for its own fault first, so that a client without a good token can't
/// cause `Misconfigured` errors.
fn not_live(_: ActiveToken) -> Outcome {
    Err(VerifyError::new(ErrorKind::Misconfigured)
        .with_context("a live answer is asked for, but the issuer is not asked about its tokens"))
}

impl Inner {
    /// Returns the outcome, or the token's `kid` as `Err` if only the key is missing.
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

/// Returns the kind of JWT that `typ` names, if it is a known one other than an access token.
#[cfg(feature = "checks")]
#[doc(hidden)]
#[must_use]
pub fn kind_by_typ(typ: &str) -> Option<TokenKind> {
    validate::kind_by_typ(typ)
}

/// Returns the kind of JWT that the claims show, if it is not an access token. `typed` is true if
/// its `typ` is that of an access token.
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

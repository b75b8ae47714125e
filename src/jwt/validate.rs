//! Verifies the text of a token and returns its claims. Does not check times.
//!
//! The checks run in the order of their cost: a token that is too long is not decoded, no key is
//! used with an algorithm that is not allowed, and no claim is trusted before the signature
//! verifies.

use std::{borrow::Cow, sync::Arc};

use super::{
    keys::{KeySet, Mismatch},
    profile::Profile,
};
use crate::{
    checks::{
        check::Check,
        detail::{Detail, list, seen, seen_if},
        record::{demand, record},
    },
    claims::{claims_set::Claims, error::ClaimsError, kind::Evidence, scope::ScopeClaim, typ::Typ},
    clock::UnixTime,
    error::kind::{ErrorKind, TokenKind},
    jose::{
        algorithm::Algorithm,
        header::{Header, HeaderError},
        jws::CompactJws,
        key::VerificationKey,
    },
};

/// The maximum length of a token, in bytes. HTTP servers limit header fields to less, so this only
/// bounds tokens from other places.
const MAX_TOKEN: usize = 64 * 1024;

/// The requirements for every token of one issuer.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) issuer: Arc<str>,
    pub(super) algorithms: Box<[Algorithm]>,
    pub(super) profile: Profile,
    /// Accepts JWTs that nothing marks as access tokens.
    pub(super) accept_unmarked: bool,
    /// The claim that holds the scope, if a setting names it.
    pub(super) scope_claim: Option<Box<str>>,
    /// The claim that replaces an absent `aud`.
    pub(super) audience_claim: Option<Box<str>>,
    /// The maximum number of keys that are tried for one token.
    pub(super) max_tries: usize,
}

/// The claims of a verified token, and how it was signed.
#[derive(Debug)]
pub(super) struct Validated<'a> {
    pub(super) claims: Claims,
    pub(super) key: &'a Arc<VerificationKey>,
    pub(super) algorithm: Algorithm,
    pub(super) typ: Typ,
}

/// The reason why a token yields no claims.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ValidateError {
    Kind(ErrorKind),
    /// No key verifies the token, and every check that needs no key has passed.
    NoKey(NoKey),
}

/// A token that another key may verify.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoKey {
    /// The reason to refuse the token if no other key does.
    pub(super) kind: ErrorKind,
    /// The `kid` that the token names, if any.
    pub(super) kid: Option<Box<str>>,
    /// The unverified time of issue.
    pub(super) issued_at: Option<UnixTime>,
}

impl<K: Into<ErrorKind>> From<K> for ValidateError {
    fn from(kind: K) -> Self {
        Self::Kind(kind.into())
    }
}

impl Rules {
    /// Refuses `token` unless one of `keys` signed it and it is an access token of the issuer.
    pub(super) fn verify<'a>(
        &self,
        token: &str,
        keys: &'a KeySet,
    ) -> Result<Validated<'a>, ValidateError> {
        if token.len() > MAX_TOKEN {
            // The length that a service allows was checked before.
            let length = || seen(token.len()).wanted(format_args!("at most {MAX_TOKEN}"));
            record(Check::Length, length, Err::<(), _>(ErrorKind::TokenTooLong))?;
        }
        let jws = CompactJws::parse(token).map_err(ErrorKind::from);
        let jws = record(Check::Form, || parts_detail(token), jws)?;
        let header = Header::parse(jws.header()).map_err(ErrorKind::from);
        let header = record(Check::Header, Detail::default, header)?;
        let allowed = || seen(&header.alg).wanted(list(&self.algorithms));
        let algorithm = record(Check::Algorithm, allowed, self.algorithm(&header, keys))?;
        let plain = !header.demands_extension();
        demand(Check::Extension, Detail::default, plain, ErrorKind::UnsupportedExtension)?;
        let typ = || seen_if(header.typ.as_deref()).wanted(self.profile.accepted_typs());
        let typ = record(Check::Type, typ, self.check_typ(&header))?;
        let kid = header.kid.as_deref();
        let signed = (jws.signing_input().as_bytes(), jws.signature());
        let signed = keys.verify(algorithm, kid, signed, self.max_tries);
        record_signature(keys, algorithm, kid, signed.as_ref().err());
        let mismatch = match signed {
            Ok(key) => {
                let claims = self.claims(typ, jws.payload())?;
                return Ok(Validated { claims, key, algorithm, typ });
            }
            Err(mismatch) => mismatch,
        };
        // Keys may be fetched for this token, so it must at least claim to be an access token of
        // this issuer. A new key may have the `kid` of the one that does not verify the token.
        let claims = self.claims(typ, jws.payload());
        let kind = match (mismatch, &claims) {
            (Mismatch::BadSignature, _) => ErrorKind::BadSignature,
            (Mismatch::WrongAlgorithm, _) => ErrorKind::UnsupportedAlgorithm,
            (_, Err(kind)) => *kind,
            (Mismatch::UnknownKey | Mismatch::Unusable | Mismatch::Untried, Ok(_)) => {
                let kind = match mismatch {
                    Mismatch::Unusable => ErrorKind::UnusableKey,
                    Mismatch::Untried => ErrorKind::UntriedKeys,
                    _ => ErrorKind::UnknownKey,
                };
                let refused = Err(kind);
                record(Check::Key, || key_detail(kid, keys), refused).unwrap_or_else(|kind| kind)
            }
        };
        let Ok(claims) = claims else { return Err(kind.into()) };
        let (kid, issued_at) = (kid.map(Into::into), claims.issued_at());
        Err(ValidateError::NoKey(NoKey { kind, kid, issued_at }))
    }

    /// Returns the algorithm that the header names, if it is allowed (RFC 8725 §3.1).
    pub(super) fn algorithm(
        &self,
        header: &Header<'_>,
        keys: &KeySet,
    ) -> Result<Algorithm, ErrorKind> {
        let has_unusable = || header.kid.as_deref().is_some_and(|kid| keys.has_unusable(kid));
        match header.alg.parse() {
            Ok(algorithm) if self.algorithms.contains(&algorithm) => Ok(algorithm),
            // The issuer signs with an algorithm that is unknown here, and publishes its key.
            Err(_) if !header.alg.eq_ignore_ascii_case("none") && has_unusable() => {
                Err(ErrorKind::UnusableKey)
            }
            _ => Err(ErrorKind::UnsupportedAlgorithm),
        }
    }

    /// Returns the type of a token, unless the header marks it as something other than an access
    /// token (RFC 8725 §3.11, §3.12).
    fn check_typ(&self, header: &Header<'_>) -> Result<Typ, ErrorKind> {
        if header.is_nested() {
            return Err(ErrorKind::UnsupportedToken);
        }
        match Typ::of(header.typ.as_deref()) {
            typ if self.profile.accepts(typ) => Ok(typ),
            Typ::Other(kind) => Err(ErrorKind::WrongTokenKind(kind)),
            Typ::Access | Typ::Plain => Err(ErrorKind::WrongTokenKind(TokenKind::Other)),
        }
    }

    /// Returns the claims, if they are those of an access token of the issuer.
    fn claims(&self, typ: Typ, payload: &[u8]) -> Result<Claims, ErrorKind> {
        let claims = Claims::with_scope_from(payload, self.scope_claim()).map_err(claims_error);
        let claims = record(Check::Claims, Detail::default, claims)?;
        let issuer = match claims.issuer() {
            None => Err(ErrorKind::MissingClaim("iss")),
            Some(issuer) if *issuer != *self.issuer => Err(ErrorKind::WrongIssuer),
            Some(_) => Ok(()),
        };
        record(Check::Issuer, || seen_if(claims.issuer()).wanted(&self.issuer), issuer)?;
        let kind = self.check_kind(typ, &claims).map_err(ErrorKind::WrongTokenKind);
        let decided_by = || {
            let evidence = Evidence::of_jwt(typ, claims.members());
            seen_if(evidence.describe(|name| claims.raw(name))).wanted("an access token")
        };
        record(Check::Kind, decided_by, kind)?;
        let claims = self.with_audience(claims);
        let (audience, expiry) = (claims.require_audience(), claims.expires_at().is_some());
        let complete = || seen_if(present_claims(audience, expiry)).wanted("aud, exp");
        record(Check::Complete, complete, audience)?;
        demand(Check::Complete, complete, expiry, ErrorKind::MissingClaim("exp"))?;
        Ok(claims)
    }

    /// Refuses a token whose claims are not those of an access token (RFC 8725 §3.12).
    fn check_kind(&self, typ: Typ, claims: &Claims) -> Result<(), TokenKind> {
        let accept_unmarked = self.accept_unmarked || self.profile == Profile::ServiceIdentity;
        match Evidence::of_jwt(typ, claims.members()).judge() {
            Err(kind) if kind != TokenKind::Unmarked || !accept_unmarked => return Err(kind),
            _ => {}
        }
        // OpenID Connect Core §2: the audience of an ID token is the client.
        let azp = claims.string("azp").filter(|_| self.profile == Profile::ServiceIdentity);
        if azp.is_some_and(|client| claims.audience().contains(&client)) {
            return Err(TokenKind::Id);
        }
        Ok(())
    }

    fn scope_claim(&self) -> ScopeClaim<'_> {
        match (&self.scope_claim, self.profile) {
            (Some(name), _) => ScopeClaim::Named(name),
            (None, Profile::Rfc9068) => ScopeClaim::Text,
            (None, _) => ScopeClaim::Usual,
        }
    }

    /// Returns the claims, with the audience from `audience_claim` if they have no `aud`. An empty
    /// `aud` counts as present: it names no audience.
    fn with_audience(&self, claims: Claims) -> Claims {
        let stand_in = self.audience_claim.as_deref().filter(|_| claims.raw("aud").is_none());
        match stand_in.and_then(|name| claims.string(name)).map(Cow::into_owned) {
            Some(audience) => claims.with_audience(&audience),
            None => claims,
        }
    }
}

/// Records the keys and the result of the signature check.
///
/// Leaves out a key that is unknown, unusable or was not tried: the caller records it, if nothing
/// else is wrong.
#[inline]
fn record_signature(
    keys: &KeySet,
    algorithm: Algorithm,
    kid: Option<&str>,
    mismatch: Option<&Mismatch>,
) {
    // Without any key, the token was refused before one was needed, or keys are fetched first.
    if !keys.is_empty() {
        let _ = record(Check::Keys, || seen(keys.describe()), Ok::<_, ErrorKind>(()));
    }
    let [key, signature] = match mismatch {
        Some(Mismatch::UnknownKey | Mismatch::Untried | Mismatch::Unusable) => return,
        Some(Mismatch::WrongAlgorithm) => [Err(ErrorKind::UnsupportedAlgorithm), Ok(())],
        Some(Mismatch::BadSignature) => [Ok(()), Err(ErrorKind::BadSignature)],
        None => [Ok(()), Ok(())],
    };
    if record(Check::Key, || key_detail(kid, keys), key).is_ok() {
        let _ = record(Check::Signature, || seen(algorithm), signature);
    }
}

fn key_detail(kid: Option<&str>, keys: &KeySet) -> Detail {
    seen_if(kid).wanted(keys.describe())
}

/// Describes the number of parts of the token.
fn parts_detail(token: &str) -> Detail {
    let parts = token.split('.').count();
    let plural = if parts == 1 { "" } else { "s" };
    seen(format_args!("{parts} part{plural}")).wanted("3 parts of base64url, with dots between")
}

fn present_claims(audience: Result<(), ErrorKind>, expiry: bool) -> Option<&'static str> {
    match (audience, expiry) {
        (Ok(()), true) => Some("aud, exp"),
        (Ok(()), false) => Some("aud"),
        (Err(ErrorKind::WrongAudience), _) => Some("an empty aud"),
        (Err(_), true) => Some("exp"),
        (Err(_), false) => None,
    }
}

impl From<HeaderError> for ErrorKind {
    fn from(_: HeaderError) -> Self {
        Self::MalformedToken
    }
}

fn claims_error(error: ClaimsError) -> ErrorKind {
    match error {
        ClaimsError::Malformed => ErrorKind::MalformedToken,
        ClaimsError::Invalid(name) => ErrorKind::InvalidClaim(name),
    }
}

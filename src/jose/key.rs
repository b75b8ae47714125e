//! Keys that are ready to verify signatures.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    algorithm::{Algorithm, KeyType},
    crypto::backend::keys::Verifier,
    error::KeyError,
    public_key::PublicKey,
};
use crate::changes::Changes;

/// The retirements of keys in this process. Streams that are open wait for them.
pub(crate) static RETIREMENTS: Changes = Changes::new();

/// One key of an issuer, ready to verify signatures.
///
/// Its `Arc` is its identity: as long as the issuer publishes the key unchanged, every key set has
/// the same `Arc`, and the tokens that it verified may hold a clone. A [retired](Self::retire) key
/// stays retired. If the issuer publishes it again, it becomes a new `VerificationKey`.
pub(crate) struct VerificationKey {
    kid: Option<Box<str>>,
    /// The only issuer that the key serves. `None` for a key that names none.
    issuer: Option<Box<str>>,
    /// The algorithms the key may be used with: the one it is bound to, else all of its type.
    verifiers: Arc<[(Algorithm, Verifier)]>,
    /// The public key it was made from. `None` for a secret, which never changes.
    public: Option<PublicKey>,
    retired: AtomicBool,
}

impl VerificationKey {
    /// Creates a key that is used with `algorithm` only, or, with `None`, with any of its type.
    pub(crate) fn new(
        kid: Option<&str>,
        algorithm: Option<Algorithm>,
        key: &PublicKey,
    ) -> Result<Self, KeyError> {
        if algorithm.is_some_and(|algorithm| algorithm.key_type() != key.key_type()) {
            return Err(KeyError::WrongAlgorithm);
        }
        let verifiers = Algorithm::ASYMMETRIC
            .into_iter()
            .filter(|one| one.key_type() == key.key_type())
            .filter(|one| algorithm.is_none_or(|bound| bound == *one))
            .map(|one| Some((one, Verifier::public(one, key)?)))
            .collect::<Option<_>>()
            .ok_or(KeyError::Malformed)?;
        let (kid, public) = (kid.map(Into::into), Some(key.clone()));
        Ok(Self { kid, issuer: None, verifiers, public, retired: AtomicBool::new(false) })
    }

    /// Creates a key from a secret shared with the issuer.
    pub(crate) fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        check_secret(algorithm, secret)?;
        let verifier = Verifier::secret(algorithm, secret).ok_or(KeyError::WrongAlgorithm)?;
        let verifiers = [(algorithm, verifier)].into();
        let retired = AtomicBool::new(false);
        Ok(Self { kid: None, issuer: None, verifiers, public: None, retired })
    }

    /// Returns a new key, not retired, with the same key material and another name.
    pub(crate) fn with_kid(&self, kid: Option<&str>) -> Self {
        Self {
            kid: kid.map(Into::into),
            issuer: self.issuer.clone(),
            verifiers: Arc::clone(&self.verifiers),
            public: self.public.clone(),
            retired: AtomicBool::new(false),
        }
    }

    /// Returns the key, which serves only this issuer if there is one.
    pub(crate) fn for_issuer(self, issuer: Option<&str>) -> Self {
        Self { issuer: issuer.map(Into::into), ..self }
    }

    /// Returns true if the key may verify the tokens of `issuer`.
    pub(crate) fn serves(&self, issuer: &str) -> bool {
        serves(self.issuer.as_deref(), issuer)
    }

    /// Returns true if `other` verifies the same signatures under the same name.
    ///
    /// Need not compare `use` and `key_ops`: a JWK that they exclude from verifying signatures is
    /// refused when it is read.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.kid == other.kid
            && self.public.is_some()
            && self.public == other.public
            && self.algorithms().eq(other.algorithms())
    }

    /// Retires the key: the issuer no longer vouches for the tokens it signed.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        RETIREMENTS.happened();
    }

    /// Returns true if the issuer no longer vouches for the tokens this key signed.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(crate) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.verifiers.iter().map(|(algorithm, _)| *algorithm)
    }

    /// Returns the verifier of `algorithm`, if the key may be used with it.
    pub(crate) fn verifier(&self, algorithm: Algorithm) -> Option<&Verifier> {
        self.verifiers.iter().find(|(one, _)| *one == algorithm).map(|(_, verifier)| verifier)
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.algorithms().collect();
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid)
            .field("algorithms", &algorithms)
            .field("retired", &self.is_retired())
            .finish_non_exhaustive()
    }
}

/// The part of an issuer in which Entra ID leaves out the tenant.
const TENANT: &str = "{tenantid}";

/// Returns true if a key that names the issuer `named`, or none, may verify the tokens of `issuer`.
///
/// In the key sets that Entra ID publishes for all tenants each key names its issuer: a single one,
/// or with `{tenantid}` in the place of the tenant, which any tenant may be.
pub(crate) fn serves(named: Option<&str>, issuer: &str) -> bool {
    let Some(named) = named else { return true };
    let Some(at) = named.to_ascii_lowercase().find(TENANT) else { return named == issuer };
    let (before, after) = (&named[..at], &named[at + TENANT.len()..]);
    let tenant = issuer.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    let is_one_segment = |tenant: &str| {
        !tenant.is_empty() && !tenant.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-')
    };
    tenant.is_some_and(is_one_segment)
}

/// Refuses a secret that is shorter than the output of the hash (RFC 7518 §3.2), and an algorithm
/// that uses none.
pub(crate) fn check_secret(algorithm: Algorithm, secret: &[u8]) -> Result<(), KeyError> {
    if algorithm.key_type() != KeyType::Secret {
        return Err(KeyError::WrongAlgorithm);
    }
    if secret.len() < algorithm.min_secret_len() { Err(KeyError::TooShort) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn point_off_the_curve_is_refused() {
        let key = PublicKey::ec(KeyType::P256, &[1; 32], &[1; 32]).unwrap();
        assert_eq!(VerificationKey::new(None, None, &key).err(), Some(KeyError::Malformed));
    }

    #[test]
    fn key_that_names_an_issuer_serves_that_issuer_only() {
        const HOST: &str = "https://login.example.com";
        let of = |tenant: &str| format!("{HOST}/{tenant}/v2.0");
        let (any, one) = (of("{tenantid}"), of("9188040d-6c67"));
        for (named, issuer, expected) in [
            (None, of("a"), true),
            (Some(&*one), one.clone(), true),
            (Some(&one), of("9188040d-6c68"), false),
            (Some(&one), format!("{one}/"), false),
            (Some(""), String::new(), true),
            (Some(""), of("a"), false),
            (Some(&any), of("a"), true),
            (Some(&of("{tenantId}")), of("9188040d-6c67"), true),
            (Some(&any), of("a/b"), false),
            (Some(&any), of("a?b"), false),
            (Some(&any), of(""), false),
            (Some(&any), of("{tenantid}"), false),
            (Some(&any), format!("{HOST}/a"), false),
            (Some(&any), "https://login.evil.com/a/v2.0".to_owned(), false),
            (Some("{tenantid}"), of("a"), false),
            // The parts before and after the tenant overlap.
            (Some("aa{tenantid}aa"), "aaa".to_owned(), false),
        ] {
            assert_eq!(serves(named, &issuer), expected, "{named:?} {issuer}");
        }
    }

    #[test]
    fn rfc7518_3_2_secrets_have_the_length_of_the_hash() {
        for (algorithm, length) in
            [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)]
        {
            let secret = vec![7; length];
            assert!(VerificationKey::secret(algorithm, &secret).is_ok());
            let short = VerificationKey::secret(algorithm, &secret[1..]);
            assert_eq!(short.err(), Some(KeyError::TooShort), "{algorithm}");
        }
        let public = VerificationKey::secret(Algorithm::RS256, &[7; 64]);
        assert_eq!(public.err(), Some(KeyError::WrongAlgorithm));
    }
}

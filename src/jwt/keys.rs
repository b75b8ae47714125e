use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    claims::json::{self, Object},
    jose::{algorithm::Algorithm, crypto, error::KeyError, jwk::Jwk, key::VerificationKey, pem},
};

/// A set with more keys is refused (RFC 7517 has no bound; real sets have less than ten).
const MAX_KEYS: usize = 64;

/// At most this many keys are tried for one token.
const MAX_TRIES: usize = 4;

/// The keys of one issuer.
///
/// Which of them verifies a token:
///
/// * If the token names a key (`kid`), the keys of exactly that name; if there is none, those
///   that have no name, which the name in the token can't contradict. It never falls back to keys
///   of other names.
/// * If it names none, the keys that fit its algorithm.
///
/// Either way at most four are tried, and each only with the algorithms of its own type, or with
/// the one its `alg` says.
///
/// Clones share the keys.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Arc<VerificationKey>>,
}

/// Why no key verified a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    BadSignature,
    /// No key of that name, or none that fits.
    UnknownKey,
    /// The key of that name is not one of this algorithm.
    WrongAlgorithm,
}

impl KeySet {
    /// The keys of a JWK Set (RFC 7517 §5).
    ///
    /// Keys that can't be used are left out and do no harm to the others: those of an unknown
    /// type, for encryption, too short, broken. So are symmetric ones; a secret is given with
    /// [`from_secret`](Self::from_secret). The set may turn out empty.
    ///
    /// ```
    /// use tower_introspect::jwt::KeySet;
    ///
    /// let keys = KeySet::from_jwks(br#"{"keys": [
    ///     {"kty": "AKP", "alg": "ML-DSA-44", "pub": "..."},
    ///     {"kty": "OKP", "crv": "Ed25519", "kid": "a",
    ///      "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    /// ]}"#)?;
    /// assert_eq!(keys.len(), 1);
    /// # Ok::<(), tower_introspect::jwt::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the text is not an object with an array `keys`, or there are more than 64 keys.
    pub fn from_jwks(jwks: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(jwks).map_err(|_| KeyError::Malformed)?;
        // Only the top level must be strict: what is wrong within one key concerns that key.
        let set = Object::shallow(text).map_err(|_| KeyError::Malformed)?;
        let keys = set.get("keys").and_then(json::array).ok_or(KeyError::Malformed)?;
        if keys.len() > MAX_KEYS {
            return Err(KeyError::TooManyKeys);
        }
        let usable = |(index, jwk): (usize, &serde_json::value::RawValue)| {
            let key = parse_jwk(jwk.get().as_bytes());
            if let Err(reason) = &key {
                skipped(index, *reason);
            }
            key.ok()
        };
        Ok(Self { keys: keys.into_iter().enumerate().filter_map(usable).collect() })
    }

    /// One public JWK (RFC 7517 §4).
    ///
    /// ```
    /// use tower_introspect::jwt::{KeyError, KeySet};
    ///
    /// let weak = KeySet::from_jwk(br#"{"kty": "RSA", "n": "_____w", "e": "AQAB"}"#);
    /// assert_eq!(weak.unwrap_err(), KeyError::TooShort);
    /// ```
    ///
    /// # Errors
    ///
    /// If it can't be used to verify signatures.
    pub fn from_jwk(jwk: &[u8]) -> Result<Self, KeyError> {
        parse_jwk(jwk).map(Self::one)
    }

    /// A public key from PEM (`PUBLIC KEY`, or `RSA PUBLIC KEY`), used with `algorithm` only.
    ///
    /// ```
    /// use tower_introspect::jwt::{Algorithm, KeySet};
    ///
    /// let pem = b"-----BEGIN PUBLIC KEY-----\n\
    ///     MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    ///     -----END PUBLIC KEY-----\n";
    /// let keys = KeySet::from_pem(Algorithm::EdDSA, pem)?.with_kid("2026");
    /// assert_eq!(keys.len(), 1);
    /// # Ok::<(), tower_introspect::jwt::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the text is no such key, or the key is not one of the algorithm.
    pub fn from_pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, KeyError> {
        let public = pem::public_key(pem)?;
        VerificationKey::new(None, Some(algorithm), &public).map(Self::one)
    }

    /// A secret shared with the issuer, for one of the `HS` algorithms.
    ///
    /// # Security
    ///
    /// Whoever can verify with it can also sign. Prefer a public key.
    ///
    /// ```
    /// use tower_introspect::jwt::{Algorithm, KeyError, KeySet};
    ///
    /// assert!(KeySet::from_secret(Algorithm::HS512, &[7; 64]).is_ok());
    /// let short = KeySet::from_secret(Algorithm::HS512, &[7; 63]);
    /// assert_eq!(short.unwrap_err(), KeyError::TooShort);
    /// ```
    ///
    /// # Errors
    ///
    /// If the algorithm is another, or the secret is shorter than its hash (RFC 7518 §3.2).
    pub fn from_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        VerificationKey::secret(algorithm, secret).map(Self::one)
    }

    /// Names the keys that have no name yet.
    #[must_use]
    pub fn with_kid(self, kid: &str) -> Self {
        let named = |key: Arc<VerificationKey>| match key.kid() {
            Some(_) => key,
            None => Arc::new(key.named(Some(kid))),
        };
        Self { keys: self.keys.into_iter().map(named).collect() }
    }

    /// These keys and those of `other`.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True if there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key has this name.
    pub(crate) fn has_kid(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid() == Some(kid))
    }

    /// Which keys there are, in words, for a trace.
    pub(crate) fn words(&self) -> String {
        let word = |key: &Arc<VerificationKey>| {
            let kid = key.kid().unwrap_or("(no kid)");
            format!(
                "{kid} for {}",
                key.algorithms().map(Algorithm::as_str).collect::<Vec<_>>().join("/")
            )
        };
        if self.is_empty() {
            return "none".to_owned();
        }
        self.keys.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    /// The algorithms that some key can verify.
    pub(crate) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.keys.iter().flat_map(|key| key.algorithms())
    }

    /// These keys as the ones that follow on `before`: what is unchanged keeps its identity, and
    /// what was in `before` only is retired.
    ///
    /// The order of the keys, and how they are written, does not matter.
    pub(crate) fn following(&self, before: &Self) -> Self {
        let identity = |key: &Arc<VerificationKey>| {
            let kept = before.keys.iter().find(|old| !old.is_retired() && old.is_same(key));
            match kept {
                Some(kept) => Arc::clone(kept),
                // Back from an older set. What it verified then stays dropped.
                None if key.is_retired() => Arc::new(key.named(key.kid())),
                None => Arc::clone(key),
            }
        };
        let following = Self { keys: self.keys.iter().map(identity).collect() };
        let gone =
            |old: &&Arc<VerificationKey>| !following.keys.iter().any(|key| Arc::ptr_eq(key, old));
        before.keys.iter().filter(gone).for_each(|old| old.retire());
        following
    }

    /// The key that `signature` verifies with, of those that come into question. See the type's
    /// documentation.
    pub(crate) fn verify<'a>(
        &'a self,
        algorithm: Algorithm,
        kid: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<&'a Arc<VerificationKey>, Mismatch> {
        let verifies = |key: &crypto::Verifier| key.verify(message, signature);
        let fits = |key: &'a Arc<VerificationKey>| Some((key, key.verifier(algorithm)?));
        let of_name = |name| self.keys.iter().filter(move |key| key.kid() == name);
        let Some(kid) = kid else {
            let fitting = self.keys.iter().filter_map(fits);
            return try_keys(fitting, verifies).unwrap_or(Err(Mismatch::UnknownKey));
        };
        let fitting = of_name(Some(kid)).filter_map(fits);
        if let Some(outcome) = try_keys(fitting, verifies) {
            return outcome;
        }
        if of_name(Some(kid)).next().is_some() {
            return Err(Mismatch::WrongAlgorithm);
        }
        // A signature that no nameless key made is no bad one yet: the key may be new.
        let nameless = of_name(None).filter_map(fits);
        try_keys(nameless, verifies).and_then(Result::ok).ok_or(Mismatch::UnknownKey)
    }

    fn one(key: impl Into<Arc<VerificationKey>>) -> Self {
        Self { keys: vec![key.into()] }
    }
}

/// `None` if there is no key to try.
fn try_keys<'a>(
    keys: impl Iterator<Item = (&'a Arc<VerificationKey>, &'a crypto::Verifier)>,
    verifies: impl Fn(&crypto::Verifier) -> bool,
) -> Option<Result<&'a Arc<VerificationKey>, Mismatch>> {
    let mut keys = keys.take(MAX_TRIES).peekable();
    keys.peek()?;
    let found = keys.find(|(_, verifier)| verifies(verifier));
    Some(found.map(|(key, _)| key).ok_or(Mismatch::BadSignature))
}

fn parse_jwk(jwk: &[u8]) -> Result<Arc<VerificationKey>, KeyError> {
    let Jwk { key, published_private } = Jwk::parse(jwk)?;
    if published_private {
        warn_of_private_key();
    }
    Ok(Arc::new(key))
}

/// Says, once per process, that an issuer publishes private keys.
fn warn_of_private_key() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        #[cfg(feature = "tracing")]
        tracing::warn!("a published key contains its private half; it must be replaced");
    }
}

fn skipped(index: usize, reason: KeyError) {
    #[cfg(feature = "tracing")]
    tracing::debug!(index, %reason, "key of a JWK Set left out");
    #[cfg(not(feature = "tracing"))]
    let _ = (index, reason);
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::jose::signing::SigningKey;

    fn jwk(pem: &[u8], kid: &str) -> Value {
        let key = SigningKey::from_pem(Algorithm::RS256, pem).unwrap();
        key.with_kid(kid).public_jwk().unwrap()
    }

    fn a() -> Value {
        jwk(include_bytes!("../../tests/it/keys/rsa.pem"), "a")
    }

    fn other_a() -> Value {
        jwk(include_bytes!("../../tests/it/keys/rsa-other.pem"), "a")
    }

    fn b() -> Value {
        jwk(include_bytes!("../../tests/it/keys/rsa-other.pem"), "b")
    }

    fn set(keys: &[Value]) -> KeySet {
        KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    fn retired(set: &KeySet) -> Vec<bool> {
        set.keys.iter().map(|key| key.is_retired()).collect()
    }

    #[test]
    fn unchanged_keys_keep_their_identity_however_they_are_written() {
        let before = set(&[a(), b()]);
        let mut plain = a();
        // Whether it is said that it is for signatures, and by whom, says nothing new.
        plain.as_object_mut().unwrap().remove("use");
        plain["key_ops"] = json!(["verify"]);
        plain["x5t"] = json!("anything");
        // The same number with a zero in front.
        let n = plain["n"].as_str().unwrap().to_owned();
        let mut padded = vec![0];
        padded.extend(crate::jose::BASE64URL.decode(n).unwrap());
        plain["n"] = crate::jose::BASE64URL.encode(padded).into();
        let after = set(&[json!({"kty": "new"}), b(), plain]).following(&before);
        assert!(Arc::ptr_eq(&after.keys[0], &before.keys[1]));
        assert!(Arc::ptr_eq(&after.keys[1], &before.keys[0]));
        assert_eq!(retired(&before), [false, false]);
    }

    #[test]
    fn removed_and_changed_keys_are_retired_and_no_others() {
        let mut any_algorithm = a();
        any_algorithm.as_object_mut().unwrap().remove("alg");
        let mut other_algorithm = a();
        other_algorithm["alg"] = "RS512".into();
        let mut for_encryption = a();
        for_encryption["use"] = "enc".into();
        let mut for_wrapping = a();
        for_wrapping["key_ops"] = json!(["wrapKey"]);
        let mut renamed = a();
        renamed["kid"] = "c".into();
        let mut nameless = a();
        nameless.as_object_mut().unwrap().remove("kid");
        for changed in [
            other_a(),
            any_algorithm,
            other_algorithm,
            for_encryption,
            for_wrapping,
            renamed,
            nameless,
            json!(null),
        ] {
            let before = set(&[a(), b()]);
            let after = set(&[changed.clone(), b()]).following(&before);
            assert_eq!(retired(&before), [true, false], "{changed}");
            assert!(!retired(&after).contains(&true), "{changed}");
        }
        let before = set(&[a(), b()]);
        assert!(set(&[]).following(&before).is_empty());
        assert_eq!(retired(&before), [true, true]);
    }

    #[test]
    fn a_key_that_comes_back_is_another_one() {
        let first = set(&[a(), b()]);
        let second = set(&[b()]).following(&first);
        let third = set(&[a(), b()]).following(&second);
        assert_eq!(retired(&first), [true, false]);
        assert_eq!(retired(&third), [false, false]);
        assert!(third.keys[0].is_same(&first.keys[0]));
        assert!(Arc::ptr_eq(&third.keys[1], &first.keys[1]));
        // Even where the very set from before comes back: an answer that came late, say.
        let fourth = first.following(&set(&[b()]).following(&third));
        assert_eq!(retired(&fourth), [false, false]);
        assert_eq!(fourth.keys[0].kid(), Some("a"));
        assert_eq!(retired(&third), [true, false]);
    }

    #[test]
    fn a_key_published_twice_is_one() {
        let before = set(&[a()]);
        let after = set(&[a(), a()]).following(&before);
        assert!(after.keys.iter().all(|key| Arc::ptr_eq(key, &before.keys[0])));
        let once = set(&[a()]).following(&after);
        assert_eq!(retired(&once), [false]);
    }

    #[test]
    fn secrets_are_told_apart_by_identity_alone() {
        let secret = || KeySet::from_secret(Algorithm::HS256, &[7; 32]).unwrap();
        let before = secret();
        let same = before.clone().following(&before);
        assert_eq!(retired(&same), [false]);
        let again = secret().following(&before);
        assert_eq!((retired(&before), retired(&again)), (vec![true], vec![false]));
    }

    #[cfg(feature = "aws-lc-rs")]
    #[test]
    fn telling_which_key_it_was_allocates_nothing() {
        let pem = include_bytes!("../../tests/it/keys/rsa.pem");
        let key = SigningKey::from_pem(Algorithm::RS256, pem).unwrap();
        let signature = key.sign_bytes(b"message").unwrap();
        let keys = set(&[b(), a()]);
        let mut handle = None;
        let counted = allocation_counter::measure(|| {
            let found = keys.verify(Algorithm::RS256, Some("a"), b"message", &signature);
            handle = found.ok().cloned();
        });
        assert!(Arc::ptr_eq(&handle.unwrap(), &keys.keys[1]));
        assert_eq!(counted.count_total, 0);
    }

    #[test]
    fn naming_keys_leaves_those_alone_that_have_a_name() {
        let mut nameless = b();
        nameless.as_object_mut().unwrap().remove("kid");
        let before = set(&[a(), nameless]);
        let named = before.clone().with_kid("x");
        assert!(Arc::ptr_eq(&named.keys[0], &before.keys[0]));
        assert_eq!(named.keys[1].kid(), Some("x"));
        assert_eq!(before.keys[1].kid(), None);
    }
}

//! A set of keys that verify the signatures of one issuer.

use std::sync::Arc;

use super::key_faults::KeyFaults;
use crate::jose::{algorithm::Algorithm, crypto, key::VerificationKey};

/// The maximum number of keys that are tried for one token, unless configured.
pub(crate) const MAX_TRIES: usize = 4;

/// The keys of one issuer.
///
/// The `kid` of a token selects the keys that may verify it:
///
/// * With a `kid`, the keys of exactly that name. If there are none, the keys without a name, which
///   the name in the token can't contradict. Keys of other names are never tried.
/// * Without a `kid`, the keys that fit the algorithm of the token.
///
/// In both cases at most four keys are tried, unless
/// [`max_keys_tried`](super::JwtVerifierBuilder::max_keys_tried) says otherwise. A key is only used with the algorithms of its own
/// type, or only with the algorithm that its `alg` names. It is only used for the issuer that its
/// member `issuer` names, if it has one.
///
/// Clones share the keys.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    pub(super) keys: Vec<Arc<VerificationKey>>,
    pub(super) faults: KeyFaults,
}

/// The reason why no key verified a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    BadSignature,
    /// No key has that name, or, for a token without a `kid`, none fits its algorithm.
    UnknownKey,
    /// More keys fit than are tried, and none of those that were tried verifies the signature.
    Untried,
    /// The issuer publishes a key of that name that can't be used.
    Unusable,
    /// The keys of that name are not for this algorithm.
    WrongAlgorithm,
}

impl KeySet {
    /// Sets the name (`kid`) of the keys that have none.
    #[must_use]
    pub fn with_kid(self, kid: &str) -> Self {
        let named = |key: Arc<VerificationKey>| match key.kid() {
            Some(_) => key,
            None => Arc::new(key.with_kid(Some(kid))),
        };
        Self { keys: self.keys.into_iter().map(named).collect(), faults: self.faults }
    }

    /// Adds the keys of `other`.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self.faults.append(other.faults);
        self
    }

    /// Returns the keys that may verify the tokens of `issuer`.
    pub(crate) fn for_issuer(mut self, issuer: &str) -> Self {
        self.keys.retain(|key| key.serves(issuer));
        self
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns true if there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns true if a key has this name.
    pub(crate) fn has_kid(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid() == Some(kid))
    }

    /// Returns true if the issuer publishes a key of this name that can't be used.
    pub(crate) fn has_unusable(&self, kid: &str) -> bool {
        self.faults.of_unusable(kid).is_some()
    }

    /// Returns true if a key of this set is not in `other`, the set that it succeeds.
    pub(crate) fn has_more_than(&self, other: &Self) -> bool {
        let known = |key| other.keys.iter().any(|old| Arc::ptr_eq(old, key));
        !self.keys.iter().all(known)
    }

    /// Describes the keys as text, for a recording of the checks.
    pub(crate) fn describe(&self) -> String {
        let describe_key = |key: &Arc<VerificationKey>| {
            let kid = key.kid().unwrap_or("(no kid)");
            format!(
                "{kid} for {}",
                key.algorithms().map(Algorithm::as_str).collect::<Vec<_>>().join("/")
            )
        };
        let unusable = self.faults.describe_unusable();
        let all: Vec<_> = self.keys.iter().map(describe_key).chain(unusable).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    }

    /// Returns the algorithms that the keys can verify.
    pub(crate) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.keys.iter().flat_map(|key| key.algorithms())
    }

    /// Returns these keys as the successors of `before`. Unchanged keys keep their identity; keys
    /// that are only in `before` are retired.
    ///
    /// The order of the keys and their spelling in JSON do not matter.
    pub(crate) fn take_over_from(&self, before: &Self) -> Self {
        let identity = |key: &Arc<VerificationKey>| {
            let kept = before.keys.iter().find(|old| !old.is_retired() && old.is_same(key));
            match kept {
                Some(kept) => Arc::clone(kept),
                // The key returns from an older set. The tokens that it verified stay retired.
                None if key.is_retired() => Arc::new(key.with_kid(key.kid())),
                None => Arc::clone(key),
            }
        };
        let keys = self.keys.iter().map(identity).collect();
        let successor = Self { keys, faults: self.faults.clone() };
        let gone =
            |old: &&Arc<VerificationKey>| !successor.keys.iter().any(|key| Arc::ptr_eq(key, old));
        before.keys.iter().filter(gone).for_each(|old| old.retire());
        successor
    }

    /// Returns the key that verifies `signature`, after at most `max_tries` tries. The documentation
    /// of [`KeySet`] says which keys are tried.
    pub(crate) fn verify<'a>(
        &'a self,
        algorithm: Algorithm,
        kid: Option<&str>,
        (message, signature): (&[u8], &[u8]),
        max_tries: usize,
    ) -> Result<&'a Arc<VerificationKey>, Mismatch> {
        let verifies = |key: &crypto::backend::keys::Verifier| key.verify(message, signature);
        let fits = |key: &'a Arc<VerificationKey>| Some((key, key.verifier(algorithm)?));
        let with_name = |name| self.keys.iter().filter(move |key| key.kid() == name);
        let Some(kid) = kid else {
            let fitting = self.keys.iter().filter_map(fits);
            return try_keys(fitting, verifies, max_tries).unwrap_or(Err(Mismatch::UnknownKey));
        };
        let named = try_keys(with_name(Some(kid)).filter_map(fits), verifies, max_tries);
        let outcome = match named {
            Some(outcome) => outcome,
            None if with_name(Some(kid)).next().is_some() => Err(Mismatch::WrongAlgorithm),
            // If no key without a name fits, the signature need not be bad: the key may be new.
            None => match try_keys(with_name(None).filter_map(fits), verifies, max_tries) {
                None | Some(Err(Mismatch::BadSignature)) => Err(Mismatch::UnknownKey),
                Some(outcome) => outcome,
            },
        };
        outcome.map_err(|mismatch| match mismatch {
            // It may well have signed the token.
            _ if self.has_unusable(kid) => Mismatch::Unusable,
            mismatch => mismatch,
        })
    }

    pub(super) fn single(key: impl Into<Arc<VerificationKey>>) -> Self {
        Self { keys: vec![key.into()], faults: KeyFaults::default() }
    }
}

/// Returns the first of `max_tries` keys that verifies, or `None` if there is no key to try.
fn try_keys<'a>(
    keys: impl Iterator<Item = (&'a Arc<VerificationKey>, &'a crypto::backend::keys::Verifier)>,
    verifies: impl Fn(&crypto::backend::keys::Verifier) -> bool,
    max_tries: usize,
) -> Option<Result<&'a Arc<VerificationKey>, Mismatch>> {
    let mut keys = keys.peekable();
    keys.peek()?;
    let found = keys.by_ref().take(max_tries).find(|(_, verifier)| verifies(verifier));
    Some(match found {
        Some((key, _)) => Ok(key),
        None if keys.peek().is_some() => Err(Mismatch::Untried),
        None => Err(Mismatch::BadSignature),
    })
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
    fn unchanged_keys_keep_their_identity_in_any_json_spelling() {
        let before = set(&[a(), b()]);
        let mut plain = a();
        // `use` and `key_ops` both say that the key verifies signatures.
        plain.as_object_mut().unwrap().remove("use");
        plain["key_ops"] = json!(["verify"]);
        plain["x5t"] = json!("anything");
        // The same modulus with a leading zero byte.
        let n = plain["n"].as_str().unwrap().to_owned();
        let mut padded = vec![0];
        padded.extend(crate::jose::base64url::BASE64URL.decode(n).unwrap());
        plain["n"] = crate::jose::base64url::BASE64URL.encode(padded).into();
        let after = set(&[json!({"kty": "new"}), b(), plain]).take_over_from(&before);
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
            let after = set(&[changed.clone(), b()]).take_over_from(&before);
            assert_eq!(retired(&before), [true, false], "{changed}");
            assert!(!retired(&after).contains(&true), "{changed}");
        }
        let before = set(&[a(), b()]);
        assert!(set(&[]).take_over_from(&before).is_empty());
        assert_eq!(retired(&before), [true, true]);
    }

    #[test]
    fn key_that_is_published_again_gets_a_new_identity() {
        let first = set(&[a(), b()]);
        let second = set(&[b()]).take_over_from(&first);
        let third = set(&[a(), b()]).take_over_from(&second);
        assert_eq!(retired(&first), [true, false]);
        assert_eq!(retired(&third), [false, false]);
        assert!(third.keys[0].is_same(&first.keys[0]));
        assert!(Arc::ptr_eq(&third.keys[1], &first.keys[1]));
        // Holds even if the same `KeySet` value comes back, for example from a late response.
        let fourth = first.take_over_from(&set(&[b()]).take_over_from(&third));
        assert_eq!(retired(&fourth), [false, false]);
        assert_eq!(fourth.keys[0].kid(), Some("a"));
        assert_eq!(retired(&third), [true, false]);
    }

    #[test]
    fn key_published_twice_is_kept_once() {
        let before = set(&[a()]);
        let after = set(&[a(), a()]).take_over_from(&before);
        assert!(after.keys.iter().all(|key| Arc::ptr_eq(key, &before.keys[0])));
        let once = set(&[a()]).take_over_from(&after);
        assert_eq!(retired(&once), [false]);
    }

    #[test]
    fn secrets_are_compared_by_identity_only() {
        let secret = || KeySet::from_secret(Algorithm::HS256, &[7; 32]).unwrap();
        let before = secret();
        let same = before.clone().take_over_from(&before);
        assert_eq!(retired(&same), [false]);
        let again = secret().take_over_from(&before);
        assert_eq!((retired(&before), retired(&again)), (vec![true], vec![false]));
    }

    #[cfg(feature = "aws-lc-rs")]
    #[test]
    fn returning_the_verifying_key_allocates_nothing() {
        let pem = include_bytes!("../../tests/it/keys/rsa.pem");
        let key = SigningKey::from_pem(Algorithm::RS256, pem).unwrap();
        let signature = key.sign_bytes(b"message").unwrap();
        let keys = set(&[b(), a()]);
        let mut handle = None;
        let counted = allocation_counter::measure(|| {
            let found =
                keys.verify(Algorithm::RS256, Some("a"), (b"message", &signature), MAX_TRIES);
            handle = found.ok().cloned();
        });
        assert!(Arc::ptr_eq(&handle.unwrap(), &keys.keys[1]));
        assert_eq!(counted.count_total, 0);
    }

    #[test]
    fn with_kid_names_only_keys_without_a_name() {
        let mut nameless = b();
        nameless.as_object_mut().unwrap().remove("kid");
        let before = set(&[a(), nameless]);
        let named = before.clone().with_kid("x");
        assert!(Arc::ptr_eq(&named.keys[0], &before.keys[0]));
        assert_eq!(named.keys[1].kid(), Some("x"));
        assert_eq!(before.keys[1].kid(), None);
    }
}

//! Nonces of this service for DPoP proofs (RFC 9449 §8, §9).

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base64::Engine as _;
use http::HeaderValue;
use jsonwebtoken::EncodingKey;

use crate::{
    clock::UnixTime,
    error::config::ConfigError,
    jose::{
        algorithm::Algorithm,
        base64url::BASE64URL,
        crypto::{self, backend::keys::Verifier},
    },
};

/// The shortest secret, in bytes: the length of the hash that it keys (RFC 2104 §3).
const MIN_SECRET: usize = 32;

/// How far the clock of another instance that made a nonce may be ahead of this one.
const SKEW: Duration = Duration::from_secs(60);

/// The length of a nonce: a time followed by its MAC.
const NONCE_BYTES: usize = 8 + 32;

/// The secret from which nonces are made.
///
/// Instances of a service that share a secret accept each other's nonces.
///
/// ```
/// use tower_introspect::proof::{Dpop, NonceSecret};
///
/// let secret = NonceSecret::new(&[7; 32])?; // loaded with the other secrets
/// assert_eq!(format!("{secret:?}"), "NonceSecret(..)");
/// let dpop = Dpop::new("https://api.example.com")?.require_nonce().nonce_secret(secret);
/// # let _ = dpop;
/// # Ok::<(), tower_introspect::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct NonceSecret(Arc<EncodingKey>);

impl NonceSecret {
    /// Creates a secret from at least 32 random bytes.
    ///
    /// # Errors
    ///
    /// If `secret` is shorter than 32 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, ConfigError> {
        let secret = Some(secret).filter(|secret| secret.len() >= MIN_SECRET);
        let key = secret.and_then(|secret| EncodingKey::from_secret(secret).ok());
        key.map(|key| Self(Arc::new(key))).ok_or_else(|| problem("must have at least 32 bytes"))
    }

    /// Creates a random secret.
    pub(super) fn random() -> Result<Self, ConfigError> {
        let secret = crypto::random::random::<MIN_SECRET>();
        Self::new(&secret.ok_or_else(|| problem("the operating system provides no random bytes"))?)
    }

    /// Derives the key of a rotation.
    fn rotation_key(&self, epoch: i64) -> Option<Vec<u8>> {
        let message = [&b"tower-introspect: DPoP nonce 1"[..], &epoch.to_be_bytes()].concat();
        crypto::sign::sign(Algorithm::HS256, &self.0, &message)
    }
}

impl fmt::Debug for NonceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceSecret(..)")
    }
}

fn problem(problem: &str) -> ConfigError {
    ConfigError::of("nonce_secret", problem)
}

/// Makes and verifies nonces (RFC 9449 §8, §9) without storing any.
///
/// A nonce is the time at which it was made and the MAC of that time, so it cannot be predicted
/// without the secret. Each rotation has its own MAC key. A nonce is accepted during its own
/// rotation and the next.
#[derive(Clone)]
pub(super) struct Nonces {
    secret: NonceSecret,
    /// The rotation interval in whole seconds, at least one.
    rotation: i64,
    /// The keys of recent rotations, because making one costs more than using it.
    recent_keys: Arc<RwLock<Vec<RotationKey>>>,
}

/// The number of a rotation and the key that verifies its nonces.
type RotationKey = (i64, Arc<Verifier>);

/// The number of keys kept: for the previous rotation, the current one, and the next for instances
/// whose clock is ahead.
const MAX_RECENT_KEYS: usize = 3;

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("rotation", &self.rotation).finish_non_exhaustive()
    }
}

/// The content of a nonce that this service made and that has not expired.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ValidNonce {
    /// The time from which the nonce is expired.
    pub(super) until: UnixTime,
    /// True if the nonce is from the previous rotation, so that the client should get a new one.
    pub(super) is_aging: bool,
}

impl Nonces {
    pub(super) fn new(secret: NonceSecret) -> Self {
        Self { secret, rotation: 60, recent_keys: Arc::default() }
    }

    pub(super) fn with_secret(self, secret: NonceSecret) -> Self {
        Self { secret, recent_keys: Arc::default(), ..self }
    }

    pub(super) fn with_rotation(self, rotation: Duration) -> Self {
        let rotation = i64::try_from(rotation.as_secs()).unwrap_or(i64::MAX).clamp(10, 3600);
        Self { rotation, ..self }
    }

    /// Makes a nonce for the time `now`. Returns `None` only if the backend cannot sign.
    pub(super) fn make(&self, now: UnixTime) -> Option<HeaderValue> {
        let made = now.as_secs();
        let key = EncodingKey::from_secret(&self.secret.rotation_key(self.epoch(made))?).ok()?;
        let made = made.to_be_bytes();
        let nonce = [&made[..], &crypto::sign::sign(Algorithm::HS256, &key, &made)?].concat();
        let mut nonce = HeaderValue::try_from(BASE64URL.encode(nonce)).ok()?;
        // Sensitive values are left out of `Debug` output and of HPACK tables.
        nonce.set_sensitive(true);
        Some(nonce)
    }

    /// Reads `nonce`, if it was made with the same secret in this rotation or the previous one.
    pub(super) fn read(&self, nonce: &str, now: UnixTime) -> Option<ValidNonce> {
        // One byte more than a nonce has, so that a longer text is detected.
        let mut bytes = [0; NONCE_BYTES + 1];
        let length = BASE64URL.decode_slice(nonce, &mut bytes).ok()?;
        let (made, tag) = bytes.get(..length)?.split_first_chunk::<8>()?;
        let seconds = i64::from_be_bytes(*made);
        if UnixTime::from_secs(seconds) > now.saturating_add(SKEW) {
            return None;
        }
        let (epoch, current) = (self.epoch(seconds), self.epoch(now.as_secs()));
        if epoch < current - 1 {
            return None;
        }
        let until = UnixTime::from_secs(epoch.saturating_add(2).saturating_mul(self.rotation));
        self.has_valid_tag(epoch, made, tag)?
            .then_some(ValidNonce { until, is_aging: epoch < current })
    }

    /// Returns true if the tag was made in this rotation.
    ///
    /// The whole tag is compared, in constant time. Returns `None` only if the backend fails.
    fn has_valid_tag(&self, epoch: i64, made: &[u8], tag: &[u8]) -> Option<bool> {
        let is_of_epoch = |(one, _): &&RotationKey| *one == epoch;
        let recent = self.recent_keys.read().unwrap_or_else(PoisonError::into_inner);
        let known = recent.iter().find(is_of_epoch).map(|(_, key)| Arc::clone(key));
        drop(recent);
        if let Some(key) = known {
            return Some(key.verify(made, tag));
        }
        let key = Arc::new(Verifier::secret(Algorithm::HS256, &self.secret.rotation_key(epoch)?)?);
        let is_ours = key.verify(made, tag);
        // A forged nonce must not evict the keys that are in use.
        if is_ours {
            let mut recent = self.recent_keys.write().unwrap_or_else(PoisonError::into_inner);
            if recent.iter().all(|(one, _)| *one != epoch) {
                if recent.len() >= MAX_RECENT_KEYS {
                    recent.remove(0);
                }
                recent.push((epoch, key));
            }
        }
        Some(is_ours)
    }

    fn epoch(&self, seconds: i64) -> i64 {
        seconds.div_euclid(self.rotation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces(secret: u8) -> Nonces {
        Nonces::new(NonceSecret::new(&[secret; 32]).unwrap())
    }

    fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn make(nonces: &Nonces, secs: i64) -> String {
        nonces.make(at(secs)).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn rfc9449_8_2_nonce_of_the_previous_rotation_is_accepted() {
        let nonces = nonces(7);
        let nonce = make(&nonces, 6010);
        let read = |secs| nonces.read(&nonce, at(secs));
        let known = |is_aging| Some(ValidNonce { until: at(6120), is_aging });
        assert_eq!(read(6010), known(false));
        assert_eq!(read(6059), known(false));
        assert_eq!(read(6060), known(true));
        assert_eq!(read(6119), known(true));
        assert_eq!(read(6120), None);
        assert_eq!(read(5950), known(false), "another instance, whose clock is behind");
        assert_eq!(read(5949), None);
    }

    #[test]
    fn keys_of_old_rotations_are_dropped() {
        let (nonces, other) = (nonces(7), nonces(8));
        for rotation in 100..200 {
            let nonce = make(&nonces, rotation * 60);
            assert!(nonces.read(&nonce, at(rotation * 60)).is_some());
            assert!(nonces.read(&nonce, at(rotation * 60)).is_some(), "with the key that is kept");
            let before = make(&nonces, rotation * 60 - 1);
            assert!(nonces.read(&before, at(rotation * 60)).is_some(), "with another");
            let foreign = make(&other, rotation * 60);
            assert_eq!(nonces.read(&foreign, at(rotation * 60)), None);
        }
        assert_eq!(nonces.recent_keys.read().unwrap().len(), MAX_RECENT_KEYS);
        let other = nonces.clone().with_secret(NonceSecret::new(&[8; 32]).unwrap());
        assert_eq!(other.recent_keys.read().unwrap().len(), 0);
        assert_eq!(other.read(&make(&nonces, 199 * 60), at(199 * 60)), None);
    }

    #[test]
    fn forged_nonces_evict_no_key() {
        let (nonces, other) = (nonces(7), nonces(8));
        let nonces = nonces.with_rotation(Duration::from_secs(10));
        assert!(nonces.read(&make(&nonces, 6000), at(6000)).is_some());
        for ahead in 0..=6 {
            let foreign = make(&other, 6000 + 10 * ahead);
            assert_eq!(nonces.read(&foreign, at(6000)), None);
        }
        let kept: Vec<i64> =
            nonces.recent_keys.read().unwrap().iter().map(|(epoch, _)| *epoch).collect();
        assert_eq!(kept, [600]);
    }

    #[test]
    fn rfc9449_8_nonce_follows_the_grammar_and_is_unpredictable() {
        let nonce = make(&nonces(7), 6000);
        // RFC 9449 §8.1: `nonce = 1*NQCHAR`.
        assert!(nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_ne!(nonce, make(&nonces(8), 6000));
        assert_ne!(nonce, make(&nonces(7), 6001));
    }

    #[test]
    fn instances_with_one_secret_accept_each_others_nonces() {
        let nonce = make(&nonces(7), 6000);
        assert!(nonces(7).read(&nonce, at(6000)).is_some());
        assert_eq!(nonces(8).read(&nonce, at(6000)), None);
    }

    #[test]
    fn changed_nonce_is_refused() {
        let nonces = nonces(7);
        let bytes = BASE64URL.decode(make(&nonces, 6000)).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(nonces.read(&BASE64URL.encode(&changed), at(6000)), None, "{bit}");
        }
        for length in 0..bytes.len() {
            let cut = BASE64URL.encode(&bytes[..length]);
            assert_eq!(nonces.read(&cut, at(6000)), None, "{length}");
        }
        for more in [1, 2, 100, 10_000] {
            let longer = BASE64URL.encode([&*bytes, &vec![0; more]].concat());
            assert_eq!(nonces.read(&longer, at(6000)), None, "{more}");
        }
        for text in ["", "=", "\u{e9}", "AAAA AAAA"] {
            assert_eq!(nonces.read(text, at(6000)), None, "{text}");
        }
    }

    #[test]
    fn extreme_times_do_not_panic() {
        for now in [i64::MIN, -1, 0, i64::MAX / 1000] {
            let nonces = nonces(7);
            let nonce = nonces.make(at(now)).unwrap();
            assert!(nonces.read(nonce.to_str().unwrap(), at(now)).is_some(), "{now}");
        }
    }

    #[test]
    fn short_secrets_are_refused() {
        assert!(NonceSecret::new(&[7; 31]).is_err());
        assert!(NonceSecret::random().is_ok());
    }
}

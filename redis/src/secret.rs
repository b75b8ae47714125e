//! The secret of a service, and what is sealed with it.

use std::{
    error::Error,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use sha2::Sha256;

/// The least length of a secret in bytes.
const MIN_SECRET: usize = 32;

/// The first byte of everything that is sealed.
const VERSION: u8 = 1;

const KEY_NAME: usize = 4;
const NONCE: usize = 12;
const HEAD: usize = 1 + KEY_NAME + NONCE;

/// The secret that the instances of a service share.
///
/// It authenticates and encrypts the cutoffs that they keep in Redis (AES-256-GCM-SIV, RFC 8452). An
/// attacker who can write to Redis, but does not know the secret, can't add a cutoff, and can't read one.
///
/// ```
/// use tower_introspect_redis::SharedSecret;
///
/// # fn random_bytes_from_a_file() -> [u8; 32] { [7; 32] }
/// let secret = SharedSecret::new(&random_bytes_from_a_file())?;
/// assert!(SharedSecret::new(b"short").is_err());
/// # Ok::<(), tower_introspect_redis::WeakSecret>(())
/// ```
///
/// # Rotation
///
/// [`rotate`](Self::rotate) replaces it while the service runs. First let all instances accept the new
/// secret, then let them seal with it, and then drop the earlier one:
///
/// ```
/// use tower_introspect_redis::SharedSecret;
///
/// let (old, new) = ([1; 32], [2; 32]);
/// let secret = SharedSecret::new(&old)?;
/// secret.rotate(&old, &[&new])?;
/// // When all instances have done that:
/// secret.rotate(&new, &[&old])?;
/// // When everything is sealed with the new one, after `RedisTier::MERGE_INTERVAL` twice:
/// secret.rotate(&new, &[])?;
/// # Ok::<(), tower_introspect_redis::WeakSecret>(())
/// ```
///
/// # Clone
///
/// Clones are the same secret, also after a rotation.
#[derive(Clone)]
pub struct SharedSecret(Arc<RwLock<Arc<Keys>>>);

struct Keys {
    /// The number of rotations.
    generation: u64,
    /// Seals.
    current: Key,
    /// Only open.
    accepted: Vec<Key>,
}

struct Key {
    /// Tells which key sealed something. It says nothing about the key.
    name: [u8; KEY_NAME],
    cipher: Aes256GcmSiv,
}

impl SharedSecret {
    /// Creates a secret of at least 32 random bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if it is shorter.
    pub fn new(secret: &[u8]) -> Result<Self, WeakSecret> {
        let keys = Keys { generation: 0, current: Key::new(secret)?, accepted: Vec::new() };
        Ok(Self(Arc::new(RwLock::new(Arc::new(keys)))))
    }

    /// Seals with `current` from now on, and opens what is sealed with it or with one of `accepted`.
    ///
    /// # Errors
    ///
    /// Returns an error if one of them is too short, and changes nothing.
    pub fn rotate(&self, current: &[u8], accepted: &[&[u8]]) -> Result<(), WeakSecret> {
        let current = Key::new(current)?;
        let accepted = accepted.iter().map(|secret| Key::new(secret)).collect::<Result<_, _>>()?;
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let generation = keys.generation.wrapping_add(1);
        *keys = Arc::new(Keys { generation, current, accepted });
        Ok(())
    }

    /// Returns a number that changes with each rotation.
    pub(crate) fn generation(&self) -> u64 {
        self.keys().generation
    }

    /// Seals a text, which opens only with the same `place`.
    pub(crate) fn seal(&self, place: &[u8], text: &[u8]) -> Result<Vec<u8>, NoRandomness> {
        let keys = self.keys();
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| NoRandomness)?;
        let payload = Payload { msg: text, aad: place };
        // It fails only for a text of 64 GiB.
        let sealed = keys.current.cipher.encrypt(&Nonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| NoRandomness)?;
        let mut out = Vec::with_capacity(HEAD + sealed.len());
        out.push(VERSION);
        out.extend(keys.current.name);
        out.extend(nonce);
        out.extend(sealed);
        Ok(out)
    }

    /// Opens what was sealed for `place`, or returns `None`.
    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Opened> {
        let (head, text) = sealed.split_at_checked(HEAD)?;
        let (name, nonce) = head.strip_prefix(&[VERSION])?.split_at_checked(KEY_NAME)?;
        let nonce = Nonce::from(<[u8; NONCE]>::try_from(nonce).ok()?);
        let keys = self.keys();
        let of_name = |key: &&Key| key.name == name;
        let candidates = std::iter::once(&keys.current).chain(&keys.accepted).filter(of_name);
        let mut opened = candidates.filter_map(|key| {
            let text = key.cipher.decrypt(&nonce, Payload { msg: text, aad: place }).ok()?;
            Some(Opened { text, is_current: key.name == keys.current.name })
        });
        opened.next()
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A text that was sealed.
pub(crate) struct Opened {
    pub(crate) text: Vec<u8>,
    /// True if it was sealed with the current secret.
    pub(crate) is_current: bool,
}

impl Key {
    fn new(secret: &[u8]) -> Result<Self, WeakSecret> {
        if secret.len() < MIN_SECRET {
            return Err(WeakSecret);
        }
        let derived = Hkdf::<Sha256>::new(Some(b"tower-introspect-redis"), secret);
        let (mut key, mut name) = ([0; 32], [0; KEY_NAME]);
        derived.expand(b"seal", &mut key).map_err(|_| WeakSecret)?;
        derived.expand(b"name", &mut name).map_err(|_| WeakSecret)?;
        Ok(Self { name, cipher: Aes256GcmSiv::new(&key.into()) })
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecret").finish_non_exhaustive()
    }
}

/// The error of a secret that has less than 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeakSecret;

impl fmt::Display for WeakSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shared secret has less than 32 bytes")
    }
}

impl Error for WeakSecret {}

/// The operating system has no random bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoRandomness;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> SharedSecret {
        SharedSecret::new(&[byte; 32]).unwrap()
    }

    fn opens(secret: &SharedSecret, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        secret.open(place, sealed).map(|opened| opened.text)
    }

    #[test]
    fn sealed_text_opens_at_its_place_with_its_secret_only() {
        let sealed = secret(1).seal(b"here", b"text").unwrap();
        assert_eq!(opens(&secret(1), b"here", &sealed), Some(b"text".to_vec()));
        assert_eq!(opens(&secret(1), b"there", &sealed), None);
        assert_eq!(opens(&secret(2), b"here", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(opens(&secret(1), b"here", &changed), None, "byte {at}");
            assert_eq!(opens(&secret(1), b"here", &sealed[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn equal_texts_are_sealed_differently_and_hide_their_content() {
        let secret = secret(1);
        let (one, other) =
            (secret.seal(b"", b"alice").unwrap(), secret.seal(b"", b"alice").unwrap());
        assert_ne!(one, other);
        assert!(!one.windows(5).any(|window| window == b"alice"));
    }

    #[test]
    fn rotation_reaches_clones_and_opens_what_is_accepted() {
        let (secret, old) = (secret(1), secret(1));
        let clone = secret.clone();
        let before = clone.seal(b"", b"text").unwrap();
        secret.rotate(&[2; 32], &[&[1; 32]]).unwrap();
        let after = clone.seal(b"", b"text").unwrap();
        assert!(opens(&old, b"", &after).is_none());
        assert!(!secret.open(b"", &before).unwrap().is_current);
        assert!(secret.open(b"", &after).unwrap().is_current);
        secret.rotate(&[2; 32], &[]).unwrap();
        assert!(opens(&secret, b"", &before).is_none());
        assert_eq!(secret.rotate(&[3; 31], &[]), Err(WeakSecret));
        assert!(opens(&secret, b"", &after).is_some(), "nothing changed");
    }

    #[test]
    fn secret_is_not_shown() {
        assert_eq!(format!("{:?}", secret(7)), "SharedSecret { .. }");
    }
}

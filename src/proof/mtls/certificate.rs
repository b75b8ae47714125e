//! The certificate of a client and its thumbprint (RFC 8705 §3.1).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::jose::crypto::backend::sha256;

/// The longest certificate that is accepted, in bytes. Real ones have one or two kilobytes.
pub(super) const MAX_BYTES: usize = 16 << 10;

/// The length of a SHA-256 digest in base64url without padding.
const THUMBPRINT: usize = 43;

/// The certificate of a client, reduced to its SHA-256 digest, to which a token can be bound.
///
/// The TLS server puts it into the extensions of each request of the connection, where
/// [`Mtls`](crate::proof::Mtls) finds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerCertificate([u8; 32]);

impl PeerCertificate {
    /// Creates it from the DER encoding of the client's own certificate, not of an issuing one.
    ///
    /// Returns `None` for anything but DER, such as PEM, and for more than 16 KiB. Nothing else is
    /// checked: the TLS handshake has verified that the certificate is valid and that the client
    /// holds its key.
    ///
    /// ```
    /// use tower_introspect::proof::PeerCertificate;
    ///
    /// # let der = [0x30, 0x00];
    /// let certificate = PeerCertificate::from_der(&der).unwrap();
    /// assert_eq!(certificate.thumbprint().len(), 43);
    /// assert!(PeerCertificate::from_der(b"-----BEGIN CERTIFICATE-----").is_none());
    /// ```
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        is_certificate(der).then(|| Self(sha256(der)))
    }

    /// Returns the thumbprint, as a token bound to it has it in `x5t#S256` (RFC 8705 §3.1).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(super) const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Returns true if `text` is exactly its thumbprint (RFC 8705 §3.1).
    ///
    /// Padding, another alphabet or another digest make a different text.
    pub(super) fn has_thumbprint(&self, text: &str) -> bool {
        let mut own = [0; THUMBPRINT];
        let encoded = URL_SAFE_NO_PAD.encode_slice(self.0, &mut own);
        encoded == Ok(THUMBPRINT) && own == *text.as_bytes()
    }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerCertificate").finish_non_exhaustive()
    }
}

/// Returns true if `der` may be a certificate, as [`PeerCertificate::from_der`] checks it.
pub(super) fn is_certificate(der: &[u8]) -> bool {
    der.len() <= MAX_BYTES && is_one_sequence(der)
}

/// Returns true if `der` is exactly one SEQUENCE with its length in the shortest form (X.690
/// §8.1.3, §10.1).
fn is_one_sequence(der: &[u8]) -> bool {
    let [0x30, length, rest @ ..] = der else { return false };
    match (length, rest) {
        (0..=0x7f, content) => content.len() == usize::from(*length),
        (0x81, [length @ 0x80..=0xff, content @ ..]) => content.len() == usize::from(*length),
        (0x82, [high @ 1..=0xff, low, content @ ..]) => {
            content.len() == usize::from(u16::from_be_bytes([*high, *low]))
        }
        // Content above `MAX_BYTES` is refused, so two bytes of length are enough.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(header: &[u8], content: usize) -> bool {
        let mut der = header.to_vec();
        der.resize(header.len() + content, 7);
        PeerCertificate::from_der(&der).is_some()
    }

    #[test]
    fn x690_10_1_certificate_is_one_sequence_of_the_given_length() {
        for (header, content) in [
            (&[0x30, 0][..], 0),
            (&[0x30, 0x7f], 0x7f),
            (&[0x30, 0x81, 0x80], 0x80),
            (&[0x30, 0x81, 0xff], 0xff),
            (&[0x30, 0x82, 1, 0], 0x100),
            (&[0x30, 0x82, 0x3f, 0xfc], 0x3ffc),
        ] {
            assert!(is_taken(header, content), "{header:?}");
            assert!(!is_taken(header, content + 1), "{header:?} and more");
            assert!(content == 0 || !is_taken(header, content - 1), "{header:?} and less");
        }
        for (header, content) in [
            (&[][..], 0),
            (&[0x30], 0),
            (&[0x31, 1], 1),
            // Indefinite length, and lengths in more bytes than needed.
            (&[0x30, 0x80], 2),
            (&[0x30, 0x81], 0),
            (&[0x30, 0x81, 0x7f], 0x7f),
            (&[0x30, 0x82, 0, 0xff], 0xff),
            (&[0x30, 0x82, 1], 0),
            (&[0x30, 0x83, 0, 1, 0], 0x100),
            // One byte more than is accepted.
            (&[0x30, 0x82, 0x3f, 0xfd], 0x3ffd),
        ] {
            assert!(!is_taken(header, content), "{header:?}");
        }
    }

    #[test]
    fn debug_does_not_show_the_certificate() {
        let certificate = PeerCertificate::from_der(&[0x30, 0]).unwrap();
        assert_eq!(format!("{certificate:?}"), "PeerCertificate { .. }");
    }
}

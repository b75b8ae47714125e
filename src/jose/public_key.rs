//! Public keys of an accepted form and size.

use pkcs8::der::{Decode as _, Encode as _, asn1::UintRef};

use super::{algorithm::KeyType, error::KeyError};

/// The minimum size of an RSA modulus, in bits (RFC 7518 §3.3, §3.5).
const MIN_RSA_BITS: usize = 2048;

/// The maximum size of an RSA modulus, in bits: the limit of the backend.
const MAX_RSA_BITS: usize = if cfg!(feature = "aws-lc-rs") { 8192 } else { 4096 };

/// The maximum size of an RSA exponent, in bits. Both backends accept it. 65537 has 17 bits.
const MAX_EXPONENT_BITS: usize = 33;

/// The `y` coordinates, little-endian, of the Ed25519 points whose order divides eight: -1, 0, 1,
/// then p and p + 1, which equal 0 and 1 modulo the prime p, then two of order eight.
const SMALL_ORDER: [[u8; 32]; 7] = [
    near_the_prime(0xec),
    [0; 32],
    one(),
    near_the_prime(0xed),
    near_the_prime(0xee),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

const fn one() -> [u8; 32] {
    let mut y = [0; 32];
    y[0] = 1;
    y
}

/// Returns the prime p = 2^255 - 19, little-endian, with `first` as its lowest byte, which is 0xed.
const fn near_the_prime(first: u8) -> [u8; 32] {
    let mut y = [0xff; 32];
    (y[0], y[31]) = (first, 0x7f);
    y
}

/// A public key of an accepted form and size.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// An RSA key. Both numbers are big-endian, without leading zeros.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// An uncompressed point (SEC 1 §2.3.3).
    P256 {
        point: Vec<u8>,
    },
    /// An uncompressed point (SEC 1 §2.3.3).
    P384 {
        point: Vec<u8>,
    },
    Ed25519 {
        x: [u8; 32],
    },
}

impl PublicKey {
    /// Creates an RSA key from its big-endian numbers. Leading zeros are allowed.
    pub(crate) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let (modulus, exponent) = (without_leading_zeros(modulus), without_leading_zeros(exponent));
        let bits = bits(modulus);
        if bits < MIN_RSA_BITS {
            return Err(KeyError::TooShort);
        }
        let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        let exponent_fits =
            odd(exponent) && exponent != [1] && self::bits(exponent) <= MAX_EXPONENT_BITS;
        if bits > MAX_RSA_BITS || !odd(modulus) || !exponent_fits {
            return Err(KeyError::Unsupported);
        }
        Ok(Self::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
    }

    /// Creates a key on P-256 or P-384 from its coordinates, which must have the length of the
    /// field (RFC 7518 §6.2.1.2).
    ///
    /// Does not check that the point is on the curve: the backend does.
    pub(crate) fn ec(curve: KeyType, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let length = match curve {
            KeyType::P256 => 32,
            KeyType::P384 => 48,
            _ => return Err(KeyError::Unsupported),
        };
        if x.len() != length || y.len() != length {
            return Err(KeyError::Malformed);
        }
        Self::from_point(&[&[4], x, y].concat())
    }

    /// Creates a key on P-256 or P-384 from an uncompressed point.
    pub(crate) fn from_point(point: &[u8]) -> Result<Self, KeyError> {
        match (point.len(), point.first()) {
            (65, Some(4)) => Ok(Self::P256 { point: point.to_vec() }),
            (97, Some(4)) => Ok(Self::P384 { point: point.to_vec() }),
            _ => Err(KeyError::Unsupported),
        }
    }

    /// Creates an Ed25519 key. Refuses the few points of small order: anyone can forge signatures
    /// for those, and neither RFC 8032 nor the backends refuse them.
    pub(crate) fn ed25519(x: &[u8]) -> Result<Self, KeyError> {
        let x: [u8; 32] = x.try_into().map_err(|_| KeyError::Malformed)?;
        // Clears the sign of the other coordinate: both points have the same order.
        let mut y = x;
        y[31] &= 0x7f;
        if SMALL_ORDER.contains(&y) { Err(KeyError::Unsupported) } else { Ok(Self::Ed25519 { x }) }
    }

    /// Creates an RSA key from an `RSAPublicKey` (RFC 8017 §A.1.1).
    pub(crate) fn from_pkcs1_der(der: &[u8]) -> Result<Self, KeyError> {
        match Vec::<UintRef<'_>>::from_der(der).as_deref() {
            Ok([modulus, exponent]) => Self::rsa(modulus.as_bytes(), exponent.as_bytes()),
            _ => Err(KeyError::Malformed),
        }
    }

    /// Returns the `RSAPublicKey` of an RSA key, `None` for other keys.
    #[cfg_attr(
        not(feature = "aws-lc-rs"),
        expect(dead_code, reason = "the other backend takes the numbers")
    )]
    pub(crate) fn to_pkcs1_der(&self) -> Option<Vec<u8>> {
        let Self::Rsa { modulus, exponent } = self else { return None };
        [UintRef::new(modulus).ok()?, UintRef::new(exponent).ok()?].to_der().ok()
    }

    pub(crate) const fn key_type(&self) -> KeyType {
        match self {
            Self::Rsa { .. } => KeyType::Rsa,
            Self::P256 { .. } => KeyType::P256,
            Self::P384 { .. } => KeyType::P384,
            Self::Ed25519 { .. } => KeyType::Ed25519,
        }
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modulus(bits: usize) -> Vec<u8> {
        let mut number = vec![0xff; bits.div_ceil(8)];
        number[0] >>= number.len() * 8 - bits;
        number
    }

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<(), KeyError> {
        PublicKey::rsa(modulus, exponent).map(drop)
    }

    #[test]
    fn rfc7518_3_3_rsa_modulus_has_at_least_2048_bits() {
        let e = [1, 0, 1];
        for bits in [8, 1024, 2040, 2047] {
            assert_eq!(rsa(&modulus(bits), &e), Err(KeyError::TooShort), "{bits}");
        }
        assert_eq!(rsa(&[], &e), Err(KeyError::TooShort));
        assert_eq!(rsa(&[0; 300], &e), Err(KeyError::TooShort));
        assert_eq!(rsa(&modulus(2048), &e), Ok(()));
        assert_eq!(rsa(&modulus(MAX_RSA_BITS), &e), Ok(()));
        assert_eq!(rsa(&modulus(MAX_RSA_BITS + 1), &e), Err(KeyError::Unsupported));
        assert_eq!(rsa(&modulus(131_072), &e), Err(KeyError::Unsupported));
    }

    #[test]
    fn rsa_numbers_are_odd_and_the_exponent_is_bounded() {
        let n = modulus(2048);
        for e in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[0xff; 9], &[3, 0, 0, 0, 1]] {
            assert_eq!(rsa(&n, e), Err(KeyError::Unsupported), "{e:?}");
        }
        for e in [&[3][..], &[1, 0, 1], &[0, 1, 0, 1], &[1, 0, 0, 0, 1]] {
            assert_eq!(rsa(&n, e), Ok(()), "{e:?}");
        }
        let mut even = n.clone();
        even[255] = 0xfe;
        assert_eq!(rsa(&even, &[1, 0, 1]), Err(KeyError::Unsupported));
    }

    #[test]
    fn rfc7518_6_2_1_2_ec_coordinates_have_full_length() {
        let ec =
            |curve, x: usize, y: usize| PublicKey::ec(curve, &vec![1; x], &vec![1; y]).map(drop);
        for (x, y) in [(31, 32), (32, 31), (31, 33), (33, 31), (0, 64), (48, 48)] {
            assert_eq!(ec(KeyType::P256, x, y), Err(KeyError::Malformed), "{x} {y}");
        }
        assert_eq!(ec(KeyType::P384, 32, 32), Err(KeyError::Malformed));
        assert_eq!(ec(KeyType::P256, 32, 32), Ok(()));
        assert_eq!(ec(KeyType::P384, 48, 48), Ok(()));
    }
}

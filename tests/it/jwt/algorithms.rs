use super::{rsa_encodings as rsa, *};

const ALL: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The order of the group of P-256.
const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// The order of the group of Ed25519, big-endian.
const ED25519_ORDER: &str = "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed";

fn number(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// `a - b`, both big-endian and of the same length.
fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut digits: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            let digit = i16::from(*a) - i16::from(*b) - borrow;
            borrow = i16::from(digit < 0);
            u8::try_from(digit.rem_euclid(256)).unwrap()
        })
        .collect();
    digits.reverse();
    digits
}

/// Returns `token` with another signature.
fn resigned(token: &str, signature: impl AsRef<[u8]>) -> String {
    format!("{}.{}", token.rsplit_once('.').unwrap().0, encode(signature))
}

fn signature(token: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.rsplit_once('.').unwrap().1).unwrap()
}

/// A3, A6
#[test]
fn rfc9068_2_1_every_algorithm_verifies_its_own_signatures_only() {
    let verifier = verifier();
    for algorithm in ALL {
        let token = good(&key(algorithm));
        accepts(&verifier, &token);
        let mut damaged = signature(&token);
        damaged[9] ^= 1;
        refuses(&verifier, &resigned(&token, damaged), ErrorKind::BadSignature);
        refuses(&verifier, &resigned(&token, []), ErrorKind::BadSignature);
        let other = with_claim("sub", "mallory");
        let payload = other.split('.').nth(1).unwrap();
        let mut parts: Vec<_> = token.split('.').collect();
        parts[1] = payload;
        refuses(&verifier, &parts.join("."), ErrorKind::BadSignature);
    }
}

/// J8: the header has HS256, and the MAC is keyed with each encoding of the public key.
#[test]
fn rfc8725_2_1_public_key_is_not_used_as_an_hmac_secret() {
    let public = include_bytes!("../keys/rsa.pub.pem");
    let pkcs1 = include_bytes!("../keys/rsa.pkcs1.pub.pem");
    let ec = include_bytes!("../keys/p256.pub.pem");
    let jwk = jwk(&key(Algorithm::RS256));
    let der = |pem: &[u8]| {
        let text: String =
            std::str::from_utf8(pem).unwrap().lines().filter(|l| !l.starts_with('-')).collect();
        base64::engine::general_purpose::STANDARD.decode(text).unwrap()
    };
    let secrets: [Vec<u8>; 8] = [
        public.to_vec(),
        public.trim_ascii_end().to_vec(),
        pkcs1.to_vec(),
        ec.to_vec(),
        der(public),
        der(ec),
        jwk.to_string().into_bytes(),
        URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap(),
    ];
    let secret = KeySet::from_secret(Algorithm::HS256, &[7; 32]).unwrap().with_kid("secret");
    let mixed = verifier_with(issuer_keys().merge(secret));
    for secret in secrets {
        let mac = SigningKey::from_secret(Algorithm::HS256, &secret).unwrap();
        for kid in ["rsa", "p256"] {
            let token = good(&mac.clone().with_kid(kid));
            refuses(&verifier(), &token, ErrorKind::UnsupportedAlgorithm);
            refuses(&mixed, &token, ErrorKind::UnsupportedAlgorithm);
        }
        refuses(&verifier(), &good(&mac), ErrorKind::UnsupportedAlgorithm);
        refuses(&mixed, &good(&mac), ErrorKind::BadSignature);
    }
    let honest = SigningKey::from_secret(Algorithm::HS256, &[7; 32]).unwrap().with_kid("secret");
    accepts(&mixed, &good(&honest));
    // An RSA signature with the `kid` of the secret.
    let token = good(&key(Algorithm::RS256).with_kid("secret"));
    refuses(&mixed, &token, ErrorKind::UnsupportedAlgorithm);
}

/// J8: each algorithm is used only with keys of its type.
#[test]
fn rfc8725_3_1_algorithm_must_fit_the_type_of_key() {
    for (algorithm, kid) in [
        (Algorithm::ES256, "rsa"),
        (Algorithm::ES256, "p384"),
        (Algorithm::ES384, "p256"),
        (Algorithm::RS256, "p256"),
        (Algorithm::EdDSA, "p256"),
        (Algorithm::ES256, "ed25519"),
    ] {
        let token = good(&key(algorithm).with_kid(kid));
        refuses(&verifier(), &token, ErrorKind::UnsupportedAlgorithm);
    }
    // The signature of another algorithm with the same type of key.
    for (said, done) in [
        (Algorithm::RS256, Algorithm::PS256),
        (Algorithm::PS256, Algorithm::RS256),
        (Algorithm::RS512, Algorithm::RS256),
        (Algorithm::PS384, Algorithm::PS256),
    ] {
        let header = header_of(&key(said));
        let token = key(done).sign(&header, &claims_of_alice()).unwrap();
        refuses(&verifier(), &token, ErrorKind::BadSignature);
    }
}

/// J9
#[test]
fn rfc8725_3_1_key_with_alg_is_used_for_that_algorithm_only() {
    let bound = verifier_with(key_set(&[key(Algorithm::PS256).public_jwk().unwrap()]));
    accepts(&bound, &good(&key(Algorithm::PS256)));
    for algorithm in [Algorithm::RS256, Algorithm::PS384] {
        // Refused as not allowed if no key has the algorithm, and as a mismatch with this key
        // otherwise.
        refuses(&bound, &good(&key(algorithm)), ErrorKind::UnsupportedAlgorithm);
        let allowed = JwtVerifier::builder(ISSUER)
            .keys(key_set(&[key(Algorithm::PS256).public_jwk().unwrap()]))
            .algorithms([algorithm, Algorithm::PS256])
            .build()
            .unwrap();
        refuses(&allowed, &good(&key(algorithm)), ErrorKind::UnsupportedAlgorithm);
    }
}

/// G10
#[test]
fn rfc9864_2_2_ed25519_is_accepted_under_both_names() {
    let key = key(Algorithm::EdDSA);
    for name in ["EdDSA", "Ed25519"] {
        let header = with(header_of(&key), "alg", name);
        let token = key.sign(&header, &claims_of_alice()).unwrap();
        accepts(&verifier(), &token);
        let bound = verifier_with(key_set(&[with(jwk(&key), "alg", name)]));
        accepts(&bound, &token);
    }
}

/// G4
#[test]
fn rfc7518_3_5_pss_salt_has_the_length_of_the_hash() {
    accepts(&verifier(), rsa::PSS_GOOD);
    for token in [
        rsa::PSS_NO_SALT,
        rsa::PSS_SALT_20,
        rsa::PSS_SALT_MAX,
        rsa::PSS_OTHER_MGF,
        rsa::PSS_OTHER_HASH,
        rsa::PSS_OTHER_TRAILER,
    ] {
        refuses(&verifier(), token, ErrorKind::BadSignature);
    }
}

/// G5
#[test]
fn rfc8017_8_2_2_pkcs1_encoding_is_strict() {
    accepts(&verifier(), rsa::PKCS1_GOOD);
    for (name, token) in [
        ("no NULL", rsa::PKCS1_NO_NULL),
        ("trailing garbage", rsa::PKCS1_TRAILING_GARBAGE),
        ("long form of a length", rsa::PKCS1_LONG_LENGTH),
        ("trailing element", rsa::PKCS1_TRAILING_IN_DIGEST_INFO),
        ("block type 2", rsa::PKCS1_BLOCK_TYPE_2),
        ("bare digest", rsa::PKCS1_BARE_DIGEST),
        ("SHA-1", rsa::PKCS1_OTHER_HASH),
        ("leading zero", rsa::PKCS1_LEADING_ZERO),
        ("s + n", rsa::PKCS1_TWICE_REDUCED),
    ] {
        assert_eq!(verify(&verifier(), token).map(drop), Err(ErrorKind::BadSignature), "{name}");
    }
    let mut short = signature(rsa::PKCS1_GOOD);
    short.pop();
    refuses(&verifier(), &resigned(rsa::PKCS1_GOOD, short), ErrorKind::BadSignature);
}

/// G6
#[test]
fn rfc7518_3_4_ecdsa_signature_is_two_numbers_of_full_length() {
    let token = good(&key(Algorithm::ES256));
    let bytes = signature(&token);
    assert_eq!(bytes.len(), 64);
    assert_eq!(signature(&good(&key(Algorithm::ES384))).len(), 96);
    let (r, s) = bytes.split_at(32);
    let order = number(P256_ORDER);
    let zero = [0; 32];
    let integer = |n: &[u8]| {
        let mut n = n.to_vec();
        if n[0] >= 0x80 {
            n.insert(0, 0);
        }
        [&[2, u8::try_from(n.len()).unwrap()], &*n].concat()
    };
    let body = [integer(r), integer(s)].concat();
    let der = [&[0x30, u8::try_from(body.len()).unwrap()], &*body].concat();
    for forged in [
        der,
        [zero, zero].concat(),
        [r, &zero].concat(),
        [&zero, s].concat(),
        [&*order, s].concat(),
        [r, &*order].concat(),
        [&*order, &*order].concat(),
        [&[0xff; 32], s].concat(),
        bytes[..63].to_vec(),
        [&bytes[..], &[0]].concat(),
        [&[0], r, &[0], s].concat(),
        [&bytes[..], &bytes[..32]].concat(),
    ] {
        refuses(&verifier(), &resigned(&token, forged), ErrorKind::BadSignature);
    }
}

/// G7: one signature has two encodings, so that a token must not be identified by its text.
#[test]
fn negated_ecdsa_signature_is_valid_too() {
    let token = good(&key(Algorithm::ES256));
    let bytes = signature(&token);
    let (r, s) = bytes.split_at(32);
    let negated = minus(&number(P256_ORDER), s);
    let twin = resigned(&token, [r, &*negated].concat());
    assert_ne!(twin, token);
    accepts(&verifier(), &twin);
}

/// G9
#[test]
fn rfc8032_5_1_7_ed25519_s_is_below_the_order() {
    let token = good(&key(Algorithm::EdDSA));
    let bytes = signature(&token);
    let (r, s) = bytes.split_at(32);
    let mut carry = 0;
    let plus_order: Vec<u8> = s
        .iter()
        .zip(number(ED25519_ORDER).iter().rev())
        .map(|(a, b)| {
            let sum = u16::from(*a) + u16::from(*b) + carry;
            carry = sum >> 8;
            u8::try_from(sum & 0xff).unwrap()
        })
        .collect();
    assert_eq!(carry, 0);
    for forged in
        [[r, &*plus_order].concat(), bytes[..63].to_vec(), [&bytes[..], &[0]].concat(), vec![0; 64]]
    {
        refuses(&verifier(), &resigned(&token, forged), ErrorKind::BadSignature);
    }
}

/// Y2
#[test]
fn rfc8725_3_8_key_of_another_issuer_is_not_used() {
    let other = SigningKey::from_pem(Algorithm::RS256, RSA_OTHER).unwrap();
    refuses(&verifier(), &good(&other.clone().with_kid("rsa")), ErrorKind::BadSignature);
    refuses(&verifier(), &good(&other.clone().with_kid("other")), ErrorKind::UnknownKey);
    refuses(&verifier(), &good(&other), ErrorKind::BadSignature);
}

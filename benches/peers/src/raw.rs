//! Signatures checked by AWS-LC, with a key that is parsed and signatures that are decoded already:
//! all of a verification that can't be saved.

use std::hint::black_box;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use tower_introspect::jose::Algorithm;

use crate::authority::Authority;

pub struct Raw {
    key: ParsedPublicKey,
    signed: Vec<(String, Vec<u8>)>,
}

impl Raw {
    pub fn new(authority: &Authority, algorithm: Algorithm, tokens: &[String]) -> Self {
        let key = parse(&authority.jwk(algorithm), algorithm);
        let signed = tokens
            .iter()
            .map(|token| {
                let (input, signature) = token.rsplit_once('.').expect("a JWS has parts");
                (input.to_owned(), decode(signature))
            })
            .collect();
        Self { key, signed }
    }

    /// Checks the signature of one of the tokens.
    pub fn verify(&self, at: usize) {
        let (input, signature) = &self.signed[at % self.signed.len()];
        let verified = self.key.verify_sig(black_box(input.as_bytes()), signature);
        verified.expect("the signature is the server's");
    }
}

fn parse(jwk: &Value, algorithm: Algorithm) -> ParsedPublicKey {
    let member = |name: &str| decode(jwk[name].as_str().expect("the key is complete"));
    let (kind, bytes): (&'static dyn VerificationAlgorithm, _) = match algorithm {
        Algorithm::RS256 => {
            (&signature::RSA_PKCS1_2048_8192_SHA256, rsa(&member("n"), &member("e")))
        }
        Algorithm::ES256 => {
            (&signature::ECDSA_P256_SHA256_FIXED, [&[4], &*member("x"), &*member("y")].concat())
        }
        Algorithm::EdDSA => (&signature::ED25519, member("x")),
        other => panic!("{other:?} is not measured"),
    };
    ParsedPublicKey::new(kind, bytes).expect("the key is published as it should be")
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let [modulus, public_exponent] =
        [modulus, exponent].map(|bytes| pkcs1::UintRef::new(bytes).expect("the number fits"));
    let key = pkcs1::RsaPublicKey { modulus, public_exponent };
    pkcs1::der::Encode::to_der(&key).expect("two numbers can be encoded")
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("the server encodes as it should")
}

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

/// One change of a text.
#[derive(Clone, Debug)]
enum Change {
    Cut(Index, Index),
    Delete(Index),
    Insert(Index, u8),
    Replace(Index, u8),
    Swap(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let character = prop::sample::select(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/~".to_vec(),
    );
    prop_oneof![
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Cut(a, b)),
        any::<Index>().prop_map(Change::Delete),
        (any::<Index>(), character.clone()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        (any::<Index>(), character).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

fn apply(text: &mut Vec<u8>, change: &Change) {
    let length = text.len();
    if length == 0 {
        return;
    }
    match change {
        Change::Cut(a, b) => {
            let (a, b) = (a.index(length), b.index(length));
            text.drain(a.min(b)..a.max(b));
        }
        Change::Delete(at) => drop(text.remove(at.index(length))),
        Change::Insert(at, byte) => text.insert(at.index(length), *byte),
        Change::Replace(at, byte) => text[at.index(length)] = *byte,
        Change::Swap(a, b) => text.swap(a.index(length), b.index(length)),
    }
}

fn try_out(verifier: &JwtVerifier, text: &str) -> Option<Result<ActiveToken, ErrorKind>> {
    Token::bearer(text)?;
    Some(verify_and_record(verifier, text))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn rfc8725_3_3_a_changed_token_is_never_accepted(
        which in 0..3_usize,
        changes in vec(change(), 1..4),
    ) {
        let key = key([Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256][which]);
        let original = good(&key);
        let mut text = original.clone().into_bytes();
        changes.iter().for_each(|change| apply(&mut text, change));
        let text = String::from_utf8(text).unwrap();
        prop_assume!(text != original);
        for verifier in [verifier(), strict()] {
            if let Some(outcome) = try_out(&verifier, &text) {
                prop_assert!(outcome.is_err());
            }
        }
    }

    /// No signed token panics, and each accepted one is of the issuer.
    #[test]
    fn no_signed_header_or_payload_panics(
        header in vec(any::<u8>(), 0..200),
        member in "[a-z_]{1,8}",
        value in "[-0-9eE.\\[\\]{}\",:a-z\\\\u ]{0,40}",
    ) {
        let key = key(Algorithm::EdDSA);
        let good = header_of(&key).to_string();
        let odd = format!("{{\"iss\":\"{ISSUER}\",\"aud\":\"{AUDIENCE}\",\"exp\":1,\"{member}\":{value}}}");
        let odd_header = format!("{},\"{member}\":{value}}}", good.trim_end_matches('}'));
        for token in [
            sign_text(&key, &header, claims_of_alice().to_string()),
            sign_text(&key, &good, &odd),
            sign_text(&key, &odd_header, claims_of_alice().to_string()),
        ] {
            if let Some(Ok(active)) = try_out(&verifier(), &token) {
                prop_assert_eq!(active.claims().issuer(), Some(ISSUER));
            }
        }
    }

    #[test]
    fn no_key_set_panics(
        text in "[\\[\\]{}\",:a-zA-Z0-9 _=]{0,80}",
        member in prop::sample::select(vec!["kty", "crv", "x", "y", "n", "e", "alg", "use", "key_ops", "kid"]),
        value in prop_oneof![
            Just(json!(null)), Just(json!(7)), Just(json!([])), Just(json!({})),
            "[A-Za-z0-9_-]{0,90}".prop_map(Value::from),
        ],
    ) {
        let _ = KeySet::from_jwks(text.as_bytes());
        for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
            let mut jwk = jwk(&key(algorithm));
            jwk[member] = value.clone();
            let _ = KeySet::from_jwk(jwk.to_string().as_bytes());
        }
        let _ = KeySet::from_pem(Algorithm::RS256, text.as_bytes());
    }
}

//! Events about the keys that an issuer publishes.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tower::service_fn;
use tower_introspect::{
    jose::{Algorithm, SigningKey},
    jwt::{JwtVerifier, KeySet},
    transport::HttpTransport,
};
use tracing::Level;

use crate::{ISSUER, alone, capture::Captured, support::FixedClock};

const UNUSABLE: &str = "a published key can't be used; tokens signed with it can't be verified";
const PRIVATE: &str = "a published key contains its private half; it must be replaced";
const HOUR: Duration = Duration::from_secs(3600);

fn key(kid: &str) -> Value {
    let pem = include_bytes!("../it/keys/ed25519.pem");
    SigningKey::from_pem(Algorithm::EdDSA, pem).unwrap().with_kid(kid).public_jwk().unwrap()
}

fn with(kid: &str, name: &str, value: impl Into<Value>) -> Value {
    let mut key = key(kid);
    key[name] = value.into();
    key
}

/// A verifier of the keys in the slot, which may change.
async fn verifier(keys: &Arc<Mutex<Vec<Value>>>) -> JwtVerifier {
    let keys = Arc::clone(keys);
    let transport = HttpTransport::new(service_fn(move |_: Request<Bytes>| {
        let keys = json!({"keys": *keys.lock().unwrap()}).to_string();
        std::future::ready(Ok::<_, Infallible>(Response::new(Bytes::from(keys))))
    }));
    let builder = JwtVerifier::builder(ISSUER).jwks_uri("https://as.example.com/jwks");
    let verifier = builder.transport(transport).clock(FixedClock).build().unwrap();
    verifier.warm().await.unwrap();
    verifier
}

/// The fields `kid`, `reason` and `issuer` of the events with this message.
fn told(captured: &Captured, message: &str) -> Vec<[String; 3]> {
    let lines = captured.named(message).into_iter();
    let fields = lines.map(|line| {
        assert_eq!(line.level, Level::WARN);
        ["kid", "reason", "issuer"].map(|name| line.field(name).unwrap_or("none").to_owned())
    });
    fields.collect()
}

#[tokio::test(start_paused = true)]
async fn each_unusable_key_is_told_once_and_why() {
    let (_turn, captured) = alone().await;
    let weak = json!({"kty": "RSA", "n": "_____w", "e": "AQAB", "kid": "we\nak"});
    let nameless = json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"});
    let other = with("other", "issuer", "https://other.example.com");
    let for_encryption = with("enc", "use", "enc");
    let keys = vec![key("a"), weak.clone(), nameless.clone(), other, for_encryption];
    let keys = Arc::new(Mutex::new(keys));
    let verifier = verifier(&keys).await;
    let expected = [
        ["we\nak", "the key is too short for its algorithm", ISSUER],
        ["none", "the type of the key is not supported", ISSUER],
    ];
    assert_eq!(told(&captured, UNUSABLE), expected);
    // One line in a file.
    assert!(captured.text().contains("we\\nak"), "{}", captured.text());
    tokio::time::sleep(24 * HOUR).await;
    assert_eq!(told(&captured, UNUSABLE), expected);
    assert!(captured.named("keys fetched").len() > 100);

    let malformed = with("new", "x", "AA");
    *keys.lock().unwrap() = vec![key("a"), nameless, malformed, weak];
    tokio::time::sleep(HOUR).await;
    let all = told(&captured, UNUSABLE);
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!(all[2], ["new", "the key is malformed", ISSUER]);
    drop(verifier);

    let configured = json!({"keys": [key("a"), with("short", "x", "AA")]}).to_string();
    KeySet::from_jwks(configured.as_bytes()).unwrap();
    assert_eq!(told(&captured, UNUSABLE)[3], ["short", "the key is malformed", "none"]);
}

#[tokio::test(start_paused = true)]
async fn members_that_are_not_set_hide_no_private_key() {
    let (_turn, captured) = alone().await;
    let mut unset = key("unset");
    for name in ["d", "p", "q", "dp", "dq", "qi", "k", "priv"] {
        unset[name] = Value::Null;
    }
    unset["oth"] = json!([]);
    let keys = Arc::new(Mutex::new(vec![unset.clone(), with("empty", "d", "")]));
    let _verifier = verifier(&keys).await;
    assert_eq!(captured.named(PRIVATE).len(), 0);

    *keys.lock().unwrap() = vec![unset.clone(), with("b", "d", "c2VjcmV0")];
    tokio::time::sleep(HOUR).await;
    let secret = json!({"kty": "oct", "kid": "c", "k": "c2VjcmV0"});
    *keys.lock().unwrap() = vec![with("b", "d", "c2VjcmV0"), secret];
    tokio::time::sleep(HOUR).await;
    let told = told(&captured, PRIVATE);
    assert_eq!(told, [["b", "none", ISSUER], ["c", "none", ISSUER]]);
    assert!(!captured.text().contains("c2Vj"));
}

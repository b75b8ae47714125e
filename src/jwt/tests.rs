use std::sync::Mutex;

use serde_json::json;

use super::*;
use crate::{
    clock::tests::FixedClock,
    credentials::token::Token,
    jose::{algorithm::Algorithm, signing::SigningKey},
    jwt::profile::Profile,
    jwt::source::{Fetching, KeysState},
};

const ISSUER: &str = "https://as.example.com";

/// A source with the keys that are known now, and the keys that a fetch brings.
struct Fake {
    now: Option<Arc<KeySet>>,
    /// `None` if no fetch is allowed.
    later: Option<Result<Arc<KeySet>, VerifyError>>,
    calls: Mutex<Vec<String>>,
}

impl Fake {
    fn fetch(&self, call: &str) -> Option<Fetching> {
        self.calls.lock().unwrap().push(call.to_owned());
        let keys = self.later.clone()?;
        Some(Box::pin(std::future::ready(keys)))
    }
}

impl FetchKeys for Fake {
    fn snapshot(&self) -> Option<Arc<KeySet>> {
        self.now.clone()
    }

    fn load(&self) -> Fetching {
        self.fetch("load").expect("scripted")
    }

    fn refresh_for(&self, kid: &str) -> Option<Fetching> {
        self.fetch(kid)
    }

    fn start_fetching(&self) {}

    fn state(&self) -> KeysState {
        KeysState { ready: self.now.is_some(), ..KeysState::default() }
    }
}

fn key(kid: &str) -> SigningKey {
    let pem = include_bytes!("../../tests/it/keys/ed25519.pem");
    SigningKey::from_pem(Algorithm::EdDSA, pem).unwrap().with_kid(kid)
}

fn keys(kid: &str) -> Arc<KeySet> {
    let jwk = key(kid).public_jwk().unwrap().to_string();
    Arc::new(KeySet::from_jwk(jwk.as_bytes()).unwrap())
}

fn token(kid: &str, issuer: &str) -> String {
    let header = json!({"alg": "EdDSA", "kid": kid, "typ": "at+jwt"});
    let claims = json!({"iss": issuer, "aud": "api", "exp": 1_893_456_000});
    key(kid).sign(&header, &claims).unwrap()
}

/// Verifies `token`. Returns the outcome, true if the verifier had to wait, and the fetches.
fn run(fake: Fake, token: &str) -> (Result<(), ErrorKind>, bool, Vec<String>) {
    let fake = Arc::new(fake);
    let verifier = JwtVerifier(Arc::new(RulesAndKeys {
        rules: Rules {
            issuer: ISSUER.into(),
            algorithms: Algorithm::ASYMMETRIC.into(),
            profile: Profile::Rfc9068,
            scope_claim: None,
            audience_claim: None,
        },
        source: KeySource::Remote(Arc::clone(&fake) as _),
        clock: Arc::new(FixedClock(0)),
    }));
    let request = VerifyRequest::new(Token::bearer(token).unwrap());
    let (outcome, waited) = match verifier.verify(request).now_or_later() {
        Ok(outcome) => (outcome, false),
        Err(future) => (tokio_test::block_on(future), true),
    };
    let calls = fake.calls.lock().unwrap().clone();
    (outcome.map(drop).map_err(|error| error.kind()), waited, calls)
}

fn fake(now: Option<&str>, later: Option<&str>) -> Fake {
    Fake { now: now.map(keys), later: later.map(keys).map(Ok), calls: Mutex::default() }
}

#[test]
fn known_key_verifies_without_waiting() {
    let (outcome, waited, calls) = run(fake(Some("a"), Some("b")), &token("a", ISSUER));
    assert_eq!((outcome, waited), (Ok(()), false));
    assert!(calls.is_empty());
}

#[test]
fn rfc7517_5_an_unknown_key_is_fetched_once_and_then_refused() {
    let (outcome, waited, calls) = run(fake(Some("a"), Some("b")), &token("b", ISSUER));
    assert_eq!((outcome, waited), (Ok(()), true));
    assert_eq!(calls, ["b"]);
    let (outcome, _, calls) = run(fake(Some("a"), Some("a")), &token("b", ISSUER));
    assert_eq!(outcome, Err(ErrorKind::UnknownKey));
    assert_eq!(calls, ["b"]);
    let (outcome, waited, _) = run(fake(Some("a"), None), &token("b", ISSUER));
    assert_eq!((outcome, waited), (Err(ErrorKind::UnknownKey), false));
}

#[test]
fn the_first_token_loads_the_keys() {
    let (outcome, waited, calls) = run(fake(None, Some("a")), &token("a", ISSUER));
    assert_eq!((outcome, waited), (Ok(()), true));
    assert_eq!(calls, ["load"]);
}

#[test]
fn token_refused_before_its_signature_causes_no_fetch() {
    let other = token("a", "https://evil.example.com");
    for (token, kind) in [
        ("garbage", ErrorKind::MalformedToken),
        (&*other, ErrorKind::WrongIssuer),
        ("e30.e30.e30.e30.e30", ErrorKind::UnsupportedToken),
    ] {
        for now in [None, Some("x")] {
            let (outcome, waited, calls) = run(fake(now, Some("a")), token);
            assert_eq!((outcome, waited), (Err(kind), false));
            assert!(calls.is_empty());
        }
    }
}

#[test]
fn unavailable_keys_are_not_blamed_on_the_client() {
    for now in [None, Some("a")] {
        let later = Some(Err(ErrorKind::Unavailable.into()));
        let fake = Fake { now: now.map(keys), later, calls: Mutex::default() };
        let (outcome, _, _) = run(fake, &token("b", ISSUER));
        assert_eq!(outcome, Err(ErrorKind::Unavailable));
    }
}

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::json;
use tokio::time::advance;

use super::*;
use crate::{
    clock::{UnixTime, tests::FixedClock},
    credentials::token::Token,
    jose::{algorithm::Algorithm, signing::SigningKey},
    jwt::profile::Profile,
    transport::{
        common::{CommonSettings, Location},
        endpoint::Endpoint,
        http_transport::HttpTransport,
    },
};

const ISSUER: &str = "https://as.example.com";
const NOW: i64 = 1_800_000_000;

/// A server that publishes one key, or fails.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<(Option<&'static str>, usize)>>);

impl Server {
    fn publishing(kid: &'static str) -> Self {
        Self(Arc::new(Mutex::new((Some(kid), 0))))
    }

    fn publish(&self, kid: Option<&'static str>) {
        self.0.lock().unwrap().0 = kid;
    }

    fn fetches(&self) -> usize {
        self.0.lock().unwrap().1
    }

    fn verifier(&self) -> JwtVerifier {
        let server = Arc::clone(&self.0);
        let transport = HttpTransport::new(tower::service_fn(move |_: Request<Bytes>| {
            let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
            server.1 += 1;
            let response = match server.0 {
                Some(kid) => Response::new(json!({"keys": [jwk(kid)]}).to_string().into()),
                None => Response::builder().status(500).body(Bytes::new()).unwrap(),
            };
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        }));
        let endpoint = Endpoint::parse("https://as.example.com/jwks", false).unwrap();
        let clock = Arc::new(FixedClock(NOW));
        let common = CommonSettings { clock: clock.clone(), ..CommonSettings::new(ISSUER.into()) };
        let keys = RemoteKeys::new(&common, Location::Fixed(endpoint), transport, 64);
        JwtVerifier(Arc::new(RulesAndKeys {
            rules: Rules {
                issuer: ISSUER.into(),
                algorithms: Algorithm::ASYMMETRIC.into(),
                profile: Profile::Rfc9068,
                accept_unmarked: false,
                scope_claim: None,
                audience_claim: None,
                max_tries: 4,
            },
            source: KeySource::Remote(keys),
            types: TypeCount::default(),
            clock,
        }))
    }

    async fn warm_verifier(&self) -> JwtVerifier {
        let verifier = self.verifier();
        verifier.warm().await.unwrap();
        advance(AFTER).await;
        verifier
    }
}

/// Different keys, by their names.
fn key(kid: &str) -> SigningKey {
    let (algorithm, pem): (_, &[u8]) = match kid {
        "a" => (Algorithm::EdDSA, include_bytes!("../../tests/it/keys/ed25519.pem")),
        "b" => (Algorithm::ES256, include_bytes!("../../tests/it/keys/p256.pem")),
        _ => (Algorithm::ES256, include_bytes!("../../tests/it/keys/p256-other.pem")),
    };
    SigningKey::from_pem(algorithm, pem).unwrap()
}

fn jwk(kid: &str) -> serde_json::Value {
    // `b-again` is another key under the name of `b`.
    key(kid).with_kid(kid.trim_end_matches("-again")).public_jwk().unwrap()
}

fn token_of(
    kid: &str,
    change: impl FnOnce(&mut serde_json::Value, &mut serde_json::Value),
) -> String {
    let key = key(kid);
    let named = kid.trim_end_matches("-again");
    let mut header = json!({"alg": key.algorithm().as_str(), "kid": named, "typ": "at+jwt"});
    let mut claims = json!({"iss": ISSUER, "aud": "api", "exp": 1_893_456_000, "iat": NOW});
    change(&mut header, &mut claims);
    key.sign(&header, &claims).unwrap()
}

fn token(kid: &str) -> String {
    token_of(kid, |_, _| {})
}

/// Returns the outcome, and how long the request waited.
async fn run(verifier: &JwtVerifier, token: &str) -> (Result<(), ErrorKind>, Duration) {
    let start = Moment::now(&FixedClock(NOW));
    let outcome = verifier.verify(VerifyRequest::new(Token::bearer(token).unwrap())).await;
    let waited = Moment::now(&FixedClock(NOW)).since(start);
    (outcome.map(drop).map_err(|error| error.kind()), waited)
}

const AT_ONCE: Duration = Duration::ZERO;
const PAUSE: Duration = Duration::from_secs(2);
/// The time from the last fetch to a lookup.
const AFTER: Duration = Duration::from_millis(100);
/// The rest of the pause by then.
const REST: Duration = Duration::from_millis(1900);

#[tokio::test(start_paused = true)]
async fn known_key_verifies_without_waiting() {
    let server = Server::publishing("a");
    let verifier = server.warm_verifier().await;
    assert_eq!(run(&verifier, &token("a")).await, (Ok(()), AT_ONCE));
    assert_eq!(server.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn rfc7517_5_an_unknown_key_is_fetched_and_refused_if_the_issuer_has_none() {
    let server = Server::publishing("a");
    let verifier = server.warm_verifier().await;
    server.publish(Some("b"));
    // Keys were fetched just now.
    assert_eq!(run(&verifier, &token("b")).await, (Ok(()), REST));
    advance(PAUSE).await;
    assert_eq!(run(&verifier, &token("a")).await, (Err(ErrorKind::UnknownKey), AT_ONCE));
    assert_eq!(server.fetches(), 3);
    // That fetch brought nothing new, so the pause is longer than any request may wait.
    assert_eq!(run(&verifier, &token("a")).await, (Err(ErrorKind::KeyPending), AT_ONCE));
    advance(PAUSE + AFTER).await;
    server.publish(Some("a"));
    assert_eq!(run(&verifier, &token("a")).await, (Ok(()), REST));
    assert_eq!(server.fetches(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_first_token_loads_the_keys() {
    let server = Server::publishing("a");
    let verifier = server.verifier();
    assert_eq!(run(&verifier, &token("a")).await, (Ok(()), AT_ONCE));
    assert_eq!(server.fetches(), 1);
    // The keys are newer than the lookup.
    let verifier = server.verifier();
    assert_eq!(run(&verifier, &token("b")).await, (Err(ErrorKind::UnknownKey), AT_ONCE));
    assert_eq!(server.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn token_refused_before_its_signature_causes_no_fetch() {
    let foreign = token_of("b", |_, claims| claims["iss"] = "https://evil.example.com".into());
    for (token, kind) in [
        ("garbage", ErrorKind::MalformedToken),
        (&*foreign, ErrorKind::WrongIssuer),
        ("e30.e30.e30.e30.e30", ErrorKind::UnsupportedToken),
    ] {
        let server = Server::publishing("a");
        assert_eq!(run(&server.verifier(), token).await, (Err(kind), AT_ONCE));
        assert_eq!(server.fetches(), 0);
        assert_eq!(run(&server.warm_verifier().await, token).await, (Err(kind), AT_ONCE));
        assert_eq!(server.fetches(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn unavailable_keys_are_not_blamed_on_the_client() {
    let server = Server::default();
    assert_eq!(run(&server.verifier(), &token("b")).await, (Err(ErrorKind::Unavailable), AT_ONCE));
    server.publish(Some("a"));
    let verifier = server.warm_verifier().await;
    server.publish(None);
    assert_eq!(run(&verifier, &token("b")).await, (Err(ErrorKind::Unavailable), REST));
}

#[tokio::test(start_paused = true)]
async fn a_token_issued_after_the_last_fetch_waits_for_a_key_under_the_same_name() {
    let server = Server::publishing("b");
    for nameless in [false, true] {
        let change = |header: &mut serde_json::Value| {
            if nameless {
                header.as_object_mut().unwrap().remove("kid");
            }
        };
        let new = token_of("b-again", |header, _| change(header));
        let old = token_of("b-again", |header, claims| {
            change(header);
            claims["iat"] = (NOW - 31).into();
        });
        let undated = token_of("b-again", |header, claims| {
            change(header);
            claims.as_object_mut().unwrap().remove("iat");
        });
        let other = token_of("b-again", |header, claims| {
            change(header);
            claims["iss"] = "https://evil.example.com".into();
        });
        server.publish(Some("b"));
        let verifier = server.warm_verifier().await;
        for token in [&old, &other] {
            assert_eq!(run(&verifier, token).await, (Err(ErrorKind::BadSignature), AT_ONCE));
        }
        for token in [&new, &undated] {
            let verifier = server.warm_verifier().await;
            assert_eq!(run(&verifier, token).await, (Err(ErrorKind::BadSignature), REST));
            let verifier = server.warm_verifier().await;
            server.publish(Some("b-again"));
            assert_eq!(run(&verifier, token).await, (Ok(()), REST));
            server.publish(Some("b"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_waits_for_a_key_of_another_algorithm_under_the_same_name() {
    let server = Server::publishing("a");
    let verifier = server.warm_verifier().await;
    let renamed = |change: fn(&mut serde_json::Value)| {
        token_of("b", |header, claims| {
            header["kid"] = "a".into();
            change(claims);
        })
    };
    let old = renamed(|claims| claims["iat"] = 0.into());
    let outcome = run(&verifier, &old).await;
    assert_eq!(outcome, (Err(ErrorKind::UnsupportedAlgorithm), AT_ONCE));
    let outcome = run(&verifier, &renamed(|_| {})).await;
    assert_eq!(outcome, (Err(ErrorKind::UnsupportedAlgorithm), REST));
}

#[tokio::test(start_paused = true)]
async fn an_old_token_of_a_key_that_a_fetch_has_not_found_is_refused_at_once() {
    let server = Server::publishing("a");
    let verifier = server.warm_verifier().await;
    let old = token_of("b", |_, claims| claims["iat"] = (NOW - 31).into());
    // No fetch has looked for this key yet.
    assert_eq!(run(&verifier, &old).await, (Err(ErrorKind::UnknownKey), REST));
    assert_eq!(run(&verifier, &old).await, (Err(ErrorKind::UnknownKey), AT_ONCE));
    assert_eq!(verifier.readiness().unknown_keys(), 1);
    // A newer token of the same key may be the first of its kind.
    assert_eq!(run(&verifier, &token("b")).await, (Err(ErrorKind::KeyPending), AT_ONCE));
    server.publish(Some("b"));
    advance(PAUSE + AFTER).await;
    assert_eq!(run(&verifier, &token("b")).await, (Ok(()), REST));
    assert_eq!(run(&verifier, &old).await, (Ok(()), AT_ONCE));
    assert_eq!(verifier.readiness().unknown_keys(), 0);
}

#[tokio::test(start_paused = true)]
async fn key_that_came_in_the_meantime_is_not_fetched_for() {
    let server = Server::publishing("a");
    let verifier = server.warm_verifier().await;
    let KeySource::Remote(keys) = &verifier.0.source else { panic!("the keys are fetched") };
    let before = keys.snapshot();
    advance(PAUSE).await;
    server.publish(Some("b"));
    assert_eq!(run(&verifier, &token("b")).await, (Ok(()), AT_ONCE));
    let asked = Moment::now(&FixedClock(NOW));
    let missing = MissingKey { kid: Some("b"), issued_at: None, asker: Asker::UnknownPeer, asked };
    assert!(matches!(keys.look_for(&missing, before), Outlook::Changed));
    // Nor is a token refused by keys that are no longer the current ones.
    let missing = MissingKey { issued_at: Some(UnixTime::from_secs(0)), ..missing };
    assert!(matches!(keys.look_for(&missing, None), Outlook::Changed));
    assert_eq!(server.fetches(), 2);
}

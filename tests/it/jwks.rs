//! Fetched key sets, and the number of fetches.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::{join_all, poll_immediate};
use http::{HeaderMap, Request, Response, header};
use serde_json::{Value, json};
use tokio::time::{advance, sleep};
use tower::service_fn;
use tower_introspect::{
    Blame, ClientAuth, ErrorKind, Issuer, Policy, ResourceServer, VerifyError,
    claims::Claims,
    clock::{Clock, Moment, UnixTime},
    credentials::{Scheme, Token},
    jose::{Algorithm, SigningKey},
    jwt::JwtVerifier,
    route::{Confirm, Fallback},
    test_util::TestClock,
    transport::{HttpTransport, TransportError, TransportErrorKind},
    verify::{ActiveToken, BoxVerifier, Method, Readiness, Verifier, VerifyRequest, verify_fn},
};

use crate::{recorded_checks::RecordedChecks, support::FixedClock};

pub(crate) const ISSUER: &str = "https://as.example.com";
pub(crate) const METADATA: &str = "https://as.example.com/.well-known/oauth-authorization-server";
pub(crate) const JWKS: &str = "https://as.example.com/jwks";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The response of a server to a request.
#[derive(Clone)]
pub(crate) enum Reply {
    Answer(u16, HeaderMap, Bytes),
    Fail(TransportErrorKind),
    Hang,
}

impl Reply {
    pub(crate) fn json(body: &Value) -> Self {
        Self::text(200, body.to_string()).with("content-type", "application/json")
    }

    pub(crate) fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::Answer(status, HeaderMap::new(), body.into())
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        if let Self::Answer(_, headers, _) = &mut self {
            headers.insert(name, header::HeaderValue::from_static(value));
        }
        self
    }
}

/// A scripted authorization server that records its requests.
///
/// Responds 404 to other URLs. Each response takes 10 ms.
#[derive(Clone, Default)]
pub(crate) struct Server(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    replies: Vec<(String, Reply)>,
    seen: Vec<Request<()>>,
}

impl Server {
    /// A server with metadata and these keys.
    pub(crate) fn with_keys(keys: &[Value]) -> Self {
        let server = Self::default();
        server.on(METADATA, Reply::json(&json!({"issuer": ISSUER, "jwks_uri": JWKS})));
        server.publish(keys);
        server
    }

    pub(crate) fn on(&self, url: &str, reply: Reply) {
        let mut script = self.0.lock().unwrap();
        script.replies.retain(|(other, _)| other != url);
        script.replies.push((url.to_owned(), reply));
    }

    pub(crate) fn publish(&self, keys: &[Value]) {
        self.on(JWKS, Reply::json(&json!({"keys": keys})));
    }

    /// The number of requests for this URL.
    pub(crate) fn fetches(&self, url: &str) -> usize {
        self.urls().iter().filter(|seen| *seen == url).count()
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.0.lock().unwrap().seen.iter().map(|request| request.uri().to_string()).collect()
    }

    /// A field of the latest request.
    pub(crate) fn last_field(&self, name: header::HeaderName) -> Option<header::HeaderValue> {
        self.0.lock().unwrap().seen.last()?.headers().get(name).cloned()
    }

    pub(crate) fn transport(&self) -> HttpTransport {
        let script = Arc::clone(&self.0);
        HttpTransport::new(service_fn(move |request: Request<Bytes>| {
            assert_eq!(request.method(), "GET");
            assert!(!request.headers().contains_key("authorization"));
            let mut script = script.lock().unwrap();
            let url = request.uri().to_string();
            let reply = script.replies.iter().find(|(other, _)| *other == url);
            let reply = reply.map_or(Reply::text(404, ""), |(_, reply)| reply.clone());
            script.seen.push(request.map(drop));
            async move {
                sleep(Duration::from_millis(10)).await;
                match reply {
                    Reply::Answer(status, headers, body) => {
                        let mut response = Response::builder().status(status).body(body).unwrap();
                        *response.headers_mut() = headers;
                        Ok(response)
                    }
                    Reply::Fail(kind) => Err(TransportError::new(kind)),
                    Reply::Hang => std::future::pending().await,
                }
            }
        }))
    }

    /// A verifier that discovers the keys.
    pub(crate) fn verifier(&self) -> JwtVerifier {
        self.verifier_by(FixedClock)
    }

    pub(crate) fn verifier_by(&self, clock: impl Clock) -> JwtVerifier {
        let builder = JwtVerifier::builder(ISSUER).transport(self.transport());
        builder.clock(clock).build().unwrap()
    }

    /// A verifier that has loaded its keys.
    pub(crate) async fn warm_verifier(&self) -> JwtVerifier {
        let verifier = self.verifier();
        verifier.warm().await.unwrap();
        verifier
    }
}

static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
    SigningKey::from_pem(Algorithm::EdDSA, include_bytes!("keys/ed25519.pem")).unwrap()
});

pub(crate) fn jwk(kid: &str) -> Value {
    KEY.clone().with_kid(kid).public_jwk().unwrap()
}

pub(crate) fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "api", "exp": 4_102_444_800_u64, "sub": "alice"})
}

pub(crate) fn token(kid: &str) -> String {
    sign(&json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid}))
}

fn sign(header: &Value) -> String {
    KEY.sign(header, &claims()).unwrap()
}

pub(crate) async fn verify(verifier: &JwtVerifier, token: &str) -> Result<(), VerifyError> {
    let checks = RecordedChecks::record();
    let outcome = verifier.verify(VerifyRequest::new(Token::bearer(token).unwrap())).await;
    checks.expect_reason(outcome.as_ref().err().map(VerifyError::kind));
    outcome.map(drop)
}

pub(crate) async fn kind(verifier: &JwtVerifier, token: &str) -> ErrorKind {
    verify(verifier, token).await.unwrap_err().kind()
}

/// The outcome, if it is ready at once.
pub(crate) fn at_once(verifier: &JwtVerifier, token: &str) -> Option<Result<(), ErrorKind>> {
    let outcome = verifier.verify(VerifyRequest::new(Token::bearer(token).unwrap()));
    let outcome = outcome.now_or_later().ok()?;
    Some(outcome.map(drop).map_err(|error| error.kind()))
}

// Cold start.

#[tokio::test(start_paused = true)]
async fn cold_start_causes_one_discovery_and_one_fetch() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.verifier();
    assert!(server.urls().is_empty(), "fetched before the first token");
    let token = token("a");
    for outcome in join_all((0..200).map(|_| verify(&verifier, &token))).await {
        outcome.unwrap();
    }
    assert_eq!(server.urls(), [METADATA, JWKS]);
    assert_eq!(at_once(&verifier, &token), Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn dropped_leader_does_not_fail_the_other_requests() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.verifier();
    let token = token("a");
    let mut leader = Box::pin(verify(&verifier, &token));
    let mut follower = Box::pin(verify(&verifier, &token));
    assert!(poll_immediate(&mut leader).await.is_none());
    assert!(poll_immediate(&mut follower).await.is_none());
    drop(leader);
    follower.await.unwrap();
    assert_eq!(server.urls(), [METADATA, JWKS]);
}

#[tokio::test(start_paused = true)]
async fn configured_url_needs_no_discovery() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = JwtVerifier::builder(ISSUER)
        .jwks_uri("https://keys.example.com/")
        .transport(server.transport())
        .clock(FixedClock)
        .build()
        .unwrap();
    server.on("https://keys.example.com/", Reply::json(&json!({"keys": [jwk("a")]})));
    verify(&verifier, &token("a")).await.unwrap();
    assert_eq!(server.urls(), ["https://keys.example.com/"]);
}

#[tokio::test(start_paused = true)]
async fn d9_outage_at_cold_start_is_unavailable_and_recovers() {
    let (down, hang) = (Reply::Fail(TransportErrorKind::Connect), Reply::Hang);
    for reply in [down, hang, Reply::text(500, ""), Reply::text(503, ""), Reply::text(429, "")] {
        for url in [METADATA, JWKS] {
            let server = Server::with_keys(&[jwk("a")]);
            let healthy = server.0.lock().unwrap().replies.clone();
            server.on(url, reply.clone());
            let verifier = server.verifier();
            let error = verify(&verifier, &token("a")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.retry_after().is_some());
            assert!(error.context().unwrap().contains(ISSUER));

            server.0.lock().unwrap().replies = healthy;
            sleep(2 * SECOND).await;
            verify(&verifier, &token("a")).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_loaded_after_an_outage_without_traffic() {
    let server = Server::with_keys(&[jwk("a")]);
    server.on(JWKS, Reply::text(500, ""));
    let verifier = server.verifier();
    verifier.warm().await.unwrap_err();
    sleep(HOUR).await;
    server.publish(&[jwk("a")]);
    sleep(31 * SECOND).await;
    assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn i18_fetch_times_out_after_three_seconds() {
    let server = Server::with_keys(&[]);
    server.on(JWKS, Reply::Hang);
    let verifier = server.verifier();
    let start = Moment::now(&FixedClock);
    let token = token("a");
    for outcome in join_all((0..200).map(|_| kind(&verifier, &token))).await {
        assert_eq!(outcome, ErrorKind::Unavailable);
    }
    let waited = Moment::now(&FixedClock).since(start);
    assert!(waited < Duration::from_millis(3100), "{waited:?}");
    assert_eq!(server.fetches(JWKS), 1);
}

#[tokio::test(start_paused = true)]
async fn outage_of_an_hour_at_the_start_causes_a_fetch_in_five_seconds() {
    let server = Server::with_keys(&[]);
    server.on(JWKS, Reply::text(500, ""));
    let verifier = server.verifier();
    let token = token("a");
    for _ in 0..3600 {
        assert_eq!(kind(&verifier, &token).await, ErrorKind::Unavailable);
        assert_eq!(kind(&verifier, &token).await, ErrorKind::Unavailable);
        sleep(SECOND).await;
    }
    // 1 + 2 + 4 s, and then every 5 s.
    assert!(server.fetches(JWKS) <= 723, "{}", server.fetches(JWKS));
    server.publish(&[jwk("a")]);
    sleep(5 * SECOND).await;
    verify(&verifier, &token).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_within_bounds_and_returned_to_the_client() {
    let limited = Reply::text(429, "").with("retry-after", "120");
    let server = Server::with_keys(&[]);
    server.on(JWKS, limited.clone());
    let verifier = server.verifier();
    // Without keys no token can be admitted, so the pause is short.
    let error = verify(&verifier, &token("a")).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(5 * SECOND));
    sleep(4 * SECOND).await;
    let error = verify(&verifier, &token("a")).await.unwrap_err();
    assert!(error.retry_after().unwrap() <= SECOND);
    assert_eq!(server.fetches(JWKS), 1);

    // For the tokens of a new key it is ten seconds at most, for the refresh as the server says.
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    server.on(JWKS, limited);
    sleep(8 * MINUTE).await;
    assert_eq!(server.fetches(JWKS), 2);
    sleep(60 * SECOND).await;
    assert_eq!(server.fetches(JWKS), 2);
    let error = verify(&verifier, &token("b")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // It took 10 ms.
    assert_eq!(error.retry_after(), Some(10 * SECOND - SECOND / 100));
    assert_eq!(server.fetches(JWKS), 3);
    server.publish(&[jwk("b")]);
    sleep(9 * SECOND).await;
    verify(&verifier, &token("b")).await.unwrap();
}

// Rotation.

#[tokio::test(start_paused = true)]
async fn j15_w9_new_key_is_fetched_on_its_first_token() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    server.publish(&[jwk("a"), jwk("b")]);
    let new = token("b");
    assert_eq!(at_once(&verifier, &new), None, "verified without the key");
    for outcome in join_all((0..200).map(|_| verify(&verifier, &new))).await {
        outcome.unwrap();
    }
    assert_eq!(server.fetches(JWKS), 2);
    assert_eq!(server.fetches(METADATA), 1);
}

#[tokio::test(start_paused = true)]
async fn j15_fetch_started_before_a_key_was_published_is_repeated() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    // The refresh ahead is sent here, and its response arrives 10 ms later.
    sleep(8 * MINUTE - Duration::from_millis(15)).await;
    assert_eq!(server.fetches(JWKS), 2);
    server.publish(&[jwk("a"), jwk("b")]);
    // That fetch decides nothing. The next one begins two seconds after it.
    verify(&verifier, &token("b")).await.unwrap();
    assert_eq!(server.fetches(JWKS), 3);
}

#[tokio::test(start_paused = true)]
async fn w9_removed_key_is_refused_after_the_next_fetch() {
    let server = Server::with_keys(&[jwk("a"), jwk("b")]);
    let verifier = server.warm_verifier().await;
    server.publish(&[jwk("b")]);
    assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
    sleep(10 * MINUTE).await;
    assert_eq!(kind(&verifier, &token("a")).await, ErrorKind::UnknownKey);
    assert_eq!(at_once(&verifier, &token("b")), Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn w9_tokens_of_known_keys_never_wait() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    let token = token("a");
    for reply in [Reply::json(&json!({"keys": [jwk("a")]})), Reply::Hang, Reply::text(500, "")] {
        server.on(JWKS, reply);
        for _ in 0..720 {
            assert_eq!(at_once(&verifier, &token), Some(Ok(())));
            sleep(5 * SECOND).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn w9_last_valid_keys_are_used_for_a_day() {
    for reply in [
        Reply::Fail(TransportErrorKind::Connect),
        Reply::text(503, ""),
        Reply::text(200, "<html>"),
        Reply::text(404, ""),
    ] {
        let server = Server::with_keys(&[jwk("a")]);
        let verifier = server.warm_verifier().await;
        server.on(JWKS, reply);
        sleep(24 * HOUR - MINUTE).await;
        assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
        sleep(MINUTE).await;
        let error = verify(&verifier, &token("a")).await.unwrap_err();
        assert_eq!(error.blame(), Blame::AuthorizationServer);
        server.publish(&[jwk("a")]);
        sleep(31 * SECOND).await;
        assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
    }
}

#[tokio::test(start_paused = true)]
async fn w9_keys_are_refreshed_ahead() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    sleep(8 * MINUTE - SECOND).await;
    assert_eq!(server.fetches(JWKS), 1);
    sleep(2 * SECOND).await;
    assert_eq!(server.fetches(JWKS), 2);
    sleep(80 * MINUTE).await;
    assert_eq!(server.fetches(JWKS), 12);
    drop(verifier);
}

#[tokio::test(start_paused = true)]
async fn w9_suspend_of_the_machine_ages_the_keys() {
    for (asleep, known) in [(11 * MINUTE, true), (25 * HOUR, false)] {
        let clock = TestClock::new(UnixTime::from_secs(1_800_000_000));
        let server = Server::with_keys(&[jwk("a")]);
        let verifier = server.verifier_by(clock.clone());
        verifier.warm().await.unwrap();
        server.publish(&[jwk("b")]);
        clock.step(asleep);
        assert_eq!(at_once(&verifier, &token("a")).is_some(), known);
        sleep(SECOND).await;
        // Even if no request waited for it.
        assert_eq!(server.fetches(JWKS), 2);
        assert_eq!(kind(&verifier, &token("a")).await, ErrorKind::UnknownKey);
    }
}

#[tokio::test(start_paused = true)]
async fn cache_control_sets_the_refresh_interval() {
    for (value, seconds) in [("max-age=1200", 960), ("max-age=1", 48), ("no-store", 48)] {
        let server = Server::with_keys(&[]);
        let keys = Reply::json(&json!({"keys": [jwk("a")]})).with("cache-control", value);
        server.on(JWKS, keys);
        let verifier = server.warm_verifier().await;
        sleep((seconds - 1) * SECOND).await;
        assert_eq!(server.fetches(JWKS), 1, "{value}");
        sleep(2 * SECOND).await;
        assert_eq!(server.fetches(JWKS), 2, "{value}");
        drop(verifier);
    }
}

#[tokio::test(start_paused = true)]
async fn background_task_ends_with_the_last_verifier() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    let clone = verifier.clone();
    drop(verifier);
    sleep(9 * MINUTE).await;
    assert_eq!(server.fetches(JWKS), 2);
    drop(clone);
    let fetches = server.urls().len();
    sleep(HOUR).await;
    assert_eq!(server.urls().len(), fetches);
    assert_eq!(Arc::strong_count(&server.0), 1, "the transport is still held");
}

#[tokio::test(start_paused = true)]
async fn pending_fetch_is_cancelled_with_the_last_verifier() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    server.on(JWKS, Reply::Hang);
    sleep(8 * MINUTE + SECOND).await;
    assert_eq!(server.fetches(JWKS), 2);
    drop(verifier);
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(&server.0), 1, "the transport is still held");
}

#[test]
fn requests_fetch_keys_after_the_runtime_of_the_background_task_ended() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = runtime().block_on(server.warm_verifier());
    assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())), "outside of a runtime");
    runtime().block_on(async {
        advance(11 * MINUTE).await;
        assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
        sleep(SECOND).await;
        assert_eq!(server.fetches(JWKS), 2);
        sleep(8 * MINUTE).await;
        assert_eq!(server.fetches(JWKS), 3);
    });
}

// Unknown keys.

#[tokio::test(start_paused = true)]
async fn flood_of_unknown_keys_causes_one_fetch_and_few_wait_for_it() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    let tokens: Vec<_> = (0..10_000).map(|at| token(&format!("kid-{at}"))).collect();
    let outcomes = join_all(tokens.iter().map(|token| kind(&verifier, token))).await;
    let refused = outcomes.iter().filter(|kind| **kind == ErrorKind::UnknownKey).count();
    let told_to_wait = outcomes.iter().filter(|kind| **kind == ErrorKind::KeyPending).count();
    // Half of the 64 places, because the peers are not known.
    assert_eq!((refused, told_to_wait), (32, 10_000 - 32));
    assert_eq!(server.fetches(JWKS), 2);
    // The next fetch is four seconds away.
    assert_eq!(at_once(&verifier, &token("kid-x")), Some(Err(ErrorKind::KeyPending)));
    assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn random_kids_cause_few_fetches_and_take_constant_memory() {
    /// The memory of the names recorded as unknown, and of other permanent allocations.
    const MEMORY: i64 = 1024 * 24 + 16 * 1024;
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    let known = token("a");
    let mut tokens = RandomKids::new();
    // Until the table of unknown names is full.
    assert_eq!(kind(&verifier, tokens.next()).await, ErrorKind::UnknownKey);
    for _ in 0..2000 {
        assert_eq!(kind(&verifier, tokens.next()).await, ErrorKind::KeyPending);
    }
    let mut kept = 0;
    for at in 0..100_000_u32 {
        let flood = VerifyRequest::new(Token::bearer(tokens.next()).unwrap());
        let mut outcome = None;
        kept += allocation_counter::measure(|| {
            outcome = verifier.verify(flood).now_or_later().ok().map(|refused| refused.is_err());
        })
        .bytes_current;
        assert_eq!(outcome, Some(true), "not refused at once");
        if at % 1000 == 0 {
            assert_eq!(at_once(&verifier, &known), Some(Ok(())));
        }
    }
    assert!(kept < MEMORY, "{kept} bytes are kept");
    assert_eq!(server.fetches(JWKS), 2);
    // The background refresh and new keys work as before.
    server.publish(&[jwk("a"), jwk("b")]);
    sleep(4 * SECOND).await;
    verify(&verifier, &token("b")).await.unwrap();
    assert_eq!(server.fetches(JWKS), 3);
}

/// Unsigned tokens with the same claims and random key names. The signature is never checked.
struct RandomKids {
    seed: u64,
    token: String,
    rest: String,
}

impl RandomKids {
    fn new() -> Self {
        let signed = token("x");
        let rest = signed.split_once('.').unwrap().1.to_owned();
        Self { seed: 1, token: String::new(), rest }
    }

    fn next(&mut self) -> &str {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let header = format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{:016x}"}}"#, self.seed);
        self.token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), self.rest);
        &self.token
    }
}

#[tokio::test(start_paused = true)]
async fn intermittent_endpoint_delays_no_known_key_and_gets_few_requests() {
    for period in [1, 2, 7, 29, 31, 120, 480, 601, 3600] {
        let server = Server::with_keys(&[jwk("a")]);
        let verifier = server.warm_verifier().await;
        let known = token("a");
        let hours = 4;
        let mut up = true;
        for second in 0..hours * 3600_u32 {
            if second % period == 0 {
                up = !up;
                match up {
                    true => server.publish(&[jwk("a")]),
                    false => server.on(JWKS, Reply::text(503, "")),
                }
            }
            if second % 10 == 0 {
                assert_eq!(at_once(&verifier, &known), Some(Ok(())), "{period} {second}");
            }
            sleep(SECOND).await;
        }
        // Every 30 s at worst, and up to six more after each success.
        let fetches = server.fetches(JWKS);
        let most = hours as usize * (3600 / 30 + 6 * 8);
        println!("period {period} s: {fetches} fetches in {hours} hours, at most {most}");
        assert!(fetches <= most, "{period}: {fetches}");
        // It is used again once it stays available.
        server.publish(&[jwk("b")]);
        sleep(8 * MINUTE + 2 * SECOND).await;
        assert_eq!(at_once(&verifier, &token("b")), Some(Ok(())), "{period}");
    }
}

#[tokio::test(start_paused = true)]
async fn steady_flood_of_unknown_keys_causes_a_fetch_in_ten_seconds() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    let flood = async |verifier: &JwtVerifier, kid: &str| {
        let outcome = tokio::time::timeout(SECOND / 10, kind(verifier, &token(kid))).await;
        let expected = [ErrorKind::UnknownKey, ErrorKind::KeyPending];
        assert!(outcome.is_err() || expected.contains(&outcome.unwrap()), "{kid}");
    };
    for at in 0..6000 {
        flood(&verifier, &format!("kid-{at}")).await;
        sleep(SECOND / 10).await;
    }
    // Ten minutes and more, and three fetches until the pause has grown.
    assert!(server.fetches(JWKS) <= 1 + 3 + 120, "{}", server.fetches(JWKS));
    // A new key is delayed by no more than that.
    server.publish(&[jwk("b")]);
    sleep(8 * SECOND).await;
    verify(&verifier, &token("b")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn flood_of_unknown_keys_from_disconnecting_clients_causes_at_most_one_fetch() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    let flood = async |from: usize| {
        for at in from..from + 1000 {
            let token = token(&format!("kid-{at}"));
            let _ = poll_immediate(Box::pin(verify(&verifier, &token))).await;
            tokio::task::yield_now().await;
        }
        sleep(SECOND).await;
    };
    // Nobody waits any more when the next fetch may begin.
    flood(0).await;
    sleep(2 * SECOND).await;
    assert_eq!(server.fetches(JWKS), 1);
    // The first one begins a fetch, which ends without it.
    flood(1000).await;
    assert_eq!(server.fetches(JWKS), 2);
}

#[tokio::test(start_paused = true)]
async fn unknown_key_is_fetched_again_with_growing_pauses() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    let gone = token("gone");
    sleep(2 * SECOND).await;
    for (round, pause) in [4, 8, 10, 10].into_iter().enumerate() {
        assert_eq!(kind(&verifier, &gone).await, ErrorKind::UnknownKey);
        assert_eq!(server.fetches(JWKS), 2 + round);
        let error = verify(&verifier, &gone).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.blame()),
            (ErrorKind::KeyPending, Blame::AuthorizationServer)
        );
        let told = error.retry_after().unwrap();
        assert!(pause * SECOND - told < SECOND, "{told:?}");
        sleep(told).await;
    }
    // Any key that is new ends the growth.
    server.publish(&[jwk("a"), jwk("gone")]);
    verify(&verifier, &gone).await.unwrap();
    sleep(2 * SECOND).await;
    server.publish(&[jwk("a"), jwk("gone"), jwk("b")]);
    verify(&verifier, &token("b")).await.unwrap();
    assert_eq!(server.fetches(JWKS), 7);
}

#[tokio::test(start_paused = true)]
async fn rfc9111_5_2_1_4_fetch_on_demand_asks_caches_for_the_current_keys() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    assert_eq!(server.last_field(header::CACHE_CONTROL), None);
    sleep(2 * SECOND).await;
    assert_eq!(kind(&verifier, &token("b")).await, ErrorKind::UnknownKey);
    assert_eq!(server.last_field(header::CACHE_CONTROL).unwrap(), "no-cache");
    sleep(9 * MINUTE).await;
    assert_eq!(server.fetches(JWKS), 3);
    assert_eq!(server.last_field(header::CACHE_CONTROL), None, "a refresh needs no more than that");
}

#[tokio::test(start_paused = true)]
async fn rfc9111_5_1_response_older_than_the_question_decides_nothing() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    for (age, expected) in [
        ("0", ErrorKind::UnknownKey),
        ("1", ErrorKind::KeyPending),
        ("99999999999999999999999", ErrorKind::KeyPending),
        ("x", ErrorKind::UnknownKey),
    ] {
        sleep(11 * SECOND).await;
        server.on(JWKS, Reply::json(&json!({"keys": [jwk("a")]})).with("age", age));
        assert_eq!(kind(&verifier, &token("b")).await, expected, "{age}");
    }
    // A key that it has is used.
    sleep(11 * SECOND).await;
    server.on(JWKS, Reply::json(&json!({"keys": [jwk("b")]})).with("age", "60"));
    verify(&verifier, &token("b")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unknown_key_during_an_outage_is_unavailable() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    server.on(JWKS, Reply::text(500, ""));
    for _ in 0..10 {
        let error = verify(&verifier, &token("b")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().is_some());
    }
    assert_eq!(server.fetches(JWKS), 2);
    assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn j14_kid_is_only_compared() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    for kid in ["../../dev/null", "' OR 1=1", "\0", "https://evil.example.com/", "A", "a ", ""] {
        assert_eq!(kind(&verifier, &token(kid)).await, ErrorKind::UnknownKey, "{kid}");
        sleep(31 * SECOND).await;
    }
    assert!(server.urls().iter().all(|url| url == METADATA || url == JWKS));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_from_a_url_in_a_token() {
    let evil = "https://evil.example.com/jwks";
    let server = Server::with_keys(&[]);
    server.on(evil, Reply::json(&json!({"keys": [jwk("evil")]})));
    let verifier = server.verifier();
    for (name, value) in
        [("jku", json!(evil)), ("x5u", json!(evil)), ("iss", json!(evil)), ("jwk", jwk("evil"))]
    {
        let mut header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "evil"});
        header[name] = value;
        verify(&verifier, &sign(&header)).await.unwrap_err();
        sleep(MINUTE).await;
    }
    let mut claims = claims();
    claims["iss"] = json!("https://evil.example.com");
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "evil"});
    let foreign = KEY.sign(&header, &claims).unwrap();
    assert_eq!(kind(&verifier, &foreign).await, ErrorKind::WrongIssuer);
    assert!(server.urls().iter().all(|url| url == METADATA || url == JWKS));
}

// Published keys.

#[tokio::test(start_paused = true)]
async fn w2_unusable_keys_do_not_affect_others() {
    let rsa_1024 = SigningKey::from_pem(Algorithm::RS256, include_bytes!("keys/rsa-1024.pem"));
    assert!(rsa_1024.is_err(), "the key must be refused for signing");
    let server = Server::with_keys(&[
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "pq"}),
        json!({"kty": "RSA", "kid": 7, "n": "AQAB", "e": "AQAB"}),
        json!({"kty": "RSA", "kid": "short", "n": "_".repeat(171), "e": "AQAB"}),
        json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": "A".repeat(42), "y": "A".repeat(42)}),
        json!({"kty": "oct", "kid": "oct", "alg": "HS256", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}),
        json!(null),
        json!([]),
        jwk("a"),
    ]);
    let verifier = server.warm_verifier().await;
    assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn g11_symmetric_key_in_a_key_set_is_not_used() {
    let server = Server::with_keys(&[
        json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}),
        jwk("a"),
    ]);
    let verifier = server.warm_verifier().await;
    let secret = SigningKey::from_secret(Algorithm::HS256, &[7; 32]).unwrap();
    let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": "s"});
    let token = secret.sign(&header, &claims()).unwrap();
    assert_eq!(kind(&verifier, &token).await, ErrorKind::UnsupportedAlgorithm);
}

#[tokio::test(start_paused = true)]
async fn w10_invalid_key_set_is_refused_and_replaces_nothing() {
    let long = format!(r#"{{"keys":[],"x":"{}"}}"#, "a".repeat(512 * 1024));
    for body in [
        long,
        String::new(),
        "[]".into(),
        "{}".into(),
        r#"{"keys":{}}"#.into(),
        r#"{"keys":[],"keys":[]}"#.into(),
        format!(r#"{{"keys":{}"#, "[".repeat(100_000)),
    ] {
        let cold = Server::with_keys(&[]);
        cold.on(JWKS, Reply::text(200, body.clone()));
        assert_eq!(kind(&cold.verifier(), &token("a")).await, ErrorKind::BadResponse);

        let server = Server::with_keys(&[jwk("a")]);
        let verifier = server.warm_verifier().await;
        server.on(JWKS, Reply::text(200, body));
        sleep(9 * MINUTE).await;
        assert!(server.fetches(JWKS) > 1);
        assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
    }
}

#[tokio::test(start_paused = true)]
async fn key_set_without_usable_keys_is_a_bad_response_and_recovers() {
    let server = Server::with_keys(&[json!({"kty": "oct", "k": "AAAA"})]);
    let verifier = server.verifier();
    for _ in 0..10 {
        assert_eq!(kind(&verifier, &token("a")).await, ErrorKind::BadResponse);
    }
    server.publish(&[jwk("a")]);
    sleep(30 * SECOND).await;
    verify(&verifier, &token("a")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn empty_key_set_withdraws_all_keys() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    server.publish(&[]);
    sleep(9 * MINUTE).await;
    assert_eq!(kind(&verifier, &token("a")).await, ErrorKind::BadResponse);
}

#[tokio::test(start_paused = true)]
async fn w10_content_type_is_ignored() {
    for media_type in ["application/jwk-set+json; charset=utf-8", "text/html", ""] {
        let server = Server::with_keys(&[]);
        let keys = Reply::json(&json!({"keys": [jwk("a")]})).with("content-type", media_type);
        server.on(JWKS, keys);
        verify(&server.verifier(), &token("a")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn w10_redirect_is_not_followed() {
    let elsewhere = "https://as.example.com/elsewhere";
    for status in [301, 302, 303, 307, 308] {
        let server = Server::with_keys(&[]);
        server.on(JWKS, Reply::text(status, "").with("location", elsewhere));
        server.on(elsewhere, Reply::json(&json!({"keys": [jwk("a")]})));
        assert_eq!(kind(&server.verifier(), &token("a")).await, ErrorKind::BadResponse);
        assert_eq!(server.fetches(elsewhere), 0);
    }
}

// Retirement.

/// Returns the verified fact of `token`.
async fn fact(verifier: &JwtVerifier, token: &str) -> ActiveToken {
    verifier.verify(VerifyRequest::new(Token::bearer(token).unwrap())).await.unwrap()
}

fn admitted(fact: &ActiveToken) -> Option<ErrorKind> {
    let policy = Policy::new("api").clock(FixedClock);
    policy.admit(fact.clone(), Scheme::Bearer).err().map(|refused| refused.kind())
}

/// Waits for the next background refresh.
async fn next_refresh(server: &Server) {
    let before = server.fetches(JWKS);
    for _ in 0..600 {
        sleep(SECOND).await;
        if server.fetches(JWKS) > before {
            return sleep(SECOND).await;
        }
    }
    panic!("the keys are not refreshed");
}

#[tokio::test(start_paused = true)]
async fn removed_key_retires_exactly_its_tokens() {
    let server = Server::with_keys(&[jwk("a"), jwk("b")]);
    let verifier = server.warm_verifier().await;
    let (a, b) = (fact(&verifier, &token("a")).await, fact(&verifier, &token("b")).await);
    server.publish(&[jwk("b")]);
    assert!(!a.is_retired() && !b.is_retired(), "retired before the fetch");
    assert_eq!(admitted(&a), None);
    next_refresh(&server).await;
    assert!(a.is_retired() && !b.is_retired());
    assert_eq!((admitted(&a), admitted(&b)), (Some(ErrorKind::UnknownKey), None));
    assert!(a.clone().is_retired(), "a clone is not retired");
}

#[tokio::test(start_paused = true)]
async fn replaced_key_under_the_same_kid_retires_exactly_its_tokens() {
    let rsa = |pem: &[u8]| SigningKey::from_pem(Algorithm::RS256, pem).unwrap().with_kid("a");
    let old = rsa(include_bytes!("keys/rsa.pem"));
    let new = rsa(include_bytes!("keys/rsa-other.pem"));
    let header = json!({"alg": "RS256", "typ": "at+jwt", "kid": "a"});
    let server = Server::with_keys(&[old.public_jwk().unwrap(), jwk("b")]);
    let verifier = server.warm_verifier().await;
    let token_of_old = old.sign(&header, &claims()).unwrap();
    let by_old = fact(&verifier, &token_of_old).await;
    let by_b = fact(&verifier, &token("b")).await;
    server.publish(&[new.public_jwk().unwrap(), jwk("b")]);
    next_refresh(&server).await;
    let by_new = fact(&verifier, &new.sign(&header, &claims()).unwrap()).await;
    assert!(by_old.is_retired() && !by_b.is_retired() && !by_new.is_retired());
    assert_eq!(admitted(&by_old), Some(ErrorKind::UnknownKey));
    assert_eq!(kind(&verifier, &token_of_old).await, ErrorKind::BadSignature);
}

#[tokio::test(start_paused = true)]
async fn key_set_in_another_spelling_retires_nothing() {
    let server = Server::with_keys(&[jwk("a"), jwk("b")]);
    let verifier = server.warm_verifier().await;
    let facts = [fact(&verifier, &token("a")).await, fact(&verifier, &token("b")).await];
    let mut decorated = jwk("a");
    decorated["x5t"] = json!("AAAA");
    let moved = "https://as.example.com/v2/jwks";
    for reply in [
        Reply::json(&json!({"keys": [jwk("b"), jwk("a")]})),
        Reply::json(&json!({"x": 1, "keys": [jwk("c"), decorated, jwk("b"), jwk("b")]})),
        Reply::text(200, format!("{:#}", json!({"keys": [jwk("a"), jwk("b")]}))),
        Reply::text(500, ""),
        Reply::Hang,
    ] {
        server.on(JWKS, reply);
        next_refresh(&server).await;
        sleep(9 * MINUTE).await;
        assert!(facts.iter().all(|fact| admitted(fact).is_none()));
    }
    // The same keys at another URL are unchanged keys.
    server.on(JWKS, Reply::text(404, ""));
    server.on(METADATA, Reply::json(&json!({"issuer": ISSUER, "jwks_uri": moved})));
    server.on(moved, Reply::json(&json!({"keys": [jwk("a"), jwk("b")]})));
    sleep(9 * MINUTE).await;
    assert!(server.fetches(moved) > 0);
    assert!(facts.iter().all(|fact| admitted(fact).is_none()));
    // Dropping the verifier retires no key.
    drop(verifier);
    tokio::task::yield_now().await;
    assert!(facts.iter().all(|fact| admitted(fact).is_none()));
}

#[tokio::test(start_paused = true)]
async fn not_modified_retires_nothing() {
    let server = Server::with_keys(&[]);
    server.on(JWKS, Reply::json(&json!({"keys": [jwk("a")]})).with("etag", "\"v1\""));
    let verifier = server.warm_verifier().await;
    let fact = fact(&verifier, &token("a")).await;
    server.on(JWKS, Reply::text(304, ""));
    sleep(HOUR).await;
    assert!(server.fetches(JWKS) > 5 && !fact.is_retired());
}

#[tokio::test(start_paused = true)]
async fn key_that_is_published_again_does_not_restore_its_facts() {
    let server = Server::with_keys(&[jwk("a"), jwk("b")]);
    let verifier = server.warm_verifier().await;
    let first = fact(&verifier, &token("a")).await;
    server.publish(&[jwk("b")]);
    next_refresh(&server).await;
    server.publish(&[jwk("a"), jwk("b")]);
    next_refresh(&server).await;
    let second = fact(&verifier, &token("a")).await;
    assert!(first.is_retired() && !second.is_retired());
}

#[tokio::test(start_paused = true)]
async fn fetch_for_an_unknown_key_retires_removed_keys() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    let old = fact(&verifier, &token("a")).await;
    server.publish(&[jwk("b")]);
    fact(&verifier, &token("b")).await;
    assert_eq!(admitted(&old), Some(ErrorKind::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn empty_key_set_retires_all_tokens() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    let old = fact(&verifier, &token("a")).await;
    server.publish(&[]);
    next_refresh(&server).await;
    assert!(old.is_retired());
}

#[tokio::test(start_paused = true)]
async fn confirmed_and_fallback_facts_keep_their_key() {
    let server = Server::with_keys(&[jwk("a")]);
    let local = BoxVerifier::new(server.warm_verifier().await);
    let remote = BoxVerifier::new(verify_fn(async |_| {
        let claims = Claims::from_json(br#"{"sub":"alice"}"#).unwrap();
        Ok(ActiveToken::new(ISSUER, claims, Method::Introspection, Moment::now(&FixedClock)))
    }));
    let ask = async |verifier: BoxVerifier| {
        verifier.verify(VerifyRequest::new(Token::bearer(&token("a")).unwrap())).await.unwrap()
    };
    let confirmed = Confirm::new(local.clone(), remote.clone(), MINUTE);
    let confirmed = ask(BoxVerifier::new(confirmed)).await;
    assert_eq!(confirmed.method(), Method::Confirmed);
    let first = ask(BoxVerifier::new(Fallback::new(local.clone(), remote.clone()))).await;
    // By introspection, without a key.
    let down = BoxVerifier::new(verify_fn(async |_| Err(ErrorKind::Unavailable.into())));
    let second = ask(BoxVerifier::new(Fallback::new(down.clone(), remote))).await;
    // Facts with a key, from a verifier used as fallback.
    let relayed = ask(BoxVerifier::new(Fallback::new(down, local.clone()))).await;
    assert_eq!((second.method(), relayed.method()), (Method::Fallback, Method::Fallback));
    server.publish(&[jwk("b")]);
    next_refresh(&server).await;
    assert!(confirmed.is_retired() && first.is_retired() && relayed.is_retired());
    assert!(!second.is_retired());
    assert_eq!(admitted(&confirmed), Some(ErrorKind::UnknownKey));
    drop(local);
}

// Readiness.

#[tokio::test(start_paused = true)]
async fn readiness_reports_state_without_fetching() {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.verifier_by(TestClock::new(UnixTime::from_secs(1_800_000_000)));
    let readiness = verifier.readiness();
    assert_eq!((readiness.issuer(), readiness.is_ready()), (ISSUER, false));
    assert_eq!((readiness.failure(), readiness.failing_since()), (None, None));
    assert!(!verifier.is_ready());
    assert!(server.urls().is_empty(), "something was fetched");

    server.on(JWKS, Reply::text(500, ""));
    verifier.warm().await.unwrap_err();
    let since = Some(UnixTime::from_millis(1_800_000_000_020));
    assert_eq!(verifier.readiness().failure(), Some(ErrorKind::Unavailable));
    assert_eq!(verifier.readiness().failing_since(), since);
    sleep(HOUR).await;
    assert_eq!(verifier.readiness().failing_since(), since, "not the first failure");
    server.publish(&[jwk("a")]);
    sleep(31 * SECOND).await;
    assert!(verifier.is_ready());
    assert_eq!(verifier.readiness().failure(), None);

    // Readiness reports an outage long before the keys expire.
    server.on(JWKS, Reply::text(200, "<html>"));
    sleep(10 * MINUTE).await;
    assert!(verifier.is_ready());
    assert_eq!(verifier.readiness().failure(), Some(ErrorKind::BadResponse));
    sleep(24 * HOUR).await;
    assert!(!verifier.is_ready());
    server.publish(&[]);
    sleep(31 * SECOND).await;
    assert!(!verifier.is_ready(), "ready with expired keys");
    assert_eq!(verifier.readiness().failure(), Some(ErrorKind::BadResponse));
}

#[tokio::test(start_paused = true)]
async fn readiness_of_a_resource_server_is_by_issuer() {
    let server = Server::with_keys(&[jwk("a")]);
    let other = "https://other.example.com";
    let auth = || ClientAuth::basic("api", "s3cret");
    let api = ResourceServer::builder("api")
        .issuer(Issuer::jwt(ISSUER))
        .issuer(Issuer::introspect(other, auth()))
        .issuer(
            Issuer::introspect("https://given.example.com", auth())
                .configure_introspection(|it| it.endpoint("https://given.example.com/i")),
        )
        .transport(server.transport())
        .clock(FixedClock)
        .build()
        .unwrap();
    let ready = || api.readiness().iter().map(Readiness::is_ready).collect::<Vec<_>>();
    assert_eq!(ready(), [false, false, true]);
    api.warm().await.unwrap_err();
    assert_eq!(ready(), [true, false, true]);
    let failures: Vec<_> = api.readiness().iter().map(Readiness::failure).collect();
    assert_eq!(failures, [None, Some(ErrorKind::BadResponse), None]);
    assert_eq!(api.readiness()[1].issuer(), other);

    let well_known = "https://other.example.com/.well-known/oauth-authorization-server";
    server.on(well_known, Reply::json(&json!({"issuer": other})));
    sleep(MINUTE).await;
    api.warm().await.unwrap_err();
    assert_eq!(api.readiness()[1].failure(), Some(ErrorKind::BadResponse), "without an endpoint");
    assert_eq!(ready(), [true, false, true]);
}

// Metadata that changes.

/// A server without keys, so that the metadata is doubted, and with this metadata from then on.
async fn with_changed_metadata(metadata: &Value) -> (Server, JwtVerifier) {
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    server.on(JWKS, Reply::text(404, ""));
    server.on(METADATA, Reply::json(metadata));
    sleep(2 * HOUR).await;
    (server, verifier)
}

#[tokio::test(start_paused = true)]
async fn d4_metadata_with_an_http_jwks_uri_is_not_used() {
    for moved in ["http://as.example.com/jwks", "http://127.0.0.1/jwks", "file:///jwks", "/jwks"] {
        let metadata = json!({"issuer": ISSUER, "jwks_uri": moved});
        let (server, verifier) = with_changed_metadata(&metadata).await;
        assert!(server.fetches(METADATA) > 1, "{moved}");
        assert!(server.urls().iter().all(|url| url == METADATA || url == JWKS), "{moved}");
        // The earlier keys are used meanwhile.
        assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())), "{moved}");
        assert_eq!(verifier.readiness().failure(), Some(ErrorKind::BadResponse), "{moved}");
        sleep(24 * HOUR).await;
        assert_eq!(kind(&verifier, &token("a")).await, ErrorKind::BadResponse, "{moved}");
    }
}

#[tokio::test(start_paused = true)]
async fn https_keys_at_a_private_address_are_fetched() {
    // The configured issuer chooses the URL, and its keys could be anything.
    let moved = "https://10.0.0.7/jwks";
    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    server.on(JWKS, Reply::text(404, ""));
    server.on(METADATA, Reply::json(&json!({"issuer": ISSUER, "jwks_uri": moved})));
    server.on(moved, Reply::json(&json!({"keys": [jwk("b")]})));
    sleep(HOUR).await;
    assert_eq!(at_once(&verifier, &token("b")), Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn d7_metadata_with_a_changed_issuer_is_not_used() {
    let evil = "https://evil.example.com/jwks";
    let metadata = json!({"issuer": "https://evil.example.com", "jwks_uri": evil});
    let (server, verifier) = with_changed_metadata(&metadata).await;
    assert!(server.fetches(METADATA) > 1);
    assert_eq!(server.fetches(evil), 0);
    assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
    // The earlier URL is used again once the metadata is valid again.
    server.publish(&[jwk("a"), jwk("b")]);
    sleep(MINUTE).await;
    verify(&verifier, &token("b")).await.unwrap();
}

// Revalidation.

#[tokio::test(start_paused = true)]
async fn rfc9110_15_4_5_not_modified_keeps_the_keys() {
    let server = Server::with_keys(&[]);
    let keys = Reply::json(&json!({"keys": [jwk("a")]})).with("etag", "\"v1\"");
    server.on(JWKS, keys);
    let verifier = server.warm_verifier().await;
    assert_eq!(server.last_field(header::IF_NONE_MATCH), None);
    server.on(JWKS, Reply::text(304, "").with("cache-control", "max-age=1200"));
    sleep(9 * MINUTE).await;
    assert_eq!(server.fetches(JWKS), 2);
    assert_eq!(server.last_field(header::IF_NONE_MATCH).unwrap(), "\"v1\"");
    assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
    // The freshness of the 304 response counts, and the tag is kept.
    sleep(14 * MINUTE).await;
    assert_eq!(server.fetches(JWKS), 2);
    sleep(3 * MINUTE).await;
    assert_eq!(server.fetches(JWKS), 3);
    assert_eq!(server.last_field(header::IF_NONE_MATCH).unwrap(), "\"v1\"");
    sleep(48 * HOUR).await;
    assert_eq!(at_once(&verifier, &token("a")), Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn rfc9110_15_4_5_not_modified_without_a_condition_is_an_error() {
    let server = Server::with_keys(&[]);
    server.on(JWKS, Reply::text(304, ""));
    let verifier = server.verifier();
    assert_eq!(kind(&verifier, &token("a")).await, ErrorKind::BadResponse);

    let server = Server::with_keys(&[jwk("a")]);
    let verifier = server.warm_verifier().await;
    server.on(JWKS, Reply::text(304, ""));
    sleep(25 * HOUR).await;
    assert_eq!(kind(&verifier, &token("a")).await, ErrorKind::BadResponse);
    assert_eq!(server.last_field(header::IF_NONE_MATCH), None);
}

#[tokio::test(start_paused = true)]
async fn moved_keys_are_discovered_again() {
    let server = Server::with_keys(&[]);
    let keys = Reply::json(&json!({"keys": [jwk("a")]})).with("etag", "\"v1\"");
    server.on(JWKS, keys);
    let verifier = server.warm_verifier().await;
    let moved = "https://as.example.com/v2/jwks";
    server.on(JWKS, Reply::text(404, ""));
    server.on(METADATA, Reply::json(&json!({"issuer": ISSUER, "jwks_uri": moved})));
    server.on(moved, Reply::json(&json!({"keys": [jwk("b")]})));
    sleep(9 * MINUTE).await;
    assert_eq!(server.fetches(moved), 1);
    assert_eq!(server.last_field(header::IF_NONE_MATCH), None, "the tag belongs to another URL");
    assert_eq!(at_once(&verifier, &token("b")), Some(Ok(())));
    assert_eq!(kind(&verifier, &token("a")).await, ErrorKind::UnknownKey);
}

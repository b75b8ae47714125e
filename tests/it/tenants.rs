//! Issuers resolved on their first token, and the cost of that.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{join_all, poll_immediate};
use http::{Request, Response, StatusCode, header};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tower::service_fn;
use tower_introspect::{
    Blame, ErrorKind, Issuer, ResourceServer, VerifyError,
    clock::UnixTime,
    credentials::Token,
    jose::{Algorithm, SigningKey},
    resource_server::IssuerResolver,
    test_util::TestClock,
    transport::HttpTransport,
    verify::{ActiveToken, BoxVerifier, Verifier, VerifyRequest},
};

use crate::support::{AUDIENCE, ask, refusal, request};

const TENANTS: &str = "https://login.example.com/t/";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
    SigningKey::from_pem(Algorithm::EdDSA, include_bytes!("keys/ed25519.pem")).unwrap()
});

/// The result of a lookup in the database of tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Database {
    Fail(ErrorKind),
    Hang,
    Know,
    Panic,
    /// As `Know`, after a delay.
    Slow,
    Unknown,
    WrongName,
}

/// The response of a tenant's authorization server to a request for its keys.
#[derive(Clone, Debug)]
enum Jwks {
    Answer(Bytes),
    Hang,
}

/// A service with many tenants under one URL.
///
/// The keys of a tenant are at `{issuer}/jwks`. By default that is the key `k`.
#[derive(Clone, Default)]
struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    database: HashMap<String, Database>,
    jwks: HashMap<String, Jwks>,
    /// The issuers looked up in the database.
    lookups: Vec<String>,
    /// The number of fetches of each URL.
    fetched: HashMap<String, usize>,
    blocked: Vec<String>,
}

impl World {
    fn database(&self, tenant: &str, does: Database) {
        self.0.lock().unwrap().database.insert(issuer(tenant), does);
    }

    fn jwks(&self, tenant: &str, does: Jwks) {
        self.0.lock().unwrap().jwks.insert(format!("{}/jwks", issuer(tenant)), does);
    }

    fn lookups(&self) -> usize {
        self.0.lock().unwrap().lookups.len()
    }

    fn fetches(&self) -> usize {
        self.0.lock().unwrap().fetched.values().sum()
    }

    fn fetches_of(&self, tenant: &str) -> usize {
        let url = format!("{}/jwks", issuer(tenant));
        self.0.lock().unwrap().fetched.get(&url).copied().unwrap_or(0)
    }

    fn transport(&self) -> HttpTransport {
        let usual = Bytes::from(key_set(&KEY));
        let state = Arc::clone(&self.0);
        HttpTransport::new(service_fn(move |request: Request<Bytes>| {
            let url = request.uri().to_string();
            let mut state = state.lock().unwrap();
            let does = state.jwks.get(&url).cloned();
            *state.fetched.entry(url).or_default() += 1;
            drop(state);
            let usual = usual.clone();
            async move {
                sleep(Duration::from_millis(10)).await;
                match does.unwrap_or(Jwks::Answer(usual)) {
                    Jwks::Answer(body) => Ok::<_, std::convert::Infallible>(Response::new(body)),
                    Jwks::Hang => std::future::pending().await,
                }
            }
        }))
    }

    fn resolver(&self) -> IssuerResolver {
        let (allowed, asked) = (Arc::clone(&self.0), Arc::clone(&self.0));
        IssuerResolver::new(
            move |issuer| {
                let blocked = allowed.lock().unwrap().blocked.iter().any(|name| name == issuer);
                issuer.starts_with(TENANTS) && !blocked
            },
            move |name: String| {
                let mut state = asked.lock().unwrap();
                let does = state.database.get(&name).copied().unwrap_or(Database::Know);
                state.lookups.push(name.clone());
                drop(state);
                let found = |name: &str| {
                    let jwks = format!("{name}/jwks");
                    Some(Issuer::jwt(name).configure_jwt(|jwt| jwt.jwks_uri(jwks)))
                };
                async move {
                    match does {
                        Database::Fail(kind) => Err(VerifyError::new(kind)),
                        Database::Hang => std::future::pending().await,
                        Database::Know => Ok(found(&name)),
                        Database::Panic => panic!("as scripted"),
                        Database::Slow => {
                            sleep(SECOND).await;
                            Ok(found(&name))
                        }
                        Database::Unknown => Ok(None),
                        Database::WrongName => Ok(found("https://evil.example.com")),
                    }
                }
            },
        )
    }

    fn api(&self, resolver: IssuerResolver) -> ResourceServer {
        ResourceServer::builder(AUDIENCE)
            .resolve_issuers(resolver)
            .transport(self.transport())
            .clock(TestClock::new(UnixTime::from_secs(1_800_000_000)))
            .build()
            .unwrap()
    }
}

fn key_set(key: &SigningKey) -> String {
    json!({"keys": [key.clone().with_kid("k").public_jwk().unwrap()]}).to_string()
}

fn issuer(tenant: &str) -> String {
    format!("{TENANTS}{tenant}")
}

fn token(tenant: &str) -> String {
    token_of(&issuer(tenant), &KEY)
}

fn token_of(issuer: &str, key: &SigningKey) -> String {
    let header = json!({"alg": key.algorithm().as_str(), "typ": "at+jwt", "kid": "k"});
    let claims = json!({"iss": issuer, "aud": AUDIENCE, "exp": 4_102_444_800_u64, "sub": "alice"});
    key.sign(&header, &claims).unwrap()
}

fn verification(token: &str) -> VerifyRequest {
    VerifyRequest::new(Token::bearer(token).unwrap())
}

async fn fact(verifier: &BoxVerifier, token: &str) -> Result<ActiveToken, VerifyError> {
    verifier.verify(verification(token)).await
}

async fn kind(verifier: &BoxVerifier, tenant: &str) -> Result<(), ErrorKind> {
    fact(verifier, &token(tenant)).await.map(drop).map_err(|error| error.kind())
}

/// Returns the outcome of the tenant's token if it is ready at once.
fn at_once(verifier: &BoxVerifier, tenant: &str) -> Option<Result<(), ErrorKind>> {
    let outcome = verifier.verify(verification(&token(tenant))).now_or_later().ok()?;
    Some(outcome.map(drop).map_err(|error| error.kind()))
}

async fn status(api: &ResourceServer, tenant: &str) -> (StatusCode, Option<ErrorKind>, bool) {
    let bearer = format!("Bearer {}", token(tenant));
    let response = ask(&api.layer(), request(&[("authorization", &bearer)])).await;
    let retry = response.headers().contains_key(header::RETRY_AFTER);
    (response.status(), refusal(&response), retry)
}

#[tokio::test(start_paused = true)]
async fn fifty_thousand_tenants_take_the_memory_of_a_thousand() {
    const CAPACITY: usize = 1000;
    const ALL: usize = 50_000;
    let world = World::default();
    let verifier = world.api(world.resolver().capacity(CAPACITY)).verifier();
    for some in 0..ALL / 100 {
        let some = (some * 100..(some + 1) * 100).map(|tenant| tenant.to_string());
        let outcomes = some.map(|tenant| {
            let verifier = &verifier;
            async move { kind(verifier, &tenant).await }
        });
        assert!(join_all(outcomes).await.into_iter().all(|outcome| outcome == Ok(())));
    }
    let (asked, fetched) = (world.lookups(), world.fetches());
    assert_eq!(asked, ALL, "each is resolved once");
    assert!((ALL..=ALL + 10 * CAPACITY).contains(&fetched), "{fetched} fetches");
    let before = Instant::now();
    sleep(HOUR).await;
    // Only cached tenants are refreshed, every 8 minutes.
    let refreshed = world.fetches() - fetched;
    println!("{refreshed} fetches in the hour after {ALL} tenants");
    assert!(refreshed <= CAPACITY * 8, "{refreshed} fetches");
    assert!(refreshed >= CAPACITY / 2, "{refreshed}: nothing seems to be kept at all");
    assert_eq!(world.lookups(), asked, "resolved without a token");
    assert_eq!(before.elapsed(), HOUR);
    drop(verifier);
    let fetched = world.fetches();
    sleep(HOUR).await;
    assert_eq!(world.fetches(), fetched, "the background tasks continue");
}

#[tokio::test(start_paused = true)]
async fn caches_of_all_tenants_have_one_bound() {
    let world = World::default();
    let api = ResourceServer::builder(AUDIENCE)
        .resolve_issuers(world.resolver().capacity(20))
        .transport(world.transport())
        .clock(TestClock::new(UnixTime::from_secs(1_800_000_000)))
        .cache_capacity(100, 1 << 20)
        .build()
        .unwrap();
    let verifier = api.verifier();
    let token_number = |tenant: &str, at: u32| {
        let header = json!({"alg": KEY.algorithm().as_str(), "typ": "at+jwt", "kid": "k"});
        let claims =
            json!({"iss": issuer(tenant), "aud": AUDIENCE, "exp": 4_102_444_800_u64, "n": at});
        KEY.sign(&header, &claims).unwrap()
    };
    // More tenants than are kept: the memory of those that are dropped counts, too.
    for tenant in 0..50 {
        for at in 0..20 {
            fact(&verifier, &token_number(&tenant.to_string(), at)).await.unwrap();
        }
        let stats = api.stats();
        assert!(stats.entries <= 110 && stats.bytes <= 1 << 20, "{tenant}: {stats:?}");
    }
    assert!(api.stats().entries >= 50, "{:?}", api.stats());
    // The tokens in use stay, whoever issued them.
    let used = token_number("49", 19);
    let before = api.stats().hits;
    fact(&verifier, &used).await.unwrap();
    assert_eq!(api.stats().hits, before + 1);
    let last = api.issuer_stats(&issuer("49")).unwrap();
    assert!((1..=20).contains(&last.entries), "{last:?}");
    assert!(api.evict(&Token::bearer(&used).unwrap()));
    assert!(!api.evict(&Token::bearer(&used).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn unknown_issuers_are_looked_up_once_a_minute() {
    let world = World::default();
    world.database("nobody", Database::Unknown);
    let verifier = world.api(world.resolver()).verifier();
    for _ in 0..10 * 60 {
        assert_eq!(kind(&verifier, "nobody").await, Err(ErrorKind::UnknownIssuer));
        sleep(SECOND).await;
    }
    assert_eq!(world.lookups(), 10);
    assert_eq!(world.fetches(), 0);
    // It is known a minute after the database knows it.
    world.database("nobody", Database::Know);
    sleep(MINUTE).await;
    assert_eq!(kind(&verifier, "nobody").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn unknown_issuers_evict_no_known_one() {
    let world = World::default();
    let verifier = world.api(world.resolver().capacity(4)).verifier();
    for tenant in ["a", "b", "c"] {
        assert_eq!(kind(&verifier, tenant).await, Ok(()));
    }
    for at in 0..5000 {
        let name = format!("invented-{at}");
        world.database(&name, Database::Unknown);
        assert_eq!(kind(&verifier, &name).await, Err(ErrorKind::UnknownIssuer));
    }
    for tenant in ["a", "b", "c"] {
        assert_eq!(at_once(&verifier, tenant), Some(Ok(())), "{tenant}");
    }
    assert_eq!(world.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn issuers_that_are_not_allowed_cause_no_lookup() {
    let world = World::default();
    let api = world.api(world.resolver());
    for name in [
        "https://evil.example.com",
        "https://login.example.com",
        "https://login.example.com/T/a",
        "http://login.example.com/t/a",
        "https://login.example.com.evil.example.com/t/a",
        "",
    ] {
        let error = fact(&api.verifier(), &token_of(name, &KEY)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownIssuer, "{name}");
    }
    assert_eq!((world.lookups(), world.fetches()), (0, 0));
}

/// An identifier may begin as that of a tenant does and lead elsewhere.
#[tokio::test(start_paused = true)]
async fn rfc3986_6_2_2_identifier_that_is_not_normal_is_refused_before_it_is_looked_at() {
    let world = World::default();
    let allowed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&allowed);
    let resolver = IssuerResolver::new(
        move |issuer| {
            seen.lock().unwrap().push(issuer.to_owned());
            issuer.to_lowercase().starts_with(TENANTS)
        },
        async |name: String| {
            let jwks = format!("{name}/jwks");
            Ok(Some(Issuer::jwt(name).configure_jwt(|jwt| jwt.jwks_uri(jwks))))
        },
    );
    let api = world.api(resolver);
    for name in [
        "https://login.example.com/t/../uploads/mallory",
        "https://login.example.com/t/%2e%2e/uploads/mallory",
        "https://login.example.com/t/.%2E/uploads/mallory",
        "https://login.example.com/t/..\\uploads\\mallory",
        "https://login.example.com/t/..%2Fuploads/mallory",
        "https://login.example.com/t/./a",
        "https://login.example.com/t/%7Ea",
        "https://login.example.com/t/a?b",
        "https://login.example.com/t/a#b",
        "https://LOGIN.example.com/t/a",
        "HTTPS://login.example.com/t/a",
        "https://login.example.com:443/t/a",
    ] {
        let bearer = format!("Bearer {}", token_of(name, &KEY));
        let response = ask(&api.layer(), request(&[("authorization", &bearer)])).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name}");
        assert_eq!(refusal(&response), Some(ErrorKind::UnknownIssuer), "{name}");
    }
    assert_eq!((world.fetches(), allowed.lock().unwrap().len()), (0, 0));
    let normal = ["https://login.example.com/t/a", "https://login.example.com/t/a/"];
    for name in normal {
        assert_eq!(fact(&api.verifier(), &token_of(name, &KEY)).await.unwrap().issuer(), name);
    }
    // An empty path stays empty, and is asked about as it is.
    let empty = fact(&api.verifier(), &token_of("https://login.example.com", &KEY)).await;
    assert_eq!(empty.unwrap_err().kind(), ErrorKind::UnknownIssuer);
    let allowed = allowed.lock().unwrap();
    assert_eq!(*allowed, [normal[0], normal[1], "https://login.example.com"]);
}

#[tokio::test(start_paused = true)]
async fn made_up_issuers_are_resolved_a_few_at_a_time_and_delay_no_known_one() {
    const ALL: usize = 5_000;
    let world = World::default();
    let api = world.api(world.resolver().capacity(1));
    let verifier = api.verifier();
    for tenant in ["a", "b", "c"] {
        assert_eq!(kind(&verifier, tenant).await, Ok(()));
    }
    assert_eq!(world.lookups(), 3);
    for at in 0..ALL {
        world.database(&format!("invented-{at}"), Database::Hang);
    }
    let start = Instant::now();
    let invented: Vec<_> = (0..ALL).map(|at| token(&format!("invented-{at}"))).collect();
    let flood = join_all(invented.iter().map(|token| async {
        let error = fact(&verifier, token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().is_some() || start.elapsed() == 3 * SECOND);
        start.elapsed()
    }));
    let known = async {
        // At least two of them have lost their state, but were known.
        for tenant in ["a", "b", "c"] {
            assert_eq!(kind(&verifier, tenant).await, Ok(()));
        }
        assert!(start.elapsed() <= Duration::from_millis(30), "{:?}", start.elapsed());
        assert!((3 + 2 + 32..=3 + 3 + 32).contains(&world.lookups()), "{}", world.lookups());
        // What was never known waits for a while, and is told to come back.
        let (status, kind, retry) = status(&api, "new").await;
        assert_eq!((status, kind), (StatusCode::SERVICE_UNAVAILABLE, Some(ErrorKind::Unavailable)));
        assert!(retry);
    };
    let (waits, ()) = tokio::join!(flood, known);
    let after = |wait| waits.iter().filter(|one| **one == wait).count();
    assert_eq!(after(Duration::ZERO), ALL - 32 * 33, "refused at once");
    assert_eq!(after(SECOND), 32 * 32, "refused after a second");
    assert_eq!(after(3 * SECOND), 32, "the calls themselves time out");
    // Nothing of it stays.
    assert_eq!(status(&api, "new").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn herd_of_new_tenants_is_resolved_by_turns() {
    let world = World::default();
    for at in 0..60 {
        world.database(&at.to_string(), Database::Slow);
    }
    let verifier = world.api(world.resolver().max_calls(30)).verifier();
    let start = Instant::now();
    let names: Vec<_> = (0..60).map(|at| at.to_string()).collect();
    let outcomes = join_all(names.iter().map(|name| kind(&verifier, name))).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(())), "{outcomes:?}");
    assert!((2 * SECOND..3 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn issuer_no_longer_allowed_is_refused_on_the_next_token() {
    let world = World::default();
    let verifier = world.api(world.resolver()).verifier();
    assert_eq!(kind(&verifier, "a").await, Ok(()));
    world.0.lock().unwrap().blocked.push(issuer("a"));
    assert_eq!(at_once(&verifier, "a"), Some(Err(ErrorKind::UnknownIssuer)));
    world.0.lock().unwrap().blocked.clear();
    assert_eq!(at_once(&verifier, "a"), Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn removed_tenant_is_dropped_within_ten_minutes_of_use() {
    let world = World::default();
    let verifier = world.api(world.resolver()).verifier();
    assert_eq!(kind(&verifier, "a").await, Ok(()));
    world.database("a", Database::Unknown);
    sleep(10 * MINUTE - SECOND).await;
    assert_eq!(at_once(&verifier, "a"), Some(Ok(())));
    assert_eq!(world.lookups(), 1);
    sleep(SECOND).await;
    assert_eq!(at_once(&verifier, "a"), Some(Ok(())), "the token waits for the lookup");
    tokio::task::yield_now().await;
    assert_eq!(at_once(&verifier, "a"), Some(Err(ErrorKind::UnknownIssuer)));
    assert_eq!(world.lookups(), 2);
    let fetches = world.fetches_of("a");
    sleep(HOUR).await;
    assert_eq!(world.fetches_of("a"), fetches, "its keys are still fetched");
}

#[tokio::test(start_paused = true)]
async fn tenant_in_use_keeps_its_keys_and_is_looked_up_every_ten_minutes() {
    let world = World::default();
    let verifier = world.api(world.resolver()).verifier();
    let first = fact(&verifier, &token("a")).await.unwrap();
    for _ in 0..60 {
        sleep(MINUTE).await;
        assert_eq!(at_once(&verifier, "a"), Some(Ok(())));
        tokio::task::yield_now().await;
    }
    assert_eq!(world.lookups(), 1 + 6);
    assert!(world.fetches_of("a") <= 1 + 8);
    assert!(!first.is_retired());
}

#[tokio::test(start_paused = true)]
async fn known_tenants_are_served_for_a_day_without_the_database() {
    let world = World::default();
    let verifier = world.api(world.resolver()).verifier();
    assert_eq!(kind(&verifier, "a").await, Ok(()));
    world.database("a", Database::Fail(ErrorKind::Unavailable));
    for _ in 0..23 {
        sleep(HOUR).await;
        assert_eq!(at_once(&verifier, "a"), Some(Ok(())));
    }
    assert!(world.lookups() <= 24, "{}", world.lookups());
    sleep(HOUR).await;
    assert_eq!(kind(&verifier, "a").await, Err(ErrorKind::Unavailable));
    world.database("a", Database::Know);
    sleep(SECOND).await;
    assert_eq!(kind(&verifier, "a").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn concurrent_first_tokens_of_a_tenant_cause_one_lookup() {
    let world = World::default();
    world.database("a", Database::Slow);
    let verifier = world.api(world.resolver()).verifier();
    let token = token("a");
    for outcome in join_all((0..200).map(|_| fact(&verifier, &token))).await {
        assert_eq!(outcome.unwrap().issuer(), issuer("a"));
    }
    assert_eq!((world.lookups(), world.fetches()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn dropped_leader_causes_no_failure_and_no_second_lookup() {
    let world = World::default();
    world.database("a", Database::Slow);
    let verifier = world.api(world.resolver()).verifier();
    let token = token("a");
    let mut leader = Box::pin(fact(&verifier, &token));
    let mut follower = Box::pin(fact(&verifier, &token));
    assert!(poll_immediate(&mut leader).await.is_none());
    assert!(poll_immediate(&mut follower).await.is_none());
    drop(leader);
    follower.await.unwrap();
    assert_eq!((world.lookups(), world.fetches()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn disconnecting_clients_cause_no_additional_lookups() {
    let world = World::default();
    world.database("a", Database::Unknown);
    world.database("b", Database::Hang);
    let verifier = world.api(world.resolver()).verifier();
    let (a, b) = (token("a"), token("b"));
    for _ in 0..1000 {
        let _ = poll_immediate(Box::pin(fact(&verifier, &a))).await;
        let _ = poll_immediate(Box::pin(fact(&verifier, &b))).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(world.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn failing_database_is_503_and_tried_again_after_a_second() {
    for does in [Database::Fail(ErrorKind::Unavailable), Database::Hang] {
        let world = World::default();
        world.database("a", does);
        let api = world.api(world.resolver());
        let start = Instant::now();
        let expected = (StatusCode::SERVICE_UNAVAILABLE, Some(ErrorKind::Unavailable), true);
        for _ in 0..10 {
            assert_eq!(status(&api, "a").await, expected, "{does:?}");
        }
        assert!(start.elapsed() <= 3 * SECOND, "{does:?}");
        assert_eq!(world.lookups(), 1, "{does:?}");
        world.database("a", Database::Know);
        sleep(SECOND).await;
        assert_eq!(status(&api, "a").await.0, StatusCode::OK);
        assert_eq!(world.lookups(), 2, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn faulty_resolver_is_500() {
    for does in [Database::WrongName, Database::Panic] {
        let world = World::default();
        world.database("a", does);
        let api = world.api(world.resolver());
        for _ in 0..10 {
            let (status, kind, _) = status(&api, "a").await;
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{does:?}");
            assert_eq!(kind.unwrap().blame(), Blame::ResourceServer, "{does:?}");
        }
        assert_eq!((world.lookups(), world.fetches()), (1, 0), "{does:?}");
        // Other tenants are not affected, and this one recovers once the resolver is fixed.
        assert_eq!(status(&api, "b").await.0, StatusCode::OK);
        world.database("a", Database::Know);
        sleep(SECOND).await;
        assert_eq!(status(&api, "a").await.0, StatusCode::OK, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc8725_3_8_keys_of_two_tenants_with_one_kid_are_separate() {
    let other = SigningKey::from_pem(Algorithm::RS256, include_bytes!("keys/rsa.pem")).unwrap();
    let world = World::default();
    world.jwks("b", Jwks::Answer(key_set(&other).into()));
    let verifier = world.api(world.resolver()).verifier();
    let (a, b) = (issuer("a"), issuer("b"));
    for (issuer, key) in [(&a, &*KEY), (&b, &other)] {
        assert_eq!(fact(&verifier, &token_of(issuer, key)).await.unwrap().issuer(), issuer);
    }
    for (issuer, key) in [(&a, &other), (&b, &*KEY)] {
        let error = fact(&verifier, &token_of(issuer, key)).await.unwrap_err();
        assert_eq!(error.blame(), Blame::Client);
    }
}

#[tokio::test(start_paused = true)]
async fn unavailable_tenant_delays_no_other() {
    let world = World::default();
    world.jwks("down", Jwks::Hang);
    world.database("stuck", Database::Hang);
    let verifier = world.api(world.resolver()).verifier();
    assert_eq!(kind(&verifier, "up").await, Ok(()));
    let (down, stuck) = (token("down"), token("stuck"));
    let mut waiting: Vec<_> = (0..100)
        .flat_map(|_| [Box::pin(fact(&verifier, &down)), Box::pin(fact(&verifier, &stuck))])
        .collect();
    for one in &mut waiting {
        assert!(poll_immediate(one).await.is_none());
    }
    assert_eq!(at_once(&verifier, "up"), Some(Ok(())));
    let start = Instant::now();
    assert_eq!(kind(&verifier, "new").await, Ok(()), "a new tenant is delayed");
    assert_eq!(start.elapsed(), Duration::from_millis(10));
    for outcome in join_all(waiting).await {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

#[test]
fn known_tenants_are_served_outside_of_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let world = World::default();
    let verifier = runtime.block_on(async {
        let verifier = world.api(world.resolver()).verifier();
        assert_eq!(kind(&verifier, "a").await, Ok(()));
        verifier
    });
    let outcome = |tenant| {
        let verifying = verifier.verify(verification(&token(tenant))).now_or_later().ok().unwrap();
        verifying.map(drop).map_err(|error| error.kind())
    };
    drop(runtime);
    assert_eq!(outcome("a"), Ok(()));
    assert_eq!(outcome("b"), Err(ErrorKind::Unavailable));
}

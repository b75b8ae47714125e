//! The clients of an issuer during a rotation of its keys, alone and under attack.
//!
//! The issuer signs with a new key from the moment at which it publishes the key. Good tokens come
//! all the time, each signed with the newest key. An attacker sends unsigned tokens.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::service_fn;
use tower_introspect::{
    Issuer, ResourceServer, VerifyError,
    clock::{Clock, UnixTime},
    credentials::Token,
    jose::{Algorithm, SigningKey},
    resource_server::IssuerResolver,
    test_util::TestClock,
    transport::HttpTransport,
    verify::{BoxVerifier, PeerKey, Verifier, VerifyRequest},
};

const HOST: &str = "https://as.example.com/";
const SECOND: Duration = Duration::from_secs(1);
const START: i64 = 1_800_000_000;

/// The time of the rotation, from the start of the good tokens.
const ROTATED: Duration = Duration::from_millis(20_300);

/// The longest time for which good tokens get 503 under attack.
const WORST: Duration = Duration::from_millis(10_500);

/// The maximum number of fetches in a second: four, and one at the seam of two seconds.
const FETCHES: usize = 5;

struct Scenario {
    /// The number of issuers on the host. The last one rotates its keys.
    issuers: usize,
    good_per_second: f64,
    junk_per_second: f64,
    /// The number of peers that send junk, and 0 if no peer is known.
    attackers: usize,
    kidless: bool,
    /// The new key has the name of the old one.
    same_kid: bool,
    /// The age of the responses of a cache in front of the issuer.
    age: Duration,
    /// The clock of the issuer is this much behind.
    behind: i64,
    /// The freshness of the responses. By default no keys are refreshed in the background: the
    /// fetches are those that tokens cause.
    max_age: u32,
    lasts: Duration,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            issuers: 1,
            good_per_second: 20.0,
            junk_per_second: 0.0,
            attackers: 1,
            kidless: false,
            same_kid: false,
            age: Duration::ZERO,
            behind: 0,
            max_age: 86_400,
            lasts: Duration::from_secs(35),
        }
    }
}

/// The fate of the good tokens.
#[derive(Default)]
struct Seen {
    /// The reasons for refusals, and `ok`, each with its number.
    outcomes: BTreeMap<&'static str, usize>,
    last_refused: Option<Instant>,
}

impl Seen {
    fn note(&mut self, outcome: Result<(), VerifyError>, start: Instant) {
        let Err(error) = outcome else {
            *self.outcomes.entry("ok").or_default() += 1;
            return;
        };
        assert!(error.retry_after().is_none_or(|wait| wait <= 10 * SECOND), "{error:?}");
        let waited = start.elapsed();
        assert!(waited <= 2 * SECOND + SECOND / 10, "a request waited for {waited:?}");
        *self.outcomes.entry(error.kind().reason()).or_default() += 1;
        self.last_refused = Some(Instant::now());
    }
}

struct World {
    scenario: Scenario,
    verifier: BoxVerifier,
    clock: TestClock,
    keys: [SigningKey; 2],
    rotated: Arc<Mutex<Option<Instant>>>,
    fetched: Arc<Mutex<Vec<Instant>>>,
    /// The host fails from now on.
    fails: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    minted: HashMap<(usize, usize, i64), String>,
    random: u64,
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let clock = TestClock::new(UnixTime::from_secs(START));
        let keys = [
            ("old", &include_bytes!("keys/p256.pem")[..]),
            (if scenario.same_kid { "old" } else { "new" }, include_bytes!("keys/p256-other.pem")),
        ]
        .map(|(kid, pem)| SigningKey::from_pem(Algorithm::ES256, pem).unwrap().with_kid(kid));
        let (rotated, fetched, fails) = (Arc::default(), Arc::default(), Arc::default());
        let resolver = IssuerResolver::new(
            |issuer| issuer.starts_with(HOST),
            async |issuer: String| {
                let url = format!("{issuer}/jwks");
                Ok(Some(Issuer::jwt(issuer).configure_jwt(|jwt| jwt.jwks_uri(url))))
            },
        );
        let api = ResourceServer::builder("api")
            .resolve_issuers(resolver.capacity(2 * scenario.issuers.max(1000)))
            .transport(transport(&scenario, &keys, &rotated, &fetched, &fails))
            .clock(clock.clone())
            .without_cache()
            .build()
            .unwrap();
        Self {
            scenario,
            verifier: api.verifier(),
            clock,
            keys,
            rotated,
            fetched,
            fails,
            seen: Arc::default(),
            minted: HashMap::new(),
            random: 1,
        }
    }

    /// Has every issuer admit a token, so that its keys are known.
    async fn warm(&mut self) {
        for issuer in 0..self.scenario.issuers {
            let token = self.good_token(issuer, 0);
            self.ask(&token, "warm-up").await.unwrap();
        }
        sleep(11 * SECOND).await;
        self.fetched.lock().unwrap().clear();
    }

    /// Sends good tokens and junk, with a rotation on the way.
    async fn run(&mut self) {
        let start = Instant::now();
        *self.rotated.lock().unwrap() = Some(start + ROTATED);
        let tick = Duration::from_millis(5);
        let (mut good, mut junk, mut number) = (0.0, 0.0, 0);
        while start.elapsed() < self.scenario.lasts {
            good += self.scenario.good_per_second * tick.as_secs_f64() * 2.0 * self.draw();
            if start.elapsed() > 8 * SECOND {
                junk += self.scenario.junk_per_second * tick.as_secs_f64();
            }
            while good >= 1.0 {
                good -= 1.0;
                self.send_good(start);
            }
            while junk >= 1.0 {
                junk -= 1.0;
                number += 1;
                self.send_junk(number);
            }
            sleep(tick).await;
        }
        sleep(5 * SECOND).await;
    }

    fn send_good(&mut self, start: Instant) {
        let issuer = self.scenario.issuers - 1;
        let token = self.good_token(issuer, usize::from(start.elapsed() >= ROTATED));
        let client = self.draw() * 50.0;
        let asked = self.ask(&token, format!("home {client:.0}"));
        let (seen, start) = (Arc::clone(&self.seen), Instant::now());
        tokio::spawn(async move {
            let outcome = asked.await;
            seen.lock().unwrap().note(outcome, start);
        });
    }

    fn send_junk(&self, number: usize) {
        let issuer = number % self.scenario.issuers;
        let kid =
            if self.scenario.kidless { String::new() } else { format!(r#""kid":"{number}","#) };
        let header = format!(r#"{{"alg":"ES256",{kid}"typ":"at+jwt"}}"#);
        let claims = self.claims(issuer, self.clock.now().as_secs() + 1).to_string();
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let token = format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([1; 64]));
        let attacker = number % self.scenario.attackers.max(1);
        tokio::spawn(self.ask(&token, format!("attacker {attacker}")));
    }

    /// Returns a token of the old or the new key, issued now.
    fn good_token(&mut self, issuer: usize, key: usize) -> String {
        let issued_at = self.clock.now().as_secs() - self.scenario.behind;
        let claims = self.claims(issuer, issued_at);
        let mint = || {
            let mut header = json!({"alg": "ES256", "typ": "at+jwt"});
            if !self.scenario.kidless {
                header["kid"] = self.keys[key].kid().into();
            }
            self.keys[key].sign(&header, &claims).unwrap()
        };
        self.minted.entry((issuer, key, issued_at)).or_insert_with(mint).clone()
    }

    fn claims(&self, issuer: usize, issued_at: i64) -> Value {
        let (issuer, exp) = (format!("{HOST}{issuer}"), START + 100_000);
        json!({"iss": issuer, "aud": "api", "exp": exp, "iat": issued_at})
    }

    /// Sends a token. The future doesn't depend on this world.
    fn ask<P: Hash>(
        &self,
        token: &str,
        peer: P,
    ) -> impl Future<Output = Result<(), VerifyError>> + Send + use<P> {
        let verifier = self.verifier.clone();
        let request = VerifyRequest::new(Token::bearer(token).unwrap());
        let request = match self.scenario.attackers {
            0 => request,
            _ => request.with_peer(PeerKey::new(peer)),
        };
        async move { verifier.verify(request).await.map(drop) }
    }

    /// A number from 0 to 1.
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        f64::from(u32::try_from(self.random >> 32).unwrap()) / f64::from(u32::MAX)
    }

    fn most_fetches_in_a_second(&self) -> usize {
        let fetched = self.fetched.lock().unwrap();
        let since = |from: Instant| fetched.iter().filter(move |at| **at >= from);
        let within = |from: Instant| since(from).filter(|at| **at < from + SECOND).count();
        fetched.iter().map(|from| within(*from)).max().unwrap_or(0)
    }
}

fn transport(
    scenario: &Scenario,
    keys: &[SigningKey; 2],
    rotated: &Arc<Mutex<Option<Instant>>>,
    fetched: &Arc<Mutex<Vec<Instant>>>,
    fails: &Arc<AtomicBool>,
) -> HttpTransport {
    let [old, new] = keys.clone().map(|key| {
        let mut jwk = key.public_jwk().unwrap();
        if scenario.kidless {
            jwk.as_object_mut().unwrap().remove("kid");
        }
        Bytes::from(json!({ "keys": [jwk] }).to_string())
    });
    let rotates = format!("{HOST}{}/jwks", scenario.issuers - 1);
    let (rotated, fetched, fails) = (Arc::clone(rotated), Arc::clone(fetched), Arc::clone(fails));
    let (age, fresh) = (scenario.age, format!("max-age={}", scenario.max_age));
    HttpTransport::new(service_fn(move |request: Request<Bytes>| {
        let now = Instant::now();
        fetched.lock().unwrap().push(now);
        let rotated = rotated.lock().unwrap().is_some_and(|at| now >= at + age);
        let keys = if rotated && request.uri() == &*rotates { &new } else { &old };
        let status = if fails.load(Ordering::Relaxed) { 500 } else { 200 };
        let response = Response::builder().status(status).header("cache-control", &fresh);
        let response = match age.as_secs() {
            0 => response,
            seconds => response.header("age", seconds),
        };
        let response = response.body(keys.clone()).unwrap();
        async move {
            sleep(Duration::from_millis(50)).await;
            Ok::<_, std::convert::Infallible>(response)
        }
    }))
}

/// Runs a scenario, in which good tokens get no 401 and, after the rotation, 503 for no longer than
/// `worst`. Returns their outcomes.
async fn run(title: &str, worst: Duration, scenario: Scenario) -> BTreeMap<&'static str, usize> {
    let mut world = World::new(scenario);
    world.warm().await;
    world.run().await;
    let rotated = world.rotated.lock().unwrap().unwrap();
    let seen = std::mem::take(&mut *world.seen.lock().unwrap());
    let bad_for = seen.last_refused.map(|at| at.saturating_duration_since(rotated));
    let fetches = world.most_fetches_in_a_second();
    println!("{title}: {:?}, 503 for {bad_for:?}, {fetches} fetches in a second", seen.outcomes);
    let reasons = seen.outcomes.keys().filter(|reason| !["ok", "key_pending"].contains(reason));
    assert_eq!(reasons.count(), 0, "{title}: {:?}", seen.outcomes);
    assert!(bad_for.unwrap_or_default() <= worst, "{title}: 503 for {bad_for:?}");
    assert!(fetches <= FETCHES, "{title}: {fetches} fetches in a second");
    seen.outcomes
}

#[tokio::test(start_paused = true)]
async fn rotation_loses_nothing_in_peace() {
    for kidless in [false, true] {
        let title = format!("in peace, without kid: {kidless}");
        let outcomes = run(&title, Duration::ZERO, Scenario { kidless, ..Scenario::default() });
        assert!(!outcomes.await.contains_key("key_pending"));
    }
}

#[tokio::test(start_paused = true)]
async fn rotation_costs_ten_seconds_of_503_and_no_401_under_attack() {
    for (junk_per_second, attackers) in
        [(1.0, 0), (1.0, 1), (100.0, 0), (100.0, 200), (400.0, 1), (400.0, 200)]
    {
        let title = format!("junk {junk_per_second}/s by {attackers}");
        let scenario = Scenario { junk_per_second, attackers, ..Scenario::default() };
        run(&title, WORST, scenario).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rotation_behind_a_cache_costs_the_age_of_its_responses_and_no_401() {
    for seconds in [10, 60] {
        for kidless in [false, true] {
            let age = Duration::from_secs(seconds);
            let lasts = ROTATED + age + 15 * SECOND;
            let title = format!("age {age:?}, without kid: {kidless}");
            // `Age` counts whole seconds, so the response may be a second older.
            let worst = age + WORST + SECOND;
            run(&title, worst, Scenario { kidless, age, lasts, ..Scenario::default() }).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rotation_of_keys_without_names_costs_ten_seconds_of_503_and_no_401() {
    for behind in [0, 3, 29] {
        for junk_per_second in [0.0, 100.0] {
            let title = format!("clock {behind} s behind, junk {junk_per_second}/s without kid");
            let scenario =
                Scenario { kidless: true, behind, junk_per_second, ..Scenario::default() };
            run(&title, WORST, scenario).await;
        }
    }
}

/// Development servers with a fixed name, after a restart.
#[tokio::test(start_paused = true)]
async fn rotation_under_the_same_name_costs_ten_seconds_of_503_and_no_401() {
    for (behind, junk_per_second) in [(0, 0.0), (29, 0.0), (0, 100.0), (29, 100.0)] {
        let title = format!("the same kid, clock {behind} s behind, junk {junk_per_second}/s");
        let worst = if junk_per_second > 0.0 { WORST } else { Duration::ZERO };
        let scenario = Scenario { same_kid: true, behind, junk_per_second, ..Scenario::default() };
        run(&title, worst, scenario).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rotation_of_one_issuer_among_many_waits_for_no_attack_on_the_others() {
    for attackers in [1, 40] {
        let (issuers, good_per_second, junk_per_second) = (300, 10.0, 300.0);
        let title = format!("one of {issuers}, {attackers} attackers");
        let base = Scenario { issuers, good_per_second, junk_per_second, ..Scenario::default() };
        run(&title, WORST, Scenario { attackers, ..base }).await;
    }
}

/// Where peers are not known, the host's turns are taken by whoever asks. It still costs no 401.
#[tokio::test(start_paused = true)]
async fn rotation_of_one_issuer_among_many_costs_no_401_where_peers_are_not_known() {
    let (issuers, good_per_second, junk_per_second) = (300, 10.0, 300.0);
    let base = Scenario { issuers, good_per_second, junk_per_second, ..Scenario::default() };
    run("one of 300, peers unknown", 30 * SECOND, Scenario { attackers: 0, ..base }).await;
}

#[tokio::test(start_paused = true)]
async fn unsigned_tokens_of_every_tenant_cause_few_fetches_from_their_host() {
    for fails in [false, true] {
        let mut world = World::new(Scenario { issuers: 5000, ..Scenario::default() });
        world.fails.store(fails, Ordering::Relaxed);
        let client = world.good_token(17, 0);
        for second in 0..4 {
            for issuer in 0..5000 {
                world.send_junk(second * 5000 + issuer);
            }
            sleep(SECOND / 2).await;
            // A good token of a tenant whose keys were never fetched gets its turn.
            if second == 2 && !fails {
                let start = Instant::now();
                world.ask(&client, "home").await.unwrap();
                assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
            }
            sleep(SECOND / 2).await;
        }
        sleep(30 * SECOND).await;
        let (most, all) = (world.most_fetches_in_a_second(), world.fetched.lock().unwrap().len());
        assert!(most <= FETCHES, "{most} fetches in a second");
        // Nobody waits for any more after six seconds.
        assert!((16..=28).contains(&all), "{all} fetches");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_fails_is_asked_a_few_times_a_second_for_all_its_tenants() {
    let mut world = World::new(Scenario { issuers: 300, max_age: 600, ..Scenario::default() });
    world.warm().await;
    world.fails.store(true, Ordering::Relaxed);
    // Each refresh fails once when it is due.
    sleep(520 * SECOND).await;
    assert!(world.fetched.lock().unwrap().len() >= 300);
    world.fetched.lock().unwrap().clear();
    sleep(300 * SECOND).await;
    assert!(world.most_fetches_in_a_second() <= FETCHES);
    // The keys serve meanwhile, and are refreshed as soon as the host responds again.
    for issuer in 0..300 {
        let token = world.good_token(issuer, 0);
        world.ask(&token, "client").await.unwrap();
    }
    world.fails.store(false, Ordering::Relaxed);
    sleep(150 * SECOND).await;
    assert!(world.most_fetches_in_a_second() <= FETCHES);
}

//! Simulates a week of key rotations, outages and restarts in paused time.
//!
//! Tokens arrive all the time: of the signing key, of other published keys, of withdrawn keys and
//! of keys that never existed. The events and their times are drawn from a seed, which a failure
//! reports.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use tokio::time::{Instant, sleep};
use tower_introspect::{
    Blame, ErrorKind,
    clock::UnixTime,
    credentials::Token,
    jose::{Algorithm, SigningKey},
    jwt::JwtVerifier,
    test_util::{AuthorizationServer, Endpoint, Fault, TestClock},
    verify::{ActiveToken, Outcome, Verifier, VerifyRequest},
};

use crate::support::{AUDIENCE, ISSUER};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

// The budgets that docs/operations.md states.

/// Keys are refreshed at 80 % of ten minutes.
const REFRESH: Duration = Duration::from_secs(8 * 60);
/// The longest duration of a fetch.
const FETCH: Duration = Duration::from_secs(3);
/// The longest pause after failures without `Retry-After`.
const PAUSE: Duration = Duration::from_secs(30);
/// The `Retry-After` of the server, if it sends one.
const RETRY_AFTER: Duration = Duration::from_secs(120);
/// The longest pause after failures while there is nothing to verify tokens with.
const SHORT_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause between fetches for tokens that no known key verifies.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(10);

// The windows that follow from these budgets.

/// From the end of an outage until the next fetch. The fetch of the metadata and that of the keys
/// may each wait.
const HEALED: Duration = Duration::from_secs(RETRY_AFTER.as_secs() + PAUSE.as_secs() + 3);
/// From the publication of a key until its tokens are accepted.
const PUBLISHED: Duration = Duration::from_secs(UNKNOWN_KEY_PAUSE.as_secs() + FETCH.as_secs());
/// From the withdrawal of a key until its tokens are refused.
const WITHDRAWN: Duration = Duration::from_secs(REFRESH.as_secs() + FETCH.as_secs());

#[tokio::test(start_paused = true)]
async fn keys_are_verified_and_fetched_within_budgets_in_week_1() {
    week(1).await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_verified_and_fetched_within_budgets_in_week_2() {
    week(2).await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_verified_and_fetched_within_budgets_in_week_3() {
    week(3).await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_verified_and_fetched_within_budgets_in_week_4() {
    week(4).await;
}

async fn week(seed: u64) {
    let mut world = World::new(seed);
    let mut events = plan(&mut world.random);
    events.reverse();
    while world.now() < WEEK {
        while let Some((_, event)) = events.pop_if(|(at, _)| *at <= world.now()) {
            world.apply(event).await;
        }
        world.send_tokens().await;
        let pause = world.random.one_of(&[5, 30, 60, 120]);
        sleep(SECOND * pause).await;
        world.observe_fetches();
    }
    world.check_costs();
}

// Events.

#[derive(Clone, Debug)]
enum Event {
    /// The next key is published.
    Publish,
    /// The server signs with the next key from now on, published or not.
    Sign,
    /// All keys but the signing key are withdrawn.
    Withdraw,
    /// The next key replaces the signing key under the same `kid`.
    Replace,
    Fail(Endpoint, Fault, Option<Duration>),
    Recover(Endpoint),
    Restart {
        warm: bool,
    },
}

/// Returns the events of a week in order.
fn plan(random: &mut Random) -> Vec<(Duration, Event)> {
    let mut events = Vec::new();
    let mut at = HOUR;
    while at < WEEK {
        match random.below(5) {
            // A planned rotation: the key is published before it is used.
            0 => {
                events.push((at, Event::Publish));
                events.push((at + HOUR, Event::Sign));
                events.push((at + 3 * HOUR, Event::Withdraw));
            }
            1 => {
                events.push((at, Event::Publish));
                events.push((at, Event::Sign));
                events.push((at + 2 * HOUR, Event::Withdraw));
            }
            // An emergency rotation.
            2 => {
                events.push((at, Event::Publish));
                events.push((at, Event::Sign));
                events.push((at, Event::Withdraw));
            }
            // The key is published late.
            3 => {
                events.push((at, Event::Sign));
                events.push((at + 90 * SECOND, Event::Publish));
                events.push((at + 2 * HOUR, Event::Withdraw));
            }
            _ => events.push((at, Event::Replace)),
        }
        at += 4 * HOUR + MINUTE * random.below(12 * 60);
    }
    for endpoint in [Endpoint::Jwks, Endpoint::Discovery] {
        let mut at = MINUTE * random.below(12 * 60);
        while at < WEEK {
            let (fault, asks) = random.fault();
            events.push((at, Event::Fail(endpoint, fault, asks)));
            at += MINUTE * random.one_of(&[1, 5, 30, 120, 360]);
            events.push((at, Event::Recover(endpoint)));
            at += HOUR + MINUTE * random.below(12 * 60);
        }
    }
    let mut at = Duration::ZERO;
    while at < WEEK {
        at += 4 * HOUR + MINUTE * random.below(24 * 60);
        events.push((at, Event::Restart { warm: random.below(2) == 0 }));
    }
    events.sort_by_key(|(at, _)| *at);
    events
}

// The simulated world.

/// A key of the server, and its history at the verifier.
struct Key {
    signing: SigningKey,
    published: Option<Duration>,
    withdrawn: Option<Duration>,
    /// The fact of the first accepted token of this key.
    fact: Option<ActiveToken>,
    /// The verifier has fetched a key set without this key.
    dropped: bool,
}

impl Key {
    fn is_published(&self) -> bool {
        self.published.is_some() && self.withdrawn.is_none()
    }
}

/// The outages of an endpoint.
#[derive(Default)]
struct Outages {
    down: bool,
    /// When the latest outage ended, plus the pause that its failures may still cause.
    healed: Duration,
    failures_ask_for: Option<Duration>,
    outages: usize,
    /// The total duration of the outages.
    total: Duration,
    since: Duration,
}

struct World {
    seed: u64,
    random: Random,
    start: Instant,
    server: AuthorizationServer,
    clock: TestClock,
    verifier: JwtVerifier,
    keys: Vec<Key>,
    /// The index of the signing key.
    signer: usize,
    jwks: Outages,
    discovery: Outages,
    /// The verifier has loaded keys.
    warm: bool,
    /// The number of key fetches at the latest call of `observe_fetches`.
    observed_fetches: usize,
    restarts: usize,
    unknown: usize,
    accepted: usize,
    refused: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = TestClock::new(UnixTime::from_secs(1_800_000_000));
        let server = AuthorizationServer::new(ISSUER).with_clock(clock.clone());
        let keys = server.jwks();
        for key in keys["keys"].as_array().unwrap() {
            server.remove_key(key["kid"].as_str().unwrap());
        }
        let verifier = verifier(&server, &clock);
        let mut world = Self {
            seed,
            random: Random(seed),
            start: Instant::now(),
            server,
            clock,
            verifier,
            keys: Vec::new(),
            signer: 0,
            jwks: Outages::default(),
            discovery: Outages::default(),
            warm: false,
            observed_fetches: 0,
            restarts: 0,
            unknown: 0,
            accepted: 0,
            refused: 0,
        };
        world.next_key(None);
        world.publish(0);
        world
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn outages_of(&mut self, endpoint: Endpoint) -> &mut Outages {
        if endpoint == Endpoint::Jwks { &mut self.jwks } else { &mut self.discovery }
    }

    async fn apply(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Publish => {
                let next = self.next();
                self.publish(next);
            }
            Event::Sign => self.signer = self.next(),
            Event::Withdraw => {
                let signer = self.signer;
                for at in (0..self.keys.len()).filter(|at| *at != signer) {
                    self.withdraw(at);
                }
            }
            Event::Replace => {
                let kid = self.keys[self.signer].signing.kid().unwrap().to_owned();
                self.withdraw(self.signer);
                self.signer = self.next_key(Some(kid));
                self.publish(self.signer);
            }
            Event::Fail(endpoint, fault, asks) => {
                self.server.inject(endpoint, fault);
                let outages = self.outages_of(endpoint);
                (outages.down, outages.since, outages.failures_ask_for) = (true, now, asks);
                outages.outages += 1;
            }
            Event::Recover(endpoint) => {
                self.server.clear(endpoint);
                let outages = self.outages_of(endpoint);
                outages.down = false;
                outages.total += now - outages.since;
                outages.healed = now + outages.failures_ask_for.unwrap_or(PAUSE) + PAUSE + FETCH;
                assert!(outages.healed <= now + HEALED);
            }
            Event::Restart { warm } => {
                self.restarts += 1;
                self.verifier = verifier(&self.server, &self.clock);
                self.warm = false;
                for key in &mut self.keys {
                    key.fact = None;
                    // A verifier that starts now never gets this key.
                    key.dropped = key.withdrawn.is_some();
                }
                if warm && self.verifier.warm().await.is_ok() {
                    self.warm = true;
                }
            }
        }
        self.observed_fetches = self.server.calls(Endpoint::Jwks);
    }

    /// Returns the next key: the latest one if it is not in use yet.
    fn next(&mut self) -> usize {
        let latest = self.keys.len() - 1;
        if latest == self.signer && self.keys[latest].is_published() {
            return self.next_key(None);
        }
        latest
    }

    fn next_key(&mut self, kid: Option<String>) -> usize {
        let kid = kid.unwrap_or_else(|| format!("key-{}", self.keys.len()));
        let signing = self.random.key().with_kid(kid);
        let (published, withdrawn, fact) = (None, None, None);
        self.keys.push(Key { signing, published, withdrawn, fact, dropped: false });
        self.keys.len() - 1
    }

    fn publish(&mut self, at: usize) {
        let now = self.now();
        let key = &mut self.keys[at];
        assert!(key.published.is_none(), "a key is published once");
        key.published = Some(now);
        self.server.publish_key(key.signing.public_jwk().unwrap());
    }

    fn withdraw(&mut self, at: usize) {
        let now = self.now();
        let key = &mut self.keys[at];
        if key.is_published() {
            key.withdrawn = Some(now);
            self.server.remove_key(key.signing.kid().unwrap());
        }
    }

    /// Marks withdrawn keys as dropped after a fetch without them.
    fn observe_fetches(&mut self) {
        let calls = self.server.calls(Endpoint::Jwks);
        if calls == self.observed_fetches {
            return;
        }
        self.observed_fetches = calls;
        if self.jwks.down {
            return;
        }
        // The endpoint was up and its keys did not change since the last call, so the fetch
        // returned them.
        for key in self.keys.iter_mut().filter(|key| key.withdrawn.is_some()) {
            key.dropped = true;
        }
    }

    // Tokens.

    async fn send_tokens(&mut self) {
        self.present(self.signer).await;
        for at in (0..self.keys.len()).rev().take(4) {
            let key = &self.keys[at];
            // Rarely once it is dropped: each such token causes a fetch, which would hide the
            // periodic fetches.
            let odds = if key.dropped { 200 } else { 4 };
            let used = at != self.signer && key.published.is_some();
            if used && self.random.below(odds) == 0 {
                self.present(at).await;
            }
        }
        // An attacker sends unknown keys in the weeks with an even seed.
        if self.seed.is_multiple_of(2) && self.random.below(10) == 0 {
            let kid = format!("none-{}", self.random.draw());
            let token = self.token(&self.keys[self.signer].signing.clone().with_kid(kid));
            self.unknown += 1;
            let refused = self.verify(&token).await.unwrap_err();
            let expected = [ErrorKind::UnknownKey, ErrorKind::KeyPending];
            assert!(expected.contains(&refused.kind()) || !self.is_healthy(), "{refused:?}");
        }
    }

    fn token(&self, key: &SigningKey) -> String {
        self.server.jwt().audience(AUDIENCE).signed_with(key.clone()).mint()
    }

    async fn verify(&mut self, token: &str) -> Outcome {
        let outcome = self.verifier.verify(VerifyRequest::new(Token::bearer(token).unwrap())).await;
        self.warm |= outcome.is_ok();
        outcome
    }

    fn is_healthy(&self) -> bool {
        let now = self.now();
        let up = |outages: &Outages| !outages.down && now >= outages.healed;
        up(&self.jwks) && (self.warm || up(&self.discovery))
    }

    async fn present(&mut self, at: usize) {
        // Conditions that hold before and after the verification hold during it.
        let before = self.now();
        let healthy_before = self.is_healthy();
        let warm_before = self.warm;
        let token = self.token(&self.keys[at].signing);
        if self.keys[at].fact.is_none() {
            self.unknown += 1;
        }
        let outcome = self.verify(&token).await;
        let seed = self.seed;
        let healed = match warm_before {
            true => self.jwks.healed,
            false => self.jwks.healed.max(self.discovery.healed),
        };
        let key = &mut self.keys[at];
        let facts = format!(
            "seed {seed} at {before:?}: key {at} published {:?} withdrawn {:?} dropped {} \
             seen {} warm {warm_before} healthy {healthy_before} healed {healed:?}: {outcome:?}",
            key.published,
            key.withdrawn,
            key.dropped,
            key.fact.is_some(),
        );
        match outcome {
            Ok(fact) => {
                self.accepted += 1;
                assert!(key.published.is_some(), "key was never published: {facts}");
                assert!(!key.dropped, "key was dropped by a fetch: {facts}");
                if let Some(withdrawn) = key.withdrawn {
                    let refused_from = withdrawn.max(self.jwks.healed) + WITHDRAWN;
                    assert!(self.jwks.down || before < refused_from, "key was withdrawn: {facts}");
                }
                assert!(!fact.is_retired(), "{facts}");
                key.fact.get_or_insert(fact);
            }
            Err(refused) => {
                self.refused += 1;
                if key.is_published() {
                    let published = key.published.unwrap_or_default();
                    let within = before < published.max(healed) + PUBLISHED;
                    assert!(key.fact.is_none(), "key was known: {facts}");
                    assert!(!healthy_before || within, "outside of the windows: {facts}");
                    // Missing keys are the fault of the server.
                    let late = !self.warm || healthy_before;
                    assert!(!late || refused.blame() == Blame::AuthorizationServer, "{facts}");
                }
            }
        }
        // Facts are retired with their keys only.
        for (at, key) in self.keys.iter().enumerate() {
            let Some(fact) = &key.fact else { continue };
            if key.dropped {
                assert!(fact.is_retired(), "seed {seed} at {before:?}: key {at} is dropped");
            }
            if key.withdrawn.is_none() {
                assert!(!fact.is_retired(), "seed {seed} at {before:?}: key {at} is published");
            }
        }
    }

    // Costs.

    fn check_costs(&self) {
        let fetches = self.server.calls(Endpoint::Jwks);
        let metadata = self.server.calls(Endpoint::Discovery);
        let in_steps = |time: Duration, step: Duration| {
            usize::try_from(time.as_secs() / step.as_secs()).unwrap() + 1
        };
        let outages = self.jwks.outages + self.discovery.outages;
        let down = self.jwks.total + self.discovery.total;
        let regular = in_steps(WEEK, REFRESH) + self.restarts;
        // One every 5 s during an outage at worst, and a few more until the pauses have grown.
        let failures = in_steps(down, SHORT_PAUSE) + 8 * outages;
        let most = regular + self.unknown + failures;
        // Two documents for each fetch: hourly, after restarts, after failures, and once a minute
        // while the keys are malformed.
        let failures = in_steps(self.discovery.total, SHORT_PAUSE) + 8 * self.discovery.outages;
        let doubts = in_steps(self.jwks.total, MINUTE) + self.jwks.outages;
        let documents = 2 * (in_steps(WEEK, HOUR) + self.restarts + failures + doubts);
        println!(
            "seed {}: {} keys, {outages} outages of {} h in all, {} restarts, {} tokens accepted, {} \
             refused; {fetches} fetches of keys (at most {most}), {metadata} of metadata (at most \
             {documents})",
            self.seed,
            self.keys.len(),
            down.as_secs() / 3600,
            self.restarts,
            self.accepted,
            self.refused,
        );
        assert!(fetches <= most, "seed {}: {fetches} fetches of keys", self.seed);
        assert!(metadata <= documents, "seed {}: {metadata} fetches of metadata", self.seed);
        // The week had enough events to prove something.
        assert!(self.keys.len() > 5 && outages > 10 && self.restarts > 3, "seed {}", self.seed);
        assert!(self.accepted > 8000 && self.refused > 20, "seed {}", self.seed);
        assert!(self.server.unmatched_requests().is_empty(), "seed {}", self.seed);
    }
}

fn verifier(server: &AuthorizationServer, clock: &TestClock) -> JwtVerifier {
    let builder = JwtVerifier::builder(ISSUER).transport(server.transport());
    builder.clock(clock.clone()).build().unwrap()
}

/// A linear congruential generator of 64 bits, of which the upper half is used.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 32).unwrap()
    }

    fn below(&mut self, end: u32) -> u32 {
        self.draw() % end
    }

    fn one_of(&mut self, values: &[u32]) -> u32 {
        let at = self.below(u32::try_from(values.len()).unwrap());
        values[at as usize]
    }

    /// Returns a fault and its `Retry-After`.
    fn fault(&mut self) -> (Fault, Option<Duration>) {
        let asking = |status| Fault::status(status).with_retry_after(RETRY_AFTER);
        match self.below(8) {
            0 => (Fault::unreachable(), None),
            1 => (Fault::hang(), None),
            2 => (Fault::status(StatusCode::INTERNAL_SERVER_ERROR), None),
            3 => (asking(StatusCode::TOO_MANY_REQUESTS), Some(RETRY_AFTER)),
            4 => (asking(StatusCode::SERVICE_UNAVAILABLE), Some(RETRY_AFTER)),
            5 => (Fault::html(), None),
            6 => (Fault::garbage(), None),
            _ => (Fault::close(), None),
        }
    }

    /// An Ed25519 key (RFC 8410 §7).
    fn key(&mut self) -> SigningKey {
        let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
        der.extend((0..8).flat_map(|_| self.draw().to_be_bytes()));
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der)
        );
        SigningKey::from_pem(Algorithm::EdDSA, pem.as_bytes()).unwrap()
    }
}

//! Clients, a resource server and an authorization server in Tokio's paused time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::{task::JoinSet, time::Instant};
use tower_introspect::{
    Blame, ClientAuth, ErrorKind, Issuer, ResourceServer,
    credentials::Token,
    transport::{HttpTransport, TransportError, TransportErrorKind},
    upstream::MissBudgetLayer,
    verify::{BoxVerifier, BreakerState, Freshness, Outcome, PeerKey, Verifier, VerifyRequest},
};

use crate::random::split_mix;

/// The share of the traffic of a whole service that is simulated, to save time. Clients, rates and
/// permits are scaled alike.
const SCALE: f64 = 0.2;

/// The timeout of an introspection.
const TIMEOUT: f64 = 3.0;

pub(super) fn scaled(number: u32) -> f64 {
    f64::from(number) * SCALE
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.max(0.0))
}

/// The response to an introspection request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Active,
    Inactive,
    NoConnection,
    NoResponse,
    Status(u16),
    TooMany {
        retry_after: u32,
    },
    InvalidClient,
    /// An OAuth error that calls the token invalid.
    InvalidToken,
    Html,
}

/// An introspection request: the words of its token, and when it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// `good`, `junk`, `canary`, ..
    pub(super) kind: String,
    pub(super) tenant: usize,
    /// Seconds since the start.
    pub(super) at: f64,
    /// A random number between 0 and 1.
    pub(super) dice: f64,
}

impl Asked {
    pub(super) fn is(&self, kind: &str) -> bool {
        self.kind == kind
    }
}

/// A server that answers after a time in seconds.
pub(super) trait Server: Fn(&Asked) -> (f64, Reply) + Send + Sync + 'static {}

impl<F: Fn(&Asked) -> (f64, Reply) + Send + Sync + 'static> Server for F {}

/// Answers after about `latency`: tokens of attackers are inactive.
pub(super) fn fine(latency: f64) -> impl Fn(&Asked) -> (f64, Reply) {
    move |asked| {
        let active = ["good", "own", "revoked", "seven", "eager", "evil"];
        let active = active.contains(&asked.kind.as_str());
        let time = (0.5 + asked.dice) * latency;
        (time, if active { Reply::Active } else { Reply::Inactive })
    }
}

/// Answers `reply` from `since` until `until` where `when` holds, and well otherwise.
pub(super) fn away(
    reply: Reply,
    since: f64,
    until: f64,
    when: impl Fn(&Asked) -> bool + Send + Sync + 'static,
) -> impl Server {
    let well = fine(0.02);
    move |asked: &Asked| {
        let hits = since <= asked.at && asked.at < until && when(asked);
        if hits { (0.02, reply) } else { well(asked) }
    }
}

/// The settings of a town.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    pub(super) stale: f64,
    pub(super) permits: usize,
    pub(super) tenants: usize,
    pub(super) own_canary: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let permits = (64.0 * SCALE).round() as usize;
        Self { stale: 60.0, permits, tenants: 1, own_canary: false }
    }
}

/// A client with one token.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) token: String,
    pub(super) peer: Option<PeerKey>,
    pub(super) kind: &'static str,
}

/// How a client's address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peers {
    /// Each client has an address.
    Own,
    /// All come from one, such as a load balancer.
    One,
    Unknown,
}

/// Good clients, each with a subject of its own.
pub(super) fn people(count: f64, peers: Peers, tenants: usize) -> Vec<Client> {
    (0..count.max(1.0) as usize)
        .map(|number| Client {
            token: format!("t{}-good-{number}", number % tenants),
            peer: match peers {
                Peers::Own => Some(PeerKey::new(("home", number))),
                Peers::One => Some(PeerKey::new("balancer")),
                Peers::Unknown => None,
            },
            kind: "good",
        })
        .collect()
}

#[derive(Default)]
struct Seen {
    outcomes: HashMap<(&'static str, String), usize>,
    /// The outcomes of good requests, with their numbers.
    good: Vec<(usize, String)>,
    refused_good: usize,
    /// The times of good requests, in seconds.
    times: Vec<f64>,
    last_admitted: HashMap<&'static str, f64>,
    calls: HashMap<u64, usize>,
    asked: HashMap<String, usize>,
    canaries: Vec<f64>,
    /// `None` unless the breaker is watched.
    breaker: Option<Breaker>,
    at_once: usize,
    most_at_once: usize,
}

pub(super) struct Town {
    verifier: BoxVerifier,
    api: ResourceServer,
    seen: Arc<Mutex<Seen>>,
    start: Instant,
    tasks: JoinSet<()>,
    seed: u64,
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap()
}

/// Returns a number between 0 and 1.
pub(super) fn random(seed: &mut u64) -> f64 {
    (split_mix(seed) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The breaker of the one issuer, as seen before each request to the server and after each outcome.
/// Only a request sent after an opening can end it, so none is missed.
struct Breaker {
    api: ResourceServer,
    is_open: bool,
    openings: usize,
}

impl Breaker {
    fn look(&mut self) {
        let is_open = self.api.stats().breaker == BreakerState::Open;
        self.openings += usize::from(is_open && !self.is_open);
        self.is_open = is_open;
    }
}

/// A request under way at the server.
struct AtServer(Arc<Mutex<Seen>>);

impl Drop for AtServer {
    fn drop(&mut self) {
        let mut seen = lock(&self.0);
        // What was seen may have been taken before the request ended.
        seen.at_once = seen.at_once.saturating_sub(1);
    }
}

fn transport(server: impl Server, seen: Arc<Mutex<Seen>>, start: Instant) -> HttpTransport {
    let (server, seed) = (Arc::new(server), Arc::new(Mutex::new(7)));
    HttpTransport::new(tower::service_fn(move |request: Request<Bytes>| {
        let (server, seed, seen) = (Arc::clone(&server), Arc::clone(&seed), Arc::clone(&seen));
        async move {
            let form = std::str::from_utf8(request.body()).unwrap();
            let token = form.split('&').find_map(|field| field.strip_prefix("token=")).unwrap();
            let host = request.uri().path().trim_start_matches("/t").split('/').next().unwrap();
            let kind = if token.starts_with("tower-introspect-canary-") {
                "canary"
            } else {
                token.split('-').nth(1).unwrap()
            };
            let asked = Asked {
                kind: kind.to_owned(),
                tenant: host.parse().unwrap_or(0),
                at: start.elapsed().as_secs_f64(),
                dice: random(&mut seed.lock().unwrap()),
            };
            let at_server = {
                let mut seen = lock(&seen);
                seen.look();
                *seen.calls.entry(asked.at as u64).or_default() += 1;
                *seen.asked.entry(asked.kind.clone()).or_default() += 1;
                if kind == "canary" || kind == "own" {
                    seen.canaries.push(asked.at);
                    None
                } else {
                    seen.at_once += 1;
                    seen.most_at_once = seen.most_at_once.max(seen.at_once);
                    Some(())
                }
            };
            let _under_way = at_server.map(|()| AtServer(Arc::clone(&seen)));
            let (time, reply) = server(&asked);
            if reply == Reply::NoResponse {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(seconds(time)).await;
            respond(reply)
        }
    }))
}

fn respond(reply: Reply) -> Result<Response<Bytes>, TransportError> {
    let json = |status: u16, body: &'static str| {
        let response =
            Response::builder().status(status).header("content-type", "application/json");
        Ok(response.body(Bytes::from_static(body.as_bytes())).unwrap())
    };
    match reply {
        Reply::Active => json(200, r#"{"active":true,"aud":"https://api.example.com"}"#),
        Reply::Inactive => json(200, r#"{"active":false}"#),
        Reply::InvalidClient => json(401, r#"{"error":"invalid_client"}"#),
        Reply::InvalidToken => json(400, r#"{"error":"invalid_token"}"#),
        Reply::NoConnection => Err(TransportError::new(TransportErrorKind::Connect)),
        Reply::NoResponse => unreachable!("it never responds"),
        Reply::Html => {
            let response = Response::builder().header("content-type", "text/html");
            Ok(response.body(Bytes::from_static(b"<p>Please sign in.")).unwrap())
        }
        Reply::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            Ok(Response::builder().status(status).body(Bytes::new()).unwrap())
        }
        Reply::TooMany { retry_after } => {
            let response = Response::builder().status(429).header("retry-after", retry_after);
            Ok(response.body(Bytes::new()).unwrap())
        }
    }
}

impl Town {
    pub(super) fn new(server: impl Server) -> Self {
        Self::with(server, Settings::default())
    }

    pub(super) fn with(server: impl Server, settings: Settings) -> Self {
        let (seen, start) = (Arc::<Mutex<Seen>>::default(), Instant::now());
        let transport = transport(server, Arc::clone(&seen), start);
        let mut builder = ResourceServer::builder("https://api.example.com")
            .transport(transport)
            .cache_capacity(50_000, 1 << 30)
            .stale_if_error(seconds(settings.stale))
            .max_concurrent_introspections(settings.permits)
            .miss_budget(MissBudgetLayer::new(20, Duration::from_secs(1)), |_| None);
        for tenant in 0..settings.tenants {
            let own = settings.own_canary;
            let issuer = format!("https://as.example.com/t{tenant}");
            let issuer = Issuer::introspect(issuer, ClientAuth::basic("api", "secret"))
                .token_prefix(format!("t{tenant}-"))
                .configure_introspection(move |introspection| {
                    let endpoint = format!("https://as.example.com/t{tenant}/introspect");
                    let introspection = introspection.endpoint(endpoint).timeout(seconds(TIMEOUT));
                    if own {
                        introspection.canary_token(|| Token::bearer("t0-own-canary"))
                    } else {
                        introspection
                    }
                });
            builder = builder.issuer(issuer);
        }
        let api = builder.build().unwrap();
        let verifier = api.verifier();
        // With many issuers it would take too long.
        if settings.tenants == 1 {
            let breaker = Breaker { api: api.clone(), is_open: false, openings: 0 };
            lock(&seen).breaker = Some(breaker);
        }
        Self { verifier, api, seen, start, tasks: JoinSet::new(), seed: 1 }
    }

    /// Sends requests of random clients at `rate` a second, at random times or at regular ones.
    pub(super) fn ask(
        &mut self,
        clients: Vec<Client>,
        rate: f64,
        (since, until): (f64, f64),
        regular: bool,
    ) {
        self.ask_with(clients, rate, (since, until), regular, Freshness::Cached);
    }

    pub(super) fn ask_live(&mut self, clients: Vec<Client>, rate: f64, time: (f64, f64)) {
        self.ask_with(clients, rate, time, false, Freshness::Live);
    }

    /// Sends requests of each client in turn at regular times.
    pub(super) fn ask_in_turn(&mut self, clients: Vec<Client>, rate: f64, time: (f64, f64)) {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let next = move |_: &mut u64| {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            clients[number % clients.len()].clone()
        };
        self.generate(next, rate, time, true, Freshness::Cached);
    }

    fn ask_with(
        &mut self,
        clients: Vec<Client>,
        rate: f64,
        (since, until): (f64, f64),
        regular: bool,
        freshness: Freshness,
    ) {
        let clients = Arc::new(clients);
        let next = move |seed: &mut u64| {
            let index = (random(seed) * clients.len() as f64) as usize;
            clients[index].clone()
        };
        self.generate(next, rate, (since, until), regular, freshness);
    }

    /// Sends a token never seen before with each request, from `peers` addresses, to each tenant in
    /// turn.
    pub(super) fn send_new(
        &mut self,
        kind: &'static str,
        rate: f64,
        time: (f64, f64),
        peers: Option<usize>,
        tenants: usize,
    ) {
        self.send_from(kind, rate, time, tenants, move |number| {
            peers.map(|peers| PeerKey::new((kind, number % peers)))
        });
    }

    /// Does so from the peers that `peer` returns.
    pub(super) fn send_from(
        &mut self,
        kind: &'static str,
        rate: f64,
        time: (f64, f64),
        tenants: usize,
        peer: impl Fn(usize) -> Option<PeerKey> + Send + 'static,
    ) {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let next = move |_: &mut u64| {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let token = format!("t{}-{kind}-{number}", number % tenants);
            Client { token, peer: peer(number), kind }
        };
        self.generate(next, rate, time, true, Freshness::Cached);
    }

    /// Sends new tokens at a time, each from an address of its own, and resets the requests as soon
    /// as they were sent.
    pub(super) fn send_and_reset(&mut self, kind: &'static str, count: usize, at: f64) {
        let (verifier, start) = (self.verifier.clone(), self.start);
        self.tasks.spawn(async move {
            tokio::time::sleep_until(start + seconds(at)).await;
            for number in 0..count {
                let token = Token::bearer(&format!("t0-{kind}-{number}")).unwrap();
                let peer = PeerKey::new((kind, number));
                let mut request = verifier.verify(VerifyRequest::new(token).with_peer(peer));
                let sent = futures_util::future::poll_immediate(&mut request).await;
                assert!(sent.is_none_or(|outcome| outcome.is_err()));
                tokio::task::yield_now().await;
            }
        });
    }

    fn generate(
        &mut self,
        next_client: impl Fn(&mut u64) -> Client + Send + 'static,
        rate: f64,
        (since, until): (f64, f64),
        regular: bool,
        freshness: Freshness,
    ) {
        let (verifier, seen, start) = (self.verifier.clone(), Arc::clone(&self.seen), self.start);
        self.seed += 1;
        let mut seed = self.seed << 32;
        self.tasks.spawn(async move {
            let mut requests = JoinSet::new();
            let (mut at, mut number) = (since, 0);
            while at < until {
                tokio::time::sleep_until(start + seconds(at)).await;
                let client = next_client(&mut seed);
                number += 1;
                let (verifier, seen) = (verifier.clone(), Arc::clone(&seen));
                requests.spawn(async move {
                    let came = Instant::now();
                    let mut request = VerifyRequest::new(Token::bearer(&client.token).unwrap())
                        .with_freshness(freshness);
                    if let Some(peer) = client.peer {
                        request = request.with_peer(peer);
                    }
                    let outcome = verifier.verify(request).await;
                    lock(&seen).note(client.kind, number, &outcome, came, start);
                });
                while requests.try_join_next().is_some() {}
                at += if regular { 1.0 / rate } else { -(1.0 - random(&mut seed)).ln() / rate };
            }
            while requests.join_next().await.is_some() {}
        });
    }

    /// Runs until all requests have ended.
    pub(super) async fn run(mut self) -> Report {
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        drop(self.api);
        let seen = std::mem::take(&mut *lock(&self.seen));
        Report { seen }
    }
}

impl Seen {
    fn look(&mut self) {
        if let Some(breaker) = &mut self.breaker {
            breaker.look();
        }
    }

    fn note(
        &mut self,
        kind: &'static str,
        number: usize,
        outcome: &Outcome,
        came: Instant,
        start: Instant,
    ) {
        self.look();
        let word = match outcome {
            Ok(active) if active.is_stale() => "stale".to_owned(),
            Ok(_) => "ok".to_owned(),
            Err(error) => {
                let context = error.context().unwrap_or_default();
                let refused =
                    error.blame() == Blame::Client && error.kind() != ErrorKind::TooManyRequests;
                self.refused_good += usize::from(kind == "good" && refused);
                format!("{} ({context})", error.kind().reason())
            }
        };
        if kind == "good" {
            self.good.push((number, word.clone()));
            self.times.push(came.elapsed().as_secs_f64());
        }
        *self.outcomes.entry((kind, word)).or_default() += 1;
        if outcome.is_ok() {
            self.last_admitted.insert(kind, start.elapsed().as_secs_f64());
        }
    }
}

/// The record of a run.
pub(super) struct Report {
    seen: Seen,
}

impl Report {
    /// Returns the share of good requests that were not admitted.
    pub(super) fn lost(&self) -> f64 {
        let good = self.seen.outcomes.iter().filter(|((kind, _), _)| *kind == "good");
        let (mut all, mut admitted) = (0, 0);
        for ((_, outcome), count) in good {
            all += count;
            admitted += if matches!(outcome.as_str(), "ok" | "stale") { *count } else { 0 };
        }
        assert!(all > 0, "no good client asked");
        1.0 - admitted as f64 / all as f64
    }

    /// Asserts what holds in every situation, and that at most a share `lost` of good requests were
    /// lost.
    #[track_caller]
    pub(super) fn check(&self, title: &str, lost: f64, permits: usize) {
        let seen = self.lost();
        let how: Vec<_> =
            self.seen.outcomes.iter().filter(|((kind, _), _)| *kind == "good").collect();
        println!("{title}: lost {:.2} % (<= {:.2} %) {how:?}", 100.0 * seen, 100.0 * lost);
        assert!(seen <= lost, "{title}: lost {seen} of the good requests: {how:?}");
        assert_eq!(self.seen.refused_good, 0, "{title}: good tokens were called bad: {how:?}");
        assert!(self.canaries_in_a_second() <= 1, "{title}: {:?}", self.seen.canaries);
        let most = self.seen.most_at_once;
        assert!(most <= permits, "{title}: {most} introspections at once");
    }

    /// Asserts that the breaker opened at most so many times.
    #[track_caller]
    pub(super) fn check_openings(&self, title: &str, most: usize) {
        let openings = self.seen.breaker.as_ref().map(|breaker| breaker.openings);
        println!("{title}: {openings:?} openings (<= {most})");
        assert!(openings.is_some_and(|seen| seen <= most), "{title}: {openings:?} openings");
    }

    fn canaries_in_a_second(&self) -> usize {
        let canaries = &self.seen.canaries;
        let within =
            |at: &f64| canaries.iter().filter(|one| *at <= **one && **one < at + 0.999).count();
        canaries.iter().map(within).max().unwrap_or(0)
    }

    /// Returns what the good requests got, in the order in which they were sent.
    pub(super) fn good_answers(mut self) -> Vec<String> {
        self.seen.good.sort_unstable();
        self.seen.good.into_iter().map(|(_, answer)| answer).collect()
    }

    /// Returns the introspections a second, canaries included, on average.
    pub(super) fn calls_a_second(&self, since: u64, until: u64) -> f64 {
        let calls = (since..until).filter_map(|second| self.seen.calls.get(&second)).sum::<usize>();
        calls as f64 / (until - since) as f64
    }

    /// Returns the introspections of tokens of a kind.
    pub(super) fn asked(&self, kind: &str) -> usize {
        self.seen.asked.get(kind).copied().unwrap_or(0)
    }

    /// Returns the time at which a client of this kind was admitted last.
    pub(super) fn last_admitted(&self, kind: &str) -> f64 {
        self.seen.last_admitted.get(kind).copied().unwrap_or(0.0)
    }

    /// Returns the time within which this share of the good requests had an answer.
    pub(super) fn time_of(&self, share: f64) -> f64 {
        let mut times = self.seen.times.clone();
        times.sort_by(f64::total_cmp);
        let last = times.len() - 1;
        times[((times.len() as f64 * share) as usize).min(last)]
    }

    /// Returns the introspections, canaries included.
    pub(super) fn calls(&self) -> usize {
        self.seen.calls.values().sum()
    }

    /// Returns how many requests of a kind had this outcome.
    pub(super) fn count(&self, kind: &str, word: &str) -> usize {
        let those = self.seen.outcomes.iter();
        those
            .filter(|((of, outcome), _)| *of == kind && outcome.starts_with(word))
            .map(|(_, n)| n)
            .sum()
    }
}

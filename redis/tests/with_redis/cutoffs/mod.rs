//! Cutoffs that instances share.

mod faults;
mod fleet;
mod hostile;
mod told;

use std::{
    convert::Infallible,
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use redis::aio::{ConnectionLike, ConnectionManager, MultiplexedConnection};
use testing::host::PATIENCE;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_introspect::{
    ClientAuth, Issuer, ResourceServer,
    revocation::{Cutoff, FeedState},
    test_util::{AuthorizationServer, Client, TestClock},
};
use tower_introspect_redis::{RedisTier, SharedSecret};

use crate::server::{LONG, Server, send};

const API: &str = "https://api.example.com";
const AS: &str = "https://as.example.com";
const SECRET: [u8; 32] = [7; 32];

const DAY: Duration = Duration::from_secs(24 * 3600);

fn secret() -> SharedSecret {
    SharedSecret::new(&SECRET).expect("it is long enough")
}

/// The authorization server of the tests.
fn authorization() -> AuthorizationServer {
    AuthorizationServer::new(AS)
        .with_clock(TestClock::pinned(testing::clock::NOW))
        .with_client(Client::new("api", "api-secret"))
}

/// Starts a Redis, and an authorization server, or says that the test is skipped.
async fn world() -> Option<(Server, AuthorizationServer)> {
    Some((Server::start(&[]).await?, authorization()))
}

/// Starts two instances, and waits until each knows the cutoffs of the other.
async fn two(
    server: &Server,
    authorization: &AuthorizationServer,
    change: fn(RedisTier<ConnectionManager>) -> RedisTier<ConnectionManager>,
) -> (Instance, Instance) {
    let start = || Instance::with(server, authorization, change);
    let (one, other) = (start(), start());
    one.is_current().await;
    other.is_current().await;
    (one, other)
}

/// An issuer whose tokens are introspected.
fn introspecting() -> Issuer {
    Issuer::introspect(AS, ClientAuth::basic("api", "api-secret"))
}

/// Mints a JWT for a subject.
fn jwt(authorization: &AuthorizationServer, subject: &str) -> String {
    authorization.jwt().subject(subject).audience(API).mint()
}

/// Returns the tier of an instance that connects as a user, such as `name:password@`.
fn tier_of(server: &Server, user: &str) -> RedisTier<ConnectionManager> {
    let tier = RedisTier::new(server.manager(user), secret()).feed(server.manager(user));
    tier.flush_timeout(LONG)
}

/// Leaves the settings as they are.
const fn usual<C>(tier: RedisTier<C>) -> RedisTier<C> {
    tier
}

/// Makes an instance notice at once what it does not hear. On a busy machine it may be behind at any time.
fn hasty<C>(tier: RedisTier<C>) -> RedisTier<C> {
    tier.heartbeat(Duration::from_millis(50))
}

/// The time between two messages of instances that are [`calm`].
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Makes an instance wait for longer than any test takes, unless it lets time [`pass`].
fn calm<C>(tier: RedisTier<C>) -> RedisTier<C> {
    tier.heartbeat(HEARTBEAT)
}

/// One instance of a service.
struct Instance<C = ConnectionManager> {
    api: ResourceServer,
    tier: RedisTier<C>,
    clock: TestClock,
}

impl Instance {
    fn new(server: &Server, authorization: &AuthorizationServer) -> Self {
        Self::with(server, authorization, usual)
    }

    /// Creates an instance that verifies JWTs locally.
    fn with(
        server: &Server,
        authorization: &AuthorizationServer,
        change: impl FnOnce(RedisTier<ConnectionManager>) -> RedisTier<ConnectionManager>,
    ) -> Self {
        Self::of_tier(authorization, Issuer::jwt(AS), change(tier_of(server, "")))
    }

    /// Creates an instance that introspects tokens.
    fn that_asks(server: &Server, authorization: &AuthorizationServer) -> Self {
        Self::of_tier(authorization, introspecting(), tier_of(server, ""))
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Instance<C> {
    /// Creates an instance with a clock of its own, which stands still. Facts are used for a day.
    fn of_tier(authorization: &AuthorizationServer, issuer: Issuer, tier: RedisTier<C>) -> Self {
        let clock = TestClock::pinned(testing::clock::NOW);
        let api = ResourceServer::builder(API)
            .issuer(issuer)
            .transport(authorization.transport())
            .clock(clock.clone())
            .max_age(DAY)
            .shared(tier.clone())
            .build()
            .expect("good settings");
        Self { api, tier, clock }
    }

    async fn status(&self, token: &str) -> StatusCode {
        let request = Request::get("/r")
            .header("authorization", format!("Bearer {token}"))
            .body(Bytes::new())
            .expect("good fields");
        let hello = service_fn(async |_: Request<Bytes>| {
            Ok::<_, Infallible>(Response::new(Bytes::from_static(b"hello")))
        });
        let Ok(response) = self.api.layer().layer(hello).oneshot(request).await;
        response.status()
    }

    fn state(&self) -> FeedState {
        self.api.feed_state().expect("cutoffs are shared")
    }

    /// Waits until it knows the cutoffs of the others.
    async fn is_current(&self) {
        until(async || self.state() == FeedState::Current).await;
    }

    /// Waits until it knows that it may have missed cutoffs.
    async fn is_behind(&self) {
        until(async || self.state() == FeedState::Behind).await;
    }

    fn revoke(&self, subject: &str) {
        self.api.revocations().revoke(&Cutoff::subject(AS, subject));
    }

    /// Revokes the tokens of a subject, and waits until the others can know it.
    async fn tells(&self, subject: &str) {
        self.revoke(subject);
        self.api.revocations().flush().await.expect("it is told");
    }

    /// Waits until it has this cutoff.
    async fn knows(&self, subject: &str) {
        until(async || self.knows_now(subject)).await;
    }

    fn knows_now(&self, subject: &str) -> bool {
        !self.api.revocations().in_force_for(&Cutoff::subject(AS, subject), 1).is_empty()
    }

    /// Returns the kinds, values and times of all cutoffs, in one order.
    fn cutoffs(&self) -> Vec<String> {
        let list = self.api.revocations().in_force(usize::MAX);
        let mut all: Vec<_> = list
            .iter()
            .map(|one| format!("{} {:?} {:?}", one.kind(), one.value(), one.revoked_at()))
            .collect();
        all.sort_unstable();
        all
    }

    /// Has a token introspected that is revoked at its issuer afterwards. It is admitted until it is
    /// introspected again.
    async fn remembers(&self, authorization: &AuthorizationServer) -> String {
        let token = authorization.opaque().audience(API).expires_in(DAY).mint();
        assert_eq!(self.status(&token).await, StatusCode::OK);
        authorization.revoke(&token);
        assert_eq!(self.status(&token).await, StatusCode::OK, "it is remembered");
        token
    }
}

/// Waits until something is so. No test draws a conclusion from the time that this takes.
async fn until(is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it does not become so");
}

/// Lets time pass at once. Redis does not respond in it.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Waits until each instance has heard all of them, itself too, and has noticed what was silent until now.
///
/// Each reads what was written before another one tells something, and it does what is due between two
/// messages that it reads.
async fn all_hear_all(instances: &[&Instance]) {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    for _ in 0..3 {
        for teller in instances {
            let subject = format!("heard-{}", CALLS.fetch_add(1, Ordering::Relaxed));
            teller.tells(&subject).await;
            for instance in instances {
                instance.knows(&subject).await;
            }
        }
    }
}

/// Returns the number of entries of the map.
async fn entries(connection: &mut MultiplexedConnection) -> u64 {
    redis::cmd("HLEN").arg(MAP).query_async(connection).await.expect("a number")
}

/// Waits until the map has this number of entries.
async fn has_entries(connection: &MultiplexedConnection, count: u64) {
    until(async || entries(&mut connection.clone()).await == count).await;
}

/// Adds fields to the map that are no cutoffs.
async fn add_fakes(connection: &mut MultiplexedConnection, numbers: Range<u32>) {
    let numbers = Vec::from_iter(numbers);
    for some in numbers.chunks(1000) {
        let mut set = redis::cmd("HSET");
        set.arg(MAP);
        for n in some {
            set.arg(format!("{n:032x}")).arg("fake");
        }
        let () = set.query_async(connection).await.expect("they are added");
    }
}

/// Creates a user who may do what the documentation says, and no more.
async fn user_with_rights(admin: &mut MultiplexedConnection) -> &'static str {
    let commands = "+hset +hdel +hlen +hkeys +hgetall +hmget +hscan +xadd +xread +xrange \
                    +xrevrange +multi +exec +set";
    send(admin, &format!("ACL SETUSER api on >secret ~tower-introspect:* {commands}")).await;
    "api:secret@"
}

async fn nothing_was_denied(admin: &mut MultiplexedConnection) {
    let log: Vec<redis::Value> =
        redis::cmd("ACL").arg("LOG").query_async(admin).await.expect("a list");
    for entry in log {
        // A client names itself, and goes on if it may not.
        let entry = format!("{entry:?}");
        assert!(entry.contains("client|setinfo"), "{entry}");
    }
}

/// Returns how often Redis ran a command.
async fn calls(connection: &MultiplexedConnection, command: &str) -> u64 {
    let all = send(&mut connection.clone(), "INFO commandstats").await;
    let calls = all.split(&format!("cmdstat_{command}:calls=")).nth(1);
    let calls = calls.and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

const MAP: &str = "tower-introspect:{cutoffs:1}:map";
const LOG: &str = "tower-introspect:{cutoffs:1}:log";

//! Failures of Redis.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use redis::{
    Cmd, Pipeline, RedisFuture, Value,
    aio::{ConnectionLike, ConnectionManager, MultiplexedConnection},
    cluster::ClusterClient,
};
use tower_introspect::{Issuer, revocation::FeedState, test_util::AuthorizationServer};
use tower_introspect_redis::RedisTier;

use super::{
    AS, Instance, LOG, LONG, MAP, Server, add_fakes, authorization, calls, entries, has_entries,
    hasty, jwt, nothing_was_denied, secret, send, tier_of, two, until, user_with_rights, world,
};

/// The time after which an instance gives up waiting where Redis does not respond.
const SHORT: Duration = Duration::from_millis(20);

/// Makes an instance give up soon, and notice soon what it does not hear.
fn impatient<C>(tier: RedisTier<C>) -> RedisTier<C> {
    hasty(tier).flush_timeout(SHORT)
}

/// Waits until an instance that starts now knows as many cutoffs.
async fn later_one_knows(server: &Server, authorization: &AuthorizationServer, count: usize) {
    let later = Instance::with(server, authorization, hasty);
    until(async || later.api.revocations().len() == count).await;
    later.is_current().await;
    assert_eq!(later.api.revocations().len(), count);
}

async fn is_told<C>(instance: &Instance<C>)
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    until(async || instance.api.revocations().flush().await.is_ok()).await;
}

#[tokio::test]
async fn everything_is_told_when_redis_comes_up_that_was_down_at_start() {
    let Some(mut server) = Server::start(&[]).await else { return };
    server.kill();
    let authorization = authorization();
    let one = Instance::with(&server, &authorization, impatient);
    let token = jwt(&authorization, "alice");
    assert_eq!(one.status(&token).await, StatusCode::OK);
    for subject in ["alice", "bob", "carol"] {
        one.revoke(subject);
    }
    assert_eq!(one.status(&token).await, StatusCode::UNAUTHORIZED, "it holds here at once");
    let error = one.api.revocations().flush().await.unwrap_err();
    assert!(error.to_string().contains("could not be told in time"), "{error}");
    assert_eq!(one.state(), FeedState::Behind);
    server.restart().await;
    is_told(&one).await;
    one.is_current().await;
    assert_eq!(entries(&mut server.connection().await).await, 3);
    later_one_knows(&server, &authorization, 3).await;
}

#[tokio::test]
async fn redis_that_is_killed_and_starts_empty_gets_all_cutoffs_again() {
    let Some(mut server) = Server::start(&[]).await else { return };
    let authorization = authorization();
    let (one, other) = two(&server, &authorization, hasty).await;
    for n in 0..100 {
        one.revoke(&n.to_string());
    }
    one.tells("alice").await;
    other.knows("alice").await;
    server.kill();
    one.is_behind().await;
    other.is_behind().await;
    other.revoke("bob");
    server.restart().await;
    is_told(&other).await;
    one.knows("bob").await;
    one.is_current().await;
    other.is_current().await;
    has_entries(&server.connection().await, 102).await;
    later_one_knows(&server, &authorization, 102).await;
}

#[tokio::test]
async fn redis_that_is_restarted_several_times_gets_all_cutoffs_each_time() {
    let Some(mut server) = Server::start(&[]).await else { return };
    let authorization = authorization();
    let (one, other) = two(&server, &authorization, hasty).await;
    for n in 1..=5 {
        let teller = if n % 2 == 0 { &one } else { &other };
        teller.tells(&n.to_string()).await;
        // Nobody waits for the others to read it, nor for anybody to notice.
        server.kill();
        server.restart().await;
        has_entries(&server.connection().await, n).await;
    }
    later_one_knows(&server, &authorization, 5).await;
}

#[tokio::test]
async fn redis_that_is_suspended_loses_nothing() {
    let Some((server, authorization)) = world().await else { return };
    let one = Instance::with(&server, &authorization, impatient);
    let other = Instance::with(&server, &authorization, hasty);
    one.is_current().await;
    other.is_current().await;
    let stopped = server.stop();
    for subject in ["alice", "bob"] {
        one.revoke(subject);
        assert!(one.api.revocations().flush().await.is_err());
    }
    other.revoke("carol");
    one.is_behind().await;
    other.is_behind().await;
    drop(stopped);
    is_told(&one).await;
    is_told(&other).await;
    for subject in ["alice", "bob", "carol"] {
        one.knows(subject).await;
        other.knows(subject).await;
    }
    one.is_current().await;
    other.is_current().await;
    has_entries(&server.connection().await, 3).await;
    later_one_knows(&server, &authorization, 3).await;
}

#[tokio::test]
async fn redis_that_is_flushed_gets_all_cutoffs_again() {
    let Some((server, authorization)) = world().await else { return };
    let (one, other) = two(&server, &authorization, hasty).await;
    for n in 0..100 {
        one.revoke(&n.to_string());
    }
    one.tells("alice").await;
    other.knows("alice").await;
    let mut connection = server.connection().await;
    send(&mut connection, "FLUSHALL").await;
    other.tells("bob").await;
    one.knows("bob").await;
    has_entries(&connection, 102).await;
    later_one_knows(&server, &authorization, 102).await;
}

/// Between the response to the write and the message in the log nobody else knows the cutoff.
#[tokio::test]
async fn cutoff_that_redis_loses_before_anybody_reads_it_is_told_again() {
    let Some((server, authorization)) = world().await else { return };
    let mut admin = server.connection().await;
    send(&mut admin, "ACL SETUSER one on >secret ~* +@all").await;
    let tier = hasty(tier_of(&server, "one:secret@"));
    let one = Instance::of_tier(&authorization, Issuer::jwt(AS), tier);
    one.is_current().await;
    for (n, lose) in [(1, "FLUSHALL"), (2, &*format!("DEL {LOG} {MAP}"))] {
        send(&mut admin, "CONFIG RESETSTAT").await;
        send(&mut admin, "ACL SETUSER one -xread").await;
        // No read is under way that began before.
        server.says("INFO errorstats", "errorstat_NOPERM").await;
        one.tells(&n.to_string()).await;
        send(&mut admin, lose).await;
        send(&mut admin, "ACL SETUSER one +xread").await;
        has_entries(&admin, n).await;
    }
    later_one_knows(&server, &authorization, 2).await;
}

#[tokio::test]
async fn map_that_is_deleted_is_written_again() {
    let Some((server, authorization)) = world().await else { return };
    let (one, other) = two(&server, &authorization, hasty).await;
    for n in 0..100 {
        other.revoke(&n.to_string());
    }
    other.tells("alice").await;
    one.knows("alice").await;
    let mut connection = server.connection().await;
    send(&mut connection, &format!("DEL {MAP}")).await;
    has_entries(&connection, 101).await;
    // The instance that told them is not needed for it.
    other.tier.close().await.unwrap();
    send(&mut connection, &format!("DEL {MAP}")).await;
    has_entries(&connection, 101).await;
    later_one_knows(&server, &authorization, 101).await;
}

#[tokio::test]
async fn log_that_is_deleted_loses_nothing() {
    let Some((server, authorization)) = world().await else { return };
    let (one, other) = two(&server, &authorization, hasty).await;
    one.tells("alice").await;
    let mut connection = server.connection().await;
    for subject in ["bob", "carol"] {
        send(&mut connection, &format!("DEL {LOG}")).await;
        one.tells(subject).await;
        other.knows(subject).await;
    }
    send(&mut connection, &format!("DEL {LOG}")).await;
    later_one_knows(&server, &authorization, 3).await;
    one.is_current().await;
    other.is_current().await;
    assert_eq!(entries(&mut connection).await, 3);
}

/// Its log was trimmed while it could not read.
#[tokio::test]
async fn instance_that_missed_messages_reads_all_cutoffs() {
    let Some((server, authorization)) = world().await else { return };
    let mut admin = server.connection().await;
    send(&mut admin, "ACL SETUSER cut on >secret ~* +@all").await;
    let one = Instance::with(&server, &authorization, hasty);
    let tier = hasty(tier_of(&server, "cut:secret@"));
    let cut = Instance::of_tier(&authorization, Issuer::jwt(AS), tier);
    one.is_current().await;
    cut.is_current().await;
    send(&mut admin, "ACL SETUSER cut -xread -xrange -hgetall -hkeys").await;
    cut.is_behind().await;
    for n in 0..100 {
        one.revoke(&n.to_string());
    }
    one.tells("alice").await;
    cut.revoke("bob");
    send(&mut admin, &format!("XTRIM {LOG} MAXLEN 0")).await;
    assert!(!cut.knows_now("alice"));
    send(&mut admin, "ACL SETUSER cut +xread +xrange +hgetall +hkeys").await;
    until(async || cut.api.revocations().len() == 102).await;
    is_told(&cut).await;
    one.knows("bob").await;
    cut.is_current().await;
    has_entries(&admin, 102).await;
}

#[tokio::test]
async fn instance_that_starts_learns_cutoffs_that_were_deleted_from_the_map() {
    let Some((server, authorization)) = world().await else { return };
    let one = Instance::with(&server, &authorization, hasty);
    one.is_current().await;
    for n in 0..20 {
        one.revoke(&n.to_string());
    }
    one.tells("alice").await;
    let mut connection = server.connection().await;
    let fields: Vec<String> =
        redis::cmd("HKEYS").arg(MAP).query_async(&mut connection).await.unwrap();
    assert_eq!(fields.len(), 21);
    let mut delete = redis::cmd("HDEL");
    let deleted: u64 =
        delete.arg(MAP).arg(&fields[..11]).query_async(&mut connection).await.unwrap();
    assert_eq!(deleted, 11);
    later_one_knows(&server, &authorization, 21).await;
    has_entries(&connection, 21).await;
}

#[tokio::test]
async fn full_redis_leaves_instances_behind_until_it_has_room() {
    let Some((server, authorization)) = world().await else { return };
    let one = Instance::with(&server, &authorization, impatient);
    let other = Instance::with(&server, &authorization, hasty);
    one.is_current().await;
    other.is_current().await;
    let mut connection = server.connection().await;
    send(&mut connection, "CONFIG SET maxmemory 1").await;
    one.revoke("alice");
    assert!(one.api.revocations().flush().await.is_err());
    one.is_behind().await;
    send(&mut connection, "CONFIG SET maxmemory 0").await;
    is_told(&one).await;
    other.knows("alice").await;
    one.is_current().await;
    other.is_current().await;
}

/// It knows all cutoffs of the others again and again, and can't tell its own.
#[tokio::test]
async fn instance_that_may_only_read_stays_behind() {
    let Some((server, authorization)) = world().await else { return };
    let mut admin = server.connection().await;
    send(&mut admin, "ACL SETUSER mute on >secret ~* +@all").await;
    let other = Instance::with(&server, &authorization, hasty);
    let tier = impatient(tier_of(&server, "mute:secret@"));
    let mute = Instance::of_tier(&authorization, Issuer::jwt(AS), tier);
    mute.is_current().await;
    send(&mut admin, "ACL SETUSER mute -xadd").await;
    mute.revoke("alice");
    assert!(mute.api.revocations().flush().await.is_err());
    mute.is_behind().await;
    other.tells("bob").await;
    mute.knows("bob").await;
    stays_behind(&mute, &admin).await;
    send(&mut admin, "ACL SETUSER mute +xadd").await;
    is_told(&mute).await;
    other.knows("alice").await;
    mute.is_current().await;
}

/// Reads all cutoffs several times with an instance that can't tell its own.
async fn stays_behind(instance: &Instance, connection: &MultiplexedConnection) {
    let reads = async || calls(connection, "hgetall").await;
    let before = reads().await;
    // What it wrote before is long ago at the second one.
    until(async || reads().await > before + 3).await;
    until(async || {
        assert_eq!(instance.state(), FeedState::Behind);
        reads().await > before + 6
    })
    .await;
}

#[tokio::test]
async fn replica_that_is_read_only_leaves_instances_behind() {
    let Some(primary) = Server::start(&[]).await else { return };
    let Some(replica) = Server::replica_of(&primary).await else { return };
    let authorization = authorization();
    let good = Instance::with(&primary, &authorization, hasty);
    good.tells("alice").await;
    let one = Instance::with(&replica, &authorization, impatient);
    one.knows("alice").await;
    one.revoke("bob");
    assert!(one.api.revocations().flush().await.is_err());
    let mut connection = replica.connection().await;
    stays_behind(&one, &connection).await;
    send(&mut connection, "REPLICAOF NO ONE").await;
    is_told(&one).await;
    one.is_current().await;
    has_entries(&connection, 2).await;
}

#[tokio::test]
async fn wrong_password_leaves_instances_behind_and_is_shown_nowhere() {
    let Some(server) = Server::start(&["--requirepass", "right"]).await else { return };
    let authorization = authorization();
    let mut admin = server.connection_of(":right@").await;
    let of_user = |user: &str| {
        Instance::of_tier(&authorization, Issuer::jwt(AS), impatient(tier_of(&server, user)))
    };
    for user in [":wr0ng@", "nobody:wr0ng@", ""] {
        send(&mut admin, "CONFIG RESETSTAT").await;
        let one = of_user(user);
        let error = one.api.revocations().flush().await;
        assert!(error.is_ok(), "nothing waits to be told");
        one.revoke("alice");
        let error = one.api.revocations().flush().await.unwrap_err();
        let closed = one.tier.close().await.unwrap_err();
        let refusal = if user.is_empty() { "errorstat_NOAUTH" } else { "errorstat_WRONGPASS" };
        until(async || {
            let errors = send(&mut admin.clone(), "INFO errorstats").await;
            errors.contains(refusal)
        })
        .await;
        assert_eq!(one.state(), FeedState::Behind);
        let shown = format!(
            "{:?} {:?} {error:?} {error} {closed:?} {closed}",
            one.tier,
            one.api.revocations()
        );
        assert!(!shown.contains("wr0ng") && !shown.contains("127.0.0.1"), "{shown}");
    }
    let one = of_user(":right@");
    one.is_current().await;
    assert!(!format!("{:?} {:?}", one.tier, one.api.revocations()).contains("right"));
}

/// A connection to the primary, which finds the next one after a failover.
#[derive(Clone)]
struct ToPrimary {
    first: ConnectionManager,
    next: ConnectionManager,
    has_failed_over: Arc<AtomicBool>,
}

impl ToPrimary {
    fn now(&self) -> ConnectionManager {
        let next = self.has_failed_over.load(Ordering::Acquire);
        if next { self.next.clone() } else { self.first.clone() }
    }
}

impl ConnectionLike for ToPrimary {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let mut connection = self.now();
        Box::pin(async move { connection.req_packed_command(command).await })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let mut connection = self.now();
        Box::pin(async move { connection.req_packed_commands(pipeline, offset, count).await })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

#[tokio::test]
async fn promoted_replica_gets_the_cutoffs_that_it_lacks() {
    let Some(mut primary) = Server::start(&[]).await else { return };
    let Some(replica) = Server::replica_of(&primary).await else { return };
    let authorization = authorization();
    let has_failed_over = Arc::new(AtomicBool::new(false));
    let instance = || {
        let connect = || ToPrimary {
            first: primary.manager(""),
            next: replica.manager(""),
            has_failed_over: Arc::clone(&has_failed_over),
        };
        let tier = RedisTier::new(connect(), secret()).feed(connect()).flush_timeout(LONG);
        Instance::of_tier(&authorization, Issuer::jwt(AS), hasty(tier))
    };
    let (one, other, third) = (instance(), instance(), instance());
    for instance in [&one, &other, &third] {
        instance.is_current().await;
    }
    one.tells("before").await;
    let mut connection = replica.connection().await;
    has_entries(&connection, 1).await;
    // The link is cut, and it gets no more.
    send(&mut connection, "REPLICAOF NO ONE").await;
    for n in 0..20 {
        one.revoke(&n.to_string());
    }
    one.tells("lost").await;
    other.knows("lost").await;
    // The one that told it is not there any more.
    one.tier.close().await.unwrap();
    primary.kill();
    has_failed_over.store(true, Ordering::Release);
    has_entries(&connection, 22).await;
    third.tells("after").await;
    other.knows("after").await;
    third.knows("lost").await;
    other.is_current().await;
    third.is_current().await;
    later_one_knows(&replica, &authorization, 23).await;
}

#[tokio::test]
async fn cutoff_is_told_only_when_as_many_replicas_have_it_as_asked_for() {
    let Some(primary) = Server::start(&[]).await else { return };
    let authorization = authorization();
    let one = Instance::with(&primary, &authorization, |tier| {
        tier.wait_for_replicas(1, SHORT).flush_timeout(20 * SHORT)
    });
    one.revoke("alice");
    assert!(one.api.revocations().flush().await.is_err());
    let Some(replica) = Server::replica_of(&primary).await else { return };
    is_told(&one).await;
    assert_eq!(entries(&mut replica.connection().await).await, 1);
    is_told(&one).await;
    has_entries(&primary.connection().await, 1).await;
}

#[tokio::test]
async fn cutoffs_are_shared_in_a_cluster() {
    let Some(server) = Server::cluster().await else { return };
    let authorization = authorization();
    let client = ClusterClient::builder([format!("redis://127.0.0.1:{}/", server.port)])
        .response_timeout(LONG)
        .build()
        .unwrap();
    let connect = async || client.get_async_connection().await.unwrap();
    let instance = async || {
        let tier = RedisTier::new(connect().await, secret()).feed(connect().await);
        let tier = hasty(tier).flush_timeout(LONG);
        Instance::of_tier(&authorization, Issuer::jwt(AS), tier)
    };
    let (one, other) = (instance().await, instance().await);
    one.is_current().await;
    other.is_current().await;
    for n in 0..50 {
        one.revoke(&n.to_string());
    }
    one.tells("alice").await;
    other.knows("alice").await;
    let mut connection = server.connection().await;
    send(&mut connection, &format!("DEL {MAP}")).await;
    has_entries(&connection, 51).await;
    let later = instance().await;
    until(async || later.api.revocations().len() == 51).await;
    later.is_current().await;
}

#[tokio::test]
async fn user_needs_the_documented_commands_and_keys_only() {
    let Some((server, authorization)) = world().await else { return };
    let mut admin = server.connection().await;
    let user = user_with_rights(&mut admin).await;
    let instance = || {
        let tier = tier_of(&server, user).heartbeat(Duration::from_millis(200));
        Instance::of_tier(&authorization, Issuer::jwt(AS), tier)
    };
    let (one, other) = (instance(), instance());
    one.is_current().await;
    other.is_current().await;
    one.tells("alice").await;
    other.knows("alice").await;
    // Each way in which the map is merged is used.
    send(&mut admin, &format!("DEL {MAP}")).await;
    has_entries(&admin, 1).await;
    let fakes = Cell::new(0);
    until(async || {
        let n = fakes.replace(fakes.get() + 1);
        add_fakes(&mut admin.clone(), n..n + 1).await;
        calls(&admin, "hmget").await > 0
    })
    .await;
    send(&mut admin, "FLUSHALL").await;
    has_entries(&admin, 1).await;
    one.is_current().await;
    for command in ["hgetall", "hkeys", "xrevrange"] {
        assert!(calls(&admin, command).await > 0, "{command}");
    }
    one.tier.close().await.unwrap();
    nothing_was_denied(&mut admin).await;

    send(&mut admin, "ACL SETUSER api resetkeys ~elsewhere:*").await;
    other.is_behind().await;
}

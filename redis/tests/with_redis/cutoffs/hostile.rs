//! Somebody who can write to Redis, and does not know the secret.

use std::time::Duration;

use http::StatusCode;
use redis::aio::MultiplexedConnection;
use tower_introspect::{
    Issuer,
    revocation::{Cutoff, FeedState},
};
use tower_introspect_redis::{RedisTier, SharedSecret};

use super::{
    AS, Instance, LOG, LONG, MAP, Server, add_fakes, all_hear_all, authorization, calm, entries,
    has_entries, hasty, introspecting, nothing_was_denied, secret, send, tier_of, two, until,
    user_with_rights, world,
};

/// A message of the log, or an entry of the map.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Returns bytes that are others for each seed.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = u64::try_from(seed).expect("small").wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

async fn add_to_log(connection: &mut MultiplexedConnection, fields: &[(&[u8], &[u8])]) {
    let mut add = redis::cmd("XADD");
    add.arg(LOG).arg("*");
    for (name, value) in fields {
        add.arg(*name).arg(*value);
    }
    let _: String = add.query_async(connection).await.expect("the command is good");
}

/// Adds messages to a log that were in one.
async fn add_again(
    connection: &mut MultiplexedConnection,
    log: &str,
    messages: impl Iterator<Item = &Fields>,
) {
    for message in messages {
        let mut add = redis::cmd("XADD");
        add.arg(log).arg("*");
        for (name, value) in message {
            add.arg(name.as_slice()).arg(value.as_slice());
        }
        let _: String = add.query_async(connection).await.expect("the command is good");
    }
}

async fn set_entry(connection: &mut MultiplexedConnection, field: &[u8], value: &[u8]) {
    let () = redis::cmd("HSET")
        .arg(MAP)
        .arg(field)
        .arg(value)
        .query_async(connection)
        .await
        .expect("the command is good");
}

/// Returns the messages of the log.
async fn messages(connection: &mut MultiplexedConnection) -> Vec<Fields> {
    let mut range = redis::cmd("XRANGE");
    let log: Vec<(String, Fields)> = range
        .arg(LOG)
        .arg("-")
        .arg("+")
        .query_async(connection)
        .await
        .expect("the command is good");
    log.into_iter().map(|(_, fields)| fields).collect()
}

/// Returns the entries of the map.
async fn map(connection: &mut MultiplexedConnection) -> Fields {
    redis::cmd("HGETALL").arg(MAP).query_async(connection).await.expect("the command is good")
}

#[tokio::test]
async fn garbage_in_the_log_changes_nothing() {
    let Some((server, authorization)) = world().await else { return };
    let (one, other) = two(&server, &authorization, calm).await;
    one.tells("alice").await;
    other.knows("alice").await;
    let mut connection = server.connection().await;
    let sealed = messages(&mut connection).await.remove(0).remove(0).1;
    for n in 0..2000 {
        let noise = noise(n, n % 300);
        let field: &[u8] = if n % 5 == 0 { b"n" } else { b"m" };
        add_to_log(&mut connection, &[(field, &noise)]).await;
    }
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        add_to_log(&mut connection, &[(b"m", &changed)]).await;
        add_to_log(&mut connection, &[(b"m", &sealed[..at])]).await;
    }
    add_to_log(&mut connection, &[(b"", b"")]).await;
    add_to_log(&mut connection, &[(b"m", b""), (b"m", &sealed)]).await;
    add_to_log(&mut connection, &[(b"x", &sealed), (b"y", b"")]).await;
    add_to_log(&mut connection, &[(b"m", &noise(1, 3 << 20))]).await;
    one.tells("bob").await;
    other.knows("bob").await;
    other.tells("carol").await;
    one.knows("carol").await;
    for instance in [&one, &other] {
        assert_eq!(instance.api.revocations().len(), 3);
        assert_eq!(instance.state(), FeedState::Current);
    }
    let later = Instance::with(&server, &authorization, calm);
    later.is_current().await;
    assert_eq!(later.cutoffs(), one.cutoffs());
}

#[tokio::test]
async fn garbage_in_the_map_changes_nothing() {
    let Some((server, authorization)) = world().await else { return };
    let (one, other) = two(&server, &authorization, hasty).await;
    one.tells("alice").await;
    let mut connection = server.connection().await;
    let sealed = map(&mut connection).await.remove(0).1;
    add_fakes(&mut connection, 0..10_000).await;
    for n in 0..500 {
        set_entry(&mut connection, &noise(n, n % 50), &noise(n, n % 300)).await;
        let id = format!("{:032x}", 20_000 + n);
        set_entry(&mut connection, id.as_bytes(), &noise(n, n % 300)).await;
    }
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        set_entry(&mut connection, format!("{:032x}", 30_000 + at).as_bytes(), &changed).await;
    }
    set_entry(&mut connection, b"", b"").await;
    one.tells("bob").await;
    other.knows("bob").await;
    let later = Instance::with(&server, &authorization, hasty);
    later.is_current().await;
    until(async || later.cutoffs() == one.cutoffs()).await;
    other.tells("carol").await;
    for instance in [&one, &other, &later] {
        instance.knows("carol").await;
        instance.is_current().await;
        assert_eq!(instance.api.revocations().len(), 3);
    }
}

/// More than any instance reads at once.
#[tokio::test]
async fn map_with_too_many_fakes_is_cleaned() {
    let Some((server, authorization)) = world().await else { return };
    let mut admin = server.connection().await;
    let user = user_with_rights(&mut admin).await;
    let instance = || {
        let tier = tier_of(&server, user).max_cutoffs(100_000);
        Instance::of_tier(&authorization, Issuer::jwt(AS), tier)
    };
    let one = instance();
    one.is_current().await;
    for n in 0..50 {
        one.revoke(&n.to_string());
    }
    one.tells("alice").await;
    add_fakes(&mut admin, 0..251_000).await;
    let later = instance();
    until(async || later.api.revocations().len() == 51).await;
    later.is_current().await;
    has_entries(&admin, 51).await;
    one.tells("bob").await;
    later.knows("bob").await;
    assert_eq!(later.cutoffs(), one.cutoffs());
    nothing_was_denied(&mut admin).await;
}

#[tokio::test]
async fn entry_that_is_moved_to_another_field_is_no_cutoff() {
    let Some((server, authorization)) = world().await else { return };
    let one = Instance::new(&server, &authorization);
    one.is_current().await;
    one.tells("alice").await;
    one.tells("bob").await;
    one.tier.close().await.unwrap();
    let mut connection = server.connection().await;
    let entries = map(&mut connection).await;
    let [(alice, sealed_alice), (bob, sealed_bob)] = &entries[..] else { panic!("two entries") };
    set_entry(&mut connection, alice, sealed_bob).await;
    set_entry(&mut connection, bob, sealed_alice).await;
    set_entry(&mut connection, format!("{:032x}", 1).as_bytes(), sealed_alice).await;
    set_entry(&mut connection, &alice.to_ascii_uppercase(), sealed_alice).await;
    let later = Instance::new(&server, &authorization);
    later.is_current().await;
    assert!(later.api.revocations().is_empty());
}

/// Those who know a cutoff write it again when they hear from one that does not.
#[tokio::test]
async fn entry_that_is_overwritten_is_written_again() {
    let Some((server, authorization)) = world().await else { return };
    let one = Instance::with(&server, &authorization, hasty);
    one.is_current().await;
    for subject in ["alice", "bob", "carol"] {
        one.tells(subject).await;
    }
    let mut connection = server.connection().await;
    let before = map(&mut connection).await;
    set_entry(&mut connection, &before[0].0, b"").await;
    set_entry(&mut connection, &before[1].0, &before[2].1).await;
    let later = Instance::with(&server, &authorization, hasty);
    until(async || later.cutoffs() == one.cutoffs()).await;
    later.is_current().await;
    assert_eq!(later.api.revocations().len(), 3);
    // The map is whole again.
    one.tier.close().await.unwrap();
    later.tier.close().await.unwrap();
    let last = Instance::with(&server, &authorization, hasty);
    last.is_current().await;
    assert_eq!(last.cutoffs(), one.cutoffs());
}

#[tokio::test]
async fn old_messages_that_are_added_again_change_nothing() {
    let Some((server, authorization)) = world().await else { return };
    let instances = [(); 3].map(|()| Instance::with(&server, &authorization, calm));
    let [one, other, gone] = &instances;
    for instance in &instances {
        instance.is_current().await;
    }
    let at = |secs| testing::clock::NOW.saturating_sub(Duration::from_secs(secs));
    // Each replaces the one before, whose entry is deleted.
    for (n, teller) in [(30, gone), (20, one), (10, gone), (5, other)] {
        teller.api.revocations().revoke(&Cutoff::subject(AS, "alice").at(at(n)));
        teller.api.revocations().flush().await.unwrap();
        let latest = Some(at(n));
        for instance in &instances {
            until(async || {
                let all = instance.api.revocations().in_force(1);
                all.first().and_then(|one| one.revoked_at()) == latest
            })
            .await;
        }
    }
    one.tells("bob").await;
    gone.tier.close().await.unwrap();
    let mut connection = server.connection().await;
    let expected = one.cutoffs();
    assert_eq!(expected.len(), 2);
    let old = messages(&mut connection).await;
    assert!(old.len() >= 9, "three heartbeats, five cutoffs, and the end of one: {}", old.len());
    for _ in 0..3 {
        add_again(&mut connection, LOG, old.iter().chain(old.iter().rev())).await;
    }
    all_hear_all(&[one, other]).await;
    let of_before = |instance: &Instance| {
        let mut all = instance.cutoffs();
        all.retain(|cutoff| !cutoff.contains("heard-"));
        all
    };
    assert_eq!((of_before(one), of_before(other)), (expected.clone(), expected.clone()));
    let later = Instance::with(&server, &authorization, hasty);
    until(async || later.cutoffs() == one.cutoffs()).await;
    assert_eq!(of_before(&later), expected);
}

#[tokio::test]
async fn old_messages_of_instances_that_run_do_not_outdate_facts_again() {
    let Some((server, authorization)) = world().await else { return };
    let one = Instance::with(&server, &authorization, calm);
    let asks = Instance::of_tier(&authorization, introspecting(), calm(tier_of(&server, "")));
    one.is_current().await;
    asks.is_current().await;
    all_hear_all(&[&one, &asks]).await;
    let token = asks.remembers(&authorization).await;
    one.api.revocations().outdate(&Cutoff::subject(AS, "alice"));
    until(async || asks.status(&token).await == StatusCode::UNAUTHORIZED).await;
    let token = asks.remembers(&authorization).await;
    let mut connection = server.connection().await;
    let old = messages(&mut connection).await;
    add_again(&mut connection, LOG, old.iter().chain(old.iter().rev())).await;
    all_hear_all(&[&one, &asks]).await;
    assert_eq!((one.state(), asks.state()), (FeedState::Current, FeedState::Current));
    assert_eq!(asks.status(&token).await, StatusCode::OK);
}

#[tokio::test]
async fn cutoffs_of_another_epoch_or_service_can_not_be_copied() {
    let Some((server, authorization)) = world().await else { return };
    let one = Instance::new(&server, &authorization);
    one.is_current().await;
    one.tells("alice").await;
    let mut connection = server.connection().await;
    let old = messages(&mut connection).await;
    for (prefix, epoch) in [("tower-introspect:", 2), ("other:", 1)] {
        for part in ["map", "log"] {
            let copy = format!(
                "COPY tower-introspect:{{cutoffs:1}}:{part} {prefix}{{cutoffs:{epoch}}}:{part}"
            );
            send(&mut connection, &copy).await;
        }
        let change = |tier: RedisTier<_>| tier.prefix(prefix).epoch(epoch);
        let elsewhere = Instance::with(&server, &authorization, change);
        elsewhere.is_current().await;
        assert!(elsewhere.api.revocations().is_empty());
        let log = format!("{prefix}{{cutoffs:{epoch}}}:log");
        add_again(&mut connection, &log, old.iter()).await;
        elsewhere.tells("bob").await;
        let later = Instance::with(&server, &authorization, change);
        later.is_current().await;
        later.tells("carol").await;
        elsewhere.knows("carol").await;
        for instance in [&elsewhere, &later] {
            assert!(instance.knows_now("bob") && !instance.knows_now("alice"));
        }
    }
    assert!(!one.knows_now("bob"));
}

/// By mistake two services have the same prefix.
#[tokio::test]
async fn services_with_other_secrets_ignore_each_other() {
    let Some((server, authorization)) = world().await else { return };
    let of = |secret: SharedSecret| {
        let tier = RedisTier::new(server.manager(""), secret).feed(server.manager(""));
        Instance::of_tier(&authorization, Issuer::jwt(AS), hasty(tier).flush_timeout(LONG))
    };
    let others = || SharedSecret::new(&[9; 32]).unwrap();
    let (ours, ours_too) = (of(secret()), of(secret()));
    let (theirs, theirs_too) = (of(others()), of(others()));
    for instance in [&ours, &ours_too, &theirs, &theirs_too] {
        instance.is_current().await;
    }
    for n in 0..50 {
        ours.revoke(&format!("ours-{n}"));
        theirs.revoke(&format!("theirs-{n}"));
    }
    ours.tells("alice").await;
    theirs.tells("bob").await;
    ours_too.knows("alice").await;
    theirs_too.knows("bob").await;
    let (ours_later, theirs_later) = (of(secret()), of(others()));
    for (instance, known) in [
        (&ours, "alice"),
        (&ours_too, "alice"),
        (&ours_later, "alice"),
        (&theirs, "bob"),
        (&theirs_too, "bob"),
        (&theirs_later, "bob"),
    ] {
        instance.knows(known).await;
        instance.is_current().await;
        assert_eq!(instance.api.revocations().len(), 51);
    }
    assert_eq!(entries(&mut server.connection().await).await, 102);
}

#[tokio::test]
async fn map_or_log_of_another_type_is_replaced_when_it_is_deleted() {
    let Some((server, authorization)) = world().await else { return };
    let one = Instance::with(&server, &authorization, hasty);
    one.is_current().await;
    one.tells("alice").await;
    let mut connection = server.connection().await;
    for (n, key) in (2..).zip([MAP, LOG]) {
        send(&mut connection, &format!("SET {key} text")).await;
        one.is_behind().await;
        one.revoke(key);
        assert!(one.knows_now(key), "it holds here at once");
        send(&mut connection, &format!("DEL {key}")).await;
        one.api.revocations().flush().await.unwrap();
        one.is_current().await;
        has_entries(&connection, n).await;
    }
}

/// Redis can add no message after the last number.
#[tokio::test]
async fn log_whose_numbers_are_used_up_goes_on_when_it_is_deleted() {
    let Some((server, authorization)) = world().await else { return };
    let (one, other) = two(&server, &authorization, hasty).await;
    one.tells("alice").await;
    let mut connection = server.connection().await;
    let max = u64::MAX;
    send(&mut connection, &format!("XADD {LOG} {max}-{max} m x")).await;
    one.is_behind().await;
    other.is_behind().await;
    one.revoke("bob");
    send(&mut connection, &format!("DEL {LOG}")).await;
    one.api.revocations().flush().await.unwrap();
    other.knows("bob").await;
    one.is_current().await;
    other.is_current().await;
    other.tells("carol").await;
    one.knows("carol").await;
}

#[tokio::test]
async fn message_from_the_future_holds_back_no_cutoff() {
    let Some((server, authorization)) = world().await else { return };
    let (one, other) = two(&server, &authorization, calm).await;
    let mut connection = server.connection().await;
    send(&mut connection, &format!("XADD {LOG} 99999999999999-0 m x")).await;
    one.tells("alice").await;
    other.knows("alice").await;
    other.tells("bob").await;
    one.knows("bob").await;
    assert_eq!((one.state(), other.state()), (FeedState::Current, FeedState::Current));
}

#[tokio::test]
async fn secret_and_password_are_shown_nowhere() {
    let Some(server) = Server::start(&["--requirepass", "sesame"]).await else { return };
    let authorization = authorization();
    let secret = b"correct horse battery staple, and some more";
    let secret = SharedSecret::new(secret).unwrap();
    secret.rotate(b"another horse that nobody has ever seen", &[&[7; 32]]).unwrap();
    let connect = || server.manager(":sesame@");
    let tier = RedisTier::new(connect(), secret.clone()).feed(connect());
    let one = Instance::of_tier(&authorization, Issuer::jwt(AS), tier);
    one.is_current().await;
    one.tells("alice").await;
    let shown = format!("{:#?} {secret:?} {:?}", one.tier, one.api.revocations());
    assert!(shown.contains("tower-introspect:"), "{shown}");
    for hidden in ["horse", "sesame", "staple", "alice", "7, 7", "0707", "127.0.0.1", "104, 111"] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
}

//! A cutoff that is told to one instance holds in all.

use http::StatusCode;
use tower_introspect::revocation::Cutoff;

use super::{AS, Instance, entries, two, until, usual, world};

#[tokio::test]
async fn promise_12_cutoff_of_one_instance_holds_in_all() {
    let Some((server, authorization)) = world().await else { return };
    let (one, other) =
        (Instance::new(&server, &authorization), Instance::new(&server, &authorization));
    let asks = Instance::that_asks(&server, &authorization);
    for instance in [&one, &other, &asks] {
        instance.is_current().await;
    }
    let jwt = authorization.jwt().subject("alice").audience(super::API).mint();
    let opaque = authorization.opaque().subject("alice").audience(super::API).mint();
    assert_eq!(other.status(&jwt).await, StatusCode::OK);
    assert_eq!(asks.status(&opaque).await, StatusCode::OK);

    authorization.revoke(&opaque);
    assert_eq!(asks.status(&opaque).await, StatusCode::OK, "it is remembered");
    one.revoke("alice");
    one.api.revocations().flush().await.expect("it is told");
    until(async || other.status(&jwt).await == StatusCode::UNAUTHORIZED).await;
    until(async || asks.status(&opaque).await == StatusCode::UNAUTHORIZED).await;
    assert_eq!(
        other.status(&authorization.jwt().subject("bob").audience(super::API).mint()).await,
        StatusCode::OK
    );
}

#[tokio::test]
async fn instance_that_starts_later_knows_what_was_told_before() {
    let Some((server, authorization)) = world().await else { return };
    let one = Instance::new(&server, &authorization);
    one.is_current().await;
    for n in 0..300 {
        one.revoke(&n.to_string());
    }
    one.api.revocations().flush().await.expect("they are told");
    one.tier.close().await.expect("Redis is there");
    drop(one);
    let later = Instance::new(&server, &authorization);
    later.is_current().await;
    assert_eq!(later.api.revocations().len(), 300);
    assert!(later.knows_now("0") && later.knows_now("299"));
}

#[tokio::test]
async fn facts_are_outdated_in_all_instances_and_jwts_stand() {
    let Some((server, authorization)) = world().await else { return };
    let one = Instance::new(&server, &authorization);
    let asks = Instance::that_asks(&server, &authorization);
    for instance in [&one, &asks] {
        instance.is_current().await;
    }
    let opaque = authorization.opaque().subject("alice").audience(super::API).mint();
    let jwt = authorization.jwt().subject("alice").audience(super::API).mint();
    assert_eq!(asks.status(&opaque).await, StatusCode::OK);
    authorization.revoke(&opaque);
    one.api.revocations().outdate(&Cutoff::subject(AS, "alice"));
    until(async || asks.status(&opaque).await == StatusCode::UNAUTHORIZED).await;
    assert_eq!(one.status(&jwt).await, StatusCode::OK);
    assert_eq!(entries(&mut server.connection().await).await, 0, "nothing is revoked");
}

#[tokio::test]
async fn later_cutoff_replaces_the_earlier_one_of_its_name() {
    let Some((server, authorization)) = world().await else { return };
    let (one, other) = two(&server, &authorization, usual).await;
    let mut connection = server.connection().await;
    for n in 0..5 {
        let at = testing::clock::NOW.saturating_sub(std::time::Duration::from_secs(100 - n));
        let teller = if n % 2 == 0 { &one } else { &other };
        teller.api.revocations().revoke(&Cutoff::subject(AS, "alice").at(at));
        teller.api.revocations().flush().await.unwrap();
        let revoked_at = async |instance: &Instance| {
            let list = instance.api.revocations().in_force(2);
            list.first().and_then(|one| one.revoked_at()) == Some(at)
        };
        until(async || revoked_at(&one).await && revoked_at(&other).await).await;
    }
    until(async || entries(&mut server.connection().await).await == 1).await;
    assert_eq!(entries(&mut connection).await, 1);
}

#[tokio::test]
async fn names_and_subjects_are_not_readable_in_redis() {
    let Some((server, authorization)) = world().await else { return };
    let one = Instance::new(&server, &authorization);
    one.is_current().await;
    one.revoke("alice@example.com");
    one.api.revocations().flush().await.unwrap();
    let mut connection = server.connection().await;
    let map: Vec<Vec<u8>> =
        redis::cmd("HGETALL").arg(super::MAP).query_async(&mut connection).await.unwrap();
    assert_eq!(map.len(), 2);
    let mut range = redis::cmd("XRANGE");
    let log: Vec<(String, Vec<Vec<u8>>)> =
        range.arg(super::LOG).arg("-").arg("+").query_async(&mut connection).await.unwrap();
    assert!(log.len() >= 2, "a heartbeat, and the cutoff");
    for text in map.iter().chain(log.iter().flat_map(|(_, fields)| fields)) {
        for name in ["alice", "example", "subject"] {
            assert!(!text.windows(name.len()).any(|window| window == name.as_bytes()));
        }
    }
}

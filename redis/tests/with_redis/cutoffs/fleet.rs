//! Instances that come and go.

use std::{collections::BTreeSet, time::Duration};

use http::StatusCode;
use tower_introspect::{
    Issuer,
    clock::UnixTime,
    revocation::{Cutoff, FeedState},
    test_util::AuthorizationServer,
};
use tower_introspect_redis::{RedisTier, SharedSecret};

use super::{
    AS, DAY, HEARTBEAT, Instance, LONG, MAP, Server, all_hear_all, authorization, calm, entries,
    has_entries, hasty, introspecting, jwt, pass, secret, tier_of, two, until, usual, world,
};

/// Starts an instance that notices only after [`HEARTBEAT`] what it does not hear, and has all facts verified at
/// once that are from before.
fn calm_that_asks(server: &Server, authorization: &AuthorizationServer) -> Instance {
    let tier = calm(tier_of(server, "")).spread(Duration::ZERO);
    Instance::of_tier(authorization, introspecting(), tier)
}

/// Three instances that have heard each other.
async fn three(server: &Server, authorization: &AuthorizationServer) -> [Instance; 3] {
    let all = [(); 3].map(|()| calm_that_asks(server, authorization));
    for instance in &all {
        instance.is_current().await;
    }
    let [one, two, three] = &all;
    all_hear_all(&[one, two, three]).await;
    all
}

/// Lets more time pass than an instance may be silent for. These are not.
async fn silence_passes(instances: &[&Instance]) {
    for _ in 0..4 {
        pass(HEARTBEAT).await;
        all_hear_all(instances).await;
    }
}

/// Lets the pause after the last merge pass, when Redis responds.
async fn merges(instance: &Instance) {
    instance.tells("before the merge").await;
    pass(7 * HEARTBEAT).await;
}

#[tokio::test]
async fn instance_that_is_gone_is_missed_once() {
    let Some((server, authorization)) = world().await else { return };
    let [one, two, third] = three(&server, &authorization).await;
    let tokens = (two.remembers(&authorization).await, third.remembers(&authorization).await);
    drop(one);
    for _ in 0..2 {
        pass(HEARTBEAT).await;
        all_hear_all(&[&two, &third]).await;
    }
    assert_eq!(two.status(&tokens.0).await, StatusCode::OK, "it is not silent for long enough");
    for _ in 0..4 {
        pass(HEARTBEAT).await;
        all_hear_all(&[&two, &third]).await;
    }
    // Each asks anew, because the one that is gone may have known a cutoff.
    until(async || two.status(&tokens.0).await == StatusCode::UNAUTHORIZED).await;
    until(async || third.status(&tokens.1).await == StatusCode::UNAUTHORIZED).await;
    two.is_current().await;
    third.is_current().await;

    let tokens = (two.remembers(&authorization).await, third.remembers(&authorization).await);
    for _ in 0..3 {
        silence_passes(&[&two, &third]).await;
        assert_eq!((two.state(), third.state()), (FeedState::Current, FeedState::Current));
    }
    assert_eq!(two.status(&tokens.0).await, StatusCode::OK, "it is not missed again");
    assert_eq!(third.status(&tokens.1).await, StatusCode::OK, "it is not missed again");
}

#[tokio::test]
async fn instance_that_closes_is_not_missed() {
    let Some((server, authorization)) = world().await else { return };
    let [one, two, third] = three(&server, &authorization).await;
    let tokens = (two.remembers(&authorization).await, third.remembers(&authorization).await);
    one.revoke("last");
    one.tier.close().await.unwrap();
    assert_eq!(one.state(), FeedState::Behind, "it hears nothing any more");
    two.knows("last").await;
    silence_passes(&[&two, &third]).await;
    assert_eq!((two.state(), third.state()), (FeedState::Current, FeedState::Current));
    assert_eq!(two.status(&tokens.0).await, StatusCode::OK);
    assert_eq!(third.status(&tokens.1).await, StatusCode::OK);
}

/// At the end of a process the services that hold the resource server are often dropped first.
#[tokio::test]
async fn tier_is_closed_after_its_resource_server_is_gone() {
    let Some((server, authorization)) = world().await else { return };
    let [one, two, third] = three(&server, &authorization).await;
    let token = two.remembers(&authorization).await;
    one.revoke("last");
    let Instance { api, tier, .. } = one;
    drop(api);
    two.knows("last").await;
    // Its task ends when it notices.
    for _ in 0..3 {
        pass(HEARTBEAT / 20).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    tier.close().await.unwrap();
    tier.close().await.unwrap();
    silence_passes(&[&two, &third]).await;
    assert_eq!(two.status(&token).await, StatusCode::OK, "it is not missed");
    assert_eq!(third.state(), FeedState::Current);
}

#[tokio::test]
async fn tier_that_could_not_be_closed_can_be_closed_later() {
    let Some(mut server) = Server::start(&[]).await else { return };
    let authorization = authorization();
    let one = Instance::with(&server, &authorization, |tier| tier.flush_timeout(LONG / 1000));
    one.is_current().await;
    server.kill();
    one.revoke("alice");
    one.tier.close().await.unwrap_err();
    server.restart().await;
    until(async || one.tier.close().await.is_ok()).await;
    assert_eq!(one.state(), FeedState::Behind);
    let later = Instance::new(&server, &authorization);
    later.is_current().await;
    assert!(later.knows_now("alice"));
}

#[tokio::test]
async fn closed_instance_shares_no_more_cutoffs() {
    let Some((server, authorization)) = world().await else { return };
    let [one, two, third] = three(&server, &authorization).await;
    let token = two.remembers(&authorization).await;
    one.tier.close().await.unwrap();
    one.revoke("late");
    assert!(one.knows_now("late"));
    all_hear_all(&[&two, &third]).await;
    assert!(!two.knows_now("late") && !third.knows_now("late"));
    assert_eq!(two.status(&token).await, StatusCode::OK);
}

#[tokio::test]
async fn three_instances_that_revoke_at_once_end_with_the_same_cutoffs() {
    let Some((server, authorization)) = world().await else { return };
    let hour = |tier: RedisTier<_>| tier.heartbeat(Duration::from_secs(3600));
    let all = [(); 3].map(|()| Instance::with(&server, &authorization, hour));
    for (n, instance) in (0..).zip(&all) {
        instance.is_current().await;
        instance.clock.step(Duration::from_secs(n));
    }
    // Of the same subjects, in different orders.
    let revoke_all = async |n: usize| {
        for subject in 0..100 {
            all[n].revoke(&((subject * 37 + n * 11) % 100).to_string());
            if subject % 10 == n {
                tokio::task::yield_now().await;
            }
        }
        all[n].api.revocations().flush().await.unwrap();
    };
    tokio::join!(revoke_all(0), revoke_all(1), revoke_all(2));
    let expected: BTreeSet<_> = (0..100)
        .map(|subject| {
            let at = testing::clock::NOW.saturating_add(Duration::from_secs(2));
            format!("subject {:?} {:?}", Some(subject.to_string()), Some(at))
        })
        .collect();
    let expected = Vec::from_iter(expected);
    for instance in &all {
        until(async || instance.cutoffs() == expected).await;
    }
    // What others cover is deleted at the next merge.
    assert!(entries(&mut server.connection().await).await >= 100);
    pass(RedisTier::<()>::MERGE_INTERVAL).await;
    has_entries(&server.connection().await, 100).await;
    for instance in &all {
        instance.is_current().await;
        assert_eq!(instance.cutoffs(), expected);
    }
    let later = Instance::with(&server, &authorization, hour);
    later.is_current().await;
    assert_eq!(later.cutoffs(), expected);
}

#[tokio::test]
async fn more_than_sixteen_sessions_of_a_subject_become_one_entry() {
    let Some((server, authorization)) = world().await else { return };
    let (one, other) = two(&server, &authorization, usual).await;
    let end = async |n: u64| {
        let session = Cutoff::session(AS, n.to_string()).of_subject("alice");
        one.api.revocations().revoke(&session);
        one.api.revocations().flush().await.unwrap();
    };
    let connection = server.connection().await;
    for n in 1..=16 {
        end(n).await;
        assert_eq!(entries(&mut connection.clone()).await, n);
    }
    // It counts those that it has read.
    let mut more = 17..;
    while entries(&mut connection.clone()).await > 1 {
        let n = more.next().expect("it has no end");
        assert!(n < 1000, "they do not become one");
        end(n).await;
    }
    other.knows("alice").await;
    let later = Instance::new(&server, &authorization);
    later.is_current().await;
    let at = Some(testing::clock::NOW);
    assert_eq!(later.cutoffs(), [format!("subject {:?} {at:?}", Some("alice"))]);
}

#[tokio::test]
async fn epochs_do_not_hear_each_other() {
    let Some((server, authorization)) = world().await else { return };
    let of_epoch = |epoch| Instance::with(&server, &authorization, |tier| tier.epoch(epoch));
    let (old, new, other_new) = (of_epoch(1), of_epoch(2), of_epoch(2));
    for instance in [&old, &new, &other_new] {
        instance.is_current().await;
    }
    old.tells("alice").await;
    new.tells("bob").await;
    other_new.knows("bob").await;
    other_new.tells("carol").await;
    new.knows("carol").await;
    assert_eq!((old.api.revocations().len(), new.api.revocations().len()), (1, 2));
    assert_eq!(entries(&mut server.connection().await).await, 1);
    let later = of_epoch(3);
    later.is_current().await;
    assert!(later.api.revocations().is_empty());
}

#[tokio::test]
async fn required_feed_refuses_jwts_while_redis_is_away() {
    let Some(mut server) = Server::start(&[]).await else { return };
    server.kill();
    let authorization = authorization();
    let required = || hasty(tier_of(&server, "")).require_feed();
    let one = Instance::of_tier(&authorization, Issuer::jwt(AS), required());
    let asks = Instance::of_tier(&authorization, introspecting(), required());
    let goes_on = Instance::with(&server, &authorization, hasty);
    let jwt = jwt(&authorization, "alice");
    let opaque = authorization.opaque().audience(super::API).mint();
    assert_eq!(one.status(&jwt).await, StatusCode::SERVICE_UNAVAILABLE, "it knows nothing yet");
    server.restart().await;
    until(async || one.status(&jwt).await == StatusCode::OK).await;
    server.kill();
    for instance in [&one, &asks, &goes_on] {
        instance.is_behind().await;
    }
    assert_eq!(one.status(&jwt).await, StatusCode::SERVICE_UNAVAILABLE);
    one.revoke("alice");
    assert_eq!(asks.status(&opaque).await, StatusCode::OK, "it is introspected");
    assert_eq!(goes_on.status(&jwt).await, StatusCode::OK, "it is not required");
    server.restart().await;
    let other = super::jwt(&authorization, "bob");
    until(async || one.status(&other).await == StatusCode::OK).await;
    until(async || one.status(&jwt).await == StatusCode::UNAUTHORIZED).await;
    until(async || goes_on.status(&jwt).await == StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn instance_that_introspects_asks_anew_when_redis_was_away() {
    let Some(mut server) = Server::start(&[]).await else { return };
    let authorization = authorization();
    let tier = calm(tier_of(&server, "")).spread(Duration::ZERO);
    let asks = Instance::of_tier(&authorization, introspecting(), tier);
    asks.is_current().await;
    let token = asks.remembers(&authorization).await;
    server.kill();
    pass(4 * HEARTBEAT).await;
    asks.is_behind().await;
    assert_eq!(asks.status(&token).await, StatusCode::OK, "there is nothing to merge with");
    server.restart().await;
    merges(&asks).await;
    until(async || asks.status(&token).await == StatusCode::UNAUTHORIZED).await;
    asks.is_current().await;
}

#[tokio::test]
async fn facts_are_verified_again_over_the_time_that_is_set() {
    let Some(mut server) = Server::start(&[]).await else { return };
    let authorization = authorization();
    let tier = calm(tier_of(&server, "")).spread(20 * HEARTBEAT);
    let asks = Instance::of_tier(&authorization, introspecting(), tier);
    asks.is_current().await;
    let mut tokens = Vec::new();
    for _ in 0..50 {
        // The time of each fact decides when it is verified again.
        pass(Duration::from_millis(1)).await;
        tokens.push(asks.remembers(&authorization).await);
    }
    server.kill();
    pass(4 * HEARTBEAT).await;
    asks.is_behind().await;
    server.restart().await;
    merges(&asks).await;
    asks.is_current().await;
    let half_of_it = async || {
        for _ in 0..10 {
            pass(HEARTBEAT).await;
            all_hear_all(&[&asks]).await;
        }
    };
    let admitted = async || {
        let mut count = 0;
        for token in &tokens {
            count += usize::from(asks.status(token).await == StatusCode::OK);
        }
        count
    };
    half_of_it().await;
    let half = admitted().await;
    assert!((5..=45).contains(&half), "{half} of 50");
    half_of_it().await;
    assert_eq!(admitted().await, 0);
}

#[tokio::test]
async fn secret_is_rotated_while_instances_run_and_no_cutoff_is_lost() {
    const NEW: [u8; 32] = [8; 32];
    let Some((server, authorization)) = world().await else { return };
    // No instance merges because it is behind.
    let instance = |secret: SharedSecret| {
        let tier = RedisTier::new(server.manager(""), secret).feed(server.manager(""));
        let tier = tier.flush_timeout(LONG).heartbeat(Duration::from_secs(3600));
        Instance::of_tier(&authorization, Issuer::jwt(AS), tier)
    };
    let secrets = [secret(), secret()];
    let all = secrets.clone().map(instance);
    for instance in &all {
        instance.is_current().await;
    }
    let [one, other] = &all;
    for n in 0..100 {
        one.revoke(&n.to_string());
    }
    let mut told = BTreeSet::new();
    let mut tell = async |teller: &Instance| {
        let subject = format!("told-{}", told.len());
        teller.tells(&subject).await;
        told.insert(subject.clone());
        one.knows(&subject).await;
        other.knows(&subject).await;
    };
    for (current, accepted) in [
        (super::SECRET, Vec::from([&NEW[..]])),
        (NEW, Vec::from([&super::SECRET[..]])),
        (NEW, Vec::new()),
    ] {
        for secret in &secrets {
            secret.rotate(&current, &accepted).unwrap();
            tell(one).await;
            tell(other).await;
        }
        for _ in 0..2 {
            pass(RedisTier::<()>::MERGE_INTERVAL).await;
            tell(one).await;
            tell(other).await;
        }
    }
    let count = one.api.revocations().len();
    assert_eq!(count, 100 + told.len());
    assert_eq!((one.state(), other.state()), (FeedState::Current, FeedState::Current));
    let later = instance(SharedSecret::new(&NEW).unwrap());
    later.is_current().await;
    assert_eq!(later.api.revocations().len(), count);
    let outdated = instance(secret());
    outdated.is_current().await;
    assert!(outdated.api.revocations().is_empty());
}

#[tokio::test]
async fn instances_whose_clocks_differ_by_a_minute_share_cutoffs() {
    let Some((server, authorization)) = world().await else { return };
    let instances = [(); 3].map(|()| calm_that_asks(&server, &authorization));
    let [late, middle, early] = &instances;
    late.clock.step_back(Duration::from_secs(30));
    early.clock.step(Duration::from_secs(30));
    for instance in &instances {
        instance.is_current().await;
    }
    all_hear_all(&[late, middle, early]).await;
    let token = late.remembers(&authorization).await;
    silence_passes(&[late, middle, early]).await;
    for instance in &instances {
        assert_eq!(instance.state(), FeedState::Current);
        assert_eq!(instance.cutoffs(), late.cutoffs());
    }
    assert_eq!(late.status(&token).await, StatusCode::OK, "nobody was missed");
}

#[tokio::test]
async fn instance_whose_clock_is_far_off_is_missed_and_its_cutoffs_hold() {
    let Some((server, authorization)) = world().await else { return };
    let [one, two, third] = three(&server, &authorization).await;
    let token = two.remembers(&authorization).await;
    one.clock.step_back(DAY);
    one.tells("carol").await;
    two.knows("carol").await;
    assert_eq!(two.status(&token).await, StatusCode::OK);
    silence_passes(&[&one, &two, &third]).await;
    silence_passes(&[&one, &two, &third]).await;
    until(async || two.status(&token).await == StatusCode::UNAUTHORIZED).await;
    two.is_current().await;
    third.is_current().await;
}

#[tokio::test]
async fn cutoff_years_ahead_is_cut_to_now_everywhere() {
    let Some((server, authorization)) = world().await else { return };
    let (one, other) = two(&server, &authorization, usual).await;
    let token = jwt(&authorization, "alice");
    // Somebody who takes milliseconds for seconds.
    let ahead = UnixTime::from_secs(testing::clock::NOW.as_millis());
    one.api.revocations().revoke(&Cutoff::subject(AS, "alice").at(ahead));
    one.api.revocations().flush().await.unwrap();
    other.knows("alice").await;
    let later = Instance::new(&server, &authorization);
    later.is_current().await;
    let issued_later = authorization.jwt().subject("alice").audience(super::API);
    let a_second = Duration::from_secs(1);
    let issued_later = issued_later.issued_at(testing::clock::NOW.saturating_add(a_second)).mint();
    for instance in [&one, &other, &later] {
        let all = instance.api.revocations().in_force(2);
        let times: Vec<_> = all.iter().map(|one| one.revoked_at()).collect();
        assert_eq!(times, [Some(testing::clock::NOW)]);
        instance.clock.step(a_second);
        assert_eq!(instance.status(&token).await, StatusCode::UNAUTHORIZED);
        assert_eq!(instance.status(&issued_later).await, StatusCode::OK);
    }
}

#[tokio::test]
async fn instance_without_a_connection_that_waits_fetches_cutoffs() {
    let Some((server, authorization)) = world().await else { return };
    let fetches = || {
        let tier = RedisTier::new(server.manager(""), secret()).flush_timeout(LONG);
        Instance::of_tier(&authorization, Issuer::jwt(AS), tier)
    };
    let (one, other) = (fetches(), fetches());
    one.is_current().await;
    other.is_current().await;
    for n in 0..1000 {
        one.revoke(&n.to_string());
    }
    one.tells("alice").await;
    other.tells("bob").await;
    one.knows("bob").await;
    until(async || other.api.revocations().len() == 1002).await;
    assert_eq!(one.cutoffs(), other.cutoffs());
    has_entries(&server.connection().await, 1002).await;
}

#[test]
fn feed_outlives_the_runtime_that_started_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let servers = runtime();
    let Some(server) = servers.block_on(Server::start(&[])) else { return };
    let authorization = authorization();
    let first = runtime();
    let one = first.block_on(async {
        let one = Instance::new(&server, &authorization);
        one.is_current().await;
        one.tells("alice").await;
        one
    });
    drop(first);
    assert_eq!(one.state(), FeedState::Behind, "it hears nothing any more");
    one.revoke("bob");
    assert!(one.knows_now("bob"));
    runtime().block_on(async {
        one.tells("carol").await;
        one.is_current().await;
        let other = Instance::new(&server, &authorization);
        other.is_current().await;
        assert_eq!(other.cutoffs(), one.cutoffs());
        assert_eq!(other.api.revocations().len(), 3);
        other.tells("dave").await;
        one.knows("dave").await;
    });
}

#[tokio::test]
async fn two_services_share_one_redis_under_different_prefixes() {
    let Some((server, authorization)) = world().await else { return };
    let of = |prefix: &'static str| {
        Instance::with(&server, &authorization, move |tier| tier.prefix(prefix))
    };
    let (one, other_one, two) = (of("one:"), of("one:"), of("two:"));
    for instance in [&one, &other_one, &two] {
        instance.is_current().await;
    }
    one.tells("alice").await;
    two.tells("bob").await;
    other_one.knows("alice").await;
    assert!(!other_one.knows_now("bob") && !two.knows_now("alice"));
    let mut connection = server.connection().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    assert!(!keys.iter().any(|key| key == MAP));
    let mut keys: Vec<_> = keys.iter().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "one:{cutoffs:1}:log",
            "one:{cutoffs:1}:map",
            "two:{cutoffs:1}:log",
            "two:{cutoffs:1}:map"
        ]
    );
}

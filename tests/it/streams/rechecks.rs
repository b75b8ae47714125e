//! The token of a stream is verified again, and judged by what the request had to meet.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tower_introspect::{
    claims::Claims,
    clock::Moment,
    verify::{ActiveToken, Method, verify_fn},
};

use super::*;

#[tokio::test(start_paused = true)]
async fn stream_ends_within_max_age_after_its_token_was_revoked_at_the_server() {
    let world = World::new(remote());
    let token = world.opaque();
    let mut open = open(&world, &token, GRPC).await;
    pass(20 * MAX_AGE / 10).await;
    assert_eq!(open.see().await, Seen::Nothing);
    world.server.revoke(&token);
    pass(MAX_AGE + SEC).await;
    assert!(open.handler_is_dropped());
    assert_eq!(open.see().await, Seen::Status("16".into(), true));
    assert_eq!(open.reason(), Some("inactive"));
}

/// The streams of a subject are asked about once, and those of good tokens go on.
async fn expect_questions_at_once(change: impl Fn(&Revocations, &Cutoff)) {
    let world = World::new(remote());
    let (revoked, other) = (world.opaque(), world.opaque());
    let (ended, mut going) = (open(&world, &revoked, GRPC).await, open(&world, &other, GRPC).await);
    let asked = world.asked();
    world.server.revoke(&revoked);
    pass(SEC).await;
    change(world.api.revocations(), &Cutoff::subject(ISSUER, "alice"));
    pass(SEC).await;
    assert_eq!(ended.reason(), Some("inactive"));
    assert_eq!(going.see().await, Seen::Nothing);
    assert_eq!(world.asked(), asked + 2);
    pass(SEC).await;
    assert_eq!(world.asked(), asked + 2, "asked about again");
}

#[tokio::test(start_paused = true)]
async fn cutoff_asks_about_an_introspected_token_at_once() {
    expect_questions_at_once(Revocations::revoke).await;
}

#[tokio::test(start_paused = true)]
async fn outdating_asks_at_once_and_streams_of_good_tokens_go_on() {
    expect_questions_at_once(Revocations::outdate).await;
}

#[tokio::test(start_paused = true)]
async fn outdating_leaves_streams_of_local_jwts_alone() {
    let world = World::new(local());
    let mut open = open(&world, &world.jwt(), GRPC).await;
    for cutoff in [Cutoff::subject(ISSUER, "alice"), Cutoff::issuer(ISSUER)] {
        world.api.revocations().outdate(&cutoff);
        pass(2 * MAX_AGE).await;
        assert_eq!(open.see().await, Seen::Nothing);
    }
    assert_eq!(open.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn eviction_asks_at_once() {
    let world = World::new(remote());
    let token = world.opaque();
    let open = open(&world, &token, GRPC).await;
    world.server.revoke(&token);
    pass(SEC).await;
    assert_eq!(open.reason(), None);
    assert!(world.api.evict(&Token::bearer(&token).unwrap()));
    pass(SEC).await;
    assert_eq!(open.reason(), Some("inactive"));
}

#[tokio::test(start_paused = true)]
async fn eviction_while_the_token_is_being_verified_asks_once_more() {
    let verifier = Scripted::new();
    let policy = Policy::new(AUDIENCE).clock(verifier.clock.clone());
    let introspect = IntrospectLayer::new(verifier.clone(), policy);
    let leases = Leases::new(verifier.clone()).clock(verifier.clock.clone());
    let layer = StreamLayer::new(introspect, leases.clone());
    let open = Open::with(&layer, bearer("abc"), GRPC).await;
    let _ = verifier.clone().takes(SEC);
    while verifier.under_way() == 0 {
        pass(SEC / 10).await;
    }
    // The verification that is under way may have missed the revocation.
    verifier.always(Act::refuse(ErrorKind::Inactive));
    leases.recheck(&Token::bearer("abc").unwrap());
    pass(3 * SEC).await;
    assert_eq!(open.reason(), Some("inactive"));
    assert_eq!(verifier.requested_freshness().last(), Some(&Freshness::Live));
}

#[tokio::test(start_paused = true)]
async fn streams_of_one_token_share_one_question_for_each_period() {
    let world = World::new(remote());
    let token = world.opaque();
    let mut streams = Vec::new();
    for _ in 0..500 {
        streams.push(open(&world, &token, PLAIN).await);
    }
    let asked = world.asked();
    pass(20 * MAX_AGE).await;
    let periods = world.asked() - asked;
    // At 60 to 80 % of the maximum age.
    assert!((25..=34).contains(&periods), "{periods}");
    drop(streams);
    settle().await;
    assert_eq!(world.api.leases().open(), 0);
    let asked = world.asked();
    pass(2 * MAX_AGE).await;
    assert_eq!(world.asked(), asked, "nobody is left to ask for");
}

#[tokio::test(start_paused = true)]
async fn jwt_that_is_verified_locally_is_not_verified_again() {
    let world = World::new(local());
    let token = world.jwt();
    let _open = open(&world, &token, PLAIN).await;
    let before = world.api.stats();
    pass(4 * MAX_AGE).await;
    assert_eq!(world.api.stats().misses, before.misses);
}

#[tokio::test(start_paused = true)]
async fn outage_ends_streams_as_unavailable_at_their_last_good_age() {
    for (more, at_least, at_most) in
        [(Duration::ZERO, 24 * SEC, 30 * SEC), (60 * SEC, 84 * SEC, 90 * SEC)]
    {
        for fault in [
            Fault::hang(),
            Fault::status(StatusCode::SERVICE_UNAVAILABLE),
            Fault::status(StatusCode::UNAUTHORIZED),
        ] {
            let world = World::with(|api| api.issuer(remote()).stale_if_error(more));
            let mut open = open(&world, &world.opaque(), GRPC).await;
            world.server.inject(Endpoint::Introspection, fault);
            pass(at_least - SEC).await;
            assert_eq!(open.see().await, Seen::Nothing);
            pass(at_most - at_least + SEC + Duration::from_millis(200)).await;
            assert!(open.handler_is_dropped());
            assert_eq!(open.see().await, Seen::Status("14".into(), false));
            assert_eq!(open.reason(), Some("unverified"));
            assert_eq!(open.end().unwrap().close_code(), 1013);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stream_that_is_opened_on_old_facts_is_verified_again_before_it_would_end() {
    let world = World::new(remote());
    for n in 0..10 {
        let token = world.server.opaque().subject(&n.to_string()).audience(AUDIENCE).mint();
        world.status(&token).await;
        pass(29 * SEC + SEC / 2).await;
        let open = open(&world, &token, GRPC).await;
        pass(40 * SEC).await;
        assert_eq!(open.reason(), None);
        // As revoked as any other.
        world.server.revoke(&token);
        pass(MAX_AGE + SEC).await;
        assert_eq!(open.reason(), Some("inactive"));
    }
}

#[tokio::test(start_paused = true)]
async fn short_maximum_age_leaves_a_slow_server_time_to_answer() {
    for max_age in [Duration::ZERO, SEC, 3 * SEC] {
        let world = World::with(|api| api.issuer(remote()).max_age(max_age));
        let token = world.opaque();
        world.server.inject(Endpoint::Introspection, Fault::delay(3 * SEC / 2));
        let (api, text) = (world.api.clone(), token.clone());
        let open = tokio::spawn(async move { open_at(&api, &text, GRPC).await });
        pass(3 * SEC).await;
        let open = open.await.unwrap();
        pass(60 * SEC).await;
        assert_eq!(open.reason(), None, "{max_age:?}");
        world.server.revoke(&token);
        pass(max_age + 5 * SEC).await;
        assert_eq!(open.reason(), Some("inactive"), "{max_age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn verifier_that_repeats_old_facts_is_asked_with_pauses_until_the_stream_ends() {
    let clock = Scripted::new().clock;
    let (first, calls) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let (facts, count, wall) = (Arc::clone(&first), Arc::clone(&calls), clock.clone());
    let verifier = verify_fn(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let active = facts.get_or_init(|| {
            let claims =
                Claims::from_json(format!(r#"{{"sub":"a","aud":"{AUDIENCE}"}}"#).as_bytes());
            let now = Moment::now(&wall);
            ActiveToken::new(ISSUER, claims.unwrap(), Method::Introspection, now)
        });
        let active = active.clone();
        async move { Ok(active) }
    });
    let introspect =
        IntrospectLayer::new(verifier.clone(), Policy::new(AUDIENCE).clock(clock.clone()));
    let leases = Leases::new(verifier).clock(clock).stale_if_error(60 * SEC);
    let open = Open::with(&StreamLayer::new(introspect, leases), bearer("abc"), GRPC).await;
    pass(83 * SEC).await;
    assert_eq!(open.reason(), None);
    pass(8 * SEC).await;
    assert_eq!(open.reason(), Some("unverified"));
    assert!(calls.load(Ordering::SeqCst) < 40, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn stream_goes_on_with_stale_facts_for_ever_if_that_is_the_setting() {
    let world = World::with(|api| api.issuer(remote()).stale_if_error(Duration::MAX));
    let open = open(&world, &world.opaque(), GRPC).await;
    pass(4 * MAX_AGE).await;
    assert_eq!(open.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn stream_survives_an_outage_that_ends_in_time() {
    let world = World::with(|api| api.issuer(remote()).stale_if_error(60 * SEC));
    let mut open = open(&world, &world.opaque(), GRPC).await;
    world.server.inject(Endpoint::Introspection, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
    pass(60 * SEC).await;
    world.server.clear(Endpoint::Introspection);
    pass(120 * SEC).await;
    assert_eq!(open.see().await, Seen::Nothing);
}

#[tokio::test(start_paused = true)]
async fn endings_for_want_of_an_answer_are_spread() {
    let world = World::new(remote());
    let mut streams = Vec::new();
    for n in 0..100 {
        let token = world.server.opaque().subject(&format!("user-{n}")).audience(AUDIENCE).mint();
        streams.push(open(&world, &token, PLAIN).await);
    }
    world.server.inject(Endpoint::Introspection, Fault::status(StatusCode::SERVICE_UNAVAILABLE));
    let mut ended = Vec::new();
    for _ in 0..31 {
        pass(SEC).await;
        ended.push(streams.iter().filter(|open| open.reason().is_some()).count());
    }
    assert_eq!(ended.last(), Some(&100), "{ended:?}");
    let most_in_a_second = ended.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(most_in_a_second < Some(40), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn requirements_of_the_request_are_judged_by_new_facts() {
    // The policy, a layer, and a handler.
    for place in 0..3 {
        let world = World::with(|api| {
            let api = api.issuer(remote());
            if place == 0 { api.require(Requirement::all_scopes(["read"])) } else { api }
        });
        let token = world.server.opaque().audience(AUDIENCE).scope("read write").mint();
        let mut open = match place {
            1 => {
                let layers = tower::ServiceBuilder::new()
                    .layer(world.api.streams())
                    .layer(RequireScope::all(["read"]));
                Open::with(&layers.into_inner(), bearer(&token), GRPC).await
            }
            _ => open(&world, &token, GRPC).await,
        };
        if place == 2 {
            open.lease().require(&Requirement::all_scopes(["read"])).unwrap();
            let refused = open.lease().require(&Requirement::all_scopes(["admin"])).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InsufficientScope);
        }
        world.server.set_claim(&token, "scope", "write");
        pass(MAX_AGE + SEC).await;
        assert_eq!(open.see().await, Seen::Status("7".into(), true), "{place}");
        assert_eq!(open.reason(), Some("insufficient_scope"));
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_opened_with_newer_facts_put_off_no_judgement_of_the_others() {
    let world = World::new(remote());
    let token = world.server.opaque().audience(AUDIENCE).scope("read write").mint();
    let writes = open(&world, &token, GRPC).await;
    writes.lease().require(&Requirement::all_scopes(["write"])).unwrap();
    world.server.set_claim(&token, "scope", "read");
    let live = world.api.streams().introspect(|introspect| introspect.freshness(Freshness::Live));
    let asked = world.asked();
    // Each is admitted by the newest facts, which are good enough for it.
    for _ in 0..35 {
        let reads = Open::with(&live, bearer(&token), GRPC).await;
        assert_eq!(reads.status(), StatusCode::OK);
        pass(SEC).await;
        assert_eq!(reads.reason(), None);
    }
    assert_eq!(writes.reason(), Some("insufficient_scope"));
    assert!(world.asked() - asked <= 2 * 35, "one for each request, and one a second");
}

#[tokio::test(start_paused = true)]
async fn requirement_for_each_message_is_kept_once() {
    let world = World::new(remote());
    let open = open(&world, &world.opaque(), GRPC).await;
    for _ in 0..100_000 {
        open.lease().require(&!Requirement::all_scopes(["admin"])).unwrap();
    }
    pass(MAX_AGE).await;
    assert_eq!(open.reason(), None);
    let mut new = (0..100).map(|_| open.lease().require(&Requirement::check_fn(|_| Ok(()))));
    let refused = new.find_map(Result::err).expect("they are limited in number");
    assert_eq!(refused.kind(), ErrorKind::Misconfigured);
    pass(MAX_AGE).await;
    assert_eq!(open.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn max_age_of_a_login_is_judged_at_admission_only() {
    let world = World::with(|api| {
        api.issuer(remote()).require(Requirement::max_age(Duration::from_secs(300)))
    });
    let token = world.server.opaque().audience(AUDIENCE).expires_in(3600 * SEC);
    let token = token.claim("auth_time", world.clock.now().as_secs()).mint();
    let mut open = open(&world, &token, GRPC).await;
    pass(400 * SEC).await;
    assert_eq!(open.see().await, Seen::Nothing);
}

#[tokio::test(start_paused = true)]
async fn requirement_that_can_not_be_checked_ends_the_stream_without_blame() {
    let world = World::new(remote());
    let mut open = open(&world, &world.opaque(), GRPC).await;
    let is_down = Arc::new(AtomicBool::new(false));
    let store = Arc::clone(&is_down);
    let requirement = Requirement::check_fn(move |_| match store.load(Ordering::SeqCst) {
        true => Err(ErrorKind::Unavailable.into()),
        false => Ok(()),
    });
    open.lease().require(&requirement).unwrap();
    pass(2 * MAX_AGE).await;
    assert_eq!(open.see().await, Seen::Nothing);
    is_down.store(true, Ordering::SeqCst);
    pass(MAX_AGE).await;
    assert_eq!(open.see().await, Seen::Status("14".into(), false));
    assert_eq!(open.reason(), Some("unverified"));
}

#[tokio::test(start_paused = true)]
async fn ages_that_a_handler_asks_for_are_those_of_now() {
    let world = World::new(remote());
    let token = world.server.opaque().audience(AUDIENCE).expires_in(3600 * SEC);
    let token = token.claim("auth_time", world.clock.now().as_secs()).mint();
    let open = open(&world, &token, GRPC).await;
    let (fresh, login) = (Requirement::fresh(5 * SEC), Requirement::max_age(60 * SEC));
    assert!(open.lease().require(&fresh).is_ok() && open.lease().require(&login).is_ok());
    pass(10 * SEC).await;
    assert_eq!(open.lease().token().unwrap().facts_age(), 10 * SEC);
    assert_eq!(open.lease().require(&fresh).unwrap_err().kind(), ErrorKind::Misconfigured);
    pass(90 * SEC).await;
    let refused = open.lease().require(&login).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InsufficientAuthentication);
    // What was met once does not end the stream.
    assert_eq!(open.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn only_watching_asks_nothing_and_still_ends_by_cutoffs_and_expiry() {
    let world = World::new(remote());
    let token = world.opaque();
    let layer = world.api.streams().only_watch();
    let open = Open::with(&layer, bearer(&token), GRPC).await;
    let asked = world.asked();
    pass(4 * MAX_AGE).await;
    assert_eq!((world.asked(), open.reason()), (asked, None));
    // Not told of a revocation, it goes on. A cutoff has the server asked.
    world.server.revoke(&token);
    pass(2 * MAX_AGE).await;
    assert_eq!(open.reason(), None);
    world.api.revocations().revoke(&Cutoff::issuer(ISSUER));
    pass(SEC).await;
    assert_eq!((world.asked(), open.reason()), (asked + 1, Some("inactive")));
}

#[tokio::test(start_paused = true)]
async fn other_user_in_the_facts_of_the_same_token_ends_the_stream() {
    let world = World::new(remote());
    let token = world.opaque();
    let open = open(&world, &token, GRPC).await;
    world.server.set_claim(&token, "sub", "mallory");
    pass(MAX_AGE).await;
    assert_eq!(open.reason(), Some("denied"));
}

#[tokio::test(start_paused = true)]
async fn stream_of_a_bound_token_goes_on_without_another_proof() {
    let world = World::with(|api| api.issuer(remote()).dpop(Dpop::new(AUDIENCE).unwrap()));
    let prover = Prover::new("client").with_clock(world.clock.clone());
    let token = world.server.opaque().subject("alice").audience(AUDIENCE).bound_to(&prover).mint();
    let request = || {
        let proof = prover.proof("GET", &format!("{AUDIENCE}/")).for_token(&token).mint();
        request(&[("authorization", &format!("DPoP {token}")), ("dpop", &proof)])
    };
    let mut open = Open::with(&world.api.streams(), request(), GRPC).await;
    assert_eq!(open.status(), StatusCode::OK, "{:?}", refusal(&open));
    pass(3 * MAX_AGE).await;
    assert_eq!(open.see().await, Seen::Nothing);
    // The token is bound to another key now.
    world.server.set_claim(&token, "cnf", serde_json::json!({"jkt": "another"}));
    pass(MAX_AGE).await;
    assert_eq!(open.see().await, Seen::Status("16".into(), true));
    assert_eq!(open.reason(), Some("unproven_possession"));
}

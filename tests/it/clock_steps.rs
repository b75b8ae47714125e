//! The wall clock of this service is stepped by an hour or a year in either direction. That of the
//! authorization server is not.
//!
//! No cache entry becomes younger, and each response is the same as without a cache.

use std::time::Duration;

use tokio::time::sleep;
use tower_introspect::{
    ErrorKind, Issuer,
    clock::{Clock, UnixTime},
    resource_server::ResourceServerBuilder,
    revocation::Cutoff,
    test_util::{Endpoint, Fault, TestClock},
    verify::BreakerState,
};

use crate::{
    support::{AUDIENCE, ISSUER, refusal},
    world::{World, auth, remote},
};

const SEC: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const YEAR: Duration = Duration::from_secs(31_536_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Back(Duration),
    Forward(Duration),
}

const STEPS: [Step; 4] =
    [Step::Back(HOUR), Step::Back(YEAR), Step::Forward(HOUR), Step::Forward(YEAR)];

impl Step {
    fn is_back(self) -> bool {
        matches!(self, Self::Back(_))
    }

    fn apply(self, clock: &TestClock) {
        match self {
            Self::Back(by) => clock.step_back(by),
            Self::Forward(by) => clock.step(by),
        }
    }

    fn reversed(self) -> Self {
        match self {
            Self::Back(by) => Self::Forward(by),
            Self::Forward(by) => Self::Back(by),
        }
    }
}

/// A resource server whose clock is separate from that of the authorization server and shows the
/// same time at first.
fn with_own_clock(
    change: impl FnOnce(ResourceServerBuilder) -> ResourceServerBuilder,
) -> (World, TestClock) {
    let own_clock = TestClock::new(UnixTime::from_secs(1_800_000_000));
    let world = World::with(|api| change(api.clock(own_clock.clone())));
    assert_eq!(own_clock.now(), world.clock.now());
    (world, own_clock)
}

/// A token without dates.
fn undated_token(world: &World) -> String {
    world.server.opaque().subject("alice").audience(AUDIENCE).without("exp").without("iat").mint()
}

#[tokio::test(start_paused = true)]
async fn clock_step_makes_no_cache_entry_younger() {
    for step in STEPS {
        let (world, own_clock) = with_own_clock(|api| api.issuer(remote()));
        let token = undated_token(&world);
        assert_eq!(world.status(&token).await, 200);
        sleep(SEC * 10).await;
        step.apply(&own_clock);
        assert_eq!(world.status(&token).await, 200, "{step:?}");
        // After a step forward, as after a suspend, the age is unknown. After a step back it is ten
        // seconds.
        let asked = if step.is_back() { 1 } else { 2 };
        assert_eq!(world.asked(), asked, "{step:?}");

        // The bound holds for the time that really passed.
        world.server.revoke(&token);
        sleep(SEC * if step.is_back() { 20 } else { 30 }).await;
        assert_eq!(world.status(&token).await, 401, "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn entry_cached_under_a_wrong_clock_becomes_no_younger_when_the_clock_is_corrected() {
    for step in STEPS {
        let (world, own_clock) = with_own_clock(|api| api.issuer(remote()));
        let token = undated_token(&world);
        step.apply(&own_clock);
        assert_eq!(world.status(&token).await, 200, "{step:?}");
        step.reversed().apply(&own_clock);
        world.server.revoke(&token);
        sleep(SEC * 30).await;
        assert_eq!(world.status(&token).await, 401, "{step:?}");
    }
}

/// In all modes, with a new and a cached token.
#[tokio::test(start_paused = true)]
async fn cache_changes_no_response() {
    let modes: [fn() -> Issuer; 4] = [
        remote,
        || Issuer::jwt(ISSUER),
        || Issuer::hybrid(ISSUER, auth()),
        || Issuer::jwt_and_introspect(ISSUER, auth(), SEC * 10),
    ];
    for mode in modes {
        for step in STEPS {
            let (cached, own_clock) = with_own_clock(|api| api.issuer(mode()));
            let (uncached, other) = with_own_clock(|api| api.issuer(mode()).without_cache());
            let tokens = [&cached, &uncached].map(World::jwt);
            let same = async |when: &str| {
                let [one, two] = [
                    refusal(&cached.present(&tokens[0]).await),
                    refusal(&uncached.present(&tokens[1]).await),
                ];
                assert_eq!(one, two, "{when}, {step:?}");
                one
            };
            assert_eq!(same("before").await, None);
            for clock in [&own_clock, &other] {
                step.apply(clock);
            }
            let expected = match step {
                Step::Back(_) => Some(ErrorKind::NotYetValid),
                Step::Forward(HOUR) => None,
                Step::Forward(_) => Some(ErrorKind::Expired),
            };
            assert_eq!(same("stepped").await, expected, "{step:?}");
            assert_eq!(same("stepped and cached").await, expected, "{step:?}");
            for clock in [&own_clock, &other] {
                step.reversed().apply(clock);
            }
            assert_eq!(same("corrected").await, None, "{step:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cached_refusal_is_kept_for_five_seconds() {
    for step in STEPS {
        let (world, own_clock) = with_own_clock(|api| api.issuer(remote()));
        assert_eq!(world.status("soon").await, 401);
        let token = world.server.opaque().text("soon").audience(AUDIENCE).without("exp");
        let token = token.without("iat").mint();
        sleep(SEC).await;
        step.apply(&own_clock);
        let expected = if step.is_back() { 401 } else { 200 };
        assert_eq!(world.status(&token).await, expected, "{step:?}");
        sleep(SEC * 4).await;
        assert_eq!(world.status(&token).await, 200, "{step:?}");
        assert_eq!(world.asked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn open_breaker_goes_by_the_monotonic_clock_and_closes_again() {
    for step in STEPS {
        let (world, own_clock) = with_own_clock(|api| api.issuer(remote()));
        world.api.warm().await.unwrap();
        world.server.inject(Endpoint::Introspection, Fault::unreachable());
        while world.api.stats().breaker == BreakerState::Closed {
            assert_eq!(world.status(&undated_token(&world)).await, 503);
        }
        let passed = world.api.stats().upstream_calls;
        step.apply(&own_clock);
        for _ in 0..20 {
            assert_eq!(world.status(&undated_token(&world)).await, 503);
        }
        assert_eq!(world.api.stats().upstream_calls, passed, "{step:?}");
        world.server.clear(Endpoint::Introspection);
        sleep(SEC * 6).await;
        assert_eq!(world.status(&undated_token(&world)).await, 200, "{step:?}");
        assert_eq!(world.api.stats().breaker, BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn cutoff_stays_in_force() {
    for step in STEPS {
        for issuer in [Issuer::jwt(ISSUER), remote()] {
            let (world, own_clock) = with_own_clock(|api| api.issuer(issuer));
            let token = world.jwt();
            assert_eq!(world.status(&token).await, 200);
            sleep(SEC).await;
            world.server.revoke(&token);
            world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
            step.apply(&own_clock);
            assert_eq!(world.status(&token).await, 401, "{step:?}");
            step.reversed().apply(&own_clock);
            assert_eq!(world.status(&token).await, 401, "{step:?}");
        }
    }
}

/// Facts introspected before a cutoff are void, in the order in which this process saw both,
/// whatever the clock showed.
#[tokio::test(start_paused = true)]
async fn cutoff_set_under_a_wrong_clock_holds() {
    for step in STEPS {
        let (world, own_clock) = with_own_clock(|api| api.issuer(remote()));
        let token = undated_token(&world);
        assert_eq!(world.status(&token).await, 200);
        sleep(SEC).await;
        world.server.revoke(&token);
        step.apply(&own_clock);
        world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
        assert_eq!(world.status(&token).await, 401, "{step:?}");
        step.reversed().apply(&own_clock);
        assert_eq!(world.status(&token).await, 401, "{step:?}");
    }
}

/// JWTs are revoked by their `iat`. The clock of their issuer may be ahead by as much as the policy
/// tolerates.
#[tokio::test(start_paused = true)]
async fn cutoff_holds_for_jwts_of_an_issuer_whose_clock_is_ahead() {
    for ahead in [1, 5, 29] {
        let (world, own_clock) = with_own_clock(|api| api.issuer(Issuer::jwt(ISSUER)));
        own_clock.step_back(SEC * ahead);
        let token = world.jwt();
        assert_eq!(world.status(&token).await, 200);
        sleep(SEC * ahead / 2).await;
        world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
        assert_eq!(world.status(&token).await, 401, "{ahead} s");
    }
}

#[tokio::test(start_paused = true)]
async fn cutoff_set_under_a_wrong_clock_holds_for_jwts() {
    for step in STEPS {
        let (world, own_clock) = with_own_clock(|api| api.issuer(Issuer::jwt(ISSUER)));
        let token = world.jwt();
        assert_eq!(world.status(&token).await, 200);
        sleep(SEC).await;
        step.apply(&own_clock);
        world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
        assert_eq!(world.status(&token).await, 401, "{step:?}");
        step.reversed().apply(&own_clock);
        assert_eq!(world.status(&token).await, 401, "{step:?}");
    }
}

/// The system clock of a machine that has just started, until it is set.
#[derive(Clone, Debug)]
struct Booting(TestClock);

impl Clock for Booting {
    fn now(&self) -> UnixTime {
        self.0.now()
    }

    fn can_be_right(&self, time: UnixTime) -> bool {
        time >= UnixTime::from_secs(1_735_689_600)
    }
}

#[tokio::test(start_paused = true)]
async fn no_token_is_admitted_while_the_system_clock_is_certainly_wrong() {
    for is_local in [true, false] {
        for start in [0, 1_000_000_000, 1_577_836_800] {
            let own_clock = TestClock::new(UnixTime::from_secs(start));
            let issuer = if is_local { Issuer::jwt(ISSUER) } else { remote() };
            let world = World::with(|api| api.issuer(issuer).clock(Booting(own_clock.clone())));
            let mint = |lifetime| match is_local {
                true => world.server.jwt().audience(AUDIENCE).expires_in(lifetime).mint(),
                // Its `iat` would show that the time is wrong.
                false => world
                    .server
                    .opaque()
                    .audience(AUDIENCE)
                    .expires_in(lifetime)
                    .without("iat")
                    .mint(),
            };
            let (good, expired) = (mint(HOUR), mint(SEC));
            assert_eq!(world.present(&expired).await.status(), 503);
            sleep(SEC * 60).await;
            for token in [&good, &expired] {
                let response = world.present(token).await;
                let expected = match (is_local, token == &expired) {
                    // The server knows better.
                    (false, true) => (401, ErrorKind::Inactive),
                    _ => (503, ErrorKind::ClockWrong),
                };
                let refused = refusal(&response).unwrap();
                assert_eq!((response.status().as_u16(), refused), expected, "{start}");
                assert_eq!(response.headers().contains_key("retry-after"), expected.0 == 503);
            }
            own_clock.step(Duration::from_secs(1_800_000_000 - start.unsigned_abs()));
            assert_eq!(world.status(&good).await, 200);
            assert_eq!(world.status(&expired).await, 401);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ended_cutoffs_come_back_with_no_step_of_the_clock() {
    for step in STEPS {
        let (world, own_clock) =
            with_own_clock(|api| api.issuer(Issuer::jwt(ISSUER)).max_token_lifetime(HOUR * 10));
        let token = world.jwt();
        assert_eq!(world.status(&token).await, 200);
        world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
        step.apply(&own_clock);
        // Removes what has ended.
        assert_eq!(world.api.revocations().len(), 1, "{step:?}");
        step.reversed().apply(&own_clock);
        assert_eq!(world.status(&token).await, 401, "{step:?}");
        sleep(HOUR * 10 + SEC * 599).await;
        assert_eq!(world.api.revocations().len(), 1);
        sleep(SEC).await;
        assert!(world.api.revocations().is_empty());
        assert_eq!(world.status(&token).await, 401, "{step:?}");
    }
}

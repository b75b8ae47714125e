//! The wall clock of this machine is stepped, by an hour and by a year, either way. The authorization
//! server's goes on.
//!
//! Nothing that is remembered becomes younger by that, and what is answered is what would be answered
//! if nothing were remembered.

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

    fn of(self, clock: &TestClock) {
        match self {
            Self::Back(by) => clock.step_back(by),
            Self::Forward(by) => clock.step(by),
        }
    }

    fn undone(self) -> Self {
        match self {
            Self::Back(by) => Self::Forward(by),
            Self::Forward(by) => Self::Back(by),
        }
    }
}

/// A resource server with a clock of its own, which shows what the authorization server's shows.
fn apart(
    change: impl FnOnce(ResourceServerBuilder) -> ResourceServerBuilder,
) -> (World, TestClock) {
    let mine = TestClock::new(UnixTime::from_secs(1_800_000_000));
    let world = World::with(|api| change(api.clock(mine.clone())));
    assert_eq!(mine.now(), world.clock.now());
    (world, mine)
}

/// A token that says nothing about time.
fn timeless(world: &World) -> String {
    world.server.opaque().subject("alice").audience(AUDIENCE).without("exp").without("iat").mint()
}

#[tokio::test(start_paused = true)]
async fn a_remembered_answer_is_no_younger() {
    for step in STEPS {
        let (world, mine) = apart(|api| api.issuer(remote()));
        let token = timeless(&world);
        assert_eq!(world.status(&token).await, 200);
        sleep(SEC * 10).await;
        step.of(&mine);
        assert_eq!(world.status(&token).await, 200, "{step:?}");
        // Forward, as after a suspend: nobody knows how old it is. Back: it is ten seconds old.
        let asked = if step.is_back() { 1 } else { 2 };
        assert_eq!(world.asked(), asked, "{step:?}");

        // The bound holds by the time that passed.
        world.server.revoke(&token);
        sleep(SEC * if step.is_back() { 20 } else { 30 }).await;
        assert_eq!(world.status(&token).await, 401, "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_wrong_clock_remembered_is_no_younger_when_it_is_right_again() {
    for step in STEPS {
        let (world, mine) = apart(|api| api.issuer(remote()));
        let token = timeless(&world);
        step.of(&mine);
        assert_eq!(world.status(&token).await, 200, "{step:?}");
        step.undone().of(&mine);
        world.server.revoke(&token);
        sleep(SEC * 30).await;
        assert_eq!(world.status(&token).await, 401, "{step:?}");
    }
}

/// In all modes, with all kinds of token, remembered or not.
#[tokio::test(start_paused = true)]
async fn memory_changes_no_answer() {
    let modes: [fn() -> Issuer; 4] = [
        remote,
        || Issuer::jwt(ISSUER),
        || Issuer::hybrid(ISSUER, auth()),
        || Issuer::jwt_and_introspect(ISSUER, auth(), SEC * 10),
    ];
    for mode in modes {
        for step in STEPS {
            let (remembering, mine) = apart(|api| api.issuer(mode()));
            let (forgetful, other) = apart(|api| api.issuer(mode()).without_cache());
            let tokens = [&remembering, &forgetful].map(World::jwt);
            let same = async |when: &str| {
                let [one, two] = [
                    refusal(&remembering.present(&tokens[0]).await),
                    refusal(&forgetful.present(&tokens[1]).await),
                ];
                assert_eq!(one, two, "{when}, {step:?}");
                one
            };
            assert_eq!(same("before").await, None);
            for clock in [&mine, &other] {
                step.of(clock);
            }
            let expected = match step {
                Step::Back(_) => Some(ErrorKind::NotYetValid),
                Step::Forward(HOUR) => None,
                Step::Forward(_) => Some(ErrorKind::Expired),
            };
            assert_eq!(same("stepped").await, expected, "{step:?}");
            assert_eq!(same("and remembered").await, expected, "{step:?}");
            for clock in [&mine, &other] {
                step.undone().of(clock);
            }
            assert_eq!(same("put right").await, None, "{step:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_remembered_refusal_is_no_older_and_no_younger_than_five_seconds() {
    for step in STEPS {
        let (world, mine) = apart(|api| api.issuer(remote()));
        assert_eq!(world.status("soon").await, 401);
        let token = world.server.opaque().text("soon").audience(AUDIENCE).without("exp");
        let token = token.without("iat").mint();
        sleep(SEC).await;
        step.of(&mine);
        let expected = if step.is_back() { 401 } else { 200 };
        assert_eq!(world.status(&token).await, expected, "{step:?}");
        sleep(SEC * 4).await;
        assert_eq!(world.status(&token).await, 200, "{step:?}");
        assert_eq!(world.asked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_breaker_neither_stays_open_nor_lets_more_than_one_through() {
    for step in STEPS {
        let (world, mine) = apart(|api| api.issuer(remote()));
        world.api.warm().await.unwrap();
        world.server.inject(Endpoint::Introspection, Fault::unreachable());
        while world.api.stats().breaker == BreakerState::Closed {
            assert_eq!(world.status(&timeless(&world)).await, 503);
        }
        let passed = world.api.stats().upstream_calls;
        step.of(&mine);
        for _ in 0..20 {
            assert_eq!(world.status(&timeless(&world)).await, 503);
        }
        // Forward, its pause seems to be over: one goes to see.
        let probes = world.api.stats().upstream_calls - passed;
        assert_eq!(probes, u64::from(!step.is_back()), "{step:?}");
        world.server.clear(Endpoint::Introspection);
        sleep(SEC * 6).await;
        assert_eq!(world.status(&timeless(&world)).await, 200, "{step:?}");
        assert_eq!(world.api.stats().breaker, BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cutoff_goes_on_to_hold() {
    for step in STEPS {
        for issuer in [Issuer::jwt(ISSUER), remote()] {
            let (world, mine) = apart(|api| api.issuer(issuer));
            let token = world.jwt();
            assert_eq!(world.status(&token).await, 200);
            sleep(SEC).await;
            world.server.revoke(&token);
            world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
            step.of(&mine);
            assert_eq!(world.status(&token).await, 401, "{step:?}");
            step.undone().of(&mine);
            assert_eq!(world.status(&token).await, 401, "{step:?}");
        }
    }
}

/// Introspected facts from before a cutoff do not count, in the order in which this process saw both,
/// whatever the clock said of either.
#[tokio::test(start_paused = true)]
async fn a_cutoff_made_known_by_a_wrong_clock_holds() {
    for step in STEPS {
        let (world, mine) = apart(|api| api.issuer(remote()));
        let token = timeless(&world);
        assert_eq!(world.status(&token).await, 200);
        sleep(SEC).await;
        world.server.revoke(&token);
        step.of(&mine);
        world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
        assert_eq!(world.status(&token).await, 401, "{step:?}");
        step.undone().of(&mine);
        assert_eq!(world.status(&token).await, 401, "{step:?}");
    }
}

/// JWTs are revoked by their `iat`, and the clock of who issues them may be ahead by as much as the
/// policy tolerates.
#[tokio::test(start_paused = true)]
async fn a_cutoff_of_now_holds_for_jwts_of_an_issuer_whose_clock_is_ahead() {
    for ahead in [1, 5, 29] {
        let (world, mine) = apart(|api| api.issuer(Issuer::jwt(ISSUER)));
        mine.step_back(SEC * ahead);
        let token = world.jwt();
        assert_eq!(world.status(&token).await, 200);
        sleep(SEC * ahead / 2).await;
        world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
        assert_eq!(world.status(&token).await, 401, "{ahead} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cutoff_made_known_by_a_wrong_clock_holds_for_jwts() {
    for step in STEPS {
        let (world, mine) = apart(|api| api.issuer(Issuer::jwt(ISSUER)));
        let token = world.jwt();
        assert_eq!(world.status(&token).await, 200);
        sleep(SEC).await;
        step.of(&mine);
        world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
        assert_eq!(world.status(&token).await, 401, "{step:?}");
        step.undone().of(&mine);
        assert_eq!(world.status(&token).await, 401, "{step:?}");
    }
}

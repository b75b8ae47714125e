use std::{sync::Arc, time::Duration};

use super::{
    health::{Conclusion, Health, PermitDecision},
    introspection::{Introspection, IntrospectionResult, Judgement, RegistrationId},
    judge::NextCanary,
    recent::{Id, KnownTokensLimit, Time},
    registration::RegistrationSettings,
};
use crate::{error::failure::Failure, telemetry::server_state::ServerState};

const SEC: Time = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(3);

/// A health with registrations whose canaries have succeeded, except that of `Origin::unjudged`.
struct Origin {
    health: Health,
    ids: Vec<RegistrationId>,
}

impl Origin {
    fn unjudged(registrations: usize) -> Self {
        let mut health = Health::new(64, 0);
        let add = |_| {
            let known_tokens = Arc::new(KnownTokensLimit::new(1_000));
            health.add_registration(RegistrationSettings { timeout: TIMEOUT, known_tokens })
        };
        let ids = (0..registrations).map(add).collect();
        Self { health, ids }
    }

    fn new(registrations: usize) -> Self {
        let mut this = Self::unjudged(registrations);
        for (at, id) in this.ids.clone().into_iter().enumerate() {
            this.health.want_canary(id);
            let now = SEC * u32::try_from(at).unwrap();
            assert_eq!(this.health.next_canary(now), NextCanary::Send(id));
            this.end_canary(id, IntrospectionResult::Inactive, now);
        }
        this
    }

    /// Takes the result of a canary that was sent at `now`.
    fn end_canary(&mut self, id: RegistrationId, result: IntrospectionResult, now: Time) {
        self.health.take_canary(id, now, false, result, now);
    }

    /// Sends the next canary, which must be that of `id`, and takes its result.
    fn canary(&mut self, id: RegistrationId, result: IntrospectionResult, now: Time) {
        assert_eq!(self.health.next_canary(now), NextCanary::Send(id), "at {now:?}");
        self.end_canary(id, result, now);
    }

    fn send(&mut self, id: RegistrationId, token: u64, now: Time) -> Introspection {
        let one = self.health.new_introspection(id, Id::of(token), None, now);
        let decision = self.health.admit(&one, now);
        assert!(matches!(decision, PermitDecision::Granted), "{decision:?}");
        self.health.note_sent(&one, now);
        one
    }

    fn introspect(
        &mut self,
        id: RegistrationId,
        token: u64,
        result: IntrospectionResult,
        now: Time,
    ) -> Conclusion {
        let one = self.send(id, token, now);
        let conclusion = self.health.take_result(&one, now, result, now);
        self.health.give_permit_back(&one);
        conclusion
    }

    /// Has the server call a token active, of the subject with the same number.
    fn activate(&mut self, id: RegistrationId, token: u64, now: Time) {
        self.introspect(id, token, IntrospectionResult::Active(Id::of(token)), now);
    }
}

const fn failed(failure: Failure) -> IntrospectionResult {
    IntrospectionResult::Failed(failure)
}

fn judgement(conclusion: Conclusion) -> Judgement {
    match conclusion {
        Conclusion::Judged(judgement) => judgement,
        Conclusion::Waiting(mut receiver) => receiver.try_recv().expect("it is judged"),
        Conclusion::Final => panic!("the outcome stands"),
    }
}

#[test]
fn failure_is_held_against_its_token_only_if_a_later_canary_succeeds() {
    let later = 100 * SEC;
    for (canary, at_fault) in
        [(IntrospectionResult::Inactive, true), (failed(Failure::Broken), false)]
    {
        let mut origin = Origin::new(1);
        let id = origin.ids[0];
        let waiting = origin.introspect(id, 1, failed(Failure::Broken), later);
        origin.canary(id, canary, later);
        let is_fault = matches!(judgement(waiting), Judgement::TokenAtFault { .. });
        assert_eq!(is_fault, at_fault);
    }
}

#[test]
fn canary_that_was_not_sent_judges_nothing() {
    let mut origin = Origin::new(1);
    let id = origin.ids[0];
    let waiting = origin.introspect(id, 1, failed(Failure::Broken), 100 * SEC);
    origin.canary(id, IntrospectionResult::FailedHere, 100 * SEC);
    let Conclusion::Waiting(mut receiver) = waiting else { panic!("{waiting:?}") };
    assert!(receiver.try_recv().is_err(), "it goes on waiting");
    // Another canary is sent, and judges it.
    origin.canary(id, IntrospectionResult::Inactive, 102 * SEC);
    assert!(matches!(receiver.try_recv(), Ok(Judgement::TokenAtFault { .. })));
}

#[test]
fn known_token_is_called_invalid_by_no_error_response() {
    let mut origin = Origin::new(1);
    let id = origin.ids[0];
    origin.activate(id, 1, 10 * SEC);
    for (token, is_invalid) in [(1, false), (2, true)] {
        let now = SEC * u32::try_from(100 * token).unwrap();
        let waiting = origin.introspect(id, token, failed(Failure::InvalidToken), now);
        origin.canary(id, IntrospectionResult::Inactive, now);
        assert_eq!(judgement(waiting), Judgement::TokenAtFault { is_invalid });
    }
}

#[test]
fn missing_endpoint_of_one_issuer_opens_no_breaker_of_the_origin() {
    let mut origin = Origin::new(2);
    let (broken, other) = (origin.ids[0], origin.ids[1]);
    for token in 0..50 {
        let conclusion = origin.introspect(broken, token, failed(Failure::NoEndpoint), 100 * SEC);
        let expected = Judgement::NotTokenAtFault { allows_stale: true, charges_peer: false };
        assert_eq!(judgement(conclusion), expected);
    }
    assert!(!origin.health.is_open(other));
}

#[test]
fn five_failed_connections_without_a_response_between_open_the_breaker_of_the_origin() {
    for responds in [false, true] {
        let mut origin = Origin::new(2);
        let (one, other) = (origin.ids[0], origin.ids[1]);
        for token in 0..5 {
            if responds && token == 3 {
                origin.introspect(other, 99, IntrospectionResult::Inactive, 100 * SEC);
            }
            origin.introspect(one, token, failed(Failure::NotSent), 100 * SEC);
        }
        assert_eq!(origin.health.is_open(other), !responds);
    }
}

#[test]
fn canaries_that_do_not_connect_open_the_origin_only_if_no_one_else_responds() {
    for responds in [false, true] {
        let mut origin = Origin::new(2);
        let (one, other) = (origin.ids[0], origin.ids[1]);
        origin.introspect(one, 1, failed(Failure::NotSent), 100 * SEC);
        origin.canary(one, failed(Failure::NotSent), 100 * SEC);
        if responds {
            origin.introspect(other, 2, IntrospectionResult::Inactive, 101 * SEC);
        }
        origin.health.want_canary(one);
        origin.canary(one, failed(Failure::NotSent), 102 * SEC);
        assert!(origin.health.is_open(one));
        assert_eq!(origin.health.is_open(other), !responds);
    }
}

#[test]
fn known_tokens_of_one_registration_that_hang_open_no_other_breaker() {
    let mut origin = Origin::new(2);
    let (hanging, other) = (origin.ids[0], origin.ids[1]);
    for token in 0..64 {
        origin.activate(hanging, token, 10 * SEC);
    }
    origin.activate(other, 1_000, 10 * SEC);
    for token in 0..64 {
        origin.send(hanging, token, 100 * SEC);
    }
    let now = 102 * SEC;
    let one = origin.health.new_introspection(other, Id::of(1_000_u64), None, now);
    assert!(matches!(origin.health.admit(&one, now), PermitDecision::Waiting(_)));
    assert!(origin.health.give_up(&one, now).is_some());
    assert!(origin.health.is_open(hanging) && !origin.health.is_open(other));
}

#[test]
fn lone_valid_token_that_draws_overload_holds_back_no_unknown_ones() {
    let mut origin = Origin::new(1);
    let id = origin.ids[0];
    origin.activate(id, 1, 10 * SEC);
    for second in (100..160).step_by(5) {
        let now = SEC * second;
        origin.introspect(id, 1, failed(Failure::Overloaded), now);
        if let NextCanary::Send(_) = origin.health.next_canary(now) {
            origin.end_canary(id, IntrospectionResult::Inactive, now);
        }
        origin.introspect(id, 1_000 + u64::from(second), IntrospectionResult::Inactive, now);
    }
}

#[test]
fn unknown_tokens_that_draw_overload_are_charged_if_a_canary_succeeds() {
    for (canary, charges_peer) in
        [(IntrospectionResult::Inactive, true), (failed(Failure::Overloaded), false)]
    {
        let mut origin = Origin::new(1);
        let id = origin.ids[0];
        let waiting = origin.introspect(id, 1, failed(Failure::Overloaded), 100 * SEC);
        origin.canary(id, canary, 100 * SEC);
        let expected = Judgement::NotTokenAtFault { allows_stale: false, charges_peer };
        assert_eq!(judgement(waiting), expected);
    }
}

/// The token of this service was not to be had, so the random one shows nothing about the storage.
#[test]
fn random_canary_closes_no_breaker_that_known_tokens_opened() {
    for (is_own, result, closes) in [
        (false, IntrospectionResult::Inactive, false),
        (true, IntrospectionResult::Inactive, false),
        (true, IntrospectionResult::Active(Id::of(1)), true),
    ] {
        let mut origin = Origin::new(1);
        let id = origin.ids[0];
        for token in 0..3 {
            origin.activate(id, token, 10 * SEC);
        }
        for token in 0..3 {
            origin.introspect(id, token, failed(Failure::Unreachable), 100 * SEC);
        }
        assert!(origin.health.is_open(id));
        assert_eq!(origin.health.next_canary(101 * SEC), NextCanary::Send(id));
        origin.health.take_canary(id, 101 * SEC, is_own, result, 101 * SEC);
        assert_eq!(origin.health.is_open(id), !closes);
    }
}

#[test]
fn canaries_are_a_second_apart_and_those_after_failures_of_known_tokens_first() {
    let mut origin = Origin::unjudged(100);
    let ids = origin.ids.clone();
    ids.iter().for_each(|id| origin.health.want_canary(*id));
    origin.activate(ids[80], 1, SEC);
    origin.introspect(ids[70], 2, failed(Failure::Broken), SEC);
    origin.introspect(ids[80], 1, failed(Failure::Broken), SEC);
    assert_eq!(origin.health.next_canary(SEC), NextCanary::Send(ids[80]));
    assert_eq!(origin.health.next_canary(SEC), NextCanary::At(2 * SEC));
    assert_eq!(origin.health.next_canary(2 * SEC), NextCanary::Send(ids[70]));
    assert_eq!(origin.health.next_canary(3 * SEC), NextCanary::Send(ids[0]));
    origin.health.remove_registration(ids[1]);
    assert_eq!(origin.health.next_canary(4 * SEC), NextCanary::Send(ids[2]));
}

#[test]
fn server_that_never_responded_gets_ten_introspections_a_second() {
    let mut origin = Origin::unjudged(1);
    let id = origin.ids[0];
    origin.introspect(id, 1, failed(Failure::Broken), SEC);
    origin.canary(id, failed(Failure::Broken), SEC);
    origin.introspect(id, 2, failed(Failure::Broken), SEC);
    origin.canary(id, failed(Failure::Broken), 2 * SEC);
    assert!(origin.health.is_open(id));
    let mut passed = 0;
    for number in 0..1_000_u32 {
        let now = 3 * SEC + SEC * number / 100;
        let one = origin.health.new_introspection(id, Id::of(100 + number), None, now);
        if matches!(origin.health.admit(&one, now), PermitDecision::Granted) {
            passed += 1;
            origin.health.give_permit_back(&one);
        }
    }
    assert!((95..=101).contains(&passed), "{passed}");
    assert_eq!(origin.health.registrations[&id].canary.found, ServerState::Broken);
}

/// The runtime of its task is there, but does not run.
#[test]
fn canary_that_never_ends_is_replaced_after_a_minute() {
    let mut origin = Origin::new(1);
    let id = origin.ids[0];
    origin.health.want_canary(id);
    assert_eq!(origin.health.next_canary(100 * SEC), NextCanary::Send(id));
    origin.health.want_canary(id);
    assert_eq!(origin.health.next_canary(159 * SEC), NextCanary::None);
    assert_eq!(origin.health.next_canary(160 * SEC), NextCanary::Send(id));
    // The first ends after all: it is not taken for the second.
    origin.health.take_canary(id, 100 * SEC, false, failed(Failure::Broken), 161 * SEC);
    assert_eq!(origin.health.registrations[&id].canary.found, ServerState::Answers);
    origin.end_canary(id, failed(Failure::Broken), 160 * SEC);
    assert_eq!(origin.health.registrations[&id].canary.found, ServerState::Broken);
}

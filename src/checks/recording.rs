//! Records checks on the current thread.

use std::{
    cell::{Cell, RefCell},
    marker::PhantomData,
};

use super::{
    check::{Check, Stage},
    detail::Detail,
};
use crate::error::kind::ErrorKind;

/// The most steps that are recorded: more than any token takes.
const MAX_STEPS: usize = 1024;

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static STEPS: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
}

/// A check that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The check.
    pub check: Check,
    /// The outcome of the check.
    pub outcome: Result<(), ErrorKind>,
    /// The found and the expected value.
    pub detail: Detail,
}

pub(super) fn is_on() -> bool {
    ON.get()
}

/// Calls `work` without recording its checks.
pub(super) fn paused<T>(work: impl FnOnce() -> T) -> T {
    struct Resume(bool);

    impl Drop for Resume {
        fn drop(&mut self) {
            ON.set(self.0);
        }
    }

    let _resume = Resume(ON.replace(false));
    work()
}

pub(super) fn add(check: Check, detail: Detail, outcome: Result<(), ErrorKind>) {
    STEPS.with_borrow_mut(|steps| {
        if steps.len() < MAX_STEPS {
            steps.push(Step { check, outcome, detail });
        }
    });
}

/// A recording of the checks that are made on this thread, for as long as it lives.
#[derive(Debug)]
#[must_use = "the recording ends when it is dropped"]
pub struct Recording {
    /// Makes the recording `!Send`: it belongs to its thread.
    thread: PhantomData<*const ()>,
}

impl Recording {
    /// Starts a recording without any steps.
    pub fn start() -> Self {
        STEPS.take();
        ON.set(true);
        Self { thread: PhantomData }
    }

    /// Ends the recording and returns the recorded checks.
    #[must_use]
    pub fn finish(self) -> Trace {
        let steps = STEPS.take();
        drop(self);
        Trace::of(steps)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        ON.set(false);
        STEPS.take();
    }
}

/// The state of a check within a [`Trace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// The check failed with this error.
    Failed(ErrorKind),
    /// The check was not made, or it does not count because an earlier one failed.
    NotReached,
    /// The check passed.
    Passed,
}

/// The checks that were made, each once, in the order in which they count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    steps: Vec<Step>,
}

impl Trace {
    /// Keeps the last outcome of each check. A token may be checked twice, before and after keys
    /// were fetched for it.
    fn of(all: Vec<Step>) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        for step in all {
            match steps.iter_mut().find(|known| known.check == step.check) {
                Some(known) => *known = step,
                None => steps.push(step),
            }
        }
        steps.sort_by_key(|step| step.check);
        Self { steps }
    }

    /// Returns the first check that failed, which is the reason of the refusal.
    #[must_use]
    pub fn failed(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.outcome.is_err())
    }

    /// Returns true if the signature verifies, or the authorization server says that the token is
    /// active. Until then, anyone could have written the token.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        let proves = |step: &Step| matches!(step.check, Check::Signature | Check::Active);
        self.steps.iter().any(|step| proves(step) && step.outcome.is_ok())
    }

    /// Returns the checks that a token of this kind goes through, each with its state.
    #[must_use]
    pub fn path(&self) -> Vec<(Check, State, Option<&Detail>)> {
        let reason = self.failed().map(|step| step.check);
        let state = |check: Check| {
            let step = self.steps.iter().find(|step| step.check == check);
            let counts = step.filter(|_| reason.is_none_or(|reason| check <= reason));
            match counts.map(|step| (step, step.outcome)) {
                None => (check, State::NotReached, None),
                Some((step, Ok(()))) => (check, State::Passed, Some(&step.detail)),
                Some((step, Err(kind))) => (check, State::Failed(kind), Some(&step.detail)),
            }
        };
        Check::ALL.into_iter().filter(|check| self.is_on_path(*check)).map(state).collect()
    }

    /// Returns true if the check applies to this token. A token takes the stage of JWTs, that of
    /// introspection, or both. Some checks are left out unless they were made.
    fn is_on_path(&self, check: Check) -> bool {
        let any = |stage| self.steps.iter().any(|step| step.check.stage() == stage);
        let made = self.steps.iter().any(|step| step.check == check);
        match check.stage() {
            Stage::Jwt => any(Stage::Jwt) || !any(Stage::Introspection),
            Stage::Introspection if check == Check::AnswerSignature => made,
            Stage::Introspection => any(Stage::Introspection),
            Stage::Policy => true,
            Stage::Request | Stage::Route | Stage::Revocation => made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{
        detail::seen,
        record::{demand, record},
    };

    fn check(check: Check, met: bool) {
        let _ = demand(check, || seen("x"), met, ErrorKind::Denied);
    }

    #[test]
    fn without_a_recording_nothing_is_recorded_and_no_detail_is_made() {
        let outcome =
            record(Check::Form, || unreachable!("no recording is on"), Ok::<_, ErrorKind>(7));
        assert_eq!(outcome, Ok(7));
        drop(Recording::start());
        check(Check::Form, false);
        assert_eq!(Recording::start().finish(), Trace::default());
    }

    #[test]
    fn paused_recording_goes_on_afterwards() {
        let recording = Recording::start();
        paused(|| check(Check::Form, false));
        check(Check::Issuer, true);
        let trace = recording.finish();
        let checks: Vec<_> = trace.steps.iter().map(|step| step.check).collect();
        assert_eq!(checks, [Check::Issuer]);
        paused(|| ());
        assert!(!is_on());
    }

    #[test]
    fn the_first_failed_check_is_the_reason_and_later_ones_do_not_count() {
        let recording = Recording::start();
        check(Check::Form, true);
        check(Check::Issuer, true);
        check(Check::Key, false);
        let trace = recording.finish();
        assert_eq!(trace.failed().map(|step| step.check), Some(Check::Key));
        let state = |check| trace.path().into_iter().find(|found| found.0 == check).unwrap().1;
        assert_eq!(state(Check::Form), State::Passed);
        assert_eq!(state(Check::Key), State::Failed(ErrorKind::Denied));
        assert_eq!(state(Check::Issuer), State::NotReached);
        assert_eq!(state(Check::Audience), State::NotReached);
    }

    #[test]
    fn token_is_verified_by_its_signature_or_by_its_server() {
        let is_verified = |made, met| {
            let recording = Recording::start();
            check(Check::Form, true);
            check(made, met);
            recording.finish().is_verified()
        };
        assert!(is_verified(Check::Signature, true) && is_verified(Check::Active, true));
        assert!(!is_verified(Check::Signature, false) && !is_verified(Check::Active, false));
        assert!(!is_verified(Check::Claims, true) && !is_verified(Check::Answer, true));
    }

    #[test]
    fn the_last_outcome_of_a_check_counts() {
        let recording = Recording::start();
        check(Check::Key, false);
        check(Check::Key, true);
        assert_eq!(recording.finish().failed(), None);
    }

    #[test]
    fn debug_output_hides_the_value_that_was_found() {
        let recording = Recording::start();
        let _ = demand(Check::Issuer, || seen("s3cret"), false, ErrorKind::WrongIssuer);
        let trace = recording.finish();
        assert!(trace.failed().is_some_and(|step| step.detail.seen.is_some()));
        assert!(!format!("{trace:?}").contains("s3cret"));
    }

    #[test]
    fn the_path_depends_on_the_kind_of_token() {
        let stages = |first| {
            let recording = Recording::start();
            check(first, true);
            let mut stages: Vec<_> =
                recording.finish().path().into_iter().map(|found| found.0.stage()).collect();
            stages.dedup();
            stages
        };
        assert_eq!(stages(Check::Form), [Stage::Jwt, Stage::Policy]);
        assert_eq!(stages(Check::Answer), [Stage::Introspection, Stage::Policy]);
        assert_eq!(stages(Check::Length), [Stage::Request, Stage::Jwt, Stage::Policy]);
        assert_eq!(stages(Check::Credentials), [Stage::Request, Stage::Jwt, Stage::Policy]);
    }
}

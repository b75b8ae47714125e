//! The states of the verification events that were asked for.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::Engine as _;

use crate::jose::{base64url::BASE64URL, crypto::random::random};

/// The maximum number of states that are awaited.
const MAX_STATES: usize = 4;

/// The states of the verification events that were asked for last (SSF 1.0 §8.1.4.1).
#[derive(Debug, Default)]
pub(in crate::signals) struct ExpectedStates(Mutex<VecDeque<String>>);

impl ExpectedStates {
    /// Returns true if a verification event with this state was asked for.
    pub(in crate::signals) fn contains(&self, state: &str) -> bool {
        self.states().iter().any(|expected| expected == state)
    }

    /// Creates a state and expects it. Returns `None` if there are no random numbers.
    pub(in crate::signals) fn issue(&self) -> Option<String> {
        let state = BASE64URL.encode(random::<16>()?);
        let mut states = self.states();
        states.truncate(MAX_STATES - 1);
        states.push_front(state.clone());
        Some(state)
    }

    fn states(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The faults of the keys that an issuer publishes.

use crate::{jose::error::KeyError, telemetry::events};

/// The maximum number of faults of a set that are kept.
const MAX_FAULTS: usize = 256;

/// The faults of the keys of a set.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyFaults(Vec<KeyFault>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyFault {
    kid: Option<Box<str>>,
    problem: KeyProblem,
}

/// The problem of a published key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyProblem {
    /// Anyone can sign with it.
    HasPrivateHalf,
    /// Tokens that it signed can't be verified.
    Unusable(KeyError),
}

impl KeyFaults {
    pub(super) fn note(&mut self, kid: Option<&str>, problem: KeyProblem) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(KeyFault { kid: kid.map(Into::into), problem });
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        let room = MAX_FAULTS.saturating_sub(self.0.len());
        self.0.extend(other.0.into_iter().take(room));
    }

    /// Returns the reason why the key of this name can't be used, if it is one of the set.
    pub(super) fn of_unusable(&self, kid: &str) -> Option<KeyError> {
        let unusable = |fault: &KeyFault| match fault.problem {
            KeyProblem::Unusable(reason) => (fault.kid.as_deref() == Some(kid)).then_some(reason),
            KeyProblem::HasPrivateHalf => None,
        };
        self.0.iter().find_map(unusable)
    }

    /// Describes the keys that can't be used, each as text.
    pub(super) fn describe_unusable(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|fault| match fault.problem {
            KeyProblem::Unusable(reason) => {
                let kid = fault.kid.as_deref().unwrap_or("(no kid)");
                Some(format!("{kid}, not usable: {reason}"))
            }
            KeyProblem::HasPrivateHalf => None,
        })
    }

    /// Reports the faults that are not among those of the set `before`. So each key causes one
    /// event, however often its set is fetched.
    pub(super) fn report(&self, issuer: Option<&str>, before: Option<&Self>) {
        let is_known = |fault: &&KeyFault| before.is_some_and(|before| before.0.contains(fault));
        for fault in self.0.iter().filter(|fault| !is_known(fault)) {
            let kid = fault.kid.as_deref();
            match &fault.problem {
                KeyProblem::HasPrivateHalf => events::private_key_published(issuer, kid),
                KeyProblem::Unusable(reason) => events::key_unusable(issuer, kid, reason),
            }
        }
    }
}

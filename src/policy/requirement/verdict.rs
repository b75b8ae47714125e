//! What comes of holding a token against a requirement.

use std::{cmp::Ordering, time::Duration};

use crate::{
    error::{ErrorKind, StepUp, VerifyError},
    policy::VerifiedToken,
};

/// Whether a requirement is met.
pub(super) enum Verdict {
    Met,
    Unmet(Lack),
    /// It can't be told: a claim has the wrong type, or a question of the application's own has failed.
    /// Neither the requirement nor its opposite is met.
    Undecided(VerifyError),
}

impl Verdict {
    pub(super) fn met_if(met: bool, otherwise: impl FnOnce() -> VerifyError) -> Self {
        if met { Self::Met } else { Self::Unmet(Lack::hopeless(otherwise())) }
    }

    /// What a question of the application's own has said.
    pub(super) fn of(answer: Result<(), VerifyError>, token: &VerifiedToken) -> Self {
        let Err(error) = answer else { return Self::Met };
        match error.kind() {
            ErrorKind::InsufficientScope => {
                let scope = error.scope().unwrap_or_default().split_ascii_whitespace();
                let scope = scope.map(Into::into).collect();
                Self::Unmet(Lack::scope(error, scope, token))
            }
            ErrorKind::InsufficientAuthentication => Self::Unmet(Lack::step_up(error)),
            ErrorKind::Denied
            | ErrorKind::UnprovenPossession
            | ErrorKind::WrongAudience
            | ErrorKind::WrongIssuer => Self::Unmet(Lack::hopeless(error)),
            _ => Self::Undecided(error),
        }
    }

    pub(super) fn into_result(self) -> Result<(), VerifyError> {
        match self {
            Self::Met => Ok(()),
            Self::Unmet(lack) => Err(lack.into_error()),
            Self::Undecided(error) => Err(error),
        }
    }
}

/// What a token lacks, and so what a client would have to bring.
pub(super) struct Lack {
    /// What is answered, but for scope and authentication.
    error: VerifyError,
    /// All scope values that are needed, those that the token has among them.
    pub(super) scope: Vec<Box<str>>,
    /// How many of them it has not.
    missing: usize,
    step_up: Option<StepUp>,
    price: Price,
}

/// What bringing it costs, the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Price {
    Scope,
    Login,
    /// No token could bring it, as far as a challenge could tell.
    Hopeless,
}

impl Lack {
    pub(super) fn scope(error: VerifyError, scope: Vec<Box<str>>, token: &VerifiedToken) -> Self {
        let missing = scope.iter().filter(|value| !token.has_scope(value)).count();
        Self { error, scope, missing, step_up: None, price: Price::Scope }
    }

    pub(super) fn step_up(error: VerifyError) -> Self {
        let step_up = error.step_up().cloned();
        Self { error, scope: Vec::new(), missing: 0, step_up, price: Price::Login }
    }

    pub(super) fn hopeless(error: VerifyError) -> Self {
        Self { error, scope: Vec::new(), missing: 0, step_up: None, price: Price::Hopeless }
    }

    /// What lacks of both together.
    pub(super) fn and(self, other: Self) -> Self {
        // Authentication before authorization: what is wrong comes before what is not allowed.
        let rank = |lack: &Self| (lack.price, lack.error.kind() != ErrorKind::Denied);
        let (error, price) = match rank(&self).cmp(&rank(&other)) {
            Ordering::Less => (other.error, other.price),
            _ => (self.error, self.price),
        };
        let mut scope = self.scope;
        add(&mut scope, other.scope);
        let step_up = match (self.step_up, other.step_up) {
            (Some(one), Some(other)) => Some(both(&one, &other)),
            (one, other) => one.or(other),
        };
        Self { error, scope, missing: self.missing + other.missing, step_up, price }
    }

    /// The one of the two that costs the client less; the first, if they cost the same.
    pub(super) fn or(self, other: Self) -> Self {
        let cost = |lack: &Self| (lack.price, lack.missing);
        if cost(&other) < cost(&self) { other } else { self }
    }

    /// Whether a challenge will name scope.
    pub(super) fn names_scope(&self) -> bool {
        self.missing > 0 && self.price != Price::Hopeless
    }

    pub(super) fn into_error(self) -> VerifyError {
        let names_scope = self.names_scope();
        let error = match (self.price, self.step_up) {
            (Price::Login, Some(step_up)) => self.error.with_step_up(step_up),
            _ => self.error,
        };
        if names_scope { error.with_scope(&self.scope.join(" ")) } else { error }
    }
}

/// Adds values that are not there yet.
pub(in crate::policy) fn add(scope: &mut Vec<Box<str>>, more: impl IntoIterator<Item = Box<str>>) {
    for value in more {
        if !scope.contains(&value) {
            scope.push(value);
        }
    }
}

/// Authentication that satisfies both, as far as there can be one.
fn both(one: &StepUp, other: &StepUp) -> StepUp {
    let max_age = match (one.max_age, other.max_age) {
        (Some(one), Some(other)) => Some(Duration::min(one, other)),
        (one, other) => one.or(other),
    };
    let acr_values = match (&one.acr_values, &other.acr_values) {
        (Some(one), Some(other)) => {
            let shared = |value: &&str| other.split(' ').any(|known| known == *value);
            let shared: Vec<_> = one.split(' ').filter(shared).collect();
            // None satisfies both: the first is as good a start as the second.
            Some(if shared.is_empty() { one.clone() } else { shared.join(" ").into() })
        }
        (one, other) => one.as_ref().or(other.as_ref()).cloned(),
    };
    StepUp { acr_values, max_age }
}

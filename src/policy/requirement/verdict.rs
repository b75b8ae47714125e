//! Outcomes of checking a token against a requirement.

use std::{borrow::Cow, cmp::Ordering, time::Duration};

use crate::{
    error::{
        kind::ErrorKind,
        refusal::{StepUp, VerifyError},
    },
    policy::verified_token::VerifiedToken,
};

/// The outcome of checking a token against a requirement.
///
/// It becomes an error only at the end, because usually some alternatives are not met.
pub(super) enum Verdict<'r> {
    Met,
    Unmet(Lack<'r>),
    /// The outcome is unknown: a claim has the wrong type, or a check of the application failed.
    /// Neither the requirement nor its opposite is met.
    Undecided(VerifyError),
}

/// Scope values or `acr` values.
type Values<'r> = Cow<'r, [Box<str>]>;

impl<'r> Verdict<'r> {
    /// Returns `Met` if `met` is true, or else an unmet verdict of kind `otherwise` that no challenge
    /// can help with.
    pub(super) fn met_or_hopeless(met: bool, otherwise: ErrorKind) -> Self {
        if met { Self::Met } else { Self::Unmet(Lack::hopeless(otherwise)) }
    }

    /// Creates the verdict for missing scope: all of these values are needed.
    pub(super) fn needs_scope(scope: &'r [Box<str>], token: &VerifiedToken) -> Self {
        let lack = Lack::new(ErrorKind::InsufficientScope, Cost::Scope);
        Self::Unmet(lack.with_scope(Cow::Borrowed(scope), token))
    }

    pub(super) fn needs_login(acr: &'r [Box<str>], max_age: Option<Duration>) -> Self {
        let lack = Lack::new(ErrorKind::InsufficientAuthentication, Cost::Login);
        Self::Unmet(Lack { acr: Cow::Borrowed(acr), max_age, ..lack })
    }

    /// Creates the verdict for the outcome of a check of the application.
    pub(super) fn of(outcome: Result<(), VerifyError>, token: &VerifiedToken) -> Self {
        let Err(error) = outcome else { return Self::Met };
        let kind = error.kind();
        let lack = match kind {
            ErrorKind::InsufficientScope => {
                let scope = values(error.scope());
                Lack::new(kind, Cost::Scope).with_scope(scope, token)
            }
            ErrorKind::InsufficientAuthentication => {
                let step_up = error.step_up();
                let acr = values(step_up.and_then(|step_up| step_up.acr_values.as_deref()));
                let max_age = step_up.and_then(|step_up| step_up.max_age);
                Lack { acr, max_age, ..Lack::new(kind, Cost::Login) }
            }
            ErrorKind::Denied
            | ErrorKind::UnprovenPossession
            | ErrorKind::WrongAudience
            | ErrorKind::WrongIssuer => Lack::hopeless(kind),
            _ => return Self::Undecided(error),
        };
        Self::Unmet(Lack { application_error: Some(error), ..lack })
    }

    pub(super) fn into_result(self) -> Result<(), VerifyError> {
        match self {
            Self::Met => Ok(()),
            Self::Unmet(lack) => Err(lack.into_error()),
            Self::Undecided(error) => Err(error),
        }
    }
}

/// Why a requirement is not met, and everything that the client's next token needs so that it is
/// met.
pub(super) struct Lack<'r> {
    /// The kind of the error, before scope and authentication are added.
    kind: ErrorKind,
    /// The error that the application returned.
    application_error: Option<VerifyError>,
    /// All scope values that are needed, including those that the token has.
    scope: Values<'r>,
    /// The number of needed values that the token does not have.
    missing: usize,
    acr: Values<'r>,
    max_age: Option<Duration>,
    cost: Cost,
}

/// The cost of meeting the requirement, lowest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    Scope,
    Login,
    /// No challenge can name anything that would help.
    Hopeless,
}

impl<'r> Lack<'r> {
    pub(super) const fn hopeless(kind: ErrorKind) -> Self {
        Self::new(kind, Cost::Hopeless)
    }

    const fn new(kind: ErrorKind, cost: Cost) -> Self {
        let (scope, acr) = (Cow::Borrowed(&[] as &[_]), Cow::Borrowed(&[] as &[_]));
        Self { kind, application_error: None, scope, missing: 0, acr, max_age: None, cost }
    }

    fn with_scope(self, scope: Values<'r>, token: &VerifiedToken) -> Self {
        let missing = scope.iter().filter(|value| !token.has_scope(value)).count();
        Self { scope, missing, ..self }
    }

    /// Combines two lacks into everything that both need.
    pub(super) fn and(self, other: Self) -> Self {
        // A wrong token is reported before a denied one: authentication comes before authorization.
        let rank = |lack: &Self| (lack.cost, lack.kind != ErrorKind::Denied);
        let (kind, application_error, cost) = match rank(&self).cmp(&rank(&other)) {
            Ordering::Less => (other.kind, other.application_error, other.cost),
            _ => (self.kind, self.application_error, self.cost),
        };
        let mut scope = self.scope.into_owned();
        add(&mut scope, other.scope.into_owned());
        let ages = [self.max_age, other.max_age];
        Self {
            kind,
            application_error,
            scope: scope.into(),
            missing: self.missing + other.missing,
            acr: shared_or_first(self.acr, other.acr),
            max_age: ages.into_iter().flatten().min(),
            cost,
        }
    }

    /// If the client must log in again and no `acr` is requested yet, requests these, which the last
    /// login met. Otherwise the new login could lose them.
    pub(super) fn keep_acr(&mut self, values: &'r [Box<str>]) {
        if self.cost == Cost::Login && self.acr.is_empty() {
            self.acr = Cow::Borrowed(values);
        }
    }

    /// Returns the one that costs the client less, or the first if they cost the same.
    pub(super) fn or(self, other: Self) -> Self {
        let cost = |lack: &Self| (lack.cost, lack.missing);
        if cost(&other) < cost(&self) { other } else { self }
    }

    /// Returns the scope values that the challenge will name, if it names any.
    pub(super) fn named_scope(&mut self) -> Option<&mut Vec<Box<str>>> {
        (self.missing > 0 && self.cost != Cost::Hopeless).then(|| self.scope.to_mut())
    }

    fn into_error(mut self) -> VerifyError {
        let mut error = self.application_error.take().unwrap_or_else(|| self.kind.into());
        if self.cost == Cost::Login {
            let acr_values = (!self.acr.is_empty()).then(|| self.acr.join(" ").into());
            error = error.with_step_up(StepUp { acr_values, max_age: self.max_age });
        }
        match self.named_scope() {
            Some(scope) => error.with_scope(&scope.join(" ")),
            None => error,
        }
    }
}

/// Adds the values that are not there yet.
pub(in crate::policy) fn add(scope: &mut Vec<Box<str>>, more: impl IntoIterator<Item = Box<str>>) {
    for value in more {
        if !scope.contains(&value) {
            scope.push(value);
        }
    }
}

/// Returns the `acr` values that satisfy both lists.
///
/// If there is none, it returns the first list, which is as good a start as the second.
fn shared_or_first<'r>(one: Values<'r>, other: Values<'r>) -> Values<'r> {
    if one.is_empty() {
        return other;
    }
    let shared: Vec<_> = one.iter().filter(|value| other.contains(value)).cloned().collect();
    if shared.is_empty() { one } else { shared.into() }
}

fn values(text: Option<&str>) -> Values<'static> {
    text.unwrap_or_default().split_ascii_whitespace().map(Into::into).collect::<Vec<_>>().into()
}

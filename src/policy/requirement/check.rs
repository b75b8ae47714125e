//! Checks a token against each kind of requirement.

use std::{borrow::Cow, time::Duration};

use serde::de::DeserializeOwned;

use super::{
    unmet::describe_unmet_of,
    verdict::{Lack, Verdict, add},
};
use crate::{
    claims::{
        error::ClaimsError,
        path::{ClaimPath, NotAnObject},
    },
    error::{kind::ErrorKind, refusal::VerifyError},
    policy::verified_token::{ClaimTest, Kind, Requirement, VerifiedToken},
};

impl Requirement {
    /// Adds the scope values by which `token` meets this requirement.
    pub(crate) fn add_met_scope(&self, token: &VerifiedToken, scope: &mut Vec<Box<str>>) {
        self.0.add_met_scope(token, scope);
    }

    /// Checks `token` against all of these requirements.
    pub(crate) fn check_all(parts: &[Self], token: &VerifiedToken) -> Result<(), VerifyError> {
        let outcome = all(parts, token).into_result();
        outcome.map_err(|error| error.with_unmet_requirement(describe_unmet_of(parts, token)))
    }

    /// Checks `token` against this requirement.
    ///
    /// # Errors
    ///
    /// If it is not met. Scope that the error names includes that of the requirements that the token met
    /// before. Otherwise the client would come back with a token that lacks it.
    pub fn check(&self, token: &VerifiedToken) -> Result<(), VerifyError> {
        self.0.judge(token).into_result().map_err(|error| {
            let error = token.with_earlier_scope(error);
            error.with_unmet_requirement(self.describe_unmet(token))
        })
    }
}

impl Kind {
    pub(super) fn judge<'r>(&'r self, token: &VerifiedToken) -> Verdict<'r> {
        let (claims, denied) = (token.claims(), ErrorKind::Denied);
        match self {
            Self::All(parts) => all(parts, token),
            Self::Any(parts) => any(parts, token),
            Self::Not(part) => match part.0.judge(token) {
                Verdict::Met => Verdict::Unmet(Lack::hopeless(denied)),
                Verdict::Unmet(_) => Verdict::Met,
                undecided @ Verdict::Undecided(_) => undecided,
            },
            Self::AllScopes(scopes) => {
                if scopes.iter().all(|scope| token.has_scope(scope)) {
                    return Verdict::Met;
                }
                Verdict::needs_scope(scopes, token)
            }
            Self::AnyScope(scopes) => {
                if scopes.iter().any(|scope| token.has_scope(scope)) {
                    return Verdict::Met;
                }
                Verdict::needs_scope(scopes.get(..1).unwrap_or_default(), token)
            }
            Self::Audience(identifier) => {
                let named = claims.audience().contains(identifier);
                Verdict::met_or_hopeless(named, ErrorKind::WrongAudience)
            }
            Self::AnyIssuer(issuers) => {
                let named = has(issuers, token.issuer());
                Verdict::met_or_hopeless(named, ErrorKind::WrongIssuer)
            }
            Self::AnyClient(clients) => match claims.try_client_id() {
                Ok(client) => {
                    let named = client.is_some_and(|client| has(clients, &client));
                    Verdict::met_or_hopeless(named, denied)
                }
                Err(ClaimsError::Invalid(name)) => invalid(name),
                Err(ClaimsError::Malformed) => invalid("client_id"),
            },
            Self::AnyAcr(values) => match text(token, "acr") {
                Err(undecided) => undecided,
                Ok(acr) if acr.as_deref().is_some_and(|acr| has(values, acr)) => Verdict::Met,
                Ok(_) => Verdict::needs_login(values, None),
            },
            Self::MaxAge(age) => max_age(*age, token),
            Self::Detail(matcher) => match claims.authorization_details() {
                Ok(details) => Verdict::met_or_hopeless(
                    details.iter().any(|detail| matcher.matches(detail)),
                    denied,
                ),
                Err(_) => invalid("authorization_details"),
            },
            Self::Claim(test) => test.judge(token),
            Self::AnyActor(subjects) => match claims.actor() {
                Ok(actor) => {
                    let subject = actor.and_then(|actor| actor.subject());
                    let named = subject.is_some_and(|subject| has(subjects, &subject));
                    Verdict::met_or_hopeless(named, denied)
                }
                Err(_) => invalid("act"),
            },
            // An `act` of the wrong type still counts as an actor.
            Self::NoActor => Verdict::met_or_hopeless(claims.raw("act").is_none(), denied),
            Self::SenderConstrained => {
                let bound = claims.confirmation().is_some();
                Verdict::met_or_hopeless(bound, ErrorKind::UnprovenPossession)
            }
            Self::Fresh(age) => fresh(*age, token),
            Self::Check(check) => Verdict::of(check(token), token),
        }
    }

    /// Returns the `acr` values of the part by which `token` meets this. The caller has checked that
    /// it does.
    fn met_acr(&self, token: &VerifiedToken) -> Option<&[Box<str>]> {
        let met = |part: &&Requirement| matches!(part.0.judge(token), Verdict::Met);
        match self {
            Self::AnyAcr(values) => Some(values),
            Self::All(parts) => parts.iter().find_map(|part| part.0.met_acr(token)),
            Self::Any(parts) => parts.iter().find(met)?.0.met_acr(token),
            _ => None,
        }
    }

    /// Adds the scope values by which `token` meets this. The caller has checked that it does.
    pub(super) fn add_met_scope(&self, token: &VerifiedToken, scope: &mut Vec<Box<str>>) {
        match self {
            Self::All(parts) => parts.iter().for_each(|part| part.add_met_scope(token, scope)),
            Self::Any(parts) => {
                let met = |part: &&Requirement| matches!(part.0.judge(token), Verdict::Met);
                if let Some(part) = parts.iter().find(met) {
                    part.add_met_scope(token, scope);
                }
            }
            Self::AllScopes(scopes) => add(scope, scopes.iter().cloned()),
            Self::AnyScope(scopes) => {
                add(scope, scopes.iter().find(|value| token.has_scope(value)).cloned());
            }
            _ => {}
        }
    }
}

pub(super) fn all<'r>(parts: &'r [Requirement], token: &VerifiedToken) -> Verdict<'r> {
    let mut lacks: Option<Lack<'_>> = None;
    for part in parts {
        match part.0.judge(token) {
            Verdict::Met => {}
            Verdict::Unmet(lack) => {
                lacks = Some(match lacks {
                    Some(before) => before.and(lack),
                    None => lack,
                });
            }
            undecided @ Verdict::Undecided(_) => return undecided,
        }
    }
    let Some(mut lack) = lacks else { return Verdict::Met };
    // The client's next token must keep everything that met a requirement so far.
    let met = |part: &&Requirement| matches!(part.0.judge(token), Verdict::Met);
    if let Some(scope) = lack.named_scope() {
        parts.iter().filter(met).for_each(|part| part.add_met_scope(token, scope));
    }
    for part in parts.iter().filter(met) {
        if let Some(values) = part.0.met_acr(token) {
            lack.keep_acr(values);
        }
    }
    Verdict::Unmet(lack)
}

fn any<'r>(parts: &'r [Requirement], token: &VerifiedToken) -> Verdict<'r> {
    let mut least: Option<Lack<'_>> = None;
    let mut unknown = None;
    for part in parts {
        match part.0.judge(token) {
            Verdict::Met => return Verdict::Met,
            Verdict::Unmet(lack) => {
                least = Some(match least {
                    Some(before) => before.or(lack),
                    None => lack,
                });
            }
            undecided @ Verdict::Undecided(_) => {
                unknown.get_or_insert(undecided);
            }
        }
    }
    // `any` of no parts is never met. `Requirement::any` does not build one.
    let nothing = || Lack::hopeless(ErrorKind::Denied);
    unknown.unwrap_or_else(|| Verdict::Unmet(least.unwrap_or_else(nothing)))
}

/// Checks how long ago the user was authenticated (RFC 9470 §2).
///
/// An `auth_time` in the future proves nothing, so it does not meet the requirement.
fn max_age(age: Duration, token: &VerifiedToken) -> Verdict<'static> {
    let authenticated = match token.claims().time("auth_time") {
        Ok(time) => time,
        Err(ClaimsError::Invalid(_) | ClaimsError::Malformed) => return invalid("auth_time"),
    };
    let (now, leeway) = (token.admitted_at(), token.leeway());
    let recent = authenticated.is_some_and(|time| {
        time <= now.saturating_add(leeway) && now <= time.saturating_add(age).saturating_add(leeway)
    });
    if recent { Verdict::Met } else { Verdict::needs_login(&[], Some(age)) }
}

fn fresh(age: Duration, token: &VerifiedToken) -> Verdict<'static> {
    if token.is_stale() {
        return Verdict::Undecided(
            VerifyError::new(ErrorKind::Unavailable)
                .with_context("the cached facts about the token are stale"),
        );
    }
    if token.facts_age() <= age {
        return Verdict::Met;
    }
    Verdict::Undecided(VerifyError::new(ErrorKind::Misconfigured).with_context(
        "the cached facts about the token are older than this route allows: add \
         `ResourceServer::fresh_layer` outside of it",
    ))
}

/// Returns a string claim, if it is present.
fn text<'a>(
    token: &'a VerifiedToken,
    name: &'static str,
) -> Result<Option<Cow<'a, str>>, Verdict<'static>> {
    let claims = token.claims();
    match (claims.string(name), claims.raw(name)) {
        (None, Some(_)) => Err(invalid(name)),
        (text, _) => Ok(text),
    }
}

fn invalid(name: &'static str) -> Verdict<'static> {
    Verdict::Undecided(ErrorKind::InvalidClaim(name).into())
}

fn has(values: &[Box<str>], value: &str) -> bool {
    values.iter().any(|known| **known == *value)
}

impl ClaimTest {
    /// An absent claim and `null` never reach a test.
    pub(super) fn is_present(path: ClaimPath) -> Self {
        Self { path, test: Box::new(|_| Some(true)) }
    }

    pub(super) fn is(path: ClaimPath, value: &str) -> Self {
        let value: Box<str> = value.into();
        Self::by(path, move |found: String| *found == *value)
    }

    pub(super) fn contains(path: ClaimPath, value: &str) -> Self {
        let value: Box<str> = value.into();
        Self::by(path, move |found: Vec<String>| found.iter().any(|one| **one == *value))
    }

    pub(super) fn by<T, F>(path: ClaimPath, test: F) -> Self
    where
        T: DeserializeOwned + 'static,
        F: Fn(T) -> bool + Send + Sync + 'static,
    {
        let test = move |text: &str| serde_json::from_str(text).ok().map(&test);
        Self { path, test: Box::new(test) }
    }

    fn judge(&self, token: &VerifiedToken) -> Verdict<'static> {
        let result = match token.claims().try_raw_at(&self.path) {
            Ok(Some(text)) => (self.test)(text),
            Ok(None) => Some(false),
            Err(NotAnObject) => None,
        };
        match result {
            Some(met) => Verdict::met_or_hopeless(met, ErrorKind::Denied),
            // The error names only the path, which is configuration. The value is the token's and
            // never leaves it.
            None => Verdict::Undecided(
                VerifyError::new(ErrorKind::Denied)
                    .with_context(format!("the claim `{}` has another type", self.path)),
            ),
        }
    }
}

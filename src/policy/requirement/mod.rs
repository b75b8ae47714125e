//! What is asked of a token, and how it is put together.

pub(crate) mod detail;
mod judge;
pub(crate) mod verdict;

use std::{fmt, ops::Not, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use self::detail::DetailMatcher;
use self::judge::{ClaimTest, Kind};
use self::verdict::add;
use super::verified::VerifiedToken;
use crate::{
    claims::{path::ClaimPath, scope::is_scope_token},
    error::refusal::VerifyError,
};

/// Something asked of a verified token.
///
/// ```
/// use std::time::Duration;
/// use tower_introspect::{policy::Requirement, scopes};
///
/// // Whoever may write payments, if the user has proven who they are within the last five minutes;
/// // or a support agent, whatever their scope.
/// let requirement = Requirement::all_scopes(scopes!["write:payments"])
///     .and(Requirement::any_acr(["mfa"]))
///     .and(Requirement::max_age(Duration::from_secs(300)))
///     .or(Requirement::claim_contains("/realm_access/roles", "support"));
/// # let _ = requirement;
/// ```
///
/// # What a refusal says
///
/// A requirement knows the challenge that tells a client what to bring. Where several parts of an
/// [`and`](Self::and) are lacking it names them all: every scope that the whole needs, and with it the
/// authentication (RFC 9470 §3). Of the alternatives of an [`or`](Self::or) it names the one that costs
/// the client least: fewer missing scopes before more, scopes before another login, and what no token
/// could bring last. What is wrong with the token itself comes before what it lacks.
///
/// # Claims of the wrong type
///
/// They neither meet a requirement nor its opposite: `!requirement` refuses them too.
#[derive(Clone)]
pub struct Requirement(Arc<Kind>);

impl Requirement {
    const fn of(kind: Arc<Kind>) -> Self {
        Self(kind)
    }

    /// Asks for every one of these scope values. With none, asks for nothing but a token.
    ///
    /// # Panics
    ///
    /// If a value is no scope-token (RFC 6749 §3.3): no token could ever meet it. With
    /// [`scopes!`](crate::scopes) that is an error of compilation.
    #[must_use]
    pub fn all_scopes<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        Kind::AllScopes(checked(scopes, "scope-token (RFC 6749 section 3.3)")).into()
    }

    /// Asks for at least one of these scope values. A client without any is told to get the first.
    ///
    /// # Panics
    ///
    /// If there is no value, or one is no scope-token: no token could ever meet it.
    #[must_use]
    pub fn any_scope<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        let scopes = checked(scopes, "scope-token (RFC 6749 section 3.3)");
        assert!(!scopes.is_empty(), "any of no scopes can never be met");
        Kind::AnyScope(scopes).into()
    }

    /// Asks that the token is meant for `identifier` too.
    #[must_use]
    pub fn audience(identifier: &str) -> Self {
        Kind::Audience(identifier.into()).into()
    }

    /// Asks that one of these issuers vouches for the token.
    #[must_use]
    pub fn any_issuer<'a>(issuers: impl IntoIterator<Item = &'a str>) -> Self {
        Kind::AnyIssuer(names(issuers)).into()
    }

    /// Asks that the token was issued to one of these clients (`client_id`, or `azp` where that is what
    /// its issuer writes).
    #[must_use]
    pub fn any_client<'a>(clients: impl IntoIterator<Item = &'a str>) -> Self {
        Kind::AnyClient(names(clients)).into()
    }

    /// Asks that the user was authenticated in one of these ways (`acr`), in order of preference.
    ///
    /// Values are compared exactly: that one is stronger than another is not known (RFC 9470 §2).
    ///
    /// # Panics
    ///
    /// If there is no value, or one is empty or holds a space or a quote: no challenge could name it.
    #[must_use]
    pub fn any_acr<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let values = checked(values, "acr value that a challenge could name (RFC 9470 section 3)");
        assert!(!values.is_empty(), "any of no acr values can never be met");
        Kind::AnyAcr(values).into()
    }

    /// Asks that the user was authenticated at most this long ago (`auth_time`; RFC 9470 §2), give or
    /// take the policy's leeway.
    ///
    /// A token that does not say is not recent enough.
    #[must_use]
    pub fn max_age(age: Duration) -> Self {
        Kind::MaxAge(age).into()
    }

    /// Asks for an element of `authorization_details` (RFC 9396).
    #[must_use]
    pub fn authorization_detail(matcher: DetailMatcher) -> Self {
        Kind::Detail(matcher).into()
    }

    /// Asks that a claim is this string.
    #[must_use]
    pub fn claim_is(path: impl Into<ClaimPath>, value: &str) -> Self {
        Kind::Claim(ClaimTest::is(path.into(), value)).into()
    }

    /// Asks that a claim is an array of strings with this one among them: a role, a group.
    ///
    /// ```
    /// use tower_introspect::policy::Requirement;
    ///
    /// let keycloak_realm = Requirement::claim_contains("/realm_access/roles", "admin");
    /// let keycloak_client = Requirement::claim_contains("/resource_access/api/roles", "admin");
    /// let entra = Requirement::claim_contains("roles", "Payments.Read.All");
    /// # let _ = (keycloak_realm, keycloak_client, entra);
    /// ```
    #[must_use]
    pub fn claim_contains(path: impl Into<ClaimPath>, value: &str) -> Self {
        Kind::Claim(ClaimTest::contains(path.into(), value)).into()
    }

    /// Asks a question of your own about a claim, as a type of yours. A claim that is absent does not
    /// meet it, and one of another type meets neither it nor its opposite.
    ///
    /// ```
    /// use tower_introspect::policy::Requirement;
    ///
    /// let premium = Requirement::claim_fn("/plan/level", |level: u64| level >= 3);
    /// # let _ = premium;
    /// ```
    #[must_use]
    pub fn claim_fn<T, F>(path: impl Into<ClaimPath>, test: F) -> Self
    where
        T: DeserializeOwned + 'static,
        F: Fn(T) -> bool + Send + Sync + 'static,
    {
        Kind::Claim(ClaimTest::by(path.into(), test)).into()
    }

    /// Asks that one of these acts for the subject: the outermost `act` (RFC 8693 §4.1).
    #[must_use]
    pub fn any_actor<'a>(subjects: impl IntoIterator<Item = &'a str>) -> Self {
        Kind::AnyActor(names(subjects)).into()
    }

    /// Asks that nobody acts for the subject (RFC 8693 §4.1).
    #[must_use]
    pub fn no_actor() -> Self {
        Kind::NoActor.into()
    }

    /// Asks that the token is bound to a key, whose possession was then shown (RFC 8705, RFC 9449).
    #[must_use]
    pub fn sender_constrained() -> Self {
        Kind::SenderConstrained.into()
    }

    /// Asks that what is known of the token was established at most this long ago.
    ///
    /// This checks and does not fetch: put [`RequireFresh`](crate::RequireFresh) outside of it. What is
    /// older is refused with [`Misconfigured`](crate::ErrorKind::Misconfigured), and with
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if it is used only because the authorization
    /// server is away: neither is the client's fault.
    #[must_use]
    pub fn fresh(age: Duration) -> Self {
        Kind::Fresh(age).into()
    }

    /// Asks a question of your own.
    ///
    /// Answer with [`ErrorKind::Denied`](crate::ErrorKind::Denied), or with
    /// [`VerifyError::insufficient_scope`] or [`VerifyError::insufficient_authentication`] where
    /// the client can do something about it.
    ///
    /// ```
    /// use tower_introspect::{ErrorKind, policy::Requirement};
    ///
    /// let staff = Requirement::check_fn(|token| match token.claims().string("dept").as_deref() {
    ///     Some("staff") => Ok(()),
    ///     _ => Err(ErrorKind::Denied.into()),
    /// });
    /// # let _ = staff;
    /// ```
    #[must_use]
    pub fn check_fn<F>(check: F) -> Self
    where
        F: Fn(&VerifiedToken) -> Result<(), VerifyError> + Send + Sync + 'static,
    {
        Kind::Check(Box::new(check)).into()
    }

    /// Asks for all of these. With none, asks for nothing but a token.
    #[must_use]
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        Kind::All(parts.into_iter().collect()).into()
    }

    /// Asks for at least one of these.
    ///
    /// # Panics
    ///
    /// If there is none: no token could ever meet it.
    #[must_use]
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let parts: Box<[Self]> = parts.into_iter().collect();
        assert!(!parts.is_empty(), "any of no requirements can never be met");
        Kind::Any(parts).into()
    }

    /// Asks for both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::all([self, other])
    }

    /// Asks for at least one of both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::any([self, other])
    }

    /// Holds `token` against this requirement.
    ///
    /// # Errors
    ///
    /// If it is not met.
    pub fn check(&self, token: &VerifiedToken) -> Result<(), VerifyError> {
        self.0.judge(token).into_result()
    }

    /// Holds `token` against all of these.
    pub(super) fn check_all(all: &[Self], token: &VerifiedToken) -> Result<(), VerifyError> {
        judge::all(all, token).into_result()
    }

    /// What it asks for, in words, for a trace.
    pub(super) fn words(&self) -> String {
        match &*self.0 {
            Kind::AllScopes(values) => format!("scope {}", values.join(" ")),
            other => format!("{other:?}"),
        }
    }

    /// Adds the scope values that make `token` meet this.
    pub(super) fn witness(&self, token: &VerifiedToken, scope: &mut Vec<Box<str>>) {
        self.0.witness(token, scope);
    }
}

impl Not for Requirement {
    type Output = Self;

    /// Asks that the requirement is not met. No challenge can say how; the refusal is
    /// [`Denied`](crate::ErrorKind::Denied).
    fn not(self) -> Self {
        Kind::Not(self).into()
    }
}

impl From<Kind> for Requirement {
    fn from(kind: Kind) -> Self {
        Self::of(Arc::new(kind))
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Values that a challenge can name in a list, each once.
fn checked<'a>(values: impl IntoIterator<Item = &'a str>, what: &str) -> Box<[Box<str>]> {
    let mut checked = Vec::new();
    for value in values {
        assert!(is_scope_token(value), "{value:?} is no {what}");
        add(&mut checked, [value.into()]);
    }
    checked.into()
}

fn names<'a>(values: impl IntoIterator<Item = &'a str>) -> Box<[Box<str>]> {
    values.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "no scope-token")]
    fn a_scope_with_a_space_is_a_mistake() {
        let _ = Requirement::all_scopes(["read write"]);
    }

    #[test]
    #[should_panic(expected = "no scope-token")]
    fn a_scope_with_a_quote_is_a_mistake() {
        let _ = Requirement::any_scope(["re\"ad"]);
    }

    #[test]
    #[should_panic(expected = "can never be met")]
    fn any_of_nothing_is_a_mistake() {
        let _ = Requirement::any_scope([]);
    }

    #[test]
    #[should_panic(expected = "can never be met")]
    fn any_of_no_requirements_is_a_mistake() {
        let _ = Requirement::any([]);
    }

    #[test]
    #[should_panic(expected = "no acr value")]
    fn an_acr_that_no_challenge_can_name_is_a_mistake() {
        let _ = Requirement::any_acr(["two words"]);
    }
}

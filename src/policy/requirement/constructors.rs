//! Builds requirements.

use std::{ops::Not, time::Duration};

use serde::de::DeserializeOwned;

use super::{detail_matcher::DetailMatcher, verdict::add};
use crate::{
    claims::{path::ClaimPath, scope::is_scope_token},
    error::refusal::VerifyError,
    policy::verified_token::{ClaimTest, Kind, Requirement, VerifiedToken},
};

impl Requirement {
    /// Requires all of these scope values. With no values, requires only a token.
    ///
    /// # Panics
    ///
    /// If a value is not a scope-token (RFC 6749 §3.3), because no token could ever meet it. With
    /// [`scopes!`](crate::scopes) that is a compile error. For a value that is made of text of the
    /// request, ask [`VerifiedToken::has_scope`](crate::VerifiedToken::has_scope) instead.
    #[must_use]
    pub fn all_scopes<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        Kind::AllScopes(checked(scopes, "scope-token (RFC 6749 section 3.3)")).into()
    }

    /// Requires at least one of these scope values.
    ///
    /// The challenge names the first one if the token has none of them.
    ///
    /// # Panics
    ///
    /// If there is no value, or if one is not a scope-token, because no token could ever meet it.
    #[must_use]
    pub fn any_scope<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        let scopes = checked(scopes, "scope-token (RFC 6749 section 3.3)");
        assert!(!scopes.is_empty(), "any of no scopes can never be met");
        Kind::AnyScope(scopes).into()
    }

    /// Requires `identifier` as a further audience of the token.
    #[must_use]
    pub fn audience(identifier: &str) -> Self {
        Kind::Audience(identifier.into()).into()
    }

    /// Requires that one of these issuers vouches for the token.
    #[must_use]
    pub fn any_issuer<'a>(issuers: impl IntoIterator<Item = &'a str>) -> Self {
        Kind::AnyIssuer(names(issuers)).into()
    }

    /// Requires that the token was issued to one of these clients.
    ///
    /// [`Claims::client_id`](crate::claims::Claims::client_id) returns the client of a token.
    #[must_use]
    pub fn any_client<'a>(clients: impl IntoIterator<Item = &'a str>) -> Self {
        Kind::AnyClient(names(clients)).into()
    }

    /// Requires authentication of the user in one of these ways (`acr`), in order of preference.
    ///
    /// Values are compared exactly: no value is known to be stronger than another (RFC 9470 §2).
    ///
    /// # Panics
    ///
    /// If there is no value, or if one is empty or holds a space or a quote, because no challenge
    /// could name it.
    #[must_use]
    pub fn any_acr<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let values = checked(values, "acr value that a challenge could name (RFC 9470 section 3)");
        assert!(!values.is_empty(), "any of no acr values can never be met");
        Kind::AnyAcr(values).into()
    }

    /// Requires that the user was authenticated at most this long ago (`auth_time`, RFC 9470 §2).
    ///
    /// The leeway of the policy applies. A token without `auth_time` does not meet this.
    #[must_use]
    pub fn max_age(age: Duration) -> Self {
        Kind::MaxAge(age).into()
    }

    /// Requires a matching element of `authorization_details` (RFC 9396).
    #[must_use]
    pub fn authorization_detail(matcher: DetailMatcher) -> Self {
        Kind::Detail(matcher).into()
    }

    /// Requires that a claim is present, with any value but `null`.
    ///
    /// ```
    /// use tower_introspect::policy::Requirement;
    ///
    /// // A token of a user, not one that a client got for itself.
    /// let of_a_user = Requirement::claim_present("sid");
    /// // A path that leads through a value that is not an object meets neither this nor its opposite.
    /// let without_tenant = !Requirement::claim_present("/realm/tenant");
    /// # let _ = (of_a_user, without_tenant);
    /// ```
    #[must_use]
    pub fn claim_present(path: impl Into<ClaimPath>) -> Self {
        Kind::Claim(ClaimTest::is_present(path.into())).into()
    }

    /// Requires that a claim is this string.
    #[must_use]
    pub fn claim_is(path: impl Into<ClaimPath>, value: &str) -> Self {
        Kind::Claim(ClaimTest::is(path.into(), value)).into()
    }

    /// Requires that a claim is an array of strings that contains this one, such as a role or
    /// group.
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

    /// Requires that `test` returns true for a claim, deserialized as `T`.
    ///
    /// An absent claim does not meet it. A claim of another type meets neither it nor its opposite.
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

    /// Requires that one of these actors acts for the subject: the outermost `act` (RFC 8693 §4.1).
    #[must_use]
    pub fn any_actor<'a>(subjects: impl IntoIterator<Item = &'a str>) -> Self {
        Kind::AnyActor(names(subjects)).into()
    }

    /// Requires a token without an actor: no party acts for the subject (RFC 8693 §4.1).
    #[must_use]
    pub fn no_actor() -> Self {
        Kind::NoActor.into()
    }

    /// Requires a token that is bound to a key. A policy admits one only with proof of possession
    /// of that key (RFC 8705, RFC 9449).
    #[must_use]
    pub fn sender_constrained() -> Self {
        Kind::SenderConstrained.into()
    }

    /// Requires that the facts about the token are at most this old.
    ///
    /// This checks the age and fetches nothing: put
    /// [`ResourceServer::fresh_layer`](crate::ResourceServer::fresh_layer) outside of it.
    /// Older facts are refused with [`Misconfigured`](crate::ErrorKind::Misconfigured). Facts that
    /// are used only because the authorization server is unavailable are refused with
    /// [`Unavailable`](crate::ErrorKind::Unavailable). Neither is the client's fault.
    #[must_use]
    pub fn fresh(age: Duration) -> Self {
        Kind::Fresh(age).into()
    }

    /// Requires that the function `check` accepts the token.
    ///
    /// To refuse, return [`ErrorKind::Denied`](crate::ErrorKind::Denied). If the client can do
    /// something about it, return [`VerifyError::insufficient_scope`] or
    /// [`VerifyError::insufficient_authentication`].
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

    /// Requires all of these parts. With no parts, requires only a token.
    #[must_use]
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        Kind::All(parts.into_iter().collect()).into()
    }

    /// Requires at least one of these parts.
    ///
    /// # Panics
    ///
    /// If there is no part, because no token could ever meet it.
    #[must_use]
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let parts: Box<[Self]> = parts.into_iter().collect();
        assert!(!parts.is_empty(), "any of no requirements can never be met");
        Kind::Any(parts).into()
    }

    /// Requires both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::all([self, other])
    }

    /// Requires at least one of the two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::any([self, other])
    }

    /// Describes the requirement, for a trace.
    pub(crate) fn describe(&self) -> String {
        match &*self.0 {
            Kind::AllScopes(values) => format!("scope {}", values.join(" ")),
            other => format!("{other:?}"),
        }
    }
}

impl Not for Requirement {
    type Output = Self;

    /// Requires that the requirement is not met.
    ///
    /// No challenge can name the opposite, so the refusal is [`Denied`](crate::ErrorKind::Denied).
    fn not(self) -> Self {
        Kind::Not(self).into()
    }
}

/// Collects values that a challenge can name in a list, without duplicates.
fn checked<'a>(values: impl IntoIterator<Item = &'a str>, what: &str) -> Box<[Box<str>]> {
    let mut checked = Vec::new();
    for value in values {
        assert!(is_scope_token(value), "{value:?} is not a valid {what}");
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
    #[should_panic(expected = "not a valid scope-token")]
    fn scope_with_a_space_panics() {
        let _ = Requirement::all_scopes(["read write"]);
    }

    #[test]
    #[should_panic(expected = "not a valid scope-token")]
    fn scope_with_a_quote_panics() {
        let _ = Requirement::any_scope(["re\"ad"]);
    }

    #[test]
    #[should_panic(expected = "can never be met")]
    fn any_scope_without_scopes_panics() {
        let _ = Requirement::any_scope([]);
    }

    #[test]
    #[should_panic(expected = "can never be met")]
    fn any_without_requirements_panics() {
        let _ = Requirement::any([]);
    }

    #[test]
    #[should_panic(expected = "not a valid acr value")]
    fn acr_with_characters_a_challenge_cannot_carry_panics() {
        let _ = Requirement::any_acr(["two words"]);
    }
}

use std::{fmt, sync::Arc};

use super::VerifiedToken;
use crate::{
    claims::is_scope_token,
    error::{ErrorKind, VerifyError},
};

/// Something asked of a verified token.
///
/// ```
/// use tower_introspect::policy::Requirement;
///
/// let requirement = Requirement::all_scopes(["read:payments", "read:accounts"]);
/// # let _ = requirement;
/// ```
#[derive(Clone)]
pub struct Requirement(Kind);

#[derive(Clone)]
enum Kind {
    AllScopes { scopes: Box<[Box<str>]>, needed: Box<str> },
    AnyScope { scopes: Box<[Box<str>]> },
    Audience(Box<str>),
    Check(Check),
}

type Check = Arc<dyn Fn(&VerifiedToken) -> Result<(), VerifyError> + Send + Sync>;

impl Requirement {
    /// Asks for every one of these scope values. With none, asks for nothing but a token.
    ///
    /// # Panics
    ///
    /// If a value is no scope-token (RFC 6749 §3.3): no token could ever meet it.
    #[must_use]
    pub fn all_scopes<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        let scopes = checked(scopes);
        let needed = scopes.join(" ").into();
        Self(Kind::AllScopes { scopes, needed })
    }

    /// Asks for at least one of these scope values. A client without any is told to get the first.
    ///
    /// # Panics
    ///
    /// If there is no value, or one is no scope-token: no token could ever meet it.
    #[must_use]
    pub fn any_scope<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        let scopes = checked(scopes);
        assert!(!scopes.is_empty(), "any of no scopes can never be met");
        Self(Kind::AnyScope { scopes })
    }

    /// Asks that the token is meant for `identifier` too.
    #[must_use]
    pub fn audience(identifier: &str) -> Self {
        Self(Kind::Audience(identifier.into()))
    }

    /// Asks a question of your own.
    ///
    /// Answer with [`ErrorKind::Denied`], or with
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
        Self(Kind::Check(Arc::new(check)))
    }

    /// Holds `token` against this requirement.
    ///
    /// # Errors
    ///
    /// If it is not met.
    pub fn check(&self, token: &VerifiedToken) -> Result<(), VerifyError> {
        match &self.0 {
            Kind::AllScopes { scopes, needed } => {
                let met = scopes.iter().all(|scope| token.has_scope(scope));
                if met { Ok(()) } else { Err(VerifyError::insufficient_scope(needed)) }
            }
            Kind::AnyScope { scopes } => {
                let met = scopes.iter().any(|scope| token.has_scope(scope));
                let first = scopes.first().map_or("", |scope| scope);
                if met { Ok(()) } else { Err(VerifyError::insufficient_scope(first)) }
            }
            Kind::Audience(identifier) => {
                let met = token.claims().audience().contains(identifier);
                if met { Ok(()) } else { Err(ErrorKind::WrongAudience.into()) }
            }
            Kind::Check(check) => check(token),
        }
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::AllScopes { scopes, .. } => f.debug_tuple("AllScopes").field(scopes).finish(),
            Kind::AnyScope { scopes } => f.debug_tuple("AnyScope").field(scopes).finish(),
            Kind::Audience(identifier) => f.debug_tuple("Audience").field(identifier).finish(),
            Kind::Check(_) => f.debug_tuple("Check").finish_non_exhaustive(),
        }
    }
}

fn checked<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Box<[Box<str>]> {
    let check = |scope: &'a str| {
        assert!(is_scope_token(scope), "{scope:?} is no scope-token (RFC 6749 section 3.3)");
        scope.into()
    };
    scopes.into_iter().map(check).collect()
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
    #[should_panic(expected = "can never be met")]
    fn any_of_nothing_is_a_mistake() {
        let _ = Requirement::any_scope([]);
    }
}

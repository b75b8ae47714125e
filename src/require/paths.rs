use std::collections::HashMap;

use http::Extensions;

use crate::{
    error::{kind::ErrorKind, refusal::VerifyError},
    policy::{requirement::Requirement, verified::token_of},
};

/// What each path requires, for services that dispatch on exact paths, as gRPC ones do.
///
/// Paths are compared byte by byte. That is how gRPC reads them; a router that decodes or
/// normalises paths reads them otherwise, so attach requirements to its routes instead. Inside of a
/// nested axum router the path is what the nesting has left of it.
///
/// ```
/// use tower_introspect::{policy::Requirement, require::Paths};
///
/// let paths = Paths::deny_by_default()
///     .require("/bank.Payments/Send", Requirement::all_scopes(["write:payments"]));
/// # let _ = paths;
/// ```
#[derive(Clone, Debug)]
pub struct Paths {
    rules: HashMap<Box<str>, Rule>,
    default: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    Deny,
    Public,
    Require(Requirement),
}

impl Paths {
    /// Refuses every path that is not named.
    #[must_use]
    pub fn deny_by_default() -> Self {
        Self { rules: HashMap::new(), default: Rule::Deny }
    }

    /// Asks this of every path that is not named.
    #[must_use]
    pub fn require_by_default(requirement: Requirement) -> Self {
        Self { rules: HashMap::new(), default: Rule::Require(requirement) }
    }

    /// Asks this of requests for `path`. A later rule for the same path replaces the earlier one.
    #[must_use]
    pub fn require(mut self, path: &str, requirement: Requirement) -> Self {
        self.rules.insert(path.into(), Rule::Require(requirement));
        self
    }

    /// Asks nothing of requests for `path`, not even a token.
    ///
    /// For requests without credentials to come this far, the layer outside must be
    /// [`optional`](crate::IntrospectLayer::optional).
    #[must_use]
    pub fn public(mut self, path: &str) -> Self {
        self.rules.insert(path.into(), Rule::Public);
        self
    }

    /// What is asked of a request for `path`, if anything.
    pub(super) fn asks(
        &self,
        path: &str,
        extensions: &Extensions,
    ) -> Result<Option<&Requirement>, VerifyError> {
        match self.rules.get(path).unwrap_or(&self.default) {
            Rule::Public => Ok(None),
            Rule::Require(requirement) => Ok(Some(requirement)),
            // Without a token the answer is 401, so that it tells nothing about the paths.
            Rule::Deny => token_of(extensions).and(Err(ErrorKind::Denied.into())),
        }
    }
}

use std::collections::HashMap;

use http::Extensions;

use crate::{
    error::{kind::ErrorKind, refusal::VerifyError},
    policy::{identity::token_of, verified_token::Requirement},
};

/// The requirements of each path, for services that dispatch on exact paths, as gRPC services do.
///
/// Paths are compared byte by byte, as gRPC does. A router that decodes or normalises paths may
/// treat two different paths as the same: attach requirements to its routes instead. Inside of a
/// nested axum router, the compared path is without the prefix of the nesting. There are [other
/// requirements](crate::docs::layers#which-requirement-to-write).
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
    /// Creates a set that refuses every path that is not listed.
    #[must_use]
    pub fn deny_by_default() -> Self {
        Self { rules: HashMap::new(), default: Rule::Deny }
    }

    /// Creates a set that applies `requirement` to every path that is not listed.
    #[must_use]
    pub fn require_by_default(requirement: Requirement) -> Self {
        Self { rules: HashMap::new(), default: Rule::Require(requirement) }
    }

    /// Applies `requirement` to requests for `path`. A later rule for the same path replaces an
    /// earlier one.
    #[must_use]
    pub fn require(mut self, path: &str, requirement: Requirement) -> Self {
        self.rules.insert(path.into(), Rule::Require(requirement));
        self
    }

    /// Requires nothing of requests for `path`, not even a token.
    ///
    /// Requests without credentials get this far only if the outer layer is
    /// [`optional`](crate::IntrospectLayer::optional).
    #[must_use]
    pub fn public(mut self, path: &str) -> Self {
        self.rules.insert(path.into(), Rule::Public);
        self
    }

    /// Returns the requirement for `path`, or `None` if the path is public.
    ///
    /// Fails for a denied path: with 401 if the request has no token, otherwise with 403.
    pub(super) fn requirement_for(
        &self,
        path: &str,
        extensions: &Extensions,
    ) -> Result<Option<&Requirement>, VerifyError> {
        match self.rules.get(path).unwrap_or(&self.default) {
            Rule::Public => Ok(None),
            Rule::Require(requirement) => Ok(Some(requirement)),
            // Without a token the refusal is 401, as for paths with a requirement, so that it does
            // not reveal which paths are listed.
            Rule::Deny => token_of(extensions).and(Err(denied())),
        }
    }
}

fn denied() -> VerifyError {
    VerifyError::new(ErrorKind::Denied).with_unmet_requirement("a path that is listed")
}

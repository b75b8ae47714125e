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
///     .public_service("grpc.health.v1.Health")
///     .require_service("bank.Payments", Requirement::all_scopes(["read:payments"]))
///     // For one method, instead of the rule for its service.
///     .require("/bank.Payments/Send", Requirement::all_scopes(["write:payments"]));
/// # let _ = paths;
/// ```
#[derive(Clone, Debug)]
pub struct Paths {
    rules: HashMap<Box<str>, Rule>,
    /// By the full name of the service, without slashes.
    services: HashMap<Box<str>, Rule>,
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
        Self::by_default(Rule::Deny)
    }

    /// Creates a set that applies `requirement` to every path that is not listed.
    #[must_use]
    pub fn require_by_default(requirement: Requirement) -> Self {
        Self::by_default(Rule::Require(requirement))
    }

    fn by_default(default: Rule) -> Self {
        Self { rules: HashMap::new(), services: HashMap::new(), default }
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

    /// Applies `requirement` to all methods of a gRPC service that have no rule of their own.
    ///
    /// `service` is the full name, such as `bank.Payments`. Only a path of the form
    /// `/service/Method` counts, with a method of letters, digits and `_`, as Protocol Buffers have.
    #[must_use]
    pub fn require_service(mut self, service: &str, requirement: Requirement) -> Self {
        self.services.insert(service.into(), Rule::Require(requirement));
        self
    }

    /// Requires nothing of requests for the methods of a gRPC service that have no rule of their own.
    ///
    /// See [`public`](Self::public) and [`require_service`](Self::require_service).
    #[must_use]
    pub fn public_service(mut self, service: &str) -> Self {
        self.services.insert(service.into(), Rule::Public);
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
        let of_service = || self.services.get(service_of(path)?);
        match self.rules.get(path).or_else(of_service).unwrap_or(&self.default) {
            Rule::Public => Ok(None),
            Rule::Require(requirement) => Ok(Some(requirement)),
            // Without a token the refusal is 401, as for paths with a requirement, so that it does
            // not reveal which paths are listed.
            Rule::Deny => token_of(extensions).and(Err(denied())),
        }
    }
}

/// Returns the service in the path of a gRPC call: `/service/Method`.
///
/// A server behind may normalize or decode other paths, and take them for something else.
fn service_of(path: &str) -> Option<&str> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!method.is_empty() && method.bytes().all(is_name)).then_some(service)
}

fn denied() -> VerifyError {
    VerifyError::new(ErrorKind::Denied).with_unmet_requirement("a path that is listed")
}

//! Matchers for elements of `authorization_details` (RFC 9396).

use std::{fmt, sync::Arc};

use crate::claims::details::AuthorizationDetail;

/// A matcher for one element of `authorization_details` (RFC 9396 §2).
///
/// Strings are compared exactly (RFC 9396 §12). A single element must meet all conditions; several
/// elements that meet them only together grant nothing.
///
/// ```
/// use tower_introspect::policy::{DetailMatcher, Requirement};
///
/// let transfer = DetailMatcher::of_type("payment_initiation")
///     .action("initiate")
///     .location("https://api.example.com/payments")
///     .matching(|detail| detail.get::<u64>("limit").is_ok_and(|limit| limit >= Some(100)));
/// let requirement = Requirement::authorization_detail(transfer);
/// # let _ = requirement;
/// ```
#[derive(Clone)]
pub struct DetailMatcher {
    kind: Box<str>,
    identifier: Option<Box<str>>,
    members: Vec<(&'static str, Box<str>)>,
    tests: Vec<Arc<Test>>,
}

type Test = dyn Fn(&AuthorizationDetail<'_>) -> bool + Send + Sync;

impl DetailMatcher {
    /// Creates a matcher for elements of this `type`.
    #[must_use]
    pub fn of_type(kind: &str) -> Self {
        Self { kind: kind.into(), identifier: None, members: Vec::new(), tests: Vec::new() }
    }

    /// Requires this value in `actions`.
    #[must_use]
    pub fn action(self, action: &str) -> Self {
        self.member("actions", action)
    }

    /// Requires this value in `locations`.
    ///
    /// An element that names no location does not match: it does not mean all locations.
    #[must_use]
    pub fn location(self, location: &str) -> Self {
        self.member("locations", location)
    }

    /// Requires this value in `datatypes`.
    #[must_use]
    pub fn datatype(self, datatype: &str) -> Self {
        self.member("datatypes", datatype)
    }

    /// Requires this value in `privileges`.
    #[must_use]
    pub fn privilege(self, privilege: &str) -> Self {
        self.member("privileges", privilege)
    }

    /// Requires this `identifier`.
    #[must_use]
    pub fn identifier(mut self, identifier: &str) -> Self {
        self.identifier = Some(identifier.into());
        self
    }

    /// Requires that `test` returns true.
    #[must_use]
    pub fn matching<F>(mut self, test: F) -> Self
    where
        F: Fn(&AuthorizationDetail<'_>) -> bool + Send + Sync + 'static,
    {
        self.tests.push(Arc::new(test));
        self
    }

    fn member(mut self, name: &'static str, value: &str) -> Self {
        self.members.push((name, value.into()));
        self
    }

    pub(super) fn matches(&self, detail: &AuthorizationDetail<'_>) -> bool {
        let identified = |wanted: &str| detail.identifier().is_some_and(|found| found == wanted);
        detail.kind() == &*self.kind
            && self.identifier.as_deref().is_none_or(identified)
            && self.members.iter().all(|(name, value)| detail.allows(name, value))
            && self.tests.iter().all(|test| test(detail))
    }
}

impl fmt::Debug for DetailMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetailMatcher")
            .field("type", &self.kind)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use http::HeaderValue;

use super::{
    boxed::BoxError,
    failure::{Failure, Fault},
    kind::{Blame, ErrorKind},
};

/// The requirements of a step-up challenge (RFC 9470 §3).
#[derive(Clone, Debug)]
pub(crate) struct StepUp {
    pub(crate) acr_values: Option<Box<str>>,
    pub(crate) max_age: Option<Duration>,
}

/// The error of a refused request.
///
/// It is one pointer wide and cheap to clone. It holds no part of a token, and neither its `Debug`
/// nor its `Display` form shows one.
#[derive(Clone)]
pub struct VerifyError(Arc<ErrorData>);

#[derive(Clone)]
struct ErrorData {
    kind: ErrorKind,
    context: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    scope: Option<Box<str>>,
    /// Boxed, because it is rare and caches hold many errors.
    step_up: Option<Box<StepUp>>,
    /// The requirement that was not met, in words of the configuration.
    unmet: Option<Box<str>>,
    nonce: Option<HeaderValue>,
    pub(super) source: Option<Arc<dyn Error + Send + Sync>>,
    /// How the request to the authorization server failed, if it did.
    failure: Option<Failure>,
    /// The party at fault for that failure, if it was found out.
    fault: Option<Fault>,
}

impl VerifyError {
    /// Creates a refusal of this kind.
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Self(Arc::new(ErrorData {
            kind,
            context: None,
            retry_after: None,
            scope: None,
            step_up: None,
            unmet: None,
            nonce: None,
            source: None,
            failure: None,
            fault: None,
        }))
    }

    /// Creates a refusal of a token that lacks scope.
    ///
    /// `needed` is the space-delimited scope that the request needs.
    ///
    /// ```
    /// use tower_introspect::{ErrorKind, VerifyError};
    ///
    /// let error = VerifyError::insufficient_scope("read:payments");
    /// assert_eq!(error.kind(), ErrorKind::InsufficientScope);
    /// assert_eq!(error.scope(), Some("read:payments"));
    /// ```
    #[must_use]
    pub fn insufficient_scope(needed: &str) -> Self {
        Self::new(ErrorKind::InsufficientScope).edit(|inner| inner.scope = Some(needed.into()))
    }

    /// Creates a refusal of a user authentication that is too weak or too old (RFC 9470 §3).
    ///
    /// `acr_values` lists the acceptable authentication context class references in order of
    /// preference, space-delimited. `max_age` is rendered in whole seconds.
    ///
    /// ```
    /// use tower_introspect::{ErrorKind, VerifyError};
    ///
    /// let error = VerifyError::insufficient_authentication(Some("mfa"), None);
    /// assert_eq!(error.kind(), ErrorKind::InsufficientAuthentication);
    /// ```
    #[must_use]
    pub fn insufficient_authentication(
        acr_values: Option<&str>,
        max_age: Option<Duration>,
    ) -> Self {
        let step_up = StepUp { acr_values: acr_values.map(Into::into), max_age };
        Self::new(ErrorKind::InsufficientAuthentication).with_step_up(step_up)
    }

    /// Creates a refusal that demands a proof of possession with this nonce (RFC 9449 §9).
    ///
    /// The response carries the nonce as `DPoP-Nonce`.
    ///
    /// ```
    /// use http::HeaderValue;
    /// use tower_introspect::{ErrorKind, VerifyError};
    ///
    /// let error = VerifyError::use_nonce(HeaderValue::from_static("fresh"));
    /// assert_eq!(error.kind(), ErrorKind::NonceRequired);
    /// assert!(!format!("{error:?}").contains("fresh"));
    /// ```
    #[must_use]
    pub fn use_nonce(nonce: HeaderValue) -> Self {
        Self::new(ErrorKind::NonceRequired).edit(|inner| inner.nonce = Some(nonce))
    }

    /// Adds the context of the error. Logs show it, responses never do.
    ///
    /// # Security
    ///
    /// The context must not hold any part of a token.
    #[must_use]
    pub fn with_context(self, context: impl Into<Cow<'static, str>>) -> Self {
        self.edit(|inner| inner.context = Some(context.into()))
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(self, source: impl Into<BoxError>) -> Self {
        self.edit(|inner| inner.source = Some(Arc::from(source.into())))
    }

    /// Sets the time to wait before the next attempt.
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        self.edit(|inner| inner.retry_after = Some(after))
    }

    /// Replaces the scope that the request needs.
    #[must_use]
    pub(crate) fn with_scope(self, needed: &str) -> Self {
        self.edit(|inner| inner.scope = Some(needed.into()))
    }

    /// Replaces the user authentication that the request needs.
    #[must_use]
    pub(crate) fn with_step_up(self, step_up: StepUp) -> Self {
        self.edit(|inner| inner.step_up = Some(Box::new(step_up)))
    }

    /// Returns the reason for the refusal.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the party at fault.
    #[must_use]
    pub fn blame(&self) -> Blame {
        self.kind().blame()
    }

    /// Returns the time to wait before the next attempt, if it is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns the scope that the request needs, if the error names one.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// Returns the context of the error, if there is one.
    #[must_use]
    pub fn context(&self) -> Option<&str> {
        self.0.context.as_deref()
    }

    /// Returns the requirement that the token does not meet, and how it differs, if a
    /// [`Requirement`](crate::policy::Requirement) refused it.
    ///
    /// It is for operators: events show it, responses never do. It names scope and `acr` values that
    /// are required, paths of claims, and whether a claim is absent, of another type or another
    /// value. It holds no value of the token.
    ///
    /// ```
    /// use tower_introspect::{
    ///     Policy,
    ///     claims::Claims,
    ///     clock::{Moment, SystemClock},
    ///     credentials::Scheme,
    ///     policy::Requirement,
    ///     verify::{ActiveToken, Method},
    /// };
    ///
    /// let admin = Requirement::claim_contains("/realm_access/roles", "admin");
    /// let policy = Policy::new("https://api.example.com").require(admin);
    /// let claims = Claims::from_json(br#"{"aud": "https://api.example.com"}"#).unwrap();
    /// let start = Moment::now(&SystemClock);
    /// let active = ActiveToken::new("https://as.example.com", claims, Method::Custom, start);
    /// let refusal = policy.admit(active, Scheme::Bearer).unwrap_err();
    /// assert_eq!(refusal.unmet_requirement(), Some("claim `realm_access/roles` (absent)"));
    /// ```
    #[must_use]
    pub fn unmet_requirement(&self) -> Option<&str> {
        self.0.unmet.as_deref()
    }

    /// Sets the requirement that the token does not meet.
    #[must_use]
    pub(crate) fn with_unmet_requirement(self, unmet: impl Into<Box<str>>) -> Self {
        self.edit(|inner| inner.unmet = Some(unmet.into()))
    }

    /// Adds how the request to the authorization server failed.
    #[must_use]
    pub(crate) fn with_failure(self, failure: Failure) -> Self {
        self.edit(|inner| inner.failure = Some(failure))
    }

    /// Adds the party at fault for the failure.
    #[must_use]
    pub(crate) fn with_fault(self, fault: Fault) -> Self {
        self.edit(|inner| inner.fault = Some(fault))
    }

    /// Replaces the kind of the error, and keeps its context and its cause.
    #[must_use]
    pub(crate) fn with_kind(self, kind: ErrorKind) -> Self {
        self.edit(|inner| inner.kind = kind)
    }

    pub(super) fn marked_failure(&self) -> Option<Failure> {
        self.0.failure
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.0.fault
    }

    pub(crate) fn nonce(&self) -> Option<&HeaderValue> {
        self.0.nonce.as_ref()
    }

    pub(crate) fn step_up(&self) -> Option<&StepUp> {
        self.0.step_up.as_deref()
    }

    /// Returns true if the error carries no per-request data, so that many requests can share it.
    #[cfg(feature = "cache")]
    pub(crate) fn is_shareable(&self) -> bool {
        let ErrorData {
            kind: _,
            context,
            retry_after,
            scope,
            step_up,
            unmet,
            source,
            failure: _,
            fault: _,
            nonce,
        } = &*self.0;
        !matches!(context, Some(Cow::Owned(_)))
            && retry_after.is_none()
            && scope.is_none()
            && step_up.is_none()
            && unmet.is_none()
            && source.is_none()
            && nonce.is_none()
    }

    /// Returns true if two [shareable](Self::is_shareable) errors are equal.
    #[cfg(feature = "cache")]
    pub(crate) fn equals_shareable(&self, other: &Self) -> bool {
        let same_failure = self.0.failure == other.0.failure && self.0.fault == other.0.fault;
        same_failure && self.kind() == other.kind() && self.context() == other.context()
    }

    /// Returns the known part of the size in bytes: the error itself, its scope and its context.
    #[cfg(feature = "cache")]
    pub(crate) fn bytes(&self) -> usize {
        let texts = [self.scope(), self.context()].into_iter().flatten().map(str::len);
        2 * size_of::<usize>() + size_of::<ErrorData>() + texts.sum::<usize>()
    }

    fn edit(mut self, change: impl FnOnce(&mut ErrorData)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl From<ErrorKind> for VerifyError {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Debug for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("VerifyError");
        out.field("kind", &self.kind());
        if let Some(context) = &self.0.context {
            out.field("context", context);
        }
        if let Some(after) = &self.0.retry_after {
            out.field("retry_after", after);
        }
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish_non_exhaustive()
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())?;
        match &self.0.context {
            Some(context) => write!(f, ": {context}"),
            None => Ok(()),
        }
    }
}

impl Error for VerifyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_one_pointer_wide() {
        assert_eq!(size_of::<VerifyError>(), size_of::<usize>());
        assert_eq!(size_of::<Result<(), VerifyError>>(), size_of::<usize>());
    }

    #[test]
    fn clones_share_their_details_until_one_is_changed() {
        let first = VerifyError::new(ErrorKind::Unavailable);
        let second = first.clone().with_retry_after(Duration::from_secs(3));
        assert_eq!(first.retry_after(), None);
        assert_eq!(second.retry_after(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn source_is_reachable() {
        let error = VerifyError::new(ErrorKind::BadResponse).with_source("not JSON");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("not JSON"));
    }
}

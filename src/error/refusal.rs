use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use http::HeaderValue;

use super::{
    BoxError,
    kind::{Blame, ErrorKind},
};

/// What a step-up challenge asks for (RFC 9470 §3).
#[derive(Clone, Debug)]
pub(crate) struct StepUp {
    pub(crate) acr_values: Option<Box<str>>,
    pub(crate) max_age: Option<Duration>,
}

/// A refusal.
///
/// Cheap to clone, one pointer wide. It holds no part of a token, and neither its `Debug` nor its
/// `Display` form shows one.
#[derive(Clone)]
pub struct VerifyError(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    context: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    scope: Option<Box<str>>,
    step_up: Option<StepUp>,
    nonce: Option<HeaderValue>,
    source: Option<Arc<dyn Error + Send + Sync>>,
    /// The server may have failed over this very token.
    by_token: bool,
}

impl VerifyError {
    /// A refusal of this kind.
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Self(Arc::new(Inner {
            kind,
            context: None,
            retry_after: None,
            scope: None,
            step_up: None,
            nonce: None,
            source: None,
            by_token: false,
        }))
    }

    /// The token lacks scope; `needed` is the space-delimited scope that this request needs.
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

    /// The user authentication is too weak or too old (RFC 9470 §3).
    ///
    /// `acr_values` are the acceptable authentication context class references in order of
    /// preference, space-delimited; `max_age` is rendered in whole seconds.
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
        Self::new(ErrorKind::InsufficientAuthentication).edit(|inner| inner.step_up = Some(step_up))
    }

    /// The proof of possession needs this nonce, which is put into the response as `DPoP-Nonce`
    /// (RFC 9449 §9).
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

    /// Adds what was being done when it went wrong. Shown in logs, never in a response.
    ///
    /// Must not hold any part of a token.
    #[must_use]
    pub fn with_context(self, context: impl Into<Cow<'static, str>>) -> Self {
        self.edit(|inner| inner.context = Some(context.into()))
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(self, source: impl Into<BoxError>) -> Self {
        self.edit(|inner| inner.source = Some(Arc::from(source.into())))
    }

    /// Adds the time after which to try again.
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        self.edit(|inner| inner.retry_after = Some(after))
    }

    /// The same, with another scope that is needed.
    #[must_use]
    pub(crate) fn with_scope(self, needed: &str) -> Self {
        self.edit(|inner| inner.scope = Some(needed.into()))
    }

    /// The same, with another authentication that is needed.
    #[must_use]
    pub(crate) fn with_step_up(self, step_up: StepUp) -> Self {
        self.edit(|inner| inner.step_up = Some(step_up))
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The party at fault.
    #[must_use]
    pub fn blame(&self) -> Blame {
        self.kind().blame()
    }

    /// When to try again, where the cause told.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The scope that the request needs, where scope was the reason.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    /// What was being done when it went wrong.
    #[must_use]
    pub fn context(&self) -> Option<&str> {
        self.0.context.as_deref()
    }

    /// Notes that the server may have failed over this very token, so that it is no sign of its
    /// being away.
    #[must_use]
    pub(crate) fn perhaps_by_token(self) -> Self {
        self.edit(|inner| inner.by_token = true)
    }

    pub(crate) fn may_be_by_token(&self) -> bool {
        self.0.by_token
    }

    pub(crate) fn nonce(&self) -> Option<&HeaderValue> {
        self.0.nonce.as_ref()
    }

    pub(crate) fn step_up(&self) -> Option<&StepUp> {
        self.0.step_up.as_ref()
    }

    /// Whether it may be one of few, each of which many requests are refused with: nothing in it was
    /// made for this one.
    #[cfg(feature = "cache")]
    pub(crate) fn is_common(&self) -> bool {
        let Inner { kind: _, context, retry_after, scope, step_up, source, by_token, nonce } =
            &*self.0;
        !matches!(context, Some(Cow::Owned(_)))
            && retry_after.is_none()
            && scope.is_none()
            && step_up.is_none()
            && source.is_none()
            && !by_token
            && nonce.is_none()
    }

    /// Whether two [common](Self::is_common) ones are the same.
    #[cfg(feature = "cache")]
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.context() == other.context()
    }

    /// How much memory it takes, as far as it is known.
    #[cfg(feature = "cache")]
    pub(crate) fn bytes(&self) -> usize {
        let texts = [self.scope(), self.context()].into_iter().flatten().map(str::len);
        2 * size_of::<usize>() + size_of::<Inner>() + texts.sum::<usize>()
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
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
    fn one_pointer_wide() {
        assert_eq!(size_of::<VerifyError>(), size_of::<usize>());
        assert_eq!(size_of::<Result<(), VerifyError>>(), size_of::<usize>());
    }

    #[test]
    fn clones_share_and_edits_do_not() {
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

//! The identity of a request, and refusals inside the layer that established it.

use std::sync::Arc;

use http::Extensions;

use super::{
    advice::tell_no_scope,
    recorder::Recorder,
    requirement::verdict::add,
    settings::Policy,
    verified_token::{Observed, Requirement, Terms, VerifiedToken},
};
use crate::{
    credentials::head::RequestHead,
    error::{kind::ErrorKind, refusal::VerifyError},
    respond::{
        challenge::Challenge,
        hook::{RefusalHook, report},
        refusal::Refusal,
    },
    telemetry::refused_by::RefusedBy,
};

/// The identity behind a request: the bearer of a token, or anonymous.
///
/// ```
/// use tower_introspect::Identity;
///
/// // Without the middleware there is no identity, not even an anonymous one.
/// assert!(Identity::of(&http::Extensions::new()).is_none());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Identity {
    /// The request carried no credentials, and none were required.
    Anonymous,
    /// The request carried a token that was verified.
    Token(VerifiedToken),
}

impl Identity {
    /// Returns the identity in the extensions of a request.
    ///
    /// # Security
    ///
    /// `None` means that no [`IntrospectLayer`](crate::IntrospectLayer) has seen the request. Treat
    /// it as an error of the service, never as anonymous.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        let token = || extensions.get::<VerifiedToken>().cloned().map(Self::Token);
        let anonymous = || extensions.get::<Anonymous>().map(|_| Self::Anonymous);
        token().or_else(anonymous)
    }
}

/// A request extension that marks a request admitted without credentials.
#[derive(Clone, Debug)]
pub(crate) struct Anonymous {
    terms: Arc<Terms>,
    pub(super) observed: Observed,
}

impl Anonymous {
    /// Creates the mark of a request that a layer with this policy admits.
    pub(crate) fn new(policy: &Policy) -> Self {
        Self { terms: Arc::clone(&policy.terms), observed: Observed(None) }
    }
}

/// Removes identities from the request, so that only a decision of this crate can pass for one.
#[inline]
pub(crate) fn strip_identity(extensions: &mut Extensions) {
    extensions.remove::<VerifiedToken>();
    extensions.remove::<Anonymous>();
}

/// Returns the token that the request was admitted with.
pub(crate) fn token_of(extensions: &Extensions) -> Result<&VerifiedToken, VerifyError> {
    if let Some(token) = extensions.get::<VerifiedToken>() {
        return Ok(token);
    }
    match extensions.get::<Anonymous>() {
        Some(_) => Err(ErrorKind::MissingCredentials.into()),
        // Fail closed: a missing layer must not leave the service open.
        None => Err(VerifyError::new(ErrorKind::Misconfigured).with_context(
            "no IntrospectLayer has processed the request: add one outside of this service",
        )),
    }
}

/// Returns true if a layer has admitted the request.
pub(crate) fn is_known(extensions: &Extensions) -> bool {
    extensions.get::<VerifiedToken>().is_some() || extensions.get::<Anonymous>().is_some()
}

/// Returns the token that the request was admitted with, if it meets a requirement.
///
/// For extractors and handlers. Layers record for further layers, too, what the token met.
pub(crate) fn token_that_meets<'a>(
    extensions: &'a Extensions,
    requirement: &Requirement,
) -> Result<&'a VerifiedToken, VerifyError> {
    let token = token_of(extensions)?;
    requirement.check(token)?;
    record_for_stream(extensions, || requirement.clone())?;
    Ok(token)
}

/// Records a requirement that the request met, if its response may stay open.
///
/// # Errors
///
/// If there are too many.
pub(crate) fn record_for_stream(
    extensions: &Extensions,
    requirement: impl FnOnce() -> Requirement,
) -> Result<(), VerifyError> {
    match extensions.get::<Recorder>() {
        Some(recorder) => recorder.record(&requirement()),
        None => Ok(()),
    }
}

/// Records that the token of a request met a requirement.
///
/// # Errors
///
/// If there are too many.
pub(crate) fn record_met(
    extensions: &mut Extensions,
    requirement: &Requirement,
) -> Result<(), VerifyError> {
    record_for_stream(extensions, || requirement.clone())?;
    let Some(token) = extensions.get_mut::<VerifiedToken>() else { return Ok(()) };
    let requirement = requirement.clone();
    token.met = Some(match token.met.take() {
        None => requirement,
        Some(before) => before.and(requirement),
    });
    Ok(())
}

/// Returns the refusal hook of the layer that admitted a request.
#[cfg(feature = "tonic")]
pub(crate) fn hook_of<'a>(head: RequestHead<'a>) -> Option<&'a RefusalHook> {
    terms_of(head)?.hook.as_ref()
}

/// Returns the terms of the layer that admitted a request.
fn terms_of<'a>(head: RequestHead<'a>) -> Option<&'a Terms> {
    let token = head.extension::<VerifiedToken>().map(|token| &*token.terms);
    token.or_else(|| head.extension::<Anonymous>().map(|marker| &*marker.terms))
}

/// Reports the refusal of a request inside the layer that admitted it, and calls `render` with it.
///
/// The scope that the refusal names includes that of the requirements that were met before.
/// Otherwise the client would come back with a token that lacks it. `hook` replaces the one of the
/// layer.
pub(crate) fn refuse_inside<T>(
    error: VerifyError,
    head: RequestHead<'_>,
    by: RefusedBy,
    hook: Option<&RefusalHook>,
    render: impl FnOnce(&Refusal<'_>) -> T,
) -> T {
    let token = head.extension::<VerifiedToken>();
    let terms = terms_of(head);
    let unknown;
    let challenge = match terms {
        Some(terms) => &*terms.challenge,
        None => {
            unknown = Challenge::new("");
            &unknown
        }
    };
    let error = match token {
        Some(token) => {
            tell_no_scope(token, &error);
            token.with_earlier_scope(error)
        }
        None => error,
    };
    let refusal = Refusal::new(&error, head, challenge).presented(token.map(VerifiedToken::scheme));
    report(&refusal, by, hook.or_else(|| terms?.hook.as_ref()));
    render(&refusal)
}

impl VerifiedToken {
    /// Adds the scope of the requirements that this token met before, if `error` names a scope.
    pub(super) fn with_earlier_scope(&self, error: VerifyError) -> VerifyError {
        let Some(needed) = error.scope() else { return error };
        let mut scope = Vec::new();
        for requirement in self.terms.requirements.iter().chain(&self.met) {
            requirement.add_met_scope(self, &mut scope);
        }
        if scope.is_empty() {
            return error;
        }
        add(&mut scope, needed.split(' ').map(Into::into));
        let scope = scope.join(" ");
        error.with_scope(&scope)
    }
}

/// Returns `None` for a request that was admitted without credentials.
pub(crate) fn if_presented<T>(outcome: Result<T, VerifyError>) -> Result<Option<T>, VerifyError> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::MissingCredentials => Ok(None),
        outcome => outcome.map(Some),
    }
}

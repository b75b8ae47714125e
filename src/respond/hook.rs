//! Hooks that the application registers to see refusals.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use http::Extensions;

use super::refusal::Refusal;
use crate::telemetry::{self, events, refused_by::RefusedBy};

/// A function of the application that is called for each refusal.
///
/// The policy of a layer holds it, and so does every token that the layer admits. A refusal further in
/// finds it there.
#[derive(Clone)]
pub(crate) struct RefusalHook(Arc<dyn Fn(&Refusal<'_>) + Send + Sync>);

impl RefusalHook {
    pub(crate) fn new(hook: impl Fn(&Refusal<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// Calls the hook, and catches its panics.
    ///
    /// A client that can make the hook panic must not be able to suppress its refusal that way.
    fn call(&self, refusal: &Refusal<'_>) {
        if catch_unwind(AssertUnwindSafe(|| (self.0)(refusal))).is_err() {
            events::hook_panicked();
        }
    }
}

impl fmt::Debug for RefusalHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusalHook").finish_non_exhaustive()
    }
}

/// The subject to log if a request is refused further in. An extension of the request.
#[derive(Clone, Debug)]
pub(crate) struct LoggedSubject(Arc<str>);

impl LoggedSubject {
    /// Sets the subject to log for this request, or removes it.
    pub(crate) fn set(subject: Option<&str>, extensions: &mut Extensions) {
        match subject {
            Some(subject) => drop(extensions.insert(Self(subject.into()))),
            None => drop(extensions.remove::<Self>()),
        }
    }

    /// Returns the subject to log, if there is one.
    pub(crate) fn of(extensions: &Extensions) -> Option<&str> {
        extensions.get::<Self>().map(|Self(subject)| &**subject)
    }
}

/// Reports a refusal once: as an event, in metrics, and to the hook.
pub(crate) fn report(refusal: &Refusal<'_>, by: RefusedBy, hook: Option<&RefusalHook>) {
    let subject = refusal.head.extension::<LoggedSubject>();
    let subject = subject.map(|LoggedSubject(subject)| &**subject);
    telemetry::report::refused(refusal.error, by, subject);
    if let Some(hook) = hook {
        hook.call(refusal);
    }
}

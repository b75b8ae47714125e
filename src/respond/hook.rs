//! Hooks that the application registers to see refusals.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use http::Extensions;

use super::refusal::Refusal;
use crate::telemetry::{self, events};

/// A function of the application that is called for each refusal.
#[derive(Clone)]
pub(crate) struct RefusalHook(Arc<dyn Fn(&Refusal<'_>) + Send + Sync>);

impl RefusalHook {
    pub(crate) fn new(hook: impl Fn(&Refusal<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// Calls the hook, and catches its panics.
    ///
    /// A client that can make the hook panic must not be able to suppress its refusal that way.
    fn tell(&self, refusal: &Refusal<'_>) {
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

/// The hook to call and the subject to log if a request is refused further in.
///
/// It is an extension of the request, which clients can't set.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    hook: Option<RefusalHook>,
    subject: Option<Arc<str>>,
}

impl Watch {
    /// Sets the hook of this request, replacing the hook of an outer layer.
    pub(crate) fn by(hook: &RefusalHook, extensions: &mut Extensions) {
        Self::change(extensions, |watch| watch.hook = Some(hook.clone()));
    }

    /// Sets the subject to log for this request, or removes it.
    pub(crate) fn show(subject: Option<&str>, extensions: &mut Extensions) {
        Self::change(extensions, |watch| watch.subject = subject.map(Arc::from));
    }

    fn change(extensions: &mut Extensions, change: impl FnOnce(&mut Self)) {
        match extensions.get_mut() {
            Some(watch) => change(watch),
            None => {
                let mut watch = Self::default();
                change(&mut watch);
                extensions.insert(watch);
            }
        }
    }

    /// Returns the subject to log, if there is one.
    pub(crate) fn subject(extensions: &Extensions) -> Option<&str> {
        extensions.get::<Self>()?.subject.as_deref()
    }
}

/// Reports a refusal once: as an event, and to the hook of the request.
pub(crate) fn report(refusal: &Refusal<'_>) {
    let watch = refusal.head.extension::<Watch>();
    telemetry::report::refused(refusal.error, watch.and_then(|watch| watch.subject.as_deref()));
    if let Some(hook) = watch.and_then(|watch| watch.hook.as_ref()) {
        hook.tell(refusal);
    }
}

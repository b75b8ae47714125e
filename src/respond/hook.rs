//! The application's own eye on refusals.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use http::Extensions;

use super::Refusal;
use crate::telemetry;

/// What is called with each refusal.
#[derive(Clone)]
pub(crate) struct RefusalHook(Arc<dyn Fn(&Refusal<'_>) + Send + Sync>);

impl RefusalHook {
    pub(crate) fn new(hook: impl Fn(&Refusal<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// Calls it. The request is refused whatever comes of that: a hook that could keep an answer from
    /// being sent by a panic could be made to.
    fn tell(&self, refusal: &Refusal<'_>) {
        if catch_unwind(AssertUnwindSafe(|| (self.0)(refusal))).is_err() {
            telemetry::hook_panicked();
        }
    }
}

impl fmt::Debug for RefusalHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusalHook").finish_non_exhaustive()
    }
}

/// Goes with a request, so that whatever refuses it further in is seen by the layer outside. An
/// extension of the request, which no client can make.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    hook: Option<RefusalHook>,
    subject: Option<Arc<str>>,
}

impl Watch {
    /// Has `hook` called for this request, and no other from now on.
    pub(crate) fn by(hook: &RefusalHook, extensions: &mut Extensions) {
        Self::change(extensions, |watch| watch.hook = Some(hook.clone()));
    }

    /// Has this subject shown, or none.
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

    /// The subject, if it is to be shown.
    pub(crate) fn subject(extensions: &Extensions) -> Option<&str> {
        extensions.get::<Self>()?.subject.as_deref()
    }
}

/// Tells everyone of a refusal who wants to know: once.
pub(crate) fn report(refusal: &Refusal<'_>) {
    let watch = refusal.head.extension::<Watch>();
    telemetry::refused(refusal.error, watch.and_then(|watch| watch.subject.as_deref()));
    if let Some(hook) = watch.and_then(|watch| watch.hook.as_ref()) {
        hook.tell(refusal);
    }
}

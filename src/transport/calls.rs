//! Records the outcomes of calls to an authorization server.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    clock::{Clock, Moment},
    error::{
        kind::{Blame, ErrorKind},
        refusal::VerifyError,
    },
    telemetry::{self, endpoint_kind::EndpointKind},
};

/// An endpoint of an authorization server. Clones share the record of its last call.
#[derive(Clone)]
pub(crate) struct CallRecorder(Arc<EndpointRecord>);

struct EndpointRecord {
    /// The name of the issuer in metrics.
    name: Arc<str>,
    endpoint: EndpointKind,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<LastCall>>,
}

/// The last call that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastCall {
    pub(crate) ended: Moment,
    /// The failure, unless the client is at fault: a bad token is no failure of the server.
    pub(crate) failure: Option<ErrorKind>,
}

impl LastCall {
    /// Returns the call that ended later.
    pub(crate) fn later(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) if one.ended.is_before(other.ended) => Some(other),
            (one, other) => one.or(other),
        }
    }
}

impl CallRecorder {
    pub(crate) fn new(name: Arc<str>, endpoint: EndpointKind, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(EndpointRecord { name, endpoint, clock, last: Mutex::default() }))
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Starts a call.
    pub(crate) fn start(&self) -> Call {
        Call { recorder: self.clone(), started: self.0.now(), ended: false }
    }

    pub(crate) fn last_call(&self) -> Option<LastCall> {
        // The value is complete at every point that could panic.
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EndpointRecord {
    fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    fn report(&self, ended: Option<(Duration, Option<ErrorKind>)>) {
        telemetry::report::upstream_call_ended(&self.name, self.endpoint, ended);
    }
}

/// A call under way. A call that is dropped has no outcome, because its caller went away.
pub(crate) struct Call {
    recorder: CallRecorder,
    started: Moment,
    ended: bool,
}

impl Call {
    /// Records the outcome of the call.
    pub(crate) fn end<T>(mut self, outcome: &Result<T, VerifyError>) {
        self.ended = true;
        let EndpointRecord { last, .. } = &*self.recorder.0;
        let (ended, kind) = (self.recorder.0.now(), outcome.as_ref().err().map(VerifyError::kind));
        let failure = kind.filter(|kind| kind.blame() != Blame::Client);
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastCall { ended, failure });
        // By the monotonic clock: a step of the wall clock would look like a slow server.
        self.recorder.0.report(Some((ended.monotonic_since(self.started), kind)));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.recorder.0.report(None);
        }
    }
}

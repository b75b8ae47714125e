//! Passes the result of each check on, and records it where recording is compiled in.

#[cfg(feature = "checks")]
use super::recording;
use super::{check::Check, detail::Detail};
use crate::error::{kind::ErrorKind, refusal::VerifyError};

/// An error that a check can fail with.
pub(crate) trait CheckError {
    fn kind(&self) -> ErrorKind;
}

impl CheckError for ErrorKind {
    fn kind(&self) -> ErrorKind {
        *self
    }
}

impl CheckError for VerifyError {
    fn kind(&self) -> ErrorKind {
        Self::kind(self)
    }
}

/// Returns the outcome of a check unchanged.
#[cfg(not(feature = "checks"))]
#[inline(always)]
pub(crate) fn record<T, E: CheckError>(
    _: Check,
    _: impl FnOnce() -> Detail,
    outcome: Result<T, E>,
) -> Result<T, E> {
    outcome
}

/// Returns the outcome of a check unchanged, and records it if a recording is on.
#[cfg(feature = "checks")]
#[inline]
pub(crate) fn record<T, E: CheckError>(
    check: Check,
    detail: impl FnOnce() -> Detail,
    outcome: Result<T, E>,
) -> Result<T, E> {
    if recording::is_on() {
        recording::add(check, detail(), outcome.as_ref().map(drop).map_err(CheckError::kind));
    }
    outcome
}

/// Runs a future whose checks are not those of a client's token, and are not recorded.
#[cfg(all(feature = "introspection", feature = "_crypto"))]
pub(crate) async fn unrecorded<F: Future>(future: F) -> F::Output {
    #[cfg(feature = "checks")]
    {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| recording::paused(|| future.as_mut().poll(cx))).await
    }
    #[cfg(not(feature = "checks"))]
    future.await
}

/// Makes a check that fails with `otherwise` unless `met` is true.
#[inline(always)]
pub(crate) fn demand(
    check: Check,
    detail: impl FnOnce() -> Detail,
    met: bool,
    otherwise: ErrorKind,
) -> Result<(), ErrorKind> {
    record(check, detail, if met { Ok(()) } else { Err(otherwise) })
}

//! The future of [`Require`](super::Require), and of other services that may respond by themselves.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

pin_project! {
    /// The response of the inner service, or one that was made without calling it.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the call of the inner service that is in progress.
    pub struct ResponseFuture<F, Res> {
        #[pin]
        state: State<F, Res>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, Res> {
        Answered { response: Option<Res> },
        Calling { #[pin] future: F },
    }
}

impl<F, Res> ResponseFuture<F, Res> {
    pub(crate) const fn answered(response: Res) -> Self {
        Self { state: State::Answered { response: Some(response) } }
    }

    pub(crate) const fn calling(future: F) -> Self {
        Self { state: State::Calling { future } }
    }
}

impl<F, Res, E> Future for ResponseFuture<F, Res>
where
    F: Future<Output = Result<Res, E>>,
{
    type Output = Result<Res, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Answered { response } => {
                Poll::Ready(Ok(response.take().expect("polled after completion")))
            }
            StateProj::Calling { future } => future.poll(cx),
        }
    }
}

impl<F, Res> fmt::Debug for ResponseFuture<F, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

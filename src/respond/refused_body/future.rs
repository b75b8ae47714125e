//! The future of [`ReadRefused`](super::ReadRefused).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::Body;
use pin_project_lite::pin_project;

use super::{
    limits::Limits,
    reading::Reading,
    refusing::{Judged, Refusing},
};

pin_project! {
    /// The response of the inner service, or the refusal after the body was read.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops the call or the body that is being read.
    pub struct ResponseFuture<S, B>
    where
        S: Refusing<B>,
    {
        #[pin]
        state: State<S::Future, S::Response, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, Res, B> {
        Calling { #[pin] future: F, limits: Limits },
        // Boxed, so that requests that are admitted do not move it around.
        Reading { reading: Pin<Box<Reading<Res, B>>> },
        Refused { response: Option<Res> },
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Refusing<B>,
{
    pub(super) const fn calling(future: S::Future, limits: Limits) -> Self {
        Self { state: State::Calling { future, limits } }
    }

    pub(super) fn refused(ended: Result<Reading<S::Response, B>, S::Response>) -> Self {
        Self { state: State::refused(ended) }
    }
}

impl<F, Res, B> State<F, Res, B> {
    fn refused(ended: Result<Reading<Res, B>, Res>) -> Self {
        match ended {
            Ok(reading) => Self::Reading { reading: Box::pin(reading) },
            Err(response) => Self::Refused { response: Some(response) },
        }
    }
}

impl<S, B> Future for ResponseFuture<S, B>
where
    S: Refusing<B>,
    B: Body,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Calling { future, limits } => {
                    match ready!(S::poll_or_refuse(future, cx))? {
                        Judged::Admitted(response) => return Poll::Ready(Ok(response)),
                        Judged::Refused(refused) => State::refused(limits.end(refused)),
                    }
                }
                StateProj::Reading { reading } => return reading.as_mut().poll(cx).map(Ok),
                StateProj::Refused { response } => {
                    return Poll::Ready(Ok(response.take().expect("polled after completion")));
                }
            };
            // Drops the call, and with it what it may have reserved of the inner service.
            this.state.set(next);
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Refusing<B>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

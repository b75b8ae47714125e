//! The future of [`ReadRefused`](super::ReadRefused).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf as _;
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};

use super::{
    layer::Limits,
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

pin_project! {
    /// The body of a refused request, which is read and discarded.
    pub(super) struct Reading<Res, B> {
        #[pin]
        body: B,
        #[pin]
        end: Sleep,
        bytes_left: u64,
        response: Option<Res>,
        _permit: OwnedSemaphorePermit,
    }
}

impl<Res, B: Body> Reading<Res, B> {
    pub(super) fn new(
        body: B,
        response: Res,
        max_bytes: u64,
        max_time: Duration,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let end = sleep(max_time);
        Self { body, end, bytes_left: max_bytes, response: Some(response), _permit: permit }
    }

    /// Reads until the end of the body or of a limit, and returns the response.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Res> {
        let mut this = self.project();
        // Before the body, which may always have more.
        let mut is_over = this.end.poll(cx).is_ready();
        while !is_over {
            let Some(Ok(frame)) = ready!(this.body.as_mut().poll_frame(cx)) else { break };
            // A frame without data counts too, or a body of them would never end.
            let bytes = frame.data_ref().map_or(1, |data| data.remaining().max(1));
            let left =
                u64::try_from(bytes).ok().and_then(|bytes| this.bytes_left.checked_sub(bytes));
            is_over = left.is_none();
            *this.bytes_left = left.unwrap_or(0);
        }
        Poll::Ready(this.response.take().expect("polled after completion"))
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

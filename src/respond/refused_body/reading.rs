//! The body of a refused request while it is read.

use std::{
    future::Future as _,
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
    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Res> {
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

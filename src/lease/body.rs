//! The bodies that end with a lease.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::response::Parts;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    end::StreamEnd,
    ending::{Ending, LastPiece},
    held::{Held, Polled},
    lease::Lease,
};
use crate::error::boxed::BoxError;

pin_project! {
    /// A body that ends with its lease.
    ///
    /// The body of a response ends as its protocol has it. See the [module docs](crate::stream#endings).
    /// The body of a request ends with the [`StreamEnd`] as its error.
    ///
    /// The inner body is dropped as soon as the lease ends, also if nobody polls this one.
    pub struct GuardedBody<B> {
        #[pin]
        state: State<B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<B> {
        // There is no lease, or nothing to guard.
        Plain { #[pin] body: B },
        Guarded { held: Arc<Held<B>>, ending: Ending },
        Done,
    }
}

impl<B: Body + Send + 'static> GuardedBody<B> {
    /// Guards the body of a response.
    pub(crate) fn of_response(lease: Lease, head: &Parts, body: B) -> Self {
        Self::guarded(lease, Ending::of(head), body)
    }

    /// Guards the body of a request.
    pub(crate) fn of_request(lease: Lease, body: B) -> Self {
        Self::guarded(lease, Ending::Error, body)
    }

    fn guarded(lease: Lease, ending: Ending, body: B) -> Self {
        // The lease of an empty body is not needed any more.
        if body.is_end_stream() {
            return Self::plain(body);
        }
        Self { state: State::Guarded { held: Held::new(lease, body), ending } }
    }
}

impl<B> GuardedBody<B> {
    /// Passes a body on.
    pub(crate) const fn plain(body: B) -> Self {
        Self { state: State::Plain { body } }
    }
}

impl<B: Default> Default for GuardedBody<B> {
    fn default() -> Self {
        Self::plain(B::default())
    }
}

impl<B> Body for GuardedBody<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.project().state;
        let (held, ending) = match state.as_mut().project() {
            StateProj::Plain { body } => {
                let frame = ready!(body.poll_frame(cx));
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            }
            StateProj::Guarded { held, ending } => (&*held, ending),
            StateProj::Done => return Poll::Ready(None),
        };
        // Set if the lease has ended, and only the rest of an event still counts.
        let mut rest = None;
        let polled = held.poll(cx, B::poll_frame, |frame| match frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) if held.lease().has_ended() => {
                    let (length, is_whole) = ending.advance_to_rest(data);
                    rest = Some(length);
                    is_whole
                }
                Some(data) => ending.advance(data),
                None => true,
            },
            _ => true,
        });
        let frame = match polled {
            Polled::Ended(end) => {
                let last = last_frame(&end, ending, held.lease());
                state.set(State::Done);
                return Poll::Ready(last);
            }
            Polled::Value(polled) => ready!(polled),
        };
        match frame {
            Some(Ok(frame)) => {
                if frame.is_trailers() {
                    state.set(State::Done);
                }
                let rest = |data: Bytes| data.slice(..rest.unwrap_or(data.len()));
                Poll::Ready(Some(Ok(frame.map_data(rest))))
            }
            None => {
                state.set(State::Done);
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                state.set(State::Done);
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Plain { body } => body.is_end_stream(),
            State::Guarded { held, .. } => held.peek(B::is_end_stream).unwrap_or(false),
            State::Done => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Plain { body } => body.size_hint(),
            State::Guarded { held, .. } => held.peek(B::size_hint).unwrap_or_default(),
            State::Done => SizeHint::with_exact(0),
        }
    }
}

/// Returns the last frame of a body that ends with its lease.
fn last_frame(
    end: &StreamEnd,
    ending: &Ending,
    lease: &Lease,
) -> Option<Result<Frame<Bytes>, BoxError>> {
    match ending.last_piece(end, lease) {
        LastPiece::Data(data) => Some(Ok(Frame::data(data))),
        LastPiece::Error => Some(Err(Box::new(end.clone()))),
        LastPiece::Nothing => None,
        LastPiece::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
    }
}

impl<B> fmt::Debug for GuardedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Plain { .. } => "Plain",
            State::Guarded { .. } => "Guarded",
            State::Done => "Done",
        };
        f.debug_tuple("GuardedBody").field(&state).finish()
    }
}

#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl From<GuardedBody<Self>> for axum_core::body::Body {
    fn from(body: GuardedBody<Self>) -> Self {
        Self::new(body)
    }
}

#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl From<GuardedBody<Self>> for tonic::body::Body {
    fn from(body: GuardedBody<Self>) -> Self {
        Self::new(body)
    }
}

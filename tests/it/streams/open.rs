//! Streams that a test opens, feeds and reads.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_introspect::{
    VerifyError,
    stream::{GuardedBody, Lease, StreamEnd},
};

/// The body of a handler: what the test sends it.
pub(crate) struct Feed {
    frames: UnboundedReceiver<Frame<Bytes>>,
    dropped: Arc<AtomicBool>,
}

impl Feed {
    /// Returns a body, and the half that feeds it.
    pub(crate) fn pair() -> (UnboundedSender<Frame<Bytes>>, Self) {
        let (sender, frames) = unbounded_channel();
        (sender, Self { frames, dropped: Arc::default() })
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self { frames: unbounded_channel().1, dropped: Arc::default() }
    }
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.frames.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

/// An open stream.
pub(crate) struct Open {
    pub(crate) head: http::response::Parts,
    /// The body, as the server polls it.
    pub(crate) body: Pin<Box<GuardedBody<Feed>>>,
    pub(crate) lease: Option<Lease>,
    /// `None` once the handler ended.
    pub(crate) handler: Option<UnboundedSender<Frame<Bytes>>>,
    dropped: Arc<AtomicBool>,
}

/// The last thing that a client sees of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Clean,
    Data(String),
    Error(&'static str),
    Nothing,
    /// The status, and whether there is a challenge.
    Status(String, bool),
}

impl Open {
    /// Sends a request to a handler behind `layer`, whose response has this content type.
    pub(crate) async fn with<L>(layer: &L, request: Request<Bytes>, content_type: &str) -> Self
    where
        L: Layer<Handler>,
        L::Service:
            Service<Request<Bytes>, Response = Response<GuardedBody<Feed>>, Error = Infallible>,
    {
        let (handler, frames) = unbounded_channel();
        let dropped = Arc::new(AtomicBool::new(false));
        let feed = Feed { frames, dropped: Arc::clone(&dropped) };
        let slot = Arc::new(std::sync::Mutex::new((Some(feed), None)));
        let content_type = content_type.to_owned();
        let inner = Arc::clone(&slot);
        let service =
            tower::util::BoxCloneSyncService::new(service_fn(move |request: Request<Bytes>| {
                let (inner, content_type) = (Arc::clone(&inner), content_type.clone());
                async move {
                    let mut slot = inner.lock().unwrap();
                    slot.1 = request.extensions().get::<Lease>().cloned();
                    let mut response = Response::new(slot.0.take().unwrap_or_default());
                    let content_type = content_type.parse().expect("a content type");
                    response.headers_mut().insert(CONTENT_TYPE, content_type);
                    Ok::<_, Infallible>(response)
                }
            }));
        let Ok(response) = layer.layer(service).oneshot(request).await;
        let (head, body) = response.into_parts();
        let lease = slot.lock().unwrap().1.take();
        Self { head, body: Box::pin(body), lease, handler: Some(handler), dropped }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn lease(&self) -> &Lease {
        self.lease.as_ref().expect("the request has a lease")
    }

    pub(crate) fn end(&self) -> Option<StreamEnd> {
        self.lease().end()
    }

    /// The reason why the stream ended.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        self.end().map(|end| end.reason())
    }

    /// Returns true if the body of the handler was dropped.
    pub(crate) fn handler_is_dropped(&self) -> bool {
        self.dropped.load(Ordering::SeqCst)
    }

    pub(crate) fn send(&self, text: &str) {
        let frame = Frame::data(Bytes::copy_from_slice(text.as_bytes()));
        // The other half is gone once the stream has ended.
        let _ = self.handler.as_ref().expect("the handler goes on").send(frame);
    }

    pub(crate) fn send_trailers(&self, trailers: HeaderMap) {
        let _ = self.handler.as_ref().expect("the handler goes on").send(Frame::trailers(trailers));
    }

    /// Polls the body once.
    pub(crate) async fn see(&mut self) -> Seen {
        let body = &mut self.body;
        let polled = poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx))).await;
        seen(polled)
    }

    /// Waits for the next thing that the client sees.
    pub(crate) async fn next(&mut self) -> Seen {
        let body = &mut self.body;
        seen(Poll::Ready(poll_fn(|cx| body.as_mut().poll_frame(cx)).await))
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>>>;

fn seen(polled: Polled) -> Seen {
    match polled {
        Poll::Pending => Seen::Nothing,
        Poll::Ready(None) => Seen::Clean,
        Poll::Ready(Some(Err(error))) => {
            let end = error.downcast_ref::<StreamEnd>();
            Seen::Error(end.expect("the end of the stream").reason())
        }
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => Seen::Data(String::from_utf8_lossy(&data).into_owned()),
            Err(frame) => {
                let trailers = frame.into_trailers().expect("trailers");
                let status = trailers["grpc-status"].to_str().unwrap().to_owned();
                Seen::Status(status, trailers.contains_key("www-authenticate"))
            }
        },
    }
}

pub(crate) type Handler =
    tower::util::BoxCloneSyncService<Request<Bytes>, Response<Feed>, Infallible>;

/// The refusal of a request that opened no stream.
pub(crate) fn refusal(open: &Open) -> Option<tower_introspect::ErrorKind> {
    open.head.extensions.get::<VerifyError>().map(VerifyError::kind)
}

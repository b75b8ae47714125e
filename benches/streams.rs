//! Measures open streams: their memory, the introspections for their tokens, and the cost of a frame.
//!
//! `cargo bench --bench streams` opens 100 000 streams of 1 000 tokens; other than by `cargo bench`, a
//! hundredth of them. The memory is that of guarded streams less that of streams behind a layer that
//! guards none. Time is paused, so that periods take none.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark takes the time, and one that panics has failed"
)]

mod support;

use std::{
    any::Any,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tower_introspect::{ResourceServer, transport::HttpTransport};

use self::support::{AUDIENCE, ISSUER, answer, opaque, remote};

const SUBJECTS: u64 = 1_000;
const STREAMS_OF_EACH: u64 = 100;
const PERIODS: u64 = 10;
const MAX_AGE: Duration = Duration::from_secs(30);

/// A body that always has a frame.
#[derive(Default)]
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"data: 1\n\n")))))
    }
}

static ASKED: AtomicU64 = AtomicU64::new(0);

/// A resource server whose authorization server answers at once.
fn api() -> ResourceServer {
    let transport = HttpTransport::new(service_fn(|request: Request<Bytes>| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8_lossy(request.body()).into_owned();
        // The number at the end of the token is that of its subject.
        let digits = text.split("token=").nth(1).and_then(|token| token.split('&').next());
        let n = digits.and_then(|token| token.rsplit('-').next()?.parse().ok()).unwrap_or(0);
        let mut response = Response::new(Bytes::from(answer(n)));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        ready(Ok::<_, Infallible>(response))
    }));
    ResourceServer::builder(AUDIENCE)
        .issuer(remote(ISSUER))
        .transport(transport)
        .max_age(MAX_AGE)
        .max_streams(400_000)
        .build()
        .unwrap()
}

fn handler(_: Request<Bytes>) -> Ready<Result<Response<Endless>, Infallible>> {
    let mut response = Response::new(Endless);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    ready(Ok(response))
}

fn request(n: u64) -> Request<Bytes> {
    let value = format!("Bearer {}", opaque(n));
    Request::builder().header("authorization", value).body(Bytes::new()).unwrap()
}

/// Opens streams, as many of each subject.
macro_rules! open {
    ($layer:expr, $subjects:expr, $of_each:expr) => {{
        let service = $layer.layer(service_fn(handler));
        let mut streams = Vec::with_capacity(usize::try_from($subjects * $of_each).unwrap());
        for n in 0..$subjects {
            for _ in 0..$of_each {
                streams.push(service.clone().oneshot(request(n)).await);
            }
        }
        streams
    }};
}

fn main() {
    let whole = std::env::args().any(|argument| argument == "--bench");
    let (subjects, of_each) =
        if whole { (SUBJECTS, STREAMS_OF_EACH) } else { (SUBJECTS / 10, STREAMS_OF_EACH / 10) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let count = subjects * of_each;

    let bytes_each = |guarded: bool| {
        let mut kept = None;
        let counted = measure(|| {
            kept = Some(runtime.block_on(async {
                let api = api();
                let mut streams: Vec<Box<dyn Any>> = Vec::new();
                streams.reserve_exact(usize::try_from(count).unwrap());
                if guarded {
                    streams.extend(open!(api.streams(), subjects, of_each).into_iter().map(boxed));
                } else {
                    streams.extend(open!(api.layer(), subjects, of_each).into_iter().map(boxed));
                }
                (api, streams)
            }));
        });
        drop(kept);
        u64::try_from(counted.bytes_current).unwrap_or(0) / count
    };
    let (guarded, plain) = (bytes_each(true), bytes_each(false));
    println!(
        "{count} streams of {subjects} tokens: {guarded} bytes each, {plain} unguarded, {} more",
        guarded.saturating_sub(plain)
    );

    runtime.block_on(async {
        let api = api();
        let streams = open!(api.streams(), subjects, of_each);
        let before = ASKED.load(Ordering::Relaxed);
        for _ in 0..PERIODS * MAX_AGE.as_secs() {
            advance(Duration::from_secs(1)).await;
            for _ in 0..5000 {
                tokio::task::yield_now().await;
            }
        }
        let asked = ASKED.load(Ordering::Relaxed) - before;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let each = asked as f64 / (subjects * PERIODS) as f64;
        let open = api.leases().open();
        println!("introspections for each token in 30 s: {each:.2}, {open} streams still open");
        let ended = Instant::now();
        drop(streams);
        println!("ended in {} ms", ended.elapsed().as_millis());
    });

    runtime.block_on(async {
        let api = api();
        let guarded = frame_cost(open!(api.streams(), 1, 1).remove(0).unwrap().into_body());
        let plain = frame_cost(open!(api.layer(), 1, 1).remove(0).unwrap().into_body());
        println!("a frame: {guarded} ns, {plain} ns unguarded");
    });
}

fn boxed<T: 'static>(value: T) -> Box<dyn Any> {
    Box::new(value)
}

/// Returns what a frame takes, in nanoseconds.
fn frame_cost(body: impl Body<Data = Bytes>) -> u128 {
    const FRAMES: u128 = 1_000_000;
    let mut body = std::pin::pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    let start = Instant::now();
    for _ in 0..FRAMES {
        let polled = body.as_mut().poll_frame(&mut cx);
        assert!(matches!(polled, Poll::Ready(Some(Ok(_)))));
    }
    start.elapsed().as_nanos() / FRAMES
}

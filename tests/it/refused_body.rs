//! What is read of the body of a refused request, and for how long.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep, sleep},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use tower_introspect::{
    ErrorKind, RequireScope,
    respond::refused_body::ReadRefusedLayer,
    stream::{Leases, StreamLayer},
    verify::BoxVerifier,
};

use crate::{
    scripted::{Act, Scripted},
    support::{ImmediateVerifier, PATIENCE, layer, refusal},
};

const MIB: usize = 1 << 20;

/// A body of frames of the same length, one in each interval, which counts the bytes that are read.
struct Upload {
    frame: usize,
    frames_left: usize,
    interval: Duration,
    next: Pin<Box<Sleep>>,
    announced: Option<u64>,
    read: Arc<AtomicUsize>,
}

impl Upload {
    fn new(frame: usize, frames: usize, interval: Duration) -> (Self, Arc<AtomicUsize>) {
        let read = Arc::<AtomicUsize>::default();
        let next = Box::pin(sleep(interval));
        let upload = Self {
            frame,
            frames_left: frames,
            interval,
            next,
            announced: None,
            read: read.clone(),
        };
        (upload, read)
    }

    /// Returns a body that is there already.
    fn at_once(length: usize) -> (Self, Arc<AtomicUsize>) {
        Self::new(length, usize::from(length > 0), Duration::ZERO)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.frames_left == 0 {
            return Poll::Ready(None);
        }
        if !self.interval.is_zero() {
            std::task::ready!(self.next.as_mut().poll(cx));
            self.next = Box::pin(sleep(self.interval));
        }
        self.frames_left -= 1;
        self.read.fetch_add(self.frame, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(vec![0; self.frame].into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames_left == 0
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.announced.unwrap_or(0));
        hint
    }
}

async fn handler(request: Request<Upload>) -> Result<Response<Bytes>, Infallible> {
    let Ok(body) = request.into_body().collect().await;
    Ok(Response::new(body.to_bytes()))
}

/// A request with a token and this body.
fn upload(body: Upload) -> Request<Upload> {
    Request::post("/").header("authorization", "Bearer abc").body(body).unwrap()
}

fn refusing() -> ImmediateVerifier {
    ImmediateVerifier::refusing(ErrorKind::Inactive)
}

/// Returns the refusal of a request, and the time that passed until then.
async fn refused<S, B>(service: S, request: Request<Upload>) -> (ErrorKind, Duration)
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>,
{
    let start = Instant::now();
    let Ok(response) = service.oneshot(request).await;
    (refusal(&response).unwrap(), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn refusal_comes_when_the_body_of_the_request_is_read() {
    let (body, read) = Upload::new(MIB, 4, Duration::from_secs(1));
    let service = ReadRefusedLayer::new(layer(refusing())).layer(service_fn(handler));
    let (kind, took) = refused(service, upload(body)).await;
    assert_eq!((kind, took), (ErrorKind::Inactive, Duration::from_secs(4)));
    assert_eq!(read.load(Ordering::Relaxed), 4 * MIB);
    // Without the layer nothing is read.
    let (body, read) = Upload::at_once(MIB);
    refused(layer(refusing()).layer(service_fn(handler)), upload(body)).await;
    assert_eq!(read.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn refusal_after_a_wait_comes_when_the_body_is_read() {
    let verifier = Scripted::new().takes(Duration::from_secs(1));
    verifier.always(Act::refuse(ErrorKind::Inactive));
    let (body, read) = Upload::new(MIB, 2, Duration::from_secs(2));
    let service = ReadRefusedLayer::new(layer(verifier)).layer(service_fn(handler));
    let (kind, took) = refused(service, upload(body)).await;
    assert_eq!((kind, took), (ErrorKind::Inactive, Duration::from_secs(4)));
    assert_eq!(read.load(Ordering::Relaxed), 2 * MIB);
}

#[tokio::test(start_paused = true)]
async fn refusal_by_a_layer_for_streams_comes_when_the_body_is_read() {
    let at_once = BoxVerifier::new(refusing());
    let late = Scripted::new().takes(Duration::from_secs(1));
    late.always(Act::refuse(ErrorKind::Inactive));
    for verifier in [at_once, BoxVerifier::new(late)] {
        let (body, read) = Upload::new(MIB, 3, Duration::from_secs(1));
        let streams = StreamLayer::new(layer(verifier.clone()), Leases::new(verifier));
        let handler = service_fn(async |request| {
            let response: Response<Bytes> = handler(request).await?;
            Ok::<_, Infallible>(response.map(Full::new))
        });
        let (kind, took) =
            refused(ReadRefusedLayer::new(streams).layer(handler), upload(body)).await;
        assert_eq!((kind, took), (ErrorKind::Inactive, Duration::from_secs(3)));
        assert_eq!(read.load(Ordering::Relaxed), 3 * MIB);
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_by_a_requirement_comes_when_the_body_is_read() {
    let (body, read) = Upload::new(MIB, 3, Duration::from_secs(1));
    let service = ServiceBuilder::new()
        .layer(layer(ImmediateVerifier::alice()))
        .layer(ReadRefusedLayer::new(RequireScope::all(["write"])))
        .service(service_fn(handler));
    let (kind, took) = refused(service, upload(body)).await;
    assert_eq!((kind, took), (ErrorKind::InsufficientScope, Duration::from_secs(3)));
    assert_eq!(read.load(Ordering::Relaxed), 3 * MIB);
}

#[tokio::test(start_paused = true)]
async fn no_more_of_a_refused_body_is_read_than_the_limit() {
    for (limit, frame, most) in
        [(None, MIB, 9 * MIB), (Some(3 * 1024), 1024, 4 * 1024), (Some(0), 1, 1)]
    {
        let layer = ReadRefusedLayer::new(layer(refusing()));
        let layer = match limit {
            Some(bytes) => layer.max_bytes(bytes),
            None => layer,
        };
        let (body, read) = Upload::new(frame, 1000, Duration::ZERO);
        let (_, took) = refused(layer.layer(service_fn(handler)), upload(body)).await;
        assert_eq!((read.load(Ordering::Relaxed), took), (most, Duration::ZERO));
    }
    // A body of empty frames ends too.
    let (body, _) = Upload::new(0, usize::MAX, Duration::ZERO);
    let layer = ReadRefusedLayer::new(layer(refusing())).max_bytes(1000);
    refused(layer.layer(service_fn(handler)), upload(body)).await;
}

#[tokio::test(start_paused = true)]
async fn no_refused_body_is_read_for_longer_than_the_limit() {
    for (limit, most) in [(None, 5), (Some(2), 2), (Some(0), 0)] {
        let layer = ReadRefusedLayer::new(layer(refusing()));
        let layer = match limit {
            Some(seconds) => layer.max_time(Duration::from_secs(seconds)),
            None => layer,
        };
        // One that sends a byte now and then, and one that sends nothing.
        for interval in [Duration::from_millis(300), Duration::from_secs(1_000_000)] {
            let (body, read) = Upload::new(1, 1_000_000, interval);
            let (_, took) = refused(layer.layer(service_fn(handler)), upload(body)).await;
            assert_eq!(took, Duration::from_secs(most));
            assert!(read.load(Ordering::Relaxed) < 20);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refused_body_is_not_read_where_that_is_no_use() {
    let service = || ReadRefusedLayer::new(layer(refusing())).layer(service_fn(handler));
    let at_once = async |change: fn(&mut Request<Upload>)| {
        let (body, read) = Upload::new(MIB, 2, Duration::from_secs(1));
        let mut request = upload(body);
        change(&mut request);
        let (_, took) = refused(service(), request).await;
        took.is_zero() && read.load(Ordering::Relaxed) == 0
    };
    assert!(!at_once(|_| ()).await);
    assert!(!at_once(|request| request.body_mut().announced = Some(8 << 20)).await);
    assert!(!at_once(|request| *request.version_mut() = Version::HTTP_10).await);
    // It would be longer than the limit.
    assert!(at_once(|request| request.body_mut().announced = Some((8 << 20) + 1)).await);
    // RFC 9110 §10.1.1: reading would make the server ask for it.
    assert!(
        at_once(|request| {
            request.headers_mut().insert("expect", "100-continue".parse().unwrap());
        })
        .await
    );
    // There the response does not wait for the request.
    for version in [Version::HTTP_2, Version::HTTP_3] {
        let (body, read) = Upload::at_once(MIB);
        let mut request = upload(body);
        *request.version_mut() = version;
        refused(service(), request).await;
        assert_eq!(read.load(Ordering::Relaxed), 0, "{version:?}");
    }
    // There is none.
    let (body, _) = Upload::at_once(0);
    assert!(refused(service(), upload(body)).await.1.is_zero());
}

#[tokio::test(start_paused = true)]
async fn no_more_refused_bodies_are_read_at_the_same_time_than_the_limit() {
    let made = ReadRefusedLayer::new(layer(refusing())).max_concurrent(2);
    // All services of the layer and of its clones count together.
    let services = [made.layer(service_fn(handler)), made.clone().layer(service_fn(handler))];
    let slow = || Upload::new(1, 3, Duration::from_secs(1)).0;
    let mut reading = Vec::new();
    for service in &services {
        reading.push(tokio::spawn(service.clone().oneshot(upload(slow()))));
    }
    tokio::task::yield_now().await;
    assert!(refused(services[0].clone(), upload(slow())).await.1.is_zero());
    // A client that goes away gives back its place.
    reading.pop().unwrap().abort();
    tokio::task::yield_now().await;
    assert_eq!(refused(services[0].clone(), upload(slow())).await.1, Duration::from_secs(3));
    // So does one that has its response.
    assert!(reading.pop().unwrap().await.unwrap().is_ok());
    assert_eq!(refused(services[1].clone(), upload(slow())).await.1, Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn request_whose_refused_body_is_read_holds_no_permit_of_the_inner_service() {
    for slow in [false, true] {
        let verifier = Scripted::new();
        let verifier = if slow { verifier.takes(Duration::from_millis(1)) } else { verifier };
        verifier.once(Act::refuse(ErrorKind::Inactive));
        let service = ServiceBuilder::new()
            .layer(ReadRefusedLayer::new(layer(verifier)))
            .layer(ConcurrencyLimitLayer::new(1))
            .service(service_fn(handler));
        let (body, _) = Upload::new(1, 4, Duration::from_secs(1));
        let reading = tokio::spawn(service.clone().oneshot(upload(body)));
        sleep(Duration::from_millis(10)).await;
        let Ok(response) = service.oneshot(upload(Upload::at_once(1).0)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!reading.is_finished());
        assert_eq!(reading.await.unwrap().unwrap().status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test(start_paused = true)]
async fn body_of_an_admitted_request_is_left_to_the_handler() {
    let (body, read) = Upload::new(MIB, 12, Duration::from_secs(1));
    let service =
        ReadRefusedLayer::new(layer(ImmediateVerifier::alice())).layer(service_fn(handler));
    let Ok(response) = service.oneshot(upload(body)).await;
    assert_eq!((response.status(), response.body().len()), (StatusCode::OK, 12 * MIB));
    assert_eq!(read.load(Ordering::Relaxed), 12 * MIB);
}

/// A client that writes its whole request before it reads, as proxies do.
async fn answer_after_writing(address: std::net::SocketAddr, length: usize) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    tcp.write_all(head.as_bytes()).await.unwrap();
    let chunk = vec![0; 64 * 1024];
    for _ in 0..length / chunk.len() {
        tcp.write_all(&chunk).await.expect("the server goes on reading");
    }
    let mut answer = vec![0; 12];
    tcp.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn rfc9112_9_3_client_that_first_writes_its_whole_request_gets_the_refusal() {
    let app = axum::Router::new()
        .route("/", axum::routing::post(async || ()))
        .layer(ReadRefusedLayer::new(layer(BoxVerifier::new(refusing()))).max_time(PATIENCE));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    assert_eq!(answer_after_writing(address, 5 * MIB).await, "HTTP/1.1 401");
}

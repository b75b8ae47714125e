//! A transport that is rebuilt when its files change.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use tokio::task::JoinHandle;
use tower::{ServiceExt as _, service_fn};
use tower_introspect::{
    ConfigError,
    transport::{HttpTransport, RenewedTransport},
};

use crate::support::File;

/// Returns a transport that responds with the contents of the file.
fn make(file: &Path) -> Result<HttpTransport, ConfigError> {
    let text = std::fs::read(file).map(Bytes::from).ok().filter(|text| !text.starts_with(b"bad"));
    let mut problems = ConfigError::new();
    let Some(text) = text else {
        problems.push("file", "there is none");
        return Err(problems);
    };
    Ok(HttpTransport::new(service_fn(move |_: Request<Bytes>| {
        let text = text.clone();
        async move { Ok::<_, std::convert::Infallible>(Response::new(text)) }
    })))
}

fn counted(file: &File) -> (RenewedTransport, Arc<AtomicUsize>) {
    let (path, made) = (file.0.clone(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&made);
    let transport = RenewedTransport::new([&file.0], move || {
        count.fetch_add(1, Ordering::SeqCst);
        make(&path)
    });
    (transport.unwrap(), made)
}

async fn answer(transport: &RenewedTransport) -> Bytes {
    transport.clone().oneshot(Request::new(Bytes::new())).await.unwrap().into_body()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn changed_file_is_read_by_a_request_after_at_most_a_minute() {
    let file = File::new("changes", "a");
    let (transport, made) = counted(&file);
    assert_eq!(answer(&transport).await, "a");
    file.put("bb");
    tokio::time::advance(MINUTE - Duration::from_secs(1)).await;
    assert_eq!(answer(&transport).await, "a");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(answer(&transport).await, "bb");
    // An unchanged file is not read again.
    for _ in 0..3 {
        tokio::time::advance(MINUTE).await;
        assert_eq!(answer(&transport).await, "bb");
    }
    assert_eq!(made.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn unreadable_file_keeps_the_transport_and_is_tried_again() {
    let file = File::new("bad", "a");
    let (transport, made) = counted(&file);
    file.put("bad");
    for tried in [2, 3] {
        tokio::time::advance(MINUTE).await;
        for _ in 0..3 {
            assert_eq!(answer(&transport).await, "a");
        }
        assert_eq!(made.load(Ordering::SeqCst), tried);
    }
    std::fs::remove_file(&file.0).unwrap();
    tokio::time::advance(MINUTE).await;
    assert_eq!(answer(&transport).await, "a");
    file.put("good");
    tokio::time::advance(MINUTE).await;
    assert_eq!(answer(&transport).await, "good");
}

/// A transport whose rebuild blocks until the sender sends or is dropped.
fn blocked_transport(file: &File) -> (RenewedTransport, mpsc::Sender<()>) {
    let (path, (release, blocked)) = (file.0.clone(), mpsc::channel());
    let (blocked, made) = (Mutex::new(blocked), AtomicUsize::new(0));
    let transport = RenewedTransport::new([&file.0], move || {
        if made.fetch_add(1, Ordering::SeqCst) > 0 {
            // Longer than any test here, so that a test that never releases it fails.
            let _ = blocked.lock().unwrap().recv_timeout(Duration::from_secs(20));
        }
        make(&path)
    });
    (transport.unwrap(), release)
}

/// Starts a request, and the rebuild that it causes.
async fn start_request(transport: &RenewedTransport) -> JoinHandle<Bytes> {
    let transport = transport.clone();
    let start_request = tokio::spawn(async move { answer(&transport).await });
    tokio::task::yield_now().await;
    start_request
}

#[tokio::test(start_paused = true)]
async fn slow_disk_delays_no_other_request() {
    let file = File::new("slow", "a");
    let (transport, release) = blocked_transport(&file);
    file.put("bb");
    tokio::time::advance(MINUTE).await;
    let first = start_request(&transport).await;
    for _ in 0..3 {
        assert_eq!(answer(&transport).await, "a");
    }
    release.send(()).expect("the rebuild has ended");
    assert_eq!(first.await.unwrap(), "bb");
    assert_eq!(answer(&transport).await, "bb");
}

#[tokio::test(start_paused = true)]
async fn hanging_disk_delays_one_request_for_a_second() {
    let file = File::new("hangs", "a");
    let (transport, release) = blocked_transport(&file);
    file.put("bb");
    tokio::time::advance(MINUTE).await;
    let first = start_request(&transport).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(first.await.unwrap(), "a");
    // Only one read is started, however long it hangs.
    for _ in 0..3 {
        tokio::time::advance(MINUTE).await;
        assert_eq!(answer(&transport).await, "a");
    }
    release.send(()).expect("the rebuild has ended");
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_rebuild_fails_no_request_and_is_tried_again() {
    let file = File::new("panics", "a");
    let (path, made) = (file.0.clone(), AtomicUsize::new(0));
    let transport = RenewedTransport::new([&file.0], move || {
        assert_ne!(made.fetch_add(1, Ordering::SeqCst), 1, "scripted panic");
        make(&path)
    });
    let transport = transport.unwrap();
    file.put("bb");
    for expected in ["a", "bb"] {
        tokio::time::advance(MINUTE).await;
        assert_eq!(answer(&transport).await, expected);
    }
}

#[test]
fn initial_problem_is_reported() {
    let file = File::new("first", "bad");
    let path = file.0.clone();
    let problems = RenewedTransport::new([&file.0], move || make(&path)).unwrap_err();
    assert_eq!(problems.to_string(), "file: there is none");
}

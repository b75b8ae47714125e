//! A transport that is made again when its files change.

use std::{
    path::{Path, PathBuf},
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

/// A file that is gone with this.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("renewed-{name}-{}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.put(text);
        file
    }

    /// Texts of other lengths, so that nothing depends on how exact the times of a file system are.
    fn put(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A transport that answers what the file says.
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
async fn a_file_that_changes_is_read_again_within_a_minute_and_a_request() {
    let file = File::new("changes", "a");
    let (transport, made) = counted(&file);
    assert_eq!(answer(&transport).await, "a");
    file.put("bb");
    tokio::time::advance(MINUTE - Duration::from_secs(1)).await;
    assert_eq!(answer(&transport).await, "a");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(answer(&transport).await, "bb");
    // What has not changed is not read again.
    for _ in 0..3 {
        tokio::time::advance(MINUTE).await;
        assert_eq!(answer(&transport).await, "bb");
    }
    assert_eq!(made.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_does_not_replace_what_is_there_and_is_tried_again() {
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

/// A transport that is made again, of the file, when the other end says so or is gone.
fn held(file: &File) -> (RenewedTransport, mpsc::Sender<()>) {
    let (path, (let_go, held)) = (file.0.clone(), mpsc::channel());
    let (held, made) = (Mutex::new(held), AtomicUsize::new(0));
    let transport = RenewedTransport::new([&file.0], move || {
        if made.fetch_add(1, Ordering::SeqCst) > 0 {
            // Longer than any test here takes, so that one that nobody lets go fails.
            let _ = held.lock().unwrap().recv_timeout(Duration::from_secs(20));
        }
        make(&path)
    });
    (transport.unwrap(), let_go)
}

/// A request that is sent, and whatever it needs begun.
async fn asked(transport: &RenewedTransport) -> JoinHandle<Bytes> {
    let transport = transport.clone();
    let asked = tokio::spawn(async move { answer(&transport).await });
    tokio::task::yield_now().await;
    asked
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_holds_up_no_other_request() {
    let file = File::new("slow", "a");
    let (transport, let_go) = held(&file);
    file.put("bb");
    tokio::time::advance(MINUTE).await;
    let first = asked(&transport).await;
    for _ in 0..3 {
        assert_eq!(answer(&transport).await, "a");
    }
    let_go.send(()).expect("it is being made, and has not ended");
    assert_eq!(first.await.unwrap(), "bb");
    assert_eq!(answer(&transport).await, "bb");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_holds_up_a_request_for_a_second_and_one_alone() {
    let file = File::new("hangs", "a");
    let (transport, let_go) = held(&file);
    file.put("bb");
    tokio::time::advance(MINUTE).await;
    let first = asked(&transport).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(first.await.unwrap(), "a");
    // However long it hangs, it is looked at once.
    for _ in 0..3 {
        tokio::time::advance(MINUTE).await;
        assert_eq!(answer(&transport).await, "a");
    }
    let_go.send(()).expect("it has not ended");
}

#[tokio::test(start_paused = true)]
async fn a_panic_where_it_is_made_costs_no_request_and_it_is_tried_again() {
    let file = File::new("panics", "a");
    let (path, made) = (file.0.clone(), AtomicUsize::new(0));
    let transport = RenewedTransport::new([&file.0], move || {
        assert_ne!(made.fetch_add(1, Ordering::SeqCst), 1, "as scripted");
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
fn what_is_wrong_at_first_is_told() {
    let file = File::new("first", "bad");
    let path = file.0.clone();
    let problems = RenewedTransport::new([&file.0], move || make(&path)).unwrap_err();
    assert_eq!(problems.to_string(), "file: there is none");
}

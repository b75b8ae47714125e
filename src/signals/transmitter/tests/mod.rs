//! Tests against a scripted transmitter, in paused time.

mod management;
mod poll;
mod poll_failures;
mod tokens;
mod verification;

use std::{
    collections::VecDeque,
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::Engine as _;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tower::service_fn;

use super::{
    access::TransmitterAuth,
    poll::Poller,
    poll_state::PollState,
    streams::{EventStreams, EventStreamsBuilder},
};
use crate::{
    clock::{Moment, SystemClock},
    jose::{base64url::BASE64URL, jws::CompactJws},
    signals::received::{ReceiveSet, Received, Refusal},
    transport::{
        error::{TransportError, TransportErrorKind},
        http_transport::HttpTransport,
    },
};

const ISSUER: &str = "https://tr.example.com/one";
const POLL_URL: &str = "https://tr.example.com/poll";

/// The reaction of the transmitter to a request.
enum Answer {
    /// Responds with this status, headers and body.
    Of(u16, Vec<(&'static str, &'static str)>, String),
    Closes,
    /// Never responds.
    Hangs,
}

fn ok(body: &Value) -> Answer {
    status(200, body)
}

fn status(status: u16, body: &Value) -> Answer {
    Answer::Of(status, vec![("content-type", "application/json")], body.to_string())
}

fn empty(status: u16) -> Answer {
    Answer::Of(status, Vec::new(), String::new())
}

/// A request that the transmitter received.
#[derive(Clone, Debug)]
struct Seen {
    /// Seconds after the start.
    at: f64,
    /// The method and the path with the query.
    target: String,
    auth: String,
    language: bool,
    text: String,
    body: Value,
}

/// A transmitter with one answer for each request. It does not respond to those after the last.
#[derive(Clone)]
struct Script {
    start: Moment,
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// The answer after the last.
    default: Arc<dyn Fn() -> Answer + Send + Sync>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            start: Moment::now(&SystemClock),
            seen: Arc::default(),
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            default: Arc::new(|| Answer::Hangs),
        }
    }

    fn then_always(mut self, answer: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        self.default = Arc::new(answer);
        self
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn transport(&self) -> HttpTransport {
        let script = self.clone();
        HttpTransport::new(service_fn(move |request: Request<Bytes>| {
            let answer = script.answer(&request);
            async move {
                let (status, headers, body) = match answer {
                    Answer::Of(status, headers, body) => (status, headers, body),
                    Answer::Closes => return Err(TransportError::new(TransportErrorKind::Closed)),
                    Answer::Hangs => pending().await,
                };
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                Ok(response.body(Bytes::from(body)).unwrap())
            }
        }))
    }

    fn answer(&self, request: &Request<Bytes>) -> Answer {
        let header = |name| {
            let value = request.headers().get(name).map(|value| value.to_str().unwrap());
            value.unwrap_or_default().to_owned()
        };
        let text = String::from_utf8(request.body().to_vec()).unwrap();
        self.seen.lock().unwrap().push(Seen {
            at: Moment::now(&SystemClock).monotonic_since(self.start).as_secs_f64(),
            target: format!("{} {}", request.method(), request.uri().path_and_query().unwrap()),
            auth: header("authorization"),
            language: header("content-language") == "en",
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
        });
        self.answers.lock().unwrap().pop_front().unwrap_or_else(|| (self.default)())
    }

    fn builder(&self, auth: TransmitterAuth) -> EventStreamsBuilder {
        EventStreams::builder(ISSUER, auth).transport(self.transport())
    }

    fn streams(&self) -> EventStreams {
        self.builder(TransmitterAuth::bearer("t0")).build().unwrap()
    }

    fn poller(&self, receiver: &Arc<Events>, state: &Arc<PollState>) -> Poller {
        let stream = self.streams().stream("s1");
        Poller::new(&stream, POLL_URL, Arc::clone(receiver) as Arc<dyn ReceiveSet>, state).unwrap()
    }

    /// Polls for this many seconds with a new state. Returns the requests, and the state.
    async fn poll_for(&self, receiver: &Arc<Events>, secs: u64) -> (Vec<Seen>, Arc<PollState>) {
        let state = state();
        let poller = self.poller(receiver, &state);
        poller.run(tokio::time::sleep(Duration::from_secs(secs))).await;
        (self.seen(), state)
    }
}

fn state() -> Arc<PollState> {
    Arc::new(PollState::new(ISSUER, Arc::new(SystemClock)))
}

/// A receiver that applies SETs, but for those whose `jti` begins with `bad` or `wait`.
#[derive(Default)]
struct Events {
    received: Mutex<Vec<String>>,
}

impl Events {
    fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

impl ReceiveSet for Events {
    fn receive<'a>(&'a self, set: &'a str) -> Pin<Box<dyn Future<Output = Received> + Send + 'a>> {
        let jws = CompactJws::parse(set).unwrap();
        let payload: Value = serde_json::from_slice(jws.payload()).unwrap();
        let jti = payload["jti"].as_str().unwrap().to_owned();
        let received = match &*jti {
            _ if jti.starts_with("bad") => {
                let description = "of another issuer";
                Received::Refused(Refusal { err: "invalid_issuer", description })
            }
            _ if jti.starts_with("wait") => Received::NotNow { retry_after: None },
            _ => Received::Applied,
        };
        self.received.lock().unwrap().push(jti);
        Box::pin(async move { received })
    }
}

/// Returns the text of a SET. Its signature is for the receiver to check.
fn set(jti: &str) -> String {
    format!("e30.{}.e30", BASE64URL.encode(json!({ "jti": jti }).to_string()))
}

/// Returns the response to a poll.
fn events(jtis: &[&str]) -> Value {
    json!({ "sets": sets(jtis) })
}

fn sets(jtis: &[&str]) -> Value {
    jtis.iter().map(|jti| ((*jti).to_owned(), Value::from(set(jti)))).collect()
}

/// Returns the `jti`s that a poll acknowledges.
fn acks(seen: &Seen) -> Vec<&str> {
    let all = seen.body["ack"].as_array();
    all.into_iter().flatten().map(|jti| jti.as_str().unwrap()).collect()
}

//! Floods of tokens that nobody has ever heard of.
//!
//! Each is one question, as nothing but the authorization server knows that it is none. What bounds
//! the questions is how many may be under way; what is over that is answered 503, which blames nobody
//! and holds for a second. `FLOOD_TOKENS` sets how many there are.

use std::{
    convert::Infallible,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep},
};
use tower::service_fn;
use tower_introspect::{
    Issuer, ResourceServer, clock::UnixTime, test_util::TestClock, transport::HttpTransport,
};

use crate::{
    support::{AUDIENCE, ISSUER, ask},
    world::{bearer, remote},
};

/// What a run of the tests covers. `.ci/run` has a million.
const TOKENS: usize = 50_000;

/// So many come at a time; as many questions may be under way.
const CROWD: usize = 96;
const ROOM: usize = 64;

/// Good tokens, in use all the while.
const GOOD: usize = 100;

/// How long the server takes to answer.
const TAKES: Duration = Duration::from_millis(20);

fn tokens() -> usize {
    std::env::var("FLOOD_TOKENS").ok().and_then(|text| text.parse().ok()).unwrap_or(TOKENS)
}

/// The questions that an authorization server got. It knows tokens that start with `good`.
#[derive(Clone, Default)]
struct Questions(Arc<Mutex<Counts>>);

#[derive(Clone, Copy, Default)]
struct Counts {
    all: usize,
    under_way: usize,
    most_under_way: usize,
}

impl Questions {
    fn counts(&self) -> Counts {
        *self.0.lock().unwrap()
    }

    fn transport(&self) -> HttpTransport {
        let this = self.clone();
        HttpTransport::new(service_fn(move |request: Request<Bytes>| {
            let this = this.clone();
            async move {
                {
                    let mut counts = this.0.lock().unwrap();
                    counts.all += 1;
                    counts.under_way += 1;
                    counts.most_under_way = counts.most_under_way.max(counts.under_way);
                }
                sleep(TAKES).await;
                this.0.lock().unwrap().under_way -= 1;
                let good = request.body().windows(4).any(|text| text == b"good");
                let body = if good {
                    r#"{"active":true,"sub":"alice","aud":"https://api.example.com"}"#
                } else {
                    r#"{"active":false}"#
                };
                let response = Response::builder().header("content-type", "application/json");
                Ok::<_, Infallible>(response.body(Bytes::from(body)).unwrap())
            }
        }))
    }
}

fn issuer() -> Issuer {
    remote().configure_introspection(|remote| remote.endpoint(format!("{ISSUER}/introspect")))
}

/// A text that looks random.
fn unheard_of(n: usize) -> String {
    let mixed = u64::try_from(n).unwrap().wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{mixed:016x}-{n:026}")
}

async fn status(api: &ResourceServer, token: &str) -> u16 {
    let response = ask(&api.layer(), bearer(token)).await;
    let status = response.status().as_u16();
    assert_eq!(response.headers().contains_key("retry-after"), status == 503);
    status
}

/// Sends crowds of unknown tokens, and a good one with each.
fn flood(runtime: &Runtime, api: &ResourceServer, crowds: Range<usize>) {
    runtime.block_on(async {
        for crowd in crowds {
            let unknown: Vec<_> = (0..CROWD).map(|n| unheard_of(crowd * CROWD + n)).collect();
            let waiting = join_all(unknown.iter().map(|token| status(api, token)));
            let knows = async {
                let started = Instant::now();
                assert_eq!(status(api, &format!("good-{}", crowd % GOOD)).await, 200);
                assert_eq!(started.elapsed(), Duration::ZERO, "good tokens never wait");
            };
            let (answers, ()) = tokio::join!(waiting, knows);
            let counted = |status| answers.iter().filter(|answer| **answer == status).count();
            assert_eq!((counted(401), counted(503)), (ROOM, CROWD - ROOM), "{answers:?}");
        }
    });
}

#[test]
fn unknown_tokens_take_no_memory_push_no_good_one_out_and_ask_no_more_than_there_is_room_for() {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let server = Questions::default();
    let api = {
        let _inside = runtime.enter();
        ResourceServer::builder(AUDIENCE)
            .issuer(issuer())
            .transport(server.transport())
            .clock(TestClock::new(UnixTime::from_secs(1_800_000_000)))
            // Longer than the flood, so that each good token is one question.
            .max_age(Duration::from_secs(86_400))
            .build()
            .unwrap()
    };
    runtime.block_on(async {
        for n in 0..GOOD {
            assert_eq!(status(&api, &format!("good-{n}")).await, 200);
        }
    });
    let known = api.stats();

    // The first tenth fills what is there to be filled.
    let crowds = tokens().div_ceil(CROWD);
    flood(&runtime, &api, 0..crowds / 10);
    let counted = allocation_counter::measure(|| flood(&runtime, &api, crowds / 10..crowds));

    let counts = server.counts();
    assert_eq!(counts.all, GOOD + crowds * ROOM, "one question for each token there is room for");
    assert_eq!((counts.most_under_way, counts.under_way), (ROOM, 0));
    let stats = api.stats();
    assert_eq!((stats.hits, stats.refreshes), (u64::try_from(crowds).unwrap(), 0));
    assert!(stats.entries <= known.entries + 1_000, "{stats:?}");
    assert!(stats.bytes <= known.bytes + 1_000 * 200, "{stats:?}");
    runtime.block_on(async {
        for n in 0..GOOD {
            assert_eq!(status(&api, &format!("good-{n}")).await, 200);
        }
    });
    assert_eq!(server.counts().all, counts.all, "no good token is pushed out");
    assert!(counted.bytes_current.abs() < 64 << 10, "it grew by {} bytes", counted.bytes_current);
}

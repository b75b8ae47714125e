//! A flood of unknown tokens.
//!
//! Each causes one introspection request, as only the authorization server can tell that it is
//! inactive. The bulkhead limits the concurrent requests; excess requests are refused with 503.
//! `FLOOD_TOKENS` sets the number of tokens.

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

/// The default number of tokens. `.ci/run` sends a million.
const DEFAULT_TOKENS: usize = 50_000;

/// The number of tokens sent at once; how many of them the server is asked about: those with one of
/// the permits for unknown tokens, and as many that wait for one; and the limit of concurrent
/// introspection requests.
const BATCH: usize = 96;
const MAX_ANSWERED: usize = 64;
const MAX_CONCURRENT: usize = 64;

/// The number of good tokens, which are used during the flood.
const GOOD: usize = 100;

/// The response time of the server.
const RESPONSE_TIME: Duration = Duration::from_millis(20);

fn tokens() -> usize {
    std::env::var("FLOOD_TOKENS").ok().and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_TOKENS)
}

/// An authorization server that counts its introspection requests. Tokens that contain `good` are
/// active.
#[derive(Clone, Default)]
struct CountingServer(Arc<Mutex<Counts>>);

#[derive(Clone, Copy, Default)]
struct Counts {
    all: usize,
    under_way: usize,
    most_under_way: usize,
}

impl CountingServer {
    fn counts(&self) -> Counts {
        *self.0.lock().unwrap()
    }

    fn transport(&self) -> HttpTransport {
        let this = self.clone();
        HttpTransport::new(service_fn(move |request: Request<Bytes>| {
            let this = this.clone();
            async move {
                let is_canary = request.body().starts_with(b"token=tower-introspect-canary-");
                if !is_canary {
                    let mut counts = this.0.lock().unwrap();
                    counts.all += 1;
                    counts.under_way += 1;
                    counts.most_under_way = counts.most_under_way.max(counts.under_way);
                }
                sleep(RESPONSE_TIME).await;
                if !is_canary {
                    this.0.lock().unwrap().under_way -= 1;
                }
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

/// A token that looks random.
fn unknown_token(n: usize) -> String {
    let mixed = u64::try_from(n).unwrap().wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{mixed:016x}-{n:026}")
}

async fn status(api: &ResourceServer, token: &str) -> u16 {
    let response = ask(&api.layer(), bearer(token)).await;
    let status = response.status().as_u16();
    assert_eq!(response.headers().contains_key("retry-after"), status == 503);
    status
}

/// Sends batches of unknown tokens, and a good token with each batch.
fn flood(runtime: &Runtime, api: &ResourceServer, batches: Range<usize>) {
    runtime.block_on(async {
        for batch in batches {
            let unknown: Vec<_> = (0..BATCH).map(|n| unknown_token(batch * BATCH + n)).collect();
            let unknown_responses = join_all(unknown.iter().map(|token| status(api, token)));
            let good_response = async {
                let started = Instant::now();
                assert_eq!(status(api, &format!("good-{}", batch % GOOD)).await, 200);
                assert_eq!(started.elapsed(), Duration::ZERO, "a cached token waited");
            };
            let (answers, ()) = tokio::join!(unknown_responses, good_response);
            let counted = |status| answers.iter().filter(|answer| **answer == status).count();
            // In the first batch the unknown tokens may borrow from the known ones, as the last
            // answers were good.
            let refused = if batch == 0 { 0 } else { BATCH - MAX_ANSWERED };
            assert_eq!((counted(401), counted(503)), (BATCH - refused, refused), "{answers:?}");
        }
    });
}

#[test]
fn flood_of_unknown_tokens_is_bounded_in_memory_and_introspections_and_evicts_no_good_token() {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let server = CountingServer::default();
    let api = {
        let _inside = runtime.enter();
        ResourceServer::builder(AUDIENCE)
            .issuer(issuer())
            .transport(server.transport())
            .clock(TestClock::new(UnixTime::from_secs(1_800_000_000)))
            // Longer than the flood, so that each good token is introspected once.
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

    // The first tenth of the flood fills the caches.
    let batches = tokens().div_ceil(BATCH);
    flood(&runtime, &api, 0..batches / 10);
    let counted = allocation_counter::measure(|| flood(&runtime, &api, batches / 10..batches));

    let counts = server.counts();
    let first = BATCH - MAX_ANSWERED;
    assert_eq!(counts.all, GOOD + batches * MAX_ANSWERED + first, "introspections");
    assert_eq!((counts.most_under_way, counts.under_way), (MAX_CONCURRENT, 0));
    let stats = api.stats();
    assert_eq!((stats.hits, stats.refreshes), (u64::try_from(batches).unwrap(), 0));
    assert!(stats.entries <= known.entries + 1_000, "{stats:?}");
    assert!(stats.bytes <= known.bytes + 1_000 * 200, "{stats:?}");
    runtime.block_on(async {
        for n in 0..GOOD {
            assert_eq!(status(&api, &format!("good-{n}")).await, 200);
        }
    });
    assert_eq!(server.counts().all, counts.all, "a good token was evicted");
    assert!(
        counted.bytes_current.abs() < 64 << 10,
        "memory grew by {} bytes",
        counted.bytes_current
    );
}

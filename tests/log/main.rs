//! Tests of logging. They run in a process of their own, because the subscriber is global: other
//! tests might miss one that is installed for a single test.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod advice;
mod by_hand;
mod capture;
mod events;
mod published_keys;
#[path = "../it/recorder.rs"]
#[allow(dead_code, reason = "each binary uses its part")]
mod recorder;
mod secrets;
mod spans;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "each binary uses its part")]
mod support;

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::{Mutex, MutexGuard};
use tower::{Layer, ServiceExt, service_fn};
use tower_introspect::{IntrospectLayer, verify::Verifier};

use self::{
    capture::Captured,
    support::{AUDIENCE, ISSUER},
};

/// Runs one test at a time, since the rate limit is shared by the process. Time is paused, and
/// later than in any earlier test: each lasts less than a month.
async fn alone() -> (MutexGuard<'static, u32>, Captured) {
    static TURN: Mutex<u32> = Mutex::const_new(0);
    let mut turn = TURN.lock().await;
    *turn += 1;
    tokio::time::advance(Duration::from_secs(30 * 24 * 3_600) * *turn).await;
    (turn, capture::start())
}

/// Returns the status of a request with this token.
async fn present<V>(layer: &IntrospectLayer<V>, token: &str) -> u16
where
    V: Verifier,
{
    let request = Request::get("/").header("authorization", format!("Bearer {token}"));
    send(layer, request.body(Bytes::new()).unwrap()).await
}

async fn send<V>(layer: &IntrospectLayer<V>, request: Request<Bytes>) -> u16
where
    V: Verifier,
{
    let handler =
        service_fn(async |_: Request<Bytes>| Ok::<_, Infallible>(Response::new(Bytes::new())));
    let Ok(response) = layer.layer(handler).oneshot(request).await;
    response.status().as_u16()
}

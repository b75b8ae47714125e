//! Streams end when their token does.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use tokio::time::advance;
use tower_introspect::{
    ErrorKind, IntrospectLayer, Issuer, Policy, RequireScope, ResourceServer,
    clock::Clock as _,
    credentials::Token,
    policy::Requirement,
    proof::Dpop,
    revocation::{Cutoff, Revocations},
    stream::{EndCause, Leases, StreamLayer},
    test_util::{AuthorizationServer, Client, Endpoint, Fault, Prover},
    verify::Freshness,
};

use self::open::{Open, Seen, refusal};
use crate::{
    scripted::{Act, Scripted},
    support::{AUDIENCE, ISSUER, request},
    world::{World, auth, bearer, remote},
};

mod endings;
mod limits;
pub(crate) mod open;
mod rechecks;
mod renewal;
mod served;

const SEC: Duration = Duration::from_secs(1);

/// The default of the cache, and so the time between two verifications.
const MAX_AGE: Duration = Duration::from_secs(30);

const GRPC: &str = "application/grpc";
const SSE: &str = "text/event-stream";
const PLAIN: &str = "text/plain";

fn local() -> Issuer {
    Issuer::jwt(ISSUER)
}

async fn open(world: &World, token: &str, content_type: &str) -> Open {
    open_at(&world.api, token, content_type).await
}

async fn open_at(api: &ResourceServer, token: &str, content_type: &str) -> Open {
    let open = Open::with(&api.streams(), bearer(token), content_type).await;
    assert_eq!(open.status(), StatusCode::OK, "{:?}", refusal(&open));
    open
}

/// Lets time pass in small steps, so that tasks run as they would.
async fn pass(time: Duration) {
    let steps = time.as_millis().div_ceil(100);
    for _ in 0..steps {
        advance(Duration::from_millis(100)).await;
        settle().await;
    }
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

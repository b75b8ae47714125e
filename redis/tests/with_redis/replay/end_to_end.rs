//! Services that share one Redis.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_introspect::{
    ErrorKind, Issuer, ResourceServer, VerifyError,
    proof::Dpop,
    test_util::{AuthorizationServer, Prover, TestClock},
};

use super::{LONG, MarkError, RedisReplayStore, Server, all_parts_are_known};

const API: &str = "https://api.example.com";

/// One instance of a service.
struct Instance(ResourceServer);

impl Instance {
    fn new(server: &Server, authorization: &AuthorizationServer, clock: &TestClock) -> Self {
        let store = RedisReplayStore::new(server.manager(""))
            .timeout(LONG)
            .longest_proof(Duration::from_secs(60));
        let api = ResourceServer::builder(API)
            .issuer(Issuer::jwt(authorization.issuer()))
            .transport(authorization.transport())
            .clock(clock.clone())
            .dpop(Dpop::new(API).expect("a URL").replay_store(store))
            .build()
            .expect("good settings");
        Self(api)
    }

    async fn ask(&self, token: &str, proof: &str) -> Response<Bytes> {
        let request = Request::get("/r")
            .header("authorization", format!("DPoP {token}"))
            .header("dpop", proof)
            .body(Bytes::new())
            .expect("good fields");
        let hello = service_fn(async |_: Request<Bytes>| {
            Ok::<_, Infallible>(Response::new(Bytes::from_static(b"hello")))
        });
        let Ok(response) = self.0.layer().layer(hello).oneshot(request).await;
        response
    }

    /// Returns the status, and the reason of a 503.
    async fn outcome(&self, token: &str, proof: &str) -> (StatusCode, Option<MarkError>) {
        let response = self.ask(token, proof).await;
        let error = response.extensions().get::<VerifyError>();
        let cause = error.filter(|error| error.kind() == ErrorKind::ReplayUnavailable);
        let source = cause.and_then(std::error::Error::source);
        (response.status(), source.and_then(|source| source.downcast_ref().copied()))
    }
}

const OK: (StatusCode, Option<MarkError>) = (StatusCode::OK, None);
const REPLAYED: (StatusCode, Option<MarkError>) = (StatusCode::UNAUTHORIZED, None);

const fn unavailable(why: MarkError) -> (StatusCode, Option<MarkError>) {
    (StatusCode::SERVICE_UNAVAILABLE, Some(why))
}

#[tokio::test]
async fn two_services_that_share_a_redis_accept_a_proof_once() {
    let Some(mut server) = Server::start(&[]).await else { return };
    let clock = TestClock::new(testing::clock::NOW);
    let authorization =
        AuthorizationServer::new("https://as.example.com").with_clock(clock.clone());
    let one = Instance::new(&server, &authorization, &clock);
    let other = Instance::new(&server, &authorization, &clock);
    let prover = Prover::new("client").with_clock(clock.clone());
    let token = authorization.jwt().audience(API).bound_to(&prover).mint();
    let proof = || prover.proof("GET", "https://api.example.com/r").for_token(&token).mint();

    // Redis is new, and could have lost the mark of a proof that an instance accepted before.
    assert_eq!(one.outcome(&token, &proof()).await, unavailable(MarkError::MarksLost));
    all_parts_are_known(&mut server.connection().await).await;
    clock.step(Duration::from_secs(110));
    let token = authorization.jwt().audience(API).bound_to(&prover).mint();
    let proof = || prover.proof("GET", "https://api.example.com/r").for_token(&token).mint();

    let used = proof();
    assert_eq!(one.outcome(&token, &used).await, OK);
    assert_eq!(other.outcome(&token, &used).await, REPLAYED);
    assert_eq!(one.outcome(&token, &used).await, REPLAYED);
    assert_eq!(other.outcome(&token, &proof()).await, OK);

    server.kill();
    for instance in [&one, &other] {
        assert_eq!(instance.outcome(&token, &proof()).await, unavailable(MarkError::Connection));
    }
    server.restart().await;
    let mut outcome = unavailable(MarkError::Connection);
    while outcome == unavailable(MarkError::Connection) {
        outcome = other.outcome(&token, &used).await;
    }
    assert_eq!(outcome, unavailable(MarkError::MarksLost), "it is not good a second time");
    all_parts_are_known(&mut server.connection().await).await;
    clock.step(Duration::from_secs(110));
    let new = proof();
    let mut outcome = unavailable(MarkError::Connection);
    while outcome == unavailable(MarkError::Connection) {
        outcome = one.outcome(&token, &new).await;
    }
    assert_eq!(outcome, OK);
}

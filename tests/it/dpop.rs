//! Tokens bound to a key, and proofs of possession (RFC 9449).

mod binding;
mod challenge;
mod grpc;
mod keys;
mod nonce;
mod proof;
mod replay;
mod target;
mod time;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tower_introspect::{
    ClientAuth, ErrorKind, Issuer, Policy, ResourceServer,
    clock::UnixTime,
    proof::Dpop,
    test_util::{AuthorizationServer, Client, ProofBuilder, Prover, TestClock},
};

use testing::clock::NOW;

use crate::support::{AUDIENCE, FixedClock, ISSUER, ask, policy, refusal};

const URL: &str = "https://api.example.com/r";

/// An authorization server, a resource server that accepts proofs, and a client with a bound token.
struct World {
    server: AuthorizationServer,
    clock: TestClock,
    prover: Prover,
    api: ResourceServer,
    token: String,
}

impl World {
    fn new() -> Self {
        Self::with(dpop())
    }

    fn with(dpop: Dpop) -> Self {
        Self::under(|policy| policy.dpop(dpop))
    }

    fn under(policy: impl FnOnce(Policy) -> Policy) -> Self {
        let clock = TestClock::new(NOW);
        let server = AuthorizationServer::new(ISSUER)
            .with_clock(clock.clone())
            .with_client(Client::new("api", "s3cret"));
        let api = ResourceServer::builder(AUDIENCE)
            .issuer(Issuer::hybrid(ISSUER, ClientAuth::basic("api", "s3cret")))
            .transport(server.transport())
            .clock(clock.clone())
            .policy(policy)
            .build()
            .unwrap();
        let prover = Prover::new("client").with_clock(clock.clone());
        let token = server.jwt().audience(AUDIENCE).scope("read").bound_to(&prover).mint();
        Self { server, clock, prover, api, token }
    }

    /// Returns a valid proof for `GET /r` with the token.
    fn proof(&self) -> ProofBuilder {
        self.prover.proof("GET", URL).for_token(&self.token)
    }

    async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        ask(&self.api.layer(), request).await
    }

    /// Returns the response to `GET /r` with the token and this proof.
    async fn with_proof(&self, proof: &str) -> Response<Bytes> {
        self.send(self.request(proof)).await
    }

    fn request(&self, proof: &str) -> Request<Bytes> {
        get("/r", &[("authorization", &format!("DPoP {}", self.token)), ("dpop", proof)])
    }

    /// Returns the outcome of `GET /r` with the token and this proof.
    async fn outcome(&self, proof: ProofBuilder) -> Result<(), ErrorKind> {
        let response = self.with_proof(&proof.mint()).await;
        match refusal(&response) {
            Some(kind) => Err(kind),
            None => {
                assert_eq!(
                    (response.status(), &**response.body()),
                    (StatusCode::OK, &b"alice"[..])
                );
                Ok(())
            }
        }
    }
}

/// Returns a client with [`FixedClock`].
fn prover(name: &str) -> Prover {
    Prover::new(name).with_clock(FixedClock)
}

fn dpop() -> Dpop {
    Dpop::new("https://api.example.com").unwrap()
}

fn get(uri: &str, fields: &[(&str, &str)]) -> Request<Bytes> {
    request(Method::GET, uri, fields)
}

fn request(method: Method, uri: &str, fields: &[(&str, &str)]) -> Request<Bytes> {
    let mut request = crate::support::request(fields);
    *request.method_mut() = method;
    *request.uri_mut() = uri.parse().unwrap();
    request
}

/// Returns the outcome of `GET /r` with this token and this proof.
async fn outcome_of(world: &World, token: &str, proof: &str) -> Result<(), ErrorKind> {
    let authorization = format!("DPoP {token}");
    let response =
        world.send(get("/r", &[("authorization", &authorization), ("dpop", proof)])).await;
    refusal(&response).map_or(Ok(()), Err)
}

/// Returns the challenges of a response, one for each field.
fn challenges(response: &Response<Bytes>) -> Vec<&str> {
    let values = response.headers().get_all("www-authenticate").into_iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

/// Returns the nonce of a response, if it has one.
fn nonce_of<B>(response: &Response<B>) -> Option<String> {
    let mut values = response.headers().get_all("dpop-nonce").into_iter();
    let only: Option<&HeaderValue> = values.next();
    assert!(values.next().is_none(), "several nonces");
    only.map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test(start_paused = true)]
async fn rfc9449_7_1_a_bound_token_with_its_proof_is_admitted() {
    let world = World::new();
    assert_eq!(world.outcome(world.proof()).await, Ok(()));
    assert_eq!(world.outcome(world.proof()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn rfc9449_5_field_name_and_scheme_are_compared_without_case() {
    let world = World::new();
    for (scheme, field) in [("dpop", "DPOP"), ("DPOP", "dpop"), ("DPoP", "DPoP")] {
        let authorization = format!("{scheme} {}", world.token);
        let request =
            get("/r", &[("authorization", &authorization), (field, &world.proof().mint())]);
        assert_eq!(world.send(request).await.status(), StatusCode::OK, "{scheme} {field}");
    }
}

#[tokio::test(start_paused = true)]
async fn proof_is_marked_sensitive_and_removed_like_the_token() {
    use tower::{Layer as _, ServiceExt as _, service_fn};
    let world = World::new();
    let seen = service_fn(async |request: Request<Bytes>| {
        let proof = request.headers().get("dpop").map(HeaderValue::is_sensitive);
        Ok::<_, std::convert::Infallible>(Response::new(proof))
    });
    let shown = world.api.layer().layer(seen).oneshot(world.request(&world.proof().mint())).await;
    assert_eq!(shown.unwrap().body(), &Some(true));
    let removing = world.api.layer().remove_credentials();
    let shown = removing.layer(seen).oneshot(world.request(&world.proof().mint())).await;
    assert_eq!(shown.unwrap().body(), &None);
}

#[tokio::test(start_paused = true)]
async fn cached_token_is_decided_at_once() {
    use futures_util::FutureExt as _;
    use tower::{Layer as _, ServiceExt as _};
    let world = World::new();
    world.with_proof(&world.proof().mint()).await;
    let service = world.api.layer().layer(crate::support::whoami_service());
    let answer = service.oneshot(world.request(&world.proof().mint())).now_or_never();
    assert_eq!(answer.expect("the response is not ready").unwrap().status(), StatusCode::OK);
}

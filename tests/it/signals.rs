//! Logouts and security events have their effect at once.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CACHE_CONTROL};
use http_body_util::Full;
use serde_json::Value;
use tower::{Service, ServiceExt as _};
use tower_introspect::{
    Issuer,
    signals::LogoutService,
    test_util::{Endpoint, Fault},
};

use crate::{
    support::ISSUER,
    world::{World, auth},
};

mod bound;
mod by_hand;
mod hostile;
mod liveness;
mod logout;
mod pending;
mod poll;
mod push;
mod recorded;
mod shared;

const SEC: Duration = Duration::from_secs(1);

/// The client that users log in to.
const CLIENT: &str = "web";

/// The modes in which an issuer's tokens are verified, each with whether its JWTs are introspected.
fn modes() -> Vec<Issuer> {
    vec![
        Issuer::jwt(ISSUER),
        Issuer::introspect(ISSUER, auth()),
        Issuer::hybrid(ISSUER, auth()),
        Issuer::jwt_and_introspect(ISSUER, auth(), 30 * SEC),
    ]
}

type LogoutReceiver = LogoutService<Full<Bytes>>;

fn receiver(world: &World) -> LogoutReceiver {
    world.api.logout_service(CLIENT)
}

fn form(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let form = "application/x-www-form-urlencoded";
    Request::post("/").header("content-type", form).body(Full::new(body.into())).unwrap()
}

async fn send<S>(service: &S, request: Request<Full<Bytes>>) -> Response<Full<Bytes>>
where
    S: Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone,
{
    let Ok(response) = service.clone().oneshot(request).await;
    response
}

/// A body that never ends.
fn endless() -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static {
    type Frame = Result<http_body::Frame<Bytes>, Infallible>;
    http_body_util::StreamBody::new(futures_util::stream::pending::<Frame>())
}

/// Takes the keys of the authorization server away.
fn without_keys(world: &World) {
    for endpoint in [Endpoint::Jwks, Endpoint::Discovery] {
        world.server.inject(endpoint, Fault::status(StatusCode::BAD_GATEWAY));
    }
}

fn with_keys(world: &World) {
    for endpoint in [Endpoint::Jwks, Endpoint::Discovery] {
        world.server.clear(endpoint);
    }
}

/// Lets time pass, but for the clock of the world, and tasks run.
async fn pass(seconds: u32) {
    for _ in 0..10 * seconds {
        tokio::time::advance(SEC / 10).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

fn jti_of(token: &str) -> String {
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["jti"].as_str().unwrap().to_owned()
}

/// Delivers a logout token. Returns the status, and the error and its description.
async fn deliver(service: &LogoutReceiver, token: &str) -> (StatusCode, String) {
    outcome(send(service, form(format!("logout_token={token}"))).await).await
}

async fn outcome(response: Response<Full<Bytes>>) -> (StatusCode, String) {
    use http_body_util::BodyExt as _;
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let status = response.status();
    let Ok(body) = response.into_body().collect().await;
    let body = body.to_bytes();
    if body.is_empty() {
        return (status, String::new());
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    (status, format!("{}: {}", text("error"), text("error_description")))
}

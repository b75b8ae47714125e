//! Logouts and security events have their effect at once.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CACHE_CONTROL};
use http_body_util::Full;
use serde_json::Value;
use tower::{Service, ServiceExt as _};
use tower_introspect::{Issuer, signals::LogoutService};

use crate::{
    support::ISSUER,
    world::{World, auth},
};

mod bound;
mod by_hand;
mod liveness;
mod logout;
mod pending;
mod poll;
mod push;
mod recorded;

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

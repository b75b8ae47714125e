//! Back-channel logout (OpenID Connect Back-Channel Logout 1.0).

use std::time::Duration;

use axum::{Router, body::Body, extract::Request, routing};
use tower::ServiceExt as _;
use tower_introspect::{ClientAuth, Issuer, ResourceServer, signals::LogoutService};

use testing::{
    host::PATIENCE,
    oidc_provider::{API, OidcProvider},
    proxy::until,
};

use crate::{api::Api, clock::Ahead};

/// The age up to which facts are cached: longer than any test takes, and half the life of a token.
const MAX_AGE: Duration = Duration::from_secs(1800);

/// A resource server that receives the logouts of the client `svc`.
struct Receiver {
    api: Api,
    service: LogoutService<Body>,
}

impl Receiver {
    async fn serve(issuer: Issuer) -> Self {
        let resource_server = resource_server(issuer, Ahead::default());
        let service = resource_server.logout_service("svc");
        let open = Router::new().route_service("/logout", service.clone());
        Self { api: Api::serve_beside(resource_server.layer(), open).await, service }
    }

    fn url(&self) -> String {
        self.api.url("logout")
    }

    async fn admits(&self, tokens: &[String]) {
        for token in tokens {
            self.api.get(token).await.is_admission();
        }
    }

    async fn refuses(&self, tokens: &[String]) {
        for token in tokens {
            self.api.get(token).await.is_invalid_token();
        }
    }
}

fn resource_server(issuer: Issuer, clock: Ahead) -> ResourceServer {
    ResourceServer::builder(API)
        .issuer(issuer.configure_introspection(|remote| remote.timeout(PATIENCE)))
        .max_age(MAX_AGE)
        .clock(clock)
        .danger_allow_http_loopback()
        .build()
        .expect("valid")
}

fn auth(server: &OidcProvider) -> ClientAuth {
    ClientAuth::basic("rs-basic", server.secret())
}

/// The modes, each with the formats of the tokens that it admits. The server introspects no JWTs.
fn modes(server: &OidcProvider) -> [(Issuer, &'static [&'static str]); 4] {
    let issuer = server.issuer();
    [
        (Issuer::jwt(issuer), &["ES256", "RS256"]),
        (Issuer::introspect(issuer, auth(server)), &["opaque"]),
        (Issuer::hybrid(issuer, auth(server)), &["ES256", "opaque"]),
        (Issuer::jwt_and_introspect(issuer, auth(server), MAX_AGE), &["opaque"]),
    ]
}

async fn tokens(server: &OidcProvider, formats: &[&str], sub: &str, sid: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for format in formats {
        tokens.push(server.user_token(format, sub, sid).await);
    }
    tokens
}

#[tokio::test]
async fn session_that_ended_is_refused_with_the_next_request_and_others_go_on_in_every_mode() {
    let Some(server) = OidcProvider::start().await else { return };
    for (issuer, formats) in modes(&server) {
        let receiver = Receiver::serve(issuer).await;
        let ended = tokens(&server, formats, "alice", "s1").await;
        let other = tokens(&server, formats, "alice", "s2").await;
        receiver.admits(&ended).await;
        receiver.admits(&other).await;
        assert_eq!(server.log_out(&receiver.url(), "alice", Some("s1")).await, Ok(()));
        receiver.refuses(&ended).await;
        receiver.admits(&other).await;
    }
}

#[tokio::test]
async fn all_sessions_of_a_user_are_refused_and_another_user_goes_on_in_every_mode() {
    let Some(server) = OidcProvider::start().await else { return };
    for (issuer, formats) in modes(&server) {
        let receiver = Receiver::serve(issuer).await;
        let mut ended = tokens(&server, formats, "alice", "s1").await;
        ended.extend(tokens(&server, formats, "alice", "s2").await);
        let other = tokens(&server, formats, "bob", "s3").await;
        receiver.admits(&ended).await;
        receiver.admits(&other).await;
        assert_eq!(server.log_out(&receiver.url(), "alice", None).await, Ok(()));
        receiver.refuses(&ended).await;
        receiver.admits(&other).await;
    }
}

/// The server sends a logout token once, whatever the response is.
#[tokio::test]
async fn logout_whose_key_cannot_be_had_is_applied_once_it_can() {
    let Some(server) = OidcProvider::start().await else { return };
    let receiver = Receiver::serve(Issuer::jwt(server.issuer())).await;
    let ended = tokens(&server, &["ES256"], "alice", "s1").await;
    let other = tokens(&server, &["ES256"], "alice", "s2").await;
    receiver.admits(&ended).await;
    server.add_keys().await;
    server.fault("jwks", "500").await;
    assert_eq!(server.log_out(&receiver.url(), "alice", Some("s1")).await, Err(503));
    assert_eq!(receiver.service.pending(), 1);
    receiver.admits(&ended).await;

    server.fault("jwks", "none").await;
    receiver.api.refuses_eventually(&ended[0]).await;
    assert_eq!(receiver.service.pending(), 0);
    receiver.admits(&other).await;
}

#[tokio::test]
async fn logout_of_another_server_is_refused() {
    let Some(server) = OidcProvider::start().await else { return };
    let Some(stranger) = OidcProvider::start().await else { return };
    let receiver = Receiver::serve(Issuer::jwt(server.issuer())).await;
    let alice = tokens(&server, &["ES256"], "alice", "s1").await;
    receiver.admits(&alice).await;
    assert_eq!(stranger.log_out(&receiver.url(), "alice", Some("s1")).await, Err(400));
    receiver.admits(&alice).await;
}

/// The server revokes the tokens after it has sent the logout token. Until then it calls them active.
#[tokio::test]
async fn token_presented_before_the_server_revokes_it_is_refused_long_before_max_age() {
    let Some(server) = OidcProvider::start().await else { return };
    let issuer = Issuer::hybrid(server.issuer(), auth(&server));
    let resource_server = resource_server(issuer, Ahead::default());
    let token = server.user_token("opaque", "alice", "s1").await;
    let (service, layer) = (resource_server.logout_service::<Body>("svc"), resource_server.layer());
    let (api, early) = (Api::serve(layer.clone()).await, token.clone());
    let url = api.url("");
    let receive = async move |request: Request| {
        let Ok(response) = service.oneshot(request).await;
        let http = reqwest::Client::builder().no_proxy().build().expect("a client can be built");
        http.get(url).bearer_auth(early).send().await.expect("the API answers");
        response
    };
    let open = Router::new().route("/logout", routing::post(receive));
    let receiver = Api::serve_beside(layer, open).await;
    assert_eq!(server.log_out(&receiver.url("logout"), "alice", Some("s1")).await, Ok(()));
    let is_refused = async || api.get(&token).await.status == 401;
    until(is_refused, || "it is admitted for as long as its facts are cached".to_owned()).await;
}

//! Revocations by hand are recorded with who made them, and without any token.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use metrics::set_default_local_recorder;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tower_introspect::{
    ClientAuth, Issuer, ResourceServer,
    policy::Requirement,
    resource_server::{ResourceServerBuilder, RevocationService},
    test_util::{AuthorizationServer, Client},
};
use tracing::Level;

use crate::{
    AUDIENCE, ISSUER, alone, capture::Line, recorder::MemoryRecorder, support::FixedClock,
};

const MESSAGE: &str = "revoked by hand";

type Service = RevocationService<Full<Bytes>>;

fn world(
    change: fn(ResourceServerBuilder) -> ResourceServerBuilder,
) -> (AuthorizationServer, Service) {
    let server = AuthorizationServer::new(ISSUER)
        .with_clock(FixedClock)
        .with_client(Client::new("api", "s3cret"));
    let builder = ResourceServer::builder(AUDIENCE)
        .clock(FixedClock)
        .issuer(Issuer::hybrid(ISSUER, ClientAuth::basic("api", "s3cret")))
        .transport(server.transport());
    let api = change(builder).build().unwrap();
    let staff = Requirement::all_scopes(["revocations:write"]);
    (server, api.revocation_service(staff))
}

async fn post(service: &Service, token: &str, body: &Value) -> u16 {
    let request = Request::post("/")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let Ok(response) = service.clone().oneshot(request).await;
    response.status().as_u16()
}

fn fields(line: &Line) -> Value {
    assert_eq!((line.level, &*line.target), (Level::INFO, "tower_introspect"));
    json!(line.fields)
}

#[tokio::test(start_paused = true)]
async fn every_change_is_recorded_with_the_caller_and_without_a_token() {
    let (_turn, captured) = alone().await;
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    let (server, service) = world(|api| api);
    let caller = server.jwt().subject("st4ff").client_id("d3sk").audience(AUDIENCE);
    let caller = caller.scope("revocations:write").mint();
    let jwt = server.jwt().subject("al1ce").claim("jti", "s3cret-jti").audience(AUDIENCE).mint();
    let opaque = server.opaque().text("s3cret-opaque").audience(AUDIENCE).mint();
    let by = |mut fields: Value| {
        for (name, value) in [("by_issuer", ISSUER), ("by_subject", "st4ff"), ("by_client", "d3sk")]
        {
            fields[name] = value.into();
        }
        fields
    };
    let issuer = ISSUER;
    let changes = [
        (
            json!({"issuer": issuer, "subject": "al1ce"}),
            json!({"effect": "revoke", "kind": "subject", "issuer": issuer}),
        ),
        (
            json!({"issuer": issuer, "session": "s", "subject": "al1ce", "ask_anew": true}),
            json!({"effect": "ask_anew", "kind": "session", "issuer": issuer}),
        ),
        (
            json!({"issuer": issuer, "all": true, "ask_anew": true}),
            json!({"effect": "ask_anew", "kind": "issuer", "issuer": issuer}),
        ),
        (json!({ "token": jwt }), json!({"effect": "revoke", "kind": "token", "issuer": issuer})),
        (json!({ "token": opaque }), json!({"effect": "evict", "kind": "token"})),
    ];
    for (body, _) in &changes {
        assert_eq!(post(&service, &caller, body).await, 200);
    }
    let lines = captured.named(MESSAGE);
    assert_eq!(lines.len(), changes.len());
    for (line, (_, expected)) in lines.iter().zip(changes) {
        assert_eq!(fields(line), by(expected));
    }
    // Nothing is recorded of what changed nothing.
    assert_eq!(post(&service, &caller, &json!({"issuer": issuer, "sub": "al1ce"})).await, 400);
    assert_eq!(post(&service, &jwt, &json!({"issuer": issuer, "subject": "al1ce"})).await, 401);
    assert_eq!(captured.named(MESSAGE).len(), lines.len());
    for signature in [&caller, &jwt].map(|token| token.rsplit('.').next().unwrap()) {
        assert!(!captured.text().contains(signature));
    }
    for hidden in ["s3cret-opaque", "s3cret-jti", "al1ce"] {
        assert!(!captured.text().contains(hidden), "{hidden}");
    }
    let count = |outcome: &str| {
        let labels = format!("receiver=\"operator\",outcome=\"{outcome}\"");
        seen.get(&format!("tower_introspect_signals_total{{{labels}}}"))
    };
    assert_eq!((count("applied"), count("refused")), (Some(5.0), Some(1.0)));
}

#[tokio::test(start_paused = true)]
async fn names_are_recorded_if_subjects_may_be_logged_and_none_is_suppressed() {
    let (_turn, captured) = alone().await;
    let (server, service) = world(ResourceServerBuilder::log_subjects);
    let long = "s".repeat(1_000);
    let caller = server.jwt().subject(&long).audience(AUDIENCE).scope("revocations:write");
    let caller = caller.without("client_id").mint();
    let body = json!({"issuer": ISSUER, "subject": "al\n1ce"});
    for _ in 0..100 {
        assert_eq!(post(&service, &caller, &body).await, 200);
    }
    assert_eq!(
        post(&service, &caller, &json!({"issuer": ISSUER, "token_id": "s3cret"})).await,
        200
    );
    let lines = captured.named(MESSAGE);
    assert_eq!(lines.len(), 101);
    assert_eq!(lines[99].field("value"), Some("al\n1ce"));
    assert_eq!(lines[99].field("by_subject"), Some(&long[..128]));
    assert_eq!(lines[99].field("by_client"), None);
    assert_eq!((lines[100].field("kind"), lines[100].field("value")), (Some("token"), None));
    // No name forges a line of the log.
    assert!(!captured.text().contains("al\n1ce"));
}

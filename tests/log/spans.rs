//! The span of an asynchronous verification.

use std::time::Duration;

use futures_util::future::poll_immediate;
use tower_introspect::{
    ClientAuth, Issuer, ResourceServer,
    resource_server::ResourceServerBuilder,
    test_util::{AuthorizationServer, Client, Endpoint, Fault},
};
use tracing::{Instrument as _, Level};

use crate::{AUDIENCE, ISSUER, alone, events::accepting, present, support::FixedClock};

fn world(
    change: impl FnOnce(ResourceServerBuilder) -> ResourceServerBuilder,
) -> (AuthorizationServer, ResourceServer) {
    let server = AuthorizationServer::new(ISSUER)
        .with_clock(FixedClock)
        .with_client(Client::new("api", "s3cret"));
    let builder = ResourceServer::builder(AUDIENCE)
        .clock(FixedClock)
        .issuer(Issuer::introspect(ISSUER, ClientAuth::basic("api", "s3cret")))
        .transport(server.transport());
    (server, change(builder).build().unwrap())
}

#[tokio::test(start_paused = true)]
async fn only_an_asynchronous_verification_has_a_span() {
    let (_turn, captured) = alone().await;
    let (server, api) = world(|api| api);
    let token = server.opaque().subject("al1ce").audience(AUDIENCE).mint();
    for _ in 0..3 {
        assert_eq!(present(&api.layer(), &token).await, 200);
    }
    let spans = captured.named("verify_token");
    let [span] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((span.level, &*span.target), (Level::INFO, "tower_introspect"));
    assert_eq!(span.field("outcome"), Some("admitted"));
    assert_eq!(span.field("issuer"), Some(ISSUER));
    assert_eq!(span.field("method"), Some("introspection"));
    assert_eq!((span.field("reason"), span.field("subject")), (None, None));

    // A verification that finishes at once has no span.
    present(&accepting(&format!("{{\"aud\":\"{AUDIENCE}\"}}")), "abc").await;
    present(&accepting("{}"), "abc").await;
    assert_eq!(captured.named("verify_token").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn span_has_the_reason_of_a_refusal_and_contains_the_event() {
    let (_turn, captured) = alone().await;
    let (_server, api) = world(|api| api);
    present(&api.layer(), "unknown").instrument(tracing::info_span!("request")).await;
    let spans = captured.named("verify_token");
    assert_eq!(spans[0].field("outcome"), Some("refused"));
    assert_eq!((spans[0].field("reason"), spans[0].field("issuer")), (Some("inactive"), None));
    assert_eq!(spans[0].within, ["request"]);
    let events = captured.named("request refused");
    assert_eq!(events[0].within, ["verify_token", "request"]);
}

#[tokio::test(start_paused = true)]
async fn span_has_the_subject_if_configured() {
    let (_turn, captured) = alone().await;
    let (server, api) = world(ResourceServerBuilder::log_subjects);
    let opaque = || server.opaque().subject("al1ce");
    present(&api.layer(), &opaque().audience(AUDIENCE).mint()).await;
    present(&api.layer(), &opaque().audience("https://other.example.com").mint()).await;
    let spans = captured.named("verify_token");
    let told: Vec<_> =
        spans.iter().map(|span| (span.field("outcome"), span.field("subject"))).collect();
    let subject = Some("al1ce");
    assert_eq!(told, [(Some("admitted"), subject), (Some("refused"), subject)]);
}

/// A request span, as a trace layer makes one.
#[tokio::test(start_paused = true)]
async fn request_span_that_declares_a_subject_gets_it_if_configured() {
    let (_turn, captured) = alone().await;
    let (server, api) = world(|api| api);
    let token = server.opaque().subject("al1ce").audience(AUDIENCE).mint();
    let request_span = || tracing::info_span!("request", subject = tracing::field::Empty);
    // The first is verified asynchronously, the second is cached.
    for _ in 0..2 {
        assert_eq!(present(&api.layer(), &token).instrument(request_span()).await, 200);
        let logged = api.layer().log_subjects();
        assert_eq!(present(&logged, &token).instrument(request_span()).await, 200);
    }
    // A span without the field, and a token that is refused.
    let logged = api.layer().log_subjects();
    present(&logged, &token).instrument(tracing::info_span!("request")).await;
    let elsewhere = server.opaque().subject("al1ce").audience("https://other.example.com").mint();
    assert_eq!(present(&logged, &elsewhere).instrument(request_span()).await, 401);
    let spans = captured.named("request");
    let told: Vec<_> = spans.iter().map(|span| span.field("subject")).collect();
    let subject = Some("al1ce");
    assert_eq!(told, [None, subject, None, subject, None, None]);
}

#[tokio::test(start_paused = true)]
async fn span_without_outcome_means_a_disconnected_client() {
    let (_turn, captured) = alone().await;
    let (server, api) = world(|api| api);
    server.inject(Endpoint::Introspection, Fault::delay(Duration::from_secs(1)));
    {
        let layer = api.layer();
        let mut waiting = std::pin::pin!(present(&layer, "unknown"));
        assert_eq!(poll_immediate(waiting.as_mut()).await, None);
    }
    let spans = captured.named("verify_token");
    assert_eq!((spans.len(), spans[0].field("outcome")), (1, None));
}

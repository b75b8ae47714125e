//! The span of a verification that takes time.

use std::time::Duration;

use futures_util::future::poll_immediate;
use tower_introspect::{
    ClientAuth, Issuer, ResourceServer,
    resource_server::ResourceServerBuilder,
    test_util::{AuthorizationServer, Client, Endpoint, Fault},
};
use tracing::{Instrument as _, Level};

use crate::{AUDIENCE, ISSUER, alone, events::vouching, present, support::FixedClock};

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
async fn a_verification_that_takes_time_is_one_span_and_no_other_is() {
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

    // What is there at once has none, refused or not.
    present(&vouching(&format!("{{\"aud\":\"{AUDIENCE}\"}}")), "abc").await;
    present(&vouching("{}"), "abc").await;
    assert_eq!(captured.named("verify_token").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_span_tells_why_a_token_was_refused_and_holds_the_event() {
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
async fn a_span_has_the_subject_where_that_was_asked_for() {
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

#[tokio::test(start_paused = true)]
async fn a_span_without_outcome_is_a_client_that_went_away() {
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

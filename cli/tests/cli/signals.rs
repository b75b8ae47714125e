//! `introspect signals`, and what `introspect doctor` says of transmitters and logouts.

use http::StatusCode;
use serde_json::{Value, json};
use tower_introspect::{
    clock::UnixTime,
    test_util::{AuthorizationServer, Client, Endpoint, Fault, Listening},
};

use crate::{
    front,
    run::{AUDIENCE, NOW, Ran, at, file, run},
};

/// The client whose streams the transmitter manages, which is their audience.
const RECEIVER: &str = "poller";

struct World {
    name: &'static str,
    server: AuthorizationServer,
    _listening: Listening,
}

impl World {
    async fn new(name: &'static str) -> Self {
        let (server, _listening) = front::plain().await;
        front::without_known_keys(&server);
        let issuer = server.issuer().to_owned();
        server.register(Client::new(RECEIVER, "s3cret").with_audience(issuer));
        Self { name, server, _listening }
    }

    /// Returns the path of a configuration with these settings of signals, and of the transmitter.
    fn config(&self, signals: &str, transmitter: &str) -> String {
        let (issuer, token) = (self.server.issuer(), self.server.url(Endpoint::Token));
        let text = format!(
            "audience = \"{AUDIENCE}\"\ndanger_allow_http_loopback = true\n\n[[issuer]]\n\
             issuer = \"{issuer}\"\nmode = \"jwt\"\n\n[signals]\n{signals}\n\
             [[signals.transmitter]]\nissuer = \"{issuer}\"\naudience = \"{RECEIVER}\"\n\
             {transmitter}\n[signals.transmitter.client]\ntoken_endpoint = \"{token}\"\n\
             method = \"basic\"\nid = \"{RECEIVER}\"\ndanger_secret = \"s3cret\"\n"
        );
        file(&format!("signals-{}.toml", self.name), text)
    }

    fn polled(&self, stream: &str, more: &str) -> String {
        self.config("", &format!("delivery = \"poll\"\nstream_id = \"{stream}\"\n{more}"))
    }

    async fn signals(&self, arguments: &[&str]) -> Ran {
        let ran = run(&[&["signals"], arguments].concat(), "").await.steady(&self.server);
        assert!(!ran.screen().contains("s3cret"), "{}", ran.screen());
        ran
    }

    async fn doctor(&self, config: &str, more: &[&str]) -> Ran {
        let at = at();
        let ran = run(&[&["doctor", "--at", &at, config], more].concat(), "").await;
        let ran = ran.steady(&self.server);
        assert!(!ran.screen().contains("s3cret"), "{}", ran.screen());
        ran
    }
}

/// Returns a finding of `doctor --json`.
#[track_caller]
fn finding(ran: &Ran, code: &str) -> Value {
    let json = ran.json();
    let sections = json["sections"].as_array().unwrap();
    let mut all = sections.iter().flat_map(|section| section["findings"].as_array().unwrap());
    let found = all.find(|finding| finding["code"] == code);
    found.unwrap_or_else(|| panic!("no {code}: {}", ran.screen())).clone()
}

#[track_caller]
fn has(ran: &Ran, code: &str, level: &str) {
    assert_eq!(finding(ran, code)["level"], level, "{}", ran.screen());
}

#[tokio::test]
async fn screens() {
    let world = World::new("screens").await;
    let stream = world.server.add_poll_stream(RECEIVER);
    let more = "verify_every_seconds = 60\nverified_within_seconds = 300";
    let config = world.polled(&stream, more);
    world.signals(&["status", "--config", &config]).await.shows("signals-status");
    world.signals(&["verify", "--config", &config]).await.shows("signals-verify");
    assert_eq!(world.server.queued_events().len(), 1);
    world.doctor(&config, &["--probe"]).await.shows("doctor-transmitter");
    assert_eq!(world.server.queued_events().len(), 2);

    world.server.inject(Endpoint::StreamStatus, disabled(&stream));
    let wrong = world.polled(&stream, "").replace(".toml", "-wrong.toml");
    let text = std::fs::read_to_string(world.polled(&stream, "")).unwrap();
    let text = text.replace(&format!("\"{RECEIVER}\"\ndelivery"), "\"orders\"\ndelivery");
    file("signals-screens-wrong.toml", text);
    world.signals(&["status", "--config", &wrong]).await.shows("signals-status-wrong");
    let nowhere = world.polled("none", "");
    world.signals(&["status", "--config", &nowhere]).await.shows("signals-status-nowhere");
}

fn disabled(stream: &str) -> Fault {
    let body = json!({ "stream_id": stream, "status": "disabled" }).to_string();
    let response = http::Response::builder().header("content-type", "application/json");
    Fault::respond(response.body(bytes::Bytes::from(body)).unwrap())
}

#[tokio::test]
async fn status_lists_all_streams_if_the_settings_name_none() {
    let world = World::new("list").await;
    let config = world.config("", "");
    let ran = world.signals(&["status", "--json", "--config", &config]).await;
    assert_eq!((ran.code, ran.json()["streams"].as_array().unwrap().len()), (1, 0));
    let stream = world.server.add_push_stream(RECEIVER, "https://api.example.com/events", None);
    let ran = world.signals(&["status", "--json", "--config", &config]).await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
    let json = ran.json();
    assert_eq!(json["streams"][0]["stream_id"], *stream);
    assert_eq!(json["streams"][0]["delivery"], "push");
    assert_eq!(json["streams"][0]["status"], "enabled");
}

#[tokio::test]
async fn verify_sends_the_state_that_is_given() {
    let world = World::new("state").await;
    let stream = world.server.add_poll_stream(RECEIVER);
    let config = world.polled(&stream, "");
    let arguments = ["verify", "--json", "--state", "abc", "--config", &config];
    let ran = world.signals(&arguments).await;
    assert_eq!((ran.code, &ran.json()["state"]), (0, &json!("abc")), "{}", ran.screen());
    let request = world.server.requests(Endpoint::Verification).remove(0);
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(body, json!({ "stream_id": stream, "state": "abc" }));
    // A transmitter that allows few of them.
    world.server.inject(Endpoint::Verification, Fault::status(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(world.signals(&arguments).await.code, 3);
}

#[tokio::test]
async fn signals_need_a_transmitter_and_credentials() {
    let world = World::new("usage").await;
    let config = world.config("", "");
    let text = std::fs::read_to_string(&config).unwrap();
    let usage = async |text: &str, more: &[&str], words: &str| {
        let path = file("signals-usage-2.toml", text);
        let ran = world.signals(&[&["verify", "--config", &path], more].concat()).await;
        assert!(ran.code == 2 && ran.err.contains(words), "{}", ran.screen());
    };
    usage(&text, &[], "has no `stream_id`").await;
    usage(&text, &["--transmitter", "https://other"], "`--transmitter` must select one of").await;
    let (issuer, rest) = text.split_once("[signals]").unwrap();
    usage(issuer, &[], "has no `[[signals.transmitter]]`").await;
    let (transmitter, _) = rest.split_once("[signals.transmitter.client]").unwrap();
    let without = format!("{issuer}[signals]{transmitter}");
    usage(&without, &[], "has neither `access_token` nor `client`").await;
    let untrusted = text.replace("audience = \"poller\"", "audience = \"a\"\nspeaks_for = \"x\"");
    usage(&untrusted, &[], ".toml:13:1: signals.transmitter `").await;
}

#[tokio::test]
async fn doctor_names_what_is_wrong_with_a_transmitter() {
    let world = World::new("wrong").await;
    let server = &world.server;
    let stream = server.add_poll_stream(RECEIVER);
    let config = world.polled(&stream, "verified_within_seconds = 300");
    let check = async || world.doctor(&config, &["--json"]).await;
    let ran = check().await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
    has(&ran, "verification_not_asked", "warning");
    has(&ran, "stream_enabled", "good");
    has(&ran, "transmitter_credentials", "good");
    assert_eq!(server.calls(Endpoint::Verification), 0, "only with --probe");

    server.set_min_verification_interval(std::time::Duration::from_secs(600));
    has(&check().await, "verification_too_rare", "bad");
    server.set_min_verification_interval(std::time::Duration::ZERO);
    server.set_transmitter_metadata("critical_subject_members", json!(["user", "tenant"]));
    let ran = check().await;
    has(&ran, "critical_members", "warning");
    assert!(ran.out.contains("critical_members = [\\\"tenant\\\"]"), "{}", ran.out);
    server.set_transmitter_metadata("critical_subject_members", Value::Null);
    server.inject(Endpoint::StreamStatus, disabled(&stream));
    has(&check().await, "stream_not_enabled", "bad");
    server.clear(Endpoint::StreamStatus);
    // The metadata names no URL for it.
    server.set_transmitter_metadata("status_endpoint", Value::Null);
    has(&check().await, "stream_status_unknown", "note");
    server.set_transmitter_metadata("issuer", "https://other.example.com");
    let ran = check().await;
    has(&ran, "transmitter_issuer_mismatch", "bad");
    let details = finding(&ran, "transmitter_issuer_mismatch")["details"].to_string();
    assert!(details.contains("issuer = \\\"https://other.example.com\\\""), "{details}");
    server.set_transmitter_metadata("issuer", server.issuer());
    for (endpoint, status, code, level, exit) in [
        (Endpoint::Streams, 401, "transmitter_credentials_rejected", "bad", 1),
        (Endpoint::Token, 401, "transmitter_credentials_rejected", "bad", 1),
        (Endpoint::Streams, 404, "stream_not_found", "bad", 1),
        (Endpoint::Streams, 503, "transmitter_unavailable", "unknown", 3),
        (Endpoint::SsfConfiguration, 404, "transmitter_metadata", "bad", 1),
    ] {
        server.inject(endpoint, Fault::status(StatusCode::from_u16(status).unwrap()));
        let ran = check().await;
        server.clear(endpoint);
        has(&ran, code, level);
        assert_eq!(ran.code, exit, "{code}: {}", ran.screen());
    }
    // Another delivery than the settings have, and other events.
    let stream = server.add_push_stream(RECEIVER, "https://api.example.com/events", None);
    let config = world.polled(&stream, "");
    let ran = world.doctor(&config, &["--json"]).await;
    has(&ran, "stream_delivery", "bad");
    assert!(ran.out.contains("delivery = \\\"push\\\""), "{}", ran.out);
}

#[tokio::test]
async fn doctor_compares_the_events_of_a_stream() {
    let world = World::new("events").await;
    let token = world.server.jwt().client_id(RECEIVER).audience(world.server.issuer()).mint();
    let transport = tower_introspect::transport::HttpTransport::reqwest().unwrap();
    let auth = tower_introspect::signals::TransmitterAuth::bearer(&token);
    let streams = tower_introspect::signals::EventStreams::builder(world.server.issuer(), auth)
        .transport(transport)
        .danger_allow_http_loopback()
        .build()
        .unwrap();
    for (events, level) in [
        (&["https://schemas.openid.net/secevent/risc/event-type/account-disabled"][..], "warning"),
        (&["https://schemas.openid.net/secevent/risc/event-type/account-enabled"], "bad"),
    ] {
        let request = tower_introspect::signals::StreamRequest::poll();
        let request = events.iter().fold(request, |request, event| request.event(*event));
        let created = streams.create(&request.event("https://t.example/other")).await.unwrap();
        let config = world.polled(created.stream_id(), "");
        let ran = world.doctor(&config, &["--json"]).await;
        has(&ran, "stream_events", level);
        let missing = finding(&ran, "stream_events_missing")["details"][0]["text"].clone();
        assert_eq!(missing, "https://t.example/other");
        streams.stream(created.stream_id()).delete().await.unwrap();
    }
}

#[tokio::test]
async fn doctor_checks_who_sends_logouts_and_what_they_reach() {
    let world = World::new("logout").await;
    let config = world.config("logout_client_id = \"web\"\n", "");
    let token = |sid: Option<&str>| {
        let token = world.server.jwt().subject("alice").audience(AUDIENCE).scope("read");
        let token = token.issued_at(UnixTime::from_secs(NOW));
        let token = token.expires_at(UnixTime::from_secs(NOW + 600));
        let token = match sid {
            Some(sid) => token.claim("sid", sid),
            None => token,
        };
        file("signals-logout.token", token.mint())
    };
    let without = token(None);
    let doctor =
        async |token: &str| world.doctor(&config, &["--json", "--token-file", token]).await;
    world.server.set_metadata("backchannel_logout_supported", Value::Null);
    let ran = doctor(&without).await;
    has(&ran, "logout_not_supported", "warning");
    has(&ran, "no_sid", "warning");
    assert!(ran.out.contains("logout_cut_by_subject = true"), "{}", ran.out);
    assert!(ran.out.contains("`cut_by_subject` in signals-logout.toml"), "{}", ran.out);
    has(&ran, "stream_none", "bad");
    world.server.set_metadata("backchannel_logout_supported", true);
    world.server.set_metadata("backchannel_logout_session_supported", true);
    let with = token(Some("s1"));
    let ran = doctor(&with).await;
    has(&ran, "logout_supported", "good");
    has(&ran, "logout_session", "good");
    assert!(!ran.out.contains("no_sid"), "{}", ran.out);
    world.server.set_metadata("backchannel_logout_session_supported", false);
    has(&doctor(&with).await, "logout_session", "note");
}

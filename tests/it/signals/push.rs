//! Security events that are pushed (RFC 8417, RFC 8935, SSF 1.0).

use http::{Method, header::ALLOW};
use http_body_util::BodyExt as _;
use serde_json::json;
use tower_introspect::{
    clock::UnixTime,
    jose::Algorithm,
    signals::{EventReceiver, EventService, Transmitter},
    test_util::{AuthorizationServer, Defect, Endpoint, TestClock},
};

use super::*;
use crate::support::AUDIENCE;

const RECEIVER: &str = "https://api.example.com/events";

type PushReceiver = EventService<Full<Bytes>>;

pub(super) fn transmitter() -> Transmitter {
    Transmitter::new(ISSUER, RECEIVER)
}

fn events(world: &World) -> EventReceiver {
    world.api.receive_events(&transmitter()).unwrap()
}

pub(super) fn service(world: &World) -> PushReceiver {
    events(world).push_service()
}

fn pushed(set: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post("/").header("content-type", "application/secevent+jwt");
    request.body(Full::new(set.into())).unwrap()
}

/// Pushes an event. Returns the status, and the error with its description.
pub(super) async fn push(service: &PushReceiver, set: &str) -> (u16, String) {
    answer(send(service, pushed(set.to_owned())).await).await
}

async fn answer(response: Response<Full<Bytes>>) -> (u16, String) {
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    let body = body.to_bytes();
    if head.status == StatusCode::BAD_REQUEST {
        assert_eq!(head.headers["content-language"], "en");
        assert_eq!(head.headers["content-type"], "application/json");
        let body: Value = serde_json::from_slice(&body).unwrap();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        return (400, format!("{}: {}", text("err"), text("description")));
    }
    (head.status.as_u16(), String::new())
}

fn accepted() -> (u16, String) {
    (202, String::new())
}

async fn code(service: &PushReceiver, set: &str) -> String {
    let (status, told) = push(service, set).await;
    assert_eq!(status, 400, "{told}");
    told.split(": ").next().unwrap().to_owned()
}

/// An event that revokes the sessions of alice.
fn revoked(world: &World) -> String {
    world.server.security_event(RECEIVER).of_subject("alice").session_revoked().mint()
}

#[tokio::test]
async fn e1_only_a_posted_security_event_is_read() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = service(&world);
    let set = revoked(&world);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let mut request = pushed(set.clone());
        *request.method_mut() = method;
        let response = send(&service, request).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[ALLOW], "POST");
    }
    for content_type in ["application/json", "application/jwt", "text/plain"] {
        let mut request = pushed(set.clone());
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        let (status, told) = answer(send(&service, request).await).await;
        assert_eq!((status, &told[..15]), (400, "invalid_request"));
    }
    assert_eq!(code(&service, "").await, "invalid_request");
    assert_eq!(code(&service, &format!("{set}\n")).await, "invalid_request");
    let response = send(&service, pushed(vec![0xff; 100])).await;
    assert_eq!(answer(response).await.0, 400);
    let response = send(&service, pushed("a".repeat(1 << 20))).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(world.api.revocations().is_empty());
}

#[tokio::test]
async fn e2_valid_event_is_answered_by_202_without_a_body() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = service(&world);
    let response = send(&service, pushed(revoked(&world))).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert!(!response.headers().contains_key("content-type"));
    let Ok(body) = response.into_body().collect().await;
    assert!(body.to_bytes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn e3_e7_bad_events_are_answered_by_400_with_a_code() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = service(&world);
    let set = || world.server.security_event(RECEIVER).of_subject("alice").session_revoked();
    for (set, expected) in [
        (set().claim("iss", "https://other.example.com"), "invalid_issuer"),
        (set().claim("iss", format!("{ISSUER}/")), "invalid_issuer"),
        (set().claim("aud", "https://other.example.com"), "invalid_audience"),
        (set().without("aud"), "invalid_audience"),
        (set().without("iss"), "invalid_request"),
        (set().without("jti"), "invalid_request"),
        (set().without("iat"), "invalid_request"),
        (set().without("sub_id"), "invalid_request"),
        (set().without("events"), "invalid_request"),
        (set().claim("events", json!([])), "invalid_request"),
        (set().claim("events", json!({})), "invalid_request"),
        (set().claim("sub", "alice"), "invalid_request"),
        (set().claim("exp", 1_900_000_000), "invalid_request"),
        (set().typ("JWT"), "invalid_request"),
        (set().typ("at+jwt"), "invalid_request"),
        (set().typ("logout+jwt"), "invalid_request"),
        (set().without_header("typ"), "invalid_request"),
        (set().with_defect(Defect::Critical), "invalid_request"),
        (set().unsigned(), "invalid_key"),
        (set().with_defect(Defect::PublicKeyAsSecret), "invalid_key"),
    ] {
        assert_eq!(code(&service, &set.mint()).await, expected);
    }
    for defect in
        [Defect::CorruptSignature, Defect::ForeignKey, Defect::UnknownKey, Defect::EmbeddedKey]
    {
        let set = set().with_defect(defect).mint();
        // It may be the signature of a key that is new, until the keys were fetched again.
        let first = push(&service, &set).await.0;
        assert!(matches!(first, 400 | 503), "{defect}");
        tokio::time::sleep(60 * SEC).await;
        assert_eq!(code(&service, &set).await, "invalid_key", "{defect}");
    }
    assert!(world.api.revocations().is_empty());
}

#[tokio::test]
async fn e4_agreed_authorization_is_compared_before_anything_else() {
    let world = World::new(Issuer::jwt(ISSUER));
    let transmitter = transmitter().authorization("Bearer s3cret");
    let service: PushReceiver = world.api.receive_events(&transmitter).unwrap().push_service();
    let with = async |values: &[&str], set: String| {
        let mut request = pushed(set);
        for value in values {
            request.headers_mut().append("authorization", value.parse().unwrap());
        }
        answer(send(&service, request).await).await
    };
    let told = "authentication_failed: The credentials are missing or wrong.".to_owned();
    let wrong: [&[&str]; 5] =
        [&[], &[""], &["Bearer S3cret"], &["bearer s3cret"], &["Bearer s3cret", "Bearer s3cret"]];
    for values in wrong {
        assert_eq!(with(values, revoked(&world)).await, (400, told.clone()), "{values:?}");
        assert_eq!(with(values, "junk".to_owned()).await, (400, told.clone()));
    }
    assert_eq!(world.server.calls(Endpoint::Jwks), 0);
    assert_eq!(with(&["Bearer s3cret"], revoked(&world)).await, accepted());
    assert!(!format!("{transmitter:?}{service:?}").contains("s3cret"));
}

#[tokio::test]
async fn e5_repeated_event_is_answered_as_the_first_and_changes_nothing_however_old_it_is() {
    let world = World::new(Issuer::introspect(ISSUER, auth()));
    let service = service(&world);
    let token = world.opaque();
    let set = revoked(&world);
    assert_eq!(push(&service, &set).await, accepted());
    assert_eq!((world.status(&token).await, world.asked()), (200, 1));
    for _ in 0..10 {
        world.clock.step(3600 * SEC);
        assert_eq!(push(&service, &set).await, accepted());
    }
    let asked = world.asked();
    world.status(&token).await;
    let after = world.asked();
    assert_eq!(push(&service, &set).await, accepted());
    world.status(&token).await;
    assert!(after <= asked + 1);
    assert_eq!(world.asked(), after);
}

#[tokio::test(start_paused = true)]
async fn e6_event_without_keys_is_kept_but_not_acknowledged() {
    let world = World::new(Issuer::jwt(ISSUER));
    let receiver = events(&world);
    let service: PushReceiver = receiver.push_service();
    without_keys(&world);
    assert_eq!(push(&service, &revoked(&world)).await.0, 503);
    assert_eq!((receiver.pending(), world.api.revocations().len()), (1, 0));
    with_keys(&world);
    pass(60).await;
    assert_eq!((receiver.pending(), world.api.revocations().len()), (0, 1));
}

#[tokio::test]
async fn e7_caep_rs256_and_other_asymmetric_algorithms_are_accepted() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = service(&world);
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let set = world.server.security_event(RECEIVER).of_subject("alice").session_revoked();
        assert_eq!(push(&service, &set.algorithm(algorithm).mint()).await, accepted());
    }
}

#[tokio::test]
async fn e9_unknown_events_and_claims_are_accepted_without_effect() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = service(&world);
    let set = || world.server.security_event(json!(["x", RECEIVER])).of_subject("alice");
    let unknown = set().event("https://example.com/event", json!({"a": 1})).claim("x", 1).mint();
    assert_eq!(push(&service, &unknown).await, accepted());
    assert!(world.api.revocations().is_empty());
}

#[tokio::test]
async fn e11_session_revoked_ends_the_session_alone() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = service(&world);
    let token =
        |sid: &str| world.server.jwt().subject("alice").session(sid).audience(AUDIENCE).mint();
    let (one, two) = (token("one"), token("two"));
    let set = world.server.security_event(RECEIVER).of_session("alice", "one").session_revoked();
    assert_eq!(push(&service, &set.mint()).await, accepted());
    assert_eq!((world.status(&one).await, world.status(&two).await), (401, 200));
    let by_subject = transmitter().cut_by_subject();
    let by_subject: PushReceiver = world.api.receive_events(&by_subject).unwrap().push_service();
    let set = world.server.security_event(RECEIVER).of_session("alice", "x").session_revoked();
    assert_eq!(push(&by_subject, &set.mint()).await, accepted());
    assert_eq!(world.status(&two).await, 401);
}

#[tokio::test]
async fn e11_time_of_the_event_counts_and_one_in_milliseconds_revokes_nothing_for_ever() {
    const EVENT: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
    let world = World::new(Issuer::jwt(ISSUER));
    let service = service(&world);
    let before = world.jwt();
    world.clock.step(10 * SEC);
    let after = world.jwt();
    let now = 1_800_000_010_i64;
    let set = |timestamp: i64| {
        let payload = json!({"event_timestamp": timestamp});
        world.server.security_event(RECEIVER).of_subject("alice").event(EVENT, payload).mint()
    };
    assert_eq!(push(&service, &set(now - 5)).await, accepted());
    assert_eq!((world.status(&before).await, world.status(&after).await), (401, 200));
    for odd in [now * 1000, now + 100 * 365 * 86_400, i64::MAX] {
        assert_eq!(push(&service, &set(odd)).await, accepted());
        assert_eq!(world.status(&after).await, 401);
        world.clock.step(SEC);
        let later = world.jwt();
        assert_eq!(world.status(&later).await, 200, "{odd}");
    }
}

#[tokio::test]
async fn e12_subject_by_email_is_mapped_or_everything_is_asked_anew() {
    let set = |world: &World| {
        let email = json!({"format": "email", "email": "alice@example.com"});
        let set = world.server.security_event(RECEIVER).subject_id(email);
        set.session_revoked().mint()
    };
    let mapped = transmitter().subjects(|id| match id.member("email") {
        Some("alice@example.com") => Some("alice".to_owned()),
        _ => None,
    });
    let world = World::new(Issuer::jwt(ISSUER));
    let token = world.jwt();
    let service: PushReceiver = world.api.receive_events(&mapped).unwrap().push_service();
    assert_eq!(push(&service, &set(&world)).await, accepted());
    assert_eq!(world.status(&token).await, 401);

    let world = World::new(Issuer::introspect(ISSUER, auth()));
    let token = world.opaque();
    assert_eq!((world.status(&token).await, world.asked()), (200, 1));
    assert_eq!(push(&self::service(&world), &set(&world)).await, accepted());
    assert_eq!((world.status(&token).await, world.asked()), (200, 2));
}

#[tokio::test]
async fn e13_security_event_is_no_access_token() {
    let world = World::new(Issuer::jwt(ISSUER));
    let set = world.server.security_event(AUDIENCE).of_subject("alice").session_revoked();
    assert_eq!(world.status(&set.mint()).await, 401);
    let set = world.server.security_event(AUDIENCE).of_subject("alice").session_revoked();
    let unmarked = set.without_header("typ").claim("exp", 1_900_000_000).claim("scope", "read");
    assert_eq!(world.status(&unmarked.mint()).await, 401);
}

#[tokio::test]
async fn events_hold_with_the_next_request_in_every_mode() {
    for issuer in modes() {
        let name = format!("{issuer:?}");
        let world = World::new(issuer);
        let service = service(&world);
        for event in ["session_revoked", "credential_change", "account_disabled"] {
            world.clock.step(SEC);
            let token = world.jwt();
            assert_eq!(world.status(&token).await, 200, "{name}");
            world.server.revoke(&token);
            let set = world.server.security_event(RECEIVER).of_subject("alice");
            let set = match event {
                "session_revoked" => set.session_revoked(),
                "credential_change" => set.credential_change(),
                _ => set.account_disabled(),
            };
            assert_eq!(push(&service, &set.mint()).await, accepted());
            assert_eq!(world.status(&token).await, 401, "{name}");
        }
    }
}

#[tokio::test]
async fn claims_change_has_the_server_asked_anew_and_refuses_nobody() {
    let world = World::new(Issuer::hybrid(ISSUER, auth()));
    let service = service(&world);
    let (jwt, opaque) = (world.jwt(), world.opaque());
    assert_eq!((world.status(&jwt).await, world.status(&opaque).await), (200, 200));
    assert_eq!(world.asked(), 1);
    let set = world.server.security_event(RECEIVER).of_subject("alice");
    let set = set.token_claims_change(json!({"role": "user"})).mint();
    assert_eq!(push(&service, &set).await, accepted());
    assert_eq!((world.status(&jwt).await, world.status(&opaque).await), (200, 200));
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn transmitter_speaks_for_no_other_issuer() {
    const EVENTS: &str = "https://events.example.com";
    const OTHER: &str = "https://other.example.com";
    let api = |transmitter: Transmitter, sender: &AuthorizationServer| {
        let world = World::with(|api| api.issuer(Issuer::jwt(ISSUER)).issuer(Issuer::jwt(OTHER)));
        let transmitter = transmitter.transport(sender.transport());
        let receiver = world.api.receive_events(&transmitter);
        (world, receiver)
    };
    let clock = TestClock::new(UnixTime::from_secs(1_800_000_000));
    let sender = AuthorizationServer::new(EVENTS).with_clock(clock);
    // It is not trusted for tokens, so it has to be said whose it may revoke.
    let (_, receiver) = api(Transmitter::new(EVENTS, RECEIVER), &sender);
    let told = receiver.unwrap_err().to_string();
    assert_eq!(told, "speaks_for: name the issuers whose tokens its events are about");
    let (_, receiver) = api(Transmitter::new(EVENTS, RECEIVER).speaks_for("https://x"), &sender);
    assert_eq!(receiver.unwrap_err().to_string(), "speaks_for: `https://x` is not trusted");

    let (world, receiver) = api(Transmitter::new(EVENTS, RECEIVER).speaks_for(ISSUER), &sender);
    let service: PushReceiver = receiver.unwrap().push_service();
    let subject = |issuer: &str| {
        let id = json!({"format": "iss_sub", "iss": issuer, "sub": "alice"});
        sender.security_event(RECEIVER).subject_id(id).session_revoked().mint()
    };
    let token = world.jwt();
    for foreign in [OTHER, EVENTS] {
        assert_eq!(push(&service, &subject(foreign)).await, accepted());
        assert!(world.api.revocations().is_empty());
    }
    assert_eq!(push(&service, &subject(ISSUER)).await, accepted());
    assert_eq!(world.status(&token).await, 401);
    // Its keys are those of its own metadata.
    assert_eq!(sender.calls(Endpoint::SsfConfiguration), 1);
    // An event that the issuer itself signed is none of this transmitter.
    assert_eq!(code(&service, &revoked(&world)).await, "invalid_issuer");
}

#[tokio::test]
async fn settings_of_a_transmitter_are_checked() {
    let world = World::new(Issuer::jwt(ISSUER));
    let problems =
        |transmitter: &Transmitter| world.api.receive_events(transmitter).unwrap_err().to_string();
    let empty = Transmitter::new("", "").speaks_for(ISSUER).verified_within(Duration::ZERO);
    let told = problems(&empty);
    for part in
        ["issuer: the issuer is empty", "audience: the audience is empty", "verified_within"]
    {
        assert!(told.contains(part), "{told}");
    }
    let plain = Transmitter::new("http://events.example.com", "a").speaks_for(ISSUER);
    assert!(problems(&plain).contains("issuer: "), "{}", problems(&plain));
    let url = transmitter().jwks_uri("ftp://x");
    assert!(problems(&url).contains("jwks_uri: "), "{}", problems(&url));
}

/// All of them are in force, and each key is fetched once.
#[tokio::test]
async fn ten_thousand_events_are_in_force_and_none_is_lost() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = service(&world);
    let key = Algorithm::ES256;
    for n in 0..10_000 {
        let set = world.server.security_event(RECEIVER).of_subject(&n.to_string());
        assert_eq!(push(&service, &set.session_revoked().algorithm(key).mint()).await, accepted());
    }
    assert_eq!(world.api.revocations().len(), 10_000);
    assert_eq!(world.server.calls(Endpoint::Jwks), 1);
}

#[tokio::test]
async fn faults_quote_nothing_of_the_event() {
    let world = World::new(Issuer::jwt(ISSUER));
    let service = service(&world);
    for claim in ["iss", "aud", "iat", "jti", "events", "sub_id", "sub", "exp"] {
        let set = world.server.security_event(RECEIVER).of_subject("a").session_revoked();
        let (_, told) = push(&service, &set.claim(claim, json!(["f00dcafe"])).mint()).await;
        assert!(!told.contains("f00dcafe") && !told.contains(RECEIVER), "{told}");
    }
}

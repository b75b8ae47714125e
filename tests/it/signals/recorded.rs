//! Logout tokens and security events in the shapes that Keycloak 26.7 sends, as `keycloak.json` has them.

use serde_json::Map;
use tower_introspect::{
    ResourceServer,
    clock::UnixTime,
    jose::Algorithm,
    signals::{EventService, SubjectId, Transmitter},
    test_util::{AuthorizationServer, Client, TestClock},
    verify::SignalState,
};

use super::*;
use crate::support::AUDIENCE;

const REALM: &str = "https://sso.example.com/realms/acme";
const USER: &str = "00000000-0000-4000-8000-000000000003";
const SESSION: &str = "c2Vzc2lvbi1vbmUtb2YtdHdv";
/// The client and its stream, the audience unless the stream has another.
const STREAM: &str = "receiver/00000000-0000-4000-8000-000000000004";
/// The header that the receiver gave when it created the stream.
const AUTHORIZATION: &str = "Bearer 7WyG-v0";
/// The time at which the shapes were issued, in seconds.
const ISSUED_AT: i64 = 1_796_000_000;
const HOUR: Duration = Duration::from_secs(3600);

/// A world in which tokens are issued a minute before the shapes.
fn keycloak(issuer: Issuer) -> World {
    let clock = TestClock::new(UnixTime::from_secs(ISSUED_AT - 60));
    let server = AuthorizationServer::new(REALM)
        .with_clock(clock.clone())
        .with_client(Client::new("api", "s3cret"));
    let api = ResourceServer::builder(AUDIENCE)
        .issuer(issuer)
        .transport(server.transport())
        .clock(clock.clone());
    World { api: api.build().unwrap(), server, clock }
}

fn local() -> World {
    keycloak(Issuer::jwt(REALM))
}

/// Returns the claims of a shape.
fn claims(kind: &str, shape: &str) -> Map<String, Value> {
    let all: Value = serde_json::from_str(include_str!("keycloak.json")).unwrap();
    let part = |name: &str| all[kind][name].as_object().unwrap().clone();
    let mut claims = part("common");
    claims.extend(part("shapes")[shape].as_object().unwrap().clone());
    claims
}

/// Signs claims, with the blanks that Keycloak has in its headers.
fn signed(world: &World, (typ, key): (&str, Algorithm), claims: &Map<String, Value>) -> String {
    let (alg, kid) = (key.as_str(), world.server.kid(key));
    let header = format!(r#"{{"alg":"{alg}","typ" : "{typ}","kid" : "{kid}"}}"#);
    let claims = serde_json::to_string(claims).unwrap();
    world.server.jwt().algorithm(key).raw_header(&header).raw_claims(&claims).mint()
}

fn logout_token(world: &World, shape: &str, key: Algorithm) -> String {
    signed(world, ("logout+jwt", key), &claims("logout_token", shape))
}

fn security_event(world: &World, shape: &str) -> String {
    let typ = ("secevent+jwt", Algorithm::RS256);
    signed(world, typ, &claims("security_event", shape))
}

/// A JWT of the session in the shapes, one of another session of the user, and one of another user.
/// The shapes are issued after them.
struct Tokens([String; 3]);

impl Tokens {
    async fn admitted(world: &World) -> Self {
        let jwt = |subject: &str, session: &str| {
            let jwt = world.server.jwt().subject(subject).session(session).audience(AUDIENCE);
            jwt.expires_in(100 * HOUR).mint()
        };
        let tokens = Self([jwt(USER, SESSION), jwt(USER, "other"), jwt("bob", "third")]);
        assert_eq!(tokens.states(world).await, [200, 200, 200]);
        world.clock.step(60 * SEC);
        tokens
    }

    async fn states(&self, world: &World) -> [u16; 3] {
        let mut states = [0; 3];
        for (state, token) in states.iter_mut().zip(&self.0) {
            *state = world.status(token).await;
        }
        states
    }
}

type Push = EventService<Full<Bytes>>;

fn transmitter() -> Transmitter {
    Transmitter::new(REALM, STREAM).authorization(AUTHORIZATION)
}

fn pushed_to(world: &World, transmitter: &Transmitter) -> Push {
    world.api.receive_events(transmitter).unwrap().push_service()
}

/// Pushes a security event as Keycloak does. Returns the status, and `err` if there is one.
async fn push(service: &Push, token: &str) -> (u16, String) {
    use http_body_util::BodyExt as _;
    let request = Request::post("/")
        .header("content-type", "application/secevent+jwt")
        .header("authorization", AUTHORIZATION)
        .body(Full::new(Bytes::from(token.to_owned())))
        .unwrap();
    let Ok(response) = service.clone().oneshot(request).await;
    let status = response.status().as_u16();
    let Ok(body) = response.into_body().collect().await;
    let body = body.to_bytes();
    if body.is_empty() {
        return (status, String::new());
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    (status, body["err"].as_str().unwrap().to_owned())
}

fn accepted() -> (u16, String) {
    (202, String::new())
}

fn refused(err: &str) -> (u16, String) {
    (400, err.to_owned())
}

#[tokio::test]
async fn keycloak_logout_with_sid_ends_the_session_and_without_it_all_of_the_user() {
    for (shape, expected) in [
        ("session", [401, 200, 200]),
        ("session and offline access", [401, 200, 200]),
        // Without "Backchannel logout session required".
        ("user", [401, 401, 200]),
        ("user and offline access", [401, 401, 200]),
    ] {
        let world = local();
        let tokens = Tokens::admitted(&world).await;
        let logout = logout_token(&world, shape, Algorithm::RS256);
        let service = receiver(&world).strict_typ();
        assert_eq!(deliver(&service, &logout).await, (StatusCode::OK, String::new()), "{shape}");
        assert_eq!(tokens.states(&world).await, expected, "{shape}");
    }
}

#[tokio::test]
async fn keycloak_logout_is_accepted_with_every_asymmetric_algorithm_of_id_tokens() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
        let world = local();
        let tokens = Tokens::admitted(&world).await;
        let logout = logout_token(&world, "session", algorithm);
        assert_eq!(deliver(&receiver(&world), &logout).await.0, StatusCode::OK);
        assert_eq!(tokens.states(&world).await, [401, 200, 200]);
    }
}

/// The key is a secret of the realm, so nobody but Keycloak can verify it.
#[tokio::test]
async fn keycloak_logout_of_a_client_with_hs256_is_refused() {
    let world = local();
    let tokens = Tokens::admitted(&world).await;
    let claims = serde_json::to_string(&claims("logout_token", "session")).unwrap();
    let header = r#"{"alg":"HS256","typ" : "logout+jwt","kid" : "c0ffee"}"#;
    let logout = world.server.jwt().raw_header(header).raw_claims(&claims).mint();
    let told = "invalid_request: its algorithm is not allowed".to_owned();
    assert_eq!(deliver(&receiver(&world), &logout).await, (StatusCode::BAD_REQUEST, told));
    assert_eq!(tokens.states(&world).await, [200, 200, 200]);
}

#[tokio::test]
async fn keycloak_event_revokes_what_its_subject_names() {
    for (shape, expected) in [
        ("session-revoked", [401, 200, 200]),
        // The session is then `ALL`.
        ("session-revoked of all sessions", [401, 401, 200]),
        ("password set by an administrator", [401, 401, 200]),
        ("password set by the user", [401, 401, 200]),
        ("one-time password removed", [401, 401, 200]),
    ] {
        let world = local();
        let service = pushed_to(&world, &transmitter());
        let tokens = Tokens::admitted(&world).await;
        let event = security_event(&world, shape);
        assert_eq!(push(&service, &event).await, accepted(), "{shape}");
        assert_eq!(tokens.states(&world).await, expected, "{shape}");
    }
}

/// The event that an administrator emits has no session, and may have a time of its own.
#[tokio::test]
async fn keycloak_event_counts_from_its_own_time() {
    let world = local();
    let service = pushed_to(&world, &transmitter());
    let token = |hours: i64| {
        let issued_at = UnixTime::from_secs(ISSUED_AT - hours * 3600);
        let jwt = world.server.jwt().subject(USER).session(SESSION).audience(AUDIENCE);
        jwt.issued_at(issued_at).expires_in(10 * HOUR).mint()
    };
    let (before, after) = (token(2), token(0));
    world.clock.step(60 * SEC);
    let event = security_event(&world, "session-revoked by an administrator");
    assert_eq!(push(&service, &event).await, accepted());
    assert_eq!((world.status(&before).await, world.status(&after).await), (401, 200));
}

#[tokio::test]
async fn keycloak_verification_shows_that_events_arrive() {
    let world = local();
    let service = pushed_to(&world, &transmitter().verified_within(HOUR));
    world.clock.step(60 * SEC);
    let state = || world.api.readiness()[0].signals();
    assert_eq!(state(), Some(SignalState::Stale));
    // Nobody asked for it with this state.
    let foreign = security_event(&world, "verification with a state");
    assert_eq!(push(&service, &foreign).await, refused("invalid_state"));
    assert_eq!(state(), Some(SignalState::Stale));
    let unasked = security_event(&world, "verification");
    assert_eq!(push(&service, &unasked).await, accepted());
    assert_eq!(state(), Some(SignalState::Fresh));
}

/// The `status` of the event is an object.
#[tokio::test]
async fn keycloak_stream_that_is_paused_is_stale_until_it_is_enabled() {
    let world = local();
    let service = pushed_to(&world, &transmitter());
    let state = || world.api.readiness()[0].signals();
    assert_eq!(push(&service, &security_event(&world, "stream paused")).await, accepted());
    assert_eq!(state(), Some(SignalState::Stale));
    assert_eq!(push(&service, &security_event(&world, "stream enabled")).await, accepted());
    assert_eq!(state(), None);
}

#[tokio::test]
async fn keycloak_user_format_email_needs_a_map() {
    let all = "session-revoked of all sessions with an address";
    let password = "password set with an address";
    // The session is enough.
    let world = local();
    let service = pushed_to(&world, &transmitter());
    let tokens = Tokens::admitted(&world).await;
    let event = security_event(&world, "session-revoked with an address");
    assert_eq!(push(&service, &event).await, accepted());
    assert_eq!(tokens.states(&world).await, [401, 200, 200]);
    for shape in [all, password] {
        // Without a map facts are asked anew, and JWTs stand.
        let world = keycloak(Issuer::hybrid(REALM, auth()));
        let service = pushed_to(&world, &transmitter());
        let tokens = Tokens::admitted(&world).await;
        let opaque = world.server.opaque().subject(USER).audience(AUDIENCE).mint();
        assert_eq!((world.status(&opaque).await, world.asked()), (200, 1));
        world.server.revoke(&opaque);
        assert_eq!(push(&service, &security_event(&world, shape)).await, accepted(), "{shape}");
        assert_eq!((world.status(&opaque).await, world.asked()), (401, 2));
        assert_eq!(tokens.states(&world).await, [200, 200, 200]);

        let world = local();
        let user = |id: &SubjectId| {
            let is_alice = id.member("email") == Some("alice@example.com");
            is_alice.then(|| USER.to_owned())
        };
        let service = pushed_to(&world, &transmitter().subjects(user));
        let tokens = Tokens::admitted(&world).await;
        assert_eq!(push(&service, &security_event(&world, shape)).await, accepted(), "{shape}");
        assert_eq!(tokens.states(&world).await, [401, 401, 200]);
    }
}

/// It has no `sub_id`, which SSF 1.0 §4.1 requires.
#[tokio::test]
async fn keycloak_event_of_the_profile_sse_caep_is_refused() {
    let world = local();
    let service = pushed_to(&world, &transmitter());
    let tokens = Tokens::admitted(&world).await;
    for shape in ["session-revoked of SSE_CAEP", "password set of SSE_CAEP"] {
        let event = security_event(&world, shape);
        assert_eq!(push(&service, &event).await, refused("invalid_request"), "{shape}");
    }
    assert_eq!(tokens.states(&world).await, [200, 200, 200]);
}

#[tokio::test]
async fn keycloak_stream_may_have_an_audience_of_its_own() {
    let world = local();
    let tokens = Tokens::admitted(&world).await;
    let event = security_event(&world, "session-revoked for an audience of its own");
    let service = pushed_to(&world, &transmitter());
    assert_eq!(push(&service, &event).await, refused("invalid_audience"));
    assert_eq!(tokens.states(&world).await, [200, 200, 200]);
    let own = Transmitter::new(REALM, "https://api.example.com/events");
    let service = pushed_to(&world, &own.authorization(AUTHORIZATION));
    assert_eq!(push(&service, &event).await, accepted());
    assert_eq!(tokens.states(&world).await, [401, 200, 200]);
}

/// The pauses between the attempts of Keycloak, in seconds.
const PAUSES: [u32; 7] = [1, 5, 30, 120, 600, 3600, 21_600];

#[tokio::test]
async fn keycloak_event_that_is_pushed_again_has_no_second_effect_however_old() {
    let world = keycloak(Issuer::introspect(REALM, auth()));
    let service = pushed_to(&world, &transmitter());
    world.clock.step(60 * SEC);
    let token = world.server.opaque().subject(USER).session(SESSION).audience(AUDIENCE);
    let token = token.expires_in(100 * HOUR).mint();
    world.status(&token).await;
    let event = security_event(&world, "session-revoked");
    assert_eq!(push(&service, &event).await, accepted());
    // The server says that it is still active.
    assert_eq!((world.status(&token).await, world.asked()), (200, 2));
    for pause in PAUSES {
        world.clock.step(pause * SEC);
        world.status(&token).await;
        let asked = world.asked();
        assert_eq!(push(&service, &event).await, accepted());
        assert_eq!((world.status(&token).await, world.asked()), (200, asked));
        assert_eq!(world.api.revocations().len(), 1);
    }
}

/// All attempts but the last failed on the way.
#[tokio::test]
async fn keycloak_event_that_arrives_hours_late_is_applied_with_its_own_time() {
    let world = local();
    let service = pushed_to(&world, &transmitter());
    let tokens = Tokens::admitted(&world).await;
    let event = security_event(&world, "session-revoked");
    world.clock.step(SEC);
    let later = world.server.jwt().subject(USER).session(SESSION).audience(AUDIENCE);
    let later = later.expires_in(100 * HOUR).mint();
    world.clock.step(PAUSES.iter().sum::<u32>() * SEC);
    assert_eq!(push(&service, &event).await, accepted());
    assert_eq!(tokens.states(&world).await, [401, 200, 200]);
    assert_eq!(world.status(&later).await, 200);
}

#[test]
fn keycloak_shapes_each_have_a_test() {
    let all: Value = serde_json::from_str(include_str!("keycloak.json")).unwrap();
    let tests = include_str!("recorded.rs");
    for kind in ["logout_token", "security_event"] {
        for shape in all[kind]["shapes"].as_object().unwrap().keys() {
            assert!(tests.contains(&format!("\"{shape}\"")), "{shape}");
        }
    }
}

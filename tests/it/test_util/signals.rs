//! Logout tokens and security event tokens.

use tower_introspect::{
    test_util::{Delivery, DeliveryKind},
    transport::HttpTransport,
};

use super::*;

const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

fn now() -> i64 {
    FixedClock.now().as_secs()
}

#[test]
fn l6_logout_token_has_the_claims_of_its_specification() {
    let server = server();
    let first = server.logout_token("web").subject("alice").session("s-1").mint();
    let (header, claims) = (part(&first, 0), part(&first, 1));
    assert_eq!((&header["typ"], &header["alg"]), (&json!("logout+jwt"), &json!("ES256")));
    assert_eq!(header["kid"], server.kid(Algorithm::ES256));
    let jti = claims["jti"].clone();
    let wanted = json!({
        "iss": AS, "aud": "web", "iat": now(), "exp": now() + 120, "jti": jti,
        "sub": "alice", "sid": "s-1", "events": {LOGOUT_EVENT: {}},
    });
    assert_eq!(claims, wanted);
    let second = server.logout_token("web").mint();
    assert_ne!(part(&second, 1)["jti"], jti);
}

#[test]
fn e8_security_event_token_has_the_claims_of_its_specification() {
    let server = server();
    let set = server.security_event(json!(["a", "b"])).of_subject("alice").txn("t-1");
    let set = set.session_revoked().event("urn:test", json!({"x": 1})).mint();
    assert_eq!(part(&set, 0)["typ"], "secevent+jwt");
    let claims = part(&set, 1);
    let wanted = json!({
        "iss": AS, "aud": ["a", "b"], "iat": now(), "jti": claims["jti"], "txn": "t-1",
        "sub_id": {"format": "iss_sub", "iss": AS, "sub": "alice"},
        "events": {REVOKED: {"event_timestamp": now()}, "urn:test": {"x": 1}},
    });
    assert_eq!(claims, wanted);
}

#[test]
fn common_security_events_have_helpers() {
    let server = server();
    let event = || server.security_event("web").of_session("alice", "s-1");
    let user = json!({"format": "iss_sub", "iss": AS, "sub": "alice"});
    for (builder, name) in [
        (event().session_revoked(), "caep/event-type/session-revoked"),
        (event().token_claims_change(json!({"role": "x"})), "caep/event-type/token-claims-change"),
        (event().credential_change(), "caep/event-type/credential-change"),
        (event().account_disabled(), "risc/event-type/account-disabled"),
        (event().stream_updated("paused"), "ssf/event-type/stream-updated"),
    ] {
        let claims = part(&builder.mint(), 1);
        let events = claims["events"].as_object().unwrap();
        let uri = format!("https://schemas.openid.net/secevent/{name}");
        assert_eq!(events.keys().collect::<Vec<_>>(), [&uri]);
        assert_eq!(
            (&claims["sub_id"]["format"], &claims["sub_id"]["user"]),
            (&json!("complex"), &user)
        );
        assert_eq!(claims["sub_id"]["session"], json!({"format": "opaque", "id": "s-1"}));
    }
}

#[test]
fn every_part_of_a_signal_can_be_changed() {
    let server = server();
    let logout = server.logout_token("web").without("events").claim("nonce", "n");
    let logout = logout.header("typ", "JWT").algorithm(Algorithm::RS256).mint();
    assert_eq!(part(&logout, 1).get("events"), None);
    assert_eq!(part(&logout, 1)["nonce"], "n");
    assert_eq!(
        (&part(&logout, 0)["typ"], &part(&logout, 0)["alg"]),
        (&json!("JWT"), &json!("RS256"))
    );
    let set = server.security_event("web").claim("exp", 1).subject("alice").without_header("typ");
    let set = set.subject_id(json!({"format": "email", "email": "a@example.com"})).mint();
    assert_eq!((&part(&set, 1)["exp"], &part(&set, 1)["sub"]), (&json!(1), &json!("alice")));
    assert_eq!(part(&set, 1)["sub_id"]["format"], "email");
    assert_eq!(part(&set, 0).get("typ"), None);
}

/// A provider writes access tokens in its own way, but signals have one form.
#[test]
fn signals_of_providers_have_the_same_form() {
    let server = server().with_provider(Provider::Entra);
    let logout = server.logout_token("web").subject("alice").session("s-1").mint();
    assert_eq!(
        (&part(&logout, 0)["typ"], &part(&logout, 1)["aud"]),
        (&json!("logout+jwt"), &json!("web"))
    );
    assert_eq!(part(&logout, 1)["sid"], "s-1");
    assert_eq!(part(&server.security_event("web").mint(), 0)["typ"], "secevent+jwt");
}

/// The `typ` is that of access tokens, for the verifier to look at the signature.
#[tokio::test]
async fn signals_can_have_every_defect_of_a_signature() {
    let server = server();
    let refused = async |token: String| {
        let keys = KeySet::from_jwks(server.jwks().to_string().as_bytes()).unwrap();
        let verifier = JwtVerifier::builder(AS).keys(keys).build().unwrap();
        let token = Token::bearer(&token).unwrap();
        verifier.verify(VerifyRequest::new(token)).await.err().map(|error| error.kind())
    };
    let logout = || server.logout_token(API).subject("alice").client_id("web").typ("at+jwt");
    let set = || {
        let set = server.security_event(API).subject("alice").client_id("web").typ("at+jwt");
        set.session_revoked().claim("exp", now() + 60)
    };
    assert_eq!(refused(logout().mint()).await, None);
    assert_eq!(refused(set().mint()).await, None);
    for (defect, kinds) in [
        (Defect::AlgNone, [ErrorKind::UnsupportedAlgorithm; 2]),
        (Defect::PublicKeyAsSecret, [ErrorKind::UnsupportedAlgorithm; 2]),
        (Defect::ForeignKey, [ErrorKind::BadSignature; 2]),
        (Defect::CorruptSignature, [ErrorKind::BadSignature; 2]),
        (Defect::NoSignature, [ErrorKind::BadSignature, ErrorKind::MalformedToken]),
        (Defect::UnknownKey, [ErrorKind::UnknownKey; 2]),
        (Defect::WrongIssuer, [ErrorKind::WrongIssuer; 2]),
        (Defect::RepeatedClaim, [ErrorKind::MalformedToken; 2]),
    ] {
        for token in [logout().with_defect(defect).mint(), set().with_defect(defect).mint()] {
            let kind = refused(token).await;
            assert!(kind.is_some_and(|kind| kinds.contains(&kind)), "{defect}: {kind:?}");
        }
    }
}

#[test]
fn signals_can_have_every_defect() {
    let server = server();
    for defect in Defect::ALL {
        let logout = server.logout_token("web").session("s-1");
        let set = server.security_event("web").of_subject("alice").session_revoked();
        for token in [logout.with_defect(defect).mint(), set.with_defect(defect).mint()] {
            assert_eq!(token.split('.').count(), 3, "{defect}");
        }
    }
    // Also without a subject of its own.
    let token = server.logout_token("web").session("s-1").with_defect(Defect::RepeatedClaim).mint();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(String::from_utf8(claims).unwrap().matches("\"sub\":").count(), 2);
}

#[tokio::test]
async fn signals_are_no_tokens_in_introspection() {
    let server = server();
    assert!(!is_active(&server, &server.logout_token("web").subject("alice").mint()).await);
    assert!(!is_active(&server, &server.security_event("web").mint()).await);
}

// ---- sending ----

fn sender() -> AuthorizationServer {
    let web = Client::new("web", "pa55").with_logout_url("https://web.example.com/logout");
    let server = server().with_client(web);
    server.add_push_stream("web", "https://web.example.com/events", Some("Bearer abc"));
    server
}

fn kinds(deliveries: &[Delivery]) -> Vec<DeliveryKind> {
    deliveries.iter().map(Delivery::kind).collect()
}

#[tokio::test]
async fn an_ended_session_revokes_its_tokens_and_is_signalled() {
    let server = sender();
    let mint = |subject: &str, sid: &str| server.opaque().subject(subject).session(sid).mint();
    let (own, other) = (mint("alice", "s-1"), mint("alice", "s-2"));
    let foreign = mint("bob", "s-1");
    server.end_session("alice", "s-1");
    for (token, active) in [(&own, false), (&other, true), (&foreign, true)] {
        assert_eq!(is_active(&server, token).await, active);
    }

    let deliveries = server.deliveries();
    assert_eq!(kinds(&deliveries), [DeliveryKind::LogoutToken, DeliveryKind::SecurityEvent]);
    let claims = part(deliveries[0].token(), 1);
    assert_eq!((&claims["sub"], &claims["sid"]), (&json!("alice"), &json!("s-1")));
    let claims = part(deliveries[1].token(), 1);
    assert_eq!(claims["aud"], "web");
    assert_eq!(claims["events"], json!({REVOKED: {"event_timestamp": now()}}));
    assert_eq!(claims["sub_id"]["session"]["id"], "s-1");
    assert!(server.deliveries().is_empty());
}

#[tokio::test]
async fn a_revoked_token_signals_the_end_of_its_session() {
    let server = sender();
    let token = server.jwt().session("s-1").mint();
    server.revoke(&token);
    server.revoke(&token);
    let deliveries = server.deliveries();
    assert_eq!(deliveries.len(), 2, "it is revoked once");
    assert_eq!(part(deliveries[0].token(), 1)["sid"], "s-1");

    // Without `sid`, nothing narrower than the subject names it.
    server.revoke(&server.jwt().mint());
    let claims = part(server.deliveries()[1].token(), 1);
    assert_eq!(claims["sub_id"], json!({"format": "iss_sub", "iss": AS, "sub": "alice"}));

    server.revoke_subject("alice");
    let logout = server.deliveries().remove(0);
    let claims = part(logout.token(), 1);
    assert_eq!((&claims["sub"], claims.get("sid")), (&json!("alice"), None));

    // A client revokes a token at the endpoint.
    let token = server.jwt().client_id("api").session("s-2").mint();
    send(&server, post(&server, Endpoint::Revocation, &format!("token={token}"))).await;
    assert_eq!(part(server.deliveries()[0].token(), 1)["sid"], "s-2");
}

#[test]
fn e1_l1_deliveries_are_requests_of_their_specifications() {
    let server = sender();
    server.end_session("alice", "s-1");
    let [logout, event] = server.deliveries().try_into().unwrap();
    let request = logout.request();
    assert_eq!((request.method(), &request.uri().to_string()[..]), (&Method::POST, logout.url()));
    assert_eq!(logout.url(), "https://web.example.com/logout");
    assert_eq!(request.headers()[header::CONTENT_TYPE], FORM);
    assert_eq!(request.headers().get(header::AUTHORIZATION), None);
    assert_eq!(request.body(), &format!("logout_token={}", logout.token()));

    let request = event.request();
    assert_eq!(event.url(), "https://web.example.com/events");
    assert_eq!(request.headers()[header::CONTENT_TYPE], "application/secevent+jwt");
    assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer abc");
    assert_eq!(request.body(), event.token());
    assert!(!format!("{logout:?} {event:?}").contains("eyJ"), "no tokens in logs");
}

#[tokio::test]
async fn deliveries_are_sent_over_a_transport() {
    let server = sender();
    let receiver = |request: Request<Bytes>| async move {
        let status = if request.uri().path() == "/events" { 202 } else { 400 };
        Response::builder().status(status).body(Bytes::new())
    };
    let transport = HttpTransport::new(tower::service_fn(receiver));
    server.end_session("alice", "s-1");
    let outcomes = server.deliver(&transport).await;
    let statuses = outcomes.iter().map(|(_, outcome)| outcome.as_ref().unwrap().status().as_u16());
    assert_eq!(statuses.collect::<Vec<_>>(), [400, 202]);
    assert!(server.deliver(&transport).await.is_empty());

    // Again, by hand.
    assert_eq!(outcomes[1].0.send(&transport).await.unwrap().status(), StatusCode::ACCEPTED);
}

#[test]
fn without_receivers_nothing_is_to_be_sent() {
    let server = server();
    server.end_session("alice", "s-1");
    server.revoke(&server.jwt().mint());
    assert!(server.deliveries().is_empty());
    server.queue_event("x");
    assert!(server.queued_events().is_empty());
}

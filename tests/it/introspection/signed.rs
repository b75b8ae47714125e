//! Signed responses (RFC 9701).

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tower_introspect::{
    introspection::SignedResponse,
    jose::{Algorithm, SigningKey},
    jwt::KeySet,
};

use super::*;

const MEDIA_TYPE: &str = "application/token-introspection+jwt";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn key() -> SigningKey {
    let pem = include_bytes!("../keys/p256.pem");
    SigningKey::from_pem(Algorithm::ES256, pem).unwrap().with_kid("2026")
}

fn other_key() -> SigningKey {
    let pem = include_bytes!("../keys/p256-other.pem");
    SigningKey::from_pem(Algorithm::ES256, pem).unwrap().with_kid("2026")
}

fn keys() -> KeySet {
    KeySet::from_jwk(key().public_jwk().unwrap().to_string().as_bytes()).unwrap()
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "2026", "typ": "token-introspection+jwt"})
}

fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": "api",
        "iat": NOW,
        "token_introspection": {"active": true, "sub": "alice", "aud": "https://api.example.com"},
    })
}

/// `claims` with these changes.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut claims = claims();
    for (name, value) in changes {
        claims[*name] = value.clone();
    }
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn signed(header: &Value, claims: &Value) -> String {
    key().sign(header, claims).unwrap()
}

fn jwt(body: impl Into<Bytes>) -> ScriptedResponse {
    ScriptedResponse::of(200, MEDIA_TYPE, body)
}

fn settings() -> SignedResponse {
    SignedResponse::new().keys(keys())
}

async fn ask_for(settings: SignedResponse, act: ScriptedResponse) -> verify::Outcome {
    let server = Server::new([act]);
    let builder = server.builder(ClientAuth::basic("api", "secret"));
    ask(&builder.require_signed_response(settings).build().unwrap(), TOKEN).await
}

async fn answered(header: &Value, claims: &Value) -> verify::Outcome {
    ask_for(settings(), jwt(signed(header, claims))).await
}

#[track_caller]
fn is_bad(outcome: verify::Outcome, what: &str) {
    let error = outcome.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::BadResponse, "{what}");
    assert_eq!(error.blame(), Blame::AuthorizationServer, "{what}");
}

#[test]
fn issuer_of_signed_responses_is_only_a_name_if_their_keys_are_configured() {
    let build = |settings| {
        IntrospectionVerifier::builder("urn:example:sso", ClientAuth::basic("api", "secret"))
            .endpoint(ENDPOINT)
            .require_signed_response(settings)
            .build()
    };
    let problems = build(SignedResponse::new()).unwrap_err();
    assert_eq!(problems.problems().map(|(name, _)| name).collect::<Vec<_>>(), ["issuer"]);
    assert!(build(SignedResponse::new().jwks_uri("https://as.example.com/jwks")).is_ok());
    assert!(build(SignedResponse::new().keys(keys())).is_ok());
}

#[tokio::test]
async fn r1_rfc9701_4_request_accepts_only_the_signed_form() {
    let server = Server::new([jwt(signed(&header(), &claims()))]);
    let builder = server.builder(ClientAuth::basic("api", "secret"));
    let verifier = builder.require_signed_response(settings()).build().unwrap();
    let facts = ask(&verifier, TOKEN).await.unwrap();
    assert_eq!(facts.claims().subject(), Some("alice"));
    assert_eq!(facts.issuer(), ISSUER);
    assert_eq!(facts.method(), verify::Method::Introspection);
    assert_eq!(server.header(0, header::ACCEPT).unwrap(), MEDIA_TYPE);
}

#[tokio::test]
async fn r2_rfc9701_8_2_there_is_no_downgrade_to_another_form() {
    let token = signed(&header(), &claims());
    for (name, act) in [
        ("json", ScriptedResponse::json(ACTIVE)),
        ("inactive json", ScriptedResponse::json(r#"{"active":false}"#)),
        ("json under the signed type", jwt(ACTIVE)),
        ("jwt under json", ScriptedResponse::json(token.clone())),
        ("jwt under jwt", ScriptedResponse::of(200, "application/jwt", token.clone())),
        ("no type", ScriptedResponse::status(200).with_body(token.clone())),
    ] {
        is_bad(ask_for(settings(), act).await, name);
    }
    for media_type in [
        "application/token-introspection+jwt; charset=utf-8",
        "Application/Token-Introspection+JWT",
    ] {
        let act = ScriptedResponse::of(200, media_type, token.clone());
        assert!(ask_for(settings(), act).await.is_ok(), "{media_type}");
    }
}

#[tokio::test]
async fn r2_signed_form_is_not_requested_by_default() {
    is_bad(Server::new([jwt(signed(&header(), &claims()))]).ask().await, "signed");
}

#[tokio::test]
async fn r2_rfc9701_5_typ_is_checked() {
    for typ in [
        json!("token-introspection+jwt"),
        json!("Token-Introspection+JWT"),
        json!("application/token-introspection+jwt"),
    ] {
        let header = json!({"alg": "ES256", "kid": "2026", "typ": typ});
        assert!(answered(&header, &claims()).await.is_ok(), "{typ}");
    }
    for typ in [json!("JWT"), json!("at+jwt"), json!("token-introspection"), json!(""), json!(7)] {
        let header = json!({"alg": "ES256", "kid": "2026", "typ": typ});
        is_bad(answered(&header, &claims()).await, &typ.to_string());
    }
    is_bad(answered(&json!({"alg": "ES256", "kid": "2026"}), &claims()).await, "no typ");
}

#[tokio::test]
async fn r3_rfc9701_6_the_signature_is_verified() {
    let forged = other_key().sign(&header(), &claims()).unwrap();
    is_bad(ask_for(settings(), jwt(forged)).await, "another key of that name");

    let mut parts: Vec<_> = signed(&header(), &claims()).split('.').map(str::to_owned).collect();
    let changed = with(&[("token_introspection", json!({"active": true, "scope": "admin"}))]);
    parts[1] = URL_SAFE_NO_PAD.encode(changed.to_string());
    is_bad(ask_for(settings(), jwt(parts.join("."))).await, "another payload");

    let named = json!({"alg": "ES256", "kid": "2027", "typ": "token-introspection+jwt"});
    is_bad(answered(&named, &claims()).await, "another name");
    let critical = json!({
        "alg": "ES256", "kid": "2026", "typ": "token-introspection+jwt", "crit": ["x"], "x": 1,
    });
    is_bad(answered(&critical, &claims()).await, "crit");
}

#[tokio::test]
async fn r3_only_allowed_algorithms_and_never_none() {
    let unsigned = |alg: &str| {
        let header = json!({"alg": alg, "kid": "2026", "typ": "token-introspection+jwt"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(&header), part(&claims()))
    };
    for alg in ["none", "None", "NONE", ""] {
        is_bad(ask_for(settings(), jwt(unsigned(alg))).await, alg);
    }
    let outcome =
        ask_for(settings().algorithms([Algorithm::RS256]), jwt(signed(&header(), &claims())));
    is_bad(outcome.await, "an algorithm that is not among the allowed");

    // Signed with the public key as an HMAC secret.
    let public = key().public_jwk().unwrap().to_string();
    let secret = SigningKey::from_secret(Algorithm::HS256, public.as_bytes()).unwrap();
    let header = json!({"alg": "HS256", "kid": "2026", "typ": "token-introspection+jwt"});
    let confused = secret.sign(&header, &claims()).unwrap();
    is_bad(ask_for(settings(), jwt(confused)).await, "HS256 with a public key");
}

#[tokio::test]
async fn r3_hmac_is_accepted_only_with_a_configured_secret() {
    let secret = SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap();
    let header = json!({"alg": "HS256", "typ": "token-introspection+jwt"});
    let act = jwt(secret.sign(&header, &claims()).unwrap());
    let keys = KeySet::from_secret(Algorithm::HS256, SECRET).unwrap();
    let by_default = SignedResponse::new().keys(keys.clone());
    is_bad(ask_for(by_default, act.clone()).await, "not by default");
    let allowed = SignedResponse::new().keys(keys).algorithms([Algorithm::HS256]);
    assert!(ask_for(allowed, act).await.is_ok());
}

#[tokio::test]
async fn r4_rfc9701_5_iss_must_be_the_issuer() {
    for iss in [json!("https://other.example"), json!("https://as.example.com/"), json!([ISSUER])] {
        is_bad(answered(&header(), &with(&[("iss", iss.clone())])).await, &iss.to_string());
    }
    is_bad(answered(&header(), &without("iss")).await, "no iss");
}

#[tokio::test]
async fn r4_rfc9701_5_aud_must_be_this_client() {
    for aud in [json!("api"), json!(["x", "api"])] {
        assert!(answered(&header(), &with(&[("aud", aud.clone())])).await.is_ok(), "{aud}");
    }
    for aud in [json!("other"), json!([]), json!(7), json!("https://api.example.com")] {
        is_bad(answered(&header(), &with(&[("aud", aud.clone())])).await, &aud.to_string());
    }
    is_bad(answered(&header(), &without("aud")).await, "no aud");

    let resource = || settings().audience("https://api.example.com");
    let act = jwt(signed(&header(), &with(&[("aud", json!("https://api.example.com"))])));
    assert!(ask_for(resource(), act).await.is_ok());
    is_bad(ask_for(resource(), jwt(signed(&header(), &claims()))).await, "the client identifier");
}

#[tokio::test]
async fn r4_audience_of_the_token_may_be_accepted_in_aud() {
    let lax = || settings().danger_audience_of_token();
    let act = |aud: Value, about: Value| {
        jwt(signed(&header(), &with(&[("aud", aud), ("token_introspection", about)])))
    };
    let about = |aud: &str| json!({"active": true, "aud": aud});
    assert!(ask_for(lax(), act(json!("a"), about("a"))).await.is_ok());
    is_bad(ask_for(lax(), act(json!("a"), about("b"))).await, "another");
    is_bad(ask_for(lax(), act(json!("a"), json!({"active": true}))).await, "none");
    is_bad(ask_for(settings(), act(json!("a"), about("a"))).await, "not by default");
    let inactive = jwt(signed(
        &header(),
        &json!({"iss": ISSUER, "iat": NOW, "token_introspection": {"active": false}}),
    ));
    let error = ask_for(lax(), inactive).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Inactive);
}

#[tokio::test]
async fn r4_r9_iat_must_be_recent() {
    for iat in [NOW, NOW - 90, NOW + 30] {
        assert!(answered(&header(), &with(&[("iat", json!(iat))])).await.is_ok(), "{iat}");
    }
    for iat in [json!(NOW - 91), json!(NOW + 31), json!(0), json!("now"), json!(i64::MAX)] {
        is_bad(answered(&header(), &with(&[("iat", iat.clone())])).await, &iat.to_string());
    }
    is_bad(answered(&header(), &without("iat")).await, "no iat");
    assert!(answered(&header(), &with(&[("exp", json!(NOW + 1))])).await.is_ok());
    is_bad(answered(&header(), &with(&[("exp", json!(NOW - 31))])).await, "expired");
    is_bad(answered(&header(), &with(&[("nbf", json!(NOW + 31))])).await, "not valid yet");
}

#[tokio::test]
async fn r5_rfc9701_5_only_the_inner_object_describes_the_token() {
    let shell = [("active", json!(true)), ("scope", json!("admin")), ("sub", json!("mallory"))];
    let mut claims = with(&shell);
    let facts = answered(&header(), &claims).await.unwrap();
    assert_eq!(facts.claims().subject(), Some("alice"));
    assert!(facts.claims().scope().is_empty());
    assert_eq!(facts.claims().issuer(), None);
    assert_eq!(facts.claims().raw("token_introspection"), None);

    claims["token_introspection"] = json!({"active": false});
    let error = answered(&header(), &claims).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Inactive);
    assert_eq!(error.blame(), Blame::Client);
}

#[tokio::test]
async fn r5_inner_object_must_be_a_valid_rfc7662_response() {
    for about in [
        json!({}),
        json!({"active": "true"}),
        json!({"active": 1}),
        json!({"active": true, "exp": "soon"}),
        json!(true),
        json!([{"active": true}]),
        json!("{\"active\":true}"),
        json!(null),
    ] {
        let claims = with(&[("token_introspection", about.clone())]);
        is_bad(answered(&header(), &claims).await, &about.to_string());
    }
    is_bad(answered(&header(), &without("token_introspection")).await, "none");
    for (about, kind) in [
        (json!({"active": true, "iss": "https://other.example"}), ErrorKind::WrongIssuer),
        (
            json!({"active": true, "token_type": "refresh_token"}),
            ErrorKind::WrongTokenKind(TokenKind::Refresh),
        ),
    ] {
        let claims = with(&[("token_introspection", about)]);
        assert_eq!(answered(&header(), &claims).await.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn r5_repeated_members_are_refused() {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    for payload in [
        r#""token_introspection":{"active":false},"token_introspection":{"active":true}"#,
        r#""token_introspection":{"active":false,"active":true}"#,
        r#""token_introspection":{"active":true},"iss":"https://as.example.com""#,
    ] {
        let payload = format!(r#"{{"iss":"{ISSUER}","aud":"api","iat":{NOW},{payload}}}"#);
        let input = format!("{}.{}", part(&header().to_string()), part(&payload));
        let signature = URL_SAFE_NO_PAD.encode(key().sign_bytes(input.as_bytes()).unwrap());
        is_bad(ask_for(settings(), jwt(format!("{input}.{signature}"))).await, &payload);
    }
}

#[tokio::test]
async fn r6_encrypted_response_is_refused() {
    is_bad(ask_for(settings(), jwt("e30.e30.e30.e30.e30")).await, "JWE");
    let nested = json!({
        "alg": "ES256", "kid": "2026", "typ": "token-introspection+jwt", "cty": "JWT",
    });
    is_bad(answered(&nested, &claims()).await, "nested");
}

#[tokio::test]
async fn r8_the_audience_of_the_token_reaches_the_policy() {
    let facts = answered(&header(), &claims()).await.unwrap();
    assert!(facts.claims().audience().contains("https://api.example.com"));
    assert!(!facts.claims().audience().contains("api"));
}

#[tokio::test]
async fn malformed_responses_are_a_bad_response() {
    for body in ["", ".", "..", "a.b", "{}", "a b.c.d", "\u{fffd}.e30.e30"] {
        is_bad(ask_for(settings(), jwt(body)).await, body);
    }
    is_bad(ask_for(settings(), jwt(&b"\xff\xfe"[..])).await, "not UTF-8");
    is_bad(ask_for(settings(), jwt("a".repeat(300 * 1024))).await, "long");
}

#[tokio::test]
async fn unsigned_errors_are_handled_as_without_signing() {
    for (act, kind) in [
        (
            ScriptedResponse::status(401).with("www-authenticate", "Basic"),
            ErrorKind::CredentialsRejected,
        ),
        (ScriptedResponse::status(500), ErrorKind::Unavailable),
        (
            ScriptedResponse::of(400, "application/json", r#"{"error":"unsupported_token_type"}"#),
            ErrorKind::NotIntrospectable,
        ),
    ] {
        assert_eq!(ask_for(settings(), act).await.unwrap_err().kind(), kind);
    }
}

// ---- fetched keys ----

fn jwks(keys: &[Value]) -> ScriptedResponse {
    ScriptedResponse::of(200, "application/jwk-set+json", json!({ "keys": keys }).to_string())
}

fn fetching(server: &Server) -> IntrospectionVerifier {
    server
        .builder(ClientAuth::basic("api", "secret"))
        .require_signed_response(SignedResponse::new().jwks_uri("https://as.example.com/jwks"))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn r3_the_keys_of_the_issuer_are_fetched_once() {
    let answer = jwt(signed(&header(), &claims()));
    let published = jwks(&[key().public_jwk().unwrap()]);
    let server = Server::new([answer.clone(), published, answer]);
    let verifier = fetching(&server);
    for _ in 0..3 {
        ask(&verifier, TOKEN).await.unwrap();
    }
    let seen = server.seen.lock().unwrap();
    let paths: Vec<_> = seen.iter().map(|request| request.uri().path().to_owned()).collect();
    assert_eq!(paths, ["/introspect", "/jwks", "/introspect", "/introspect"]);
    assert_eq!(seen[1].headers().get(header::AUTHORIZATION), None);
}

#[tokio::test(start_paused = true)]
async fn r3_keys_and_endpoint_come_from_one_discovery() {
    let metadata = metadata(
        r#","introspection_endpoint":"https://as.example.com/i","jwks_uri":"https://as.example.com/k""#,
    );
    let answer = jwt(signed(&header(), &claims()));
    let server = Server::new([metadata, answer, jwks(&[key().public_jwk().unwrap()])]);
    let verifier = IntrospectionVerifier::builder(ISSUER, ClientAuth::basic("api", "secret"))
        .transport(server.transport())
        .require_signed_response(SignedResponse::default())
        .clock(FixedClock)
        .build()
        .unwrap();
    ask(&verifier, TOKEN).await.unwrap();
    let seen = server.seen.lock().unwrap();
    let paths: Vec<_> = seen.iter().map(|request| request.uri().path().to_owned()).collect();
    assert_eq!(paths, ["/.well-known/oauth-authorization-server", "/i", "/k"]);
}

/// A server that is started anew, with a key of the same name. Also where keys have none.
#[tokio::test(start_paused = true)]
async fn r3_new_key_under_the_old_name_is_fetched() {
    for kid in [Some("2026"), None] {
        let answer = |key: SigningKey| {
            let mut header = header();
            header["kid"] = json!(kid);
            if kid.is_none() {
                header.as_object_mut().unwrap().remove("kid");
            }
            jwt(key.sign(&header, &claims()).unwrap())
        };
        let published = |key: SigningKey| {
            let mut jwk = key.public_jwk().unwrap();
            jwk["kid"] = json!(kid);
            jwks(&[jwk])
        };
        let server = Server::new([
            answer(key()),
            published(key()),
            answer(other_key()),
            published(other_key()),
            answer(key()),
            published(other_key()),
        ]);
        let verifier = fetching(&server);
        ask(&verifier, TOKEN).await.unwrap();
        tokio::time::advance(Duration::from_secs(11)).await;
        ask(&verifier, TOKEN).await.unwrap();
        // The response of the withdrawn key is refused, once a newer key set shows that it is gone.
        tokio::time::advance(Duration::from_secs(11)).await;
        is_bad(ask(&verifier, TOKEN).await, "a withdrawn key");
    }
}

#[tokio::test(start_paused = true)]
async fn r3_new_key_is_fetched_and_unknown_key_refused() {
    let named = |kid: &str| {
        let header = json!({"alg": "ES256", "kid": kid, "typ": "token-introspection+jwt"});
        jwt(key().with_kid(kid).sign(&header, &claims()).unwrap())
    };
    let published = |kid: &str| jwks(&[key().with_kid(kid).public_jwk().unwrap()]);
    let server = Server::new([
        named("old"),
        published("old"),
        named("new"),
        published("new"),
        named("newer"),
        published("new"),
    ]);
    let verifier = fetching(&server);
    ask(&verifier, TOKEN).await.unwrap();
    tokio::time::advance(Duration::from_secs(40)).await;
    ask(&verifier, TOKEN).await.unwrap();
    assert_eq!(server.calls(), 4);
    is_bad(ask(&verifier, TOKEN).await, "unknown");
    assert_eq!(server.calls(), 6);
}

#[tokio::test(start_paused = true)]
async fn keys_that_cannot_be_fetched_are_not_blamed_on_the_client() {
    let answer = jwt(signed(&header(), &claims()));
    for (act, kind) in [
        (ScriptedResponse::status(500), ErrorKind::Unavailable),
        (ScriptedResponse::Fail(TransportErrorKind::Connect), ErrorKind::Unavailable),
        (ScriptedResponse::Hang, ErrorKind::Unavailable),
        (jwks(&[]), ErrorKind::BadResponse),
        (ScriptedResponse::json("<html>"), ErrorKind::BadResponse),
    ] {
        let server = Server::new([answer.clone(), act]);
        let start = Moment::now(&FixedClock);
        assert_eq!(ask(&fetching(&server), TOKEN).await.unwrap_err().kind(), kind);
        assert!(Moment::now(&FixedClock).since(start) <= Duration::from_secs(3));
    }
}

// ---- settings ----

#[test]
fn invalid_settings_are_reported_by_the_builder() {
    let server = Server::new([ScriptedResponse::Hang]);
    let url = "https://as.example.com/jwks";
    let bearer = || ClientAuth::bearer("own");
    let basic = || ClientAuth::basic("api", "secret");
    for (auth, settings) in [
        (basic(), SignedResponse::new().algorithms([])),
        (basic(), SignedResponse::new().algorithms([Algorithm::HS256])),
        (basic(), SignedResponse::new().keys(KeySet::default())),
        (basic(), settings().jwks_uri(url)),
        (basic(), settings().audience("")),
        (basic(), SignedResponse::new().jwks_uri("http://as.example.com/jwks")),
        (bearer(), settings()),
    ] {
        let problems = server.builder(auth).require_signed_response(settings).build().unwrap_err();
        let names: Vec<_> = problems.problems().map(|(name, _)| name).collect();
        assert!(names.len() == 1 && names[0].starts_with("signed_response"), "{names:?}");
    }
    for (auth, settings) in [
        (bearer(), settings().audience("https://api.example.com")),
        (bearer(), settings().danger_audience_of_token()),
        (basic(), SignedResponse::new().jwks_uri(url)),
    ] {
        assert!(server.builder(auth).require_signed_response(settings).build().is_ok());
    }
}

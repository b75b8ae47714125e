//! The test kit, in process and over a socket.

#[path = "test_util/polling.rs"]
mod polling;
#[path = "test_util/providers.rs"]
mod providers;
#[path = "test_util/signals.rs"]
mod signals;
#[path = "test_util/transmitter.rs"]
mod transmitter;

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tower_introspect::{
    ErrorKind, Identity, Policy, VerifiedToken,
    clock::{Clock as _, UnixTime},
    credentials::{Scheme, Token},
    jose::{Algorithm, SigningKey},
    jwt::{JwtVerifier, KeySet, Profile},
    test_util::{
        AuthorizationServer, Client, Defect, Endpoint, Fault, Provider, TestClock, anonymous,
        authenticated, verified_token,
    },
    transport::TransportErrorKind,
    verify::{Verifier as _, VerifyRequest},
};

use crate::support::FixedClock;

const AS: &str = "https://as.example.com";
const API: &str = "https://api.example.com";
const FORM: &str = "application/x-www-form-urlencoded";

fn server() -> AuthorizationServer {
    AuthorizationServer::new(AS).with_clock(FixedClock).with_client(Client::new("api", "s3cret"))
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// Returns a request of the client `api`.
fn post(server: &AuthorizationServer, endpoint: Endpoint, body: &str) -> Request<Bytes> {
    Request::post(server.url(endpoint))
        .header(header::CONTENT_TYPE, FORM)
        .header(header::AUTHORIZATION, basic("api", "s3cret"))
        .body(Bytes::copy_from_slice(body.as_bytes()))
        .unwrap()
}

async fn send(server: &AuthorizationServer, request: Request<Bytes>) -> Response<Bytes> {
    server.send(request).await.unwrap()
}

async fn introspect(server: &AuthorizationServer, token: &str) -> Value {
    let request = post(server, Endpoint::Introspection, &format!("token={token}"));
    let response = send(server, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    json_of(&response)
}

async fn is_active(server: &AuthorizationServer, token: &str) -> bool {
    introspect(server, token).await["active"].as_bool().unwrap()
}

fn json_of(response: &Response<Bytes>) -> Value {
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    serde_json::from_slice(response.body()).unwrap()
}

/// Returns one part of a JWT.
fn part(token: &str, at: usize) -> Value {
    let text = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

fn kids(server: &AuthorizationServer) -> Vec<String> {
    let keys = server.jwks()["keys"].clone();
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    keys.as_array().unwrap().iter().map(kid).collect()
}

// ---- the endpoints ----

#[tokio::test]
async fn rfc8414_3_1_metadata_is_between_host_and_path() {
    let server = AuthorizationServer::new("https://as.example.com/t1");
    for path in
        ["/.well-known/oauth-authorization-server/t1", "/t1/.well-known/openid-configuration"]
    {
        let document = json_of(&send(&server, get(&format!("{AS}{path}"))).await);
        assert_eq!(document, server.metadata());
        assert_eq!(document["issuer"], "https://as.example.com/t1");
        assert_eq!(document["jwks_uri"], "https://as.example.com/t1/jwks");
    }
    assert_eq!(server.calls(Endpoint::Discovery), 2);

    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration/t1"]
    {
        let response = send(&server, get(&format!("{AS}{path}"))).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(server.unmatched_requests().len(), 2);
}

#[tokio::test]
async fn metadata_can_be_changed_and_disabled() {
    let server = server();
    server.set_metadata("issuer", "https://evil.example.com");
    server.set_metadata("jwks_uri", Value::Null);
    server.serve_metadata(false, true);
    let oauth = send(&server, get(&server.url(Endpoint::Discovery))).await;
    assert_eq!(oauth.status(), StatusCode::NOT_FOUND);
    let document =
        json_of(&send(&server, get(&format!("{AS}/.well-known/openid-configuration"))).await);
    assert_eq!(document["issuer"], "https://evil.example.com");
    assert!(document.get("jwks_uri").is_none());
}

#[tokio::test]
async fn keys_are_published_without_their_private_halves() {
    let server = server();
    let response = send(&server, get(&server.url(Endpoint::Jwks))).await;
    let keys = json_of(&response)["keys"].as_array().unwrap().clone();
    let algorithms: Vec<_> = keys.iter().map(|key| key["alg"].as_str().unwrap()).collect();
    assert_eq!(algorithms, ["ES256", "RS256", "PS256", "ES384", "EdDSA"]);
    for key in &keys {
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(private).is_none(), "{private}");
        }
    }
}

#[tokio::test]
async fn rfc9110_13_1_2_conditional_request_for_keys_gets_304() {
    let server = server();
    server.set_cache_control(HeaderValue::from_static("max-age=60"));
    let first = send(&server, get(&server.url(Endpoint::Jwks))).await;
    assert_eq!(first.headers()[header::CACHE_CONTROL], "max-age=60");
    let conditional = || {
        let mut request = get(&server.url(Endpoint::Jwks));
        request.headers_mut().insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        request
    };
    let second = send(&server, conditional()).await;
    assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
    assert!(second.body().is_empty());
    server.rotate_keys();
    assert_eq!(send(&server, conditional()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn public_documents_need_no_credentials() {
    let server = server();
    for (name, value) in [(header::AUTHORIZATION, "Bearer x"), (header::COOKIE, "a=b")] {
        let mut request = get(&server.url(Endpoint::Jwks));
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        assert_eq!(send(&server, request).await.status(), StatusCode::BAD_REQUEST);
    }
    let mut request = get(&server.url(Endpoint::Jwks));
    *request.method_mut() = Method::POST;
    assert_eq!(send(&server, request).await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn rfc7662_2_2_introspection_response_has_the_members_of_the_token() {
    let server = server();
    let token =
        server.opaque().subject("bob").client_id("app").audience(API).scope("read write").mint();
    let body = introspect(&server, &token).await;
    assert_eq!(body["active"], true);
    assert_eq!(body["iss"], AS);
    assert_eq!(body["sub"], "bob");
    assert_eq!(body["client_id"], "app");
    assert_eq!(body["aud"], API);
    assert_eq!(body["scope"], "read write");
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["exp"].as_i64().unwrap() - body["iat"].as_i64().unwrap(), 3600);

    assert_eq!(introspect(&server, "unheard-of").await, json!({ "active": false }));
}

#[tokio::test]
async fn rfc7662_2_2_jwts_are_active_and_id_tokens_inactive() {
    let server = server();
    assert!(is_active(&server, &server.jwt().mint()).await);
    assert!(!is_active(&server, &server.id_token().mint()).await);
    // A JWT that the server did not sign is inactive.
    assert!(!is_active(&server, &server.jwt().unsigned().mint()).await);
    assert!(!is_active(&server, &server.jwt().with_corrupt_signature().mint()).await);
}

#[tokio::test(start_paused = true)]
async fn rfc7662_2_2_tokens_are_active_within_their_time() {
    let clock = TestClock::default();
    let server = server().with_clock(clock.clone());
    let soon = clock.now().saturating_add(Duration::from_secs(10));
    let token = server.opaque().not_before(soon).expires_in(Duration::from_secs(20)).mint();
    assert!(!is_active(&server, &token).await);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(is_active(&server, &token).await);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(!is_active(&server, &token).await);
}

#[tokio::test]
async fn introspection_response_can_be_replaced() {
    let server = server();
    let token = server.opaque().text("a.b.c").introspected_as(json!({"active": "true"})).mint();
    assert_eq!(token, "a.b.c");
    assert_eq!(introspect(&server, &token).await, json!({"active": "true"}));
}

#[tokio::test]
async fn rfc9701_5_signed_response_is_sent_on_request() {
    let server = server();
    let token = server.opaque().subject("bob").mint();
    let mut request = post(&server, Endpoint::Introspection, &format!("token={token}"));
    let accept = "application/token-introspection+jwt, application/json;q=0.5";
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(accept));
    let response = send(&server, request).await;
    let media_type = &response.headers()[header::CONTENT_TYPE];
    assert_eq!(media_type, "application/token-introspection+jwt");

    let jwt = std::str::from_utf8(response.body()).unwrap();
    assert_eq!(part(jwt, 0)["typ"], "token-introspection+jwt");
    assert_eq!(part(jwt, 0)["alg"], "RS256");
    assert_eq!(part(jwt, 0)["kid"], server.kid(Algorithm::RS256));
    let claims = part(jwt, 1);
    assert_eq!(claims["iss"], AS);
    assert_eq!(claims["aud"], "api");
    assert!(claims["iat"].is_i64());
    assert_eq!(claims["token_introspection"]["sub"], "bob");
    assert!(claims.get("sub").is_none() && claims.get("active").is_none());
}

#[tokio::test]
async fn request_without_an_acceptable_media_type_is_refused() {
    let server = server();
    for (accept, status) in [
        ("application/json", StatusCode::OK),
        ("APPLICATION/JSON; charset=utf-8", StatusCode::OK),
        ("*/*", StatusCode::OK),
        ("text/html", StatusCode::NOT_ACCEPTABLE),
        ("application/jwt", StatusCode::NOT_ACCEPTABLE),
    ] {
        let mut request = post(&server, Endpoint::Introspection, "token=x");
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(accept));
        assert_eq!(send(&server, request).await.status(), status, "{accept}");
    }
}

#[tokio::test]
async fn rfc6749_2_3_1_halves_of_basic_are_form_encoded() {
    let server = AuthorizationServer::new(AS).with_client(Client::new("rs:1", "p@ss:w0rd+%"));
    let ask = async |pair: &str| {
        let mut request = post(&server, Endpoint::Introspection, "token=x");
        let value = format!("basic {}", STANDARD.encode(pair)).parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        send(&server, request).await.status()
    };
    assert_eq!(ask("rs%3A1:p%40ss%3Aw0rd%2B%25").await, StatusCode::OK);
    assert_eq!(ask("rs%3A1:p%40ss%3Aw0rd+%25").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("rs:1:p@ss:w0rd+%").await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn rfc6749_2_3_clients_use_exactly_one_authentication_method() {
    let server =
        server().with_client(Client::bearer("bear", "b-token")).with_client(Client::mtls("tls"));
    let ask = async |authorization: &[&str], body: &str| {
        let mut request = post(&server, Endpoint::Introspection, body);
        request.headers_mut().remove(header::AUTHORIZATION);
        for value in authorization {
            request.headers_mut().append(header::AUTHORIZATION, value.parse().unwrap());
        }
        send(&server, request).await.status().as_u16()
    };
    let (good, bad) = (basic("api", "s3cret"), basic("api", "wrong"));
    assert_eq!(ask(&[&good], "token=x").await, 200);
    assert_eq!(ask(&[&good], "token=x&client_id=api").await, 200);
    assert_eq!(ask(&[], "token=x&client_id=api&client_secret=s3cret").await, 200);
    assert_eq!(ask(&["Bearer b-token"], "token=x").await, 200);
    assert_eq!(ask(&[], "token=x&client_id=tls").await, 200);

    assert_eq!(ask(&[], "token=x").await, 401);
    assert_eq!(ask(&[&bad], "token=x").await, 401);
    assert_eq!(ask(&["Bearer s3cret"], "token=x").await, 401);
    assert_eq!(ask(&[], "token=x&client_id=api").await, 401);
    assert_eq!(ask(&[], "token=x&client_id=api&client_secret=wrong").await, 401);
    assert_eq!(ask(&[], "token=x&client_secret=s3cret").await, 401);

    assert_eq!(ask(&[&good, &good], "token=x").await, 400);
    assert_eq!(ask(&[&good], "token=x&client_id=api&client_secret=s3cret").await, 400);
    assert_eq!(ask(&[&good], "token=x&client_id=tls").await, 400);
    assert_eq!(ask(&["Digest x"], "token=x").await, 400);
    assert_eq!(ask(&["Basic %%%"], "token=x").await, 400);

    server.register(Client::new("api", "changed"));
    assert_eq!(ask(&[&good], "token=x").await, 401);
}

#[tokio::test(start_paused = true)]
async fn rfc7523_3_assertions_are_checked() {
    let clock = TestClock::default();
    let now = clock.now().as_secs();
    let key = || SigningKey::from_secret(Algorithm::HS256, &[7; 32]).unwrap();
    let keys = KeySet::from_secret(Algorithm::HS256, &[7; 32]).unwrap();
    let server = AuthorizationServer::new(AS)
        .with_clock(clock.clone())
        .with_client(Client::assertions("api", keys))
        .with_client(Client::new("other", "s3cret"));
    let ask = async |assertion: &str, more: &str| {
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let body =
            format!("token=x&client_assertion_type={kind}&client_assertion={assertion}{more}");
        let mut request = post(&server, Endpoint::Introspection, &body);
        request.headers_mut().remove(header::AUTHORIZATION);
        send(&server, request).await.status().as_u16()
    };
    let sign = |claims: &Value| key().sign(&json!({"alg": "HS256"}), claims).unwrap();
    let good = |jti: &str| json!({"iss": "api", "sub": "api", "aud": AS, "jti": jti, "iat": now, "exp": now + 60});
    let first = sign(&good("1"));
    assert_eq!(ask(&first, "").await, 200);
    assert_eq!(ask(&first, "").await, 401, "the assertion was accepted twice");
    assert_eq!(ask(&sign(&good("2")), "&client_id=api").await, 200);
    assert_eq!(ask(&sign(&good("3")), "&client_id=other").await, 400);
    assert_eq!(ask(&sign(&good("3")), "&client_secret=s3cret").await, 400);

    for (name, value) in [
        ("iss", json!("other")),
        ("sub", json!("other")),
        ("sub", json!("nobody")),
        ("aud", json!("https://other.example.com")),
        ("aud", json!([AS, "https://other.example.com"])),
        ("aud", Value::Null),
        ("exp", json!(now)),
        ("exp", json!(now + 301)),
        ("exp", Value::Null),
        ("iat", json!(now + 1)),
        ("jti", Value::Null),
        ("jti", json!("")),
    ] {
        let mut claims = good("4");
        claims[name] = value.clone();
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        assert_eq!(ask(&sign(&claims), "").await, 401, "{name}: {value}");
    }
    let header = json!({"alg": "HS256", "crit": ["x"]});
    assert_eq!(ask(&key().sign(&header, &good("4")).unwrap(), "").await, 401);
    let foreign = SigningKey::from_secret(Algorithm::HS256, &[8; 32]).unwrap();
    let forged = foreign.sign(&json!({"alg": "HS256"}), &good("4")).unwrap();
    assert_eq!(ask(&forged, "").await, 401);
    // None of these has used up the `jti`.
    assert_eq!(ask(&sign(&good("4")), "").await, 200);

    let mut request = post(&server, Endpoint::Introspection, "token=x&client_assertion=x");
    request.headers_mut().remove(header::AUTHORIZATION);
    assert_eq!(send(&server, request).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn signatures_verify_with_the_published_keys() {
    let server = server();
    let verifier = JwtVerifier::builder(AS)
        .transport(server.transport())
        .algorithms([
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
            Algorithm::PS256,
            Algorithm::RS256,
        ])
        .build()
        .unwrap();
    let verify = async |token: String| {
        let outcome = verifier.verify(VerifyRequest::new(Token::bearer(&token).unwrap())).await;
        outcome.map(|active| active.issuer().to_owned()).map_err(|error| error.kind())
    };
    let jwt = |algorithm| server.jwt().audience(API).algorithm(algorithm);
    for algorithm in
        [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA, Algorithm::PS256, Algorithm::RS256]
    {
        assert_eq!(verify(jwt(algorithm).mint()).await.as_deref(), Ok(AS), "{algorithm}");
        // The keys may be fetched again, because the token is new.
        tokio::time::advance(Duration::from_secs(11)).await;
        let corrupt = verify(jwt(algorithm).with_corrupt_signature().mint()).await;
        assert_eq!(corrupt, Err(ErrorKind::BadSignature), "{algorithm}");
    }
}

#[tokio::test]
async fn rfc7662_2_1_invalid_requests_are_refused() {
    let server = server();
    for body in ["", "tok=x", "token=x&token=y", "token", "token=", "{\"token\":1}"] {
        let response = send(&server, post(&server, Endpoint::Introspection, body)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(json_of(&response)["error"], "invalid_request");
    }
    let refused = async |change: fn(&mut Request<Bytes>)| {
        let mut request = post(&server, Endpoint::Introspection, "token=x");
        change(&mut request);
        send(&server, request).await.status().as_u16()
    };
    assert_eq!(refused(|_| {}).await, 200);
    assert_eq!(refused(|request| *request.method_mut() = Method::GET).await, 405);
    let json = |request: &mut Request<Bytes>| {
        let value = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, value);
    };
    assert_eq!(refused(json).await, 400);
    assert_eq!(refused(|request| drop(request.headers_mut().remove("content-type"))).await, 400);
    let cookie = |request: &mut Request<Bytes>| {
        request.headers_mut().insert(header::COOKIE, HeaderValue::from_static("a=b"));
    };
    assert_eq!(refused(cookie).await, 400);
    let query = |request: &mut Request<Bytes>| {
        *request.uri_mut() = format!("{AS}/introspect?token=x").parse().unwrap();
    };
    assert_eq!(refused(query).await, 400);
}

#[tokio::test]
async fn rfc6749_4_4_client_credentials_grant_issues_tokens() {
    let server = server().with_client(Client::new("app", "pa55").with_scope("read write"));
    let ask = async |body: &str| {
        let mut request = post(&server, Endpoint::Token, body);
        let value = basic("app", "pa55").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        let response = send(&server, request).await;
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        json_of(&response)
    };
    let all = "grant_type=client_credentials&resource=https%3A%2F%2Fapi.example.com";
    let answer = ask(&format!("{all}&scope=read")).await;
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], 3600);
    assert_eq!(answer["scope"], "read");
    let token = answer["access_token"].as_str().unwrap();
    let known = introspect(&server, token).await;
    assert_eq!((&known["sub"], &known["client_id"]), (&json!("app"), &json!("app")));
    assert_eq!((&known["aud"], &known["scope"]), (&json!(API), &json!("read")));

    assert_eq!(ask(all).await["scope"], "read write");
    let jwt = ask(&format!("{all}&token_format=jwt&audience=other")).await;
    let jwt = jwt["access_token"].as_str().unwrap();
    assert_eq!(part(jwt, 0)["typ"], "at+jwt");
    assert_eq!(part(jwt, 1)["aud"], json!([API, "other"]));
    assert!(is_active(&server, jwt).await);

    for (body, error) in [
        ("grant_type=password", "unsupported_grant_type"),
        ("scope=read", "invalid_request"),
        ("grant_type=client_credentials", "invalid_target"),
        ("grant_type=client_credentials&resource=nonsense", "invalid_target"),
        ("grant_type=client_credentials&audience=x&scope=admin", "invalid_scope"),
        ("grant_type=client_credentials&audience=x&scope=%22", "invalid_scope"),
        ("grant_type=client_credentials&audience=x&scope=read&scope=write", "invalid_request"),
        ("grant_type=client_credentials&audience=x&token_format=xml", "invalid_request"),
    ] {
        assert_eq!(ask(body).await["error"], error, "{body}");
    }
}

/// A form as `curl -d` sends it, in which nothing is encoded but what the user encodes.
#[tokio::test]
async fn forms_are_read_as_the_url_standard_does() {
    let server = server();
    let ask = async |endpoint, body: &str| {
        let response = send(&server, post(&server, endpoint, body)).await;
        assert_eq!(response.status(), StatusCode::OK, "{body}: {:?}", response.body());
        json_of(&response)
    };
    let granted = "grant_type=client_credentials&resource=http://127.0.0.1:9500/mcp&scope=a b";
    let answer = ask(Endpoint::Token, granted).await;
    assert_eq!(answer["scope"], "a b");
    let token = answer["access_token"].as_str().unwrap();
    let known = ask(Endpoint::Introspection, &format!("token={token}")).await;
    assert_eq!(known["aud"], "http://127.0.0.1:9500/mcp");

    let odd = server.opaque().text("a/b+c==").mint();
    let known = ask(Endpoint::Introspection, &format!("token={}", odd.replace('+', "%2B"))).await;
    assert_eq!(known["active"], true);
}

#[tokio::test]
async fn format_and_audience_of_tokens_are_set_by_client() {
    let client = Client::new("api", "s3cret").with_jwt_access_tokens().with_audience(API);
    let server = AuthorizationServer::new(AS).with_client(client);
    let request = post(&server, Endpoint::Token, "grant_type=client_credentials");
    let answer = json_of(&send(&server, request).await);
    assert_eq!(part(answer["access_token"].as_str().unwrap(), 1)["aud"], API);
    assert!(answer.get("scope").is_none());
}

#[tokio::test]
async fn rfc7009_2_client_can_revoke_its_tokens() {
    let server = server();
    let own = server.opaque().client_id("api").mint();
    let other = server.opaque().client_id("other").mint();
    let ask = async |token: &str| {
        let request = post(&server, Endpoint::Revocation, &format!("token={token}"));
        send(&server, request).await.status().as_u16()
    };
    assert_eq!(ask(&own).await, 200);
    assert!(!is_active(&server, &own).await);
    // RFC 7009 §2.2: the response to an unknown token is the same as to a revoked one.
    assert_eq!(ask("unheard-of").await, 200);
    assert_eq!(ask(&other).await, 400);
    assert!(is_active(&server, &other).await);
    assert_eq!(server.calls(Endpoint::Revocation), 3);
}

#[tokio::test]
async fn tests_can_revoke_tokens_and_subjects() {
    let server = server();
    let [one, two] = [(); 2].map(|()| server.opaque().subject("alice").mint());
    let bob = server.jwt().subject("bob").mint();
    server.revoke(&one);
    assert!(!is_active(&server, &one).await && is_active(&server, &two).await);
    server.revoke_subject("alice");
    assert!(!is_active(&server, &two).await && is_active(&server, &bob).await);
    // Only existing tokens: a later token is active.
    assert!(is_active(&server, &server.opaque().subject("alice").mint()).await);
}

// ---- tokens and keys ----

#[tokio::test]
async fn rfc9068_2_a_minted_jwt_has_the_profile() {
    let server = server();
    let token = server.jwt().audience(vec![API, "other"]).scope("read").mint();
    let header = part(&token, 0);
    assert_eq!(
        header,
        json!({"typ": "at+jwt", "alg": "ES256", "kid": server.kid(Algorithm::ES256)})
    );
    let claims = part(&token, 1);
    for name in ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"] {
        assert!(claims.get(name).is_some(), "{name}");
    }
    assert_eq!(claims["aud"], json!([API, "other"]));
}

#[tokio::test]
async fn minted_jwts_can_have_every_defect() {
    let server = server();
    let odd = server
        .jwt()
        .typ("JWT")
        .kid("nobody")
        .header("crit", json!(["b64"]))
        .claim("roles", json!({"a": 1}))
        .without("exp")
        .mint();
    assert_eq!(part(&odd, 0)["kid"], "nobody");
    assert_eq!(part(&odd, 0)["crit"], json!(["b64"]));
    assert_eq!(part(&odd, 1)["roles"]["a"], 1);
    assert!(part(&odd, 1).get("exp").is_none());

    assert!(part(&server.jwt().without_header("typ").mint(), 0).get("typ").is_none());
    let dated = server
        .jwt()
        .issued_at(UnixTime::from_secs(5))
        .not_before(UnixTime::from_secs(6))
        .expires_at(UnixTime::from_secs(7))
        .mint();
    let dates = part(&dated, 1);
    assert_eq!((&dates["iat"], &dates["nbf"], &dates["exp"]), (&json!(5), &json!(6), &json!(7)));

    let unsigned = server.jwt().unsigned().mint();
    assert_eq!(part(&unsigned, 0)["alg"], "none");
    assert!(unsigned.ends_with('.'));

    let raw = server.jwt().raw_header("{\"alg\":1,\"alg\":2}").raw_claims("[]").mint();
    let encoded = URL_SAFE_NO_PAD.encode("{\"alg\":1,\"alg\":2}");
    assert!(raw.starts_with(&format!("{encoded}.W10.")));

    let key = SigningKey::from_secret(Algorithm::HS256, &[7; 32]).unwrap().with_kid("shared");
    let foreign = server.jwt().signed_with(key).mint();
    assert_eq!(
        (&part(&foreign, 0)["alg"], &part(&foreign, 0)["kid"]),
        (&json!("HS256"), &json!("shared"))
    );
}

#[test]
fn the_names_and_descriptions_of_defects_are_unique() {
    let names: HashSet<_> = Defect::ALL.map(Defect::name).into();
    let descriptions: HashSet<_> = Defect::ALL.map(Defect::description).into();
    assert_eq!((names.len(), descriptions.len()), (Defect::ALL.len(), Defect::ALL.len()));
    assert_eq!(Defect::WrongAudience.to_string(), "wrong-audience");
    assert_eq!(Defect::WrongAudience.description(), "Its `aud` names another service.");
}

/// With the key of every algorithm, a foreign one, and in the shape of a provider.
#[tokio::test]
async fn every_defect_is_refused_for_its_own_reason() {
    let foreign = SigningKey::from_pem(Algorithm::ES256, include_bytes!("keys/p256.pem")).unwrap();
    let foreign = foreign.with_kid("foreign");
    let plain = server();
    plain.publish_key(foreign.public_jwk().unwrap());
    let rsa = server().with_provider(Provider::Keycloak);
    // The length is limited where the token is taken from the request.
    for defect in Defect::ALL.into_iter().filter(|defect| *defect != Defect::TooLong) {
        for (server, token) in [
            (&plain, plain.jwt()),
            (&plain, plain.jwt().algorithm(Algorithm::EdDSA)),
            (&plain, plain.jwt().signed_with(foreign.clone())),
            (&rsa, rsa.jwt()),
        ] {
            let refused = |token: String| async move {
                let jwks = server.jwks().to_string();
                let verifier = JwtVerifier::builder(AS)
                    .keys(KeySet::from_jwks(jwks.as_bytes()).unwrap())
                    .profile(Profile::Generic)
                    .algorithms([Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256])
                    .build()
                    .unwrap();
                let token = Token::bearer(&token).ok_or(ErrorKind::TokenTooLong)?;
                let outcome = verifier.verify(VerifyRequest::new(token)).await;
                let active = outcome.map_err(|error| error.kind())?;
                let policy = Policy::new(API).clock(FixedClock);
                policy.admit(active, Scheme::Bearer).map_err(|error| error.kind())
            };
            let token = token.audience(API).scope("read");
            let kind = refused(token.with_defect(defect).mint()).await;
            let kind = kind.map(drop).expect_err(defect.name());
            let own = match defect {
                Defect::Expired => kind == ErrorKind::Expired,
                Defect::NotYetValid => kind == ErrorKind::NotYetValid,
                Defect::NoExpiry => kind == ErrorKind::MissingClaim("exp"),
                Defect::WrongAudience => kind == ErrorKind::WrongAudience,
                Defect::NoAudience => kind == ErrorKind::MissingClaim("aud"),
                Defect::WrongIssuer => kind == ErrorKind::WrongIssuer,
                Defect::NoIssuer => kind == ErrorKind::MissingClaim("iss"),
                Defect::IdToken
                | Defect::LogoutToken
                | Defect::SecurityEvent
                | Defect::WrongTyp => {
                    matches!(kind, ErrorKind::WrongTokenKind(_))
                }
                Defect::Bound => kind == ErrorKind::UnprovenPossession,
                Defect::AlgNone | Defect::PublicKeyAsSecret => {
                    kind == ErrorKind::UnsupportedAlgorithm
                }
                Defect::CorruptSignature | Defect::NoSignature | Defect::ForeignKey => {
                    matches!(kind, ErrorKind::BadSignature | ErrorKind::MalformedToken)
                }
                Defect::UnknownKey => kind == ErrorKind::UnknownKey,
                Defect::Critical => kind == ErrorKind::UnsupportedExtension,
                _ => true,
            };
            assert!(own, "{defect}: {kind:?}");
        }
    }
}

#[tokio::test]
async fn opaque_tokens_can_be_expired_too() {
    let server = server();
    assert!(!is_active(&server, &server.opaque().expired().mint()).await);
}

#[tokio::test]
async fn corrupt_signature_differs_in_one_bit() {
    // Ed25519 signatures are deterministic.
    let server = server();
    let jwt = || server.jwt().claim("jti", "same").algorithm(Algorithm::EdDSA);
    let signature =
        |token: String| URL_SAFE_NO_PAD.decode(token.rsplit('.').next().unwrap()).unwrap();
    let good = signature(jwt().mint());
    let bad = signature(jwt().with_corrupt_signature().mint());
    let differing: u32 = good.iter().zip(&bad).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((good.len(), differing), (bad.len(), 1));
}

#[tokio::test]
async fn every_algorithm_has_a_published_key() {
    let server = server();
    for algorithm in [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ] {
        let token = server.jwt().algorithm(algorithm).mint();
        let kid = part(&token, 0)["kid"].as_str().unwrap().to_owned();
        let keys = server.jwks()["keys"].as_array().unwrap().clone();
        let key = keys.iter().find(|key| key["kid"] == *kid).unwrap();
        assert_eq!(key["alg"], algorithm.as_str());
    }
}

#[test]
fn each_server_has_different_keys() {
    let x = |issuer: &str| AuthorizationServer::new(issuer).jwks()["keys"][0]["x"].clone();
    assert_eq!(x(AS), x(AS));
    assert_ne!(x(AS), x("https://other.example.com"));
}

#[tokio::test]
async fn keys_rotate_and_are_removed() {
    let server = server();
    let before = kids(&server);
    let material = server.jwks()["keys"][0]["x"].clone();
    server.rotate_keys();
    let both = kids(&server);
    assert_eq!((both.len(), &both[..5]), (10, &before[..]));
    assert_ne!(server.jwks()["keys"][5]["x"], material);
    assert_eq!(part(&server.jwt().mint(), 0)["kid"], both[5]);
    server.remove_key(&before[0]);
    assert_eq!(kids(&server).len(), 9);
    server.remove_old_keys();
    assert_eq!(kids(&server), both[5..]);
    server.publish_key(json!({"kty": "oct", "kid": "odd"}));
    assert_eq!(kids(&server).last().unwrap(), "odd");
}

#[test]
fn a_verified_token_is_admitted_by_a_policy() {
    let token = verified_token(&json!({"sub": "bob", "scope": "read", "tenant": 7}));
    assert_eq!((token.subject(), token.issuer()), (Some("bob"), AS));
    assert!(token.has_scope("read"));
    assert_eq!(token.claims().get::<u64>("tenant").unwrap(), Some(7));
}

#[test]
#[should_panic(expected = "expired")]
fn verified_token_is_not_created_if_the_policy_refuses_it() {
    let _ = verified_token(&json!({"exp": 1}));
}

#[test]
fn a_request_to_a_handler_has_one_identity() {
    let claims = json!({"sub": "bob", "scope": "read"});
    let parts = Request::new(()).into_parts().0;
    for extensions in [
        authenticated(Request::new(()), &claims).extensions(),
        &authenticated(parts, &claims).extensions,
        authenticated(tonic::Request::new(()), &claims).extensions(),
        authenticated(anonymous(Request::new(())), &claims).extensions(),
    ] {
        let token = extensions.get::<VerifiedToken>().unwrap();
        assert_eq!((token.subject(), token.has_scope("read")), (Some("bob"), true));
        assert!(matches!(Identity::of(extensions), Some(Identity::Token(_))));
    }
    let request = anonymous(authenticated(Request::new(()), &claims));
    assert!(matches!(Identity::of(request.extensions()), Some(Identity::Anonymous)));
}

#[tokio::test(start_paused = true)]
async fn clock_follows_paused_time_and_can_be_stepped() {
    let start = UnixTime::from_secs(1000);
    let clock = TestClock::new(start);
    let same = clock.clone();
    assert_eq!(clock.now(), start);
    tokio::time::advance(Duration::from_millis(1500)).await;
    assert_eq!(clock.now(), UnixTime::from_millis(1_001_500));
    same.step(Duration::from_secs(10));
    assert_eq!(clock.now(), UnixTime::from_millis(1_011_500));
    same.step_back(Duration::from_secs(20));
    assert_eq!(clock.now(), UnixTime::from_millis(991_500));
    same.set(start);
    assert_eq!(clock.now(), start);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(clock.now(), UnixTime::from_secs(1001));
}

#[test]
fn pinned_clock_is_stepped_without_a_runtime() {
    let clock = TestClock::pinned(UnixTime::from_secs(1000));
    assert_eq!(clock.now(), UnixTime::from_secs(1000));
    clock.clone().step(Duration::from_secs(10));
    assert_eq!(clock.now(), UnixTime::from_secs(1010));
    clock.step_back(Duration::from_secs(20));
    assert_eq!(clock.now(), UnixTime::from_secs(990));
    clock.set(UnixTime::from_secs(7));
    assert_eq!(clock.now(), UnixTime::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn pinned_clock_does_not_follow_paused_time() {
    let clock = TestClock::pinned(UnixTime::from_secs(1000));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(clock.now(), UnixTime::from_secs(1000));
}

// ---- faults ----

#[tokio::test]
async fn faults_happen_in_order_and_end() {
    let server = server();
    let unavailable = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    let retry = unavailable.with_retry_after(Duration::from_millis(6500)).for_next(2);
    server.inject(Endpoint::Jwks, retry);
    server.inject(Endpoint::Jwks, Fault::status(StatusCode::TOO_MANY_REQUESTS).for_next(1));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let response = send(&server, get(&server.url(Endpoint::Jwks))).await;
        let after = response.headers().get(header::RETRY_AFTER).map(|value| value.to_owned());
        seen.push((response.status().as_u16(), after));
    }
    let seven = Some(HeaderValue::from_static("7"));
    assert_eq!(seen, [(503, seven.clone()), (503, seven), (429, None), (200, None)]);
    assert_eq!(server.calls(Endpoint::Jwks), 4);
    // The other endpoints work as before.
    assert!(is_active(&server, &server.opaque().mint()).await);
}

#[tokio::test]
async fn faults_without_a_count_stay_until_cleared() {
    let server = server();
    server.inject(Endpoint::Jwks, Fault::garbage());
    for _ in 0..3 {
        let response = send(&server, get(&server.url(Endpoint::Jwks))).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert!(serde_json::from_slice::<Value>(response.body()).is_err());
    }
    server.clear(Endpoint::Jwks);
    assert_eq!(json_of(&send(&server, get(&server.url(Endpoint::Jwks))).await), server.jwks());
}

#[tokio::test]
async fn faults_can_be_pages_redirects_and_given_responses() {
    let server = server();
    server.inject(Endpoint::Token, Fault::html().for_next(1));
    server.inject(Endpoint::Token, Fault::redirect("https://elsewhere.example.com/").for_next(1));
    let own = Response::builder().status(418).body(Bytes::from_static(b"teapot")).unwrap();
    server.inject(Endpoint::Token, Fault::respond(own));
    let ask = async || send(&server, post(&server, Endpoint::Token, "")).await;
    let page = ask().await;
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(page.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
    let redirect = ask().await;
    assert_eq!(redirect.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(redirect.headers()[header::LOCATION], "https://elsewhere.example.com/");
    assert_eq!(ask().await.body(), "teapot");
}

#[tokio::test]
async fn oversized_response_is_valid_except_for_its_size() {
    let server = server();
    server.inject(Endpoint::Jwks, Fault::oversize(600 * 1024));
    let response = send(&server, get(&server.url(Endpoint::Jwks))).await;
    assert_eq!(response.body().len(), 600 * 1024);
    assert_eq!(json_of(&response), server.jwks());
}

#[tokio::test]
async fn broken_connections_are_errors_without_a_socket() {
    let server = server();
    for (fault, kind) in [
        (Fault::close(), TransportErrorKind::Closed),
        (Fault::truncate(), TransportErrorKind::Other),
        (Fault::unreachable(), TransportErrorKind::Connect),
    ] {
        server.inject(Endpoint::Jwks, fault.for_next(1));
        let error = server.send(get(&server.url(Endpoint::Jwks))).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    assert_eq!(server.calls(Endpoint::Jwks), 3);
    let error = server.send(get("https://evil.example.com/jwks")).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Connect);
    assert_eq!(server.unmatched_requests(), ["https://evil.example.com/jwks"]);
    assert_eq!(server.calls(Endpoint::Jwks), 3);
}

#[tokio::test(start_paused = true)]
async fn delayed_response_uses_tokio_time_and_the_state_at_arrival() {
    let server = server();
    let token = server.opaque().mint();
    server.inject(Endpoint::Introspection, Fault::delay(Duration::from_secs(5)));
    let start = tokio::time::Instant::now();
    let (body, ()) = tokio::join!(introspect(&server, &token), async {
        server.wait_for_calls(Endpoint::Introspection, 1).await;
        server.revoke(&token);
    });
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert_eq!(body["active"], true);
    assert!(!is_active(&server, &token).await);
}

#[tokio::test(start_paused = true)]
async fn delayed_fault_happens_after_its_delay() {
    let server = server();
    let fault = Fault::status(StatusCode::BAD_GATEWAY).with_delay(Duration::from_secs(2));
    server.inject(Endpoint::Jwks, fault);
    let start = tokio::time::Instant::now();
    let response = send(&server, get(&server.url(Endpoint::Jwks))).await;
    assert_eq!((start.elapsed().as_secs(), response.status()), (2, StatusCode::BAD_GATEWAY));
}

#[tokio::test(start_paused = true)]
async fn hanging_request_continues_when_the_fault_is_cleared() {
    let server = server();
    server.inject(Endpoint::Jwks, Fault::hang());
    let hour = Duration::from_secs(3600);
    let hanging = tokio::time::timeout(hour, server.send(get(&server.url(Endpoint::Jwks)))).await;
    assert!(hanging.is_err());
    let (response, ()) = tokio::join!(send(&server, get(&server.url(Endpoint::Jwks))), async {
        server.wait_for_calls(Endpoint::Jwks, 2).await;
        server.clear(Endpoint::Jwks);
    });
    assert_eq!(json_of(&response), server.jwks());
}

#[tokio::test]
async fn requests_are_recorded_and_can_be_reset() {
    let server = server();
    let _ = introspect(&server, "abc").await;
    let kept = server.requests(Endpoint::Introspection);
    assert_eq!(kept[0].body(), "token=abc");
    assert_eq!(kept[0].headers()[header::AUTHORIZATION], basic("api", "s3cret"));
    assert!(server.requests(Endpoint::Jwks).is_empty());
    server.reset_calls();
    assert_eq!(server.calls(Endpoint::Introspection), 0);
    assert!(server.requests(Endpoint::Introspection).is_empty());
}

// ---- over a socket ----

/// Sends a request as text and reads until the connection ends.
async fn raw(address: SocketAddr, method: &str, path: &str, extra: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{extra}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset ends the connection too. The text received so far counts.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// Returns the body of a response, which must be 200.
fn body(answer: &str) -> Value {
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn all_endpoints_work_over_a_socket() {
    let (server, listening) = AuthorizationServer::on_loopback().await.unwrap();
    server.register(Client::new("api", "s3cret").with_audience(API));
    let at = listening.address();
    assert_eq!(server.issuer(), listening.url(""));

    let path = "/.well-known/oauth-authorization-server";
    assert_eq!(body(&raw(at, "GET", path, "", "").await), server.metadata());
    let path = "/.well-known/openid-configuration";
    assert_eq!(body(&raw(at, "GET", path, "", "").await), server.metadata());
    assert_eq!(body(&raw(at, "GET", "/jwks", "", "").await), server.jwks());

    let headers = format!("Authorization: {}\r\nContent-Type: {FORM}\r\n", basic("api", "s3cret"));
    let post = async |path: &str, body: &str| raw(at, "POST", path, &headers, body).await;
    let issued = body(&post("/token", "grant_type=client_credentials").await);
    let token = format!("token={}", issued["access_token"].as_str().unwrap());
    assert_eq!(body(&post("/introspect", &token).await)["active"], true);
    assert!(post("/revoke", &token).await.starts_with("HTTP/1.1 200"));
    assert_eq!(body(&post("/introspect", &token).await)["active"], false);

    assert!(raw(at, "GET", "/nothing", "", "").await.starts_with("HTTP/1.1 404"));
    let long = "x".repeat(300_000);
    assert!(post("/introspect", &long).await.starts_with("HTTP/1.1 413"));
    for endpoint in [Endpoint::Jwks, Endpoint::Token, Endpoint::Revocation] {
        assert_eq!(server.calls(endpoint), 1, "{endpoint:?}");
    }
    assert_eq!(server.calls(Endpoint::Discovery), 2);
    assert_eq!(server.calls(Endpoint::Introspection), 2);
}

#[tokio::test]
async fn all_faults_work_over_a_socket() {
    let server = server();
    let listening = server.listen().await.unwrap();
    let ask = async |fault: Fault| {
        server.inject(Endpoint::Jwks, fault.for_next(1));
        raw(listening.address(), "GET", "/jwks", "", "").await
    };
    assert_eq!(ask(Fault::close()).await, "");
    assert_eq!(ask(Fault::unreachable()).await, "");
    assert!(ask(Fault::garbage()).await.ends_with("{\"active\": tru"));
    assert!(ask(Fault::html()).await.contains("\r\ncontent-type: text/html"));
    assert!(ask(Fault::status(StatusCode::BAD_GATEWAY)).await.starts_with("HTTP/1.1 502"));
    let redirect = ask(Fault::redirect("https://elsewhere.example.com/")).await;
    assert!(redirect.starts_with("HTTP/1.1 307"));
    assert!(redirect.contains("\r\nlocation: https://elsewhere.example.com/\r\n"));
    assert_eq!(body(&ask(Fault::oversize(100_000)).await), server.jwks());
    assert!(ask(Fault::oversize(100_000)).await.len() > 100_000);
    assert_eq!(body(&ask(Fault::delay(Duration::from_millis(1))).await), server.jwks());

    let cut = ask(Fault::truncate()).await;
    let whole = server.jwks().to_string();
    assert!(cut.contains(&format!("\r\ncontent-length: {}\r\n", whole.len())), "{cut}");
    assert_eq!(cut.split_once("\r\n\r\n").unwrap().1, &whole[..whole.len() / 2]);
}

#[tokio::test]
async fn hanging_request_over_a_socket_continues_when_the_fault_is_cleared() {
    let server = server();
    let listening = server.listen().await.unwrap();
    server.inject(Endpoint::Jwks, Fault::hang());
    let (answer, ()) = tokio::join!(raw(listening.address(), "GET", "/jwks", "", ""), async {
        server.wait_for_calls(Endpoint::Jwks, 1).await;
        server.clear(Endpoint::Jwks);
    });
    assert_eq!(body(&answer), server.jwks());
}

#[tokio::test]
async fn dropped_listener_closes_its_connections() {
    let server = server();
    let listening = server.listen().await.unwrap();
    let address = listening.address();
    server.inject(Endpoint::Jwks, Fault::hang());
    let (answer, ()) = tokio::join!(raw(address, "GET", "/jwks", "", ""), async {
        server.wait_for_calls(Endpoint::Jwks, 1).await;
        drop(listening);
    });
    assert_eq!(answer, "");
    assert!(TcpStream::connect(address).await.is_err());
}

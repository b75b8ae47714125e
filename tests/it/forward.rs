//! Identity headers for the service behind a proxy.

use std::convert::Infallible;

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_introspect::{
    ClientAuth, ConfigError, ErrorKind, Issuer, ResourceServer,
    credentials::Scheme,
    layer::ForwardHeaders,
    test_util::{AuthorizationServer, Client},
    verify::verify_fn,
};

use crate::support::{
    AUDIENCE, FixedClock, ISSUER, ImmediateVerifier, PATIENCE, active, layer, policy, refusal,
    request, with_token,
};

fn headers() -> ForwardHeaders {
    let set = || -> Result<_, ConfigError> {
        ForwardHeaders::new()
            .issuer("x-auth-issuer")?
            .subject("X-Auth-Subject")?
            .scope("x-auth-scope")?
            .claim("tenant", "x-auth-tenant")
    };
    set().unwrap()
}

/// Responds with the headers of the request.
async fn echo(request: Request<Bytes>) -> Result<Response<Bytes>, Infallible> {
    let mut response = Response::new(Bytes::new());
    *response.headers_mut() = request.headers().clone();
    Ok(response)
}

/// Returns the request headers that the service behind `layer` gets.
async fn seen<L>(layer: &L, request: Request<Bytes>) -> Response<Bytes>
where
    L: Layer<Echo>,
    L::Service: Service<Request<Bytes>, Response = Response<Bytes>, Error = Infallible>,
{
    let Ok(response) = layer.layer(Echo::new(service_fn(echo))).oneshot(request).await;
    response
}

type Echo = tower::util::BoxCloneSyncService<Request<Bytes>, Response<Bytes>, Infallible>;

/// Returns the identity headers, in any spelling.
fn identity_headers(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let mut identity_headers: Vec<_> = headers
        .iter()
        .filter(|(name, _)| name.as_str().contains("auth") && *name != "authorization")
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    identity_headers.sort_unstable();
    identity_headers
}

/// Spellings of an identity header that a client may send.
const SPELLINGS: [&str; 8] = [
    "x-auth-subject",
    "X-AUTH-SUBJECT",
    "x_auth_subject",
    "X-Auth_Subject",
    "x.auth.subject",
    "x-auth~scope",
    "X_AUTH_TENANT",
    "x-auth-issuer",
];

/// A request with all these headers, a hundred times each.
fn spoofed(token: bool) -> Request<Bytes> {
    let mut request = if token { with_token() } else { request(&[]) };
    for name in SPELLINGS {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        for _ in 0..100 {
            request.headers_mut().append(&name, HeaderValue::from_static("root"));
        }
    }
    request.headers_mut().insert("x-authentic", HeaderValue::from_static("stays"));
    request
}

const ALICE: [(&str, &str); 5] = [
    ("x-auth-issuer", ISSUER),
    ("x-auth-scope", "read"),
    ("x-auth-subject", "alice"),
    ("x-auth-tenant", "7"),
    ("x-authentic", "stays"),
];

#[tokio::test]
async fn u1_identity_headers_of_the_client_are_replaced() {
    let at_once = layer(ImmediateVerifier::alice()).forward(headers());
    assert_eq!(identity_headers(seen(&at_once, spoofed(true)).await.headers()), ALICE);
    let slow = layer(verify_fn(async |_| {
        tokio::task::yield_now().await;
        ImmediateVerifier::alice().0
    }));
    assert_eq!(
        identity_headers(seen(&slow.forward(headers()), spoofed(true)).await.headers()),
        ALICE
    );
    // Only configured headers are changed.
    let none = layer(ImmediateVerifier::alice());
    assert!(seen(&none, spoofed(true)).await.headers().contains_key("x_auth_subject"));
}

#[tokio::test]
async fn u1_identity_headers_of_the_client_are_removed_without_a_token() {
    let optional = layer(ImmediateVerifier::alice()).optional().forward(headers());
    assert_eq!(
        identity_headers(seen(&optional, spoofed(false)).await.headers()),
        [("x-authentic", "stays")]
    );
    let exempt = layer(ImmediateVerifier::alice()).forward(headers()).exempt(|head| {
        assert!(!head.headers().contains_key("x-auth-subject"), "an outer layer sees it");
        true
    });
    assert_eq!(
        identity_headers(seen(&exempt, spoofed(true)).await.headers()),
        [("x-authentic", "stays")]
    );
    let silent =
        layer(ImmediateVerifier::claims(r#"{"aud":"https://api.example.com"}"#)).forward(headers());
    assert_eq!(
        identity_headers(seen(&silent, spoofed(true)).await.headers()),
        [("x-auth-issuer", ISSUER), ("x-authentic", "stays")]
    );
}

#[tokio::test]
async fn rfc9110_7_6_1_client_cannot_name_the_identity_headers_in_connection() {
    let layer = layer(ImmediateVerifier::alice()).forward(headers());
    for (sent, left) in [
        ("close, X-Auth-Subject", Some("close")),
        ("x_auth_subject,x-auth-tenant", None),
        ("Upgrade, keep-alive", Some("Upgrade, keep-alive")),
    ] {
        let mut request = with_token();
        request.headers_mut().insert("connection", HeaderValue::from_static(sent));
        let response = seen(&layer, request).await;
        let connection = response.headers().get("connection").map(|value| value.to_str().unwrap());
        assert_eq!(connection, left);
        assert_eq!(response.headers()["x-auth-subject"], "alice");
    }
}

/// Returns the headers for a token with these claims.
fn applied(claims: &str, headers: &ForwardHeaders) -> Result<HeaderMap, ErrorKind> {
    let token = policy().admit(active(claims), Scheme::Bearer).unwrap();
    let mut map = HeaderMap::new();
    map.insert("x-auth-n", HeaderValue::from_static("of the client"));
    map.insert("x-auth-subject", HeaderValue::from_static("of the client"));
    let outcome = headers.apply(Some(&token), &mut map);
    if outcome.is_err() {
        assert!(map.is_empty(), "all headers or none: {map:?}");
    }
    assert!(!format!("{map:?}").contains("alice"), "claims are shown");
    outcome.map(|()| map).map_err(|error| error.kind())
}

/// Returns the value of the header for a claim `n` with this JSON text.
fn value(n: &str, headers: ForwardHeaders) -> Result<Option<String>, ErrorKind> {
    let claims = format!(r#"{{"aud":"{AUDIENCE}","sub":"alice","n":{n}}}"#);
    let map = applied(&claims, &headers.subject("x-auth-subject").unwrap())?;
    assert!(map.get_all("x-auth-n").iter().count() <= 1);
    assert_eq!(map["x-auth-subject"], "alice");
    Ok(map.get("x-auth-n").map(|value| value.to_str().unwrap().to_owned()))
}

#[test]
fn h11_claims_cannot_inject_headers() {
    let claim = || ForwardHeaders::new().claim("n", "x-auth-n").unwrap();
    let json = || ForwardHeaders::new().json("n", "x-auth-n").unwrap();
    let some = |text: &str| Ok(Some(text.to_owned()));
    let long = format!("\"{}\"", "x".repeat(64 * 1024));
    let denied = || Err(ErrorKind::Denied);
    for (n, as_text, as_json) in [
        (
            r#""x\"\r\nx-auth-scope: admin""#,
            some("x\"%0D%0Ax-auth-scope:%20admin"),
            some(r#""x\"\r\nx-auth-scope:%20admin""#),
        ),
        (r#""a\u0000b""#, some("a%00b"), some(r#""a\u0000b""#)),
        ("\"\u{e9}\u{2028}\"", some("%C3%A9%E2%80%A8"), some("\"%C3%A9%E2%80%A8\"")),
        (r#""a, root""#, some("a%2C%20root"), some(r#""a%2C%20root""#)),
        (r#""%0d%0a""#, some("%250d%250a"), some(r#""%250d%250a""#)),
        (r#""""#, Ok(None), some(r#""""#)),
        ("7", some("7"), some("7")),
        ("18446744073709551617", some("18446744073709551617"), some("18446744073709551617")),
        ("1e400", some("1e400"), some("1e400")),
        ("true", some("true"), some("true")),
        ("null", Ok(None), some("null")),
        (r#"["a", "b"]"#, denied(), some(r#"["a"%2C%20"b"]"#)),
        (r#"{"a":{"b":[1]}}"#, denied(), some(r#"{"a":{"b":[1]}}"#)),
        ("[\n7\t]", denied(), some("[%0A7%09]")),
        (&long, denied(), denied()),
    ] {
        assert_eq!(value(n, claim()), as_text, "{}", &n[..n.len().min(40)]);
        assert_eq!(value(n, json()), as_json, "{}", &n[..n.len().min(40)]);
    }
    let absent = applied(r#"{"aud":"https://api.example.com"}"#, &claim()).unwrap();
    assert!(!absent.contains_key("x-auth-n"));
}

#[tokio::test]
async fn identity_over_the_size_limit_is_refused() {
    let long = format!(r#"{{"aud":"{AUDIENCE}","sub":"{}"}}"#, "x".repeat(5000));
    let handler = service_fn(async |_: Request<Bytes>| -> Result<Response<Bytes>, Infallible> {
        panic!("the request was forwarded")
    });
    let layer = layer(ImmediateVerifier::claims(&long)).forward(headers());
    let response = layer.layer(handler).oneshot(spoofed(true)).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(refusal(&response), Some(ErrorKind::Denied));
    assert!(response.headers().values().all(|value| value.len() < 100));

    // The limit is on the encoded size of all headers together.
    let two = |limit| {
        let headers = ForwardHeaders::new().max_bytes(limit);
        let headers =
            headers.subject("x-auth-subject").and_then(|more| more.claim("n", "x-auth-n"));
        applied(r#"{"aud":"https://api.example.com","sub":"12345","n":"a b"}"#, &headers.unwrap())
    };
    assert!(two(10).is_ok());
    assert_eq!(two(9), Err(ErrorKind::Denied));
}

/// A header map holds a bounded number of names, and panics beyond.
#[test]
fn request_with_the_maximum_number_of_headers_is_refused() {
    let mut map = HeaderMap::new();
    for n in 0.. {
        let name: HeaderName = format!("x-{n}").parse().unwrap();
        if map.try_insert(name, HeaderValue::from_static("")).is_err() {
            break;
        }
    }
    let token = policy().admit(ImmediateVerifier::alice().0.unwrap(), Scheme::Bearer).unwrap();
    let full = map.len();
    let refused = headers().apply(Some(&token), &mut map).unwrap_err();
    assert_eq!((refused.kind(), map.len()), (ErrorKind::Denied, full));
    assert!(headers().empty_if_absent().apply(None, &mut map).is_ok());
}

#[test]
fn each_claim_has_one_header_value() {
    let claims =
        r#"{"aud":"https://api.example.com","iss":"https://evil.example.com","scope":["admin",7]}"#;
    for (name, expected) in [("iss", Some(ISSUER)), ("scope", None)] {
        let headers = ForwardHeaders::new().claim(name, "x-auth-n").unwrap();
        let map = applied(claims, &headers).unwrap();
        assert_eq!(map.get("x-auth-n").map(|value| value.to_str().unwrap()), expected, "{name}");
    }
}

#[test]
fn empty_headers_can_be_sent_to_a_proxy_for_absent_claims() {
    let headers = headers().empty_if_absent();
    let mut map = HeaderMap::new();
    map.insert("x-auth-subject", HeaderValue::from_static("root"));
    headers.apply(None, &mut map).unwrap();
    assert_eq!(map.len(), 4);
    assert!(map.values().all(HeaderValue::is_empty));
    let token = policy().admit(ImmediateVerifier::alice().0.unwrap(), Scheme::Bearer).unwrap();
    headers.apply(Some(&token), &mut map).unwrap();
    assert_eq!(identity_headers(&map), ALICE[..4]);
}

#[test]
fn reserved_and_repeated_header_names_are_refused() {
    let problem = |set: Result<ForwardHeaders, ConfigError>| set.unwrap_err().to_string();
    let new = ForwardHeaders::new;
    assert_eq!(
        problem(new().subject("Host")),
        "subject: `Host` is reserved by HTTP, proxies or authentication"
    );
    assert_eq!(
        problem(new().claim("tenant", "content_length")),
        "claims.tenant: `content_length` is reserved by HTTP, proxies or authentication"
    );
    assert_eq!(
        problem(new().scope("x-auth\r\n")),
        "scope: `x-auth\\r\\n` is not a field name (RFC 9110 §5.1)"
    );
    let twice = new().issuer("x-auth-id").and_then(|more| more.json("id", "X_Auth_Id"));
    assert_eq!(problem(twice), "json.id: `x_auth_id` is used for another claim already");
}

#[tokio::test(start_paused = true)]
async fn route_that_requires_fresh_facts_forwards_those() {
    let server = AuthorizationServer::new(ISSUER)
        .with_clock(FixedClock)
        .with_client(Client::new("api", "s3cret"));
    let issuer = Issuer::introspect(ISSUER, ClientAuth::basic("api", "s3cret"));
    let builder = ResourceServer::builder(AUDIENCE)
        .clock(FixedClock)
        .issuer(issuer)
        .transport(server.transport());
    let api = builder.forward(headers()).build().unwrap();
    let answer = |scope: &str| serde_json::json!({"active": true, "aud": AUDIENCE, "sub": "alice", "scope": scope});
    let token = |scope| server.opaque().text("t0ken").introspected_as(answer(scope)).mint();
    let bearer = format!("Bearer {}", token("read admin"));
    let scope = async |layer: &tower_introspect::IntrospectLayer<_>| {
        let request = request(&[("authorization", &bearer), ("x-auth-scope", "root")]);
        seen(layer, request).await.headers()["x-auth-scope"].to_str().unwrap().to_owned()
    };
    assert_eq!(scope(&api.layer()).await, "read admin");
    token("read");
    assert_eq!(scope(&api.layer()).await, "read admin", "remembered");
    let inner = api.live_layer().unwrap().layer(Echo::new(service_fn(echo)));
    let request = request(&[("authorization", &bearer)]);
    let response = api.layer().layer(inner).oneshot(request).await.unwrap();
    assert_eq!(identity_headers(response.headers())[1], ("x-auth-scope", "read"));
}

#[tokio::test]
async fn u1_over_a_real_connection() {
    let handler = async |headers: HeaderMap| {
        let identity_headers =
            identity_headers(&headers).into_iter().map(|(name, value)| format!("{name}={value};"));
        identity_headers.collect::<String>()
    };
    let layer =
        layer(ImmediateVerifier::alice()).optional().forward(headers()).remove_credentials();
    let app = Router::new().route("/", get(handler)).layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async { axum::serve(listener, app).await });
    let ask = async |fields: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let text = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap()
    };
    let spoofed = "X_Auth_Subject: root\r\nX-Auth-Subject: root\r\nx-auth-subject: root\r\n\
                   X-AUTH-TENANT: 1\r\nConnection: x-auth-scope\r\n";
    let alice = "x-auth-issuer=https://as.example.com;x-auth-scope=read;x-auth-subject=alice;\
                 x-auth-tenant=7;";
    assert_eq!(ask(&format!("{spoofed}Authorization: Bearer abc\r\n")).await, alice);
    assert_eq!(ask(spoofed).await, "");
    server.abort();
}

//! Introspection with a scripted server that records its requests.

#![expect(clippy::unwrap_used, reason = "the helpers are tests too")]

#[cfg(feature = "_crypto")]
mod signed;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use tower_introspect::{
    Blame, ClientAuth, ErrorKind, TokenKind, VerifyError,
    clock::{Moment, UnixTime},
    credentials::Token,
    introspection::{IntrospectionVerifier, IntrospectionVerifierBuilder},
    transport::{BodyLimit, HttpTransport, NewConnection, TransportError, TransportErrorKind},
    verify::{self, ActiveToken, Freshness, Verifier, VerifyRequest},
};

use crate::{
    recorded_checks::RecordedChecks,
    support::{FixedClock, PATIENCE},
};

const ISSUER: &str = "https://as.example.com";
const ENDPOINT: &str = "https://as.example.com/introspect";
/// The time of [`FixedClock`].
const NOW: i64 = testing::clock::NOW.as_secs();
const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA";
const ACTIVE: &str = r#"{"active":true,"sub":"alice","aud":"https://api.example.com"}"#;

/// The response of the server to one request.
#[derive(Clone)]
enum ScriptedResponse {
    Answer(u16, HeaderMap, Bytes),
    Fail(TransportErrorKind),
    Hang,
}

impl ScriptedResponse {
    fn json(body: impl Into<Bytes>) -> Self {
        Self::of(200, "application/json", body)
    }

    fn status(status: u16) -> Self {
        Self::Answer(status, HeaderMap::new(), Bytes::new())
    }

    fn of(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::status(status).with("content-type", content_type).with_body(body)
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer(_, headers, _) = &mut self {
            headers.append(name, value.parse().unwrap());
        }
        self
    }

    fn with_body(mut self, text: impl Into<Bytes>) -> Self {
        if let Self::Answer(_, _, body) = &mut self {
            *body = text.into();
        }
        self
    }
}

/// A server that gives its responses in order, the last one forever, and records the requests.
#[derive(Clone)]
struct Server {
    responses: Arc<Mutex<VecDeque<ScriptedResponse>>>,
    seen: Arc<Mutex<Vec<Request<Bytes>>>>,
}

impl Server {
    fn new(responses: impl IntoIterator<Item = ScriptedResponse>) -> Self {
        let responses = Arc::new(Mutex::new(responses.into_iter().collect()));
        Self { responses, seen: Arc::default() }
    }

    fn transport(&self) -> HttpTransport {
        let server = self.clone();
        HttpTransport::new(tower::service_fn(move |request| server.clone().serve(request)))
    }

    async fn serve(self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        self.seen.lock().unwrap().push(request);
        match self.next() {
            ScriptedResponse::Answer(status, headers, body) => {
                let mut response = Response::new(body);
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                *response.headers_mut() = headers;
                Ok(response)
            }
            ScriptedResponse::Fail(kind) => Err(TransportError::new(kind)),
            ScriptedResponse::Hang => std::future::pending().await,
        }
    }

    fn next(&self) -> ScriptedResponse {
        let mut responses = self.responses.lock().unwrap();
        if responses.len() > 1 { responses.pop_front().unwrap() } else { responses[0].clone() }
    }

    fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn body(&self, at: usize) -> String {
        String::from_utf8(self.seen.lock().unwrap()[at].body().to_vec()).unwrap()
    }

    fn header(&self, at: usize, name: header::HeaderName) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        seen[at].headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    fn builder(&self, auth: ClientAuth) -> IntrospectionVerifierBuilder {
        IntrospectionVerifier::builder(ISSUER, auth)
            .endpoint(ENDPOINT)
            .transport(self.transport())
            .clock(FixedClock)
    }

    async fn ask(&self) -> verify::Outcome {
        ask(&self.builder(ClientAuth::basic("api", "secret")).build().unwrap(), TOKEN).await
    }
}

async fn ask(verifier: &IntrospectionVerifier, token: &str) -> verify::Outcome {
    let checks = RecordedChecks::record();
    let outcome = verifier.verify(VerifyRequest::new(Token::bearer(token).unwrap())).await;
    checks.expect_reason(outcome.as_ref().err().map(VerifyError::kind));
    outcome
}

async fn kind_of(act: ScriptedResponse) -> ErrorKind {
    Server::new([act]).ask().await.unwrap_err().kind()
}

async fn active(body: &str) -> Result<ActiveToken, VerifyError> {
    Server::new([ScriptedResponse::json(body.to_owned())]).ask().await
}

async fn sent(auth: ClientAuth) -> (Server, String) {
    let server = Server::new([ScriptedResponse::json(ACTIVE)]);
    ask(&server.builder(auth).build().unwrap(), TOKEN).await.unwrap();
    let body = server.body(0);
    (server, body)
}

// ---- the request (RFC 7662 §2.1) ----

#[tokio::test]
async fn i1_rfc7662_2_1_the_exact_token_is_posted_form_encoded() {
    let server = Server::new([ScriptedResponse::json(ACTIVE)]);
    let verifier = server.builder(ClientAuth::basic("api", "secret")).build().unwrap();
    ask(&verifier, "a+b/c==").await.unwrap();
    ask(&verifier, "-._~").await.unwrap();
    assert_eq!(server.body(0), "token=a%2Bb%2Fc%3D%3D");
    assert_eq!(server.body(1), "token=-._%7E");
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen[0].method(), Method::POST);
    assert_eq!(seen[0].uri(), ENDPOINT);
    assert_eq!(seen[0].headers()[header::CONTENT_TYPE], "application/x-www-form-urlencoded");
}

#[tokio::test]
async fn i2_rfc7662_2_1_hint_is_sent_only_if_configured() {
    let server = Server::new([ScriptedResponse::json(ACTIVE)]);
    server.ask().await.unwrap();
    assert_eq!(server.body(0), format!("token={TOKEN}"));

    let verifier = server
        .builder(ClientAuth::basic("api", "secret"))
        .parameter("resource", "https://api.example.com/a b")
        .parameter("x&y", "1=2")
        .token_type_hint("access_token")
        .build()
        .unwrap();
    ask(&verifier, TOKEN).await.unwrap();
    assert_eq!(
        server.body(1),
        format!(
            "token={TOKEN}&token_type_hint=access_token\
             &resource=https%3A%2F%2Fapi.example.com%2Fa+b&x%26y=1%3D2"
        )
    );
}

#[tokio::test]
async fn i3_rfc7662_2_1_every_request_authenticates() {
    let (server, body) = sent(ClientAuth::basic("api", "secret")).await;
    let basic = format!("Basic {}", STANDARD.encode("api:secret"));
    assert_eq!(server.header(0, header::AUTHORIZATION).unwrap(), basic);
    assert_eq!(body, format!("token={TOKEN}"));

    let (server, body) = sent(ClientAuth::post("a i", "s&t")).await;
    assert_eq!(server.header(0, header::AUTHORIZATION), None);
    assert_eq!(body, format!("token={TOKEN}&client_id=a+i&client_secret=s%26t"));

    let (server, body) = sent(ClientAuth::mtls("api")).await;
    assert_eq!(server.header(0, header::AUTHORIZATION), None);
    assert_eq!(body, format!("token={TOKEN}&client_id=api"));

    let (server, body) = sent(ClientAuth::bearer("own.token")).await;
    assert_eq!(server.header(0, header::AUTHORIZATION).unwrap(), "Bearer own.token");
    assert_eq!(body, format!("token={TOKEN}"));
}

#[tokio::test]
async fn nothing_but_the_token_is_sent_without_credentials() {
    let auth = ClientAuth::danger_none();
    assert_eq!(format!("{auth:?}"), "ClientAuth { method: \"danger_none\", client_id: None, .. }");
    let (server, body) = sent(auth).await;
    assert_eq!(server.header(0, header::AUTHORIZATION), None);
    assert_eq!(body, format!("token={TOKEN}"));
}

#[test]
fn i4_rfc7662_4_the_endpoint_is_https() {
    let server = Server::new([ScriptedResponse::Hang]);
    let build = |issuer: &str, url: &str| {
        IntrospectionVerifier::builder(issuer, ClientAuth::basic("api", "secret"))
            .endpoint(url)
            .transport(server.transport())
            .build()
    };
    assert!(build(ISSUER, ENDPOINT).is_ok());
    for url in ["http://as.example.com/i", "http://127.0.0.1/i", "/i", "", "https://u:p@as/i"] {
        let problems = build(ISSUER, url).unwrap_err();
        assert_eq!(problems.problems().map(|(name, _)| name).collect::<Vec<_>>(), ["endpoint"]);
    }
    let loopback = IntrospectionVerifier::builder("http://localhost:1", ClientAuth::mtls("api"))
        .endpoint("http://127.0.0.1:1/i")
        .transport(server.transport())
        .danger_allow_http_loopback();
    assert!(loopback.build().is_ok());
}

/// Deployments have such issuers, and some of them end in a slash or a query.
#[tokio::test]
async fn issuer_is_only_a_name_if_nothing_is_discovered() {
    let names = ["http://sso.example.com", "joe", "urn:example:sso", "https://as.example.com?x#y"];
    for issuer in names {
        let builder = |server: &Server| {
            IntrospectionVerifier::builder(issuer, ClientAuth::basic("api", "secret"))
                .transport(server.transport())
                .clock(FixedClock)
        };
        let answer = |named: &str| {
            let body = format!(r#"{{"active":true,"sub":"alice","iss":"{named}"}}"#);
            Server::new([ScriptedResponse::of(200, "application/json", body)])
        };
        let own = answer(issuer);
        let outcome = ask(&builder(&own).endpoint(ENDPOINT).build().unwrap(), TOKEN).await;
        assert_eq!(outcome.unwrap().issuer(), issuer);
        assert_eq!(own.calls(), 1, "nothing is discovered");
        let other = answer("https://other.example.com");
        let refused = ask(&builder(&other).endpoint(ENDPOINT).build().unwrap(), TOKEN).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::WrongIssuer);

        let problems = builder(&own).build().unwrap_err();
        assert_eq!(problems.problems().map(|(name, _)| name).collect::<Vec<_>>(), ["issuer"]);
    }
    let nameless = IntrospectionVerifier::builder("", ClientAuth::basic("api", "secret"));
    let problems = nameless.endpoint(ENDPOINT).build().unwrap_err();
    assert_eq!(problems.to_string(), "issuer: empty");
}

#[tokio::test]
async fn i5_request_accepts_json() {
    let (server, _) = sent(ClientAuth::mtls("api")).await;
    assert_eq!(server.header(0, header::ACCEPT).unwrap(), "application/json");
}

#[tokio::test]
async fn i17_request_has_no_other_fields() {
    let (server, _) = sent(ClientAuth::basic("api", "secret")).await;
    let seen = server.seen.lock().unwrap();
    let mut names: Vec<_> = seen[0].headers().keys().map(header::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "accept-encoding", "authorization", "content-type"]);
    assert_eq!(seen[0].headers()["accept-encoding"], "identity");
}

// ---- client authentication (RFC 6749 §2.3.1) ----

#[tokio::test]
async fn o1_rfc6749_2_3_1_basic_halves_are_form_encoded() {
    let (server, _) = sent(ClientAuth::basic("rs:1", "p@ss:w0rd+%")).await;
    assert_eq!(
        server.header(0, header::AUTHORIZATION).unwrap(),
        "Basic cnMlM0ExOnAlNDBzcyUzQXcwcmQlMkIlMjU="
    );
    let (server, _) = sent(ClientAuth::basic("my rs", "\u{e9}~")).await;
    let encoded = STANDARD.encode("my+rs:%C3%A9%7E");
    assert_eq!(server.header(0, header::AUTHORIZATION).unwrap(), format!("Basic {encoded}"));
}

#[tokio::test]
async fn o1_unreserved_characters_are_not_encoded() {
    let plain = "aZ09*-._";
    let (encoding, _) = sent(ClientAuth::basic(plain, plain)).await;
    let (raw, _) = sent(ClientAuth::basic_raw(plain, plain)).await;
    let header = |server: &Server| server.header(0, header::AUTHORIZATION).unwrap();
    assert_eq!(header(&encoding), header(&raw));
}

#[tokio::test]
async fn o2_raw_credentials_are_sent_if_configured() {
    let (server, _) = sent(ClientAuth::basic_raw("rs-1", "p@ss:w0rd+%")).await;
    let raw = STANDARD.encode("rs-1:p@ss:w0rd+%");
    assert_eq!(server.header(0, header::AUTHORIZATION).unwrap(), format!("Basic {raw}"));
}

#[tokio::test]
async fn o3_rfc6749_2_3_1_credentials_are_never_in_the_uri() {
    for auth in [
        ClientAuth::basic("api", "hunter2"),
        ClientAuth::basic_raw("api", "hunter2"),
        ClientAuth::post("api", "hunter2"),
        ClientAuth::bearer("hunter2"),
        ClientAuth::mtls("api"),
    ] {
        let (server, _) = sent(auth).await;
        assert_eq!(server.seen.lock().unwrap()[0].uri(), ENDPOINT);
    }
}

#[tokio::test]
async fn credentials_are_marked_sensitive() {
    for auth in [
        ClientAuth::basic("api", "secret"),
        ClientAuth::basic_raw("api", "secret"),
        ClientAuth::bearer("secret"),
    ] {
        let (server, _) = sent(auth).await;
        assert!(server.seen.lock().unwrap()[0].headers()[header::AUTHORIZATION].is_sensitive());
    }
}

#[test]
fn invalid_credentials_are_reported_by_the_builder() {
    let server = Server::new([ScriptedResponse::Hang]);
    for auth in [
        ClientAuth::basic("", "secret"),
        ClientAuth::basic("api", ""),
        ClientAuth::basic_raw("a:b", "secret"),
        ClientAuth::post("", "secret"),
        ClientAuth::post("api", ""),
        ClientAuth::secret("", "secret"),
        ClientAuth::secret("api", ""),
        ClientAuth::mtls(""),
        ClientAuth::bearer(""),
        ClientAuth::bearer("a b"),
        ClientAuth::bearer("a\r\nb"),
    ] {
        let problems = server.builder(auth).build().unwrap_err();
        let names: Vec<_> = problems.problems().map(|(name, _)| name).collect();
        assert_eq!(names, ["client_auth"]);
        assert!(
            !problems.to_string().contains("secret is") || !problems.to_string().contains("a b")
        );
    }
}

#[test]
fn reserved_and_repeated_parameters_are_refused() {
    let server = Server::new([ScriptedResponse::Hang]);
    for name in ["token", "token_type_hint", "client_id", "client_secret", "client_assertion"] {
        let builder = server.builder(ClientAuth::mtls("api")).parameter(name, "x");
        assert!(builder.build().is_err(), "{name}");
    }
    let builder = server.builder(ClientAuth::mtls("api"));
    assert!(builder.parameter("a", "1").parameter("a", "2").build().is_err());
    let builder = server.builder(ClientAuth::mtls("api"));
    assert!(builder.timeout(Duration::ZERO).build().is_err());
}

// ---- the response (RFC 7662 §2.2) ----

#[tokio::test]
async fn i6_rfc7662_2_2_only_the_boolean_true_is_active() {
    for body in [
        r#"{"active":"true"}"#,
        r#"{"active":1}"#,
        r#"{"active":null}"#,
        r#"{"active":[true]}"#,
        r#"{"active":{"active":true}}"#,
        r#"{"Active":true}"#,
        r#"{"sub":"alice"}"#,
        "{}",
    ] {
        let error = active(body).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadResponse, "{body}");
        assert_eq!(error.blame(), Blame::AuthorizationServer, "{body}");
    }
    assert!(active(r#"{"active":true}"#).await.is_ok());
    assert!(active(r#" { "active" : true } "#).await.is_ok());
    assert!(active(r#"{"\u0061ctive":true}"#).await.is_ok());
}

#[tokio::test]
async fn i7_rfc7662_2_2_other_members_of_an_inactive_response_are_ignored() {
    for body in [
        r#"{"active":false}"#,
        r#"{"active": false}"#,
        r#"{"active":false,"sub":"alice","scope":"admin","iss":"https://other.example"}"#,
        r#"{"active":false,"exp":"soon","aud":7,"token_type":null}"#,
    ] {
        let error = active(body).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Inactive, "{body}");
        assert_eq!(error.blame(), Blame::Client, "{body}");
    }
}

#[tokio::test]
async fn i8_rfc7662_2_3_rejected_client_credentials_are_not_blamed_on_the_client() {
    for act in [
        ScriptedResponse::of(401, "application/json", r#"{"error":"invalid_client"}"#),
        ScriptedResponse::of(400, "application/json", r#"{"error":"invalid_client"}"#),
        ScriptedResponse::of(403, "application/json", r#"{"error":"unauthorized_client"}"#),
        ScriptedResponse::status(401).with("www-authenticate", "Basic"),
        ScriptedResponse::of(401, "application/json", r#"{"error":"invalid_token"}"#)
            .with("www-authenticate", "Bearer"),
    ] {
        let server = Server::new([act]);
        let error = server.ask().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CredentialsRejected);
        assert_eq!(error.blame(), Blame::ResourceServer);
        assert_eq!(server.calls(), 1);
    }
}

/// A firewall in front of the server may respond so to one token, which is no fault of this
/// service.
#[tokio::test]
async fn refusal_that_does_not_speak_of_the_credentials_blames_neither_side() {
    for act in [
        ScriptedResponse::status(401),
        ScriptedResponse::of(403, "text/html", ""),
        ScriptedResponse::status(400),
        ScriptedResponse::status(404),
        ScriptedResponse::of(400, "application/json", r#"{"error":"invalid_request"}"#),
        ScriptedResponse::of(400, "application/json", r#"{"error":"invalid_token"}"#),
        ScriptedResponse::of(400, "text/html", "<html>"),
        ScriptedResponse::of(401, "application/json", r#"{"error":"unsupported_token_type"}"#),
        ScriptedResponse::of(403, "application/json", r#"{"active":true}"#),
    ] {
        let server = Server::new([act]);
        let error = server.ask().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadResponse);
        assert_eq!(error.blame(), Blame::AuthorizationServer);
        assert_eq!(server.calls(), 1);
    }
}

/// The responses of Keycloak, canaille, Glewlwyd, django-oauth-toolkit and Hydra.
#[tokio::test]
async fn error_code_of_the_server_is_told_and_decides_whether_credentials_are_rejected() {
    let json = "application/json";
    let realm = r#"{"error":"access_denied","error_description":"Realm not enabled"}"#;
    let hint = r#"{"error":"invalid_request","error_description":"token_type_hint"}"#;
    let client = r#"{"error":"invalid_client","error_description":"s3cr3t"}"#;
    let overloaded = r#"{"error":"temporarily_unavailable"}"#;
    for (act, kind, context) in [
        (ScriptedResponse::of(403, json, realm), ErrorKind::BadResponse, "403, access_denied"),
        (ScriptedResponse::of(400, json, hint), ErrorKind::BadResponse, "400, invalid_request"),
        (
            ScriptedResponse::of(401, json, client),
            ErrorKind::CredentialsRejected,
            "401, invalid_client",
        ),
        (ScriptedResponse::status(401), ErrorKind::BadResponse, "401, no error code"),
        (ScriptedResponse::of(403, "text/html", ""), ErrorKind::BadResponse, "403, no error code"),
        (
            ScriptedResponse::of(403, json, r#"{"error":"made \n up"}"#),
            ErrorKind::BadResponse,
            "403, no error code",
        ),
        (
            ScriptedResponse::of(401, json, r#"{"error":"request_unauthorized"}"#),
            ErrorKind::BadResponse,
            "401, request_unauthorized",
        ),
        (
            ScriptedResponse::of(503, json, overloaded),
            ErrorKind::Unavailable,
            "503, temporarily_unavailable",
        ),
        // The credentials are not at fault for an error of the server.
        (ScriptedResponse::of(500, json, client), ErrorKind::Unavailable, "500, invalid_client"),
        (ScriptedResponse::status(502), ErrorKind::Unavailable, "502"),
    ] {
        let error = Server::new([act]).ask().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{context}");
        let expected = format!("introspection returned {context}");
        assert_eq!(error.context(), Some(&*expected));
    }
}

#[tokio::test]
async fn unsupported_token_type_is_blamed_on_the_client() {
    for content_type in ["application/json", "application/json; charset=utf-8"] {
        let body = r#"{"error":"unsupported_token_type","error_description":"a JWT"}"#;
        let kind = kind_of(ScriptedResponse::of(400, content_type, body)).await;
        assert_eq!(kind, ErrorKind::NotIntrospectable);
        assert_eq!(kind.blame(), Blame::Client);
    }
    let twice = r#"{"error":"unsupported_token_type","error":"invalid_client"}"#;
    let kind = kind_of(ScriptedResponse::of(400, "application/json", twice)).await;
    assert_eq!(kind, ErrorKind::BadResponse);
}

#[tokio::test]
async fn i9_response_of_another_issuer_is_refused() {
    let error = active(r#"{"active":true,"iss":"https://as.example.com"}"#).await;
    assert_eq!(error.unwrap().issuer(), ISSUER);
    for iss in ["https://as.example.com/", "https://AS.example.com", "https://other.example", ""] {
        let error = active(&format!(r#"{{"active":true,"iss":"{iss}"}}"#)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongIssuer, "{iss}");
    }
}

#[tokio::test]
async fn i9_dates_are_passed_to_the_policy() {
    let facts =
        active(r#"{"active":true,"exp":1796282557.085638,"iat":1.5,"nbf":7}"#).await.unwrap();
    assert_eq!(facts.claims().expires_at(), Some(UnixTime::from_millis(1_796_282_557_085)));
    assert_eq!(facts.claims().issued_at(), Some(UnixTime::from_millis(1500)));
    assert_eq!(facts.claims().not_before(), Some(UnixTime::from_secs(7)));
    assert!(active(r#"{"active":true,"exp":1}"#).await.is_ok());
}

#[tokio::test]
async fn i10_audience_is_a_string_an_array_or_absent() {
    let audience = async |body: &str| {
        let facts = active(body).await.unwrap();
        facts.claims().audience().iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(audience(r#"{"active":true,"aud":"a"}"#).await, ["a"]);
    assert_eq!(audience(r#"{"active":true,"aud":["a","b"]}"#).await, ["a", "b"]);
    assert_eq!(audience(r#"{"active":true,"aud":"read write"}"#).await, ["read write"]);
    assert!(audience(r#"{"active":true}"#).await.is_empty());
    assert!(audience(r#"{"active":true,"aud":[]}"#).await.is_empty());
}

#[tokio::test]
async fn default_audience_is_used_only_if_the_response_has_none() {
    let audience = async |body: &'static str| {
        let server = Server::new([ScriptedResponse::json(body)]);
        let builder = server.builder(ClientAuth::mtls("api")).danger_default_audience("me");
        let facts = ask(&builder.build().unwrap(), TOKEN).await.unwrap();
        facts.claims().audience().iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(audience(r#"{"active":true,"sub":"alice"}"#).await, ["me"]);
    assert_eq!(audience(r#"{"active":true,"aud":"other"}"#).await, ["other"]);
    assert!(audience(r#"{"active":true,"aud":[]}"#).await.is_empty());
}

#[tokio::test]
async fn wrong_types_are_a_bad_response() {
    for member in [
        r#""aud":7"#,
        r#""aud":[7]"#,
        r#""exp":"1893456000""#,
        r#""nbf":"1""#,
        r#""jti":7"#,
        r#""iat":true"#,
        r#""iss":["https://as.example.com"]"#,
        r#""sub":7"#,
        r#""cnf":"x""#,
        r#""token_type":7"#,
        r#""token_use":{}"#,
    ] {
        let error = active(&format!("{{\"active\":true,{member}}}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadResponse, "{member}");
    }
}

#[tokio::test]
async fn i14_rfc7662_2_2_unknown_members_are_kept_and_have_no_effect() {
    let facts =
        active(r#"{"active":true,"type":"x","ext":{"a":[1]},"scope":"a b"}"#).await.unwrap();
    assert_eq!(facts.claims().raw("ext"), Some(r#"{"a":[1]}"#));
    assert!(facts.claims().scope().contains("b"));
}

#[tokio::test]
async fn i15_confirmation_reaches_the_policy() {
    let facts = active(r#"{"active":true,"token_type":"DPoP","cnf":{"jkt":"abc"}}"#).await.unwrap();
    assert_eq!(facts.claims().confirmation().unwrap().jkt(), Some("abc"));
}

#[tokio::test]
async fn i16_token_type_is_compared_without_case() {
    for kind in ["Bearer", "bearer", "BEARER"] {
        let body = format!(r#"{{"active":true,"token_type":"{kind}"}}"#);
        assert!(active(&body).await.is_ok(), "{kind}");
    }
    for kind in ["DPoP", "dpop"] {
        let body = format!(r#"{{"active":true,"token_type":"{kind}"}}"#);
        let error = active(&body).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnprovenPossession, "{kind}");
    }
}

#[tokio::test]
async fn rfc9449_6_2_token_bound_by_dpop_has_the_type_dpop_or_none() {
    let kind = async |members: &str| {
        active(&format!(r#"{{"active":true,{members}}}"#)).await.err().map(|error| error.kind())
    };
    let unproven = Some(ErrorKind::UnprovenPossession);
    for token_type in ["Bearer", "bearer", "BEARER"] {
        let with = |key| format!(r#""token_type":"{token_type}","cnf":{{{key}}}"#);
        assert_eq!(kind(&with(r#""jkt":"abc""#)).await, unproven, "{token_type}");
        assert_eq!(kind(&with(r#""jkt":"abc","x5t#S256":"d""#)).await, unproven, "{token_type}");
        // RFC 8705 §3.2 names no type for tokens that are bound to a certificate.
        assert_eq!(kind(&with(r#""x5t#S256":"d""#)).await, None, "{token_type}");
    }
    assert_eq!(kind(r#""token_type":7,"cnf":{"jkt":"a"}"#).await, Some(ErrorKind::BadResponse));
    assert_eq!(kind(r#""token_type":"DPoP","cnf":{"x5t#S256":"d"}"#).await, unproven);
    for bound in [
        r#""cnf":{"jkt":"abc"}"#,
        r#""token_type":"dPoP","cnf":{"jkt":"abc"}"#,
        r#""token_type":"DPoP","cnf":{"jkt":"abc","x5t#S256":"d"}"#,
    ] {
        assert_eq!(kind(bound).await, None, "{bound}");
    }
}

#[tokio::test]
async fn active_refresh_and_other_tokens_are_refused() {
    for (member, kind) in [
        (r#""token_type":"refresh_token""#, TokenKind::Refresh),
        (r#""token_type":"Refresh_Token""#, TokenKind::Refresh),
        (r#""token_type":"id_token""#, TokenKind::Id),
        (r#""token_use":"refresh_token""#, TokenKind::Refresh),
        (r#""token_use":"refresh""#, TokenKind::Refresh),
        (r#""token_use":"id""#, TokenKind::Id),
        (r#""token_type":"Bearer","token_use":"id""#, TokenKind::Id),
        (r#""typ":"Refresh","token_type":"Bearer""#, TokenKind::Refresh),
        (r#""typ":"Offline""#, TokenKind::Refresh),
        (r#""typ":"ID""#, TokenKind::Id),
        (r#""at_hash":"x""#, TokenKind::Id),
        (r#""c_hash":"x""#, TokenKind::Id),
        (r#""s_hash":"x""#, TokenKind::Id),
        (
            r#""events":{"http://schemas.openid.net/event/backchannel-logout":{}}"#,
            TokenKind::Logout,
        ),
        (r#""events":{"https://example.com/event":{}}"#, TokenKind::SecurityEvent),
        (r#""htm":"GET","htu":"https://api.example.com""#, TokenKind::DpopProof),
        (r#""token_introspection":{"active":true}"#, TokenKind::IntrospectionResponse),
        (r#""token_type":"access_token""#, TokenKind::Other),
        (r#""token_type":"N_A""#, TokenKind::Other),
        (r#""token_type":"mac","scope":"x""#, TokenKind::Other),
        (r#""token_type":"""#, TokenKind::Other),
        (r#""token_use":"other","token_type":"Bearer""#, TokenKind::Other),
        (r#""nonce":"x""#, TokenKind::Id),
    ] {
        let error = active(&format!("{{\"active\":true,{member}}}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongTokenKind(kind), "{member}");
    }
    assert!(active(r#"{"active":true,"typ":"Bearer","nonce":"x"}"#).await.is_ok());
    assert!(active(r#"{"active":true,"typ":7}"#).await.is_ok());
}

#[tokio::test]
async fn i18_response_that_is_not_rfc7662_json_is_refused() {
    let huge = format!(r#"{{"active":true,"x":"{}"}}"#, "x".repeat(5 << 20));
    let deep = format!(r#"{{"active":true,"x":{}{}}}"#, "[".repeat(9000), "]".repeat(9000));
    for (name, act) in [
        ("html", ScriptedResponse::of(200, "text/html", "<html></html>")),
        ("json as html", ScriptedResponse::of(200, "text/html", ACTIVE)),
        ("html as json", ScriptedResponse::json("<html></html>")),
        ("array", ScriptedResponse::json(format!("[{ACTIVE}]"))),
        ("twice", ScriptedResponse::json(r#"{"active":true,"active":true}"#)),
        ("both", ScriptedResponse::json(r#"{"active":false,"active":true}"#)),
        ("scope twice", ScriptedResponse::json(r#"{"active":true,"scope":"a","scope":"b"}"#)),
        ("huge", ScriptedResponse::json(huge)),
        ("deep", ScriptedResponse::json(deep)),
        ("empty", ScriptedResponse::json("")),
        ("truncated", ScriptedResponse::json(r#"{"active":true,"sub":"al"#)),
        ("trailing", ScriptedResponse::json(format!("{ACTIVE}{ACTIVE}"))),
        ("bom", ScriptedResponse::json(format!("\u{feff}{ACTIVE}"))),
        ("latin1", ScriptedResponse::json(&b"{\"active\":true,\"sub\":\"\xe9\"}"[..])),
        ("no type", ScriptedResponse::status(200).with_body(ACTIVE)),
        ("two types", ScriptedResponse::json(ACTIVE).with("content-type", "text/html")),
        ("jwt", ScriptedResponse::of(200, "application/token-introspection+jwt", "a.b.c")),
        ("like json", ScriptedResponse::of(200, "application/jsonx", ACTIVE)),
        ("204", ScriptedResponse::status(204)),
        ("201", ScriptedResponse::of(201, "application/json", ACTIVE)),
        ("206", ScriptedResponse::of(206, "application/json", ACTIVE)),
        ("404", ScriptedResponse::status(404)),
        ("405", ScriptedResponse::status(405)),
        ("too large", ScriptedResponse::Fail(TransportErrorKind::TooLarge)),
    ] {
        let server = Server::new([act]);
        let error = server.ask().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadResponse, "{name}");
        assert_eq!(server.calls(), 1, "{name}");
    }
}

#[tokio::test]
async fn media_type_may_have_parameters() {
    for media_type in [
        "application/json;charset=utf-8",
        "application/json ; charset=\"UTF-8\"",
        "Application/JSON",
    ] {
        assert!(Server::new([ScriptedResponse::of(200, media_type, ACTIVE)]).ask().await.is_ok());
    }
}

#[tokio::test]
async fn i17_redirects_are_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let act =
            ScriptedResponse::status(status).with("location", "https://evil.example/introspect");
        let server = Server::new([act, ScriptedResponse::json(ACTIVE)]);
        assert_eq!(server.ask().await.unwrap_err().kind(), ErrorKind::BadResponse, "{status}");
        assert_eq!(server.calls(), 1, "{status}");
    }
}

#[tokio::test]
async fn i18_response_size_is_limited_while_it_is_read() {
    let (server, _) = sent(ClientAuth::mtls("api")).await;
    let limit = server.seen.lock().unwrap()[0].extensions().get::<BodyLimit>().copied();
    assert_eq!(limit.unwrap().bytes(), 256 * 1024);
}

#[tokio::test]
async fn i19_claims_inside_an_introspected_jwt_are_ignored() {
    // {"alg":"none"} . {"active":true,"sub":"mallory","aud":"https://api.example.com"}
    let jwt = "eyJhbGciOiJub25lIn0.eyJhY3RpdmUiOnRydWUsInN1YiI6Im1hbGxvcnkifQ.";
    let server = Server::new([
        ScriptedResponse::json(r#"{"active":true,"token_type":"Bearer"}"#),
        ScriptedResponse::json(r#"{"active":false}"#),
    ]);
    let verifier = server.builder(ClientAuth::mtls("api")).build().unwrap();
    let facts = ask(&verifier, jwt).await.unwrap();
    assert_eq!(facts.claims().subject(), None);
    assert!(server.body(0).starts_with(&format!("token={jwt}&")));
    assert_eq!(ask(&verifier, jwt).await.unwrap_err().kind(), ErrorKind::Inactive);
}

#[tokio::test]
async fn facts_have_issuer_method_and_time() {
    let facts = active(ACTIVE).await.unwrap();
    assert_eq!(facts.issuer(), ISSUER);
    assert_eq!(facts.method(), verify::Method::Introspection);
    assert_eq!(facts.verified_at().wall(), UnixTime::from_secs(NOW));
}

#[tokio::test]
async fn every_request_is_introspected_for_every_freshness() {
    let server = Server::new([ScriptedResponse::json(ACTIVE)]);
    let verifier = server.builder(ClientAuth::mtls("api")).build().unwrap();
    for freshness in [Freshness::Cached, Freshness::Live, Freshness::Within(Duration::ZERO)] {
        let request = VerifyRequest::new(Token::bearer(TOKEN).unwrap()).with_freshness(freshness);
        verifier.verify(request).await.unwrap();
    }
    assert_eq!(server.calls(), 3);
}

#[tokio::test]
async fn responses_of_real_servers_for_access_tokens_are_accepted() {
    let aud = |facts: &ActiveToken| facts.claims().audience().contains("https://api.example.com");
    // Token types in any case, and a client's own token without a subject.
    for body in [
        r#"{"active":true,"client_id":"svc","exp":1800000600,"iat":1800000000,"iss":"https://as.example.com","scope":"read write","token_type":"Bearer","aud":"https://api.example.com"}"#,
        r#"{"active":true,"sub":"alice","sid":"s1","username":"alice","client_id":"web","exp":1800000600,"iat":1800000000,"iss":"https://as.example.com","jti":"x","scope":"read","token_type":"Bearer","aud":"https://api.example.com"}"#,
        r#"{"active":true,"client_id":"svc","token_type":"bearer","type":"client_token","scope":"read","aud":"https://api.example.com","exp":1800000600,"iat":1800000000,"nbf":1800000000}"#,
        r#"{"active": true, "client_id": "svc", "token_type": "Bearer", "scope": "read", "aud": ["svc", "https://api.example.com"], "iss": "https://as.example.com", "exp": 1800000557.085638, "iat": 1799999957.085638}"#,
        r#"{"active":true,"scope":"read","exp":1800000600,"client_id":"svc","aud":["https://api.example.com"]}"#,
    ] {
        let facts = active(body).await.unwrap();
        assert!(aud(&facts), "{body}");
        assert!(facts.claims().scope().contains("read"), "{body}");
        assert!(facts.claims().expires_at() > Some(UnixTime::from_secs(NOW)), "{body}");
    }
    // No audience, or the scope as audience: the policy must not accept it.
    for body in [
        r#"{"active":true,"scope":"read","exp":1800000600,"client_id":"svc"}"#,
        r#"{"active":true,"sub":"svc","scope":"read","client_id":"svc","iss":"https://as.example.com","exp":1800000600}"#,
        r#"{"active":true,"scope":"read write","aud":"read write","token_type":"bearer"}"#,
        // A refresh token without a type.
        r#"{"active":true,"sub":"alice","client_id":"web","exp":1800000600,"iss":"https://as.example.com","scope":"offline_access"}"#,
    ] {
        assert!(!aud(&active(body).await.unwrap()), "{body}");
    }
}

// ---- discovery of the endpoint (RFC 8414) ----

fn metadata(members: &str) -> ScriptedResponse {
    ScriptedResponse::json(format!(r#"{{"issuer":"{ISSUER}"{members}}}"#))
}

fn discovering(server: &Server, auth: ClientAuth) -> IntrospectionVerifier {
    IntrospectionVerifier::builder(ISSUER, auth).transport(server.transport()).build().unwrap()
}

#[tokio::test]
async fn rfc8414_3_the_endpoint_is_discovered_once() {
    let found = r#","introspection_endpoint":"https://as.example.com/found""#;
    let server = Server::new([metadata(found), ScriptedResponse::json(ACTIVE)]);
    let verifier = discovering(&server, ClientAuth::basic("api", "secret"));
    ask(&verifier, TOKEN).await.unwrap();
    ask(&verifier, TOKEN).await.unwrap();
    let seen = server.seen.lock().unwrap();
    let uris: Vec<_> = seen.iter().map(|request| request.uri().to_string()).collect();
    assert_eq!(
        uris,
        [
            "https://as.example.com/.well-known/oauth-authorization-server",
            "https://as.example.com/found",
            "https://as.example.com/found",
        ]
    );
    assert_eq!(seen[0].headers().get(header::AUTHORIZATION), None);
    assert!(seen[0].body().is_empty());
}

#[tokio::test]
async fn rfc8705_5_client_with_a_certificate_uses_the_mtls_alias() {
    let members = r#","introspection_endpoint":"https://as.example.com/plain",
        "mtls_endpoint_aliases":{"introspection_endpoint":"https://mtls.example.com/i"}"#;
    let uri = async |auth| {
        let server = Server::new([metadata(members), ScriptedResponse::json(ACTIVE)]);
        ask(&discovering(&server, auth), TOKEN).await.unwrap();
        let seen = server.seen.lock().unwrap();
        seen[1].uri().to_string()
    };
    assert_eq!(uri(ClientAuth::mtls("api")).await, "https://mtls.example.com/i");
    assert_eq!(uri(ClientAuth::post("api", "s")).await, "https://as.example.com/plain");
}

/// Introspects at a server whose metadata lists these methods of client authentication.
async fn introspect_at_server_offering(
    methods: &str,
    auth: ClientAuth,
) -> (verify::Outcome, Server) {
    let members = format!(
        r#","introspection_endpoint":"{ENDPOINT}"{}{methods}"#,
        if methods.is_empty() {
            ""
        } else {
            r#","introspection_endpoint_auth_methods_supported":"#
        }
    );
    let server = Server::new([metadata(&members), ScriptedResponse::json(ACTIVE)]);
    let outcome = ask(&discovering(&server, auth), TOKEN).await;
    (outcome, server)
}

const LONG_SECRET: &str = "a secret of 32 characters or more";

#[tokio::test]
async fn rfc8414_2_basic_is_preferred_and_is_the_default() {
    for methods in [
        "",
        "[]",
        "7",
        r#"["client_secret_basic"]"#,
        r#"["client_secret_jwt","client_secret_post","client_secret_basic"]"#,
    ] {
        let (outcome, server) =
            introspect_at_server_offering(methods, ClientAuth::secret("api", LONG_SECRET)).await;
        outcome.unwrap();
        let authorization = server.header(1, header::AUTHORIZATION).unwrap();
        assert!(authorization.starts_with("Basic "), "{methods}");
        assert_eq!(server.body(1), format!("token={TOKEN}"), "{methods}");
    }
}

#[tokio::test]
async fn rfc8414_2_post_is_used_if_the_server_does_not_offer_basic() {
    let methods = r#"["private_key_jwt","client_secret_jwt","client_secret_post"]"#;
    let (outcome, server) =
        introspect_at_server_offering(methods, ClientAuth::secret("api", "s")).await;
    outcome.unwrap();
    assert_eq!(server.header(1, header::AUTHORIZATION), None);
    assert_eq!(server.body(1), format!("token={TOKEN}&client_id=api&client_secret=s"));
}

#[cfg(feature = "_crypto")]
#[tokio::test]
async fn rfc8414_2_assertion_is_used_if_the_server_offers_nothing_else_for_a_secret() {
    let methods = r#"["private_key_jwt","client_secret_jwt"]"#;
    let (outcome, server) =
        introspect_at_server_offering(methods, ClientAuth::secret("api", LONG_SECRET)).await;
    outcome.unwrap();
    assert_eq!(server.header(1, header::AUTHORIZATION), None);
    assert!(server.body(1).contains("&client_assertion="), "{}", server.body(1));
    assert!(!server.body(1).contains("client_secret"), "{}", server.body(1));

    // RFC 7518 §3.2: HS256 requires 32 bytes.
    let (outcome, server) =
        introspect_at_server_offering(methods, ClientAuth::secret("api", "short")).await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(server.calls(), 1, "only the metadata was fetched");
}

#[tokio::test]
async fn rfc8414_2_secret_is_not_sent_to_a_server_that_accepts_none() {
    let methods = r#"["private_key_jwt","x\r\nforged: log","tls_client_auth"]"#;
    let (outcome, server) =
        introspect_at_server_offering(methods, ClientAuth::secret("api", LONG_SECRET)).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.blame(), Blame::ResourceServer);
    let context = error.context().unwrap();
    assert!(
        context.ends_with("it offers private_key_jwt, tls_client_auth and 1 unknown"),
        "{context}"
    );
    assert_eq!(server.calls(), 1, "only the metadata was fetched");

    let members = format!(
        r#","introspection_endpoint":"{ENDPOINT}","introspection_endpoint_auth_methods_supported":{methods}"#
    );
    let server = Server::new([metadata(&members)]);
    let warmed = discovering(&server, ClientAuth::secret("api", LONG_SECRET)).warm().await;
    assert_eq!(warmed.unwrap_err().kind(), ErrorKind::Misconfigured);
}

/// The configured method is used, whatever the metadata lists.
#[tokio::test]
async fn configured_method_overrides_the_metadata() {
    let (outcome, server) =
        introspect_at_server_offering(r#"["private_key_jwt"]"#, ClientAuth::post("api", "s")).await;
    outcome.unwrap();
    assert!(server.body(1).ends_with("&client_id=api&client_secret=s"));
}

#[tokio::test]
async fn configured_endpoint_gets_the_secret_by_basic() {
    let (server, body) = sent(ClientAuth::secret("api", "s")).await;
    let basic = format!("Basic {}", STANDARD.encode("api:s"));
    assert_eq!(server.header(0, header::AUTHORIZATION), Some(basic));
    assert_eq!(body, format!("token={TOKEN}"));
}

#[tokio::test]
async fn token_is_not_sent_to_endpoints_of_invalid_metadata() {
    for act in [
        metadata(""),
        metadata(r#","introspection_endpoint":"http://as.example.com/plain""#),
        metadata(r#","introspection_endpoint":7"#),
        ScriptedResponse::json(
            r#"{"issuer":"https://evil.example","introspection_endpoint":"https://evil.example/i"}"#,
        ),
        ScriptedResponse::status(404),
    ] {
        let server = Server::new([act]);
        let verifier = discovering(&server, ClientAuth::mtls("api"));
        let error = ask(&verifier, TOKEN).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadResponse);
        let seen = server.seen.lock().unwrap();
        assert!(seen.iter().all(|request| request.method() == Method::GET));
    }
}

#[tokio::test(start_paused = true)]
async fn the_timeout_covers_discovery() {
    let server = Server::new([ScriptedResponse::Hang]);
    let verifier = IntrospectionVerifier::builder(ISSUER, ClientAuth::mtls("api"))
        .transport(server.transport())
        .timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let start = Moment::now(&FixedClock);
    assert_eq!(ask(&verifier, TOKEN).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(Moment::now(&FixedClock).since(start), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_moved_is_discovered_again() {
    let first = r#","introspection_endpoint":"https://as.example.com/old""#;
    let second = r#","introspection_endpoint":"https://as.example.com/new""#;
    let server = Server::new([
        metadata(first),
        ScriptedResponse::json(ACTIVE),
        ScriptedResponse::status(404),
        metadata(second),
        ScriptedResponse::json(ACTIVE),
    ]);
    let verifier = discovering(&server, ClientAuth::mtls("api"));
    ask(&verifier, TOKEN).await.unwrap();
    tokio::time::advance(Duration::from_secs(120)).await;
    assert_eq!(ask(&verifier, TOKEN).await.unwrap_err().kind(), ErrorKind::BadResponse);
    // The metadata is fetched again in the background.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.calls(), 4);
    ask(&verifier, TOKEN).await.unwrap();
    assert_eq!(server.seen.lock().unwrap()[4].uri(), "https://as.example.com/new");
}

// ---- failures ----

#[tokio::test]
async fn i18_an_overloaded_or_broken_server_is_unavailable() {
    for status in [429, 500, 501, 505, 599] {
        let server = Server::new([ScriptedResponse::status(status).with_body(ACTIVE)]);
        let error = server.ask().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{status}");
        assert_eq!(error.retry_after(), None);
        assert_eq!(server.calls(), 1, "{status} is not to be asked again");
    }
}

#[tokio::test]
async fn rfc9110_10_2_3_retry_after_is_seconds_or_a_date() {
    for (value, expected) in [
        ("7", Some(7)),
        ("3600", Some(3600)),
        ("86400", Some(3600)),
        ("99999999999999999999999999", None),
        // NOW is Fri, 15 Jan 2027 08:00:00 GMT.
        ("Fri, 15 Jan 2027 08:01:30 GMT", Some(90)),
        ("Fri, 15 Jan 2027 07:00:00 GMT", None),
        ("Fri, 15 Jan 2100 08:00:00 GMT", Some(3600)),
        ("0", None),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("1.5", None),
    ] {
        for status in [429, 503] {
            let server = Server::new([ScriptedResponse::status(status).with("retry-after", value)]);
            let error = server.ask().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{value}");
            assert_eq!(error.retry_after(), expected.map(Duration::from_secs), "{value}");
            assert_eq!(server.calls(), 1, "{value}: the server asked to be left alone");
        }
    }
}

#[tokio::test]
async fn request_whose_connection_was_closed_is_sent_once_more_over_a_new_one() {
    let closed = ScriptedResponse::Fail(TransportErrorKind::Closed);
    let server = Server::new([closed.clone(), ScriptedResponse::json(ACTIVE)]);
    server.ask().await.unwrap();
    assert_eq!(server.calls(), 2);
    assert_eq!(server.body(0), server.body(1));
    let is_new =
        |at: usize| server.seen.lock().unwrap()[at].extensions().get::<NewConnection>().is_some();
    assert!(!is_new(0) && is_new(1));

    let server = Server::new([closed]);
    assert_eq!(server.ask().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(server.calls(), 2);
}

#[tokio::test]
async fn no_other_failure_is_retried() {
    for act in [
        ScriptedResponse::status(502),
        ScriptedResponse::status(503),
        ScriptedResponse::status(504),
        ScriptedResponse::Fail(TransportErrorKind::Connect),
        ScriptedResponse::Fail(TransportErrorKind::Other),
        ScriptedResponse::Fail(TransportErrorKind::Timeout),
    ] {
        let server = Server::new([act, ScriptedResponse::json(ACTIVE)]);
        assert_eq!(server.ask().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(server.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_server_delays_by_exactly_the_timeout() {
    let start = Moment::now(&FixedClock);
    let server = Server::new([ScriptedResponse::Hang]);
    assert_eq!(server.ask().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(Moment::now(&FixedClock).since(start), Duration::from_secs(3));

    let start = Moment::now(&FixedClock);
    let builder = server.builder(ClientAuth::mtls("api")).timeout(Duration::from_millis(700));
    let error = ask(&builder.build().unwrap(), TOKEN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(Moment::now(&FixedClock).since(start), Duration::from_millis(700));
}

#[tokio::test(start_paused = true)]
async fn the_timeout_covers_the_retry() {
    let slow = HttpTransport::new(tower::service_fn(async |_: Request<Bytes>| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Err::<Response<Bytes>, _>(TransportError::new(TransportErrorKind::Closed))
    }));
    let verifier = IntrospectionVerifier::builder(ISSUER, ClientAuth::mtls("api"))
        .endpoint(ENDPOINT)
        .transport(slow)
        .build()
        .unwrap();
    let start = Moment::now(&FixedClock);
    assert_eq!(ask(&verifier, TOKEN).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(Moment::now(&FixedClock).since(start), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn dropped_future_cancels_its_request_only() {
    let server = Server::new([ScriptedResponse::Hang, ScriptedResponse::json(ACTIVE)]);
    let verifier = server.builder(ClientAuth::mtls("api")).build().unwrap();
    let dropped = tokio::time::timeout(Duration::from_secs(1), ask(&verifier, TOKEN)).await;
    assert!(dropped.is_err());
    assert!(ask(&verifier, TOKEN).await.is_ok());
    // Nothing is sent before the first poll.
    drop(verifier.verify(VerifyRequest::new(Token::bearer(TOKEN).unwrap())));
    assert_eq!(server.calls(), 2);
}

/// Answers each connection with these bytes and closes it. Returns its URL.
#[cfg(feature = "reqwest")]
async fn closing_after(bytes: &'static [u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/introspect", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    url
}

#[cfg(feature = "reqwest")]
#[tokio::test]
async fn truncated_response_is_refused() {
    for (bytes, kind) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n\
               {\"active\":true}"[..],
            ErrorKind::Unavailable,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
              transfer-encoding: chunked\r\n\r\nf\r\n{\"active\":true}\r\n",
            ErrorKind::Unavailable,
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-type: appl", ErrorKind::Unavailable),
        (b"", ErrorKind::Unavailable),
        // The length is known only from the closed connection, so the JSON shows that it is
        // truncated.
        (
            b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n{\"active\":true",
            ErrorKind::BadResponse,
        ),
    ] {
        let verifier = IntrospectionVerifier::builder(ISSUER, ClientAuth::mtls("api"))
            .endpoint(closing_after(bytes).await)
            .danger_allow_http_loopback()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let error = ask(&verifier, TOKEN).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", bytes.escape_ascii());
    }
    let url =
        closing_after(b"HTTP/1.0 200\r\ncontent-type: application/json\r\n\r\n{\"active\": true}");
    let verifier = IntrospectionVerifier::builder(ISSUER, ClientAuth::mtls("api"))
        .endpoint(url.await)
        .danger_allow_http_loopback()
        .timeout(PATIENCE)
        .build()
        .unwrap();
    assert!(ask(&verifier, TOKEN).await.is_ok(), "HTTP/1.0, no reason phrase, no length");
}

// ---- debug output ----

#[tokio::test]
async fn debug_and_errors_show_no_secret_and_no_token() {
    let secret = "hunter2hunter2";
    let answers = [
        ScriptedResponse::of(400, "application/json", format!(r#"{{"error":"{TOKEN}"}}"#)),
        ScriptedResponse::of(401, "application/json", format!(r#"{{"error":"{secret}"}}"#)),
        ScriptedResponse::of(418, "text/plain", TOKEN),
        ScriptedResponse::json(TOKEN),
        ScriptedResponse::json(format!(r#"{{"active":true,"iss":"{TOKEN}"}}"#)),
        ScriptedResponse::json(format!(r#"{{"active":true,"aud":{{"{TOKEN}":1}}}}"#)),
        ScriptedResponse::json(format!(r#"{{"active":true,"token_type":["{TOKEN}"]}}"#)),
        ScriptedResponse::of(200, TOKEN, TOKEN),
        ScriptedResponse::Fail(TransportErrorKind::Other),
    ];
    for auth in [
        ClientAuth::basic("api", secret),
        ClientAuth::basic_raw("api", secret),
        ClientAuth::post("api", secret),
        ClientAuth::secret("api", secret),
        ClientAuth::bearer(secret),
    ] {
        let mut shown = format!("{auth:?}");
        for answer in &answers {
            let server = Server::new([answer.clone()]);
            let builder = server.builder(auth.clone()).parameter("p", secret);
            shown.push_str(&format!("{builder:?}"));
            let verifier = builder.build().unwrap();
            shown.push_str(&format!("{verifier:?}"));
            let verifying = verifier.verify(VerifyRequest::new(Token::bearer(TOKEN).unwrap()));
            shown.push_str(&format!("{verifying:?}"));
            let error = verifying.await.unwrap_err();
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                shown.push_str(&format!("{error:?} {error} {error:#?}"));
                cause = error.source();
            }
        }
        assert!(!shown.contains(secret), "{shown}");
        assert!(!shown.contains(&STANDARD.encode(format!("api:{secret}"))), "{shown}");
        assert!(!shown.contains(TOKEN), "{shown}");
    }
}

// ---- client assertions (RFC 7523) ----

#[cfg(feature = "_crypto")]
mod assertions {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::Value;
    use tower_introspect::jose::{Algorithm, SigningKey};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn key() -> SigningKey {
        let pem = include_bytes!("keys/p256.pem");
        SigningKey::from_pem(Algorithm::ES256, pem).unwrap().with_kid("2026")
    }

    /// Returns header and claims of the assertion in a request body.
    fn assertion(server: &Server, at: usize) -> (Value, Value) {
        let body = server.body(at);
        let pairs: Vec<_> = body.split('&').map(|pair| pair.split_once('=').unwrap()).collect();
        assert_eq!(
            pairs[..2],
            [
                ("token", TOKEN),
                (
                    "client_assertion_type",
                    "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
                ),
            ]
        );
        let [.., ("client_assertion", jwt)] = pairs[..] else { panic!("{body}") };
        assert_eq!(pairs.len(), 3);
        let parts: Vec<_> = jwt.split('.').collect();
        let part = |at: usize| {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[at]).unwrap()).unwrap()
        };
        (part(0), part(1))
    }

    #[tokio::test]
    async fn k1_k2_k3_rfc7523_2_2_an_assertion_authenticates() {
        let (server, _) = sent(ClientAuth::private_key_jwt("api", key())).await;
        assert_eq!(server.header(0, header::AUTHORIZATION), None);
        let (_, claims) = assertion(&server, 0);
        assert_eq!(claims["iss"], "api");
        assert_eq!(claims["sub"], "api");
        assert_eq!(claims["aud"], ISSUER);
        assert_eq!(claims["iat"], NOW);
        assert_eq!(claims["exp"], NOW + 60);
        assert!(claims["jti"].as_str().unwrap().len() >= 22);
        assert_eq!(claims.as_object().unwrap().len(), 6);
    }

    #[tokio::test]
    async fn k2_the_audience_may_be_an_endpoint() {
        let auth = ClientAuth::private_key_jwt("api", key()).assertion_audience(ENDPOINT);
        let (server, _) = sent(auth).await;
        assert_eq!(assertion(&server, 0).1["aud"], ENDPOINT);
    }

    #[tokio::test]
    async fn k4_every_request_and_retry_has_a_new_assertion() {
        let closed = ScriptedResponse::Fail(TransportErrorKind::Closed);
        let server = Server::new([closed, ScriptedResponse::json(ACTIVE)]);
        let verifier = server.builder(ClientAuth::private_key_jwt("api", key())).build().unwrap();
        ask(&verifier, TOKEN).await.unwrap();
        ask(&verifier, TOKEN).await.unwrap();
        let mut names: Vec<_> =
            (0..3).map(|at| assertion(&server, at).1["jti"].to_string()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 3);
    }

    #[tokio::test]
    async fn k5_assertion_header_has_alg_and_kid() {
        let (server, _) = sent(ClientAuth::private_key_jwt("api", key())).await;
        let (header, _) = assertion(&server, 0);
        assert_eq!(header, serde_json::json!({"alg": "ES256", "typ": "JWT", "kid": "2026"}));

        let (server, _) = sent(ClientAuth::client_secret_jwt("api", SECRET)).await;
        let (header, claims) = assertion(&server, 0);
        assert_eq!(header, serde_json::json!({"alg": "HS256", "typ": "JWT"}));
        assert_eq!(claims["sub"], "api");
    }

    #[tokio::test]
    async fn k2_assertion_made_from_a_secret_may_have_a_configured_audience() {
        let endpoint = "https://as.example.com/introspect";
        let auth = ClientAuth::secret("api", LONG_SECRET).assertion_audience(endpoint);
        let (outcome, server) =
            introspect_at_server_offering(r#"["client_secret_jwt"]"#, auth).await;
        outcome.unwrap();
        assert_eq!(assertion(&server, 1).1["aud"], endpoint);

        let nobody = ClientAuth::secret("api", "s").assertion_audience("");
        let problems = server.builder(nobody).build().unwrap_err().to_string();
        assert_eq!(problems, "client_auth: the audience of the assertion is empty");
    }

    #[test]
    fn k5_private_key_jwt_is_asymmetric() {
        let server = Server::new([ScriptedResponse::Hang]);
        let secret = SigningKey::from_secret(Algorithm::HS256, SECRET.as_bytes()).unwrap();
        for auth in [
            ClientAuth::private_key_jwt("api", secret),
            ClientAuth::private_key_jwt("", key()),
            ClientAuth::private_key_jwt("api", key()).assertion_audience(""),
            ClientAuth::client_secret_jwt("api", "rfc7518 3.2: too short"),
            ClientAuth::client_secret_jwt("", SECRET),
        ] {
            let problems = server.builder(auth).build().unwrap_err();
            let names: Vec<_> = problems.problems().map(|(name, _)| name).collect();
            assert_eq!(names, ["client_auth"]);
        }
    }

    #[tokio::test]
    async fn the_signature_covers_header_and_claims() {
        let (server, body) = sent(ClientAuth::client_secret_jwt("api", SECRET)).await;
        drop(server);
        let (_, jwt) = body.rsplit_once('=').unwrap();
        let (input, signature) = jwt.rsplit_once('.').unwrap();
        let secret = SigningKey::from_secret(Algorithm::HS256, SECRET.as_bytes()).unwrap();
        let expected = secret.sign_bytes(input.as_bytes()).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(signature).unwrap(), expected);
    }

    #[test]
    fn debug_shows_no_secret() {
        for auth in [
            ClientAuth::client_secret_jwt("api", SECRET),
            ClientAuth::private_key_jwt("api", key()),
        ] {
            let shown = format!("{auth:?}");
            assert!(shown.contains("_jwt") && !shown.contains(SECRET), "{shown}");
        }
    }
}

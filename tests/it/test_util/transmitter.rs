//! The streams of the transmitter of security events, strictly by SSF 1.0.

use super::*;

const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

/// A receiver with an access token.
pub(super) struct Receiver {
    server: AuthorizationServer,
    token: String,
}

impl Receiver {
    pub(super) fn new(server: &AuthorizationServer, client: &str) -> Self {
        let token = server.jwt().client_id(client).subject(client).mint();
        Self { server: server.clone(), token }
    }

    fn request(&self, method: Method, endpoint: Endpoint, body: &Value) -> Request<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.server.url(endpoint))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        let bytes = if body.is_null() {
            Bytes::new()
        } else {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Bytes::from(body.to_string())
        };
        request.body(bytes).unwrap()
    }

    async fn send(&self, method: Method, endpoint: Endpoint, body: Value) -> (u16, Value) {
        let response = send(&self.server, self.request(method, endpoint, &body)).await;
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        let body = if response.body().is_empty() { Value::Null } else { json_of(&response) };
        (response.status().as_u16(), body)
    }

    /// Sends a request with a `stream_id` in its query.
    pub(super) async fn at(&self, method: Method, endpoint: Endpoint, id: &str) -> (u16, Value) {
        let mut request = self.request(method, endpoint, &Value::Null);
        let url = format!("{}?stream_id={id}", self.server.url(endpoint));
        *request.uri_mut() = url.parse().unwrap();
        let response = send(&self.server, request).await;
        let body = if response.body().is_empty() { Value::Null } else { json_of(&response) };
        (response.status().as_u16(), body)
    }

    async fn post(&self, endpoint: Endpoint, body: Value) -> (u16, Value) {
        self.send(Method::POST, endpoint, body).await
    }

    pub(super) async fn poll(&self, body: Value) -> Value {
        let (status, body) = self.post(Endpoint::Poll, body).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(super) async fn poll_now(&self) -> Value {
        self.poll(json!({"returnImmediately": true})).await
    }
}

pub(super) fn jti(token: &str) -> String {
    part(token, 1)["jti"].as_str().unwrap().to_owned()
}

pub(super) fn event(server: &AuthorizationServer) -> String {
    server.security_event("api").of_subject("alice").session_revoked().mint()
}

/// Returns the events of a response to a poll.
pub(super) fn names(response: &Value) -> Vec<&str> {
    response["sets"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn ssf_metadata_is_between_host_and_path() {
    let server = AuthorizationServer::new("https://as.example.com/t1");
    let url = "https://as.example.com/.well-known/ssf-configuration/t1";
    assert_eq!(server.url(Endpoint::SsfConfiguration), url);
    let document = json_of(&send(&server, get(url)).await);
    assert_eq!(document["issuer"], "https://as.example.com/t1");
    assert_eq!(document["jwks_uri"], server.url(Endpoint::Jwks));
    assert_eq!(document["spec_version"], "1_0");
    let methods = json!(["urn:ietf:rfc:8935", "urn:ietf:rfc:8936"]);
    assert_eq!(document["delivery_methods_supported"], methods);
    assert_eq!(document["authorization_schemes"], json!([{"spec_urn": "urn:ietf:rfc:6749"}]));
    for (name, endpoint) in [
        ("configuration_endpoint", Endpoint::Streams),
        ("status_endpoint", Endpoint::StreamStatus),
        ("add_subject_endpoint", Endpoint::AddSubject),
        ("remove_subject_endpoint", Endpoint::RemoveSubject),
        ("verification_endpoint", Endpoint::Verification),
    ] {
        assert_eq!(document[name], server.url(endpoint));
    }
    assert_eq!(server.calls(Endpoint::SsfConfiguration), 1);

    server.set_transmitter_metadata("issuer", "https://evil.example.com");
    server.set_transmitter_metadata("jwks_uri", Value::Null);
    let document = json_of(&send(&server, get(url)).await);
    assert_eq!(document["issuer"], "https://evil.example.com");
    assert_eq!(document.get("jwks_uri"), None);
}

#[tokio::test]
async fn ssf_stream_is_created_read_changed_and_deleted() {
    let server = server();
    let api = Receiver::new(&server, "api");
    assert_eq!(api.send(Method::GET, Endpoint::Streams, Value::Null).await, (200, json!([])));

    let push = json!({
        "method": "urn:ietf:rfc:8935",
        "endpoint_url": "https://api.example.com/events",
        "authorization_header": "Bearer abc",
    });
    let wanted =
        json!({"delivery": push, "events_requested": [REVOKED, "urn:x"], "description": "d"});
    let (status, created) = api.post(Endpoint::Streams, wanted.clone()).await;
    assert_eq!(status, 201);
    let id = created["stream_id"].as_str().unwrap();
    assert_eq!((&created["iss"], &created["aud"]), (&json!(AS), &json!("api")));
    assert_eq!(created["events_delivered"], json!([REVOKED]));
    assert_eq!(created["delivery"]["endpoint_url"], "https://api.example.com/events");
    assert!(!created.to_string().contains("Bearer abc"), "a secret is not read again");
    assert_eq!(api.at(Method::GET, Endpoint::Streams, id).await, (200, created.clone()));
    assert_eq!(api.post(Endpoint::Streams, wanted).await.0, 409);

    let changed = json!({"stream_id": id, "events_requested": [VERIFICATION], "iss": AS});
    let (status, changed) = api.send(Method::PATCH, Endpoint::Streams, changed).await;
    assert_eq!((status, &changed["description"]), (200, &json!("d")));
    assert_eq!(changed["events_delivered"], json!([]));
    let wrong = json!({"stream_id": id, "iss": "https://evil.example.com"});
    assert_eq!(api.send(Method::PATCH, Endpoint::Streams, wrong).await.0, 400);

    let replaced = json!({"stream_id": id});
    let (status, replaced) = api.send(Method::PUT, Endpoint::Streams, replaced).await;
    assert_eq!((status, replaced.get("description")), (200, None));
    let poll = json!({"method": "urn:ietf:rfc:8936", "endpoint_url": server.url(Endpoint::Poll)});
    assert_eq!(replaced["delivery"], poll);

    assert_eq!(api.at(Method::DELETE, Endpoint::Streams, id).await, (204, Value::Null));
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(api.at(method, Endpoint::Streams, id).await.0, 404);
    }
    assert_eq!(api.post(Endpoint::Poll, json!({})).await.0, 404);
}

#[tokio::test]
async fn ssf_malformed_requests_are_refused() {
    let server = server();
    let api = Receiver::new(&server, "api");
    for body in [
        json!([]),
        json!({"delivery": 1}),
        json!({"delivery": {}}),
        json!({"delivery": {"method": "urn:ietf:rfc:8935"}}),
        json!({"delivery": {"method": "urn:ietf:rfc:8935", "endpoint_url": "nonsense"}}),
        json!({"delivery": {"method": "urn:ietf:rfc:8936", "endpoint_url": "https://x.example"}}),
        json!({"events_requested": "x"}),
        json!({"events_requested": [1]}),
        json!({"description": 1}),
    ] {
        assert_eq!(api.post(Endpoint::Streams, body.clone()).await.0, 400, "{body}");
    }
    let id = server.add_poll_stream("api");
    for (endpoint, body) in [
        (Endpoint::StreamStatus, json!({"stream_id": id})),
        (Endpoint::StreamStatus, json!({"stream_id": id, "status": "on"})),
        (Endpoint::StreamStatus, json!({"status": "paused"})),
        (Endpoint::AddSubject, json!({"stream_id": id})),
        (Endpoint::AddSubject, json!({"stream_id": id, "subject": {"email": "a"}})),
        (Endpoint::RemoveSubject, json!({"stream_id": id, "subject": "a"})),
        (Endpoint::Verification, json!({})),
        (Endpoint::Verification, json!({"stream_id": id, "state": 1})),
        (Endpoint::Poll, json!({"maxEvents": -1})),
        (Endpoint::Poll, json!({"returnImmediately": 1})),
        (Endpoint::Poll, json!({"ack": "x"})),
        (Endpoint::Poll, json!({"ack": [1]})),
        (Endpoint::Poll, json!({"setErrs": {"x": "bad"}})),
    ] {
        assert_eq!(api.post(endpoint, body.clone()).await.0, 400, "{endpoint:?} {body}");
    }
    for (method, endpoint) in [
        (Method::GET, Endpoint::Poll),
        (Method::PUT, Endpoint::StreamStatus),
        (Method::GET, Endpoint::Verification),
        (Method::OPTIONS, Endpoint::Streams),
    ] {
        assert_eq!(api.send(method, endpoint, Value::Null).await.0, 405, "{endpoint:?}");
    }
    let mut request = api.request(Method::POST, Endpoint::Poll, &json!({}));
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    assert_eq!(send(&server, request).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn rfc6750_3_1_transmitter_needs_an_access_token_of_its_own() {
    let server = server();
    server.add_poll_stream("api");
    let good = server.opaque().client_id("api").mint();
    let revoked = server.opaque().client_id("api").mint();
    server.revoke(&revoked);
    let foreign = AuthorizationServer::new(AS).with_clock(FixedClock).jwt().client_id("api").mint();
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    for (authorization, expected) in [
        (bearer(&good), 200),
        (None, 401),
        (bearer(&revoked), 401),
        (bearer(&foreign), 401),
        (bearer(&server.opaque().client_id("api").expired().mint()), 401),
        (bearer(&server.id_token().client_id("api").mint()), 401),
        (bearer(&server.refresh_token().client_id("api").mint()), 401),
        (bearer(&server.security_event("api").mint()), 401),
        (bearer(&server.opaque().without("client_id").mint()), 401),
        (Some(format!("DPoP {good}")), 401),
        (Some(basic("api", "s3cret")), 401),
        // Another client has no stream.
        (bearer(&server.opaque().client_id("web").mint()), 404),
    ] {
        let api = Receiver { server: server.clone(), token: String::new() };
        let mut request = api.request(Method::POST, Endpoint::Poll, &json!({"maxEvents": 0}));
        request.headers_mut().remove(header::AUTHORIZATION);
        if let Some(value) = &authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        let response = send(&server, request).await;
        assert_eq!(response.status().as_u16(), expected, "{authorization:?}");
        let challenged = response.headers().contains_key(header::WWW_AUTHENTICATE);
        assert_eq!(challenged, expected == 401);
    }
}

#[tokio::test]
async fn ssf_paused_stream_holds_events_and_disabled_one_loses_them() {
    let server = server();
    let api = Receiver::new(&server, "api");
    let id = server.add_poll_stream("api");
    let set = async |status: &str| {
        let body = json!({"stream_id": id, "status": status, "reason": "r"});
        let (code, body) = api.post(Endpoint::StreamStatus, body).await;
        assert_eq!((code, &body["status"], &body["reason"]), (200, &json!(status), &json!("r")));
        assert_eq!(api.at(Method::GET, Endpoint::StreamStatus, &id).await, (200, body));
    };
    set("paused").await;
    let held = event(&server);
    server.queue_event(&held);
    assert!(names(&api.poll_now().await).is_empty());
    set("enabled").await;
    assert_eq!(names(&api.poll_now().await), [jti(&held)]);
    set("disabled").await;
    server.queue_event(&event(&server));
    assert!(server.queued_events().is_empty());
    set("enabled").await;
    assert!(names(&api.poll_now().await).is_empty());
}

#[tokio::test]
async fn ssf_subjects_are_added_and_removed() {
    let server = server();
    let api = Receiver::new(&server, "api");
    let id = server.add_poll_stream("api");
    let subject = json!({"format": "email", "email": "a@example.com"});
    let body = json!({"stream_id": id, "subject": subject, "verified": true});
    assert_eq!(api.post(Endpoint::AddSubject, body.clone()).await, (200, Value::Null));
    assert_eq!(api.post(Endpoint::RemoveSubject, body).await, (204, Value::Null));
    let other = json!({"stream_id": "other", "subject": subject});
    assert_eq!(api.post(Endpoint::AddSubject, other).await.0, 404);
}

#[tokio::test]
async fn ssf_verification_event_has_the_state() {
    let clock = TestClock::pinned(FixedClock.now());
    let server = server().with_clock(clock.clone());
    let api = Receiver::new(&server, "api");
    let id = server.add_poll_stream("api");
    let verify = async |body: Value| api.post(Endpoint::Verification, body).await.0;
    assert_eq!(verify(json!({"stream_id": id, "state": "abc"})).await, 204);
    let polled = api.poll_now().await;
    let set = polled["sets"][names(&polled)[0]].as_str().unwrap();
    let claims = part(set, 1);
    assert_eq!(claims["sub_id"], json!({"format": "opaque", "id": id}));
    assert_eq!(claims["events"], json!({VERIFICATION: {"state": "abc"}}));
    assert_eq!(claims["aud"], "api");
    assert_eq!(verify(json!({"stream_id": "other"})).await, 404);

    server.set_min_verification_interval(Duration::from_secs(60));
    let (_, configuration) = api.at(Method::GET, Endpoint::Streams, &id).await;
    assert_eq!(configuration["min_verification_interval"], 60);
    assert_eq!(verify(json!({"stream_id": id})).await, 429);
    clock.step(Duration::from_secs(60));
    assert_eq!(verify(json!({"stream_id": id})).await, 204);

    // A pushed stream is verified by push.
    let id = server.add_push_stream("api", "https://api.example.com/events", None);
    assert_eq!(verify(json!({"stream_id": id})).await, 204);
    assert_eq!(part(server.deliveries()[0].token(), 1)["events"], json!({VERIFICATION: {}}));
    assert_eq!(api.post(Endpoint::Poll, json!({})).await.0, 404);
}

#[tokio::test]
async fn ssf_ended_session_is_told_to_the_streams_that_requested_it() {
    let server = server();
    server.add_poll_stream("web");
    let api = Receiver::new(&server, "api");
    let wanted = json!({"events_requested": [VERIFICATION]});
    assert_eq!(api.post(Endpoint::Streams, wanted).await.0, 201);
    server.end_session("alice", "s-1");
    assert!(names(&api.poll_now().await).is_empty());
    let polled = Receiver::new(&server, "web").poll_now().await;
    let set = polled["sets"][names(&polled)[0]].as_str().unwrap();
    assert_eq!(part(set, 1)["aud"], "web");
}

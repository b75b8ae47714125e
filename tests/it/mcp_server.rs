//! The MCP server of the examples, which users may copy: the scopes of its tools cannot be
//! bypassed.

#[path = "../../examples/mcp_server/main.rs"]
#[expect(dead_code, reason = "a program has more than its service")]
mod example;

use axum::{Router, body::Body};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tower_introspect::{
    ResourceServer,
    revocation::Cutoff,
    test_util::{AuthorizationServer, Listening, verified_token},
};

use crate::support::challenge;

const RESOURCE: &str = "http://127.0.0.1:9500/mcp";

struct World {
    api: ResourceServer,
    app: Router,
    authority: AuthorizationServer,
    _listening: Listening,
}

impl World {
    async fn new() -> Self {
        let (authority, listening) = AuthorizationServer::on_loopback().await.unwrap();
        let api = example::resource_server(RESOURCE, authority.issuer(), true).unwrap();
        let app = example::app(&api, RESOURCE).unwrap();
        Self { api, app, authority, _listening: listening }
    }

    fn token(&self, scope: &str) -> String {
        self.authority.jwt().audience(RESOURCE).scope(scope).mint()
    }

    fn request(&self, token: &str, body: impl Into<Body>) -> Request<Body> {
        Request::post("/mcp")
            .header("host", "127.0.0.1:9500")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body.into())
            .unwrap()
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.app.clone().oneshot(request).await.unwrap()
    }

    async fn post(&self, scope: &str, body: impl Into<Body>) -> Response<Body> {
        self.send(self.request(&self.token(scope), body)).await
    }
}

fn call(tool: &str) -> Value {
    let params = json!({"name": tool, "arguments": {"a": 2, "b": 3}});
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
}

async fn body(response: Response<Body>) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[tokio::test]
async fn mcp_c6_each_tool_requires_its_own_scopes() {
    let world = World::new().await;
    for (tool, scope, status) in [
        ("add", "calc", StatusCode::OK),
        ("add", "other", StatusCode::FORBIDDEN),
        ("add", "calc:admin", StatusCode::FORBIDDEN),
        ("reset", "calc", StatusCode::FORBIDDEN),
        ("reset", "calc:admin", StatusCode::FORBIDDEN),
        ("reset", "calc:admin calc", StatusCode::OK),
    ] {
        let response = world.post(scope, call(tool).to_string()).await;
        assert_eq!(response.status(), status, "{tool} with {scope}");
        if status == StatusCode::FORBIDDEN {
            let needed = if tool == "add" { "calc" } else { "calc calc:admin" };
            let told = challenge(response.headers()).unwrap().to_owned();
            let error = format!("error=\"insufficient_scope\", scope=\"{needed}\"");
            assert!(told.contains(&error) && told.contains("resource_metadata="), "{told}");
        } else {
            assert!(body(response).await["result"]["content"][0]["text"].is_string());
        }
    }
    let reset = body(world.post("calc calc:admin", call("reset").to_string()).await).await;
    // The tool knows the subject of the token, and counts admitted calls only.
    assert_eq!(reset["result"]["content"][0]["text"], "0 additions, forgotten for alice");
}

/// Two parsers of the same message might disagree about the tool that is called.
#[tokio::test]
async fn tool_is_found_in_every_spelling_of_a_message() {
    let world = World::new().await;
    let template = call("reset").to_string();
    for hidden in [
        template.replacen("\"name\":\"reset\"", "\"name\":\"reset\",\"name\":\"add\"", 1),
        template.replacen("\"name\":\"reset\"", "\"name\":\"add\",\"name\":\"reset\"", 1),
        template.replacen("\"name\":\"reset\"", "\"name\":\"\\u0072eset\"", 1),
        template.replacen("tools/call", "tools\\/call", 1),
        template.replacen("\"method\":", "\"method\":\"tools/list\",\"method\":", 1),
        template.replacen(
            "\"method\":\"tools/call\"",
            "\"method\":\"tools/call\",\"method\":\"tools/list\"",
            1,
        ),
        template.replacen("\"params\":", "\"params\":{\"name\":\"add\"},\"params\":", 1),
        format!("[{template}]"),
        format!("[{},{template}]", call("add")),
        format!("{template}{template}"),
        format!("{}\n{template}", call("add")),
        format!("\u{feff}{template}"),
        "null".to_owned(),
        String::new(),
    ] {
        let response = world.post("calc", hidden.clone()).await;
        let status = response.status();
        let answer = body(response).await;
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
        assert!(!text.contains("forgotten"), "{hidden}: {answer}");
        assert!(!status.is_server_error(), "{hidden}: {status}");
    }
    // An unknown tool is reported by the server itself.
    for name in ["divide", "Reset", "reset ", ""] {
        let answer = body(world.post("calc calc:admin", call(name).to_string()).await).await;
        assert!(answer["error"].is_object(), "{name}: {answer}");
    }
}

/// The current server refuses such a message itself. A later version might not.
#[tokio::test]
async fn forwarded_message_is_the_parsed_one() {
    let echo = async |headers: http::HeaderMap, body: String| {
        assert!(!headers.contains_key("content-length"));
        body
    };
    let app: Router = Router::new()
        .route("/", axum::routing::post(echo))
        .route_layer(axum::middleware::from_fn(example::scopes_of_tools));
    let twice = r#"{ "method": "tools/call", "params": {"name": "reset", "name": "add"} }"#;
    let mut request = Request::post("/").header("content-length", twice.len());
    let token = verified_token(&json!({"scope": "calc"}));
    request.extensions_mut().unwrap().insert(token);
    let response = app.oneshot(request.body(Body::from(twice)).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let seen = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
    assert_eq!(seen, r#"{"method":"tools/call","params":{"name":"add"}}"#);
}

#[tokio::test]
async fn message_size_is_limited() {
    let world = World::new().await;
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(64 * 1024));
    assert_eq!(world.post("calc", long).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let deep = format!("{{\"a\":{}", "[".repeat(60_000));
    assert_eq!(world.post("calc", deep).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn mcp_c4_c12_every_request_needs_a_token_for_this_server() {
    let world = World::new().await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    for method in [Method::POST, Method::GET, Method::DELETE, Method::OPTIONS] {
        let mut request = world.request("", list.clone());
        request.headers_mut().remove("authorization");
        *request.method_mut() = method.clone();
        assert_eq!(world.send(request).await.status(), StatusCode::UNAUTHORIZED, "{method}");
    }
    let foreign = world.authority.jwt().audience("http://127.0.0.1:9500").scope("calc").mint();
    let response = world.send(world.request(&foreign, list.clone())).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(world.post("", list).await.status(), StatusCode::OK, "listing requires no scope");
}

#[tokio::test]
async fn requests_of_web_pages_are_refused() {
    let world = World::new().await;
    for (name, value) in [("host", "evil.example.com"), ("origin", "https://evil.example.com")] {
        let mut request = world.request(&world.token("calc"), call("add").to_string());
        request.headers_mut().insert(name, value.parse().unwrap());
        assert_eq!(world.send(request).await.status(), StatusCode::FORBIDDEN, "{name}");
    }
}

#[tokio::test]
async fn stream_of_a_client_that_listens_ends_with_its_token() {
    let world = World::new().await;
    let token = world.token("calc");
    let version = "2026-07-28";
    let listen = || {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({"notifications": {"toolsListChanged": true}, "_meta": meta});
        let method = "subscriptions/listen";
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut request = world.request(&token, message.to_string());
        for (name, value) in [("mcp-protocol-version", version), ("mcp-method", method)] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        world.send(request)
    };
    let response = listen().await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("acknowledged"), "{first:?}");
    world.api.revocations().revoke(&Cutoff::subject(world.authority.issuer(), "alice"));
    while let Some(frame) = body.frame().await {
        // Comments keep the connection open.
        assert!(frame.expect("a clean end").into_data().unwrap().starts_with(b":"));
    }
    assert_eq!(listen().await.status(), StatusCode::UNAUTHORIZED);
}

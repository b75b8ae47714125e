//! Checks the pushes of the SDK with a minimal OpenTelemetry collector: OTLP over HTTP, as JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Uri},
};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    process::Command,
    time::{sleep, timeout},
};

mod common;

use common::{fetch, service};

/// The documented fields of the span.
const FIELDS: [&str; 4] = ["outcome", "reason", "issuer", "method"];
/// The attributes that `tracing-opentelemetry` adds to every span.
const OWN: [&str; 2] = ["level", "target"];

/// The pushes: path and body.
type Pushed = Arc<Mutex<Vec<(String, String)>>>;

async fn collector() -> (Pushed, String) {
    let pushed = Pushed::default();
    let app = Router::new().fallback(take).with_state(pushed.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (pushed, endpoint)
}

async fn take(
    State(pushed): State<Pushed>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> ([(&'static str, &'static str); 1], &'static str) {
    assert_eq!(headers["content-type"], "application/json");
    pushed.lock().unwrap().push((uri.path().to_owned(), body));
    ([("content-type", "application/json")], "{}")
}

/// Collects the items of all lists of this name, at any depth.
fn all<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| all(item, name, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_array() {
                    Some(items) if key == name => found.extend(items),
                    _ => all(value, name, found),
                }
            }
        }
        _ => {}
    }
}

fn received(pushed: &Pushed, path: &str) -> Vec<Value> {
    let pushed = pushed.lock().unwrap();
    let bodies = pushed.iter().filter(|(to, _)| to == path);
    bodies.map(|(_, body)| serde_json::from_str(body).unwrap()).collect()
}

/// Returns the attributes of a span or event, by name.
fn attributes(of: &Value) -> BTreeMap<&str, String> {
    let list = of["attributes"].as_array().into_iter().flatten();
    list.map(|it| (it["key"].as_str().unwrap(), it["value"].to_string())).collect()
}

/// Returns the metrics of the table in docs/operations.md: name, kind, unit.
fn documented() -> BTreeSet<(String, &'static str, &'static str)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `tower_introspect_"));
    let rows = rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let kind = match cells[2] {
            "counter" => "sum",
            "gauge" => "gauge",
            "histogram" => "histogram",
            other => panic!("{other}"),
        };
        let unit = match cells[3] {
            "" => "",
            "seconds" => "s",
            "bytes" => "By",
            other => panic!("{other}"),
        };
        (cells[1].trim_matches('`').to_owned(), kind, unit)
    });
    rows.collect()
}

/// Returns the pushed metrics in the same form.
fn metrics(pushed: &Pushed) -> BTreeSet<(String, &'static str, &'static str)> {
    let bodies = received(pushed, "/v1/metrics");
    let mut found = Vec::new();
    bodies.iter().for_each(|body| all(body, "metrics", &mut found));
    let described = found.into_iter().map(|metric| {
        assert_ne!(metric["description"].as_str().unwrap_or_default(), "", "{metric}");
        let of = |it: &&str| metric.get(it).is_some();
        let kind = ["sum", "gauge", "histogram"].into_iter().find(of).expect("a kind");
        let unit = ["s", "By"].into_iter().find(|it| metric["unit"] == **it).unwrap_or_default();
        (metric["name"].as_str().unwrap().to_owned(), kind, unit)
    });
    described.collect()
}

/// Returns the expected parts that no span has had so far.
fn unseen(spans: &[&Value]) -> Vec<&'static str> {
    let named = |name: &'static str| spans.iter().filter(move |span| span["name"] == name);
    let requests: BTreeSet<_> = named("request").filter_map(|it| it["spanId"].as_str()).collect();
    let mut unseen: BTreeSet<_> = FIELDS.into_iter().collect();
    let mut child = false;
    for span in named("verify_token") {
        unseen.retain(|field| !attributes(span).contains_key(field));
        child |= span["parentSpanId"].as_str().is_some_and(|parent| requests.contains(parent));
    }
    // A refusal at once is an event in the request, one after a wait an event in the verification.
    let refused = |name| {
        named(name).any(|span| {
            let mut events = span["events"].as_array().into_iter().flatten();
            events.any(|event| {
                event["name"] == "request refused" && attributes(event).contains_key("reason")
            })
        })
    };
    let others = [
        ("child of a request", child),
        ("event in a request", refused("request")),
        ("event in a verification", refused("verify_token")),
    ];
    unseen.extend(others.into_iter().filter(|(_, seen)| !seen).map(|(what, _)| what));
    unseen.into_iter().collect()
}

#[tokio::test]
async fn a_collector_gets_the_documented_metrics_and_the_span_and_no_token() {
    let (pushed, endpoint) = collector().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_SERVICE_NAME", "payments"),
    ];
    let (mut service, address) = service(env!("CARGO_BIN_EXE_otel"), &variables).await;
    let tokens = ["a-token-to-look-for", "eyJhbGciOiJSUzI1NiJ9.e30.c2VjcmV0"];
    for token in tokens {
        let field = format!("Authorization: Bearer {token}\r\n");
        let (status, _) = fetch(&address, "/payments", &field).await.unwrap();
        assert_eq!(status, 401);
    }

    let documented = documented();
    assert!(documented.len() >= 18, "{documented:?}");
    let mut left = (Vec::new(), BTreeSet::new());
    for _ in 0..240 {
        sleep(Duration::from_millis(500)).await;
        let bodies = received(&pushed, "/v1/traces");
        let mut spans = Vec::new();
        bodies.iter().for_each(|body| all(body, "spans", &mut spans));
        left = (unseen(&spans), &documented - &metrics(&pushed));
        if left.0.is_empty() && left.1.is_empty() {
            break;
        }
    }
    assert!(left.0.is_empty() && left.1.is_empty(), "{left:#?}");

    // After SIGINT it pushes the rest and ends.
    let id = service.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    let ended = timeout(Duration::from_secs(120), service.wait()).await.expect("in time").unwrap();
    assert!(ended.success(), "{ended}");

    // Nothing undocumented is pushed: no names, no fields, no spans of the exporter.
    assert_eq!(metrics(&pushed), documented);
    let bodies = received(&pushed, "/v1/traces");
    let mut spans = Vec::new();
    bodies.iter().for_each(|body| all(body, "spans", &mut spans));
    for span in spans {
        let fields: BTreeSet<_> = attributes(span).into_keys().collect();
        let known: &[&str] = if span["name"] == "verify_token" { &FIELDS } else { &[] };
        assert!(span["name"] == "verify_token" || span["name"] == "request", "{span}");
        assert!(fields.iter().all(|it| known.contains(it) || OWN.contains(it)), "{span}");
    }
    for (path, body) in pushed.lock().unwrap().iter() {
        assert!(path == "/v1/traces" || path == "/v1/metrics", "{path}");
        assert!(body.contains("payments"), "the service's name: {body}");
        // The tokens above, those of the traffic, and the secret of the service.
        for secret in tokens.into_iter().chain(["eyJ", "unknown-", "Bearer", "s3cret"]) {
            assert!(!body.contains(secret), "{secret} in {body}");
        }
    }
}

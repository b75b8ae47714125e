//! No token, proof or secret is in any log line or metric of this process, at the finest level.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, StatusCode};
use metrics::set_default_local_recorder;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower_introspect::{
    ClientAuth, ErrorKind, Issuer, RequireScope, ResourceServer, VerifyError,
    credentials::Extractor,
    jose::{Algorithm, SigningKey},
    jwt::KeySet,
    policy::Observer,
    resource_server::ResourceServerBuilder,
    respond::Refusal,
    test_util::{AuthorizationServer, Client, Endpoint, Fault},
    verify::verify_fn,
};

use crate::{
    AUDIENCE, ISSUER, alone,
    capture::Captured,
    present,
    recorder::MemoryRecorder,
    send,
    support::{FixedClock, PATIENCE, policy},
};

/// A text in every secret, token, proof and claim of these tests.
const MARK: &str = "h1ddenh1dden";

/// The mark in base64 at each of its three offsets, without the characters that depend on its
/// neighbours.
const MARK_IN_BASE64: [&str; 3] = ["aDFkZGVuaDFkZGVu", "gxZGRlbmgxZGRlb", "oMWRkZW5oMWRkZW"];

#[test]
fn mark_is_found_in_base64() {
    use base64::Engine as _;

    for (shift, expected) in MARK_IN_BASE64.iter().enumerate() {
        let text = format!("{}{MARK}", &"xxx"[..shift]);
        let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        assert!(encoded.contains(expected), "{encoded} at {shift}");
    }
}

/// The captured log and metrics.
struct LogAndMetrics {
    captured: Captured,
    seen: MemoryRecorder,
    /// Texts that must be in neither, besides the mark.
    tokens: Vec<String>,
}

impl LogAndMetrics {
    fn check(&self) {
        for (what, text) in [("log", self.captured.text()), ("metrics", self.seen.text())] {
            for mark in [MARK].iter().chain(&MARK_IN_BASE64) {
                if let Some(line) = text.lines().find(|line| line.contains(mark)) {
                    panic!("a secret is in the {what}: {line}");
                }
            }
            for token in &self.tokens {
                assert!(!text.contains(token.as_str()), "a token is in the {what}");
                // A token may be truncated, or its parts shown separately.
                for part in token.split('.').filter(|part| part.len() > 16) {
                    assert!(!text.contains(part), "a part of a token is in the {what}: {part}");
                }
            }
        }
    }
}

fn marked(what: &str) -> String {
    format!("{what}-{MARK}")
}

fn signing_key() -> SigningKey {
    let pem = include_bytes!("../it/keys/ed25519.pem");
    SigningKey::from_pem(Algorithm::EdDSA, pem).unwrap().with_kid("c1")
}

fn client_key() -> KeySet {
    KeySet::from_jwk(signing_key().public_jwk().unwrap().to_string().as_bytes()).unwrap()
}

/// Returns each client authentication, with the server's registration of the client.
fn clients() -> Vec<(ClientAuth, Client)> {
    let secret = marked("s3cret");
    let long = format!("{secret}-{secret}-{secret}-{secret}");
    let shared = KeySet::from_secret(Algorithm::HS256, long.as_bytes()).unwrap();
    vec![
        (ClientAuth::basic("api", &secret), Client::new("api", &secret)),
        (ClientAuth::post("api", &secret), Client::new("api", &secret)),
        (ClientAuth::bearer(&secret), Client::bearer("api", &secret)),
        (
            ClientAuth::private_key_jwt("api", signing_key()),
            Client::assertions("api", client_key()),
        ),
        (ClientAuth::client_secret_jwt("api", &long), Client::assertions("api", shared)),
    ]
}

/// Returns valid tokens, and tokens with every defect.
fn tokens(server: &AuthorizationServer) -> Vec<String> {
    let opaque = || server.opaque().subject(MARK).audience(AUDIENCE).claim("email", MARK);
    let jwt = || server.jwt().subject(MARK).audience(AUDIENCE).claim("email", MARK);
    vec![
        opaque().text(&marked("opaque")).mint(),
        opaque().text(&marked("for-another")).audience("https://other.example.com").mint(),
        opaque().text(&marked("bound")).claim("cnf", serde_json::json!({"jkt": MARK})).mint(),
        opaque().text(&marked("odd")).introspected_as(serde_json::json!({"active": MARK})).mint(),
        opaque().text(&marked("refresh")).claim("token_type", "refresh_token").mint(),
        marked("unknown"),
        jwt().mint(),
        jwt().without("exp").mint(),
        jwt().kid(MARK).mint(),
        jwt().typ(MARK).mint(),
        jwt().header("crit", serde_json::json!([MARK])).mint(),
        jwt().header("alg", MARK).mint(),
        jwt().claim("iss", format!("https://{MARK}.example.com")).mint(),
        jwt().claim("iss", serde_json::json!({ MARK: MARK })).mint(),
        jwt().claim("aud", format!("https://{MARK}.example.com")).mint(),
        jwt().claim("exp", MARK).mint(),
        jwt().claim("scope", serde_json::json!({ MARK: MARK })).mint(),
        jwt().with_corrupt_signature().mint(),
        jwt().unsigned().mint(),
        jwt().raw_claims(&format!("{{\"{MARK}\":")).mint(),
        jwt().raw_claims(&format!("{{\"{MARK}\":1,\"{MARK}\":2}}")).mint(),
        jwt().raw_header(&format!("{{\"{MARK}\"}}")).mint(),
        server.id_token().subject(MARK).mint(),
        format!("{MARK}.{MARK}.{MARK}.{MARK}.{MARK}"),
        format!("{MARK}{}", "x".repeat(9_000)),
    ]
}

fn faults() -> Vec<Option<Fault>> {
    let page = format!("<html>{MARK}</html>");
    let page = http::Response::builder().header("content-type", MARK).body(page.into()).unwrap();
    let redirect = Fault::redirect(&format!("https://{MARK}.example.com/{MARK}"));
    vec![
        None,
        Some(Fault::html()),
        Some(Fault::respond(page)),
        Some(redirect),
        Some(Fault::status(StatusCode::UNAUTHORIZED)),
        Some(
            Fault::status(StatusCode::SERVICE_UNAVAILABLE).with_retry_after(Duration::from_secs(1)),
        ),
        Some(Fault::garbage()),
        Some(Fault::truncate()),
        Some(Fault::close()),
    ]
}

/// A hook that logs everything it gets, as an application might.
fn log_refusal(refusal: &Refusal<'_>) {
    tracing::error!(?refusal, error = %refusal.error(), head = ?refusal.head(), "told of a refusal");
}

fn api(
    issuer: Issuer,
    change: impl FnOnce(ResourceServerBuilder) -> ResourceServerBuilder,
) -> ResourceServer {
    let trial = Observer::new("a trial");
    let never = tower_introspect::policy::Requirement::all_scopes(["never"]);
    let builder = ResourceServer::builder(AUDIENCE)
        .clock(FixedClock)
        .issuer(issuer)
        .stale_if_error(Duration::from_secs(60))
        .policy(|policy| policy.observe(never, &trial))
        .on_refusal(log_refusal);
    change(builder).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn rfc6750_5_2_no_token_secret_or_claim_is_logged() {
    let (_turn, captured) = alone().await;
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    let mut all = LogAndMetrics { captured, seen: seen.clone(), tokens: Vec::new() };
    let modes: [fn(ClientAuth) -> Issuer; 5] = [
        |auth| Issuer::hybrid(ISSUER, auth),
        |auth| Issuer::introspect(ISSUER, auth),
        |_| Issuer::jwt(ISSUER),
        |auth| Issuer::jwt_and_introspect(ISSUER, auth, Duration::from_secs(10)),
        |auth| Issuer::hybrid(ISSUER, auth).fall_back_to_introspection(),
    ];
    for (at, (auth, client)) in clients().into_iter().enumerate() {
        // All modes with one client authentication, and one mode with all of them.
        let tried = if at == 0 { &modes[..] } else { &modes[..1] };
        for mode in tried {
            let server = AuthorizationServer::new(ISSUER).with_client(client.clone());
            let server = server.with_clock(FixedClock);
            let api = api(mode(auth.clone()), |api| api.transport(server.transport()));
            let tokens = tokens(&server);
            for fault in faults() {
                for endpoint in [Endpoint::Introspection, Endpoint::Jwks, Endpoint::Discovery] {
                    if let Some(fault) = &fault {
                        server.inject(endpoint, fault.clone());
                    }
                }
                // The subject is the only claim that may be shown, if configured.
                for token in &tokens {
                    present(&api.layer(), token).await;
                }
                tokio::time::advance(Duration::from_secs(3_600)).await;
            }
            api.record_metrics();
            tracing::info!(?api, stats = ?api.stats(), readiness = ?api.readiness(), "state");
            all.tokens.extend(tokens);
        }
    }
    let reasons: std::collections::BTreeSet<_> = all
        .captured
        .lines()
        .iter()
        .filter_map(|line| line.field("reason").map(str::to_owned))
        .collect();
    // The log was not empty.
    assert!(reasons.len() >= 15, "{reasons:?}");
    assert!(all.captured.named("told of a refusal").len() > 1_000);
    assert!(all.captured.text().contains("verify_token"));
    all.check();
}

#[tokio::test(start_paused = true)]
async fn rfc6750_2_token_from_every_source_is_not_logged() {
    let (_turn, captured) = alone().await;
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    let everywhere = || {
        Extractor::new()
            .danger_cookie("token")
            .danger_query_parameter("access_token")
            .websocket_protocol("token.")
    };
    let refused = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
    let layer = tower_introspect::IntrospectLayer::new(refused, policy())
        .extractor(everywhere())
        .on_refusal(log_refusal);
    let (bearer, basic) = (format!("Bearer {MARK}"), format!("Basic {MARK}"));
    let (dpop, twice) = (format!("DPoP {MARK}"), format!("Bearer {MARK}, Bearer {MARK}"));
    let (odd, cookie) = (format!("Bearer {MARK} {MARK}"), format!("token={MARK}"));
    let protocol = format!("token.{MARK}");
    for (path, fields) in [
        ("/", vec![("authorization", &bearer)]),
        ("/", vec![("authorization", &bearer), ("authorization", &bearer)]),
        ("/", vec![("authorization", &twice)]),
        ("/", vec![("authorization", &odd)]),
        ("/", vec![("authorization", &basic)]),
        ("/", vec![("authorization", &dpop), ("dpop", &bearer)]),
        ("/", vec![("authorization", &dpop), ("dpop", &bearer), ("dpop", &bearer)]),
        ("/", vec![("cookie", &cookie)]),
        ("/", vec![("sec-websocket-protocol", &protocol)]),
        ("/?access_token=h1ddenh1dden", vec![]),
        ("/?access_token=h1ddenh1dden&access_token=h1ddenh1dden", vec![]),
        ("/?access_token=h1ddenh1dden", vec![("authorization", &bearer)]),
    ] {
        let mut request = Request::get(path);
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let status = send(&layer, request.body(Bytes::new()).unwrap()).await;
        assert!((400..500).contains(&status), "{status}");
    }
    LogAndMetrics { captured, seen: seen.clone(), tokens: Vec::new() }.check();
}

/// Errors of every kind that an application's verifier may create, with sources from this crate.
#[tokio::test(start_paused = true)]
async fn errors_of_this_crate_do_not_quote_their_input() {
    let (_turn, captured) = alone().await;
    let seen = MemoryRecorder::default();
    let texts =
        [MARK.to_owned(), format!("{{\"{MARK}\":\"{MARK}\""), format!("{MARK}.{MARK}.{MARK}")];
    for text in &texts {
        let json = text.as_bytes();
        let errors: Vec<Option<String>> = vec![
            tower_introspect::claims::Claims::from_json(json)
                .err()
                .map(|error| format!("{error} {error:?}")),
            KeySet::from_jwks(json).err().map(|error| format!("{error} {error:?}")),
            KeySet::from_jwk(json).err().map(|error| format!("{error} {error:?}")),
            SigningKey::from_pem(Algorithm::EdDSA, json)
                .err()
                .map(|error| format!("{error} {error:?}")),
        ];
        for error in errors {
            tracing::error!(error = error.expect("the error is missing"), "made by this crate");
        }
    }
    assert_eq!(captured.named("made by this crate").len(), 12);
    LogAndMetrics { captured, seen, tokens: Vec::new() }.check();
}

/// With all libraries between a client and an authorization server: the servers and clients of
/// hyper over HTTP/1.1 and HTTP/2, and reqwest with TLS.
#[tokio::test]
async fn libraries_used_by_this_crate_do_not_log_secrets() {
    let (_turn, captured) = {
        tokio::time::pause();
        let alone = alone().await;
        tokio::time::resume();
        alone
    };
    let seen = MemoryRecorder::default();
    let _guard = set_default_local_recorder(&seen);
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    let server = server.with_clock(FixedClock);
    let secret = marked("s3cret");
    server.register(Client::new("api", &secret));
    let auth = || ClientAuth::basic("api", &secret);
    let issuer = Issuer::hybrid(server.issuer(), auth());
    // With its own transport.
    let api = api(issuer, |api| api.danger_allow_http_loopback());
    let tokens = tokens(&server);

    let app: Router = Router::new()
        .route("/", get(async || "hello"))
        .route("/admin", get(async || "hello").route_layer(RequireScope::all(["admin"])))
        .layer(api.layer());
    let address = serve_http(app).await;
    let (good, long) = (&tokens[0], tokens.last().unwrap());
    assert!(raw(address, "/", good).await.starts_with("HTTP/1.1 200"));
    assert!(raw(address, "/admin", good).await.starts_with("HTTP/1.1 403"));
    assert!(raw(address, "/", long).await.starts_with("HTTP/1.1 401"));
    for token in &tokens {
        raw(address, "/", token).await;
    }
    let mut grpc = serve_grpc(&api).await;
    for token in tokens.iter().filter(|token| token.len() < 4_096) {
        let mut request = tonic::Request::new(HealthCheckRequest { service: String::new() });
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().append("authorization", value);
        let _ = grpc.check(request).await;
    }

    // Another server listens at the address of the authorization server.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("https://{}", listener.local_addr().unwrap());
    let listening = tokio::spawn(async move {
        for _ in 0..10 {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let _ = stream.write_all(format!("HTTP/1.1 200 {MARK}\r\n\r\n").as_bytes()).await;
        }
    });
    let endpoint = format!("{nobody}/introspect");
    let tls = Issuer::introspect(nobody, auth())
        .configure_introspection(move |remote| remote.endpoint(endpoint));
    let api = self::api(tls, |api| api);
    assert_eq!(present(&api.layer(), good).await, 503);
    listening.abort();

    let all = LogAndMetrics { captured, seen: seen.clone(), tokens };
    let targets: std::collections::BTreeSet<String> = all
        .captured
        .lines()
        .iter()
        .map(|line| line.field("log.target").unwrap_or(&line.target).to_owned())
        .map(|target| target.split("::").next().unwrap_or_default().to_owned())
        .collect();
    for library in ["h2", "hyper_util", "reqwest", "rustls"] {
        assert!(targets.contains(library), "{library} logged nothing: {targets:?}");
    }
    all.check();
}

async fn serve_http(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn serve_grpc(api: &ResourceServer) -> HealthClient<Channel> {
    let (_, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .layer(api.layer())
        .add_service(health)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await;
    HealthClient::new(channel.unwrap())
}

/// Returns the raw response of a server.
async fn raw(address: SocketAddr, path: &str, token: &str) -> String {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: api\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    timeout(PATIENCE, ask).await.expect("timeout")
}

/// The application is responsible for the contents of its own errors.
#[test]
fn context_of_an_error_is_shown_unchanged() {
    let error = VerifyError::new(ErrorKind::Unavailable).with_context("what was being done");
    assert!(format!("{error}").contains("what was being done"));
}

//! The transport that is built from settings, with real sockets: private authorities, client
//! certificates, proxies, idle connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use ::axum::{
    Router,
    extract::ConnectInfo,
    http::StatusCode,
    routing::{any, get},
    serve::ListenerExt as _,
};
use testing::{
    host::ScratchDir,
    listener::{ConnectionCertificate, TlsListener},
    pki::Authority,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tower_introspect::{
    ClientAuth, Issuer, ResourceServer, VerifyError,
    config::Config,
    test_util::AuthorizationServer,
    transport::{HttpTransport, TransportBuilder},
};

use crate::{
    support::{AUDIENCE, ISSUER, ask},
    world::bearer,
};

/// Serves a key set to everyone, and another one to those with a certificate, over TLS.
async fn serve_keys(authority: &Authority) -> SocketAddr {
    let jwks = AuthorizationServer::new(ISSUER).jwks().to_string();
    let secret = jwks.clone();
    let with_certificate = async |ConnectInfo(own): ConnectInfo<ConnectionCertificate>| {
        own.0.map(|_| secret).ok_or(StatusCode::FORBIDDEN)
    };
    let (listener, address) = TlsListener::bind(authority).await;
    let app =
        Router::new().route("/keys", get(async || jwks)).route("/secret", get(with_certificate));
    let app = app.into_make_service_with_connect_info::<ConnectionCertificate>();
    tokio::spawn(async { ::axum::serve(listener, app).await });
    address
}

/// Fetches the keys of an issuer from this URL.
async fn fetch(transport: TransportBuilder, url: String) -> Result<(), VerifyError> {
    let issuer = Issuer::jwt(ISSUER).configure_jwt(move |jwt| jwt.jwks_uri(url));
    let api = ResourceServer::builder(AUDIENCE).issuer(issuer).danger_allow_http_loopback();
    api.transport(transport.build().unwrap()).build().unwrap().warm().await
}

fn direct() -> TransportBuilder {
    HttpTransport::builder().without_proxy()
}

#[tokio::test]
async fn private_authority_is_trusted_alone() {
    let (authority, other) = (Authority::new(), Authority::new());
    let address = serve_keys(&authority).await;
    let url = || format!("https://localhost:{}/keys", address.port());
    fetch(direct().ca_pem(authority.pem()), url()).await.unwrap();
    let both = direct().ca_pem(other.pem()).ca_pem(authority.pem());
    fetch(both, url()).await.unwrap();
    fetch(direct().ca_pem(other.pem() + &authority.pem()), url()).await.unwrap();
    assert!(fetch(direct().ca_pem(other.pem()), url()).await.is_err());
}

#[tokio::test]
async fn rfc8705_2_certificate_of_this_service_is_sent() {
    let authority = Authority::new();
    let address = serve_keys(&authority).await;
    let url = || format!("https://localhost:{}/secret", address.port());
    let own = authority.client();
    let pem = own.certificate.pem() + &own.key.serialize_pem();
    let trusting = || direct().ca_pem(authority.pem());
    fetch(trusting().identity_pem(pem), url()).await.unwrap();
    assert!(fetch(trusting(), url()).await.is_err());
}

#[tokio::test]
async fn proxy_gets_the_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lines);
    let jwks = AuthorizationServer::new(ISSUER).jwks().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
            let head = String::from_utf8(head).unwrap();
            seen.lock().unwrap().extend(head.lines().next().map(str::to_owned));
            let response = format!("HTTP/1.0 200 OK\r\ncontent-length: {}\r\n\r\n", jwks.len());
            stream.write_all((response + &jwks).as_bytes()).await.unwrap();
        }
    });
    // Nothing listens there.
    let url = || "http://127.0.0.1:1/keys".to_owned();
    fetch(HttpTransport::builder().proxy(&proxy), url()).await.unwrap();
    assert_eq!(*lines.lock().unwrap(), ["GET http://127.0.0.1:1/keys HTTP/1.1"]);
    let error = fetch(HttpTransport::builder().proxy(&proxy).without_proxy(), url()).await;
    assert!(error.is_err(), "the later setting counts");
    assert_eq!(lines.lock().unwrap().len(), 1);
}

/// Returns how many connections ten introspections, one after the other, take.
async fn connections(transport: TransportBuilder) -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/introspect", listener.local_addr().unwrap());
    let listener = listener.tap_io(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
    });
    let app = Router::new()
        .route("/introspect", any(async || ::axum::Json(serde_json::json!({"active": false}))));
    tokio::spawn(async { ::axum::serve(listener, app).await });
    let issuer = Issuer::introspect(ISSUER, ClientAuth::basic("api", "s3cret"))
        .configure_introspection(|ask| ask.endpoint(url));
    let api = ResourceServer::builder(AUDIENCE)
        .issuer(issuer)
        .danger_allow_http_loopback()
        .transport(transport.build().unwrap())
        .build()
        .unwrap();
    for n in 0..10 {
        let response = ask(&api.layer(), bearer(&format!("token{n}"))).await;
        assert_eq!(response.status(), 401);
    }
    count.load(Ordering::SeqCst)
}

#[tokio::test]
async fn idle_connections_are_kept_unless_there_may_be_none() {
    assert!(connections(direct()).await < 5);
    assert!(connections(direct().max_idle_connections(0)).await >= 10);
}

#[test]
fn problems_of_the_settings_are_named_and_show_no_secret() {
    let problems = |builder: TransportBuilder| builder.build().unwrap_err().to_string();
    let certificate = Authority::new().pem();
    let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for pem in ["", "t0psecret", empty] {
        assert_eq!(problems(direct().ca_pem(pem)), "ca_pem: no certificates in PEM");
        let one_is_bad = direct().ca_pem(&*certificate).ca_pem(pem);
        assert_eq!(problems(one_is_bad), "ca_pem: no certificates in PEM");
    }
    let expected = "identity_pem: expected a certificate and exactly one private key, in PEM";
    for pem in ["t0psecret", &certificate] {
        assert_eq!(problems(direct().identity_pem(pem)), expected);
    }
    let (one, other) = (Authority::new().client(), Authority::new().client());
    let mixed = direct().identity_pem(one.certificate.pem() + &other.key.serialize_pem());
    let problem = problems(mixed);
    assert!(problem.starts_with("identity_pem: "), "{problem}");
    for url in
        ["", "proxy:3128", "ftp://user:t0psecret@proxy", "socks5://proxy", "http://[t0psecret"]
    {
        let builder = HttpTransport::builder().proxy(url);
        assert!(!format!("{builder:?}").contains("t0psecret"));
        assert_eq!(problems(builder), "proxy: not the http or https URL of a proxy", "{url}");
    }
    let all = direct().ca_pem("").identity_pem("").proxy("");
    assert_eq!(problems(all).lines().count(), 3, "all are reported");
}

#[tokio::test]
async fn file_has_settings_for_all_issuers() {
    let (authority, other) = (Authority::new(), Authority::new());
    let address = serve_keys(&authority).await;
    let directory = ScratchDir::new("transport-builder");
    let file = |name: &str, authority: &Authority| {
        let path = directory.path().join(name);
        std::fs::write(&path, authority.pem()).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (file("right.pem", &authority), file("wrong.pem", &other));
    let text = |common: &str, own: &str| {
        let port = address.port();
        format!(
            "audience = '{AUDIENCE}'\n[transport]\n{common}\n[[issuer]]\nissuer = '{ISSUER}'\n\
             mode = 'jwt'\njwks_uri = 'https://localhost:{port}/keys'\n{own}"
        )
    };
    let limits = "connect_timeout_seconds = 5\nidle_timeout_seconds = 30.5\n\
                  max_idle_connections = 4\nwithout_proxy = true";
    for (common, own, is_trusted) in [
        (format!("ca_file = '{right}'"), String::new(), true),
        (format!("ca_file = '{right}'\n{limits}"), String::new(), true),
        (format!("ca_file = '{wrong}'"), String::new(), false),
        (format!("ca_file = '{wrong}'"), format!("ca_file = '{right}'"), true),
        (format!("ca_file = '{right}'"), format!("ca_file = '{wrong}'"), false),
    ] {
        let api = Config::from_toml(&text(&common, &own)).unwrap().build().unwrap();
        assert_eq!(api.warm().await.is_ok(), is_trusted, "{common} {own}");
    }
    for (common, expected) in [
        (
            "proxy = 'http://a'\nwithout_proxy = true",
            "transport.without_proxy: conflicts with `proxy`",
        ),
        (
            "proxy = 'http://u:t0psecret@a'",
            "transport.proxy: must not hold a password: use the variable `HTTPS_PROXY`",
        ),
        (
            "max_idle_connections = -1",
            "transport.max_idle_connections: expected a whole number greater than zero",
        ),
        ("pool = 1", "transport.pool: unknown setting"),
    ] {
        assert_eq!(Config::from_toml(&text(common, "")).unwrap_err().to_string(), expected);
    }
    for (common, expected) in [
        ("proxy = 'socks5://a'", "transport.proxy: not the http or https URL of a proxy"),
        ("ca_file = '/nowhere.pem'", "transport.ca_file: `/nowhere.pem`: "),
    ] {
        let problem = Config::from_toml(&text(common, "")).unwrap().build().unwrap_err();
        assert!(problem.to_string().starts_with(expected), "{problem}");
    }
}

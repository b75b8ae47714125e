//! `introspect doctor --forge-at`: a proxy that lets certificate headers of its clients through.

use std::sync::Arc;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tower_introspect::{clock::UnixTime, proof::PeerCertificate, test_util::AuthorizationServer};

use crate::{
    front,
    run::{AUDIENCE, NOW, Ran, at, file, run},
};

/// A server that gives each request the status that `judge` decides by the head, in lower case.
async fn proxy(judge: impl Fn(&str) -> u16 + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let judge = Arc::new(judge);
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let judge = Arc::clone(&judge);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(tcp.read_u8().await?);
                }
                let status = judge(&String::from_utf8_lossy(&head).to_lowercase());
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                tcp.write_all(answer.as_bytes()).await
            });
        }
    });
    url
}

struct World {
    name: String,
    server: AuthorizationServer,
    _listening: tower_introspect::test_util::Listening,
    token: String,
    certificate: String,
    der: Vec<u8>,
}

impl World {
    /// `name` is that of its files.
    async fn new(name: &str) -> Self {
        let (server, listening) = front::plain().await;
        front::without_known_keys(&server);
        let made = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
        let der = made.cert.der().to_vec();
        let thumbprint = PeerCertificate::from_der(&der).unwrap().thumbprint();
        let token = server.jwt().audience(AUDIENCE).claim("cnf", json!({"x5t#S256": thumbprint}));
        let token = token.issued_at(UnixTime::from_secs(NOW)).mint();
        let certificate = file(&format!("forged-{name}.pem"), made.cert.pem());
        Self {
            server,
            _listening: listening,
            token: file(&format!("forged-{name}.token"), token),
            certificate,
            der,
            name: name.to_owned(),
        }
    }

    async fn doctor(&self, field: &str, url: &str) -> Ran {
        self.doctor_with(field, url, &self.token).await
    }

    async fn doctor_with(&self, field: &str, url: &str, token: &str) -> Ran {
        let mtls = match field {
            "" => String::new(),
            field => format!("[mtls]\nfield = \"{field}\"\nproxies = \"127.0.0.1\"\n"),
        };
        let more = format!("mode = \"hybrid\"\n{mtls}");
        let name = format!("forged-{}-{field}", self.name);
        let config = front::config(&name, self.server.issuer(), &more);
        let (at, cert) = (at(), &self.certificate);
        let forging = ["--forge-at", url, "--bound-token-file", token, "--bound-cert-file", cert];
        run(&[&["doctor", "--json", "--at", &at, &config][..], &forging].concat(), "").await
    }
}

/// Returns the finding about the proxy, and the exit code.
fn finding(ran: &Ran) -> (String, String, i32) {
    let json = ran.json();
    let sections = json["sections"].as_array().unwrap();
    let about_proxy = |section: &&serde_json::Value| {
        section["title"].as_str().unwrap().starts_with("Proxy at http://127.0.0.1:")
    };
    let section = sections.iter().find(about_proxy).unwrap();
    let findings = section["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    let text = |name: &str| findings[0][name].as_str().unwrap().to_owned();
    (text("code"), text("level"), ran.code)
}

#[tokio::test]
async fn doctor_finds_a_proxy_that_lets_a_forged_certificate_through() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let world = World::new("admitted").await;
    let base64 = STANDARD.encode(&world.der);
    let digest = PeerCertificate::from_der(&world.der).unwrap().thumbprint();
    let digest = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(digest).unwrap();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    for (field, line) in [
        ("client_cert", format!("client-cert: :{base64}:")),
        ("client_cert", format!("client_cert: :{base64}:")),
        ("xfcc", format!("x-forwarded-client-cert: hash={hex}")),
        ("x_forwarded_tls_client_cert", format!("x-forwarded-tls-client-cert: {base64}")),
    ] {
        let line = format!("\r\n{}\r\n", line.to_lowercase());
        for status in [200, 204, 302, 403, 404] {
            let line = line.clone();
            let url = proxy(move |head| if head.contains(&line) { status } else { 401 }).await;
            let ran = world.doctor(field, &url).await;
            let wanted = ("forged_certificate_admitted".into(), "bad".into(), 1);
            assert_eq!(finding(&ran), wanted, "{field} {status}");
            assert!(!ran.screen().contains("eyJ"), "the token is shown");
        }
    }
}

#[tokio::test]
async fn doctor_is_content_with_a_proxy_that_refuses_or_removes_the_header() {
    let world = World::new("refused").await;
    for (field, refusing) in [("client_cert", 400), ("xfcc", 401), ("client_cert", 431)] {
        let url = proxy(move |head| match head.contains("client-cert") {
            true => refusing,
            false => 401,
        });
        let ran = world.doctor(field, &url.await).await;
        assert_eq!(finding(&ran), ("forged_certificate_refused".into(), "good".into(), 0));
    }
}

#[tokio::test]
async fn doctor_says_where_a_forged_certificate_shows_nothing() {
    let world = World::new("nothing").await;
    for (without, with, code, level, exit) in [
        // A bound token is good without any certificate, or none is needed.
        (200, 200, "certificate_not_needed", "bad", 1),
        (403, 403, "certificate_not_needed", "bad", 1),
        (404, 404, "bound_token_not_judged", "unknown", 3),
        (503, 503, "bound_token_not_judged", "unknown", 3),
        (401, 502, "forged_certificate_not_judged", "unknown", 3),
    ] {
        let url = proxy(move |head| if head.contains("client-cert") { with } else { without });
        let ran = world.doctor("client_cert", &url.await).await;
        assert_eq!(finding(&ran), (code.into(), level.into(), exit), "{without} {with}");
    }
    let url = proxy(|_| 401).await;
    let wanted = ("no_certificate_header".into(), "note".into(), 0);
    assert_eq!(finding(&world.doctor("", &url).await), wanted);
    let nowhere = format!("http://127.0.0.1:{}/", testing::host::free_port());
    let wanted = ("unreachable".into(), "unknown".into(), 3);
    assert_eq!(finding(&world.doctor("client_cert", &nowhere).await), wanted);
}

#[tokio::test]
async fn doctor_sends_no_token_where_it_does_not_belong() {
    let world = World::new("usage").await;
    let url = proxy(|_| panic!("nothing is sent")).await;
    let unbound = world.server.jwt().audience(AUDIENCE).mint();
    let unbound = file("forged-unbound.token", unbound);
    let ran = world.doctor_with("client_cert", &url, &unbound).await;
    assert!(
        ran.code == 2 && ran.screen().contains("is not bound to the certificate in"),
        "{}",
        ran.screen()
    );
    for url in ["http://example.com/", "ftp://127.0.0.1/", "127.0.0.1", "not a url"] {
        assert_eq!(world.doctor("client_cert", url).await.code, 2, "{url}");
    }
    let ran = run(&["doctor", "--forge-at", &url, "config.toml"], "").await;
    assert!(ran.code == 2 && ran.screen().contains("--bound-token-file"), "{}", ran.screen());
}

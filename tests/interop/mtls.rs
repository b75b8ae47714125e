//! Behind HAProxy or nginx, which terminate TLS and send the certificate of the client in
//! `Client-Cert` (RFC 9440).

mod nginx;
mod provider;

use std::{fs, net::SocketAddr, process::Command};

use axum::{Router, extract::ConnectInfo, http::HeaderMap, routing};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::rustls::DEFAULT_VERSIONS;
use tower_introspect::{
    Issuer, ResourceServer,
    proof::{CertificateField, Mtls, PeerCertificate},
    test_util::AuthorizationServer,
};

use crate::proxies::{filled, recipe};
use testing::{
    host::{self, Process, ScratchDir},
    oidc_provider::API,
    pki::{Authority, Client, Signed},
};

/// Responds whether the handler got the field.
async fn whoami(headers: HeaderMap) -> &'static str {
    if headers.contains_key("client-cert") { "told" } else { "untold" }
}

/// A resource server that trusts proxies at `trusted` to write this field. Returns its address.
pub(crate) async fn serve(
    server: &AuthorizationServer,
    field: CertificateField,
    trusted: &str,
) -> SocketAddr {
    let mtls = Mtls::new().trust_proxy(field, [trusted], |head| {
        let ConnectInfo(address) = head.extension::<ConnectInfo<SocketAddr>>()?;
        Some(address.ip())
    });
    let api = ResourceServer::builder(API)
        .issuer(Issuer::jwt(server.issuer()))
        .transport(server.transport())
        .danger_allow_http_loopback()
        .mtls(mtls.expect("an address"))
        .build()
        .expect("valid");
    let app = Router::new().route("/", routing::get(whoami)).layer(api.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

/// Starts HAProxy in front of `backend`, with the file of docs/operations.
async fn proxy(
    home: &ScratchDir,
    authority: &Authority,
    backend: SocketAddr,
) -> (Process, SocketAddr) {
    let dir = home.path();
    let own = authority.server();
    let write = |name: &str, text: String| fs::write(dir.join(name), text).expect("writable");
    write("server.pem", own.certificate.pem() + &own.key.serialize_pem());
    write("clients.pem", authority.pem());
    let address = SocketAddr::from(([127, 0, 0, 1], host::free_port()));
    let values = [
        ("LISTEN", &*address.to_string()),
        ("DIRECTORY", dir.to_str().expect("UTF-8")),
        ("API", &backend.to_string()),
    ];
    write("haproxy.cfg", filled(&recipe("haproxy.cfg"), &values));
    let mut command = Command::new("haproxy");
    command.arg("-f").arg(home.path().join("haproxy.cfg")).arg("-db");
    let mut process = Process::start(&mut command);
    process.listens(&command, address).await;
    (process, address)
}

/// Returns a token bound to this certificate.
pub(crate) fn bound(server: &AuthorizationServer, own: &Signed) -> String {
    let thumbprint = PeerCertificate::from_der(own.certificate.der()).expect("DER").thumbprint();
    server.jwt().audience(API).claim("cnf", json!({"x5t#S256": thumbprint})).mint()
}

pub(crate) fn field(own: &Signed) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("client-cert: :{}:\r\n", STANDARD.encode(own.certificate.der()))
}

#[tokio::test]
async fn rfc9440_2_2_certificate_is_read_from_the_field_of_haproxy() {
    if !host::has("haproxy") {
        host::skip("haproxy");
        return;
    }
    let server = AuthorizationServer::new("https://as.example.com");
    let (authority, home) = (Authority::new(), ScratchDir::new("haproxy"));
    let (own, other) = (authority.client(), authority.client());
    let stranger = Authority::new().client();
    let bound = bound(&server, &own);
    let unbound = server.jwt().audience(API).mint();
    let client = |own| Client::new(&authority, own, DEFAULT_VERSIONS);

    let (_process, address) =
        proxy(&home, &authority, serve(&server, CertificateField::ClientCert, "127.0.0.1").await)
            .await;
    let told = client(Some(&own)).get(address, &bound, "").await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert!(told.text.ends_with("untold"), "{}", told.text);
    assert!(told.text.to_lowercase().contains("vary: client-cert"), "{}", told.text);
    // A forged field is removed, with and without a certificate.
    for (shown, lines, status) in [
        (None, String::new(), 401),
        (Some(&other), String::new(), 401),
        (None, field(&own), 401),
        (Some(&other), field(&own), 401),
        (Some(&own), field(&other), 200),
        // A certificate of another authority, which HAProxy is configured to admit.
        (Some(&stranger), field(&own), 401),
    ] {
        let told = client(shown).get(address, &bound, &lines).await;
        assert_eq!(told.status, status, "{}", told.text);
    }
    assert_eq!(client(None).get(address, &unbound, "").await.status, 200);

    // RFC 9440 §3.3: a resumed session that began without a certificate has none.
    let late = client(Some(&own));
    late.send_certificate(false);
    assert_eq!(late.get(address, &bound, "").await.status, 401);
    late.send_certificate(true);
    let told = late.get(address, &bound, "").await;
    assert_eq!((told.status, told.is_resumed), (401, true), "{}", told.text);

    // The same proxy, if another one is trusted.
    let elsewhere = ScratchDir::new("haproxy");
    let (_other, address) = proxy(
        &elsewhere,
        &authority,
        serve(&server, CertificateField::ClientCert, "10.0.0.1").await,
    )
    .await;
    assert_eq!(client(Some(&own)).get(address, &bound, "").await.status, 401);
    assert_eq!(client(Some(&own)).get(address, &unbound, "").await.status, 200);
}

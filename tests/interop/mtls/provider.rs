//! Certificate-bound tokens of oidc-provider, which also authenticates this service by its
//! certificate (RFC 8705).

use std::net::SocketAddr;
use testing::host::PATIENCE;

use axum::{Router, extract::ConnectInfo, routing};
use rcgen::ExtendedKeyUsagePurpose;
use tokio_rustls::rustls::DEFAULT_VERSIONS;
use tower_introspect::{
    ClientAuth, Issuer, ResourceServer, proof::Mtls, transport::ReqwestTransport,
};

use testing::{
    host::Granted,
    listener::{ConnectionCertificate, TlsListener},
    oidc_provider::{API, OidcProvider},
    pki::{Authority, Client, Signed},
};

/// Returns a client with this certificate.
fn client_with(authority: &Authority, own: &Signed) -> reqwest::ClientBuilder {
    let pem = own.certificate.pem() + &own.key.serialize_pem();
    let identity = reqwest::Identity::from_pem(pem.as_bytes()).expect("PEM");
    let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).expect("PEM");
    ReqwestTransport::builder()
        .connect_timeout(PATIENCE)
        .identity(identity)
        .add_root_certificate(root)
}

/// Requests a token with this certificate, which binds it.
async fn request_token(
    server: &OidcProvider,
    authority: &Authority,
    own: &Signed,
    format: &str,
) -> String {
    let form = format!(
        "grant_type=client_credentials&client_id=svc-mtls&scope=read&resource={API}/{format}"
    );
    let http = client_with(authority, own).build().expect("a client can be built");
    let request = http
        .post(format!("{}/token", server.mtls()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    Granted::read(&testing::host::answer(request).await.1).access
}

/// Serves an API that authenticates to the server with this certificate. Returns its address.
async fn serve(server: &OidcProvider, authority: &Authority, own: &Signed) -> SocketAddr {
    let transport = ReqwestTransport::from_builder(|| client_with(authority, own)).expect("TLS");
    let mtls = Mtls::new()
        .certificate_fn(|head| head.extension::<ConnectInfo<ConnectionCertificate>>()?.0.0);
    let api = ResourceServer::builder(API)
        .issuer(
            Issuer::hybrid(server.issuer(), ClientAuth::mtls("rs-mtls"))
                .configure_introspection(|remote| remote.timeout(PATIENCE)),
        )
        .transport(transport.into())
        .mtls(mtls)
        .danger_allow_http_loopback()
        .build()
        .expect("valid");
    let app = Router::new().route("/", routing::get(async || "in")).layer(api.layer());
    let app = app.into_make_service_with_connect_info::<ConnectionCertificate>();
    let (listener, address) = TlsListener::bind(authority).await;
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

#[tokio::test]
async fn rfc8705_3_bound_tokens_of_oidc_provider_need_their_certificate() {
    let authority = Authority::new();
    let Some(server) = OidcProvider::start_with_tls(&authority).await else { return };
    let api = authority.sign("api", ExtendedKeyUsagePurpose::ClientAuth);
    let address = serve(&server, &authority, &api).await;
    let (own, other) = (authority.client(), authority.client());
    let client = |own| Client::new(&authority, own, DEFAULT_VERSIONS);
    for format in ["ES256", "RS256", "opaque"] {
        let token = request_token(&server, &authority, &own, format).await;
        for (shown, status) in [(Some(&own), 200), (Some(&other), 401), (None, 401)] {
            let told = client(shown).get(address, &token, "").await;
            assert_eq!(told.status, status, "{format}: {}", told.text);
        }
        // Another token of the same client is bound to the certificate of its own request.
        let token = request_token(&server, &authority, &other, format).await;
        assert_eq!(client(Some(&own)).get(address, &token, "").await.status, 401, "{format}");
        // An unbound token is a bearer token.
        let unbound = server.token(format).await;
        assert_eq!(client(None).get(address, &unbound, "").await.status, 200, "{format}");
    }
    // Each opaque token was introspected once, at the mTLS alias (RFC 8705 §2, §5), and so was a
    // random one.
    assert_eq!(server.requests("introspection").await, 4);
}

#[tokio::test]
async fn rfc8705_2_oidc_provider_authenticates_this_service_by_its_certificate() {
    let authority = Authority::new();
    let Some(server) = OidcProvider::start_with_tls(&authority).await else { return };
    let token = server.token("opaque").await;
    for (name, status) in [
        ("api", 200),
        // With another certificate the service is at fault, and its clients are not blamed.
        ("client", 500),
    ] {
        let own = authority.sign(name, ExtendedKeyUsagePurpose::ClientAuth);
        let address = serve(&server, &authority, &own).await;
        let told = Client::new(&authority, None, DEFAULT_VERSIONS).get(address, &token, "").await;
        assert_eq!(told.status, status, "{}", told.text);
    }
}

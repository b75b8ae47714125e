//! Real certificates over real TLS connections.

use std::net::SocketAddr;

use ::axum::{Router, extract::ConnectInfo, routing};
use tokio::net::TcpListener;
use tokio_rustls::rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

use super::*;
use testing::{
    listener::{ConnectionCertificate, TlsListener},
    pki::{Authority, Client as Tls, Signed},
};

async fn serve(world: &World, authority: &Authority) -> SocketAddr {
    let (listener, address) = TlsListener::bind(authority).await;
    let app = Router::new().route("/", routing::get(async || "in")).layer(world.api.layer());
    let app = app.into_make_service_with_connect_info::<ConnectionCertificate>();
    tokio::spawn(async { ::axum::serve(listener, app).await });
    address
}

fn world() -> World {
    World::with(
        Mtls::new()
            .certificate_fn(|head| head.extension::<ConnectInfo<ConnectionCertificate>>()?.0.0),
    )
}

fn cnf(own: &Signed) -> Value {
    // Computed independently of the library, as a server does.
    let certificate = PeerCertificate::from_der(own.certificate.der()).unwrap();
    json!({"x5t#S256": certificate.thumbprint()})
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

#[tokio::test]
async fn rfc8705_3_certificate_of_the_connection_proves_its_tokens() {
    let (world, authority) = (world(), Authority::new());
    let address = serve(&world, &authority).await;
    let (own, other) = (authority.client(), authority.client());
    for version in VERSIONS {
        let client = |own| Tls::new(&authority, own, &[version]);
        for token in world.tokens(&cnf(&own)) {
            let told = client(Some(&own)).get(address, &token, "").await;
            assert!(told.status == 200 && told.text.ends_with("in"), "{}", told.text);
            assert_eq!(client(Some(&other)).get(address, &token, "").await.status, 401);
            assert_eq!(client(None).get(address, &token, "").await.status, 401);
            // A certificate in a field of the client is ignored.
            let public = Certificate { der: own.certificate.der().to_vec() };
            let line = format!("client-cert: {}\r\n", public.field());
            assert_eq!(client(Some(&other)).get(address, &token, &line).await.status, 401);
            assert_eq!(client(None).get(address, &token, &line).await.status, 401);
        }
    }
}

/// A resumed session has no handshake that would send the certificate.
#[tokio::test]
async fn rfc9440_3_3_resumed_session_without_a_certificate_has_none() {
    let (world, authority) = (world(), Authority::new());
    let address = serve(&world, &authority).await;
    let own = authority.client();
    let [token, _] = world.tokens(&cnf(&own));
    for version in VERSIONS {
        let client = Tls::new(&authority, Some(&own), &[version]);
        client.send_certificate(false);
        let first = client.get(address, &token, "").await;
        assert_eq!((first.status, first.is_resumed), (401, false));
        client.send_certificate(true);
        let second = client.get(address, &token, "").await;
        assert_eq!((second.status, second.is_resumed), (401, true));
        // A new session has sent it.
        let anew = Tls::new(&authority, Some(&own), &[version]).get(address, &token, "").await;
        assert_eq!((anew.status, anew.is_resumed), (200, false));
    }
}

#[tokio::test]
async fn resumed_session_keeps_its_certificate() {
    let (world, authority) = (world(), Authority::new());
    let address = serve(&world, &authority).await;
    let (own, other) = (authority.client(), authority.client());
    let [token, _] = world.tokens(&cnf(&own));
    let [foreign, _] = world.tokens(&cnf(&other));
    for version in VERSIONS {
        let client = Tls::new(&authority, Some(&own), &[version]);
        assert_eq!(client.get(address, &token, "").await.status, 200);
        let second = client.get(address, &token, "").await;
        assert_eq!((second.status, second.is_resumed), (200, true));
        let third = client.get(address, &foreign, "").await;
        assert_eq!((third.status, third.is_resumed), (401, true));
    }
}

/// tonic terminates TLS itself, and adds the certificates to the request.
#[tokio::test]
async fn grpc_certificate_is_read_from_the_extensions_of_tonic() {
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::{
        Code, Request as Call,
        transport::{
            Certificate as Pem, Channel, ClientTlsConfig, Identity, Server, ServerTlsConfig,
            server::{TcpConnectInfo, TlsConnectInfo},
        },
    };
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    let world = World::with(Mtls::new().certificate_fn(|head| {
        let connection = head.extension::<TlsConnectInfo<TcpConnectInfo>>()?;
        PeerCertificate::from_der(connection.peer_certs()?.first()?)
    }));
    let authority = Authority::new();
    let identity =
        |own: &Signed| Identity::from_pem(own.certificate.pem(), own.key.serialize_pem());
    let (_, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ServerTlsConfig::new()
        .identity(identity(&authority.server()))
        .client_ca_root(Pem::from_pem(authority.pem()))
        .client_auth_optional(true);
    let server = Server::builder()
        .tls_config(tls)
        .unwrap()
        .layer(world.api.layer())
        .add_service(health)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);

    let (own, other) = (authority.client(), authority.client());
    let [token, _] = world.tokens(&cnf(&own));
    for (shown, outcome) in [
        (Some(&own), Ok(())),
        (Some(&other), Err(Code::Unauthenticated)),
        (None, Err(Code::Unauthenticated)),
    ] {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Pem::from_pem(authority.pem()))
            .domain_name("localhost");
        if let Some(shown) = shown {
            tls = tls.identity(identity(shown));
        }
        let channel = Channel::from_shared(format!("https://{address}")).unwrap();
        let channel = channel.tls_config(tls).unwrap().connect().await.unwrap();
        let mut call = Call::new(HealthCheckRequest { service: String::new() });
        call.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let answer = HealthClient::new(channel).check(call).await;
        assert_eq!(answer.map(drop).map_err(|status| status.code()), outcome);
    }
}

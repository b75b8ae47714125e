//! gRPC behind nginx, with other directives and the same field.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request,
    metadata::AsciiMetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Identity, Server, server::TcpConnectInfo},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower_introspect::{
    Issuer, ResourceServer,
    proof::{CertificateField, Mtls},
    test_util::AuthorizationServer,
};

use super::{PKI, Settings, World, bound, field};
use testing::{
    oidc_provider::API,
    pki::{Authority, Signed},
};

const GRPC: Settings<'static> =
    Settings { field: "grpc_set_header Client-Cert $client_cert;", pass: "grpc_pass grpc", ..PKI };

/// The health service, which requires a token.
async fn serve(server: &AuthorizationServer) -> SocketAddr {
    let mtls = Mtls::new().trust_proxy(CertificateField::ClientCert, ["127.0.0.1"], |head| {
        Some(head.extension::<TcpConnectInfo>()?.remote_addr()?.ip())
    });
    let api = ResourceServer::builder(API)
        .issuer(Issuer::jwt(server.issuer()))
        .transport(server.transport())
        .mtls(mtls.expect("an address"))
        .build()
        .expect("valid");
    let (_, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serving = Server::builder()
        .layer(api.layer())
        .add_service(health)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    address
}

async fn connect(authority: &Authority, own: Option<&Signed>, address: SocketAddr) -> Channel {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority.pem()))
        .domain_name("localhost");
    if let Some(own) = own {
        let (certificate, key) = (own.certificate.pem(), own.key.serialize_pem());
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let channel = Channel::from_shared(format!("https://{address}")).expect("a URL");
    channel.tls_config(tls).expect("a configuration").connect().await.expect("not listening")
}

#[tokio::test]
async fn rfc9440_2_2_certificate_is_read_from_the_field_of_nginx_over_grpc() {
    let Some(world) = World::new() else { return };
    let (own, other) = (world.authority.client(), world.authority.client());
    let token = bound(&world.server, &own);
    let (_process, address) = world.proxy_of(serve(&world.server).await, &GRPC).await;
    let forged = |of: &Signed| {
        let line = field(of);
        let (_, value) = line.trim_end().split_once(' ').expect("a field");
        value.parse::<AsciiMetadataValue>().expect("ASCII")
    };
    for (shown, forged, outcome) in [
        (Some(&own), None, Ok(())),
        (Some(&own), Some(forged(&other)), Ok(())),
        (Some(&other), Some(forged(&own)), Err(Code::Unauthenticated)),
        (None, Some(forged(&own)), Err(Code::Unauthenticated)),
        (None, None, Err(Code::Unauthenticated)),
    ] {
        let channel = connect(&world.authority, shown, address).await;
        // On one connection, nginx sends the field with each call.
        for _ in 0..2 {
            let mut call = Request::new(HealthCheckRequest { service: String::new() });
            let authorization = format!("Bearer {token}").parse().expect("ASCII");
            call.metadata_mut().insert("authorization", authorization);
            if let Some(forged) = &forged {
                call.metadata_mut().insert("client-cert", forged.clone());
            }
            let answer = HealthClient::new(channel.clone()).check(call).await;
            assert_eq!(answer.map(drop).map_err(|status| status.code()), outcome);
        }
    }
}

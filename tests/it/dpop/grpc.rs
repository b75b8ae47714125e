//! Proofs over gRPC: `htm` is `POST`, and `htu` the URL of the method (RFC 9449 §4.2).

use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request as Call,
    service::Interceptor,
    transport::{Channel, Server},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower_introspect::{IntrospectLayer, tonic::VerifyInterceptor};

use super::*;
use crate::support::ImmediateVerifier;

fn bound() -> ImmediateVerifier {
    ImmediateVerifier::claims(&format!(
        "{{\"aud\":\"{AUDIENCE}\",\"cnf\":{{\"jkt\":\"{}\"}}}}",
        prover("client").thumbprint()
    ))
}

/// Serves the health service on a real connection. Clients know it as `https://grpc.example.com`.
async fn serve(dpop: Dpop) -> Channel {
    let (_, health) = tonic_health::server::health_reporter();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let layer = IntrospectLayer::new(bound(), policy().dpop(dpop));
    let server = Server::builder()
        .layer(layer)
        .add_service(health)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn grpc() -> Dpop {
    Dpop::new("https://grpc.example.com").unwrap()
}

const CHECK: &str = "https://grpc.example.com/grpc.health.v1.Health/Check";

fn call(proof: Option<String>) -> Call<HealthCheckRequest> {
    let mut call = Call::new(HealthCheckRequest { service: String::new() });
    call.metadata_mut().insert("authorization", "DPoP abc".parse().unwrap());
    if let Some(proof) = proof {
        call.metadata_mut().insert("dpop", proof.parse().unwrap());
    }
    call
}

#[tokio::test]
async fn grpc_htm_is_post_and_htu_the_url_of_the_method() {
    let mut client = HealthClient::new(serve(grpc()).await);
    let prover = prover("client");
    let proof = |htm: &str, htu: &str| Some(prover.proof(htm, htu).for_token("abc").mint());
    client.check(call(proof("POST", CHECK))).await.expect("a good proof");
    for bad in [
        proof("GET", CHECK),
        proof("POST", "https://grpc.example.com/grpc.health.v1.Health/Watch"),
        proof("POST", "https://grpc.example.com/grpc.health.v1.health/Check"),
        proof("POST", "https://other.example.com/grpc.health.v1.Health/Check"),
        None,
    ] {
        let status = client.check(call(bad)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        let challenges = status.metadata().get("www-authenticate").unwrap().to_str().unwrap();
        assert!(
            challenges.starts_with("DPoP ") && challenges.contains("error=\"invalid_dpop_proof\""),
            "{challenges}"
        );
    }
}

#[tokio::test]
async fn grpc_nonce_is_sent_as_metadata() {
    let mut client = HealthClient::new(serve(grpc().require_nonce()).await);
    let prover = prover("client");
    let status = client
        .check(call(Some(prover.proof("POST", CHECK).for_token("abc").mint())))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let nonce = status.metadata().get("dpop-nonce").unwrap().to_str().unwrap();
    let proof = prover.proof("POST", CHECK).for_token("abc").nonce(nonce).mint();
    client.check(call(Some(proof))).await.expect("a proof with the nonce");
}

#[test]
fn interceptor_refuses_bound_tokens() {
    let policy = policy().dpop(grpc());
    let mut interceptor = VerifyInterceptor::new(bound(), policy);
    let proof = prover("client").proof("POST", CHECK).for_token("abc").mint();
    for authorization in ["DPoP abc", "Bearer abc"] {
        let mut call = Call::new(());
        call.metadata_mut().insert("authorization", authorization.parse().unwrap());
        call.metadata_mut().insert("dpop", proof.parse().unwrap());
        let status = interceptor.call(call).unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        let challenges: Vec<_> = status.metadata().get_all("www-authenticate").iter().collect();
        assert_eq!(challenges.len(), 2);
        assert!(challenges[0].to_str().unwrap().contains("error=\"invalid_token\""));
        assert!(
            challenges[0].to_str().unwrap().starts_with(authorization.split(' ').next().unwrap())
        );
    }
}

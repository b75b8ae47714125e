//! Streams over real connections, as their clients see them.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::header::CONTENT_TYPE,
    response::IntoResponse,
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Code,
    transport::{Channel, Server},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower_introspect::{RequireScope, revocation::Cutoff};

use super::local;
use crate::{
    support::{AUDIENCE, ISSUER},
    world::World,
};

fn endless(content_type: &'static str) -> impl IntoResponse {
    let first = stream::once(async { Ok::<_, Infallible>("data: 1\n\n") });
    ([(CONTENT_TYPE, content_type)], Body::from_stream(first.chain(stream::pending())))
}

/// Serves an API whose issuer is in this process. Its clock stands at that of the test.
async fn serve(world: &World) -> SocketAddr {
    let streams = Router::new()
        .route("/events", get(async || endless("text/event-stream")))
        .route("/download", get(async || endless("application/octet-stream")))
        .route(
            "/upload",
            post(async |body: Body| {
                format!("{:?}", axum::body::to_bytes(body, usize::MAX).await.is_err())
            }),
        )
        .route(
            "/collect",
            post(async |body: Body| {
                let _ = axum::body::to_bytes(body, usize::MAX).await;
                [(CONTENT_TYPE, "application/grpc")]
            }),
        )
        .route_layer(RequireScope::all(["read"]))
        .route_layer(world.api.streams().guard_requests());
    let app = Router::new().merge(streams).layer(world.api.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

fn client(http2: bool) -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy();
    let client = if http2 { client.http2_prior_knowledge() } else { client };
    client.build().unwrap()
}

fn token(world: &World) -> String {
    world.server.jwt().subject("alice").scope("read").audience(AUDIENCE).mint()
}

fn revoke(world: &World) {
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
}

#[tokio::test]
async fn axum_events_end_cleanly_and_the_next_request_is_refused() {
    for http2 in [false, true] {
        let world = World::new(local());
        let address = serve(&world).await;
        let client = client(http2);
        let token = token(&world);
        let request = || client.get(format!("http://{address}/events")).bearer_auth(&token).send();
        let mut response = request().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.chunk().await.unwrap().unwrap(), "data: 1\n\n");
        revoke(&world);
        while let Some(rest) = response.chunk().await.expect("a clean end") {
            assert!(rest.is_empty());
        }
        assert_eq!(request().await.unwrap().status(), 401);
    }
}

#[tokio::test]
async fn axum_download_is_not_taken_for_whole() {
    for http2 in [false, true] {
        let world = World::new(local());
        let address = serve(&world).await;
        let client = client(http2);
        let url = format!("http://{address}/download");
        let mut response = client.get(url).bearer_auth(token(&world)).send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "data: 1\n\n");
        revoke(&world);
        assert!(response.chunk().await.is_err(), "http2: {http2}");
    }
}

/// Sends a body that does not end, and returns the response after the token was revoked.
async fn upload(world: &World, path: &str, content_type: &str) -> reqwest::Response {
    let address = serve(world).await;
    let (sender, body) = tokio::sync::mpsc::channel::<&str>(1);
    let body = stream::once(async { "part" }).chain(ReceiverStream::new(body));
    let body =
        body.map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from_static(part.as_bytes()))));
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
    let upload = client
        .build()
        .unwrap()
        .post(format!("http://{address}{path}"))
        .bearer_auth(token(world))
        .header(CONTENT_TYPE, content_type)
        .body(reqwest::Body::wrap(StreamBody::new(body)))
        .send();
    let upload = tokio::spawn(upload);
    while world.api.leases().open() == 0 {
        tokio::task::yield_now().await;
    }
    revoke(world);
    let response = upload.await.unwrap().unwrap();
    drop(sender);
    assert_eq!(world.api.leases().open(), 0);
    response
}

// The response has not begun in these two, so it tells why.

#[tokio::test]
async fn axum_upload_ends_with_its_token() {
    let response = upload(&World::new(local()), "/upload", "text/plain").await;
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key("www-authenticate"));
}

#[tokio::test]
async fn grpc_call_of_a_client_that_streams_ends_with_the_status_and_the_challenge() {
    let response = upload(&World::new(local()), "/collect", "application/grpc").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "16");
    let challenge = response.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

async fn health(world: &World) -> HealthClient<Channel> {
    let (_, health) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .layer(world.api.streams().guard_requests())
        .add_service(health)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    HealthClient::new(channel.connect().await.unwrap())
}

#[tokio::test]
async fn grpc_stream_ends_with_the_status_and_the_challenge() {
    let world = World::new(local());
    let mut client = health(&world).await;
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    let value = format!("Bearer {}", token(&world)).parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    let mut watched = client.watch(request).await.unwrap().into_inner();
    assert!(watched.message().await.unwrap().is_some());
    revoke(&world);
    let status = watched.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let challenge = status.metadata().get("www-authenticate").unwrap().to_str().unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[tokio::test]
async fn slow_reader_holds_nothing_of_the_handler() {
    let world = World::new(local());
    let dropped = Arc::new(());
    let held = Arc::clone(&dropped);
    let app = Router::new()
        .route(
            "/flood",
            get(async move || {
                let held = Arc::clone(&held);
                let chunk = vec![b'x'; 1 << 16];
                Body::from_stream(stream::repeat_with(move || {
                    let _ = &held;
                    Ok::<_, Infallible>(chunk.clone())
                }))
            }),
        )
        .layer(world.api.streams());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    // Sends a request and never reads.
    let mut peer = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /flood HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        token(&world)
    );
    tokio::io::AsyncWriteExt::write_all(&mut peer, head.as_bytes()).await.unwrap();
    while Arc::strong_count(&dropped) < 3 {
        tokio::task::yield_now().await;
    }
    revoke(&world);
    while Arc::strong_count(&dropped) > 2 {
        tokio::task::yield_now().await;
    }
    drop(peer);
}

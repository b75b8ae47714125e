//! An MCP server (Model Context Protocol) whose clients find the authorization server by
//! themselves.
//!
//! ```text
//! cargo run --example mcp_server             # with an authorization server in this process
//! cargo run --example mcp_server -- --check  # sends itself the requests of a client, and ends
//!
//! MCP_SERVER_ISSUER=https://as.example.com \
//! MCP_SERVER_RESOURCE=https://mcp.example.com/mcp \
//! MCP_SERVER_LISTEN=127.0.0.1:9500 cargo run --example mcp_server
//! ```
//!
//! `MCP_SERVER_RESOURCE` is the URL by which clients reach the server, and the audience of their
//! tokens. By default it is `/mcp` at the address the server listens on. For an issuer on this
//! machine without TLS set `MCP_SERVER_DANGER_ALLOW_HTTP_LOOPBACK=true`.
//!
//! Copy [`resource_server`], [`app`] and [`scopes_of_tools`] into your own server. The challenge to a
//! client without a token names the metadata (RFC 9728) and the scope to request. The metadata names
//! the authorization server. A client whose token lacks the scope of a tool gets 403 with all scopes
//! that the tool needs, and can request them.
//!
//! The stream of a client that listens (`subscriptions/listen`) ends when its token expires, and at
//! once when a cutoff covers the token. The client then listens again, with another token.

mod check;
mod tools;

use std::{error::Error, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{Method, StatusCode, Uri, header::CONTENT_LENGTH},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use serde_json::Value;
use tokio::net::TcpListener;
use tower::{Layer as _, ServiceExt as _};
use tower_introspect::{
    Issuer, RequireScope, ResourceServer,
    respond::refused_body::ReadRefusedLayer,
    revocation::Cutoff,
    test_util::{AuthorizationServer, Client, Listening},
};

use self::tools::Calculator;

/// The maximum length of a message.
const LONGEST: usize = 64 * 1024;

/// Returns the resource server for clients that know it as `resource` and get their tokens from
/// `issuer`.
pub(crate) fn resource_server(
    resource: &str,
    issuer: &str,
    loopback_http: bool,
) -> Result<ResourceServer, Box<dyn Error>> {
    let mut builder = ResourceServer::builder(resource)
        .issuer(Issuer::jwt(issuer))
        .metadata(|about| {
            about.resource_name("Calculator").scopes_supported(["calc", "calc:admin"])
        })
        // Enough to start with. A 403 names the further scope that a tool needs.
        .policy(|policy| policy.advertise_scope("calc"));
    if loopback_http {
        builder = builder.danger_allow_http_loopback();
    }
    Ok(builder.build()?)
}

/// Creates the MCP server.
pub(crate) fn app(api: &ResourceServer, resource: &str) -> Result<Router, Box<dyn Error>> {
    let resource: Uri = resource.parse()?;
    let calculator = Calculator::default();
    let mcp = StreamableHttpService::new(
        move || Ok(calculator.clone()),
        // Without sessions no client can reach the session of another.
        Arc::new(NeverSessionManager::default()),
        StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            // Protects against web pages that reach local servers (DNS rebinding).
            .with_allowed_hosts(resource.host().map(|host| host.trim_matches(['[', ']'])))
            .enforce_origin_validation(),
    );
    Ok(Router::new()
        .route_service(resource.path(), mcp)
        .route_layer(middleware::from_fn(scopes_of_tools))
        // `streams` in place of `layer`, because clients listen for as long as they can. The token is
        // not passed on to the tools.
        // Clients may send a body before they read that they are refused.
        .route_layer(ReadRefusedLayer::new(
            api.streams().introspect(|layer| layer.remove_credentials()),
        ))
        // Public, so it is added after the layers.
        .route_service(api.metadata_path(), api.metadata_service::<Body>()))
}

/// Requires the scopes of the tool that is called.
///
/// The body names the tool. A refusal by the tool itself would be HTTP 200, but clients request
/// more scope only after a 403.
pub(crate) async fn scopes_of_tools(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    // Only one message: the protocol has no batches any more.
    let message = match serde_json::from_slice(&body) {
        Ok(Value::Object(message)) => Value::Object(message),
        _ => return StatusCode::BAD_REQUEST.into_response(),
    };
    let needed: &[&str] = match message["method"].as_str() {
        Some("tools/call") => {
            let tool = message["params"]["name"].as_str().and_then(tools::tool);
            // The server refuses the call of an unknown tool itself.
            tool.map_or(&[], |tool| tool.scopes)
        }
        _ => &[],
    };
    // Passes on the message that was checked, not the bytes: another parser might read them
    // differently, for example choose the other one of two `name`s.
    parts.headers.remove(CONTENT_LENGTH);
    let request = Request::from_parts(parts, Body::from(message.to_string()));
    let guarded = RequireScope::all(needed.iter().copied()).layer(next);
    let Ok(response) = guarded.oneshot(request).await;
    response
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => serve().await,
        [flag] if flag == "--check" => check().await,
        _ => {
            eprintln!("usage: mcp_server [--check]");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcp_server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("MCP_SERVER_{name}")).ok().filter(|value| !value.is_empty())
}

/// Serves until ctrl-c.
async fn serve() -> Result<(), Box<dyn Error>> {
    let listen = setting("LISTEN").unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listen: SocketAddr = listen.parse()?;
    let listener = TcpListener::bind(listen).await?;
    let own = format!("http://{}/mcp", listener.local_addr()?);
    let resource = setting("RESOURCE").unwrap_or_else(|| own.clone());
    let loopback_http = setting("DANGER_ALLOW_HTTP_LOOPBACK").is_some_and(|value| value == "true");
    let (api, _authority) = match setting("ISSUER") {
        Some(issuer) => (resource_server(&resource, &issuer, loopback_http)?, None),
        // It issues tokens to everyone who has read this file, so it stays on this machine.
        None if !listen.ip().is_loopback() => return Err("set MCP_SERVER_ISSUER".into()),
        None => {
            let (authority, listening) = authority().await?;
            let api = resource_server(&resource, authority.issuer(), true)?;
            (api, Some((authority, listening)))
        }
    };
    println!("listening on {own}");
    if let Some((authority, _)) = &_authority {
        println!("authorization server {}\n", authority.issuer());
        println!("# without a token: where to look, and what to ask for");
        println!("curl -i -X POST {own}");
        println!("\n# an MCP client: URL {own}, client credentials {CLIENT} and {SECRET}");
    }
    axum::serve(listener, app(&api, &resource)?)
        .with_graceful_shutdown(async move {
            let _ = tokio::signal::ctrl_c().await;
            // Otherwise it would wait for clients that listen.
            api.end_streams(Duration::ZERO).await;
        })
        .await?;
    Ok(())
}

/// Serves, sends the requests of a client, and fails if a response is wrong.
async fn check() -> Result<(), Box<dyn Error>> {
    let (authority, _listening) = authority().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let resource = format!("http://{}/mcp", listener.local_addr()?);
    let api = resource_server(&resource, authority.issuer(), true)?;
    let app = app(&api, &resource)?;
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let cut_off = || api.revocations().revoke(&Cutoff::client(authority.issuer(), CLIENT));
    let outcome = check::run(&resource, CLIENT, SECRET, cut_off).await;
    serving.abort();
    outcome
}

const CLIENT: &str = "agent";
const SECRET: &str = "s3cret";

/// Starts an authorization server in this process.
async fn authority() -> Result<(AuthorizationServer, Listening), Box<dyn Error>> {
    let (authority, listening) = AuthorizationServer::on_loopback().await?;
    authority.register(
        Client::new(CLIENT, SECRET).with_scope("calc calc:admin").with_jwt_access_tokens(),
    );
    // It has no such page, but clients require one in the metadata.
    let page = format!("{}/authorize", authority.issuer());
    authority.set_metadata("authorization_endpoint", page);
    authority.set_metadata("response_types_supported", serde_json::json!(["code"]));
    Ok((authority, listening))
}

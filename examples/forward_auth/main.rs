//! An authorization service for reverse proxies: nginx `auth_request`, Traefik `forwardAuth`, Caddy
//! `forward_auth`, Envoy `ext_authz` over HTTP.
//!
//! The proxy sends it a request for every request of a client, whatever its method and path, and
//! passes on the `Authorization` header. The response is 200 with the identity in headers, or the
//! refusal for the client, with its `WWW-Authenticate`:
//!
//! | header | holds |
//! |---|---|
//! | `X-Auth-Subject` | `sub`, unique only within the issuer |
//! | `X-Auth-Issuer` | the issuer that vouches for the token |
//! | `X-Auth-Client` | `client_id` |
//! | `X-Auth-Scope` | `scope` |
//!
//! All four are always there, and empty if the token has no such claim. A proxy that replaces the
//! client's headers by these thus replaces all of them. Characters other than visible ASCII are
//! percent-encoded, and so are `%` and `,`. A table `[resource_server.forward]` names other headers
//! and claims.
//!
//! A CORS preflight carries no token, and is refused like any request without one. Have the proxy
//! handle preflights by itself.
//!
//! ```text
//! cargo run --example forward_auth --features config -- forward_auth.toml
//! ```
//!
//! ```toml
//! listen = "127.0.0.1:4180"
//!
//! [resource_server]   # see `tower_introspect::config`
//! audience = "https://api.example.com"
//! required_scopes = ["api"]
//!
//! [[resource_server.issuer]]
//! issuer = "https://as.example.com"
//! mode = "hybrid"
//! client = { method = "basic", id = "api", secret_file = "/run/secrets/api" }
//! ```
//!
//! Without a file, environment variables configure one issuer: `FORWARD_AUTH_LISTEN`, `_AUDIENCE`,
//! `_ISSUER`, `_MODE`, `_REQUIRED_SCOPES` (space-delimited); for introspection `_CLIENT_ID` and
//! `_CLIENT_SECRET` or `_CLIENT_SECRET_FILE`; for tests also `_DANGER_ALLOW_HTTP_LOOPBACK`.
//!
//! # Proxies
//!
//! `docs/operations` has a complete configuration for each proxy, and these settings in
//! `forward_auth.toml`. "Authorization for proxies" in `docs/operations.md` says what each line is for,
//! and what is open without it.
//!
//! # Tokens that are bound to a key
//!
//! A bound token is never treated as a bearer token. It is refused unless the table for its kind of
//! proof is there.
//!
//! **DPoP** (RFC 9449), by `[resource_server.dpop]`. A proof names the method and the URL of the
//! client's request. The setting `original_request`, beside `listen`, says how the proxy passes
//! these on:
//!
//! | | the proxy's request | for |
//! |---|---|---|
//! | `"x_forwarded"` | has them in `X-Forwarded-Method` and `X-Forwarded-Uri` | Caddy, Traefik, and nginx, which has to set them |
//! | `"same"` | has the same | Envoy, without a `path_prefix` |
//!
//! The proxy must *set* these two fields, not only pass them on: a client that can write them can
//! use a captured proof for another resource. The scheme and the host are those of `url`, whatever
//! a request says. A proof is good once. If a proxy sends a second request for one client request,
//! the second is refused: nginx sends one after an internal redirect, such as by `index` or
//! `try_files`. The client needs the `WWW-Authenticate` and `DPoP-Nonce` of a refusal, and the nonce
//! of a response that lets it in, which Traefik can't pass on.
//!
//! **Client certificates** (RFC 8705), by `[resource_server.mtls]` with the `field` that the proxy
//! writes and the proxy's address in `proxies`: `client_cert` (nginx, Caddy), `xfcc` (Envoy) or
//! `x_forwarded_tls_client_cert` (Traefik). The proxy must remove the certificate fields from the
//! requests of its clients. The certificate of the connection is the proxy's, if there is one: without
//! `field` this service does not start.
//!
//! # Security
//!
//! Listen where only the proxy can reach this service. The API trusts the headers, so it must not
//! be reachable around the proxy. Have the proxy drop client headers of these names with `_` or `.`
//! for `-` too.

mod environment;
mod question;

use std::{error::Error, net::SocketAddr, process::ExitCode, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL},
    middleware::from_fn,
};
use tokio::net::TcpListener;
use toml::Table;
use tower_introspect::{
    ConfigError, ResourceServer, VerifiedToken, config::Config, layer::ForwardHeaders,
    respond::HttpOnly,
};
use tracing_subscriber::filter::LevelFilter;

use self::question::OriginalRequest;

/// Longer identities would not pass through proxies. They are refused, not cut.
const LONGEST: usize = 2048;

/// The time that requests have to end after the signal to stop.
const GRACE: Duration = Duration::from_secs(10);

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    listen: SocketAddr,
    original_request: Option<OriginalRequest>,
    resource_server: Config,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_writer(std::io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forward_auth: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let table = match arguments.as_slice() {
        [] => environment::settings(),
        [file] => std::fs::read_to_string(file)
            .map_err(|error| format!("{file}: {error}"))?
            .parse::<Table>()
            // The full error would quote the file, which may hold a secret.
            .map_err(|error| format!("{file}: {}", error.message()))?,
        _ => return Err("usage: forward_auth [FILE]".into()),
    };
    // All problems are reported at once.
    let mut problems = question::problems(&table);
    let settings: Settings = match table.try_into() {
        Ok(settings) => settings,
        Err(error) => {
            let error: toml::de::Error = error;
            let problems = [error.message(), &problems.to_string()].join("\n");
            return Err(format!("these settings are wrong:\n{}", problems.trim_end()).into());
        }
    };
    let config = settings.resource_server.peer_address_fn(|head| {
        let ConnectInfo(address) = head.extension::<ConnectInfo<SocketAddr>>()?;
        Some(address.ip())
    });
    let built = config.build();
    for (name, problem) in built.as_ref().err().iter().flat_map(|more| more.problems()) {
        problems.push(name, problem);
    }
    problems.or_ok(())?;
    let resource_server = built?;

    let listener = TcpListener::bind(settings.listen).await?;
    let end = end()?;
    println!("listening on http://{}", listener.local_addr()?);
    let warming = resource_server.clone();
    tokio::spawn(async move {
        // Metadata and keys that are missing now are fetched when they are needed.
        if let Err(error) = warming.warm().await {
            eprintln!("forward_auth: {error}");
        }
    });
    let original = settings.original_request.unwrap_or(OriginalRequest::Same);
    serve(listener, &resource_server, original, end).await
}

/// Serves until `end` completes, and then until the last request has ended, at most for [`GRACE`].
async fn serve(
    listener: TcpListener,
    resource_server: &ResourceServer,
    original: OriginalRequest,
    end: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error>> {
    // Every path is checked, and there is no other route: a proxy may pass on the path of the
    // client, and a route that always responds 200 would let the client in.
    let headers = match resource_server.forward_headers() {
        Some(headers) => headers.clone(),
        None => usual_headers()?,
    };
    let headers = headers.empty_if_absent().max_bytes(LONGEST);
    let app = Router::new()
        .fallback(identity)
        .with_state(headers)
        // A gRPC refusal has the status 200, which would let every client in that claims to speak gRPC.
        .layer(resource_server.layer().responder(HttpOnly::new()))
        .layer(from_fn(move |request, next| question::restore(original, request, next)))
        .into_make_service_with_connect_info::<SocketAddr>();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut ending = stopped.clone();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async move {
        // An error means that the sender is gone, which is a reason to stop too.
        let _ = ending.wait_for(|stop| *stop).await;
    });
    let mut serving = std::pin::pin!(serving.into_future());
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        () = end => stop.send_replace(true),
    };
    match tokio::time::timeout(GRACE, serving).await {
        Ok(ended) => Ok(ended?),
        Err(_) => Err("some requests had not ended in time".into()),
    }
}

/// Responds with the identity of a verified token in headers.
async fn identity(
    State(headers): State<ForwardHeaders>,
    token: VerifiedToken,
) -> Result<HeaderMap, StatusCode> {
    let mut answer = HeaderMap::new();
    headers.apply(Some(&token), &mut answer).map_err(|_| StatusCode::FORBIDDEN)?;
    answer.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// Returns the headers that are used if the settings name none.
fn usual_headers() -> Result<ForwardHeaders, ConfigError> {
    ForwardHeaders::new()
        .subject("x-auth-subject")?
        .issuer("x-auth-issuer")?
        .client("x-auth-client")?
        .scope("x-auth-scope")
}

/// Returns a future that waits for ctrl-c, or on Unix also for SIGTERM.
///
/// The call installs the handlers, so from then on no such signal ends the process at once.
#[cfg(unix)]
fn end() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(windows)]
fn end() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}

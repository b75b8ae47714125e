//! An authorization service for reverse proxies: nginx `auth_request`, Traefik `ForwardAuth`, Envoy
//! `ext_authz` over HTTP.
//!
//! The proxy asks it about every request, whatever its method and path, and passes on the
//! `Authorization` header. The answer is 200 with the identity in headers, or the refusal that the
//! proxy is to give to the client, with its `WWW-Authenticate`:
//!
//! | header | holds |
//! |---|---|
//! | `X-Auth-Subject` | `sub`, unique only within the issuer |
//! | `X-Auth-Issuer` | the issuer that vouches for the token |
//! | `X-Auth-Client` | `client_id` |
//! | `X-Auth-Scope` | `scope` |
//!
//! All four are always there, empty if the token says nothing, so that a proxy that replaces the
//! client's headers by ours replaces all of them. What is not visible ASCII is percent-encoded, and
//! so are `%` and `,`. A table `[resource_server.forward]` names other headers and claims.
//!
//! ```text
//! cargo run --example forward_auth --features config -- forward_auth.toml
//! ```
//!
//! ```toml
//! listen = "127.0.0.1:4180"
//!
//! [resource_server]   # see `tower_introspect::resource_server::config`
//! audience = "https://api.example.com"
//! required_scopes = ["api"]
//!
//! [[resource_server.issuer]]
//! issuer = "https://as.example.com"
//! mode = "hybrid"
//! client = { method = "basic", id = "api", secret_file = "/run/secrets/api" }
//! ```
//!
//! Without a file, it is configured by variables for one issuer: `FORWARD_AUTH_LISTEN`, `_AUDIENCE`,
//! `_ISSUER`, `_MODE`, `_REQUIRED_SCOPES` (space-delimited), and to ask the issuer `_CLIENT_ID` and
//! `_CLIENT_SECRET` or `_CLIENT_SECRET_FILE`; for tests also `_DANGER_ALLOW_HTTP_LOOPBACK`.
//!
//! # nginx
//!
//! ```text
//! location / {
//!     auth_request /auth;
//!     auth_request_set $subject $upstream_http_x_auth_subject;
//!     proxy_set_header X-Auth-Subject $subject;   # and so on for the others
//!     proxy_pass http://api;
//! }
//! location = /auth {
//!     internal;
//!     proxy_pass http://127.0.0.1:4180;
//!     proxy_pass_request_body off;
//!     proxy_set_header Content-Length "";
//! }
//! ```
//!
//! nginx answers 500 to any answer but 2xx, 401 and 403; map it to 503 with `error_page` if you
//! like. It passes the `WWW-Authenticate` of a 401 on by itself.
//!
//! # Security
//!
//! Listen where only the proxy can reach it. The API must not be reachable around the proxy: it
//! believes the headers. Have the proxy drop what clients send under these names with `_` for `-`,
//! too: nginx does, unless `underscores_in_headers` is on.

use std::{error::Error, net::SocketAddr, process::ExitCode, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL},
};
use tokio::net::TcpListener;
use toml::{Table, Value};
use tower_introspect::{
    ConfigError, ResourceServer, VerifiedToken, layer::ForwardHeaders, resource_server::Config,
};
use tracing_subscriber::filter::LevelFilter;

/// Longer identities would not pass through proxies; better refused than cut.
const LONGEST: usize = 2048;

/// How long requests may take to end after the signal to stop.
const GRACE: Duration = Duration::from_secs(10);

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    listen: SocketAddr,
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
        [] => from_environment(),
        [file] => std::fs::read_to_string(file)
            .map_err(|error| format!("{file}: {error}"))?
            .parse::<Table>()
            // The whole of the error would quote the file, which may hold a secret.
            .map_err(|error| format!("{file}: {}", error.message()))?,
        _ => return Err("usage: forward_auth [FILE]".into()),
    };
    let settings: Settings = table.try_into().map_err(|error: toml::de::Error| {
        format!("these settings are wrong:\n{}", error.message())
    })?;
    let resource_server = settings.resource_server.build()?;

    let listener = TcpListener::bind(settings.listen).await?;
    let end = end()?;
    println!("listening on http://{}", listener.local_addr()?);
    let warming = resource_server.clone();
    tokio::spawn(async move {
        // What could not be had now is fetched when it is needed.
        if let Err(error) = warming.warm().await {
            eprintln!("forward_auth: {error}");
        }
    });
    serve(listener, &resource_server, end).await
}

/// Serves until the end is asked for, and then until the last request has ended, but not for ever.
async fn serve(
    listener: TcpListener,
    resource_server: &ResourceServer,
    end: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error>> {
    // Every path is a question, so there is none for anything else: a proxy may pass on the path
    // of the client, and an answer that is always 200 would let it in.
    let headers = match resource_server.forwarded() {
        Some(headers) => headers.clone(),
        None => usual_headers()?,
    };
    let headers = headers.empty_if_absent().max_bytes(LONGEST);
    let app = Router::new().fallback(identity).with_state(headers).layer(resource_server.layer());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut ending = stopped.clone();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async move {
        // An error means that the sender is gone, and then it is time to stop too.
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

/// Who the bearer of a verified token is.
async fn identity(
    State(headers): State<ForwardHeaders>,
    token: VerifiedToken,
) -> Result<HeaderMap, StatusCode> {
    let mut answer = HeaderMap::new();
    headers.apply(Some(&token), &mut answer).map_err(|_| StatusCode::FORBIDDEN)?;
    answer.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// The headers, where the settings name no others.
fn usual_headers() -> Result<ForwardHeaders, ConfigError> {
    ForwardHeaders::new()
        .subject("x-auth-subject")?
        .issuer("x-auth-issuer")?
        .client("x-auth-client")?
        .scope("x-auth-scope")
}

/// The settings for one issuer, as a file would hold them.
fn from_environment() -> Table {
    let var = |name: &str| std::env::var(format!("FORWARD_AUTH_{name}")).ok();
    let mut client = Table::new();
    if let Some(id) = var("CLIENT_ID") {
        client.insert("method".into(), "basic".into());
        client.insert("id".into(), id.into());
    }
    if let Some(file) = var("CLIENT_SECRET_FILE") {
        client.insert("secret_file".into(), file.into());
    }
    if var("CLIENT_SECRET").is_some() {
        client.insert("secret_env".into(), "FORWARD_AUTH_CLIENT_SECRET".into());
    }
    let mut issuer = Table::new();
    if let Some(name) = var("ISSUER") {
        issuer.insert("issuer".into(), name.into());
    }
    issuer.insert("mode".into(), var("MODE").unwrap_or_else(|| "jwt".to_owned()).into());
    if !client.is_empty() {
        issuer.insert("client".into(), client.into());
    }
    let mut resource_server = Table::new();
    resource_server.insert("issuer".into(), Value::Array(vec![issuer.into()]));
    if let Some(audience) = var("AUDIENCE") {
        resource_server.insert("audience".into(), audience.into());
    }
    if let Some(scopes) = var("REQUIRED_SCOPES").filter(|scopes| !scopes.trim().is_empty()) {
        let scopes = scopes.split_whitespace().map(Value::from).collect();
        resource_server.insert("required_scopes".into(), Value::Array(scopes));
    }
    if var("DANGER_ALLOW_HTTP_LOOPBACK").is_some_and(|value| value == "true") {
        resource_server.insert("danger_allow_http_loopback".into(), true.into());
    }
    let mut settings = Table::new();
    let listen = var("LISTEN").unwrap_or_else(|| "127.0.0.1:4180".to_owned());
    settings.insert("listen".into(), listen.into());
    settings.insert("resource_server".into(), resource_server.into());
    settings
}

/// Waits for ctrl-c, or on Unix for SIGTERM.
///
/// It is the call that takes the signals over, so that none ends the process at once from then on.
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

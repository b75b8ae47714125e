//! `forward-auth` checks access tokens for reverse proxies: nginx `auth_request`, Traefik
//! `forwardAuth`, Caddy `forward_auth`, Envoy `ext_authz` over HTTP. `README.md` describes it.

mod environment;
mod question;
mod serve;
mod signals;

use std::{error::Error, net::SocketAddr, path::PathBuf, process::ExitCode};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL},
    middleware::from_fn,
};
use clap::Parser as _;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
};
use toml::Table;
use tower_introspect::{
    ConfigError, ResourceServer, VerifiedToken,
    config::{Config, ConfiguredSignals},
    layer::ForwardHeaders,
    respond::HttpOnly,
};
use tracing_subscriber::filter::LevelFilter;

use self::{
    question::OriginalRequest,
    serve::{MAX_CONNECTIONS, Peer, end, serve},
};

/// Longer identities would not pass through proxies. They are refused, not cut.
const LONGEST: usize = 2048;

/// Check OAuth 2.0 access tokens for a reverse proxy: nginx, Caddy, Traefik or Envoy.
///
/// The proxy asks this service about every request. The response is 200 with the identity in
/// headers, or the refusal for the client.
#[derive(clap::Parser)]
#[command(name = "forward-auth", version, after_help = ENVIRONMENT)]
struct Args {
    /// The settings, in TOML.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The settings, in TOML. The same as FILE.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the settings, report all mistakes, and exit. Sends no requests.
    #[arg(long)]
    check: bool,
    /// How much to log on standard error: off, error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: LevelFilter,
}

const ENVIRONMENT: &str = "\
Without FILE these variables configure one issuer: FORWARD_AUTH_LISTEN, _AUDIENCE, _ISSUER, _MODE,
_REQUIRED_SCOPES (with spaces between them); for introspection _CLIENT_ID and _CLIENT_SECRET or
_CLIENT_SECRET_FILE.";

/// The settings of this service, beside those of the library.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    listen: SocketAddr,
    ready_listen: Option<SocketAddr>,
    signals_listen: Option<SocketAddr>,
    max_connections: Option<usize>,
    original_request: Option<OriginalRequest>,
    resource_server: Config,
}

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt().with_max_level(args.log).with_writer(std::io::stderr).init();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forward-auth: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let table = match args.config.as_ref().or(args.file.as_ref()) {
        None => environment::settings(),
        Some(file) => {
            let name = file.display();
            let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
            // The full error would quote the file, which may hold a secret.
            text.parse::<Table>().map_err(|error| format!("{name}: {}", error.message()))?
        }
    };
    let Service { listen, ready_listen, most, app, resource_server, receivers, signals } =
        Service::new(table)?;
    if args.check {
        println!("the settings are right");
        return Ok(());
    }
    // Before the service is reachable, so that no signal ends the process at once from then on.
    let end = end()?;
    let stop = watch::Sender::new(false);
    let mut servers = JoinSet::new();
    let listener = bind(listen).await?;
    if let Some(address) = ready_listen {
        let listener = bind(address).await?;
        tracing::info!(address = %listener.local_addr()?, path = "/ready", "reports readiness");
        let app =
            Router::new().route_service("/ready", resource_server.readiness_service::<Body>());
        // Monitoring keeps few connections.
        servers.spawn(serve(listener, app, 64, stop.subscribe()));
    }
    if let Some((address, receivers)) = receivers {
        let listener = bind(address).await?;
        tracing::info!(address = %listener.local_addr()?, "receives signals");
        servers.spawn(serve(listener, receivers, most, stop.subscribe()));
    }
    if let Some(signals) = signals {
        let mut stop = stop.subscribe();
        servers.spawn(async move {
            let stopped = async move {
                let _ = stop.wait_for(|stop| *stop).await;
            };
            signals.run(stopped).await;
            Ok(())
        });
    }
    let address = listener.local_addr()?;
    let (version, issuers) = (env!("CARGO_PKG_VERSION"), resource_server.readiness().len());
    tracing::info!(%address, issuers, version, "listens");
    println!("listening on http://{address}");
    tokio::spawn(async move {
        // Metadata and keys that are missing now are fetched when they are needed.
        if let Err(error) = resource_server.warm().await {
            tracing::warn!(%error, "an issuer is not ready");
        }
    });
    servers.spawn(serve(listener, app, most, stop.subscribe()));
    tokio::select! {
        signal = end => tracing::info!(signal, "ends"),
        Some(ended) = servers.join_next() => {
            ended??;
            return Err("a server has ended by itself".into());
        }
    }
    stop.send_replace(true);
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))
}

/// The service as the settings make it.
struct Service {
    listen: SocketAddr,
    ready_listen: Option<SocketAddr>,
    most: usize,
    app: Router,
    resource_server: ResourceServer,
    /// The routes of the receivers of signals, and their address.
    receivers: Option<(SocketAddr, Router)>,
    signals: Option<ConfiguredSignals>,
}

impl Service {
    /// Reads the settings.
    ///
    /// # Errors
    ///
    /// All problems at once.
    fn new(table: Table) -> Result<Self, Box<dyn Error>> {
        let mut problems = question::problems(&table);
        let settings: Settings = match table.try_into() {
            Ok(settings) => settings,
            Err(error) => {
                let error: toml::de::Error = error;
                let problems = [error.message(), &problems.to_string()].join("\n");
                return Err(format!("these settings are wrong:\n{}", problems.trim_end()).into());
            }
        };
        let Settings { listen, ready_listen, signals_listen, max_connections, .. } = settings;
        let most = max_connections.unwrap_or(MAX_CONNECTIONS);
        if !(1..=Semaphore::MAX_PERMITS).contains(&most) {
            problems.push("max_connections", "must be at least 1");
        }
        let config = settings.resource_server;
        let config = config.peer_address_fn(|head| Some(head.extension::<Peer>()?.0.ip()));
        let built = config.build();
        for (name, problem) in built.as_ref().err().iter().flat_map(|more| more.problems()) {
            problems.push(name, problem);
        }
        problems.or_ok(())?;
        let resource_server = built?;
        let original = settings.original_request.unwrap_or(OriginalRequest::Same);
        let app = app(&resource_server, original)?;
        let signals = config.signals(&resource_server)?;
        let receivers = signals::routes(signals.as_ref(), signals_listen)?;
        Ok(Self { listen, ready_listen, most, app, resource_server, receivers, signals })
    }
}

/// Returns the service that the proxy asks.
///
/// Every path is checked, and there is no other route: a proxy may pass on the path of the client,
/// and a route that always responds 200 would let the client in.
fn app(resource_server: &ResourceServer, original: OriginalRequest) -> Result<Router, ConfigError> {
    let headers = match resource_server.forward_headers() {
        Some(headers) => headers.clone(),
        None => usual_headers()?,
    };
    let headers = headers.empty_if_absent().max_bytes(LONGEST);
    Ok(Router::new()
        .fallback(identity)
        .with_state(headers)
        // A gRPC refusal has the status 200, which would let every client in that claims to speak gRPC.
        .layer(resource_server.layer().responder(HttpOnly::new()))
        .layer(from_fn(move |request, next| question::restore(original, request, next))))
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

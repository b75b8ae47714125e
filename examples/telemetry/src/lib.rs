//! The resource server of both programs, which differ in how its metrics and spans are exported.

use std::{convert::Infallible, error::Error, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::header::CONTENT_TYPE,
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::stream;
use tokio::net::TcpListener;
use tower_introspect::{
    ClientAuth, Issuer, RequireScope, ResourceServer, VerifiedToken,
    policy::{Observer, Requirement},
    respond::Refusal,
    revocation::{CutoffChange, CutoffFeed, FeedState, Flushing},
    signals::Transmitter,
    test_util::{AuthorizationServer, Client, Listening},
};
use tracing::Instrument as _;

pub mod recorder;
mod traffic;

const AUDIENCE: &str = "https://api.example.com";

/// The audience of security events.
const RECEIVER: &str = "https://api.example.com/signals";

/// The buckets of each histogram: up to the maximum age of facts, and up to the timeout of calls.
pub const BUCKETS: [(&str, &[f64]); 3] = [
    ("tower_introspect_facts_age_seconds", &[1.0, 5.0, 15.0, 30.0, 60.0, 150.0, 300.0]),
    ("tower_introspect_stream_facts_age_seconds", &[5.0, 15.0, 20.0, 25.0, 30.0, 60.0]),
    ("tower_introspect_upstream_seconds", &[0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0]),
];

/// A function that renders the metrics for Prometheus.
type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

/// A service with an authorization server of its own.
pub struct Service {
    api: ResourceServer,
    server: AuthorizationServer,
    _listening: Listening,
}

impl Service {
    /// Creates the service. It does not listen yet.
    ///
    /// # Errors
    ///
    /// If there is no port for the authorization server.
    pub async fn new() -> Result<Self, Box<dyn Error>> {
        let (server, listening) = AuthorizationServer::on_loopback().await?;
        server.register(Client::new("api", "s3cret"));
        let trial = Observer::new("payments need a second factor");
        let api = ResourceServer::builder(AUDIENCE)
            .issuer(Issuer::hybrid(server.issuer(), ClientAuth::basic("api", "s3cret")))
            .danger_allow_http_loopback() // the authorization server of this example has no TLS
            .policy(|policy| policy.observe(Requirement::any_acr(["mfa"]), &trial))
            .on_refusal(audit)
            .build()?;
        api.revocations().connect(Arc::new(NoOthers))?;
        api.revocations().local().set_state(FeedState::Current);
        Ok(Self { api, server, _listening: listening })
    }

    /// Returns the resource server, for its metrics.
    pub fn api(&self) -> &ResourceServer {
        &self.api
    }

    /// Serves until it is stopped, and meanwhile sends itself requests of all kinds.
    ///
    /// # Errors
    ///
    /// If it can't listen.
    pub async fn run(
        self,
        scrape: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<(), Box<dyn Error>> {
        let Self { api, server, _listening } = self;
        // As a feed does that may have missed something, and finds nothing foreign.
        let cutoffs = api.revocations().local();
        cutoffs.doubt("the service starts", Duration::ZERO);
        cutoffs.note_foreign(0);
        let short = api.streams().max_life(Duration::from_secs(5));
        let app = Router::new()
            .route("/payments", get(payments).route_layer(RequireScope::all(["read:payments"])))
            .route("/events", get(quiet_events).route_layer(api.streams()))
            .route("/short", get(quiet_events).route_layer(short))
            .layer(api.layer())
            .layer(from_fn(spanned));
        // The authorization server tells of revocations, and proves each minute that it does.
        let transmitter = Transmitter::new(server.issuer(), RECEIVER);
        let events = api.receive_events(&transmitter.verified_within(Duration::from_secs(60)))?;
        let app = app.route_service("/signals", events.push_service::<Body>());
        // In a real service these routes are on a port of their own that clients can't reach.
        let scrape: Scrape = Arc::new(scrape);
        let operators = Router::new()
            .route("/metrics", get(metrics).with_state((api.clone(), scrape)))
            .route_service("/ready", api.readiness_service::<Body>());

        let address =
            std::env::var("TELEMETRY_LISTEN").unwrap_or_else(|_| "127.0.0.1:0".to_owned());
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        println!("listening on http://{address}");
        let traffic = tokio::spawn(traffic::run(address, server, AUDIENCE, RECEIVER));
        let stopped = async move {
            let _ = tokio::signal::ctrl_c().await;
            api.end_streams(Duration::from_secs(1)).await;
        };
        axum::serve(listener, app.merge(operators)).with_graceful_shutdown(stopped).await?;
        traffic.abort();
        Ok(())
    }
}

async fn payments(token: VerifiedToken) -> String {
    format!("the payments of {}", token.subject().unwrap_or("nobody"))
}

/// Responds with events that never come, so that the stream is open until its token ends.
async fn quiet_events() -> Response {
    let none = stream::pending::<Result<&str, Infallible>>();
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(none)).into_response()
}

/// Creates a span for each request, the parent of `verify_token` and of the refusals.
async fn spanned(request: Request, next: Next) -> Response {
    let span = tracing::info_span!(target: "telemetry", "request", otel.kind = "server");
    next.run(request).instrument(span).await
}

/// Renders the metrics. `record_metrics` reads those that are counted elsewhere.
async fn metrics(State((api, scrape)): State<(ResourceServer, Scrape)>) -> String {
    api.record_metrics();
    scrape()
}

/// Writes every refusal to standard output, as an audit trail. A log has only ten a second.
fn audit(refusal: &Refusal<'_>) {
    let (head, reason) = (refusal.head(), refusal.error().kind().reason());
    println!("refused {} {}: {reason}", head.method(), head.uri().path());
}

/// Stands in for a feed of cutoffs, so that its metrics are there: this service is the only instance.
#[derive(Debug)]
struct NoOthers;

impl CutoffFeed for NoOthers {
    fn publish(&self, _: CutoffChange) {}

    fn flush(&self) -> Flushing {
        Box::pin(async { Ok(()) })
    }
}

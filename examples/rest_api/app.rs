//! The application. This is what you would copy.

use std::time::Duration;

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{HeaderValue, Method, StatusCode, header},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_http::cors::CorsLayer;
use tower_introspect::{
    ClientAuth, ConfigError, Issuer, RequireAcr, RequireFresh, RequireScope, ResourceServer,
    VerifiedToken,
    axum::{Claims, RejectWith, ScopeSet, Scoped},
    policy::Observer,
    require::RequireLayer,
    resource_server::ResourceServerBuilder,
    respond::ProblemJson,
    scopes,
};

/// Who this API is. Tokens must be meant for it.
pub(crate) const AUDIENCE: &str = "https://api.example.com";

/// The web application whose scripts may call.
pub(crate) const WEB_APP: &str = "https://app.example.com";

/// Whom this API trusts, and what holds for every token.
pub(crate) fn resource_server(issuer: &str, secret: &str) -> ResourceServerBuilder {
    ResourceServer::builder(AUDIENCE)
        // JWTs are verified here, by the issuer's published keys. About any other token it is asked.
        .issuer(Issuer::hybrid(issuer, ClientAuth::basic("api", secret)))
        // Nothing is implied by how a scope is spelled, so it is said.
        .policy(|policy| {
            policy
                .scope_implies("payments", "payments:read")
                .scope_implies("payments", "payments:write")
        })
}

/// All routes. `trial` counts whom a requirement would refuse that is not in force yet.
///
/// # Errors
///
/// If an issuer can't be asked, which the transfers insist on.
pub(crate) fn app(api: &ResourceServer, trial: &Observer) -> Result<Router, ConfigError> {
    // For everyone, so no layer is around it. A load balancer asks `/health`.
    let public = Router::new()
        .route("/health", get(async || "ok"))
        .route("/ready", get(ready))
        .with_state(api.clone());

    // With a token or without. One that is there and bad is refused all the same.
    let open = Router::new()
        .route("/", get(hello))
        .route_layer(api.layer().optional().responder(ProblemJson::new()));

    let closed = Router::new()
        .route("/me", get(me))
        .route(
            "/payments",
            // Covers what stands before it: `post` asks for itself, by the type of its argument.
            get(payments).route_layer(needs(RequireScope::all(scopes!["payments:read"]))).post(pay),
        )
        // A second factor within the last five minutes.
        .route(
            "/statements",
            get(statements)
                .route_layer(needs(RequireAcr::any_within(["mfa"], Duration::from_secs(300)))),
        )
        // Money leaves: the issuer is asked about this very request, and the scope is judged by
        // what it says now.
        .route(
            "/transfers",
            post(transfer)
                .route_layer(needs(RequireScope::all(scopes!["payments:write"])))
                .route_layer(RequireFresh::live(api)?.responder(ProblemJson::new())),
        )
        // Soon this will need a scope. Who would be refused?
        .route(
            "/export",
            get(payments)
                .route_layer(needs(RequireScope::all(scopes!["payments:export"])).observe(trial)),
        )
        // What extractors refuse is rendered as what layers do.
        .route_layer(Extension(RejectWith::new(ProblemJson::new())))
        // Around the routes above, so that a path that does not exist is 404 and not 401. No
        // `remove_credentials`: `RequireFresh` reads the token once more.
        .route_layer(api.layer().responder(ProblemJson::new()));

    // Outermost: a browser asks without a token whether it may send one, and shows scripts only the
    // headers that are exposed.
    let cors = CorsLayer::new()
        .allow_origin([HeaderValue::from_static(WEB_APP)])
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::WWW_AUTHENTICATE, header::RETRY_AFTER]);
    Ok(public.merge(open).merge(closed).layer(cors))
}

/// The requirement, with a problem document (RFC 9457) for who does not meet it.
fn needs(requirement: RequireLayer) -> RequireLayer<ProblemJson> {
    requirement.responder(ProblemJson::new())
}

/// Whether tokens can be verified: for dashboards, and for those who deploy. Not for a load balancer,
/// or this service would go down with its issuer.
async fn ready(State(api): State<ResourceServer>) -> (StatusCode, Json<Value>) {
    let issuers = api.readiness();
    let ready = issuers.iter().all(|issuer| issuer.is_ready());
    let told = issuers.iter().map(|issuer| {
        let failure = issuer.failure().map(|kind| kind.reason());
        json!({"issuer": issuer.issuer(), "ready": issuer.is_ready(), "failure": failure})
    });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(told.collect()))
}

async fn hello(token: Option<VerifiedToken>) -> String {
    let name = token.as_ref().and_then(VerifiedToken::subject).unwrap_or("whoever you are");
    format!("hello, {name}")
}

/// What this API wants to know of its users. A token that does not say it is refused with 403.
#[derive(Deserialize)]
struct Customer {
    name: String,
    tenant: u64,
}

async fn me(token: VerifiedToken, Claims(customer): Claims<Customer>) -> Json<Value> {
    // A subject names a user only together with its issuer.
    let user = json!({"issuer": token.issuer(), "subject": token.subject()});
    Json(json!({"user": user, "name": customer.name, "tenant": customer.tenant}))
}

async fn payments(token: VerifiedToken) -> String {
    format!("the payments of {}", owner(&token))
}

/// The scope of `POST /payments`, as a type: wherever the route is put, it can't be had without.
///
/// Refusals by extractors have the status and the challenge, and no document.
struct WritePayments;

impl ScopeSet for WritePayments {
    const SCOPES: &'static [&'static str] = &scopes!["payments:write"];
}

async fn pay(token: Scoped<WritePayments>) -> (StatusCode, String) {
    (StatusCode::CREATED, format!("a payment by {}", owner(&token)))
}

async fn statements(token: VerifiedToken) -> String {
    format!("the statements of {}", owner(&token))
}

async fn transfer(token: VerifiedToken) -> (StatusCode, String) {
    (StatusCode::CREATED, format!("a transfer by {}", owner(&token)))
}

fn owner(token: &VerifiedToken) -> &str {
    token.subject().unwrap_or("nobody in particular")
}

//! The application. Copy this file.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderValue, Method, StatusCode, header},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_http::cors::CorsLayer;
use tower_introspect::{
    ClientAuth, ConfigError, ErrorKind, Issuer, RequireScope, ResourceServer, VerifiedToken,
    VerifyError,
    axum::{Claims, ScopeSet, Scoped},
    policy::{Observer, Requirement},
    require::RequireLayer,
    resource_server::ResourceServerBuilder,
    respond::ProblemJson,
    scopes,
};

use super::streams;

/// The identifier of this API. Tokens must have it as audience.
pub(crate) const AUDIENCE: &str = "https://api.example.com";

/// The origin of the web application whose scripts may call the API.
pub(crate) const WEB_APP: &str = "https://app.example.com";

/// Returns the resource server: the trusted issuer, and the policy for every token.
pub(crate) fn resource_server(issuer: &str, secret: &str) -> ResourceServerBuilder<ProblemJson> {
    ResourceServer::builder(AUDIENCE)
        // Verifies JWTs locally, by the issuer's published keys, and introspects any other token.
        .issuer(Issuer::hybrid(issuer, ClientAuth::basic("api", secret)))
        // The spelling of a scope implies nothing, so implications are declared.
        .policy(|policy| {
            policy
                .scope_implies("payments", "payments:read")
                .scope_implies("payments", "payments:write")
        })
        // Every refusal has a problem document (RFC 9457): by layers, requirements, extractors and
        // handlers.
        .responder(ProblemJson::new())
}

/// Returns all routes. `trial` counts the requests that a future requirement would refuse.
///
/// # Errors
///
/// If an issuer does not support introspection, which `/transfers` requires.
pub(crate) fn app(
    api: &ResourceServer<ProblemJson>,
    trial: &Observer,
) -> Result<Router, ConfigError> {
    // Public, so without a layer. `/health` is for load balancers.
    let public = Router::new()
        .route("/health", get(async || "ok"))
        .route("/ready", get(ready))
        .with_state(api.clone());

    // With or without a token. A bad token is still refused.
    let open = Router::new().route("/", get(hello)).route_layer(api.layer().optional());

    let second_factor =
        Requirement::any_acr(["mfa"]).and(Requirement::max_age(Duration::from_secs(300)));
    let closed = Router::new()
        .route("/me", get(me))
        // Decides by the request and the claims, in the handler.
        .route("/tenants/{tenant}", get(tenant))
        .route(
            "/payments",
            // Covers `get` only. `post` requires its scope by the type of its argument.
            get(payments).route_layer(RequireScope::all(scopes!["payments:read"])).post(pay),
        )
        // Requires a second factor within the last five minutes.
        .route("/statements", get(statements).route_layer(RequireLayer::new(second_factor)))
        // For transfers of money: introspects for this very request, and checks the scope of the
        // fresh response.
        .route(
            "/transfers",
            post(transfer)
                .route_layer(RequireScope::all(scopes!["payments:write"]))
                .route_layer(api.live_layer()?),
        )
        // A future requirement. It only counts the requests that it would refuse.
        .route(
            "/export",
            get(payments).route_layer(RequireScope::all(scopes!["payments:export"]).observe(trial)),
        )
        // Covers the routes above only, so that an unknown path is 404 and not 401. Without
        // `remove_credentials`, because `live_layer` reads the token again.
        .route_layer(api.layer());

    // Outermost: a browser sends preflights without a token, and shows scripts only the headers
    // that are exposed.
    let cors = CorsLayer::new()
        .allow_origin([HeaderValue::from_static(WEB_APP)])
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::WWW_AUTHENTICATE, header::RETRY_AFTER]);
    Ok(public.merge(open).merge(closed).merge(streams::routes(api)).layer(cors))
}

/// Reports whether tokens can be verified, for dashboards and deployments.
///
/// Not for a load balancer, or this service would go down with its issuer.
async fn ready(State(api): State<ResourceServer<ProblemJson>>) -> (StatusCode, Json<Value>) {
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

/// The claims that this API needs. A token without them is refused with 403.
#[derive(Deserialize)]
struct Customer {
    name: String,
    tenant: u64,
}

async fn me(token: VerifiedToken, Claims(customer): Claims<Customer>) -> Json<Value> {
    // A subject identifies a user only together with its issuer.
    let user = json!({"issuer": token.issuer(), "subject": token.subject()});
    Json(json!({"user": user, "name": customer.name, "tenant": customer.tenant}))
}

/// The data of a tenant, for its customers only.
async fn tenant(
    Path(tenant): Path<u64>,
    Claims(customer): Claims<Customer>,
) -> Result<String, VerifyError> {
    if customer.tenant != tenant {
        return Err(ErrorKind::Denied.into());
    }
    Ok(format!("the data of tenant {tenant}"))
}

async fn payments(token: VerifiedToken) -> String {
    format!("the payments of {}", owner(&token))
}

/// The scope of `POST /payments`, as a type. It is required wherever the route is mounted.
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

pub(crate) fn owner(token: &VerifiedToken) -> &str {
    token.subject().unwrap_or("nobody in particular")
}

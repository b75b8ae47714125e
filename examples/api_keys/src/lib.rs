//! An API for two kinds of callers: users with the JWTs of an authorization server, and programs with
//! API keys that the users make for them.

mod keys;

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{delete, get},
};
use serde_json::{Value, json};
use tower_introspect::{
    ConfigError, Issuer, RequireScope, ResourceServer, VerifiedToken,
    policy::Requirement,
    require::RequireLayer,
    resource_server::ResourceServerBuilder,
    revocation::Cutoff,
    verify::{VerifyRequest, verify_fn},
};

pub use crate::keys::{ApiKeys, ISSUER, Listed, NewKey, PREFIX, is_key};

/// The identifier of this API.
pub const AUDIENCE: &str = "https://api.example.com";

/// Returns the resource server, which trusts the authorization server and the keys.
pub fn resource_server(authority: &str, keys: &ApiKeys) -> ResourceServerBuilder {
    let keys = keys.clone();
    let verifier = verify_fn(move |request: VerifyRequest| {
        let keys = keys.clone();
        async move { keys.verify(request).await }
    });
    ResourceServer::builder(AUDIENCE)
        .issuer(Issuer::jwt(authority))
        .issuer(Issuer::custom(ISSUER, verifier).token_prefix(PREFIX).token_shape(is_key))
}

#[derive(Clone)]
struct Context {
    api: ResourceServer,
    keys: ApiKeys,
}

/// Returns all routes.
///
/// # Errors
///
/// If the settings of the resource server are wrong.
pub fn app(api: &ResourceServer, keys: &ApiKeys, authority: &str) -> Result<Router, ConfigError> {
    // A key can't make or revoke keys: a leaked one must not outlive its revocation.
    let users_only = Requirement::any_issuer([authority]);
    let management = Router::new()
        .route("/keys", get(list).post(create))
        .route("/keys/{id}", delete(remove))
        .route_layer(RequireLayer::new(users_only))
        .with_state(Context { api: api.clone(), keys: keys.clone() });
    Ok(Router::new()
        .route("/reports", get(reports).route_layer(RequireScope::all(["reports:read"])))
        .merge(management)
        .layer(api.layer()))
}

/// Revokes a key, from the next request on. Returns false if there is no such key.
///
/// First in the database, then in this process: a look-up that starts after the cutoff finds the
/// revocation. Other processes notice when the key leaves their caches, after `max_age`, unless they
/// are told to set the same cutoff.
///
/// # Errors
///
/// If the database can't be written.
pub async fn revoke(
    api: &ResourceServer,
    keys: &ApiKeys,
    owner: &str,
    id: &str,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let was_there = keys.mark_revoked(owner, id).await?;
    if was_there {
        api.revocations().revoke(&Cutoff::token(ISSUER, id));
    }
    Ok(was_there)
}

/// For users and keys alike.
async fn reports(Extension(token): Extension<VerifiedToken>) -> String {
    let subject = token.subject().unwrap_or("nobody");
    // Only the pair of issuer and subject identifies a caller.
    format!("reports of {subject}, by {}\n", token.issuer())
}

async fn create(
    State(Context { keys, .. }): State<Context>,
    Extension(token): Extension<VerifiedToken>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    let owner = token.subject().ok_or(StatusCode::FORBIDDEN)?;
    // A key may do less than its owner, never more.
    if !token.claims().scope().contains("reports:read") {
        return Err(StatusCode::FORBIDDEN);
    }
    let key = keys.create(owner, "reports:read", None).await.map_err(failed)?;
    // The key is shown once. Afterwards nobody can read it.
    Ok((StatusCode::CREATED, Json(json!({ "id": key.id, "key": key.secret }))))
}

async fn list(
    State(Context { keys, .. }): State<Context>,
    Extension(token): Extension<VerifiedToken>,
) -> Result<Json<Value>, StatusCode> {
    let owner = token.subject().ok_or(StatusCode::FORBIDDEN)?;
    let all = keys.list(owner).await.map_err(failed)?;
    let show = |key: Listed| {
        json!({
            "id": key.id,
            "scope": key.scope,
            "revoked": key.is_revoked,
            "last_used_at": key.last_used_at,
        })
    };
    Ok(Json(all.into_iter().map(show).collect()))
}

async fn remove(
    State(Context { api, keys }): State<Context>,
    Extension(token): Extension<VerifiedToken>,
    Path(id): Path<String>,
) -> Result<StatusCode, StatusCode> {
    let owner = token.subject().ok_or(StatusCode::FORBIDDEN)?;
    match revoke(&api, &keys, owner, &id).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(StatusCode::NOT_FOUND),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: impl std::fmt::Display) -> StatusCode {
    eprintln!("the database failed: {error}");
    StatusCode::SERVICE_UNAVAILABLE
}

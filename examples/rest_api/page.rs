//! A web page that opens the streams, and a stand-in for its sign-in. Only for demonstrations.

use std::time::Duration;

use axum::{
    Router,
    extract::{Query, State},
    http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    response::IntoResponse,
    routing::{get, post},
};
use serde::Deserialize;
use tower_introspect::test_util::AuthorizationServer;

use crate::app::AUDIENCE;

/// Returns the page, its script, and a route that gives it tokens.
pub(crate) fn routes(authority: &AuthorizationServer) -> Router {
    let page = include_str!("page.html");
    let script = include_str!("page.js");
    Router::new()
        .route("/page", get(async move || own("text/html; charset=utf-8", page)))
        .route("/page.js", get(async move || own("text/javascript", script)))
        .route("/demo/token", post(token))
        .with_state(authority.clone())
}

fn own(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    let policy = "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; \
                  form-action 'none'; frame-ancestors 'none'";
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text)
}

#[derive(Deserialize)]
struct Wanted {
    user: String,
    seconds: u64,
}

/// Mints a token for any user.
async fn token(
    State(authority): State<AuthorizationServer>,
    Query(wanted): Query<Wanted>,
) -> impl IntoResponse {
    let token = authority.jwt().subject(&wanted.user).audience(AUDIENCE);
    let life = Duration::from_secs(wanted.seconds.min(24 * 60 * 60));
    let token = token.scope("payments:read").expires_in(life);
    ([(CACHE_CONTROL, "no-store")], token.mint())
}

use serde_json::Value;

use crate::{
    claims::claims_set::Claims,
    clock::{Moment, SystemClock},
    credentials::token::Scheme,
    policy::{settings::Policy, verified_token::VerifiedToken},
    verify::active::{ActiveToken, Method},
};

const AUDIENCE: &str = "https://api.example.com";
const ISSUER: &str = "https://as.example.com";

/// Creates a verified token with these claims, for the extensions of a request to a handler.
///
/// A real [`Policy`] admits it. The issuer defaults to `https://as.example.com`, and the audience
/// to `https://api.example.com`.
///
/// An [`IntrospectLayer`](crate::IntrospectLayer) removes the token again, so test the services
/// inside of that layer.
///
/// ```
/// use axum::{Router, body::Body, routing::get};
/// use http::{Request, StatusCode};
/// use serde_json::json;
/// use tower::ServiceExt as _;
/// use tower_introspect::{RequireScope, VerifiedToken, test_util::verified_token};
///
/// async fn whoami(token: VerifiedToken) -> String {
///     token.subject().unwrap_or("nobody").to_owned()
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app: Router =
///     Router::new().route("/", get(whoami).route_layer(RequireScope::all(["read"])));
///
/// let mut request = Request::get("/").body(Body::empty())?;
/// request.extensions_mut().insert(verified_token(&json!({"sub": "bob", "scope": "read"})));
/// assert_eq!(app.clone().oneshot(request).await?.status(), StatusCode::OK);
///
/// let mut request = Request::get("/").body(Body::empty())?;
/// request.extensions_mut().insert(verified_token(&json!({"sub": "bob"})));
/// assert_eq!(app.oneshot(request).await?.status(), StatusCode::FORBIDDEN);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// Panics if no policy would admit the claims: they are not an object, have expired, or bind the
/// token to a key.
#[must_use]
pub fn verified_token(claims: &Value) -> VerifiedToken {
    let mut claims = claims.clone();
    let members = claims.as_object_mut().expect("claims are an object");
    members.entry("iss").or_insert_with(|| ISSUER.into());
    members.entry("aud").or_insert_with(|| AUDIENCE.into());

    let claims = Claims::from_json(claims.to_string().as_bytes())
        .expect("claims have their registered types");
    let audience = claims.audience().iter().next().unwrap_or_default().to_owned();
    let issuer = claims.issuer().unwrap_or_default().to_owned();
    let active = ActiveToken::new(issuer, claims, Method::Custom, Moment::now(&SystemClock));
    match Policy::new(&audience).admit(active, Scheme::Bearer) {
        Ok(token) => token,
        Err(error) => panic!("no policy admits these claims: {error}"),
    }
}

use http::Extensions;
use serde_json::Value;

use crate::{
    claims::claims_set::Claims,
    clock::{Moment, SystemClock},
    credentials::token::Scheme,
    policy::{
        identity::{Anonymous, strip_identity},
        settings::Policy,
        verified_token::VerifiedToken,
    },
    verify::active::{ActiveToken, Method},
};

const AUDIENCE: &str = "https://api.example.com";
const ISSUER: &str = "https://as.example.com";

/// Creates a verified token with these claims, to call a handler with.
///
/// A real [`Policy`] admits it. The issuer defaults to `https://as.example.com`, and the audience
/// to `https://api.example.com`.
///
/// ```
/// use serde_json::json;
/// use tower_introspect::{VerifiedToken, test_util::verified_token};
///
/// async fn whoami(token: VerifiedToken) -> String {
///     token.subject().unwrap_or("nobody").to_owned()
/// }
///
/// # tokio_test::block_on(async {
/// let name = whoami(verified_token(&json!({"sub": "bob"}))).await;
/// assert_eq!(name, "bob");
/// # });
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

/// Returns the request as a handler receives it once a layer has admitted it with a token of these
/// claims.
///
/// An [`IntrospectLayer`](crate::IntrospectLayer) removes the token again, so test the services
/// inside of that layer. With axum, these are its routes:
///
/// ```
/// use axum::{Router, body::Body, routing::get};
/// use http::{Request, StatusCode};
/// use serde_json::json;
/// use tower::ServiceExt as _;
/// use tower_introspect::{RequireScope, VerifiedToken, test_util::authenticated};
///
/// async fn whoami(token: VerifiedToken) -> String {
///     token.subject().unwrap_or("nobody").to_owned()
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app: Router =
///     Router::new().route("/", get(whoami).route_layer(RequireScope::all(["read"])));
/// let get = || Request::get("/").body(Body::empty());
///
/// let request = authenticated(get()?, &json!({"sub": "bob", "scope": "read"}));
/// assert_eq!(app.clone().oneshot(request).await?.status(), StatusCode::OK);
///
/// let request = authenticated(get()?, &json!({"sub": "bob"}));
/// assert_eq!(app.oneshot(request).await?.status(), StatusCode::FORBIDDEN);
/// # Ok(())
/// # }
/// ```
///
/// With tonic, call the method of the service:
///
/// ```
/// use serde_json::json;
/// use tonic::{Request, Response, Status};
/// use tower_introspect::{test_util::authenticated, tonic::RequestExt as _};
///
/// async fn say_hello(request: Request<()>) -> Result<Response<String>, Status> {
///     let token = request.verified_token()?;
///     Ok(Response::new(format!("hello {}", token.subject().unwrap_or("nobody"))))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Status> {
/// let reply = say_hello(authenticated(Request::new(()), &json!({"sub": "bob"}))).await?;
/// assert_eq!(reply.into_inner(), "hello bob");
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// Panics if [`verified_token`] does.
#[must_use]
pub fn authenticated<R: HandlerRequest>(request: R, claims: &Value) -> R {
    with(request, verified_token(claims))
}

/// Returns the request as a handler receives it once a layer has admitted it without credentials.
///
/// ```
/// use axum::{Router, body::Body, routing::get};
/// use http::{Request, StatusCode};
/// use tower::ServiceExt as _;
/// use tower_introspect::{VerifiedToken, test_util::anonymous};
///
/// async fn hello(token: Option<VerifiedToken>) -> StatusCode {
///     if token.is_some() { StatusCode::OK } else { StatusCode::NO_CONTENT }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app: Router = Router::new().route("/", get(hello));
/// let request = anonymous(Request::get("/").body(Body::empty())?);
/// assert_eq!(app.oneshot(request).await?.status(), StatusCode::NO_CONTENT);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn anonymous<R: HandlerRequest>(request: R) -> R {
    with(request, Anonymous::new(&Policy::new(AUDIENCE)))
}

fn with<R: HandlerRequest>(mut request: R, identity: impl Clone + Send + Sync + 'static) -> R {
    let extensions = request.extensions_mut();
    strip_identity(extensions);
    extensions.insert(identity);
    request
}

/// A request to a handler: that of `http`, also without its body, or that of tonic.
pub trait HandlerRequest: sealed::Sealed {
    #[doc(hidden)]
    fn extensions_mut(&mut self) -> &mut Extensions;
}

impl<B> HandlerRequest for http::Request<B> {
    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }
}

impl HandlerRequest for http::request::Parts {
    fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }
}

#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl<T> HandlerRequest for tonic::Request<T> {
    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "sealed")]
    pub trait Sealed {}

    impl<B> Sealed for http::Request<B> {}
    impl Sealed for http::request::Parts {}
    #[cfg(feature = "tonic")]
    impl<T> Sealed for tonic::Request<T> {}
}

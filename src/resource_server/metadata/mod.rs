//! Protected resource metadata: a document that describes this service to clients (RFC 9728).
//!
//! [`ResourceServerBuilder::metadata`] builds the document from the configuration and names its URL
//! in every challenge. Clients read it before they have a token, so serve it *outside* of the layer
//! that requires one. With a router:
//!
//! ```
//! use axum::{Router, body::Body, routing::post};
//! use http::{Request, StatusCode, header::WWW_AUTHENTICATE};
//! use tower::ServiceExt as _;
//! use tower_introspect::{Issuer, ResourceServer};
//! # use tower_introspect::{jose::Algorithm, jwt::KeySet};
//! # let keys = KeySet::from_secret(Algorithm::HS256, &[7; 32])?;
//!
//! let issuer = Issuer::jwt("https://as.example.com");
//! # let issuer = issuer.configure_jwt(|jwt| jwt.keys(keys));
//! let api = ResourceServer::builder("https://api.example.com/mcp")
//!     .issuer(issuer)
//!     .metadata(|about| about.scopes_supported(["mcp:read"]).resource_name("Calculator"))
//!     .build()?;
//!
//! let app = Router::new()
//!     .route("/mcp", post(|| async {}))
//!     // Covers the routes that were added before it.
//!     .layer(api.layer())
//!     .route_service(api.metadata_path(), api.metadata_service::<Body>());
//!
//! # tokio_test::block_on(async {
//! let refused = app.clone().oneshot(Request::post("/mcp").body(Body::empty())?).await?;
//! assert_eq!(
//!     refused.headers()[WWW_AUTHENTICATE],
//!     "Bearer realm=\"https://api.example.com/mcp\", resource_metadata=\
//!      \"https://api.example.com/.well-known/oauth-protected-resource/mcp\""
//! );
//! let request = Request::get("/.well-known/oauth-protected-resource/mcp").body(Body::empty())?;
//! assert_eq!(app.oneshot(request).await?.status(), StatusCode::OK);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Without a router, use a layer that serves the document and passes all other requests on:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt as _, service_fn};
//! use tower_introspect::{Issuer, ResourceServer};
//! # use tower_introspect::{jose::Algorithm, jwt::KeySet};
//! # let keys = KeySet::from_secret(Algorithm::HS256, &[7; 32])?;
//!
//! # let issuer = Issuer::jwt("https://as.example.com");
//! # let issuer = issuer.configure_jwt(|jwt| jwt.keys(keys));
//! let api = ResourceServer::builder("https://api.example.com")
//!     .issuer(issuer)
//!     .metadata(|about| about)
//!     .build()?;
//! let service = ServiceBuilder::new()
//!     .layer(api.metadata_layer())
//!     .layer(api.layer())
//!     .service(service_fn(async |_: Request<()>| {
//!         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
//!     }));
//!
//! # tokio_test::block_on(async {
//! let request = Request::get("/.well-known/oauth-protected-resource").body(())?;
//! assert_eq!(service.clone().oneshot(request).await?.status(), StatusCode::OK);
//! assert_eq!(service.oneshot(Request::new(())).await?.status(), StatusCode::UNAUTHORIZED);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The audience is the URL
//!
//! Clients compare `resource` with the URL they called (§3.3), and request a token with that URL as
//! its audience (RFC 8707). The audience given to [`ResourceServer::builder`](crate::ResourceServer::builder) must therefore be
//! exactly the URL that clients use, as they see it from outside of any proxy: an https URL without
//! a fragment. The document is at that URL, with a well-known path inserted between host and path
//! (§3.1). A proxy in front must let that path through. No part of the document comes from the
//! request.
//!
//! [`ResourceServerBuilder::metadata`]: super::ResourceServerBuilder::metadata

pub(crate) mod document;
mod layer;
mod location;
mod methods;
mod response;
mod service;
pub(crate) mod settings;

pub use self::{
    layer::{MetadataLayer, WithMetadata},
    service::MetadataService,
    settings::ProtectedResourceMetadata,
};

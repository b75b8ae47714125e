//! The responder of the builder.

use std::sync::Arc;

use super::server_builder::ResourceServerBuilder;

impl<R> ResourceServerBuilder<R> {
    /// Sets the responder that renders refusals: those of all layers of this resource server, and those
    /// of requirements, extractors and handlers inside of them. Default:
    /// [`Auto`](crate::respond::Auto).
    ///
    /// The responder becomes part of the type, because it must fit the body type of the service.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use tower_introspect::{
    ///     ConfigError, Issuer, RequireScope, ResourceServer, VerifiedToken, respond::ProblemJson,
    /// };
    ///
    /// async fn me(token: VerifiedToken) -> String {
    ///     format!("{:?}", token.subject())
    /// }
    ///
    /// fn app(api: &ResourceServer<ProblemJson>) -> Router {
    ///     Router::new()
    ///         .route("/me", get(me).route_layer(RequireScope::all(["profile"])))
    ///         .layer(api.layer())
    /// }
    ///
    /// let api = ResourceServer::builder("https://api.example.com")
    ///     .issuer(Issuer::jwt("https://as.example.com"))
    ///     .responder(ProblemJson::http_only())
    ///     .build()?;
    /// # let _ = app(&api);
    /// # Ok::<(), ConfigError>(())
    /// ```
    pub fn responder<R2>(self, responder: R2) -> ResourceServerBuilder<R2> {
        ResourceServerBuilder {
            responder: Arc::new(responder),
            audience: self.audience,
            policy: self.policy,
            issuers: self.issuers,
            extractor: self.extractor,
            freshness: self.freshness,
            forward: self.forward,
            metadata: self.metadata,
            clock: self.clock,
            transport: self.transport,
            loopback_http: self.loopback_http,
            stack: self.stack,
            peer: self.peer,
            hook: self.hook,
            log_subjects: self.log_subjects,
            own_revocations: self.own_revocations,
            shared: self.shared,
            #[cfg(feature = "_crypto")]
            max_streams: self.max_streams,
            #[cfg(feature = "jwt")]
            resolver: self.resolver,
        }
    }
}

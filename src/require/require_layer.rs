//! The layer that enforces a requirement.

use std::{fmt, sync::Arc, time::Duration};

use http::Request;

use super::paths::Paths;
use crate::{
    error::refusal::VerifyError,
    policy::{
        admitted::Requirement,
        observe::Observer,
        verified::{is_known, met, token_of},
    },
    respond::{hook::RefusalHook, refusal::Refusal, responder::Auto},
};

/// A layer that refuses requests that do not meet a requirement.
///
/// See the [module docs](super) for examples.
pub struct RequireLayer<R = Auto> {
    rule: Arc<Rule>,
    observer: Option<Observer>,
    pub(super) hook: Option<RefusalHook>,
    pub(super) responder: Arc<R>,
}

#[derive(Debug)]
enum Rule {
    Always(Requirement),
    ByPath(Paths),
}

impl RequireLayer {
    /// Creates a layer that requires the same of every request.
    ///
    /// ```
    /// use tower_introspect::{policy::Requirement, require::RequireLayer};
    ///
    /// let layer = RequireLayer::new(Requirement::any_scope(["read", "admin"]));
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn new(requirement: Requirement) -> Self {
        Self::of(Rule::Always(requirement))
    }

    /// Creates a layer that requires of each request what `paths` lists for its path.
    #[must_use]
    pub fn paths(paths: Paths) -> Self {
        Self::of(Rule::ByPath(paths))
    }

    fn of(rule: Rule) -> Self {
        Self { rule: Arc::new(rule), observer: None, hook: None, responder: Arc::new(Auto::new()) }
    }
}

impl<R> RequireLayer<R> {
    /// Sets the responder that renders refusals. Default: [`Auto`].
    #[must_use]
    pub fn responder<R2>(self, responder: R2) -> RequireLayer<R2> {
        let Self { rule, observer, hook, .. } = self;
        RequireLayer { rule, observer, hook, responder: Arc::new(responder) }
    }

    /// Calls `hook` once for each request that this layer refuses.
    ///
    /// It replaces the hook of the outer layer for these refusals. A layer without a hook of its
    /// own calls the one of the outer layer. See
    /// [`IntrospectLayer::on_refusal`](crate::IntrospectLayer::on_refusal).
    ///
    /// ```
    /// use tower_introspect::{RequireScope, respond::Refusal};
    ///
    /// let layer = RequireScope::all(["export"]).on_refusal(|refusal: &Refusal<'_>| {
    ///     eprintln!("no export: {}", refusal.error().kind().reason());
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn on_refusal<F>(mut self, hook: F) -> Self
    where
        F: Fn(&Refusal<'_>) + Send + Sync + 'static,
    {
        self.hook = Some(RefusalHook::new(hook));
        self
    }

    /// Reports requests that would be refused, and admits them. See [`Observer`].
    ///
    /// Requests that no outer layer has admitted are still refused.
    ///
    /// ```
    /// use tower_introspect::{RequireScope, policy::Observer};
    ///
    /// let trial = Observer::new("scopes of the export");
    /// let layer = RequireScope::all(["export"]).observe(&trial);
    /// // After a day, check if any request would have been refused.
    /// assert_eq!(trial.would_have_refused(), 0);
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn observe(mut self, observer: &Observer) -> Self {
        self.observer = Some(observer.clone());
        self
    }
}

impl<R> Clone for RequireLayer<R> {
    fn clone(&self) -> Self {
        Self {
            rule: Arc::clone(&self.rule),
            observer: self.observer.clone(),
            hook: self.hook.clone(),
            responder: Arc::clone(&self.responder),
        }
    }
}

impl<R> fmt::Debug for RequireLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireLayer")
            .field("rule", &self.rule)
            .field("observer", &self.observer)
            .finish_non_exhaustive()
    }
}

impl<R> RequireLayer<R> {
    /// Checks the requirement of a request, and stores in the request that it was met.
    pub(super) fn admit<B>(&self, request: &mut Request<B>) -> Result<(), VerifyError> {
        let (uri, extensions) = (request.uri(), request.extensions());
        // A request that no outer layer has seen is refused, even if the requirement is only
        // observed.
        let known = is_known(extensions);
        let asked = match &*self.rule {
            Rule::Always(requirement) => Ok(Some(requirement)),
            Rule::ByPath(paths) => paths.asks(uri.path(), extensions),
        };
        let outcome = asked.and_then(|requirement| {
            let Some(requirement) = requirement else { return Ok(None) };
            requirement.check(token_of(extensions)?).map(|()| Some(requirement))
        });
        let extensions = request.extensions_mut();
        match (&self.observer, outcome) {
            (Some(observer), outcome) if known => {
                observer.note_in(outcome.map(drop), extensions);
                Ok(())
            }
            (_, Err(error)) => Err(error),
            (_, Ok(requirement)) => {
                if let Some(requirement) = requirement {
                    met(extensions, requirement);
                }
                Ok(())
            }
        }
    }
}

/// Constructors of layers that require scope (RFC 6749 §3.3).
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_introspect::RequireScope;
///
/// let handler = service_fn(async |_: Request<String>| {
///     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
/// });
/// let service = RequireScope::all(["read", "write"]).layer(handler);
/// # tokio_test::block_on(async {
/// // No outer layer verifies tokens.
/// let response = service.oneshot(Request::new(String::new())).await.unwrap();
/// assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
/// # });
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RequireScope {}

impl RequireScope {
    /// Requires all of these scope values.
    ///
    /// # Panics
    ///
    /// Panics as [`Requirement::all_scopes`] does.
    #[must_use]
    pub fn all<'a>(scopes: impl IntoIterator<Item = &'a str>) -> RequireLayer {
        RequireLayer::new(Requirement::all_scopes(scopes))
    }

    /// Requires at least one of these scope values.
    ///
    /// # Panics
    ///
    /// Panics as [`Requirement::any_scope`] does.
    #[must_use]
    pub fn any<'a>(scopes: impl IntoIterator<Item = &'a str>) -> RequireLayer {
        RequireLayer::new(Requirement::any_scope(scopes))
    }
}

/// Constructors of layers that require a way of user authentication (RFC 9470).
///
/// [`RequireLayer::new`] takes any other [`Requirement`].
#[derive(Debug)]
#[non_exhaustive]
pub enum RequireAcr {}

impl RequireAcr {
    /// Requires that the user was authenticated in one of these ways, in order of preference.
    ///
    /// ```
    /// use tower_introspect::RequireAcr;
    ///
    /// let layer = RequireAcr::any(["phr", "mfa"]);
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    ///
    /// Panics as [`Requirement::any_acr`] does.
    #[must_use]
    pub fn any<'a>(values: impl IntoIterator<Item = &'a str>) -> RequireLayer {
        RequireLayer::new(Requirement::any_acr(values))
    }

    /// Requires one of these ways of user authentication, used at most `age` ago.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_introspect::RequireAcr;
    ///
    /// let layer = RequireAcr::any_within(["mfa"], Duration::from_secs(300));
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    ///
    /// Panics as [`Requirement::any_acr`] does.
    #[must_use]
    pub fn any_within<'a>(
        values: impl IntoIterator<Item = &'a str>,
        age: Duration,
    ) -> RequireLayer {
        RequireLayer::new(Requirement::any_acr(values).and(Requirement::max_age(age)))
    }
}

/// Constructors of layers that require an audience (RFC 7519 §4.1.3).
///
/// They are for routes that represent a resource with an identifier of its own. The
/// [`Policy`](crate::Policy) of the outer layer requires the audience of the service in any case.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequireAudience {}

impl RequireAudience {
    /// Requires that the audience of the token contains `identifier`.
    ///
    /// ```
    /// use tower_introspect::RequireAudience;
    ///
    /// let layer = RequireAudience::of("https://ledger.example.com");
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn of(identifier: &str) -> RequireLayer {
        RequireLayer::new(Requirement::audience(identifier))
    }
}

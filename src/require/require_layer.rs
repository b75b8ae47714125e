//! The layer that enforces a requirement.

use std::{fmt, sync::Arc};

use http::{Request, Response, request::Parts};

use super::paths::Paths;
use crate::{
    error::refusal::VerifyError,
    policy::{
        identity::{is_known, record_met, refuse_inside, token_of},
        observer::Observer,
        verified_token::Requirement,
    },
    respond::{
        hook::RefusalHook,
        inner_refusal::{InnerRefusal, head_of},
        refusal::Refusal,
        responder::{Auto, Respond, render},
    },
    telemetry::refused_by::RefusedBy,
};

/// A layer that refuses requests that do not meet a requirement.
///
/// See the [module docs](super) for examples, and [which requirement to
/// write](crate::docs::layers#which-requirement-to-write).
pub struct RequireLayer<R = Auto> {
    rule: Arc<Rule>,
    observer: Option<Observer>,
    hook: Option<RefusalHook>,
    responder: Arc<R>,
    /// True if the responder was set. Otherwise the outer layer renders refusals by its own.
    has_responder: bool,
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

    /// Creates a layer that requires all of these scope values (RFC 6749 §3.3).
    ///
    /// [`RequireScope::all`] is a shorter name for it.
    ///
    /// # Panics
    ///
    /// Panics as [`Requirement::all_scopes`] does.
    #[must_use]
    pub fn all_scopes<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Requirement::all_scopes(scopes))
    }

    /// Creates a layer that requires at least one of these scope values.
    ///
    /// # Panics
    ///
    /// Panics as [`Requirement::any_scope`] does.
    #[must_use]
    pub fn any_scope<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Requirement::any_scope(scopes))
    }

    /// Creates a layer that requires that the user was authenticated in one of these ways (RFC
    /// 9470), in order of preference.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_introspect::{policy::Requirement, require::RequireLayer};
    ///
    /// let layer = RequireLayer::any_acr(["phr", "mfa"]);
    /// // With a limit to how long ago that was:
    /// let recent = Requirement::max_age(Duration::from_secs(300));
    /// let layer = RequireLayer::new(Requirement::any_acr(["phr", "mfa"]).and(recent));
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    ///
    /// Panics as [`Requirement::any_acr`] does.
    #[must_use]
    pub fn any_acr<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(Requirement::any_acr(values))
    }

    /// Creates a layer that requires that the audience of the token contains `identifier` (RFC 7519
    /// §4.1.3).
    ///
    /// It is for routes that represent a resource with an identifier of its own. The
    /// [`Policy`](crate::Policy) of the outer layer requires the audience of the service in any
    /// case.
    #[must_use]
    pub fn audience(identifier: &str) -> Self {
        Self::new(Requirement::audience(identifier))
    }

    /// Creates a layer that requires of each request what `paths` lists for its path.
    #[must_use]
    pub fn paths(paths: Paths) -> Self {
        Self::of(Rule::ByPath(paths))
    }

    fn of(rule: Rule) -> Self {
        let (rule, responder) = (Arc::new(rule), Arc::new(Auto::new()));
        Self { rule, observer: None, hook: None, responder, has_responder: false }
    }
}

impl<R> RequireLayer<R> {
    /// Sets the responder that renders the refusals of this layer.
    ///
    /// By default it is that of the outer layer, the one that verified the token.
    #[must_use]
    pub fn responder<R2>(self, responder: R2) -> RequireLayer<R2> {
        let Self { rule, observer, hook, .. } = self;
        RequireLayer { rule, observer, hook, responder: Arc::new(responder), has_responder: true }
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
            has_responder: self.has_responder,
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
        let admitted = is_known(extensions);
        let asked = match &*self.rule {
            Rule::Always(requirement) => Ok(Some(requirement)),
            Rule::ByPath(paths) => paths.requirement_for(uri.path(), extensions),
        };
        let outcome = asked.and_then(|requirement| {
            let Some(requirement) = requirement else { return Ok(None) };
            requirement.check(token_of(extensions)?).map(|()| Some(requirement))
        });
        let extensions = request.extensions_mut();
        // A request that no outer layer has admitted is refused, even if the requirement is only
        // observed.
        if let Some(observer) = self.observer.as_ref().filter(|_| admitted) {
            observer.note_in(outcome.map(drop), extensions);
            return Ok(());
        }
        if let Some(requirement) = outcome? {
            record_met(extensions, requirement)?;
        }
        Ok(())
    }

    /// Reports and renders the refusal of a request.
    pub(super) fn refuse<B>(&self, error: VerifyError, request: Parts) -> Response<B>
    where
        R: Respond<B>,
    {
        let (head, by) = (head_of(&request), RefusedBy::Requirement);
        let (error, mut response) = refuse_inside(error, head, by, self.hook.as_ref(), |refusal| {
            (refusal.error().clone(), render(&*self.responder, refusal))
        });
        if !self.has_responder {
            response.extensions_mut().insert(InnerRefusal::reported(error, request));
        }
        response
    }
}

/// The short name of [`RequireLayer::all_scopes`].
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
///
/// There are [other ways to require scope](crate::docs::layers#which-requirement-to-write).
#[derive(Debug)]
#[non_exhaustive]
pub enum RequireScope {}

impl RequireScope {
    /// Creates a layer that requires all of these scope values.
    ///
    /// # Panics
    ///
    /// Panics as [`Requirement::all_scopes`] does.
    #[must_use]
    pub fn all<'a>(scopes: impl IntoIterator<Item = &'a str>) -> RequireLayer {
        RequireLayer::all_scopes(scopes)
    }
}

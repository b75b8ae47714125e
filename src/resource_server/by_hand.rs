//! A service by which support staff revokes tokens.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer as _;
use tower_service::Service;

use super::server::{Parts, ResourceServer};
use crate::{
    credentials::token::Token,
    layer::service::Introspect,
    policy::verified_token::Requirement,
    respond::responder::{Auto, Respond},
    signals::by_hand::{
        desk::{Desk, Finding, Known},
        service::ByHand,
    },
    verify::boxed::BoxVerifier,
};

/// A service by which support staff revokes tokens, and lists what is revoked.
///
/// It verifies the token of each request as [`ResourceServer::layer`] does, and refuses callers who do
/// not meet the requirement. So there is no way to mount it unprotected, and it needs no layer around it.
///
/// # Revoking
///
/// `POST`, with the content type `application/json` and one of these bodies:
///
/// | body | tokens |
/// |---|---|
/// | `{"issuer": .., "subject": ..}` | all of the subject |
/// | `{"issuer": .., "session": ..}` | all of the session (`sid`); also with its `subject` (see [`Cutoff::of_subject`]) |
/// | `{"issuer": .., "client": ..}` | all of the client |
/// | `{"issuer": .., "token_id": ..}` | the one with this `jti` |
/// | `{"issuer": .., "all": true}` | all of the issuer |
/// | `{"token": ..}` | this token: it is removed from the cache, and a JWT is revoked by its `iss` and `jti` |
///
/// `"at"` sets the time of the revocation in seconds: tokens that were issued later stay valid. By
/// default it is now. It is refused where it has no meaning: for one token, and with `ask_anew`.
/// `"ask_anew": true` revokes nothing: introspected tokens are verified again, and JWTs that are verified
/// locally stand ([`Revocations::outdate`]).
///
/// The revocation has its effect before the response. An unknown member, a second target and an unknown
/// issuer are refused, so that a typing error is noticed and revokes nothing.
///
/// | response | reason |
/// |---|---|
/// | 200, JSON | `in_force` lists the cutoffs that now cover the tokens; `evicted` is true if the given token was cached |
/// | 400, JSON with `error` and `error_description` | the body is not acceptable; nothing changed |
/// | 401, 403 | the caller has no valid token, or may not do this |
/// | 405 | another method than GET and POST |
/// | 408, 413 | the body took longer than ten seconds, or is longer than 16 KiB |
/// | 503 | a resolver can't be asked just now if the issuer is trusted; nothing changed. Or the other instances of the service can't be told just now; the revocation is in force here, and they are told later |
///
/// An opaque token is only removed from the cache, and `in_force` is empty: the authorization server is
/// asked about it again, and must revoke it.
///
/// # Listing
///
/// `GET` returns `{"in_force": [..]}`, the latest first, as [`Revocations::in_force`] does. The query can
/// have `issuer`, with one of `subject`, `session`, `client` and `token_id`
/// ([`Revocations::in_force_for`]), and a `limit` from 1 to 1000, by default 100. Each cutoff has these
/// members: `issuer`, `kind`, `value`, and in seconds `revoked_at` and `learned_at`. `revoked_at` is null
/// for tokens that are only verified again.
///
/// # Audit
///
/// Each change is one event at the level info, [`revoked by hand`](crate::docs::operations#events). It
/// has the subject of the caller even without `log_subjects`, and never a token. There is none without
/// the feature `tracing`.
///
/// # Security
///
/// A caller can revoke the tokens of everyone, so that all users must log in again. Choose a scope that
/// no other client has. A caller whose issuer was found by a resolver, such as one of many tenants, can
/// only name its own issuer. If other issuers are not trusted with this, add
/// [`Requirement::any_issuer`].
///
/// A cutoff for the caller's own token holds here too. A revocation at the authorization server alone is
/// noticed within `max_age`; put [`live_layer`](ResourceServer::live_layer) around the service to have
/// each caller's token introspected.
///
/// A revocation reaches this process alone: send it to each. With a [shared
/// tier](crate::resource_server::ResourceServerBuilder::shared) it reaches all of them, but for the
/// removal of an opaque token from the cache.
///
/// # Clone
///
/// Clones share everything.
///
/// [`Cutoff::of_subject`]: crate::revocation::Cutoff::of_subject
/// [`Revocations::outdate`]: crate::revocation::Revocations::outdate
/// [`Revocations::in_force`]: crate::revocation::Revocations::in_force
/// [`Revocations::in_force_for`]: crate::revocation::Revocations::in_force_for
/// [`Requirement::any_issuer`]: crate::policy::Requirement::any_issuer
pub struct RevocationService<B, R = Auto>(Introspect<ByHand<B>, BoxVerifier, R>);

/// Revocation by hand.
#[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
impl<R: Send + Sync + 'static> ResourceServer<R> {
    /// Returns a service by which support staff revokes tokens, and lists what is revoked.
    ///
    /// The token of the caller must meet `requirement`, besides the policy of this resource server.
    ///
    /// ```no_run
    /// use axum::{Router, body::Body};
    /// use tower_introspect::{ResourceServer, policy::Requirement, scopes};
    ///
    /// # fn app(api: ResourceServer) -> Router {
    /// let staff = Requirement::all_scopes(scopes!["revocations:write"]);
    /// Router::new().route_service("/revocations", api.revocation_service::<Body>(staff))
    /// # }
    /// ```
    #[must_use]
    pub fn revocation_service<B: From<Bytes>>(
        &self,
        requirement: Requirement,
    ) -> RevocationService<B, R> {
        self.revocation_service_with(requirement, B::from)
    }

    /// Returns the same service, with a function that builds the body instead of `From`.
    #[must_use]
    pub fn revocation_service_with<B>(
        &self,
        requirement: Requirement,
        body: fn(Bytes) -> B,
    ) -> RevocationService<B, R> {
        let (parts, api) = (Arc::clone(&self.0), self.clone());
        let desk = Desk {
            revocations: parts.revocations.clone(),
            settling: parts.settling.clone(),
            clock: Arc::clone(&parts.clock),
            log_subjects: parts.log_subjects,
            find_issuer: Box::new(move |issuer| parts.find_issuer(issuer)),
            evict: Box::new(move |token| api.evict_if_cached(token)),
        };
        let layer = self.layer_with(self.policy().require(requirement));
        RevocationService(layer.layer(ByHand::new(desk, body)))
    }

    #[cfg(feature = "cache")]
    fn evict_if_cached(&self, token: &Token) -> bool {
        self.evict(token)
    }

    #[cfg(not(feature = "cache"))]
    #[expect(clippy::unused_self, reason = "there is no cache")]
    fn evict_if_cached(&self, _: &Token) -> bool {
        false
    }
}

impl Parts {
    /// Returns how an issuer is known, for which a resolver may have to be asked.
    fn find_issuer(&self, issuer: &str) -> Finding {
        if self.issuers.iter().any(|trusted| trusted.name() == issuer) {
            return Box::pin(ready(Ok(Known::Configured)));
        }
        let Some(tenants) = &self.tenants else { return Box::pin(ready(Ok(Known::Unknown))) };
        let resolved = tenants.resolve(issuer);
        Box::pin(async { Ok(if resolved.await? { Known::Resolved } else { Known::Unknown }) })
    }
}

impl<Q, B, R> Service<Request<Q>> for RevocationService<B, R>
where
    Q: Body + Send + 'static,
    Q::Data: Send,
    Q::Error: Send,
    B: Send + 'static,
    R: Respond<B> + Send + Sync + 'static,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Q>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        Box::pin(self.0.call(request))
    }
}

impl<B, R> Clone for RevocationService<B, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B, R> fmt::Debug for RevocationService<B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RevocationService").field(self.0.get_ref()).finish()
    }
}

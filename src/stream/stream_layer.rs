//! The layer for responses that stay open.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use http::HeaderValue;
use tower_layer::Layer;

use super::{
    requests::{Boxed, Typed, Unguarded},
    service::{GuardResponses, LeaseRequests},
};
use crate::{
    layer::{introspect_layer::IntrospectLayer, service::Introspect},
    lease::{leases::Leases, settings::StreamSettings},
    respond::responder::Auto,
};

/// A layer that verifies tokens as an [`IntrospectLayer`] does, and ends streams when their token
/// does.
///
/// See the [module docs](super) for an example, and [`ResourceServer::streams`] for the usual way to
/// get one.
///
/// [`ResourceServer::streams`]: crate::ResourceServer::streams
///
/// # Clone
///
/// Clones share the verifier and the leases.
pub struct StreamLayer<V, R = Auto, Q = Unguarded> {
    introspect: IntrospectLayer<V, R>,
    leases: Leases,
    settings: StreamSettings,
    requests: PhantomData<fn() -> Q>,
}

impl<V, R> StreamLayer<V, R> {
    /// Creates a layer that verifies tokens by `introspect`, and watches over them by `leases`.
    ///
    /// The verifier of `leases` must be that of `introspect`.
    ///
    /// ```
    /// use tower_introspect::{
    ///     ErrorKind, IntrospectLayer, Policy,
    ///     stream::{Leases, StreamLayer},
    ///     verify::{BoxVerifier, verify_fn},
    /// };
    ///
    /// let verifier = BoxVerifier::new(verify_fn(async |_| Err(ErrorKind::Inactive.into())));
    /// let introspect = IntrospectLayer::new(verifier.clone(), Policy::new("https://api.example.com"));
    /// let layer = StreamLayer::new(introspect, Leases::new(verifier));
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn new(introspect: IntrospectLayer<V, R>, leases: Leases) -> Self {
        let settings = StreamSettings::new();
        Self { introspect, leases, settings, requests: PhantomData }
    }

    /// Guards the bodies of requests too, for calls whose client streams.
    ///
    /// The body of the request keeps its type, for axum and tonic. Where the inner service can take
    /// another type, use [`guard_typed_requests`](Self::guard_typed_requests).
    #[must_use]
    pub fn guard_requests(self) -> StreamLayer<V, R, Boxed> {
        self.guarding()
    }

    /// Guards the bodies of requests too. The inner service gets them as a
    /// [`GuardedBody`](super::GuardedBody).
    #[must_use]
    pub fn guard_typed_requests(self) -> StreamLayer<V, R, Typed> {
        self.guarding()
    }
}

impl<V, R, Q> StreamLayer<V, R, Q> {
    fn guarding<Q2>(self) -> StreamLayer<V, R, Q2> {
        let Self { introspect, leases, settings, .. } = self;
        StreamLayer { introspect, leases, settings, requests: PhantomData }
    }

    /// Changes the settings of the layer that verifies tokens.
    ///
    /// ```
    /// use tower_introspect::{
    ///     ErrorKind, IntrospectLayer, Policy,
    ///     stream::{Leases, StreamLayer},
    ///     verify::{BoxVerifier, verify_fn},
    /// };
    ///
    /// let verifier = BoxVerifier::new(verify_fn(async |_| Err(ErrorKind::Inactive.into())));
    /// let introspect = IntrospectLayer::new(verifier.clone(), Policy::new("https://api.example.com"));
    /// let layer = StreamLayer::new(introspect, Leases::new(verifier))
    ///     .introspect(|introspect| introspect.remove_credentials());
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn introspect<R2>(
        self,
        change: impl FnOnce(IntrospectLayer<V, R>) -> IntrospectLayer<V, R2>,
    ) -> StreamLayer<V, R2, Q> {
        let Self { introspect, leases, settings, requests } = self;
        StreamLayer { introspect: change(introspect), leases, settings, requests }
    }

    /// Sets the maximum life of a stream.
    ///
    /// By default a stream lives for as long as its token. One whose token names no expiry lives for an
    /// hour.
    #[must_use]
    pub const fn max_life(mut self, life: Duration) -> Self {
        self.settings.max_life = Some(life);
        self
    }

    /// Only watches for the expiry of the token, cutoffs and retired keys. Verifies the token again only
    /// when a cutoff covers it.
    ///
    /// # Security
    ///
    /// A revocation that this service is not told of ends no stream before its token expires.
    #[must_use]
    pub const fn only_watch(mut self) -> Self {
        self.settings.verifies_again = false;
        self
    }

    /// Sets the close code of a WebSocket whose token is refused. 1008 by default.
    ///
    /// 3000 is registered as "Unauthorized"; 4000 to 4999 are for private use.
    #[must_use]
    pub const fn close_code(mut self, code: u16) -> Self {
        self.settings.close_code = code;
        self
    }

    /// Sends this event as the last one of a server-sent event stream, with the
    /// [reason](super::StreamEnd::reason) as its data.
    ///
    /// By default the stream ends without a word. A browser then asks again, and is refused if it has
    /// no better token.
    ///
    /// # Panics
    ///
    /// If the name is not one line of text.
    #[must_use]
    pub fn last_event(mut self, name: &'static str) -> Self {
        let name = HeaderValue::from_str(name).expect("the name of an event is one line of text");
        self.settings.last_event = Some(name);
        self
    }
}

impl<V, R, Q> Clone for StreamLayer<V, R, Q> {
    fn clone(&self) -> Self {
        Self {
            introspect: self.introspect.clone(),
            leases: self.leases.clone(),
            settings: self.settings.clone(),
            requests: PhantomData,
        }
    }
}

impl<V, R, Q> fmt::Debug for StreamLayer<V, R, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamLayer")
            .field("introspect", &self.introspect)
            .field("leases", &self.leases)
            .finish_non_exhaustive()
    }
}

impl<S, V, R, Q> Layer<S> for StreamLayer<V, R, Q> {
    type Service = GuardResponses<Introspect<LeaseRequests<S, Q>, V, R>>;

    fn layer(&self, inner: S) -> Self::Service {
        let introspect = self.introspect.clone();
        let lessor = self.leases.lessor(
            Arc::clone(introspect.shared_policy()),
            self.settings.clone(),
            introspect.longest_token(),
        );
        GuardResponses::new(introspect.opening_leases(lessor).layer(LeaseRequests::new(inner)))
    }
}

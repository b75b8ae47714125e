use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri};
use serde_json::Value;
use tokio::sync::watch;

use super::{
    client::Client,
    fault::{Endpoint, Fault, Faults},
    keys::kid,
    state::State,
    token::{Jwt, Opaque, TokenBuilder},
};
use crate::{clock::Clock, jose::algorithm::Algorithm, transport::HttpTransport};

/// Requests kept for [`AuthorizationServer::requests`], at each endpoint.
pub(super) const KEPT: usize = 1024;

/// An authorization server in this process. See the [module docs](super) for examples.
///
/// Clones are the same server.
#[derive(Clone)]
pub struct AuthorizationServer(Arc<Inner>);

struct Inner {
    issuer: String,
    state: Mutex<State>,
    lines: [Line; Endpoint::ALL.len()],
    strays: Mutex<Vec<Uri>>,
}

/// What is going on at one endpoint.
#[derive(Default)]
pub(super) struct Line {
    pub(super) traffic: Mutex<Traffic>,
    /// The requests that came.
    pub(super) calls: watch::Sender<usize>,
    /// Changes when faults are cleared.
    pub(super) cleared: watch::Sender<()>,
}

#[derive(Default)]
pub(super) struct Traffic {
    pub(super) faults: Faults,
    pub(super) requests: Vec<Request<Bytes>>,
}

impl AuthorizationServer {
    /// A server that issues tokens as `issuer`.
    ///
    /// It runs by the clock of the operating system, knows no client, and has keys of its own: two
    /// servers share keys only if they share the issuer, or by chance where the keys are RSA.
    ///
    /// # Panics
    ///
    /// If `issuer` is no absolute URL without query and fragment (RFC 8414 §2).
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        let issuer = issuer.into();
        let absolute = issuer.parse::<Uri>().is_ok_and(|uri| {
            uri.scheme().is_some() && uri.query().is_none() && !issuer.contains('#')
        });
        assert!(absolute, "the issuer is no absolute URL without query and fragment");
        Self(Arc::new(Inner {
            state: Mutex::new(State::new(issuer.clone())),
            issuer,
            lines: Default::default(),
            strays: Mutex::default(),
        }))
    }

    /// Registers a client. One of the same identifier is replaced.
    #[must_use]
    pub fn with_client(self, client: Client) -> Self {
        self.register(client);
        self
    }

    /// Runs by another clock.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.state().clock = Arc::new(clock);
        self
    }

    /// Registers a client. One of the same identifier is replaced.
    pub fn register(&self, client: Client) {
        let mut state = self.state();
        state.clients.retain(|have| have.id() != client.id());
        state.clients.push(client);
    }

    /// The issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The address of an endpoint; of [`Endpoint::Discovery`], that of RFC 8414.
    #[must_use]
    pub fn url(&self, endpoint: Endpoint) -> String {
        self.state().url(endpoint)
    }

    /// The public keys, as the server publishes them (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.state().keys.jwks()
    }

    /// The metadata, as the server publishes it (RFC 8414 §2).
    #[must_use]
    pub fn metadata(&self) -> Value {
        Value::Object(self.state().metadata())
    }

    /// A way to reach the server without a socket.
    ///
    /// A request to any other host finds no connection and counts as a [stray](Self::strays).
    #[must_use]
    pub fn transport(&self) -> HttpTransport {
        let server = self.clone();
        HttpTransport::new(tower::service_fn(move |request: Request<Bytes>| {
            let server = server.clone();
            async move { server.send(request).await }
        }))
    }
}

/// Tokens.
impl AuthorizationServer {
    /// Starts an opaque access token.
    pub fn opaque(&self) -> TokenBuilder<Opaque> {
        TokenBuilder::opaque(self.clone())
    }

    /// Starts an access token that is a JWT (RFC 9068).
    pub fn jwt(&self) -> TokenBuilder<Jwt> {
        TokenBuilder::jwt(self.clone())
    }

    /// Starts an ID token, which must not be accepted as an access token.
    pub fn id_token(&self) -> TokenBuilder<Jwt> {
        TokenBuilder::id_token(self.clone())
    }

    /// Revokes a token, as its user or an operator would.
    pub fn revoke(&self, token: &str) {
        if let Some(record) = self.state().tokens.get_mut(token) {
            record.revoked = true;
        }
    }

    /// Revokes all tokens of a subject that there are.
    pub fn revoke_subject(&self, subject: &str) {
        for record in self.state().tokens.values_mut() {
            record.revoked |= record.claims.get("sub").is_some_and(|sub| sub == subject);
        }
    }
}

/// Keys and metadata.
impl AuthorizationServer {
    /// Signs with new keys from now on. The old ones stay published until they are removed.
    pub fn rotate_keys(&self) {
        self.state().keys.rotate();
    }

    /// Publishes only the keys that are signed with now.
    pub fn remove_old_keys(&self) {
        self.state().keys.remove_old();
    }

    /// Publishes a key no more. Tokens are still signed with it, if they were.
    pub fn remove_key(&self, kid: &str) {
        self.state().keys.remove(kid);
    }

    /// Publishes a key of yours besides, of whatever shape.
    pub fn publish_key(&self, jwk: Value) {
        self.state().keys.publish(jwk);
    }

    /// The `kid` of the key that tokens of this algorithm are signed with now.
    #[must_use]
    pub fn kid(&self, algorithm: Algorithm) -> String {
        kid(&self.state().keys.current(algorithm)).to_owned()
    }

    /// Sets a member of the metadata, or leaves it out if it is null.
    pub fn set_metadata(&self, name: &str, value: impl Into<Value>) {
        self.state().metadata_changes.insert(name.to_owned(), value.into());
    }

    /// Chooses which of its two metadata documents the server has: that of RFC 8414, and that of
    /// OpenID Connect Discovery. At first it has both.
    pub fn serve_metadata(&self, oauth: bool, openid: bool) {
        let mut state = self.state();
        (state.oauth_metadata, state.openid_configuration) = (oauth, openid);
    }

    /// Sets the `Cache-Control` of the metadata and the keys. At first there is none.
    pub fn set_cache_control(&self, value: HeaderValue) {
        self.state().cache_control = Some(value);
    }
}

/// Faults.
impl AuthorizationServer {
    /// Makes an endpoint fail. Faults that are there already happen first.
    pub fn inject(&self, endpoint: Endpoint, fault: Fault) {
        lock(&self.line(endpoint).traffic).faults.push(fault);
    }

    /// Ends the faults of an endpoint, and lets requests that [hang](Fault::hang) go on.
    pub fn clear(&self, endpoint: Endpoint) {
        let line = self.line(endpoint);
        let mut traffic = lock(&line.traffic);
        traffic.faults.clear();
        line.cleared.send_replace(());
    }
}

/// What was asked.
impl AuthorizationServer {
    /// How many requests have come to an endpoint, whatever became of them.
    #[must_use]
    pub fn calls(&self, endpoint: Endpoint) -> usize {
        *self.line(endpoint).calls.borrow()
    }

    /// Waits until at least `count` requests have come to an endpoint.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost if it is dropped.
    pub async fn wait_for_calls(&self, endpoint: Endpoint, count: usize) {
        let mut calls = self.line(endpoint).calls.subscribe();
        // The sender lives as long as this server does.
        let _ = calls.wait_for(|calls| *calls >= count).await;
    }

    /// The latest requests to an endpoint, as they came: with their credentials and tokens. At most
    /// 1024 are kept.
    #[must_use]
    pub fn requests(&self, endpoint: Endpoint) -> Vec<Request<Bytes>> {
        lock(&self.line(endpoint).traffic).requests.clone()
    }

    /// Where requests went that were for no endpoint of this server. At most 1024 are kept.
    #[must_use]
    pub fn strays(&self) -> Vec<Uri> {
        lock(&self.0.strays).clone()
    }

    /// Forgets all requests and strays, and counts from zero.
    pub fn reset_calls(&self) {
        for line in &self.0.lines {
            lock(&line.traffic).requests.clear();
            line.calls.send_replace(0);
        }
        lock(&self.0.strays).clear();
    }
}

impl AuthorizationServer {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    pub(super) fn line(&self, endpoint: Endpoint) -> &Line {
        &self.0.lines[endpoint as usize]
    }

    pub(super) fn stray(&self, uri: &Uri) {
        let mut strays = lock(&self.0.strays);
        if strays.len() == KEPT {
            strays.remove(0);
        }
        strays.push(uri.clone());
    }
}

impl fmt::Debug for AuthorizationServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationServer")
            .field("issuer", &self.0.issuer)
            .finish_non_exhaustive()
    }
}

/// A test that panics elsewhere must not hide behind a poisoned lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

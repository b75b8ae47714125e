use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri};
use serde_json::Value;
use tokio::sync::watch;

use super::{
    client::Client,
    fault::{Endpoint, Fault, Faults},
    keys::kid,
    lock::lock,
    providers::provider::Provider,
    state::State,
};
use crate::{clock::Clock, jose::algorithm::Algorithm};

/// The limit on the requests kept for [`AuthorizationServer::requests`], for each endpoint.
pub(super) const MAX_RECORDED: usize = 1024;

/// A strict authorization server in this process. See the [module docs](super) for examples.
///
/// Clones share the same server.
#[derive(Clone)]
pub struct AuthorizationServer(Arc<ServerParts>);

struct ServerParts {
    issuer: String,
    state: Mutex<State>,
    endpoints: [EndpointTraffic; Endpoint::ALL.len()],
    /// The number of introspections of random tokens.
    canaries: watch::Sender<usize>,
    unmatched_requests: Mutex<Vec<Uri>>,
}

/// The traffic of one endpoint.
#[derive(Default)]
pub(super) struct EndpointTraffic {
    pub(super) traffic: Mutex<Traffic>,
    /// The number of requests received.
    pub(super) calls: watch::Sender<usize>,
    /// Notified when faults are cleared.
    pub(super) cleared: watch::Sender<()>,
}

#[derive(Default)]
pub(super) struct Traffic {
    pub(super) faults: Faults,
    pub(super) requests: Vec<Request<Bytes>>,
}

impl AuthorizationServer {
    /// Creates a server that issues tokens as `issuer`.
    ///
    /// It uses the clock of the operating system and has no clients. Its keys are derived from the
    /// issuer, so servers of the same issuer share them. Servers of different issuers may share RSA
    /// keys, because there are only three.
    ///
    /// # Panics
    ///
    /// Panics if `issuer` is not an absolute URL without query and fragment (RFC 8414 §2).
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        let issuer = issuer.into();
        let absolute = issuer.parse::<Uri>().is_ok_and(|uri| {
            uri.scheme().is_some() && uri.query().is_none() && !issuer.contains('#')
        });
        assert!(absolute, "the issuer must be an absolute URL without query and fragment");
        Self(Arc::new(ServerParts {
            state: Mutex::new(State::new(issuer.clone())),
            issuer,
            endpoints: Default::default(),
            canaries: watch::Sender::default(),
            unmatched_requests: Mutex::default(),
        }))
    }

    /// Registers a client. It replaces a client of the same identifier.
    #[must_use]
    pub fn with_client(self, client: Client) -> Self {
        self.register(client);
        self
    }

    /// Sets the clock. Default: the clock of the operating system.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.state().clock = Arc::new(clock);
        self
    }

    /// Gives tokens, introspection responses and keys the shapes of a provider.
    ///
    /// It replaces all keys, so set it before anything is issued or published.
    #[must_use]
    pub fn with_provider(self, provider: Provider) -> Self {
        self.state().imitate(provider);
        self
    }

    /// Registers a client. It replaces a client of the same identifier.
    pub fn register(&self, client: Client) {
        let mut state = self.state();
        state.clients.retain(|have| have.id() != client.id());
        state.clients.push(client);
    }

    /// Returns the issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Returns the URL of an endpoint. For [`Endpoint::Discovery`] it is that of RFC 8414.
    #[must_use]
    pub fn url(&self, endpoint: Endpoint) -> String {
        self.state().url(endpoint)
    }

    /// Returns the public keys that the server publishes (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.state().jwks()
    }

    /// Returns the metadata that the server publishes (RFC 8414 §2).
    #[must_use]
    pub fn metadata(&self) -> Value {
        Value::Object(self.state().metadata())
    }
}

/// Revoking tokens.
impl AuthorizationServer {
    /// Revokes a token, as its user or an operator would.
    ///
    /// Signals then end its session, or all sessions of its subject if it has no `sid`: see
    /// [`deliveries`](Self::deliveries).
    pub fn revoke(&self, token: &str) {
        self.state().revoke_token(token);
    }

    /// Revokes all tokens issued to a subject so far, and signals the end of all its sessions.
    pub fn revoke_subject(&self, subject: &str) {
        self.state().end_sessions(subject, None);
    }

    /// Ends a session: revokes all tokens of the subject that have this
    /// [`sid`](super::TokenBuilder::session), and signals it.
    pub fn end_session(&self, subject: &str, sid: &str) {
        self.state().end_sessions(subject, Some(sid));
    }
}

/// Changing tokens.
impl AuthorizationServer {
    /// Changes a claim of a token that was issued, as introspection shows it from now on.
    ///
    /// An operator may narrow the scope of a token in this way. The text of a JWT stays as it is.
    pub fn set_claim(&self, token: &str, name: &str, value: impl Into<Value>) {
        if let Some(record) = self.state().tokens.get_mut(token) {
            record.facts.edit(name, value.into());
        }
    }
}

/// Setting keys and metadata.
impl AuthorizationServer {
    /// Signs with new keys from now on. The old keys stay published until they are removed.
    pub fn rotate_keys(&self) {
        self.state().keys.rotate();
    }

    /// Unpublishes all keys but those that the server signs with now.
    pub fn remove_old_keys(&self) {
        self.state().keys.remove_old();
    }

    /// Unpublishes a key. Tokens are still signed with it if it is a current key.
    pub fn remove_key(&self, kid: &str) {
        self.state().keys.remove(kid);
    }

    /// Publishes an additional key, which may be malformed.
    pub fn publish_key(&self, jwk: Value) {
        self.state().keys.publish(jwk);
    }

    /// Returns the `kid` of the key that signs tokens of this algorithm now.
    #[must_use]
    pub fn kid(&self, algorithm: Algorithm) -> String {
        kid(&self.state().keys.current(algorithm)).to_owned()
    }

    /// Sets a member of the metadata. Null leaves the member out.
    pub fn set_metadata(&self, name: &str, value: impl Into<Value>) {
        self.state().metadata_changes.insert(name.to_owned(), value.into());
    }

    /// Sets which of the two metadata documents the server has: that of RFC 8414, and that of
    /// OpenID Connect Discovery. By default it has both.
    pub fn serve_metadata(&self, oauth: bool, openid: bool) {
        let mut state = self.state();
        (state.oauth_metadata, state.openid_configuration) = (oauth, openid);
    }

    /// Sets the `Cache-Control` of the metadata and the keys. By default they have none.
    pub fn set_cache_control(&self, value: HeaderValue) {
        self.state().cache_control = Some(value);
    }
}

/// Injecting faults.
impl AuthorizationServer {
    /// Makes an endpoint fail. Faults that were injected earlier are used up first.
    pub fn inject(&self, endpoint: Endpoint, fault: Fault) {
        lock(&self.endpoint_traffic(endpoint).traffic).faults.push(fault);
    }

    /// Ends the faults of an endpoint, and releases requests that [hang](Fault::hang).
    pub fn clear(&self, endpoint: Endpoint) {
        let endpoint = self.endpoint_traffic(endpoint);
        let mut traffic = lock(&endpoint.traffic);
        traffic.faults.clear();
        endpoint.cleared.send_replace(());
    }
}

/// Inspecting the requests received.
impl AuthorizationServer {
    /// Returns the number of requests that reached an endpoint, including failed ones.
    #[must_use]
    pub fn calls(&self, endpoint: Endpoint) -> usize {
        *self.endpoint_traffic(endpoint).calls.borrow()
    }

    /// Returns the number of introspections of random tokens, by which resource servers judge the
    /// health of this server. They are not counted in [`calls`](Self::calls) nor recorded in
    /// [`requests`](Self::requests).
    #[must_use]
    pub fn canaries(&self) -> usize {
        *self.0.canaries.borrow()
    }

    /// Waits until at least `count` requests have reached an endpoint.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost if the future is dropped.
    pub async fn wait_for_calls(&self, endpoint: Endpoint, count: usize) {
        let mut calls = self.endpoint_traffic(endpoint).calls.subscribe();
        // This can't fail, because the sender lives as long as this server.
        let _ = calls.wait_for(|calls| *calls >= count).await;
    }

    /// Returns the latest requests to an endpoint, with their credentials and tokens.
    ///
    /// At most 1024 are kept.
    #[must_use]
    pub fn requests(&self, endpoint: Endpoint) -> Vec<Request<Bytes>> {
        lock(&self.endpoint_traffic(endpoint).traffic).requests.clone()
    }

    /// Returns the targets of requests that matched no endpoint of this server. At most 1024 are
    /// kept.
    #[must_use]
    pub fn unmatched_requests(&self) -> Vec<Uri> {
        lock(&self.0.unmatched_requests).clone()
    }

    /// Drops all recorded requests, and resets the counts to zero.
    pub fn reset_calls(&self) {
        for endpoint in &self.0.endpoints {
            lock(&endpoint.traffic).requests.clear();
            endpoint.calls.send_replace(0);
        }
        self.0.canaries.send_replace(0);
        lock(&self.0.unmatched_requests).clear();
    }
}

impl AuthorizationServer {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    pub(super) fn canary_count(&self) -> &watch::Sender<usize> {
        &self.0.canaries
    }

    pub(super) fn endpoint_traffic(&self, endpoint: Endpoint) -> &EndpointTraffic {
        &self.0.endpoints[endpoint as usize]
    }

    pub(super) fn record_unmatched(&self, uri: &Uri) {
        let mut unmatched = lock(&self.0.unmatched_requests);
        if unmatched.len() == MAX_RECORDED {
            unmatched.remove(0);
        }
        unmatched.push(uri.clone());
    }
}

impl fmt::Debug for AuthorizationServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationServer")
            .field("issuer", &self.0.issuer)
            .finish_non_exhaustive()
    }
}

//! Receivers of signals: logouts and security events.

use std::{future::ready, sync::Arc};

use bytes::Bytes;

use super::{
    server::{Parts, ResourceServer},
    tenants::registry::Tenants,
};
use crate::{
    error::config::ConfigError,
    jwt::statement::StatementKeys,
    signals::{
        event::{receiver::EventReceiver, transmitter::Transmitter},
        host::Host,
        issuers::{FindKeys, Issuers},
        logout::service::LogoutService,
    },
};

/// Receivers of logouts and security events.
#[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
impl<R> ResourceServer<R> {
    /// Returns a service that receives back-channel logouts for this client (OpenID Connect
    /// Back-Channel Logout 1.0).
    ///
    /// `client_id` is the identifier of the client that users log in to, which is often not that by
    /// which this service introspects tokens. It is the same at every issuer, unless
    /// [`client_at`](LogoutService::client_at) says otherwise.
    ///
    /// Tokens of issuers with a custom verifier are refused, because they have no keys.
    ///
    /// ```no_run
    /// use axum::{Router, body::Body};
    /// use tower_introspect::ResourceServer;
    ///
    /// # fn app(api: ResourceServer) -> Router {
    /// Router::new()
    ///     .layer(api.layer())
    ///     // Added after the layer: the authorization server has no access token.
    ///     .route_service("/backchannel-logout", api.logout_service::<Body>("web"))
    /// # }
    /// ```
    #[must_use]
    pub fn logout_service<B: From<Bytes>>(&self, client_id: impl Into<String>) -> LogoutService<B> {
        self.logout_service_with(client_id, B::from)
    }

    /// Returns the same service, with a function that builds the body instead of `From`.
    #[must_use]
    pub fn logout_service_with<B>(
        &self,
        client_id: impl Into<String>,
        body: fn(Bytes) -> B,
    ) -> LogoutService<B> {
        LogoutService::new(self.signal_host(), client_id.into(), body)
    }

    /// Returns a receiver of the security events of a transmitter.
    ///
    /// Create one for each transmitter, and clone it. Two of them for one transmitter would not share the
    /// events that they know, or the keys. It sends no request before an event arrives.
    ///
    /// # Errors
    ///
    /// Returns every problem with the settings, each with the name of its setting. The issuers that the
    /// transmitter speaks for must be trusted.
    ///
    /// ```no_run
    /// use axum::{Router, body::Body};
    /// use tower_introspect::{ConfigError, ResourceServer, signals::Transmitter};
    ///
    /// # fn app(api: ResourceServer) -> Result<Router, ConfigError> {
    /// let transmitter = Transmitter::new("https://as.example.com", "https://api.example.com/events")
    ///     .authorization("Bearer 4tVZ..");
    /// let events = api.receive_events(&transmitter)?;
    /// Ok(Router::new()
    ///     .layer(api.layer())
    ///     // Added after the layer: the transmitter has no access token.
    ///     .route_service("/events", events.push_service::<Body>()))
    /// # }
    /// ```
    pub fn receive_events(&self, transmitter: &Transmitter) -> Result<EventReceiver, ConfigError> {
        EventReceiver::new(transmitter, self.signal_host(), &self.0.outbound)
    }

    /// Returns true if the program has set the transport.
    #[cfg(feature = "config")]
    pub(crate) fn has_given_transport(&self) -> bool {
        self.0.has_given_transport
    }

    fn signal_host(&self) -> Host {
        let parts = &self.0;
        Host {
            issuers: Arc::clone(parts) as Arc<dyn Issuers>,
            settling: parts.settling.clone(),
            clock: Arc::clone(&parts.clock),
            peer: parts.peer.clone(),
            receivers: parts.receivers.clone(),
        }
    }
}

impl Issuers for Parts {
    fn is_trusted(&self, issuer: &str) -> bool {
        let is_allowed = |tenants: &Tenants| tenants.allows(issuer);
        self.issuers.iter().any(|trusted| trusted.name() == issuer)
            || self.tenants.as_ref().is_some_and(is_allowed)
    }

    fn configured_keys_of(&self, issuer: &str) -> Option<StatementKeys> {
        let trusted = self.issuers.iter().find(|trusted| trusted.name() == issuer)?;
        trusted.statement_keys.clone()
    }

    fn keys_of(&self, issuer: &str) -> FindKeys {
        match self.issuers.iter().find(|trusted| trusted.name() == issuer) {
            Some(trusted) => Box::pin(ready(Ok(trusted.statement_keys.clone()))),
            None => match &self.tenants {
                Some(tenants) => tenants.statement_keys(issuer),
                None => Box::pin(ready(Ok(None))),
            },
        }
    }
}

//! The signals that are sent when sessions end.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::{
    super::{
        client::Client, providers::facts::TokenFacts, server::AuthorizationServer, state::State,
    },
    delivery::{Delivery, DeliveryKind},
    names::{LOGOUT, LOGOUT_TYP, SECURITY_EVENT_TYP, SESSION_REVOKED},
    subjects,
};
use crate::transport::{error::TransportError, http_transport::HttpTransport};

/// The lifetime of a logout token (OpenID Connect Back-Channel Logout 1.0 §4 recommends it).
const LOGOUT_LIFETIME: Duration = Duration::from_secs(120);

/// Sending signals.
impl AuthorizationServer {
    /// Returns the signals that are to be sent, and forgets them.
    ///
    /// They are made when a session ends or a token is revoked: logout tokens for the clients with a
    /// [logout URL](crate::test_util::Client::with_logout_url), and security events for the streams that are
    /// [pushed](Self::add_push_stream). Events for streams that are polled wait there.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use tower_introspect::{
    ///     test_util::{AuthorizationServer, Client, DeliveryKind},
    ///     transport::HttpTransport,
    /// };
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let api = Client::new("api", "s3cret").with_logout_url("https://api.example.com/logout");
    /// let server = AuthorizationServer::new("https://as.example.com").with_client(api);
    /// server.add_push_stream("api", "https://api.example.com/events", Some("Bearer abc"));
    ///
    /// server.end_session("alice", "s-1");
    /// let deliveries = server.deliveries();
    /// assert_eq!(deliveries[0].kind(), DeliveryKind::LogoutToken);
    /// assert_eq!(deliveries[1].kind(), DeliveryKind::SecurityEvent);
    ///
    /// // Lost, late and repeated, as the test likes.
    /// # async fn app(_: Request<Bytes>) -> Result<Response<Bytes>, std::convert::Infallible> {
    /// #     Ok(Response::new(Bytes::new()))
    /// # }
    /// let receiver = HttpTransport::new(tower::service_fn(app));
    /// for delivery in [&deliveries[1], &deliveries[1]] {
    ///     assert!(delivery.send(&receiver).await?.status().is_success());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        let mut state = self.state();
        let mut deliveries = std::mem::take(&mut state.logouts);
        deliveries.extend(state.streams.take_pushed());
        deliveries
    }

    /// Sends all [deliveries](Self::deliveries), one after the other, and returns the outcomes.
    ///
    /// Nothing is sent again.
    ///
    /// # Cancellation
    ///
    /// The deliveries that were not sent are lost if the future is dropped.
    pub async fn deliver(
        &self,
        transport: &HttpTransport,
    ) -> Vec<(Delivery, Result<Response<Bytes>, TransportError>)> {
        let mut outcomes = Vec::new();
        for delivery in self.deliveries() {
            let outcome = delivery.send(transport).await;
            outcomes.push((delivery, outcome));
        }
        outcomes
    }
}

impl State {
    /// Returns the facts of a logout token for a client.
    pub(in crate::test_util) fn logout_facts(&mut self, client_id: &str) -> TokenFacts {
        let exp = self.in_seconds(LOGOUT_LIFETIME);
        let mut facts = self.default_facts();
        facts.signal = Some(LOGOUT_TYP);
        facts.set("aud", client_id.into());
        facts.set("exp", exp);
        facts.set("events", json!({LOGOUT: {}}));
        facts
    }

    /// Returns the facts of a security event token.
    pub(in crate::test_util) fn event_facts(&mut self, audience: Value) -> TokenFacts {
        let mut facts = self.default_facts();
        facts.signal = Some(SECURITY_EVENT_TYP);
        facts.set("aud", audience);
        // SSF 1.0: `exp` must not be used.
        facts.leave_out("exp");
        facts
    }

    /// Revokes a token, and signals it.
    pub(in crate::test_util) fn revoke_token(&mut self, token: &str) {
        let Some(record) = self.tokens.get_mut(token).filter(|record| !record.revoked) else {
            return;
        };
        record.revoked = true;
        let text = |name| record.facts.value(name).and_then(Value::as_str).map(str::to_owned);
        if let (Some(subject), sid) = (text("sub"), text("sid")) {
            self.signal_end(&subject, sid.as_deref());
        }
    }

    /// Revokes the tokens of a session, or of all sessions of the subject, and signals it.
    pub(in crate::test_util) fn end_sessions(&mut self, subject: &str, sid: Option<&str>) {
        for record in self.tokens.values_mut() {
            let has = |name, text: &str| record.facts.value(name).is_some_and(|has| has == text);
            record.revoked |= has("sub", subject) && sid.is_none_or(|sid| has("sid", sid));
        }
        self.signal_end(subject, sid);
    }

    fn signal_end(&mut self, subject: &str, sid: Option<&str>) {
        let url = |client: &Client| Some((client.id.clone(), client.logout_url.clone()?));
        for (client, url) in self.clients.iter().filter_map(url).collect::<Vec<_>>() {
            let mut facts = self.logout_facts(&client);
            facts.set("sub", subject.into());
            if let Some(sid) = sid {
                facts.set("sid", sid.into());
            }
            let (kind, token) = (DeliveryKind::LogoutToken, self.sign(&facts));
            self.logouts.push(Delivery { kind, url, token, authorization: None });
        }
        let identifier = match sid {
            Some(sid) => subjects::of_session(&self.issuer, subject, sid),
            None => subjects::of_subject(&self.issuer, subject),
        };
        let payload = json!({"event_timestamp": self.clock.now().as_secs()});
        for client in self.streams.receivers_of(SESSION_REVOKED) {
            self.send_event(&client, SESSION_REVOKED, &payload, &identifier);
        }
    }

    /// Puts a security event on the stream of a client.
    pub(in crate::test_util) fn send_event(
        &mut self,
        client: &str,
        event: &str,
        payload: &Value,
        identifier: &Value,
    ) {
        let mut facts = self.event_facts(client.into());
        facts.set("events", json!({ event: payload }));
        facts.set("sub_id", identifier.clone());
        let jti = facts.value("jti").and_then(Value::as_str).unwrap_or_default().to_owned();
        let set = self.sign(&facts);
        self.streams.put(|stream| stream.client == client, &jti, &set);
    }
}

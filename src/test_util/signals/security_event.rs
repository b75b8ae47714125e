use serde_json::{Value, json};

use super::{
    super::{
        server::AuthorizationServer,
        token::{Jwt, TokenBuilder},
    },
    names::{
        ACCOUNT_DISABLED, CREDENTIAL_CHANGE, SESSION_REVOKED, STREAM_UPDATED, TOKEN_CLAIMS_CHANGE,
    },
    subjects,
};

/// The kind of a [`Jwt`] that is a security event token (RFC 8417).
#[derive(Debug)]
pub struct SecurityEvent(());

impl AuthorizationServer {
    /// Starts to build a security event token for an audience, as SSF 1.0 profiles it.
    ///
    /// By default it is issued now, and has neither `exp` nor `sub`. A valid one needs a subject and
    /// an event.
    ///
    /// [`with_defect`](TokenBuilder::with_defect) makes forged ones. [`SecurityEvent`], [`Bound`] and
    /// [`NoExpiry`] are no defects of a security event token.
    ///
    /// [`SecurityEvent`]: crate::test_util::Defect::SecurityEvent
    /// [`Bound`]: crate::test_util::Defect::Bound
    /// [`NoExpiry`]: crate::test_util::Defect::NoExpiry
    ///
    /// ```
    /// use serde_json::json;
    /// use tower_introspect::test_util::{AuthorizationServer, Defect};
    ///
    /// let server = AuthorizationServer::new("https://as.example.com");
    /// let event = || server.security_event("https://api.example.com/events").txn("t-1");
    /// let all_sessions = event().of_subject("alice").session_revoked().mint();
    /// let session = event().of_session("alice", "s-1").session_revoked().mint();
    /// let other = event()
    ///     .subject_id(json!({"format": "email", "email": "alice@example.com"}))
    ///     .event("https://schemas.openid.net/secevent/risc/event-type/account-purged", json!({}))
    ///     .mint();
    /// let forged = event().of_subject("alice").session_revoked().with_defect(Defect::AlgNone);
    /// # let _ = (all_sessions, session, other, forged.mint());
    /// ```
    pub fn security_event(&self, audience: impl Into<Value>) -> TokenBuilder<Jwt<SecurityEvent>> {
        let facts = self.state().event_facts(audience.into());
        TokenBuilder { server: self.clone(), facts, form: Jwt::default() }
    }
}

impl TokenBuilder<Jwt<SecurityEvent>> {
    /// Adds an event of this type (RFC 8417 §2.2).
    pub fn event(self, type_uri: &str, payload: Value) -> Self {
        let mut events = self.facts.value("events").cloned().unwrap_or_else(|| json!({}));
        events[type_uri] = payload;
        self.fact("events", events)
    }

    /// Sets `sub_id` to any subject identifier (RFC 9493 §4.1).
    pub fn subject_id(self, identifier: Value) -> Self {
        self.fact("sub_id", identifier)
    }

    /// Sets `sub_id` to a subject of this server, in the format `iss_sub`.
    pub fn of_subject(self, subject: &str) -> Self {
        let identifier = subjects::of_subject(self.server.issuer(), subject);
        self.subject_id(identifier)
    }

    /// Sets `sub_id` to a session of a subject of this server, in the format `complex` (SSF 1.0).
    pub fn of_session(self, subject: &str, sid: &str) -> Self {
        let identifier = subjects::of_session(self.server.issuer(), subject, sid);
        self.subject_id(identifier)
    }

    /// Sets `txn` (RFC 8417 §2.2).
    pub fn txn(self, transaction: &str) -> Self {
        self.fact("txn", transaction)
    }

    /// Adds the event that the session, or all sessions of the subject, are revoked now (CAEP 1.0).
    pub fn session_revoked(self) -> Self {
        self.event_now(SESSION_REVOKED, json!({}))
    }

    /// Adds the event that these claims of the subject have changed now (CAEP 1.0).
    pub fn token_claims_change(self, claims: impl Into<Value>) -> Self {
        self.event_now(TOKEN_CLAIMS_CHANGE, json!({ "claims": claims.into() }))
    }

    /// Adds the event that the subject changed its password now (CAEP 1.0).
    pub fn credential_change(self) -> Self {
        let payload = json!({"credential_type": "password", "change_type": "update"});
        self.event_now(CREDENTIAL_CHANGE, payload)
    }

    /// Adds the event that the account of the subject is disabled (RISC 1.0).
    pub fn account_disabled(self) -> Self {
        self.event(ACCOUNT_DISABLED, json!({"reason": "hijacking"}))
    }

    /// Adds the event that the stream is now `enabled`, `paused` or `disabled` (SSF 1.0).
    pub fn stream_updated(self, status: &str) -> Self {
        self.event(STREAM_UPDATED, json!({ "status": status }))
    }

    fn event_now(self, type_uri: &str, mut payload: Value) -> Self {
        payload["event_timestamp"] = self.now().as_secs().into();
        self.event(type_uri, payload)
    }
}

//! The settings of a transmitter of security events.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    resolve::{SubjectMap, SubjectRules},
    subject_id::SubjectId,
};
use crate::{
    error::config::ConfigError,
    jose::crypto::backend::sha256,
    jwt::{keys::KeySet, statement::StatementKeys},
    transport::common::{CommonSettings, Location},
    transport::http_transport::HttpTransport,
};

/// The settings of a transmitter of security events (Shared Signals Framework 1.0).
///
/// ```
/// use std::time::Duration;
/// use tower_introspect::signals::Transmitter;
///
/// let transmitter = Transmitter::new("https://events.example.com", "https://api.example.com/events")
///     .speaks_for("https://as.example.com")
///     .authorization("Bearer 4tVZ..")
///     .verified_within(Duration::from_secs(600));
/// # let _ = transmitter;
/// ```
#[derive(Clone)]
#[must_use = "does nothing until passed to `ResourceServer::receive_events`"]
pub struct Transmitter {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) speaks_for: Vec<String>,
    keys: Option<KeySet>,
    jwks_uri: Option<String>,
    transport: Option<HttpTransport>,
    /// The digest of the expected `Authorization`.
    pub(super) authorization: Option<[u8; 32]>,
    subjects: Option<SubjectMap>,
    critical_members: Vec<String>,
    cut_by_subject: bool,
    pub(super) verified_within: Option<Duration>,
}

impl Transmitter {
    /// Creates the settings of a transmitter.
    ///
    /// `issuer` is the `iss` of its events and the issuer of its metadata. `audience` is the `aud` of this
    /// receiver: [`StreamConfiguration::audience`](crate::signals::StreamConfiguration::audience) once the
    /// stream exists.
    ///
    /// It speaks for its own issuer, if the resource server trusts that, until
    /// [`speaks_for`](Self::speaks_for) names others.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            speaks_for: Vec::new(),
            keys: None,
            jwks_uri: None,
            transport: None,
            authorization: None,
            subjects: None,
            critical_members: Vec::new(),
            cut_by_subject: false,
            verified_within: None,
        }
    }

    /// Adds an issuer whose tokens the events of this transmitter may revoke.
    ///
    /// # Security
    ///
    /// Events about subjects of other issuers are ignored. Otherwise one transmitter could log out
    /// the users of another one.
    pub fn speaks_for(mut self, issuer: impl Into<String>) -> Self {
        self.speaks_for.push(issuer.into());
        self
    }

    /// Sets the keys that sign the events, instead of those that the transmitter publishes.
    pub fn keys(mut self, keys: KeySet) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Sets the URL of the keys.
    ///
    /// By default the keys of a trusted issuer are those of its tokens. Those of any other transmitter
    /// are at the `jwks_uri` of its metadata (`/.well-known/ssf-configuration`, SSF 1.0 §7.2).
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.jwks_uri = Some(url.into());
        self
    }

    /// Sets the transport of requests to the transmitter. The default is that of the resource
    /// server.
    pub fn transport(mut self, transport: HttpTransport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Sets the value of the header `Authorization` that pushed events must have (SSF 1.0 §6.1.1,
    /// `authorization_header`), such as `Bearer ..`.
    ///
    /// # Security
    ///
    /// Only a digest is kept and compared. Signatures are checked with or without it; it keeps
    /// strangers from having them checked.
    pub fn authorization(mut self, value: impl AsRef<[u8]>) -> Self {
        self.authorization = Some(sha256(value.as_ref()));
        self
    }

    /// Sets a function that returns the `sub` for an identifier such as an e-mail address.
    ///
    /// It is called for events about subjects that are no `iss_sub` or `jwt_id`, and must not block. If
    /// it returns `None`, and without a function, all facts of the issuers that the transmitter speaks
    /// for are asked anew. That does not reach JWTs that are verified locally.
    pub fn subjects<F>(mut self, map: F) -> Self
    where
        F: Fn(&SubjectId) -> Option<String> + Send + Sync + 'static,
    {
        self.subjects = Some(Arc::new(map));
        self
    }

    /// Adds a critical member of complex subjects (`critical_subject_members`). Events with one are
    /// discarded, unless it is `user` or `session` (SSF 1.0 §3.6).
    pub fn critical_member(mut self, name: impl Into<String>) -> Self {
        self.critical_members.push(name.into());
        self
    }

    /// Ends all sessions of the user if an event names both a session and its user.
    ///
    /// Use it if access tokens or introspection responses have no `sid`.
    pub const fn cut_by_subject(mut self) -> Self {
        self.cut_by_subject = true;
        self
    }

    /// Sets the longest time between two verification events. Without one in this time the signals of
    /// the transmitter are stale, which readiness and metrics show.
    ///
    /// Events arrive late and in any order, so allow some more than the time between two requests for them
    /// ([`verification_task`](crate::signals::EventReceiver::verification_task)). By default no verification
    /// event is expected.
    pub const fn verified_within(mut self, time: Duration) -> Self {
        self.verified_within = Some(time);
        self
    }

    /// Adds the problems with the settings to `problems`.
    pub(super) fn check(&self, problems: &mut ConfigError) {
        if self.issuer.is_empty() {
            problems.push("issuer", "the issuer is empty");
        }
        if self.audience.is_empty() {
            problems.push("audience", "the audience is empty");
        }
        if self.keys.is_some() && self.jwks_uri.is_some() {
            problems.push("keys", "`keys` and `jwks_uri` must not be combined");
        }
        if self.keys.as_ref().is_some_and(KeySet::is_empty) {
            problems.push("keys", "there is no key");
        }
        if self.verified_within == Some(Duration::ZERO) {
            problems.push("verified_within", "the time is zero");
        }
    }

    /// Returns the settings of requests to the transmitter, from those of the resource server.
    pub(super) fn requests(
        &self,
        common: &CommonSettings,
        problems: &mut ConfigError,
    ) -> CommonSettings {
        let given = self.transport.as_ref().or(common.transport.as_ref());
        let transport = HttpTransport::or_default(given, problems);
        CommonSettings { issuer: self.issuer.clone(), transport, ..common.clone() }
    }

    /// Returns the keys of its events. `of_tokens` are those of the issuer's tokens, if it is trusted.
    pub(super) fn statement_keys(
        &self,
        requests: &CommonSettings,
        of_tokens: Option<StatementKeys>,
        problems: &mut ConfigError,
    ) -> Option<StatementKeys> {
        if let Some(keys) = &self.keys {
            return Some(StatementKeys::given(&self.issuer, keys.clone()));
        }
        let transport = requests.transport.as_ref()?;
        let location = match (&self.jwks_uri, of_tokens) {
            (Some(url), _) => requests.fixed_location(url, "jwks_uri", problems)?,
            (None, Some(keys)) => return Some(keys),
            (None, None) => {
                let discovery = requests.transmitter_discovery(transport);
                let found = discovery.map_err(|problem| problems.push("issuer", problem)).ok()?;
                Location::Discovered(found)
            }
        };
        Some(StatementKeys::fetched(requests, location, transport.clone()))
    }

    /// Returns the rules for the subjects of its events.
    pub(super) fn rules(&self, issuers: Vec<String>) -> SubjectRules {
        SubjectRules {
            issuers,
            map: self.subjects.clone(),
            critical: self.critical_members.clone(),
            cut_by_subject: self.cut_by_subject,
        }
    }
}

impl fmt::Debug for Transmitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmitter")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("speaks_for", &self.speaks_for)
            .finish_non_exhaustive()
    }
}

//! Checks the back-channel logouts of an issuer, and whether they reach its tokens.

use serde_json::Value;
use tower_introspect::{VerifiedToken, inspect};

use super::{
    Doctor,
    discovery::{LIMIT, document},
};
use crate::diagnosis::Setting;

/// The metadata of an issuer that sends logouts (OpenID Connect Back-Channel Logout 1.0 §2.1).
const SUPPORTED: &str = "backchannel_logout_supported";
const SESSION_SUPPORTED: &str = "backchannel_logout_session_supported";

impl Doctor<'_> {
    /// Checks that an issuer sends the logouts that the service expects for this client.
    pub(super) fn check_logout(&mut self, issuer: &str, client: &str) {
        let Some(metadata) = self.logout_metadata(issuer) else {
            return self.found.unseen("logout_not_seen").text(format!(
                "whether {issuer} sends logouts was not seen, for lack of metadata"
            ));
        };
        if metadata[SUPPORTED] != true {
            self.found.warn("logout_not_supported").text(format!(
                "the metadata of {issuer} does not say that it sends back-channel logouts"
            ));
            self.found.detail("found", format!("{SUPPORTED}: {}", shown(&metadata[SUPPORTED])));
            self.found.detail("expected", format!("{SUPPORTED}: true"));
            let text = "at the authorization server: enable them, and set the \
                        `backchannel_logout_uri` of the client";
            self.found.change(format!("{text} `{client}`"));
            let text = "remove it, if no issuer sends logouts";
            return self.found.change(self.place().with(Setting::LOGOUT_CLIENT_ID, text));
        }
        let text = format!("{issuer} sends back-channel logouts (`{SUPPORTED}`)");
        self.found.good("logout_supported").text(text);
        if let Some(url) = self.unread_keys(issuer) {
            self.check_keys_at(&url, issuer);
        }
        match metadata[SESSION_SUPPORTED] == true {
            true => self
                .found
                .good("logout_session")
                .text(format!("its logout tokens name the session (`{SESSION_SUPPORTED}`)")),
            false => self.found.note("logout_session").text(format!(
                "its logout tokens may not name the session (`{SESSION_SUPPORTED}` is {}): then a \
                 logout ends all sessions of the user",
                shown(&metadata[SESSION_SUPPORTED])
            )),
        }
    }

    /// Returns the metadata of an issuer, if possible a document that tells about logouts. Those of
    /// RFC 8414 may leave that to OpenID Connect.
    fn logout_metadata(&mut self, issuer: &str) -> Option<Value> {
        let known = self.sections.iter().find(|section| section.more["issuer"] == issuer);
        let mut known = known.map(|section| section.more["metadata"].clone());
        known = known.filter(Value::is_object);
        if known.as_ref().is_some_and(|metadata| !metadata[SUPPORTED].is_null()) {
            return known;
        }
        for url in inspect::metadata_urls(issuer) {
            let Ok(uri) = url.parse() else { continue };
            let getting = self.transport.get(uri, "application/json", LIMIT);
            let waited = self.cx.wait("reading the metadata of the issuer", getting);
            let read = self.transport.take().pop().and_then(|exchange| document(&exchange).ok());
            let metadata = read.filter(|(named, _)| named == issuer).map(|(_, value)| value);
            if metadata.as_ref().is_some_and(|metadata| !metadata[SUPPORTED].is_null()) {
                return metadata;
            }
            known = known.or(metadata);
            if waited.is_err() {
                break;
            }
        }
        known
    }

    /// Advises to end all sessions of a user, if a token does not name its session.
    pub(super) fn check_session(&mut self, token: &VerifiedToken, claims: &Value) {
        // A token of a client itself has no session.
        let client = token.client_id();
        let is_of_user =
            token.subject().is_some_and(|subject| client.is_none_or(|id| id != subject));
        let Some(signals) = &self.deployment.settings.signals else { return };
        if !is_of_user || claims["sid"].is_string() {
            return;
        }
        let issuer = token.issuer();
        let by_transmitter = signals.transmitters.iter().any(|one| {
            let own = one.speaks_for.is_empty() && one.issuer == issuer;
            !one.cut_by_subject && (own || one.speaks_for.iter().any(|name| name == issuer))
        });
        let by_logout = signals.logout_client_id.is_some() && !signals.logout_cut_by_subject;
        for (applies, what, setting) in [
            (by_logout, "a logout", Setting::LOGOUT_CUT_BY_SUBJECT),
            (by_transmitter, "an event about its session", Setting::CUT_BY_SUBJECT),
        ] {
            if applies {
                self.found.warn("no_sid").text(format!(
                    "what the service knows of it has no `sid`: {what} that names the session does \
                     not reach it"
                ));
                self.found.detail("found", "no `sid`");
                self.found.detail("expected", "the `sid` of the session");
                let line = self.place().line(setting, true);
                self.found.change(self.place().with(setting, &line));
                self.found.change(
                    "at the authorization server: the claim `sid` in access tokens \
                                   and introspection responses",
                );
            }
        }
    }
}

fn shown(value: &Value) -> &'static str {
    match value {
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Null => "missing",
        _ => "no boolean",
    }
}

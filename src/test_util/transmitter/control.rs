//! The transmitter in the hands of a test.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde_json::Value;

use super::{
    super::{server::AuthorizationServer, signals::delivery::is_http_url},
    streams::{Push, Settings},
};

/// Transmitting security events.
impl AuthorizationServer {
    /// Creates a stream that a client polls at [`Endpoint::Poll`](crate::test_util::Endpoint::Poll), and
    /// returns its identifier.
    ///
    /// It replaces the stream of the client. Receivers may also create their streams themselves, at
    /// [`Endpoint::Streams`](crate::test_util::Endpoint::Streams), with an access token of this server.
    ///
    /// ```
    /// use tower_introspect::test_util::AuthorizationServer;
    ///
    /// let server = AuthorizationServer::new("https://as.example.com");
    /// server.add_poll_stream("api");
    /// server.queue_event(&server.security_event("api").of_subject("bob").session_revoked().mint());
    /// assert_eq!(server.queued_events().len(), 1);
    /// assert!(server.acknowledged().is_empty());
    /// ```
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn add_poll_stream(&self, client_id: &str) -> String {
        self.add_stream(client_id, Settings::default())
    }

    /// Creates a stream whose events are pushed to `url`, with this value of `Authorization`, and
    /// returns its identifier.
    ///
    /// It replaces the stream of the client. See [`deliveries`](Self::deliveries).
    ///
    /// # Panics
    ///
    /// Panics if `url` is not an HTTP URL, or `authorization` is not a valid header value.
    #[expect(clippy::must_use_candidate, reason = "it is called for its effect")]
    pub fn add_push_stream(
        &self,
        client_id: &str,
        url: &str,
        authorization: Option<&str>,
    ) -> String {
        assert!(is_http_url(url), "the URL of the receiver must be an HTTP URL");
        let authorization = authorization
            .map(|value| HeaderValue::from_str(value).expect("the authorization fits a header"));
        let push = Some(Push { url: url.to_owned(), authorization });
        self.add_stream(client_id, Settings { push, ..Settings::default() })
    }

    /// Puts a security event token on all streams, valid or not.
    ///
    /// A stream that is disabled does not get it, as [`queued_events`](Self::queued_events) shows.
    pub fn queue_event(&self, set: &str) {
        let jti = jti(set);
        let mut state = self.state();
        let jti = jti.unwrap_or_else(|| state.unique_text());
        state.streams.put(|_| true, &jti, set);
    }

    /// Returns the `jti` of the events that are neither acknowledged, refused nor pushed, stream by
    /// stream.
    #[must_use]
    pub fn queued_events(&self) -> Vec<String> {
        let state = self.state();
        let queued = state.streams.all.iter().flat_map(|stream| &stream.queue);
        queued.map(|(jti, _)| jti.clone()).collect()
    }

    /// Returns the `jti` of the events that receivers acknowledged (RFC 8936 §2.2), in order.
    ///
    /// An event that is acknowledged again is not listed again.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<String> {
        self.state().streams.acknowledged.clone()
    }

    /// Returns the `jti` of the events that receivers refused, with the error `{err, description}`
    /// (RFC 8936 §2.6), in order.
    #[must_use]
    pub fn set_errors(&self) -> Vec<(String, Value)> {
        self.state().streams.errors.clone()
    }

    /// Sets how long a poll waits for events, by tokio's time. Default: 30 seconds.
    pub fn set_poll_wait(&self, wait: Duration) {
        self.state().streams.poll_wait = wait;
    }

    /// Sets the least time between two requests for verification of a stream, by the server's clock
    /// (SSF 1.0, Stream Configuration). Earlier ones are refused with 429. Default: zero.
    pub fn set_min_verification_interval(&self, interval: Duration) {
        self.state().streams.min_verification_interval = interval;
    }

    /// Sets a member of the [metadata of the transmitter](crate::test_util::Endpoint::SsfConfiguration). Null
    /// leaves the member out.
    pub fn set_transmitter_metadata(&self, name: &str, value: impl Into<Value>) {
        self.state().streams.metadata_changes.insert(name.to_owned(), value.into());
    }

    fn add_stream(&self, client_id: &str, settings: Settings) -> String {
        let streams = &mut self.state().streams;
        streams.all.retain(|stream| stream.client != client_id);
        streams.create(client_id, settings).id.clone()
    }
}

/// Returns the `jti` of a token, if it is readable.
fn jti(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims["jti"].as_str().map(str::to_owned)
}

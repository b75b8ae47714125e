use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};

use crate::transport::{error::TransportError, http_transport::HttpTransport};

/// The limit on the time of a delivery.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The limit on the size of a response, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;

/// A signal that is ready to be sent to a receiver.
///
/// [`AuthorizationServer::deliveries`](crate::test_util::AuthorizationServer::deliveries) returns it. A test
/// may send it late, never, several times or in another order.
#[derive(Clone)]
pub struct Delivery {
    pub(in crate::test_util) kind: DeliveryKind,
    pub(in crate::test_util) url: String,
    pub(in crate::test_util) token: String,
    pub(in crate::test_util) authorization: Option<HeaderValue>,
}

/// The kind of a [`Delivery`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryKind {
    /// A logout token in a form (OpenID Connect Back-Channel Logout 1.0 §2.5).
    LogoutToken,
    /// A security event token as the body (RFC 8935 §2.1).
    SecurityEvent,
}

impl Delivery {
    /// Returns the kind of the signal.
    #[must_use]
    pub const fn kind(&self) -> DeliveryKind {
        self.kind
    }

    /// Returns the URL of the receiver.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the logout token or security event token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns the request that delivers the signal, for any service.
    #[must_use]
    pub fn request(&self) -> Request<Bytes> {
        let (media_type, body) = match self.kind {
            DeliveryKind::LogoutToken => {
                ("application/x-www-form-urlencoded", format!("logout_token={}", self.token))
            }
            DeliveryKind::SecurityEvent => ("application/secevent+jwt", self.token.clone()),
        };
        let mut request = Request::post(&self.url)
            .header(header::CONTENT_TYPE, media_type)
            .header(header::ACCEPT, "application/json")
            .body(Bytes::from(body))
            .expect("the URL was parsed before");
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        }
        request
    }

    /// Sends the signal, and waits at most 30 seconds for the response.
    ///
    /// A transport over any tower service is [`HttpTransport::new`].
    ///
    /// # Errors
    ///
    /// Returns an error if there is no response within that time.
    ///
    /// # Cancellation
    ///
    /// The receiver may have read the signal if the future is dropped.
    pub async fn send(&self, transport: &HttpTransport) -> Result<Response<Bytes>, TransportError> {
        transport.send(|| Ok::<_, TransportError>(self.request()), TIMEOUT, MAX_RESPONSE).await
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("kind", &self.kind)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Returns true if a receiver may have this URL.
pub(in crate::test_util) fn is_http_url(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
}

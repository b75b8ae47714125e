//! Handling of requests, including injected faults.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};

use super::{
    fault::{Effect, Endpoint},
    lock::lock,
    providers::provider::Provider,
    server::{AuthorizationServer, MAX_RECORDED},
};
use crate::transport::{
    body_limit::BodyLimit,
    error::{TransportError, TransportErrorKind},
    http_transport::HttpTransport,
};

/// The outcome of a request.
#[derive(Debug)]
pub(super) enum Reply {
    /// The connection is closed without a response.
    Close,
    /// The connection is closed after the head and half of the body.
    Truncated(Response<Bytes>),
    Unreachable,
    Whole(Response<Bytes>),
}

impl AuthorizationServer {
    /// Handles one request.
    pub(super) async fn serve(&self, request: Request<Bytes>) -> Reply {
        let Some(endpoint) = self.endpoint(request.uri().path()) else {
            self.record_unmatched(request.uri());
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Reply::Whole(response);
        };
        let received = self.endpoint_traffic(endpoint);
        let is_canary = endpoint == Endpoint::Introspection && is_canary(request.body());
        // Computed before any delay: the response reflects the state when the request arrived.
        let (fault, proper, mut cleared) = {
            let mut traffic = lock(&received.traffic);
            let fault = if is_canary { traffic.faults.lasting() } else { traffic.faults.next() };
            let proper = match fault.as_ref().map(|fault| &fault.effect) {
                Some(Effect::Close | Effect::Respond(_) | Effect::Unreachable) => None,
                _ => Some(self.state().respond(endpoint, &request)),
            };
            if traffic.requests.len() == MAX_RECORDED {
                traffic.requests.remove(0);
            }
            if !is_canary {
                traffic.requests.push(request);
            }
            // Subscribes under the lock that `clear` takes, so that no `clear` is missed.
            (fault, proper.unwrap_or_default(), received.cleared.subscribe())
        };
        let counter = if is_canary { self.canary_count() } else { &received.calls };
        counter.send_modify(|calls| *calls += 1);

        let Some(fault) = fault else { return Reply::Whole(self.long_poll(proper).await) };
        if !fault.delay.is_zero() {
            tokio::time::sleep(fault.delay).await;
        }
        match fault.effect {
            Effect::Proper => Reply::Whole(self.long_poll(proper).await),
            Effect::Close => Reply::Close,
            Effect::Garbage => {
                Reply::Whole(proper.map(|_| Bytes::from_static(b"{\"active\": tru")))
            }
            Effect::Hang => {
                // This can't fail, because the sender lives as long as `self`.
                let _ = cleared.changed().await;
                Reply::Whole(proper)
            }
            Effect::Oversize(bytes) => Reply::Whole(proper.map(|body| pad(&body, bytes))),
            Effect::Respond(response) => Reply::Whole(response),
            Effect::Truncate => Reply::Truncated(proper),
            Effect::Unreachable => Reply::Unreachable,
        }
    }

    /// Returns a transport that reaches the server without a socket.
    ///
    /// A request to any other host fails with a connection error and counts as
    /// [unmatched](Self::unmatched_requests).
    #[must_use]
    pub fn transport(&self) -> HttpTransport {
        let server = self.clone();
        HttpTransport::new(tower::service_fn(move |request: Request<Bytes>| {
            let server = server.clone();
            async move { server.send(request).await }
        }))
    }

    /// Sends a request, as [`transport`](Self::transport) does.
    ///
    /// # Errors
    ///
    /// Returns an error if the request is for another host, or a [`Fault`](super::Fault) leaves it
    /// without a response.
    ///
    /// # Cancellation
    ///
    /// The request has reached the server, and is counted, as soon as the future is polled.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let issuer: Uri = self.issuer().parse().expect("`new` parsed it");
        let to = request.uri();
        if (to.scheme(), to.authority()) != (issuer.scheme(), issuer.authority()) {
            self.record_unmatched(to);
            return Err(TransportError::new(TransportErrorKind::Connect));
        }
        let limit =
            request.extensions().get().map_or(usize::MAX, |limit: &BodyLimit| limit.bytes());
        match self.serve(request).await {
            Reply::Whole(response) if response.body().len() > limit => {
                Err(TransportError::new(TransportErrorKind::TooLarge))
            }
            Reply::Whole(response) => Ok(response),
            Reply::Unreachable => Err(TransportError::new(TransportErrorKind::Connect)),
            Reply::Close => Err(TransportError::new(TransportErrorKind::Closed)),
            Reply::Truncated(_) => {
                Err(TransportError::new(TransportErrorKind::Other).with_source("connection closed"))
            }
        }
    }

    fn endpoint(&self, path: &str) -> Option<Endpoint> {
        let state = self.state();
        let base = state.issuer_path();
        let below = path.strip_prefix(base);
        if below == Some("/.well-known/openid-configuration") {
            return Some(Endpoint::Discovery);
        }
        let at = |endpoint: &Endpoint| match endpoint {
            _ if endpoint.is_well_known() => path.strip_prefix(endpoint.path()) == Some(base),
            Endpoint::Introspection if !state.provider.is_none_or(Provider::introspects) => false,
            _ => below == Some(endpoint.path()),
        };
        Endpoint::ALL.into_iter().find(at)
    }
}

/// Pads JSON with white space at its end, which does not change its meaning.
fn pad(body: &Bytes, to: usize) -> Bytes {
    let mut padded = body.to_vec();
    padded.resize(to.max(padded.len()), b' ');
    padded.into()
}

/// Returns true if the form asks about a random token of a resource server.
fn is_canary(form: &[u8]) -> bool {
    const TOKEN: &[u8] = b"token=tower-introspect-canary-";
    form.windows(TOKEN.len()).any(|part| part == TOKEN)
}

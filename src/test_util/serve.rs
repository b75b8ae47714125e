//! How a request is taken, faults and all.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};

use super::{
    fault::{Effect, Endpoint},
    server::{AuthorizationServer, KEPT, lock},
};
use crate::transport::{BodyLimit, TransportError, TransportErrorKind};

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Reply {
    /// The connection ends.
    Close,
    /// The head, half the body, and the end of the connection.
    Truncated(Response<Bytes>),
    Unreachable,
    Whole(Response<Bytes>),
}

impl AuthorizationServer {
    /// Takes a request that has come here.
    pub(super) async fn serve(&self, request: Request<Bytes>) -> Reply {
        let Some(endpoint) = self.endpoint(request.uri().path()) else {
            self.stray(request.uri());
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Reply::Whole(response);
        };
        let line = self.line(endpoint);
        // Decided before any waiting: this is the answer of the moment the request came.
        let (fault, proper, mut cleared) = {
            let mut traffic = lock(&line.traffic);
            let fault = traffic.faults.next();
            let proper = match fault.as_ref().map(|fault| &fault.effect) {
                Some(Effect::Close | Effect::Respond(_) | Effect::Unreachable) => None,
                _ => Some(self.state().answer(endpoint, &request)),
            };
            if traffic.requests.len() == KEPT {
                traffic.requests.remove(0);
            }
            traffic.requests.push(request);
            // While the fault can't be cleared, so that no `clear` falls in between.
            (fault, proper.unwrap_or_default(), line.cleared.subscribe())
        };
        line.calls.send_modify(|calls| *calls += 1);

        let Some(fault) = fault else { return Reply::Whole(proper) };
        if !fault.delay.is_zero() {
            tokio::time::sleep(fault.delay).await;
        }
        match fault.effect {
            Effect::Answer => Reply::Whole(proper),
            Effect::Close => Reply::Close,
            Effect::Garbage => {
                Reply::Whole(proper.map(|_| Bytes::from_static(b"{\"active\": tru")))
            }
            Effect::Hang => {
                // The sender lives as long as `self`.
                let _ = cleared.changed().await;
                Reply::Whole(proper)
            }
            Effect::Oversize(bytes) => Reply::Whole(proper.map(|body| pad(&body, bytes))),
            Effect::Respond(response) => Reply::Whole(response),
            Effect::Truncate => Reply::Truncated(proper),
            Effect::Unreachable => Reply::Unreachable,
        }
    }

    /// Sends a request, as [`transport`](Self::transport) does.
    ///
    /// # Errors
    ///
    /// If the request is for another host, or a [`Fault`](super::Fault) leaves it without an answer.
    ///
    /// # Cancellation
    ///
    /// The request has come, and counts, as soon as this is polled.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let issuer: Uri = self.issuer().parse().expect("`new` has read it");
        let to = request.uri();
        if (to.scheme(), to.authority()) != (issuer.scheme(), issuer.authority()) {
            self.stray(to);
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
            Reply::Close | Reply::Truncated(_) => {
                Err(TransportError::new(TransportErrorKind::Other).with_source("connection closed"))
            }
        }
    }

    fn endpoint(&self, path: &str) -> Option<Endpoint> {
        let state = self.state();
        let base = state.issuer_path();
        let below = path.strip_prefix(base);
        if below == Some("/.well-known/openid-configuration")
            || path.strip_prefix(Endpoint::Discovery.path()) == Some(base)
        {
            return Some(Endpoint::Discovery);
        }
        let at = |endpoint: &Endpoint| below == Some(endpoint.path());
        Endpoint::ALL.into_iter().filter(|endpoint| *endpoint != Endpoint::Discovery).find(at)
    }
}

/// White space after JSON changes nothing but the length.
fn pad(body: &Bytes, to: usize) -> Bytes {
    let mut padded = body.to_vec();
    padded.resize(to.max(padded.len()), b' ');
    padded.into()
}

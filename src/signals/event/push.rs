//! Receives security events that are pushed (RFC 8935).

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body::Body;
use tower_service::Service;

use super::receiver::EventReceiver;
use crate::{
    jose::crypto::backend::sha256,
    refresh::asker::Asker,
    signals::{
        answer::Answer,
        body,
        received::{Received, Refusal},
    },
    telemetry::signals::{Receiver, signal_refused},
    transport::response::is_media_type,
};

/// A service that receives pushed security events (RFC 8935).
///
/// [`EventReceiver::push_service`] returns it.
///
/// | response | reason |
/// |---|---|
/// | 202, empty | the event is in force, or was before, or has no effect here |
/// | 400, JSON with `err` and `description` | the request or the token is not acceptable (§2.4) |
/// | 405 | another method than POST |
/// | 408, 413 | the body took longer than ten seconds, or is longer than 16 KiB |
/// | 503 | the keys of the transmitter can't be had just now: the token is kept until they can. Or the event is in force here, and the other instances of the service can't be told just now. Or the clock of this service is wrong: the token is not kept |
///
/// # Security
///
/// Anyone can reach it, and its limits are those of a [`LogoutService`](crate::signals::LogoutService). Set
/// [`Transmitter::authorization`](crate::signals::Transmitter::authorization): it is compared before the
/// body is read.
///
/// # Clone
///
/// Clones share the receiver.
pub struct EventService<B> {
    receiver: EventReceiver,
    body: fn(Bytes) -> B,
}

impl<B> EventService<B> {
    pub(super) const fn new(receiver: EventReceiver, body: fn(Bytes) -> B) -> Self {
        Self { receiver, body }
    }
}

impl EventReceiver {
    /// Returns a service that receives pushed events (RFC 8935).
    ///
    /// Its URL is the `endpoint_url` of the stream. It must not be covered by
    /// [`layer`](crate::ResourceServer::layer): the transmitter has no access token.
    #[must_use]
    pub fn push_service<B: From<Bytes>>(&self) -> EventService<B> {
        self.push_service_with(B::from)
    }

    /// Returns the same service, with a function that builds the body instead of `From`.
    #[must_use]
    pub fn push_service_with<B>(&self, body: fn(Bytes) -> B) -> EventService<B> {
        EventService::new(self.clone(), body)
    }

    async fn answer<Q: Body>(
        &self,
        (method, headers, asker): (Method, HeaderMap, Asker),
        body: Q,
    ) -> Answer {
        if method != Method::POST {
            return Answer::method_not_allowed("POST");
        }
        if !self.is_authorized(&headers) {
            return refuse("authentication_failed", "The credentials are missing or wrong.");
        }
        if !is_media_type(&headers, "application/secevent+jwt") {
            return refuse("invalid_request", "The body is not application/secevent+jwt.");
        }
        let text = match body::read(body).await {
            Ok(text) => text,
            Err(status) => return Answer::empty(status),
        };
        let Ok(text) = std::str::from_utf8(&text) else {
            return refuse("invalid_request", "It is not a signed JWT.");
        };
        match self.receive(text, asker).await {
            Received::Applied => Answer::empty(StatusCode::ACCEPTED),
            Received::Refused(refusal) => Answer::set_error(refusal),
            Received::NotNow { retry_after } => {
                Answer::unavailable("the token can't be verified or applied just now", retry_after)
            }
        }
    }

    /// Returns true if the request has the one `Authorization` that was agreed on, if any was.
    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.0.authorization else { return true };
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            // The duration of a comparison of digests shows nothing of the value.
            (Some(value), None) => sha256(value.as_bytes()) == *expected,
            _ => false,
        }
    }
}

fn refuse(err: &'static str, description: &'static str) -> Answer {
    signal_refused(Receiver::Event, description);
    Answer::set_error(Refusal { err, description })
}

impl<Q, B> Service<Request<Q>> for EventService<B>
where
    Q: Body + Send + 'static,
    Q::Data: Send,
    Q::Error: Send,
    B: 'static,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let receiver = self.receiver.clone();
        let asker = receiver.0.host.asker(&request);
        let (parts, body) = request.into_parts();
        let respond = self.body;
        Box::pin(async move {
            let head = (parts.method, parts.headers, asker);
            Ok(receiver.answer(head, body).await.into_response().map(respond))
        })
    }
}

impl<B> Clone for EventService<B> {
    fn clone(&self) -> Self {
        Self { receiver: self.receiver.clone(), body: self.body }
    }
}

impl<B> fmt::Debug for EventService<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventService").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}

//! The ways in which the body of a response ends with its lease.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{
    HeaderMap, Method, Uri, Version,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
    response::Parts,
};

use super::{
    boundary::{FramePlace, SsePlace, TRAILERS},
    end::StreamEnd,
    lease::Lease,
};
use crate::{
    credentials::{
        head::RequestHead,
        media_type::{GrpcMediaType, grpc_media_type},
    },
    respond::refusal::Refusal,
};

/// The kind of a body, by which it ends, and the place in it.
pub(super) enum Ending {
    /// With an error, so that what came so far is not taken for the whole.
    Error,
    /// With trailers that carry the status.
    Grpc,
    /// With a frame of trailers. In base64 each piece of the body is one or more whole frames.
    GrpcWeb { place: Option<Box<FramePlace>> },
    /// After the event, as if the handler had ended. Browsers then ask again, and are refused.
    ServerSentEvents(SsePlace),
}

/// The last piece of a body.
pub(super) enum LastPiece {
    Data(Bytes),
    Error,
    Nothing,
    Trailers(HeaderMap),
}

impl Ending {
    /// Returns the kind of the body of this response.
    pub(super) fn of(head: &Parts) -> Self {
        match grpc_media_type(&head.headers) {
            Some(GrpcMediaType::Grpc) => return Self::Grpc,
            Some(GrpcMediaType::GrpcWeb) => {
                return Self::GrpcWeb { place: Some(Box::default()) };
            }
            Some(GrpcMediaType::GrpcWebText) => return Self::GrpcWeb { place: None },
            None => {}
        }
        // Events can't be told apart in a compressed body.
        let is_plain = !head.headers.contains_key(CONTENT_ENCODING);
        if is_plain && head.headers.get(CONTENT_TYPE).is_some_and(is_event_stream) {
            return Self::ServerSentEvents(SsePlace::Boundary);
        }
        Self::Error
    }

    /// Moves on by a piece of data. Returns true if the body may end after it.
    pub(super) fn advance(&mut self, data: &[u8]) -> bool {
        match self {
            Self::ServerSentEvents(place) => {
                *place = place.after_all(data);
                place.is_boundary()
            }
            Self::GrpcWeb { place: Some(place) } => {
                place.advance(data);
                true
            }
            _ => true,
        }
    }

    /// Moves on by a piece of data that comes after the end of the lease, as far as its event goes.
    /// Returns that length, and true if the event ends there.
    pub(super) fn advance_to_rest(&mut self, data: &[u8]) -> (usize, bool) {
        let Self::ServerSentEvents(place) = self else { return (data.len(), self.advance(data)) };
        match place.rest_of_event(data) {
            Some(length) => {
                *place = SsePlace::Boundary;
                (length, true)
            }
            None => {
                *place = place.after_all(data);
                (data.len(), false)
            }
        }
    }

    /// Returns the last piece of a body that ends now.
    pub(super) fn last_piece(&self, end: &StreamEnd, lease: &Lease) -> LastPiece {
        match self {
            Self::Error => LastPiece::Error,
            Self::Grpc => LastPiece::Trailers(trailers(end, lease)),
            Self::GrpcWeb { place: Some(place) } if place.has_trailers => LastPiece::Nothing,
            Self::GrpcWeb { place: Some(place) } if !place.is_boundary() => LastPiece::Error,
            Self::GrpcWeb { place } => {
                let frame = frame(&trailers(end, lease));
                LastPiece::Data(match place {
                    Some(_) => frame,
                    None => STANDARD.encode(frame).into(),
                })
            }
            Self::ServerSentEvents(place) if !place.is_boundary() => LastPiece::Error,
            Self::ServerSentEvents(_) => match &lease.terms().settings.last_event {
                Some(name) => LastPiece::Data(last_event(name, end)),
                None => LastPiece::Nothing,
            },
        }
    }
}

fn is_event_stream(value: &HeaderValue) -> bool {
    let name = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// Returns the trailers of a call that ends: the status, and the challenge for another token.
fn trailers(end: &StreamEnd, lease: &Lease) -> HeaderMap {
    let (method, uri, headers) = (Method::POST, Uri::default(), HeaderMap::new());
    let head = RequestHead::new(&method, &uri, &headers).with_version(Version::HTTP_2);
    let error = end.to_refusal();
    let refusal = Refusal::new(&error, head, lease.terms().policy.challenges());
    let rendered = refusal.presented_under(lease.scheme()).grpc::<()>();
    let mut trailers = rendered.into_parts().0.headers;
    // These two are of a response, not of its trailers.
    trailers.remove(CONTENT_TYPE);
    trailers.remove(CACHE_CONTROL);
    trailers
}

/// Returns a frame of trailers (gRPC-Web, "Protocol differences").
fn frame(trailers: &HeaderMap) -> Bytes {
    let mut text = BytesMut::new();
    for (name, value) in trailers {
        text.put_slice(name.as_str().as_bytes());
        text.put_slice(b": ");
        text.put_slice(value.as_bytes());
        text.put_slice(b"\r\n");
    }
    let mut frame = BytesMut::with_capacity(5 + text.len());
    frame.put_u8(TRAILERS);
    // The trailers are made here, and short.
    frame.put_u32(u32::try_from(text.len()).unwrap_or_default());
    frame.put(text);
    frame.freeze()
}

fn last_event(name: &HeaderValue, end: &StreamEnd) -> Bytes {
    let mut event = BytesMut::new();
    event.put_slice(b"event: ");
    event.put_slice(name.as_bytes());
    event.put_slice(b"\ndata: ");
    event.put_slice(end.reason().as_bytes());
    event.put_slice(b"\n\n");
    event.freeze()
}

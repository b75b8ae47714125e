//! Finishes the response to an admitted request.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header::VARY};

use super::cache_control::{forbid_storing, make_private};
use crate::respond::{hook::LoggedSubject, http::DPOP_NONCE};

/// The changes to make to the response of the inner service.
///
/// Mostly there are none. The box keeps this type at one pointer, because every request moves it.
pub(super) struct ResponseEdits(Option<Box<Edits>>);

struct Edits {
    /// Shared caches must not store the response to a request with its token in the query (RFC 6750
    /// §2.3), or anywhere else than in `Authorization`.
    private: bool,
    /// A fresh nonce to send. A response that carries it must not be stored (RFC 9449 §8.2).
    nonce: Option<HeaderValue>,
    /// The header in which a proxy sent the client certificate. `Vary` names it (RFC 9440 §2.4).
    varies_by: Option<HeaderName>,
    handled: Option<HandledRequest>,
}

/// The part of a request that is still known when its handler refuses it.
#[derive(Clone, Debug, Default)]
pub(super) struct HandledRequest {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) subject: Option<LoggedSubject>,
}

impl HandledRequest {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let subject = request.extensions().get().cloned();
        Self { method: request.method().clone(), uri: request.uri().clone(), subject }
    }
}

impl ResponseEdits {
    pub(super) fn new(
        private: bool,
        nonce: Option<HeaderValue>,
        varies_by: Option<HeaderName>,
        handled: Option<HandledRequest>,
    ) -> Self {
        let is_needed = private || nonce.is_some() || varies_by.is_some() || handled.is_some();
        Self(is_needed.then(|| Box::new(Edits { private, nonce, varies_by, handled })))
    }

    /// Returns the request, if the refusal of its handler is to be reported with it.
    pub(super) fn handled(&self) -> Option<&HandledRequest> {
        self.0.as_ref()?.handled.as_ref()
    }

    pub(super) fn apply<B>(&self, response: &mut Response<B>) {
        let Some(edits) = self.0.as_deref() else { return };
        let is_success = response.status().is_success();
        let headers = response.headers_mut();
        match &edits.nonce {
            Some(nonce) if is_success => {
                headers.insert(DPOP_NONCE, nonce.clone());
                forbid_storing(headers);
            }
            _ if edits.private => make_private(headers),
            _ => {}
        }
        if let Some(name) = &edits.varies_by {
            vary(headers, name);
        }
    }
}

/// Adds `name` to `Vary` unless it is listed already.
///
/// A response that may not be stored does not need it, but it does no harm.
fn vary(headers: &mut HeaderMap, name: &HeaderName) {
    let is_named = headers.get_all(VARY).into_iter().any(|value| {
        let names = value.as_bytes().split(|byte| *byte == b',');
        names
            .map(<[u8]>::trim_ascii)
            .any(|one| one == b"*" || one.eq_ignore_ascii_case(name.as_str().as_bytes()))
    });
    if !is_named {
        headers.append(VARY, HeaderValue::from(name.clone()));
    }
}

//! Refusals by inner services, which the layer that verified the token renders anew.

use std::sync::Arc;

use http::{
    Extensions, HeaderMap, HeaderName, Response,
    header::{
        CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER,
        TRANSFER_ENCODING, WWW_AUTHENTICATE,
    },
    request::Parts,
};

use super::{
    grpc::{GRPC_MESSAGE, GRPC_STATUS},
    http::DPOP_NONCE,
};
use crate::{credentials::head::RequestHead, error::refusal::VerifyError};

/// A refusal by an inner service, in the extensions of its response.
///
/// The response is complete, so it is a refusal also if no layer renders it anew. Only this crate
/// creates one. Extensions are not sent, so neither a client nor a server behind a proxy can forge it.
#[derive(Clone)]
pub(crate) struct InnerRefusal {
    error: VerifyError,
    request: Option<Arc<Parts>>,
}

impl InnerRefusal {
    /// Creates the refusal of this request, which was reported already.
    pub(crate) fn reported(error: VerifyError, request: Parts) -> Self {
        Self { error, request: Some(Arc::new(request)) }
    }

    /// Creates a refusal whose request is not known, and which the layer reports.
    #[cfg(feature = "axum")]
    pub(crate) const fn unreported(error: VerifyError) -> Self {
        Self { error, request: None }
    }

    /// Returns true if a response with these extensions is to be rendered anew.
    #[inline]
    pub(crate) fn is_in(extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some()
    }

    pub(crate) const fn error(&self) -> &VerifyError {
        &self.error
    }

    /// Returns the head of the refused request, if the refusal was made with it at hand.
    pub(crate) fn head(&self) -> Option<RequestHead<'_>> {
        self.request.as_deref().map(head_of)
    }
}

/// Returns the head of a request in parts.
pub(crate) fn head_of(parts: &Parts) -> RequestHead<'_> {
    RequestHead::new(&parts.method, &parts.uri, &parts.headers)
        .with_version(parts.version)
        .with_extensions(&parts.extensions)
}

/// Replaces the response of an inner service by another rendering of its refusal.
///
/// Keeps the header fields and extensions that the services between have added.
pub(crate) fn replace<B>(response: &mut Response<B>, rendered: Response<B>) {
    let mut before = std::mem::replace(response, rendered);
    before.extensions_mut().remove::<InnerRefusal>();
    let new = std::mem::take(response.extensions_mut());
    before.extensions_mut().extend(new);
    *response.extensions_mut() = std::mem::take(before.extensions_mut());
    keep_additions(before.headers(), response.headers_mut());
}

/// Header fields of a refusal, and those about a body. The other rendering decides about them.
const OF_REFUSALS: [HeaderName; 10] = [
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    DPOP_NONCE,
    GRPC_MESSAGE,
    GRPC_STATUS,
    RETRY_AFTER,
    TRANSFER_ENCODING,
    WWW_AUTHENTICATE,
];

fn keep_additions(before: &HeaderMap, headers: &mut HeaderMap) {
    for name in before.keys().filter(|name| !OF_REFUSALS.contains(name)) {
        if !headers.contains_key(name) {
            for value in before.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
    }
}

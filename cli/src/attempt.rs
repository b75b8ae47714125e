//! Runs a request through the layer of a service, and records the checks.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_introspect::{
    ResourceServer, VerifiedToken, VerifyError,
    checks::{Recording, Trace},
};

use crate::{Context, report::Failure};

/// The response of a service to a request, and the checks that led to it.
pub(crate) struct Attempt {
    pub(crate) response: Response<Bytes>,
    pub(crate) trace: Trace,
}

impl Attempt {
    /// Calls the layer of a service, with an empty handler inside. `activity` is shown meanwhile.
    ///
    /// # Errors
    ///
    /// If it takes longer than `--timeout`.
    pub(crate) fn of(
        cx: &Context,
        server: &ResourceServer,
        request: Request<Bytes>,
        activity: &str,
    ) -> Result<Self, Failure> {
        // The response of the handler carries the verified token in its extensions.
        let handler = service_fn(async |request: Request<Bytes>| {
            let mut response = Response::new(Bytes::new());
            if let Some(token) = request.extensions().get::<VerifiedToken>() {
                response.extensions_mut().insert(token.clone());
            }
            Ok::<_, Infallible>(response)
        });
        let service = ServiceBuilder::new().layer(server.layer()).service(handler);
        let recording = Recording::start();
        let Ok(response) = cx.wait(activity, service.oneshot(request))?;
        Ok(Self { response, trace: recording.finish() })
    }

    /// Returns the reason why the layer refused the request.
    pub(crate) fn refusal(&self) -> Option<&VerifyError> {
        self.response.extensions().get()
    }

    /// Returns the token that the handler received.
    pub(crate) fn token(&self) -> Option<&VerifiedToken> {
        self.response.extensions().get()
    }
}

/// Creates a request with a token in `Authorization`.
///
/// # Errors
///
/// If the token has characters that no header can hold.
pub(crate) fn request(scheme: &str, token: &str) -> Result<Request<Bytes>, Failure> {
    let value = HeaderValue::from_bytes(format!("{scheme} {token}").as_bytes())
        .map_err(|_| Failure::usage("this scheme and token do not fit into a header"))?;
    let mut request = Request::new(Bytes::new());
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(request)
}

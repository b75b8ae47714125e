//! Restores the client's request from the request of the proxy.

use std::sync::Once;

use axum::{
    extract::Request,
    http::{HeaderMap, Method, StatusCode, Uri, uri::PathAndQuery},
    middleware::Next,
    response::Response,
};
use toml::Table;
use tower_introspect::ConfigError;

/// The source of the method and the path of the client's request.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OriginalRequest {
    /// The proxy's request has the same.
    Same,
    /// `X-Forwarded-Method` and `X-Forwarded-Uri`, which the proxy sets.
    XForwarded,
}

/// Returns the settings that can't be right for a service behind a proxy.
///
/// With them it would refuse all good tokens.
pub(crate) fn problems(settings: &Table) -> ConfigError {
    let mut problems = ConfigError::new();
    let part = |name: &str| settings.get("resource_server")?.get(name);
    match (part("dpop").is_some(), settings.contains_key("original_request")) {
        (true, false) => problems.push(
            "original_request",
            "missing: proofs (`dpop`) name the method and the URL that the client asked for; say \
             `x_forwarded` if the proxy sets X-Forwarded-Method and X-Forwarded-Uri, or `same` if it asks \
             with those of its client",
        ),
        (false, true) => problems.push("original_request", "has no effect without `dpop`"),
        _ => {}
    }
    if let Some(mtls) = part("mtls") {
        if mtls.get("field").is_none() {
            problems.push(
                "mtls.field",
                "missing: TLS does not end here, so there is no certificate but what a proxy tells",
            );
        }
        if mtls.get("keep_field").is_some() {
            problems.push("mtls.keep_field", "has no effect: no request goes on from here");
        }
    }
    problems
}

/// Replaces the method and the path of the proxy's request by those of the client's request.
///
/// # Errors
///
/// 500 if the proxy does not send them. 400 if they are no method or no path, or are sent twice:
/// the client may have written one of the two.
pub(crate) async fn restore(
    original: OriginalRequest,
    mut request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    if let OriginalRequest::XForwarded = original {
        let method = told(request.headers(), "x-forwarded-method")?;
        let method = Method::from_bytes(method).map_err(|_| StatusCode::BAD_REQUEST)?;
        let uri = told(request.headers(), "x-forwarded-uri")?;
        let uri = path(uri).ok_or(StatusCode::BAD_REQUEST)?;
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
    }
    Ok(next.run(request).await)
}

/// Returns the only value of a field that the proxy sets.
fn told<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a [u8], StatusCode> {
    static TELL: Once = Once::new();
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        TELL.call_once(|| tracing::error!("the proxy sends no {name}: every request is refused"));
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    };
    if values.next().is_some() { Err(StatusCode::BAD_REQUEST) } else { Ok(value.as_bytes()) }
}

fn path(text: &[u8]) -> Option<Uri> {
    let path = PathAndQuery::try_from(text).ok()?;
    text.starts_with(b"/").then(|| path.into())
}

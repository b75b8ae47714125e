//! Fetches the key set that an issuer publishes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};

use super::keys::KeySet;
use crate::{
    error::{kind::ErrorKind, refusal::VerifyError},
    refresh::source::{Fetched, Source},
    telemetry::events,
    transport::{
        calls::{Call, CallRecorder},
        common::Location,
        error::TransportError,
        http_transport::HttpTransport,
        response::{bad, in_context, plain_body, unavailable_error},
    },
};

/// How long keys are fresh if the server sends no `max-age`.
const FRESH_FOR: Duration = Duration::from_secs(10 * 60);

/// The bounds of the freshness that the server sends.
const SHORTEST_FRESHNESS: Duration = Duration::from_secs(60);
const LONGEST_FRESHNESS: Duration = Duration::from_secs(24 * 60 * 60);

/// The timeout of one fetch, including discovery.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// The maximum size of a JWK Set, in bytes.
const MAX_JWKS_BYTES: usize = 512 * 1024;

/// A key set that was fetched.
pub(super) struct FetchedKeys {
    pub(super) keys: Arc<KeySet>,
    /// How old the key set was when it was fetched, if a cache on the way kept it.
    pub(super) age: Duration,
    from: Uri,
    etag: Option<HeaderValue>,
}

impl FetchedKeys {
    /// Returns the keys.
    ///
    /// An empty set is an error of the issuer, so that it is not blamed on the client.
    pub(super) fn non_empty_keys(&self) -> Result<Arc<KeySet>, VerifyError> {
        if self.keys.is_empty() {
            return Err(bad("the published key set has no usable key"));
        }
        Ok(Arc::clone(&self.keys))
    }
}

/// The source of the key set of an issuer: the URL of a JWK Set.
pub(super) struct JwksSource {
    pub(super) issuer: Arc<str>,
    pub(super) location: Location,
    pub(super) transport: HttpTransport,
    pub(super) calls: CallRecorder,
    pub(super) max_keys: usize,
}

impl Source for JwksSource {
    type Value = FetchedKeys;

    fn successor(value: Arc<FetchedKeys>, before: &FetchedKeys) -> Arc<FetchedKeys> {
        if Arc::ptr_eq(&value.keys, &before.keys) {
            return value;
        }
        let keys = Arc::new(value.keys.take_over_from(&before.keys));
        let (from, etag) = (value.from.clone(), value.etag.clone());
        Arc::new(FetchedKeys { keys, age: value.age, from, etag })
    }

    async fn fetch(
        &self,
        last: Option<Arc<FetchedKeys>>,
    ) -> Result<Fetched<FetchedKeys>, VerifyError> {
        self.fetch_and_report(last, false).await
    }

    async fn fetch_on_demand(
        &self,
        last: Option<Arc<FetchedKeys>>,
    ) -> Result<Fetched<FetchedKeys>, VerifyError> {
        self.fetch_and_report(last, true).await
    }

    fn age(value: &FetchedKeys) -> Duration {
        value.age
    }

    fn has_news(value: &FetchedKeys, before: &FetchedKeys) -> bool {
        value.keys.has_more_than(&before.keys)
    }
}

impl JwksSource {
    async fn fetch_and_report(
        &self,
        last: Option<Arc<FetchedKeys>>,
        on_demand: bool,
    ) -> Result<Fetched<FetchedKeys>, VerifyError> {
        let mut call = None;
        let before = last.as_ref().map(|last| Arc::clone(&last.keys));
        let fetch = self.fetch_within_time(last, on_demand, &mut call);
        let outcome = tokio::time::timeout(FETCH_TIMEOUT, fetch).await;
        let outcome = outcome.unwrap_or_else(|elapsed| {
            Err(VerifyError::new(ErrorKind::Unavailable).with_source(elapsed))
        });
        if let Some(call) = call {
            call.end(&outcome);
        }
        match outcome {
            Ok(fetched) => {
                let keys = &fetched.value.keys;
                events::keys_fetched(&self.issuer, keys.len());
                keys.faults.report(Some(&self.issuer), before.as_ref().map(|keys| &keys.faults));
                Ok(fetched)
            }
            Err(error) => {
                let error = in_context(error, format!("keys of {}", self.issuer));
                events::keys_not_fetched(&self.issuer, &error);
                Err(error)
            }
        }
    }

    async fn fetch_within_time(
        &self,
        last: Option<Arc<FetchedKeys>>,
        on_demand: bool,
        call: &mut Option<Call>,
    ) -> Result<Fetched<FetchedKeys>, VerifyError> {
        let url = match &self.location {
            Location::Discovered(discovery) => {
                discovery.metadata().await?.require_jwks_uri()?.uri().clone()
            }
            Location::Fixed(endpoint) => endpoint.uri().clone(),
        };
        let last = last.filter(|last| last.from == url && last.etag.is_some());
        let etag = last.as_ref().and_then(|last| last.etag.clone());
        *call = Some(self.calls.start());
        let request = || Ok::<_, TransportError>(request(url.clone(), etag.clone(), on_demand));
        let response = self.transport.send(request, FETCH_TIMEOUT, MAX_JWKS_BYTES).await?;
        if let Some(error) = unavailable_error(&response, self.calls.clock().now()) {
            return Err(error);
        }
        let read = self.read(url, &response, last);
        if let (Err(_), Some(discovery)) = (&read, self.location.discovery()) {
            // The `jwks_uri` in the metadata may have changed.
            discovery.renew_after_failure();
        }
        Ok(Fetched { value: read?, fresh_for: fresh_for(response.headers()) })
    }

    /// Reads the key set from a response. A 304 stands for `last`.
    ///
    /// The `Content-Type` is not checked: servers send key sets as `application/jwk-set+json`,
    /// `application/json`, and under wrong types.
    fn read(
        &self,
        from: Uri,
        response: &Response<Bytes>,
        last: Option<Arc<FetchedKeys>>,
    ) -> Result<Arc<FetchedKeys>, VerifyError> {
        let age = age(response.headers());
        match (response.status(), last) {
            (StatusCode::OK, _) => {
                let text = plain_body(response)?;
                let keys = KeySet::read_jwks(text, Some(&self.issuer), self.max_keys)
                    .map_err(|error| bad("not a JWK Set").with_source(error))?;
                let etag = response.headers().get(header::ETAG).cloned();
                Ok(Arc::new(FetchedKeys { keys: Arc::new(keys), age, from, etag }))
            }
            (StatusCode::NOT_MODIFIED, Some(last)) => {
                let (keys, etag) = (Arc::clone(&last.keys), last.etag.clone());
                Ok(Arc::new(FetchedKeys { keys, age, from, etag }))
            }
            (status, _) => Err(bad(format!("status {}", status.as_u16()))),
        }
    }
}

/// Returns the request for a key set. A cache on the way must ask the server about one that a token
/// waits for (RFC 9111 §5.2.1.4).
fn request(url: Uri, etag: Option<HeaderValue>, on_demand: bool) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url;
    let accept = HeaderValue::from_static("application/jwk-set+json, application/json");
    request.headers_mut().insert(header::ACCEPT, accept);
    if let Some(etag) = etag {
        request.headers_mut().insert(header::IF_NONE_MATCH, etag);
    }
    if on_demand {
        let no_cache = HeaderValue::from_static("no-cache");
        request.headers_mut().insert(header::CACHE_CONTROL, no_cache);
    }
    request
}

/// Returns the freshness: `max-age` less `Age` (RFC 9111 §4.2), within bounds.
pub(crate) fn fresh_for(headers: &HeaderMap) -> Duration {
    let directives = || {
        let values = headers.get_all(header::CACHE_CONTROL).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
    };
    if directives().any(|directive| {
        directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache")
    }) {
        return SHORTEST_FRESHNESS;
    }
    let max_age = directives().find_map(|directive| {
        let (name, seconds) = directive.split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| delta_seconds(seconds.trim_matches('"')))?
    });
    max_age.map_or(FRESH_FOR, |max_age| {
        Duration::from_secs(max_age.saturating_sub(age_seconds(headers)))
            .clamp(SHORTEST_FRESHNESS, LONGEST_FRESHNESS)
    })
}

/// Returns how long a cache on the way has kept the response (RFC 9111 §5.1).
///
/// `Age` counts whole seconds, so a kept response may be almost a second older. Caches send zero
/// with responses that they have just received, too.
fn age(headers: &HeaderMap) -> Duration {
    match age_seconds(headers) {
        0 => Duration::ZERO,
        seconds => Duration::from_secs(seconds.saturating_add(1)),
    }
}

fn age_seconds(headers: &HeaderMap) -> u64 {
    let age = headers.get(header::AGE).and_then(|age| delta_seconds(age.to_str().ok()?));
    age.unwrap_or(0)
}

/// Parses a number of seconds. One that overflows counts as `u64::MAX` (RFC 9111 §1.2.2).
fn delta_seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9111_4_2_freshness_is_max_age_less_age_within_bounds() {
        let fresh_for = |values: &[(header::HeaderName, &'static str)]| {
            let headers = values
                .iter()
                .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
                .collect();
            fresh_for(&headers).as_secs()
        };
        let cache = |value| fresh_for(&[(header::CACHE_CONTROL, value)]);
        assert_eq!(fresh_for(&[]), 600);
        for value in ["public", "max-age", "max-age=", "max-age=-1", "max-age=1x", "s-maxage=900"] {
            assert_eq!(cache(value), 600, "{value}");
        }
        for value in ["max-age=0", "max-age=59", "no-store", "No-Cache, max-age=900"] {
            assert_eq!(cache(value), 60, "{value}");
        }
        for value in
            ["max-age=900", "public, MAX-AGE=900", "max-age=\"900\"", "max-age=900, max-age=1"]
        {
            assert_eq!(cache(value), 900, "{value}");
        }
        for value in ["max-age=86401", "max-age=99999999999999999999999"] {
            assert_eq!(cache(value), 86_400, "{value}");
        }
        let aged = |age| fresh_for(&[(header::CACHE_CONTROL, "max-age=900"), (header::AGE, age)]);
        assert_eq!((aged("300"), aged("99999"), aged("x")), (600, 60, 900));
        let split = [(header::CACHE_CONTROL, "public"), (header::CACHE_CONTROL, "max-age=900")];
        assert_eq!(fresh_for(&split), 900);
    }
}

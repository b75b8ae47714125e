//! Fetches the key set that an issuer publishes, and keeps it up to date.

use std::{
    collections::VecDeque,
    future,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};

use super::{
    keys::KeySet,
    source::{FetchKeys, Fetching, KeysStanding},
};
use crate::{
    clock::{Clock, Moment},
    error::{kind::ErrorKind, refusal::VerifyError},
    refresh::{
        flight::PendingFetch,
        refresher::Refresher,
        source::{Fetched, RefreshState, Source},
    },
    telemetry::{called::Called, events},
    transport::{
        calls::{Call, CallRecorder, LastCall},
        common::{CommonSettings, Location},
        discovery::discover::Discovery,
        http_transport::HttpTransport,
        response::{bad, in_context, unavailable_error},
    },
};

/// How long keys are fresh if the server sends no `max-age`.
const FRESH_FOR: Duration = Duration::from_secs(10 * 60);

/// The bounds of the freshness that the server sends.
const SHORTEST_FRESHNESS: Duration = Duration::from_secs(60);
const LONGEST_FRESHNESS: Duration = Duration::from_secs(24 * 60 * 60);

/// The interval in which tokens of unknown keys cause at most one fetch.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(30);

/// How long a `kid` that a fetch did not find causes no further fetch.
const UNKNOWN_KEY_MEMORY: Duration = Duration::from_secs(60);

/// The maximum number of such `kid`s that are kept.
const UNKNOWN_KEYS: usize = 1024;

/// The timeout of one fetch, including discovery.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The maximum size of a JWK Set, in bytes.
const LIMIT: usize = 512 * 1024;

/// The key set of one issuer, fetched when first needed and kept up to date from then on.
///
/// Clones share the keys.
#[derive(Clone)]
pub(crate) struct RemoteKeys(Arc<Shared>);

struct Shared {
    published: Refresher<JwksUri>,
    unknown: Mutex<UnknownKeys>,
    calls: CallRecorder,
    discovery: Option<Discovery>,
    clock: Arc<dyn Clock>,
}

impl RemoteKeys {
    pub(crate) fn new(
        common: &CommonSettings,
        location: Location,
        transport: HttpTransport,
    ) -> Self {
        let (clock, calls) = (Arc::clone(&common.clock), common.calls(Called::Jwks));
        let discovery = location.discovery().cloned();
        let issuer = common.issuer.as_str().into();
        let source = JwksUri { issuer, location, transport, calls: calls.clone() };
        Self(Arc::new(Shared {
            published: Refresher::renewing_ahead(source, Arc::clone(&clock)),
            unknown: Mutex::default(),
            calls,
            discovery,
            clock,
        }))
    }
}

impl FetchKeys for RemoteKeys {
    fn snapshot(&self) -> Option<Arc<KeySet>> {
        self.0.published.current().map(|published| Arc::clone(&published.keys))
    }

    fn begin(&self) {
        self.0.published.start_fetching();
    }

    fn load(&self) -> Fetching {
        let shared = Arc::clone(&self.0);
        // Starts the fetch even if the caller never polls the future: an interceptor can't wait.
        self.begin();
        Box::pin(async move { shared.published.get().await?.usable() })
    }

    fn refresh_for(&self, kid: &str) -> Option<Fetching> {
        let now = |outcome| Some(Box::pin(future::ready(outcome)) as Fetching);
        // A fetch may have brought the key since the caller took its snapshot.
        if let Some(keys) = self.snapshot().filter(|keys| keys.has_kid(kid)) {
            return now(Ok(keys));
        }
        if self.0.unknown(|unknown, now| unknown.contains(kid, now)) {
            return None;
        }
        let pending = match self.0.published.renew(UNKNOWN_KEY_INTERVAL) {
            Ok(Some(pending)) => pending,
            Ok(None) => return now(Err(self.0.published.current()?.usable().err()?)),
            Err(error) => return now(Err(error)),
        };
        Some(Box::pin(Arc::clone(&self.0).wait_for(kid.to_owned(), pending)))
    }

    fn standing(&self) -> KeysStanding {
        self.0.standing()
    }
}

impl Shared {
    fn standing(&self) -> KeysStanding {
        let RefreshState { value, fetched_at, failing } = self.published.state();
        let useless = value.as_ref().and_then(|(published, at)| {
            let error = published.usable().err()?;
            Some((error.kind(), *at))
        });
        KeysStanding {
            ready: value.is_some() && useless.is_none(),
            failing: failing.or(useless),
            fetched_at,
            unknown: self.unknown(UnknownKeys::count),
            last: LastCall::later(
                self.calls.last_call(),
                self.discovery.as_ref().and_then(Discovery::last_call),
            ),
        }
    }

    async fn wait_for(
        self: Arc<Self>,
        kid: String,
        mut pending: PendingFetch<Published>,
    ) -> Result<Arc<KeySet>, VerifyError> {
        loop {
            let on_demand = pending.is_on_demand();
            let keys = pending.outcome().await?.usable()?;
            if keys.has_kid(&kid) {
                return Ok(keys);
            }
            if on_demand {
                if !kid.is_empty() {
                    self.unknown(|unknown, now| unknown.remember(&kid, now));
                }
                return Ok(keys);
            }
            // This fetch was already under way: it may have started before the key was published.
            match self.published.renew(UNKNOWN_KEY_INTERVAL)? {
                Some(next) => pending = next,
                None => return Ok(keys),
            }
        }
    }

    fn unknown<T>(&self, f: impl FnOnce(&mut UnknownKeys, Moment) -> T) -> T {
        let now = Moment::now(&*self.clock);
        f(&mut self.unknown.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

/// The latest `kid`s that the issuer does not publish, each kept for a limited time.
#[derive(Default)]
struct UnknownKeys {
    /// Randomly keyed, so that an attacker can't choose a `kid` that collides with another one.
    hasher: RandomState,
    names: VecDeque<(u64, Moment)>,
}

impl UnknownKeys {
    fn remember(&mut self, kid: &str, now: Moment) {
        if self.contains(kid, now) {
            return;
        }
        if self.names.len() >= UNKNOWN_KEYS {
            self.names.pop_front();
        }
        self.names.push_back((self.hasher.hash_one(kid), now));
    }

    /// Returns the number of names, after dropping those that are too old.
    fn count(&mut self, now: Moment) -> usize {
        let old = |(_, at): &(u64, Moment)| now.since(*at) >= UNKNOWN_KEY_MEMORY;
        while self.names.front().is_some_and(old) {
            self.names.pop_front();
        }
        self.names.len()
    }

    fn contains(&mut self, kid: &str, now: Moment) -> bool {
        self.count(now);
        let name = self.hasher.hash_one(kid);
        self.names.iter().any(|(other, _)| *other == name)
    }
}

/// A key set that was fetched.
struct Published {
    keys: Arc<KeySet>,
    from: Uri,
    etag: Option<HeaderValue>,
}

impl Published {
    /// Returns the keys.
    ///
    /// An empty set is an error of the issuer, so that it is not blamed on the client.
    fn usable(&self) -> Result<Arc<KeySet>, VerifyError> {
        if self.keys.is_empty() {
            return Err(bad("there is no usable key among those published"));
        }
        Ok(Arc::clone(&self.keys))
    }
}

struct JwksUri {
    issuer: Arc<str>,
    location: Location,
    transport: HttpTransport,
    calls: CallRecorder,
}

impl Source for JwksUri {
    type Value = Published;

    fn successor(value: Arc<Published>, before: &Published) -> Arc<Published> {
        if std::ptr::eq(&*value, before) {
            return value;
        }
        let keys = Arc::new(value.keys.following(&before.keys));
        Arc::new(Published { keys, from: value.from.clone(), etag: value.etag.clone() })
    }

    async fn fetch(&self, last: Option<Arc<Published>>) -> Result<Fetched<Published>, VerifyError> {
        let mut call = None;
        let outcome = tokio::time::timeout(TIMEOUT, self.fetch_within_time(last, &mut call)).await;
        let outcome = outcome.unwrap_or_else(|elapsed| {
            Err(VerifyError::new(ErrorKind::Unavailable).with_source(elapsed))
        });
        if let Some(call) = call {
            call.end(&outcome);
        }
        match outcome {
            Ok(fetched) => {
                events::keys_fetched(&self.issuer, fetched.value.keys.len());
                Ok(fetched)
            }
            Err(error) => {
                let error = in_context(error, format!("keys of {}", self.issuer));
                events::keys_not_fetched(&self.issuer, &error);
                Err(error)
            }
        }
    }
}

impl JwksUri {
    async fn fetch_within_time(
        &self,
        last: Option<Arc<Published>>,
        call: &mut Option<Call>,
    ) -> Result<Fetched<Published>, VerifyError> {
        let url = match &self.location {
            Location::Discovered(discovery) => {
                discovery.metadata().await?.require_jwks_uri()?.uri().clone()
            }
            Location::Fixed(endpoint) => endpoint.uri().clone(),
        };
        let last = last.filter(|last| last.from == url && last.etag.is_some());
        let etag = last.as_ref().and_then(|last| last.etag.clone());
        *call = Some(self.calls.start());
        let response = self.transport.send(request(url.clone(), etag), TIMEOUT, LIMIT).await?;
        if let Some(error) = unavailable_error(&response, self.calls.clock().now()) {
            return Err(error);
        }
        let read = read(url, &response, last);
        if let (Err(_), Some(discovery)) = (&read, self.location.discovery()) {
            // The `jwks_uri` in the metadata may have changed.
            discovery.renew_after_failure();
        }
        Ok(Fetched { value: read?, fresh_for: fresh_for(response.headers()) })
    }
}

fn request(url: Uri, etag: Option<HeaderValue>) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url;
    let accept = HeaderValue::from_static("application/jwk-set+json, application/json");
    request.headers_mut().insert(header::ACCEPT, accept);
    if let Some(etag) = etag {
        request.headers_mut().insert(header::IF_NONE_MATCH, etag);
    }
    request
}

/// Reads the key set from a response. A 304 stands for `last`.
///
/// The `Content-Type` is not checked: servers send key sets as `application/jwk-set+json`,
/// `application/json`, and under wrong types.
fn read(
    from: Uri,
    response: &Response<Bytes>,
    last: Option<Arc<Published>>,
) -> Result<Arc<Published>, VerifyError> {
    match (response.status(), last) {
        (StatusCode::OK, _) => {
            let keys = KeySet::from_jwks(response.body())
                .map_err(|error| bad("no JWK Set").with_source(error))?;
            let etag = response.headers().get(header::ETAG).cloned();
            Ok(Arc::new(Published { keys: Arc::new(keys), from, etag }))
        }
        (StatusCode::NOT_MODIFIED, Some(last)) => Ok(last),
        (status, _) => Err(bad(format!("it answered {}", status.as_u16()))),
    }
}

/// Returns the freshness: `max-age` less `Age` (RFC 9111 §4.2), within bounds.
fn fresh_for(headers: &HeaderMap) -> Duration {
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
    let age = headers.get(header::AGE).and_then(|age| delta_seconds(age.to_str().ok()?));
    max_age.map_or(FRESH_FOR, |max_age| {
        Duration::from_secs(max_age.saturating_sub(age.unwrap_or(0)))
            .clamp(SHORTEST_FRESHNESS, LONGEST_FRESHNESS)
    })
}

/// Parses a number of seconds. One that overflows counts as `u64::MAX` (RFC 9111 §1.2.2).
fn delta_seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::tests::FixedClock, transport::endpoint::Endpoint};

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

    #[tokio::test(start_paused = true)]
    async fn key_found_in_a_newer_set_causes_no_fetch() {
        let transport = HttpTransport::new(tower::service_fn(async |_: Request<Bytes>| {
            let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a",
                "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
            Ok::<_, std::convert::Infallible>(Response::new(Bytes::from_static(keys.as_bytes())))
        }));
        let location = Location::Fixed(Endpoint::parse("https://as.example.com/", false).unwrap());
        let common =
            CommonSettings { clock: Arc::new(FixedClock(0)), ..CommonSettings::new("as".into()) };
        let keys = RemoteKeys::new(&common, location, transport);
        let loaded = keys.load().await.unwrap();
        let found = keys.refresh_for("a").unwrap().await.unwrap();
        assert!(Arc::ptr_eq(&loaded, &found));
        // The one fetch on demand has not been used yet.
        let found = keys.refresh_for("b").unwrap().await.unwrap();
        assert!(!Arc::ptr_eq(&loaded, &found));
        assert!(keys.refresh_for("b").is_none() && keys.refresh_for("c").is_none());
        assert!(keys.refresh_for("a").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_kids_are_forgotten_by_time_and_number() {
        let now = || Moment::now(&FixedClock(0));
        let mut unknown = UnknownKeys::default();
        for kid in 0..UNKNOWN_KEYS {
            unknown.remember(&kid.to_string(), now());
        }
        assert!(unknown.contains("0", now()) && !unknown.contains("x", now()));
        unknown.remember("x", now());
        assert!(!unknown.contains("0", now()) && unknown.contains("1", now()));
        assert_eq!(unknown.names.len(), UNKNOWN_KEYS);
        tokio::time::advance(UNKNOWN_KEY_MEMORY).await;
        assert!(!unknown.contains("x", now()));
        assert!(unknown.names.is_empty());
    }
}

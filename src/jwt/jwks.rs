//! The keys that an issuer publishes.

use std::{
    borrow::Cow,
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
    refresh::{Fetched, Refresher, Source, Standing, flight::Flight},
    telemetry,
    transport::{
        HttpTransport, answer,
        discovery::Discovery,
        endpoint::Endpoint,
        upstream::{Call, LastCall, Upstream},
    },
};

/// Keys are fresh for this long if the server does not say.
const FRESH_FOR: Duration = Duration::from_secs(10 * 60);

/// The bounds to what the server says.
const SHORTEST_FRESHNESS: Duration = Duration::from_secs(60);
const LONGEST_FRESHNESS: Duration = Duration::from_secs(24 * 60 * 60);

/// Tokens of unknown keys cause at most one fetch in this time.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(30);

/// A key that was fetched for in vain is not fetched for again for this long.
const UNKNOWN_KEY_MEMORY: Duration = Duration::from_secs(60);

/// The most keys to remember so.
const UNKNOWN_KEYS: usize = 1024;

/// The time for one fetch, discovery included.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The most bytes of a JWK Set.
const LIMIT: usize = 512 * 1024;

/// Where the keys are.
pub(crate) enum Location {
    /// At the `jwks_uri` of the issuer's metadata.
    Discovered(Discovery),
    Fixed(Endpoint),
}

/// The keys that one issuer publishes, fetched when they are first needed and kept up to date
/// from then on. Clones share them.
#[derive(Clone)]
pub(crate) struct RemoteKeys(Arc<Shared>);

struct Shared {
    published: Refresher<JwksUri>,
    unknown: Mutex<UnknownKeys>,
    upstream: Upstream,
    discovery: Option<Discovery>,
    clock: Arc<dyn Clock>,
}

impl RemoteKeys {
    pub(crate) fn new(
        issuer: Arc<str>,
        location: Location,
        transport: HttpTransport,
        upstream: Upstream,
    ) -> Self {
        let clock = Arc::clone(upstream.clock());
        let discovery = match &location {
            Location::Discovered(discovery) => Some(discovery.clone()),
            Location::Fixed(_) => None,
        };
        let source = JwksUri { issuer, location, transport, upstream: upstream.clone() };
        Self(Arc::new(Shared {
            published: Refresher::ahead(source, Arc::clone(&clock)),
            unknown: Mutex::default(),
            upstream,
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
        self.0.published.begin();
    }

    fn load(&self) -> Fetching {
        let shared = Arc::clone(&self.0);
        // Under way even if nobody can wait for it, as an interceptor can't.
        self.begin();
        Box::pin(async move { shared.published.get().await?.usable() })
    }

    fn refresh_for(&self, kid: &str) -> Option<Fetching> {
        let now = |outcome| Some(Box::pin(future::ready(outcome)) as Fetching);
        // It may have come since the caller looked.
        if let Some(keys) = self.snapshot().filter(|keys| keys.has_kid(kid)) {
            return now(Ok(keys));
        }
        if self.0.unknown(|unknown, now| unknown.contains(kid, now)) {
            return None;
        }
        let flight = match self.0.published.renew(UNKNOWN_KEY_INTERVAL) {
            Ok(Some(flight)) => flight,
            Ok(None) => return now(Err(self.0.published.current()?.usable().err()?)),
            Err(error) => return now(Err(error)),
        };
        Some(Box::pin(Arc::clone(&self.0).wait_for(kid.to_owned(), flight)))
    }

    fn standing(&self) -> KeysStanding {
        self.0.standing()
    }
}

impl Shared {
    fn standing(&self) -> KeysStanding {
        let Standing { value, fetched_at, failing } = self.published.standing();
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
                self.upstream.last(),
                self.discovery.as_ref().and_then(Discovery::last),
            ),
        }
    }

    async fn wait_for(
        self: Arc<Self>,
        kid: String,
        mut flight: Flight<Published>,
    ) -> Result<Arc<KeySet>, VerifyError> {
        loop {
            let on_demand = flight.is_on_demand();
            let keys = flight.landing().await?.usable()?;
            if keys.has_kid(&kid) {
                return Ok(keys);
            }
            if on_demand {
                if !kid.is_empty() {
                    self.unknown(|unknown, now| unknown.remember(&kid, now));
                }
                return Ok(keys);
            }
            // A fetch that was under way may have started before the key was published.
            match self.published.renew(UNKNOWN_KEY_INTERVAL)? {
                Some(next) => flight = next,
                None => return Ok(keys),
            }
        }
    }

    fn unknown<T>(&self, f: impl FnOnce(&mut UnknownKeys, Moment) -> T) -> T {
        let now = Moment::now(&*self.clock);
        f(&mut self.unknown.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

/// Names of keys that the issuer does not have: the latest ones, each for a limited time.
#[derive(Default)]
struct UnknownKeys {
    /// Keyed by chance, so that nobody can make up a name that stands for another.
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

    /// How many there are.
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

/// What was fetched.
struct Published {
    keys: Arc<KeySet>,
    from: Uri,
    etag: Option<HeaderValue>,
}

impl Published {
    /// The keys. That there are none at all is no client's fault.
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
    upstream: Upstream,
}

impl Source for JwksUri {
    type Value = Published;

    fn follow(value: Arc<Published>, before: &Published) -> Arc<Published> {
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
                telemetry::keys_fetched(&self.issuer, fetched.value.keys.len());
                Ok(fetched)
            }
            Err(error) => {
                let error = self.in_context(error);
                telemetry::keys_not_fetched(&self.issuer, &error);
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
        *call = Some(self.upstream.call());
        let response = self.transport.send(request(url.clone(), etag), TIMEOUT, LIMIT).await?;
        if let Some(error) = answer::trouble(&response, self.upstream.clock().now()) {
            return Err(error);
        }
        let read = read(url, &response, last);
        if let (Err(_), Location::Discovered(discovery)) = (&read, &self.location) {
            // The keys may have moved.
            discovery.doubt();
        }
        Ok(Fetched { value: read?, fresh_for: fresh_for(response.headers()) })
    }

    fn in_context(&self, error: VerifyError) -> VerifyError {
        let context = match error.context() {
            Some(context) => format!("keys of {}: {context}", self.issuer),
            None => format!("keys of {}", self.issuer),
        };
        error.with_context(context)
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

/// `last` is what may be answered with 304. The type of the content does not matter: servers
/// send the keys as `application/jwk-set+json`, `application/json`, and worse.
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

/// `max-age` less `Age` (RFC 9111 §4.2), within bounds.
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

/// A number of seconds; one too large to hold counts as very large (RFC 9111 §1.2.2).
fn delta_seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn bad(context: impl Into<Cow<'static, str>>) -> VerifyError {
    VerifyError::new(ErrorKind::BadResponse).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::SystemClock, telemetry::Called};

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

    #[tokio::test]
    async fn a_key_that_came_in_the_meantime_is_not_fetched_for() {
        let transport = HttpTransport::new(tower::service_fn(async |_: Request<Bytes>| {
            let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a",
                "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
            Ok::<_, std::convert::Infallible>(Response::new(Bytes::from_static(keys.as_bytes())))
        }));
        let location = Location::Fixed(Endpoint::parse("https://as.example.com/", false).unwrap());
        let upstream = Upstream::new("as".into(), Called::Jwks, Arc::new(SystemClock));
        let keys = RemoteKeys::new("as".into(), location, transport, upstream);
        let loaded = keys.load().await.unwrap();
        let found = keys.refresh_for("a").unwrap().await.unwrap();
        assert!(Arc::ptr_eq(&loaded, &found));
        // The one fetch on demand is still to be had.
        let found = keys.refresh_for("b").unwrap().await.unwrap();
        assert!(!Arc::ptr_eq(&loaded, &found));
        assert!(keys.refresh_for("b").is_none() && keys.refresh_for("c").is_none());
        assert!(keys.refresh_for("a").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_keys_are_forgotten_by_time_and_number() {
        let now = || Moment::now(&SystemClock);
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

//! The key set of an issuer: when it is fetched, and who waits for the fetch.

use std::{
    future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    jwks::{FetchedKeys, JwksSource},
    keys::KeySet,
    source::{FetchKeys, Fetching, KeysState},
    unknown_keys::UnknownKeys,
};
use crate::{
    clock::{Clock, Moment},
    error::refusal::VerifyError,
    refresh::{flight::PendingFetch, refresher::Refresher, source::RefreshState},
    telemetry::endpoint_kind::EndpointKind,
    transport::{
        calls::{CallRecorder, LastCall},
        common::{CommonSettings, Location},
        discovery::discover::Discovery,
        http_transport::HttpTransport,
    },
};

/// The interval in which tokens of unknown keys cause at most one fetch.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(30);

/// The key set of one issuer, fetched when first needed and kept up to date from then on.
///
/// Clones share the keys.
#[derive(Clone)]
pub(crate) struct RemoteKeys(Arc<SharedKeys>);

struct SharedKeys {
    published: Refresher<JwksSource>,
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
        let (clock, calls) = (Arc::clone(&common.clock), common.calls(EndpointKind::Jwks));
        let discovery = location.discovery().cloned();
        let issuer = common.issuer.as_str().into();
        let source = JwksSource { issuer, location, transport, calls: calls.clone() };
        Self(Arc::new(SharedKeys {
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

    fn start_fetching(&self) {
        self.0.published.start_fetching();
    }

    fn load(&self) -> Fetching {
        let shared = Arc::clone(&self.0);
        // Starts the fetch even if the caller never polls the future: an interceptor can't wait.
        self.start_fetching();
        Box::pin(async move { shared.published.get().await?.non_empty_keys() })
    }

    fn refresh_for(&self, kid: &str) -> Option<Fetching> {
        let ready = |outcome| Some(Box::pin(future::ready(outcome)) as Fetching);
        // A fetch may have brought the key since the caller took its snapshot.
        if let Some(keys) = self.snapshot().filter(|keys| keys.has_kid(kid)) {
            return ready(Ok(keys));
        }
        if self.0.with_unknown(|unknown, now| unknown.contains(kid, now)) {
            return None;
        }
        let pending = match self.0.published.renew(UNKNOWN_KEY_INTERVAL) {
            Ok(Some(pending)) => pending,
            Ok(None) => return ready(Err(self.0.published.current()?.non_empty_keys().err()?)),
            Err(error) => return ready(Err(error)),
        };
        Some(Box::pin(Arc::clone(&self.0).wait_for(kid.to_owned(), pending)))
    }

    fn state(&self) -> KeysState {
        self.0.state()
    }
}

impl SharedKeys {
    fn state(&self) -> KeysState {
        let RefreshState { value, fetched_at, failing } = self.published.state();
        let empty_set = value.as_ref().and_then(|(published, at)| {
            let error = published.non_empty_keys().err()?;
            Some((error.kind(), *at))
        });
        KeysState {
            ready: value.is_some() && empty_set.is_none(),
            failing: failing.or(empty_set),
            fetched_at,
            unknown: self.with_unknown(UnknownKeys::count),
            last_call: LastCall::later(
                self.calls.last_call(),
                self.discovery.as_ref().and_then(Discovery::last_call),
            ),
        }
    }

    async fn wait_for(
        self: Arc<Self>,
        kid: String,
        mut pending: PendingFetch<FetchedKeys>,
    ) -> Result<Arc<KeySet>, VerifyError> {
        loop {
            let on_demand = pending.is_on_demand();
            let keys = pending.outcome().await?.non_empty_keys()?;
            if keys.has_kid(&kid) {
                return Ok(keys);
            }
            if on_demand {
                if !kid.is_empty() {
                    self.with_unknown(|unknown, now| unknown.add(&kid, now));
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

    fn with_unknown<T>(&self, f: impl FnOnce(&mut UnknownKeys, Moment) -> T) -> T {
        let now = Moment::now(&*self.clock);
        f(&mut self.unknown.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Request, Response};

    use super::*;
    use crate::{clock::tests::FixedClock, transport::endpoint::Endpoint};

    #[tokio::test(start_paused = true)]
    async fn a_key_that_came_in_the_meantime_is_not_fetched_for() {
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
}

//! The key set of an issuer: when it is fetched, and which requests wait for the fetch.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    jwks::{FetchedKeys, JwksSource},
    keys::KeySet,
    unknown_keys::UnknownKeys,
};
use crate::{
    clock::{Clock, Moment, UnixTime},
    error::{kind::ErrorKind, refusal::VerifyError},
    refresh::{
        asker::Asker,
        on_demand::{Demand, Newer, NotServed, Waiting},
        refresher::Refresher,
        source::{RefreshState, Source as _},
    },
    telemetry::endpoint_kind::EndpointKind,
    transport::{
        calls::{CallRecorder, LastCall},
        common::{CommonSettings, Location},
        discovery::discover::Discovery,
        http_transport::HttpTransport,
    },
    verify::readiness::Readiness,
};

/// The difference between the clocks of the issuer and of this service that is tolerated. It is the
/// default leeway of a [`Policy`](crate::Policy).
const LEEWAY: Duration = Duration::from_secs(30);

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

/// The keys that may be used now.
#[derive(Clone)]
pub(crate) struct Snapshot(Arc<FetchedKeys>);

impl Snapshot {
    pub(crate) fn keys(&self) -> &KeySet {
        &self.0.keys
    }
}

/// The need of a token that no known key verifies.
pub(crate) struct MissingKey<'a> {
    pub(crate) kid: Option<&'a str>,
    /// The time when the token was issued, as it says itself.
    pub(crate) issued_at: Option<UnixTime>,
    pub(crate) asker: Asker,
    /// The time of the request.
    pub(crate) asked: Moment,
}

/// The outlook for a token that no known key verifies.
pub(crate) enum Outlook {
    /// There are newer keys already.
    Changed,
    /// The issuer has no key for the token.
    Hopeless,
    /// A newer key set may have one.
    Wait(KeyWait),
    /// It is not known yet, which is not the client's fault.
    Late(VerifyError),
}

impl RemoteKeys {
    pub(crate) fn new(
        common: &CommonSettings,
        location: Location,
        transport: HttpTransport,
        max_keys: usize,
    ) -> Self {
        let (clock, calls) = (Arc::clone(&common.clock), common.calls(EndpointKind::Jwks));
        let discovery = location.discovery().cloned();
        let turns = match &location {
            Location::Fixed(endpoint) => common.turns.at(endpoint.uri()),
            // Its metadata names the URL of the keys, which is hardly ever at another server.
            Location::Discovered(_) => common.turns.at(&common.issuer.parse().unwrap_or_default()),
        };
        let issuer = common.issuer.as_str().into();
        let source = JwksSource { issuer, location, transport, calls: calls.clone(), max_keys };
        Self(Arc::new(SharedKeys {
            published: Refresher::renewing_ahead(source, Arc::clone(&clock), turns),
            unknown: Mutex::default(),
            calls,
            discovery,
            clock,
        }))
    }

    /// Returns the keys that may be used now, without waiting.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        self.0.published.current().map(Snapshot)
    }

    /// Fetches the keys if there are none, and keeps them up to date from now on.
    ///
    /// An error means that there are no keys to verify a token with, which is not the client's
    /// fault.
    ///
    /// # Cancellation
    ///
    /// The fetch continues.
    pub(crate) async fn load(&self) -> Result<(), VerifyError> {
        self.0.published.note_use();
        self.0.published.get().await?.non_empty_keys().map(drop)
    }

    /// Starts to fetch the keys if there are none, without waiting.
    pub(crate) fn start_fetching(&self) {
        self.0.published.note_use();
        self.0.published.start_fetching();
    }

    /// Notes that a key verified a token of this asker.
    pub(crate) fn note_verified(&self, asker: Asker) {
        self.0.published.note_admitted(asker);
    }

    /// Returns what can be done for a token that no key of `snapshot` verifies. May start a fetch.
    pub(crate) fn look_for(&self, missing: &MissingKey<'_>, snapshot: Option<Snapshot>) -> Outlook {
        let MissingKey { kid, issued_at, asker, asked } = *missing;
        let seen = snapshot.map(|Snapshot(seen)| seen);
        let known_kid = |kid: &str| seen.as_ref().is_some_and(|seen| seen.keys.has_kid(kid));
        let unknown_kid = kid.filter(|kid| !known_kid(kid));
        let (lookup, first_asked) = match unknown_kid {
            Some(kid) => {
                let mut unknown = self.0.unknown();
                let lookup = unknown.hash(kid);
                (Some(lookup), Some(unknown.first_asked(lookup, asked)))
            }
            None => (None, None),
        };
        let state = self.0.published.state();
        if let (Some((published, began)), Some(seen)) = (&state.value, &seen)
            && Arc::ptr_eq(published, seen)
            && !published.keys.is_empty()
            && is_older(issued_at, *began, published.age)
            // For a `kid`, a fetch that began after the first lookup of it has decided.
            && first_asked.is_none_or(|first| !began.is_before(first))
        {
            return Outlook::Hopeless;
        }
        let demand = Demand { asker, lookup, asked, seen };
        match self.0.published.demand(demand) {
            Ok(None) => Outlook::Changed,
            Ok(Some(waiting)) => {
                let shared = Arc::clone(&self.0);
                Outlook::Wait(KeyWait { shared, waiting, lookup, issued_at, asker, asked })
            }
            Err(error) => Outlook::Late(self.0.not_served(error)),
        }
    }

    /// Returns the current time.
    pub(crate) fn now(&self) -> Moment {
        Moment::now(&*self.0.clock)
    }

    /// Returns the readiness of `issuer` with these keys. Fetches nothing.
    pub(crate) fn readiness(&self, issuer: Arc<str>) -> Readiness {
        let RefreshState { value, fetched_at, failing } = self.0.published.state();
        let empty_set = value.as_ref().and_then(|(published, at)| {
            let error = published.non_empty_keys().err()?;
            Some((error.kind(), *at))
        });
        let ready = value.is_some() && empty_set.is_none();
        let unknown = self.0.unknown().count(self.now());
        let last_call = LastCall::later(
            self.0.calls.last_call(),
            self.0.discovery.as_ref().and_then(Discovery::last_call),
        );
        Readiness::new(issuer, ready, failing.or(empty_set))
            .with_keys(fetched_at, unknown)
            .with_last_call(last_call)
    }
}

impl SharedKeys {
    fn unknown(&self) -> std::sync::MutexGuard<'_, UnknownKeys> {
        // The table is consistent at every point that could panic.
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_served(&self, reason: NotServed) -> VerifyError {
        match reason {
            NotServed::Failed(error) => error,
            NotServed::Late(left) => {
                // An issuer that publishes no usable key is at fault, not the token.
                let published = self.published.state().value;
                let empty = published.and_then(|(published, _)| published.non_empty_keys().err());
                empty.unwrap_or_else(|| ErrorKind::KeyPending.into()).with_retry_after(left)
            }
        }
    }
}

/// A token that waits for a newer key set.
pub(crate) struct KeyWait {
    shared: Arc<SharedKeys>,
    waiting: Waiting<JwksSource>,
    /// The hash of the `kid`, unless a known key has it.
    lookup: Option<u64>,
    issued_at: Option<UnixTime>,
    asker: Asker,
    asked: Moment,
}

/// A newer key set.
pub(crate) struct NewerKeys {
    pub(crate) keys: Arc<KeySet>,
    /// The token was issued and presented before the issuer published these keys. So if none of
    /// them verifies it, none will.
    pub(crate) decide: bool,
}

impl KeyWait {
    /// Waits for the next key set.
    ///
    /// # Cancellation
    ///
    /// A fetch under way continues.
    pub(crate) async fn next(&mut self) -> Result<NewerKeys, VerifyError> {
        let newer = self.waiting.next().await;
        let Newer { value, began } = newer.map_err(|reason| self.shared.not_served(reason))?;
        let age = JwksSource::age(&value);
        // The age is that of the key set at the time of the fetch (RFC 9111 §4.2.3).
        let after_lookup = !began.is_before(self.asked);
        let decide = after_lookup
            && (began.monotonic_since(self.asked) >= age || is_older(self.issued_at, began, age));
        Ok(NewerKeys { keys: value.non_empty_keys()?, decide })
    }

    /// Notes that the last key set has verified the token.
    pub(crate) fn note_verified(&self) {
        if let Some(lookup) = self.lookup {
            self.shared.unknown().remove(lookup);
        }
        self.waiting.note_admitted(self.asker);
    }
}

/// Returns true if the issuer issued a token before it published a key set of this age, fetched at
/// `began`. A token that does not say when may be younger.
fn is_older(issued_at: Option<UnixTime>, began: Moment, age: Duration) -> bool {
    let published = began.wall().saturating_sub(age).saturating_sub(LEEWAY);
    issued_at.is_some_and(|issued_at| issued_at <= published)
}

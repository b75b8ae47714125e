//! The open leases of a service.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    driver,
    end::EndCause,
    lease::Lease,
    registry::{Registry, Settings},
    schedule::Schedule,
    settings::StreamSettings,
    state::LeaseTerms,
};
use crate::{
    clock::{Clock, SystemClock},
    credentials::token::Token,
    error::refusal::VerifyError,
    policy::{settings::Policy, verified_token::VerifiedToken},
    revocation::revocations::Revocations,
    verify::{boxed::BoxVerifier, peer::PeerKey, verifier::Verifier},
};

/// The default maximum number of open leases.
pub(crate) const DEFAULT_CAPACITY: usize = 100_000;

/// The default time between two verifications of a token, that of the cache.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(30);

/// The open leases of a service, and the task that watches over them.
///
/// A [`ResourceServer`](crate::ResourceServer) has one for all its layers. There is one timer and one
/// verification for each token, however many streams it has. The task runs while a lease is open, on the
/// runtime on which the first one was opened: with it all streams end, and while its threads are blocked
/// none does.
///
/// # Clone
///
/// Clones share the leases.
///
/// ```
/// use std::time::Duration;
/// use tower_introspect::{ErrorKind, stream::Leases, verify::verify_fn};
///
/// let closed = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
/// let leases = Leases::new(closed).max_age(Duration::from_secs(10));
/// assert_eq!(leases.open(), 0);
/// ```
#[derive(Clone)]
pub struct Leases(Arc<Registry>);

impl Leases {
    /// Creates leases whose tokens this verifier verifies again: that of the layers around the
    /// streams.
    #[must_use]
    pub fn new<V>(verifier: V) -> Self
    where
        V: Verifier + Send + Sync + 'static,
        V::Future: Send + 'static,
    {
        Self::of(Settings {
            verifier: BoxVerifier::new(verifier),
            revocations: Revocations::new(),
            clock: Arc::new(SystemClock),
            schedule: Schedule { max_age: DEFAULT_MAX_AGE, stale_if_error: Duration::ZERO },
            capacity: DEFAULT_CAPACITY,
        })
    }

    fn of(settings: Settings) -> Self {
        Self(Arc::new(Registry::new(settings)))
    }

    fn with(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.0.settings().clone();
        change(&mut settings);
        Self::of(settings)
    }

    /// Sets the maximum age of the facts about the token of a stream. 30 s by default, and 1 s at
    /// least. Forgets all leases.
    ///
    /// A stream whose token is revoked at *t* ends no later than *t* + `max_age` + the time of one
    /// verification.
    #[must_use]
    pub fn max_age(self, age: Duration) -> Self {
        self.with(|settings| settings.schedule.max_age = age)
    }

    /// Sets how much longer streams go on while the authorization server is unavailable. Forgets all
    /// leases.
    ///
    /// # Security
    ///
    /// During an outage, a revocation ends streams this much later.
    #[must_use]
    pub fn stale_if_error(self, more: Duration) -> Self {
        self.with(|settings| settings.schedule.stale_if_error = more)
    }

    /// Sets the maximum number of open leases. 100 000 by default. Forgets all leases.
    ///
    /// One subject can take a fifth of them, and one issuer eight ninths. A request beyond that is
    /// refused with 503 ([`TooManyStreams`](crate::ErrorKind::TooManyStreams)).
    #[must_use]
    pub fn capacity(self, leases: usize) -> Self {
        self.with(|settings| settings.capacity = leases)
    }

    /// Ends streams at once by these cutoffs. Forgets all leases.
    ///
    /// The verifier must check its outcomes against the same ones
    /// ([`RevocationLayer`](crate::revocation::RevocationLayer)).
    #[must_use]
    pub fn revocations(self, revocations: Revocations) -> Self {
        self.with(|settings| settings.revocations = revocations)
    }

    /// Sets the clock. Forgets all leases.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        self.with(|settings| settings.clock = Arc::new(clock))
    }

    /// Returns the number of open leases.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open_leases()
    }

    /// Verifies a token again at once, if it has open streams.
    pub fn recheck(&self, token: &Token) {
        self.0.recheck(token);
    }

    /// Refuses further streams, and ends those that are open after `grace`. Returns when none is open.
    ///
    /// Call it before the server stops to accept connections. A graceful shutdown would wait for
    /// streams that do not end.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves the streams that are still open to themselves. Further ones are
    /// refused all the same.
    pub async fn shut_down(&self, grace: Duration) {
        self.0.close();
        let emptied = async {
            loop {
                let emptied = self.0.emptied.notified();
                if self.0.open_leases() == 0 {
                    return;
                }
                emptied.await;
            }
        };
        if tokio::time::timeout(grace, emptied).await.is_ok() {
            return;
        }
        driver::end_all(&self.0, &EndCause::ShutDown);
    }

    /// Returns the opener of the leases of a layer.
    pub(crate) fn lessor(
        &self,
        policy: Arc<Policy>,
        settings: StreamSettings,
        max_token_bytes: usize,
    ) -> Lessor {
        let registrar = Arc::clone(&self.0) as _;
        let start = self.0.now().monotonic();
        let terms = LeaseTerms { registrar, start, policy, settings, max_token_bytes };
        Lessor { registry: Arc::clone(&self.0), terms: Arc::new(terms) }
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").field("open", &self.open()).finish_non_exhaustive()
    }
}

/// The opener of the leases of a layer.
#[derive(Clone)]
pub(crate) struct Lessor {
    registry: Arc<Registry>,
    terms: Arc<LeaseTerms>,
}

impl Lessor {
    /// Opens a lease for a request that was admitted by `verified`.
    ///
    /// # Errors
    ///
    /// [`TooManyStreams`](crate::ErrorKind::TooManyStreams), or
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) outside of a runtime.
    pub(crate) fn open(
        &self,
        token: &Token,
        verified: &VerifiedToken,
        peer: Option<PeerKey>,
    ) -> Result<Lease, VerifyError> {
        let (lease, starts_driver) = self.registry.open(&self.terms, token, verified, peer)?;
        if starts_driver {
            driver::start(&self.registry)?;
        }
        Ok(Lease(lease))
    }
}

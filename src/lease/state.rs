//! The state of a lease.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    end::{EndCause, StreamEnd},
    key::TokenKey,
    settings::StreamSettings,
    waiters::{Waiters, WeakHeld, end_held},
};
use crate::{
    clock::UnixTime,
    credentials::token::Token,
    error::{kind::ErrorKind, refusal::VerifyError},
    policy::{
        recorder::RecordMet,
        settings::Policy,
        verified_token::{Requirement, VerifiedToken},
    },
    telemetry,
    verify::{active::ActiveToken, boxed::BoxVerifier},
};

/// The place that all leases of a service belong to.
pub(super) trait Registrar: Send + Sync {
    /// Returns the verifier of the tokens.
    fn verifier(&self) -> &BoxVerifier;

    /// Returns the facts about the token of a lease, unless it has ended.
    fn active(&self, lease: &LeaseState) -> Option<ActiveToken>;

    /// Moves a lease to another token of the same user. Returns false if it has ended.
    fn replace_token(&self, lease: &Arc<LeaseState>, token: &Token, active: ActiveToken) -> bool;

    /// Removes a lease that ended or was dropped.
    fn leave(&self, lease: &LeaseState);
}

/// The terms that all leases of a layer share.
pub(crate) struct LeaseTerms {
    pub(super) registrar: Arc<dyn Registrar>,
    /// The instant from which the lives of streams are counted.
    pub(super) start: Instant,
    pub(super) policy: Arc<Policy>,
    pub(super) settings: StreamSettings,
    pub(super) max_token_bytes: usize,
}

/// The state of a lease. The last reference that is dropped ends it.
pub(super) struct LeaseState {
    pub(super) terms: Arc<LeaseTerms>,
    admitted_at: UnixTime,
    /// The place among the leases of the token. Changed while the registry is locked.
    pub(super) slot: AtomicU32,
    /// The end of the life of the stream, in seconds since the start of the terms, or `UNLIMITED`. It is
    /// set to `ENDED` after the end is known. So a lease, of which there are many, stays small.
    life: AtomicU32,
    inner: Mutex<Inner>,
}

/// The slot of a lease that is not among those of a token.
pub(super) const NO_SLOT: u32 = u32::MAX;

const UNLIMITED: u32 = u32::MAX;
const ENDED: u32 = 0;

struct Inner {
    /// The token. Changed by a renewal, while the registry is locked.
    key: Arc<TokenKey>,
    /// The requirements that the request met after it was admitted.
    met: Option<Requirement>,
    waiters: Waiters,
}

impl LeaseTerms {
    pub(super) fn leeway(&self) -> Duration {
        self.policy.leeway_of_clocks()
    }

    /// Returns the end of a life that begins now, as a lease keeps it.
    fn life_from(&self, now: Instant, has_expiry: bool) -> u32 {
        let Some(life) = self.settings.max_life_of(has_expiry) else { return UNLIMITED };
        let ends_at = now.saturating_duration_since(self.start).saturating_add(life);
        let ends_at = ends_at.as_secs_f64().ceil();
        // The cast saturates. At the very start nothing has ended.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let ends_at = ends_at as u32;
        ends_at.max(ENDED + 1)
    }
}

impl LeaseState {
    pub(super) fn new(
        terms: Arc<LeaseTerms>,
        token: &VerifiedToken,
        key: Arc<TokenKey>,
        now: Instant,
    ) -> Self {
        let life = terms.life_from(now, token.expires_at().is_some());
        Self {
            admitted_at: token.admitted_at(),
            slot: AtomicU32::new(NO_SLOT),
            life: AtomicU32::new(life),
            inner: Mutex::new(Inner { key, met: None, waiters: Waiters::Nobody }),
            terms,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn life_ends_at(&self) -> Option<Instant> {
        match self.life.load(Ordering::Relaxed) {
            ENDED | UNLIMITED => None,
            seconds => self.terms.start.checked_add(Duration::from_secs(seconds.into())),
        }
    }

    /// Begins another life by default, after a renewal. One that was set counts from the start.
    pub(super) fn renew_life(&self, now: Instant, has_expiry: bool) {
        if self.terms.settings.max_life.is_none() {
            let life = self.terms.life_from(now, has_expiry);
            let renew = |before| (before != ENDED).then_some(life);
            // It fails if the lease has ended.
            let _ = self.life.fetch_update(Ordering::AcqRel, Ordering::Acquire, renew);
        }
    }

    pub(super) fn key(&self) -> Arc<TokenKey> {
        Arc::clone(&self.lock().key)
    }

    pub(super) fn set_key(&self, key: Arc<TokenKey>) {
        self.lock().key = key;
    }

    pub(super) fn verifies_again(&self) -> bool {
        self.terms.settings.verifies_again
    }

    pub(super) fn has_ended(&self) -> bool {
        self.life.load(Ordering::Acquire) == ENDED
    }

    /// Returns the facts about the token, unless the lease has ended.
    pub(super) fn active(&self) -> Option<ActiveToken> {
        self.terms.registrar.active(self)
    }

    /// Returns the end, if the lease has ended.
    pub(super) fn end(&self) -> Option<StreamEnd> {
        if !self.has_ended() {
            return None;
        }
        match &self.lock().waiters {
            Waiters::Ended(end) => Some(end.clone()),
            _ => None,
        }
    }

    /// Returns a notification of the end, or the end.
    pub(super) fn tasks(&self) -> Result<Arc<Notify>, StreamEnd> {
        Ok(Arc::clone(&self.lock().waiters.several()?.tasks))
    }

    /// Drops this value when the lease ends. Returns false if it has ended.
    pub(super) fn hold(&self, held: WeakHeld) -> bool {
        self.lock().waiters.add(held)
    }

    /// Judges facts by everything that the request had to meet. Returns the token as it is now.
    pub(super) fn judge(&self, active: &ActiveToken) -> Result<VerifiedToken, VerifyError> {
        let terms = &self.terms;
        let (scheme, met) = {
            let inner = self.lock();
            (inner.key.scheme, inner.met.clone())
        };
        let token = terms.policy.admit_again(active.clone(), scheme, self.admitted_at)?;
        if let Some(met) = met {
            met.check(&token)?;
        }
        Ok(terms.policy.as_of_now(token))
    }

    /// Ends the lease. Returns the values that are being polled, or wait for the rest of an event.
    pub(super) fn finish(&self, cause: EndCause) -> Vec<WeakHeld> {
        let end = StreamEnd::new(cause, self.terms.settings.close_code);
        let waiters = {
            let waiters = &mut self.lock().waiters;
            if matches!(waiters, Waiters::Ended(_)) {
                return Vec::new();
            }
            let before = std::mem::replace(waiters, Waiters::Ended(end.clone()));
            self.life.store(ENDED, Ordering::Release);
            before
        };
        let unverified = match end.cause() {
            EndCause::Unverified(error) => Some(error),
            _ => None,
        };
        telemetry::report::stream_ended(end.reason(), unverified);
        let held = match waiters {
            Waiters::Ended(_) | Waiters::Nobody => return Vec::new(),
            Waiters::One(held) => vec![held],
            Waiters::Several(several) => {
                several.tasks.notify_waiters();
                several.held
            }
        };
        held.into_iter().filter(|held| !end_held(held, false)).collect()
    }
}

impl RecordMet for LeaseState {
    fn record_met(&self, requirement: &Requirement) -> Result<(), VerifyError> {
        let met = &mut self.lock().met;
        let all = match &*met {
            None => requirement.clone(),
            Some(before) => before.union(requirement).ok_or_else(|| {
                VerifyError::new(ErrorKind::Misconfigured)
                    .with_context("the stream was held to too many different requirements")
            })?,
        };
        *met = Some(all);
        Ok(())
    }
}

impl Drop for LeaseState {
    fn drop(&mut self) {
        self.terms.registrar.leave(self);
    }
}

//! The open leases of a service, by token.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use tokio::{sync::Notify, time::Instant};

use super::{
    end::EndCause,
    key::TokenKey,
    schedule::Schedule,
    shares::Shares,
    state::{LeaseState, LeaseTerms, NO_SLOT, Registrar},
    waiters::WeakHeld,
    watch::{Ending, Ends, Watch},
};
use crate::{
    clock::{Clock, Moment},
    credentials::token::{Fingerprint, Scheme, Token},
    error::{kind::ErrorKind, refusal::VerifyError},
    jose::crypto::backend::sha256,
    policy::verified_token::VerifiedToken,
    revocation::{cutoff::Standing, revocations::Revocations},
    verify::{
        active::ActiveToken, boxed::BoxVerifier, peer::PeerKey, request::VerifyRequest,
        verifier::Outcome,
    },
};

/// The most tokens that are looked at under one lock.
const BATCH: usize = 64;

/// The settings of a registry.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) verifier: BoxVerifier,
    pub(super) revocations: Revocations,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) schedule: Schedule,
    pub(super) capacity: usize,
}

/// The open leases of a service.
///
/// Its lock is taken before that of a lease, never after it. Neither is held while code of the
/// application runs.
pub(super) struct Registry {
    settings: Settings,
    hasher: RandomState,
    state: Mutex<State>,
    /// Wakes the driver.
    pub(super) woken: Notify,
    /// Wakes who waits until no lease is open.
    pub(super) emptied: Notify,
}

struct State {
    watches: HashMap<Fingerprint, Box<Watch>>,
    timers: BTreeSet<(Instant, u64, [u8; 32])>,
    shares: Shares,
    has_driver: bool,
    is_closed: bool,
}

impl Registry {
    pub(super) fn new(settings: Settings) -> Self {
        let state = State {
            watches: HashMap::new(),
            timers: BTreeSet::new(),
            shares: Shares::new(settings.capacity),
            has_driver: false,
            is_closed: false,
        };
        Self {
            settings,
            hasher: RandomState::new(),
            state: Mutex::new(state),
            woken: Notify::new(),
            emptied: Notify::new(),
        }
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn now(&self) -> Moment {
        Moment::now(&*self.settings.clock)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open_leases(&self) -> usize {
        self.lock().shares.open()
    }

    /// Opens a lease for a request that was admitted by `verified`.
    ///
    /// Returns true beside it if a driver must be started.
    pub(super) fn open(
        &self,
        terms: &Arc<LeaseTerms>,
        token: &Token,
        verified: &VerifiedToken,
        peer: Option<PeerKey>,
    ) -> Result<(Arc<LeaseState>, bool), VerifyError> {
        let now = self.now();
        let fingerprint = *token.fingerprint(sha256);
        let mut state = self.lock();
        if state.is_closed {
            return Err(too_many("the service is shutting down"));
        }
        let key = match state.watches.get(&fingerprint) {
            Some(watch) => Arc::clone(&watch.key),
            None => Arc::new(self.key_of(token, verified.active(), verified.scheme(), peer)?),
        };
        if !state.shares.take(key.issuer, key.subject) {
            return Err(too_many("no more streams may be opened by this issuer or subject"));
        }
        let lease = LeaseState::new(Arc::clone(terms), verified, key, now.monotonic());
        let lease = Arc::new(lease);
        self.join(&mut state, &lease, verified.active().clone(), now);
        let starts_driver = !std::mem::replace(&mut state.has_driver, true);
        drop(state);
        self.woken.notify_one();
        Ok((lease, starts_driver))
    }

    fn key_of(
        &self,
        token: &Token,
        active: &ActiveToken,
        scheme: Scheme,
        peer: Option<PeerKey>,
    ) -> Result<TokenKey, VerifyError> {
        let fingerprint = *token.fingerprint(sha256);
        // A copy: the token of a request shares the memory of its head.
        let own = Token::bearer(token.secret_str()).ok_or(ErrorKind::MalformedCredentials)?;
        let claims = active.claims();
        let client = claims.client_id();
        let subject = claims.subject().or(client.as_deref());
        Ok(TokenKey {
            fingerprint,
            token: own.with_fingerprint(fingerprint),
            peer,
            scheme,
            hash: self.hasher.hash_one(fingerprint),
            issuer: self.hasher.hash_one(active.issuer()),
            subject: self.hasher.hash_one((active.issuer(), subject)),
        })
    }

    /// Adds a lease to those of its token.
    fn join(&self, state: &mut State, lease: &Arc<LeaseState>, active: ActiveToken, now: Moment) {
        let key = lease.key();
        let schedule = &self.settings.schedule;
        let State { watches, timers, .. } = state;
        let watch = match watches.entry(key.fingerprint) {
            Entry::Occupied(known) => {
                let watch = known.into_mut();
                timers.remove(&watch.timer());
                watch.learn(active, schedule, now);
                watch
            }
            Entry::Vacant(new) => new.insert(Box::new(Watch::new(key, active, schedule, now))),
        };
        lease.slot.store(watch.add(lease, now), Ordering::Relaxed);
        // It may have changed after the request was admitted, and before the last look at all.
        if self.has_changed(watch) {
            watch.due = now.monotonic();
        }
        timers.insert(watch.timer());
    }

    /// Verifies a token again at once, if it has open streams.
    pub(super) fn recheck(&self, token: &Token) {
        let now = self.now();
        let mut state = self.lock();
        let State { watches, timers, .. } = &mut *state;
        let Some(watch) = watches.get_mut(token.fingerprint(sha256)) else { return };
        timers.remove(&watch.timer());
        watch.hasten(now);
        timers.insert(watch.timer());
        drop(state);
        self.woken.notify_one();
    }

    /// Returns true if a cutoff covers a token, or its key is retired.
    fn has_changed(&self, watch: &Watch) -> bool {
        self.settings.revocations.check(&watch.active) != Standing::Stands
            || watch.active.is_retired()
    }

    /// Makes every token due that a cutoff covers, or whose key is retired.
    pub(super) fn look_at_changed(&self, now: Moment) {
        let mut state = self.lock();
        let State { watches, timers, .. } = &mut *state;
        for watch in watches.values_mut() {
            if self.has_changed(watch) {
                timers.remove(&watch.timer());
                watch.due = now.monotonic();
                timers.insert(watch.timer());
            }
        }
    }

    /// Looks at some of the tokens that are due.
    ///
    /// Adds the leases that end to `ends`, and the verifications to start to `requests`. Returns when
    /// the next token is due, or `None` if there is none.
    pub(super) fn look_at_due(
        &self,
        now: Moment,
        ends: &mut Ends,
        requests: &mut Vec<(Arc<TokenKey>, VerifyRequest)>,
    ) -> Option<Instant> {
        let mut state = self.lock();
        let State { watches, timers, .. } = &mut *state;
        for _ in 0..BATCH {
            let Some(timer) = timers.first().copied() else { break };
            if timer.0 > now.monotonic() {
                break;
            }
            timers.remove(&timer);
            let Some(watch) = watches.get_mut(&Fingerprint::from_digest(timer.2)) else { continue };
            let standing = self.settings.revocations.check(&watch.active);
            if let Some(request) = watch.look(standing, &self.settings.schedule, now, ends) {
                requests.push((Arc::clone(&watch.key), request));
            }
            timers.insert(watch.timer());
        }
        timers.first().map(|timer| timer.0)
    }

    /// Returns true if a token has open streams.
    pub(super) fn is_watched(&self, key: &TokenKey) -> bool {
        self.lock().watches.contains_key(&key.fingerprint)
    }

    /// Takes the outcome of a verification. Returns the new facts, and the leases to judge by them.
    pub(super) fn answer(
        &self,
        key: &TokenKey,
        outcome: Outcome,
        ends: &mut Ends,
    ) -> Option<(ActiveToken, Vec<Arc<LeaseState>>)> {
        let now = self.now();
        let mut state = self.lock();
        let State { watches, timers, .. } = &mut *state;
        // Nobody may be left who waits for it.
        let watch = watches.get_mut(&key.fingerprint)?;
        timers.remove(&watch.timer());
        let known = watch.answer(outcome, &self.settings.schedule, now, ends);
        timers.insert(watch.timer());
        known.map(|active| (active, watch.leases().collect()))
    }

    /// Ends a lease, unless its token is the cause and was renewed since.
    ///
    /// Returns the values that are being polled, or wait for the rest of an event.
    pub(super) fn finish(&self, ending: Ending) -> Vec<WeakHeld> {
        let Ending { lease, key, cause } = ending;
        let is_by_token = matches!(cause, EndCause::Refused(_) | EndCause::Unverified(_));
        if is_by_token && !Arc::ptr_eq(&key, &lease.key()) {
            return Vec::new();
        }
        let waiting = lease.finish(cause);
        self.leave(&lease);
        waiting
    }

    /// Returns all open leases, to end for this cause.
    pub(super) fn all_ending(&self, cause: &EndCause) -> Ends {
        let (state, mut ends) = (self.lock(), Ends::default());
        state.watches.values().for_each(|watch| watch.end_all(&mut ends, cause));
        ends
    }

    /// Refuses further leases.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// Returns true if the driver is no longer needed, which then must end.
    pub(super) fn dismisses_driver(&self) -> bool {
        let mut state = self.lock();
        let is_empty = state.watches.is_empty();
        if is_empty {
            state.has_driver = false;
        }
        is_empty
    }

    /// Notes that the driver is gone.
    pub(super) fn lose_driver(&self) {
        self.lock().has_driver = false;
    }
}

impl Registrar for Registry {
    fn verifier(&self) -> &BoxVerifier {
        &self.settings.verifier
    }

    fn active(&self, lease: &LeaseState) -> Option<ActiveToken> {
        let state = self.lock();
        if lease.has_ended() {
            return None;
        }
        state.watches.get(&lease.key().fingerprint).map(|watch| watch.active.clone())
    }

    fn replace_token(&self, lease: &Arc<LeaseState>, token: &Token, active: ActiveToken) -> bool {
        let now = self.now();
        let before = lease.key();
        // It is bound to the same key.
        let Ok(key) = self.key_of(token, &active, before.scheme, before.peer) else { return false };
        let mut state = self.lock();
        if lease.has_ended() || !state.remove(lease) {
            return false;
        }
        let key = match state.watches.get(&key.fingerprint) {
            Some(watch) => Arc::clone(&watch.key),
            None => Arc::new(key),
        };
        lease.set_key(key);
        lease.renew_life(now.monotonic(), active.claims().expires_at().is_some());
        self.join(&mut state, lease, active, now);
        drop(state);
        self.woken.notify_one();
        true
    }

    fn leave(&self, lease: &LeaseState) {
        let mut state = self.lock();
        if !state.remove(lease) {
            return;
        }
        let key = lease.key();
        state.shares.give_back(key.issuer, key.subject);
        let is_empty = state.shares.open() == 0;
        drop(state);
        if is_empty {
            self.emptied.notify_waiters();
            // The driver ends.
            self.woken.notify_one();
        }
    }
}

impl State {
    /// Removes a lease from those of its token. Returns false if it was removed before.
    fn remove(&mut self, lease: &LeaseState) -> bool {
        let slot = lease.slot.swap(NO_SLOT, Ordering::Relaxed);
        if slot == NO_SLOT {
            return false;
        }
        let key = lease.key();
        let Some(watch) = self.watches.get_mut(&key.fingerprint) else { return true };
        if watch.remove(slot, lease) {
            self.timers.remove(&watch.timer());
            self.watches.remove(&key.fingerprint);
        }
        true
    }
}

impl Watch {
    fn timer(&self) -> (Instant, u64, [u8; 32]) {
        (self.due, self.key.hash, *self.key.fingerprint.as_bytes())
    }
}

fn too_many(context: &'static str) -> VerifyError {
    VerifyError::new(ErrorKind::TooManyStreams).with_context(context)
}

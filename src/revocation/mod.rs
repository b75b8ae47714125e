//! Cutoffs: from when on earlier verifications and earlier tokens do not count any more.

pub(crate) mod layer;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

pub use self::layer::{Revocable, RevocationFuture, RevocationLayer};
use self::table::{CLOCK_DIFFERENCE, Cutoffs, Line, worse};
use crate::clock::{Clock, Moment, SystemClock, UnixTime};
use crate::verify::active::ActiveToken;

/// The most cutoffs kept, unless configured. Each takes some 64 bytes.
const DEFAULT_CAPACITY: usize = 100_000;

/// What a revocation is about: everything of a subject, a session, a client or an issuer that was
/// issued until some time, or one token.
///
/// ```
/// use tower_introspect::{clock::UnixTime, verify::Cutoff};
///
/// let logout = Cutoff::subject("https://as.example.com", "alice").at(UnixTime::from_secs(1_800_000_000));
/// # let _ = logout;
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is revoked until it is given to `Revocations::revoke`"]
pub struct Cutoff {
    issuer: String,
    about: About,
    at: Option<UnixTime>,
}

#[derive(Clone, Debug)]
enum About {
    Issuer,
    One(Kind, String),
}

/// By which claim tokens are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Client,
    Session,
    Subject,
    Token,
}

impl Cutoff {
    /// All tokens of an issuer.
    pub fn issuer(issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), about: About::Issuer, at: None }
    }

    /// The tokens about a subject (`sub`).
    pub fn subject(issuer: impl Into<String>, subject: impl Into<String>) -> Self {
        Self::one(issuer.into(), Kind::Subject, subject.into())
    }

    /// The tokens of a session (`sid`).
    pub fn session(issuer: impl Into<String>, session: impl Into<String>) -> Self {
        Self::one(issuer.into(), Kind::Session, session.into())
    }

    /// The tokens of a client (`client_id`, or `azp` where that is what its issuer writes).
    pub fn client(issuer: impl Into<String>, client: impl Into<String>) -> Self {
        Self::one(issuer.into(), Kind::Client, client.into())
    }

    /// One token (`jti`), whenever it was issued.
    pub fn token(issuer: impl Into<String>, jwt_id: impl Into<String>) -> Self {
        Self::one(issuer.into(), Kind::Token, jwt_id.into())
    }

    /// Sets when it was revoked, by the clock of the issuer. Unless set, now, or when the latest token
    /// was issued that was seen here, if that is later.
    pub const fn at(mut self, time: UnixTime) -> Self {
        self.at = Some(time);
        self
    }

    const fn one(issuer: String, kind: Kind, value: String) -> Self {
        Self { issuer, about: About::One(kind, value), at: None }
    }
}

/// What cutoffs say of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// They were established before a cutoff that became known at this moment: ask anew.
    Outdated(Moment),
    /// The token is revoked.
    Revoked,
    /// No cutoff touches them.
    Stands,
}

/// What was revoked, as far as this process was told.
///
/// Not a list of bad tokens, but cutoffs. Facts that the authorization server established do not
/// count if their verification *started* before the cutoff was made known here: the server is asked
/// anew, and knows. A JWT verified locally is revoked if it was not issued *after* the
/// cutoff, by its `iat`; without `iat` too. Both hold for what is remembered, for what is new, and for
/// answers on their way.
///
/// Bounded: where there are too many, one for all tokens of an issuer takes the place of the older
/// half. That refuses JWTs that it need not, if they live longer than so many cutoffs take to come,
/// but lets nothing pass.
///
/// Clones share the cutoffs. While there are none, a question costs one atomic load.
///
/// ```
/// use tower_introspect::{
///     claims::Claims,
///     clock::{Moment, SystemClock},
///     verify::{ActiveToken, Cutoff, Method, Revocations, Standing},
/// };
///
/// let revocations = Revocations::new();
/// let claims = Claims::from_json(br#"{"sub": "alice", "iat": 1700000000}"#).unwrap();
/// let start = Moment::now(&SystemClock);
/// let fact = ActiveToken::new("https://as.example.com", claims, Method::Jwt, start);
/// assert_eq!(revocations.check(&fact), Standing::Stands);
///
/// revocations.revoke(&Cutoff::subject("https://as.example.com", "alice"));
/// assert_eq!(revocations.check(&fact), Standing::Revoked);
/// ```
#[derive(Clone)]
pub struct Revocations(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    capacity: usize,
    /// Keyed by chance, so that nobody can choose names that fall together. Two that do revoke each
    /// other, which is safe.
    names: RandomState,
    any: AtomicBool,
    /// The latest `iat` seen, in milliseconds. What was let in before a cutoff is covered by it, whatever
    /// the clocks of this machine and of the issuer say meanwhile.
    latest_issue: AtomicI64,
    cutoffs: RwLock<Cutoffs>,
}

impl Revocations {
    /// Nothing is revoked, and at most 100 000 cutoffs will be kept.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY)
    }

    /// Nothing is revoked, and at most `cutoffs` of them will be kept.
    ///
    /// ```
    /// use tower_introspect::verify::Revocations;
    ///
    /// assert!(Revocations::with_capacity(1_000).is_empty());
    /// ```
    #[must_use]
    pub fn with_capacity(cutoffs: usize) -> Self {
        Self::build(cutoffs, Arc::new(SystemClock))
    }

    /// The same, by another clock. What was revoked so far is forgotten.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        Self::build(self.0.capacity, Arc::new(clock))
    }

    fn build(capacity: usize, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            clock,
            capacity,
            names: RandomState::new(),
            any: AtomicBool::new(false),
            latest_issue: AtomicI64::new(i64::MIN),
            cutoffs: RwLock::default(),
        }))
    }

    /// Makes a revocation known. It holds for every request from now on.
    ///
    /// A later cutoff for the same thing moves the earlier one forward, never back.
    pub fn revoke(&self, cutoff: &Cutoff) {
        let inner = &*self.0;
        let known = Moment::now(&*inner.clock);
        let now = || known.wall().max(inner.latest_issue());
        let line = Line { at: cutoff.at.unwrap_or_else(now), known };
        let issuer = inner.names.hash_one(&cutoff.issuer);
        let mut cutoffs = inner.cutoffs.write().unwrap_or_else(PoisonError::into_inner);
        match &cutoff.about {
            About::Issuer => cutoffs.add_issuer(issuer, line, inner.capacity),
            About::One(kind, value) => {
                let name = inner.names.hash_one((kind, &**value));
                cutoffs.add(issuer, name, line, inner.capacity);
            }
        }
        inner.any.store(true, Ordering::Release);
    }

    /// True if nothing was revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.0.any.load(Ordering::Acquire)
    }

    /// How many cutoffs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let cutoffs = self.0.cutoffs.read().unwrap_or_else(PoisonError::into_inner);
        let issuers = cutoffs.issuers.values();
        let own = issuers.map(|of| of.some.len() + usize::from(of.all.is_some())).sum::<usize>();
        own + usize::from(cutoffs.everyone.is_some())
    }

    /// Whether `active` still holds.
    #[must_use]
    #[inline]
    pub fn check(&self, active: &ActiveToken) -> Standing {
        self.0.note_issue(active);
        if self.is_empty() { Standing::Stands } else { self.0.check(active) }
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Inner {
    fn latest_issue(&self) -> UnixTime {
        UnixTime::from_millis(self.latest_issue.load(Ordering::Relaxed))
    }

    fn note_issue(&self, active: &ActiveToken) {
        let Some(issued) = active.claims().issued_at() else { return };
        // What is issued further ahead no policy lets in, and it must not move the cutoffs of others.
        if issued > self.latest_issue()
            && issued <= self.clock.now().saturating_add(CLOCK_DIFFERENCE)
        {
            self.latest_issue.fetch_max(issued.as_millis(), Ordering::Relaxed);
        }
    }

    fn check(&self, active: &ActiveToken) -> Standing {
        let claims = active.claims();
        let cutoffs = self.cutoffs.read().unwrap_or_else(PoisonError::into_inner);
        let mut standing = cutoffs.everyone.map_or(Standing::Stands, |line| line.check(active));
        let Some(of) = cutoffs.issuers.get(&self.names.hash_one(active.issuer())) else {
            return standing;
        };
        if let Some(line) = of.all {
            standing = worse(standing, line.check(active));
        }
        if of.some.is_empty() {
            return standing;
        }
        let named = [
            (Kind::Subject, claims.subject().map(Into::into)),
            (Kind::Session, claims.string("sid")),
            (Kind::Client, claims.client_id()),
            (Kind::Client, claims.string("azp")),
            (Kind::Token, claims.jwt_id()),
        ];
        for (kind, value) in named {
            let Some(value) = value else { continue };
            let Some(line) = of.some.get(&self.names.hash_one((kind, &*value))) else { continue };
            let says = match kind {
                Kind::Token => line.check_token(active),
                _ => line.check(active),
            };
            standing = worse(standing, says);
        }
        standing
    }
}

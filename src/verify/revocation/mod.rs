//! Cutoffs: from when on earlier verifications and earlier tokens do not count any more.

mod layer;

use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub use self::layer::{Revocable, RevocationFuture, RevocationLayer};
use super::{ActiveToken, Method};
use crate::clock::{Clock, Moment, SystemClock, UnixTime};

/// The most cutoffs kept, unless configured. Each takes some 64 bytes.
const DEFAULT_CAPACITY: usize = 100_000;

/// A cutoff that stands for others reaches this far into the future, so that a token that its issuer,
/// whose clock may be ahead, issued before it is covered.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(30);

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

    /// The tokens of a client (`client_id`).
    pub fn client(issuer: impl Into<String>, client: impl Into<String>) -> Self {
        Self::one(issuer.into(), Kind::Client, client.into())
    }

    /// One token (`jti`), whenever it was issued.
    pub fn token(issuer: impl Into<String>, jwt_id: impl Into<String>) -> Self {
        Self::one(issuer.into(), Kind::Token, jwt_id.into())
    }

    /// Sets when it was revoked, by the clock of the issuer. Now, unless set.
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
    /// They were established before a cutoff: ask anew.
    Outdated,
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
/// Bounded: where there are too many cutoffs of an issuer, one for all its tokens takes their
/// place. That makes more work, and refuses JWTs that it need not, but lets nothing pass.
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
    cutoffs: RwLock<Cutoffs>,
}

#[derive(Default)]
struct Cutoffs {
    /// Issuers included.
    count: usize,
    everyone: Option<Line>,
    issuers: HashMap<u64, OfIssuer>,
}

#[derive(Default)]
struct OfIssuer {
    all: Option<Line>,
    some: HashMap<u64, Line>,
}

/// One cutoff.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// By the clock of the issuer. Tokens issued later stand.
    at: UnixTime,
    /// When this process was told. Verifications that started later stand.
    known: Moment,
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
            cutoffs: RwLock::default(),
        }))
    }

    /// Makes a revocation known. It holds for every request from now on.
    ///
    /// A later cutoff for the same thing moves the earlier one forward, never back.
    pub fn revoke(&self, cutoff: &Cutoff) {
        let inner = &*self.0;
        let known = Moment::now(&*inner.clock);
        let line = Line { at: cutoff.at.unwrap_or(known.wall()), known };
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
    pub fn check(&self, active: &ActiveToken) -> Standing {
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

impl Line {
    fn check(self, active: &ActiveToken) -> Standing {
        // `iat` is often cut to the second, and so may be the time of the revocation: of two that are
        // the same, it is unknown which came first.
        let issued_later = active.claims().issued_at().map(|issued| issued > self.at);
        match active.method() {
            // A signature says nothing about a revocation, however often it is checked.
            Method::Jwt if issued_later != Some(true) => Standing::Revoked,
            Method::Jwt => Standing::Stands,
            // Nobody knows what it asks. What it says of the token's age counts.
            Method::Custom if issued_later == Some(false) => Standing::Revoked,
            _ => self.check_start(active),
        }
    }

    /// One token is revoked whatever its `iat` says: it can't have been issued after that.
    fn check_token(self, active: &ActiveToken) -> Standing {
        match active.method() {
            Method::Jwt | Method::Custom => Standing::Revoked,
            _ => self.check_start(active),
        }
    }

    /// A question leaves after its start was read, so one that started at the very instant at which
    /// the cutoff became known is answered by a server that knows too.
    fn check_start(self, active: &ActiveToken) -> Standing {
        if active.verified_at().is_before(self.known) {
            Standing::Outdated
        } else {
            Standing::Stands
        }
    }

    fn merge(&mut self, other: Self) {
        self.at = self.at.max(other.at);
        if self.known.is_before(other.known) {
            self.known = other.known;
        }
    }

    /// A line that covers whatever any line until now does.
    fn covering(self) -> Self {
        let now = self.known.wall().max(self.at);
        Self { at: now.saturating_add(CLOCK_DIFFERENCE), ..self }
    }
}

const fn worse(one: Standing, other: Standing) -> Standing {
    match (one, other) {
        (Standing::Revoked, _) | (_, Standing::Revoked) => Standing::Revoked,
        (Standing::Outdated, _) | (_, Standing::Outdated) => Standing::Outdated,
        (Standing::Stands, Standing::Stands) => Standing::Stands,
    }
}

impl Cutoffs {
    fn add(&mut self, issuer: u64, name: u64, line: Line, capacity: usize) {
        let of = self.issuers.get_mut(&issuer);
        if let Some(before) = of.and_then(|of| of.some.get_mut(&name)) {
            return before.merge(line);
        }
        let new = 1 + usize::from(!self.issuers.contains_key(&issuer));
        if self.count + new > capacity {
            return self.overflow(issuer, line, capacity);
        }
        self.count += new;
        self.issuers.entry(issuer).or_default().some.insert(name, line);
    }

    fn add_issuer(&mut self, issuer: u64, line: Line, capacity: usize) {
        if let Some(of) = self.issuers.get_mut(&issuer) {
            return merge(&mut of.all, line);
        }
        if self.count >= capacity {
            return self.overflow_all(line);
        }
        self.count += 1;
        self.issuers.insert(issuer, OfIssuer { all: Some(line), some: HashMap::new() });
    }

    /// Replaces the cutoffs of an issuer by one for all its tokens.
    fn overflow(&mut self, issuer: u64, line: Line, capacity: usize) {
        let line = line.covering();
        self.add_issuer(issuer, line, capacity);
        let Some(of) = self.issuers.get_mut(&issuer) else { return };
        let before = of.some.len();
        of.some.retain(|_, one| one.at > line.at);
        self.count -= before - of.some.len();
    }

    /// Replaces all cutoffs by one for all tokens.
    fn overflow_all(&mut self, line: Line) {
        let issuers = self.issuers.values().flat_map(|of| of.some.values().chain(&of.all));
        let latest = issuers.map(|line| line.at).max().map_or(line.at, |at| at.max(line.at));
        merge(&mut self.everyone, Line { at: latest, ..line }.covering());
        self.issuers.clear();
        self.count = 0;
    }
}

fn merge(place: &mut Option<Line>, line: Line) {
    match place {
        Some(before) => before.merge(line),
        None => *place = Some(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claims;

    const ISSUER: &str = "https://as.example.com";
    const OTHER: &str = "https://other.example.com";

    #[derive(Clone, Debug)]
    struct At(i64);

    impl Clock for At {
        fn now(&self) -> UnixTime {
            UnixTime::from_secs(self.0)
        }
    }

    fn revocations(capacity: usize) -> Revocations {
        Revocations::with_capacity(capacity).clock(At(1_000))
    }

    fn fact(issuer: &str, method: Method, claims: &str) -> ActiveToken {
        let claims = Claims::from_json(claims.as_bytes()).unwrap();
        ActiveToken::new(issuer, claims, method, Moment::now(&At(1_000)))
    }

    #[test]
    fn a_jwt_is_revoked_unless_it_was_issued_later() {
        let revocations = revocations(10);
        revocations.revoke(&Cutoff::subject(ISSUER, "alice").at(UnixTime::from_secs(500)));
        for (claims, standing) in [
            (r#"{"sub":"alice","iat":499}"#, Standing::Revoked),
            (r#"{"sub":"alice","iat":500}"#, Standing::Revoked),
            (r#"{"sub":"alice","iat":500.5}"#, Standing::Stands),
            (r#"{"sub":"alice","iat":501}"#, Standing::Stands),
            (r#"{"sub":"alice"}"#, Standing::Revoked),
            (r#"{"sub":"bob","iat":1}"#, Standing::Stands),
            (r#"{"iat":1}"#, Standing::Stands),
        ] {
            let fact = fact(ISSUER, Method::Jwt, claims);
            assert_eq!(revocations.check(&fact), standing, "{claims}");
        }
        let elsewhere = fact(OTHER, Method::Jwt, r#"{"sub":"alice","iat":1}"#);
        assert_eq!(revocations.check(&elsewhere), Standing::Stands);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_said_before_is_outdated_and_what_it_says_later_stands() {
        for method in [Method::Introspection, Method::Confirmed, Method::Fallback, Method::Custom] {
            let revocations = revocations(10);
            let before = fact(ISSUER, method, r#"{"sub":"alice"}"#);
            tokio::time::advance(Duration::from_nanos(1)).await;
            revocations.revoke(&Cutoff::subject(ISSUER, "alice").at(UnixTime::from_secs(1)));
            assert_eq!(revocations.check(&before), Standing::Outdated, "{method:?}");
            let after = fact(ISSUER, method, r#"{"sub":"alice"}"#);
            assert_eq!(revocations.check(&after), Standing::Stands, "{method:?}");
        }
    }

    #[test]
    fn each_kind_finds_its_claim_and_no_other() {
        type Make = fn(&'static str, &'static str) -> Cutoff;
        let kinds: [(&str, Make); 4] = [
            ("sub", |issuer, value| Cutoff::subject(issuer, value)),
            ("sid", |issuer, value| Cutoff::session(issuer, value)),
            ("client_id", |issuer, value| Cutoff::client(issuer, value)),
            ("jti", |issuer, value| Cutoff::token(issuer, value)),
        ];
        for (claim, make) in kinds {
            let revocations = revocations(10);
            revocations.revoke(&make(ISSUER, "x"));
            for (other, _) in kinds {
                let fact = fact(ISSUER, Method::Jwt, &format!("{{\"{other}\":\"x\",\"iat\":1}}"));
                let revoked = revocations.check(&fact) == Standing::Revoked;
                assert_eq!(revoked, other == claim, "{claim} against {other}");
            }
        }
        let all = revocations(10);
        all.revoke(&Cutoff::issuer(ISSUER));
        assert_eq!(all.check(&fact(ISSUER, Method::Jwt, r#"{"iat":1}"#)), Standing::Revoked);
        assert_eq!(all.check(&fact(OTHER, Method::Jwt, r#"{"iat":1}"#)), Standing::Stands);
    }

    #[test]
    fn one_token_stays_revoked_though_its_issuers_clock_is_ahead() {
        let revocations = revocations(10);
        revocations.revoke(&Cutoff::token(ISSUER, "x"));
        let ahead = fact(ISSUER, Method::Jwt, r#"{"jti":"x","iat":1010}"#);
        assert_eq!(revocations.check(&ahead), Standing::Revoked);
    }

    #[test]
    fn an_earlier_cutoff_takes_nothing_back() {
        let revocations = revocations(10);
        for at in [500, 400] {
            let cutoff = Cutoff::subject(ISSUER, "alice").at(UnixTime::from_secs(at));
            revocations.revoke(&cutoff);
        }
        let token = fact(ISSUER, Method::Jwt, r#"{"sub":"alice","iat":450}"#);
        assert_eq!(revocations.check(&token), Standing::Revoked);
        assert_eq!(revocations.len(), 1);
    }

    #[test]
    fn too_many_cutoffs_become_one_for_all_tokens() {
        let revocations = revocations(10);
        let name = |n: usize| format!("user-{n}");
        let old = |n| fact(ISSUER, Method::Jwt, &format!("{{\"sub\":\"{}\",\"iat\":1}}", name(n)));
        for n in 0..100 {
            revocations.revoke(&Cutoff::subject(ISSUER, name(n)));
            assert!(revocations.len() <= 11, "{}", revocations.len());
            for earlier in 0..=n {
                assert_eq!(revocations.check(&old(earlier)), Standing::Revoked, "{earlier} of {n}");
            }
        }
        let later = fact(ISSUER, Method::Jwt, r#"{"sub":"user-1","iat":1031}"#);
        assert_eq!(revocations.check(&later), Standing::Stands);
        let elsewhere = fact(OTHER, Method::Jwt, r#"{"iat":1}"#);
        assert_eq!(revocations.check(&elsewhere), Standing::Stands);
    }

    #[test]
    fn too_many_issuers_become_one_cutoff_for_everyone() {
        let revocations = revocations(10);
        for n in 0..100 {
            revocations.revoke(&Cutoff::subject(format!("https://{n}.example.com"), "alice"));
            assert!(revocations.len() <= 11);
            for earlier in 0..=n {
                let issuer = format!("https://{earlier}.example.com");
                let token = fact(&issuer, Method::Jwt, r#"{"sub":"alice","iat":1}"#);
                assert_eq!(revocations.check(&token), Standing::Revoked, "{earlier} of {n}");
            }
        }
    }

    #[test]
    fn a_cutoff_in_the_future_survives_the_overflow() {
        let revocations = revocations(4);
        let future = Cutoff::subject(ISSUER, "alice").at(UnixTime::from_secs(9_000));
        revocations.revoke(&future);
        for n in 0..100 {
            revocations.revoke(&Cutoff::subject(ISSUER, format!("user-{n}")));
            revocations.revoke(&Cutoff::subject(format!("https://{n}.example.com"), "bob"));
        }
        let token = fact(ISSUER, Method::Jwt, r#"{"sub":"alice","iat":8000}"#);
        assert_eq!(revocations.check(&token), Standing::Revoked);
    }
}

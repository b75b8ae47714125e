//! Decides with one pure function how a cache entry may be used.

use std::time::Duration;

use crate::{
    clock::{Moment, UnixTime},
    revocation::cutoff::Standing,
    verify::{
        active::{ActiveToken, Method},
        request::Freshness,
    },
};

/// The share of their maximum age after which facts in use are verified again in the background.
const REFRESH_AFTER_SHARE: (u32, u32) = (4, 5);

/// The maximum ages of facts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For facts that the authorization server established.
    pub(super) remote_max_age: Duration,
    /// For facts that a signature established.
    pub(super) jwt_max_age: Duration,
    /// The additional time if the authorization server is unavailable.
    pub(super) stale_if_error: Duration,
    pub(super) refresh_ahead: bool,
}

impl Limits {
    pub(super) fn max_age_of(&self, method: Method) -> Duration {
        match method {
            Method::Jwt => self.jwt_max_age,
            _ => self.remote_max_age,
        }
    }
}

/// The properties of facts that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) method: Method,
    pub(super) verified_at: Moment,
    pub(super) expires_at: Option<UnixTime>,
    /// True if the key that signed the token is no longer one of its issuer.
    pub(super) retired: bool,
}

impl Facts {
    #[inline]
    pub(super) fn of(active: &ActiveToken) -> Self {
        Self {
            method: active.method(),
            verified_at: active.verified_at(),
            expires_at: active.claims().expires_at(),
            retired: active.is_retired(),
        }
    }
}

/// The action for a request with a cache entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Use the facts.
    Use { refresh: bool },
    /// Verify the token. If the server is unavailable, the facts may be used as stale ones.
    Verify,
    /// Verify the token and drop the facts, which can never be used again.
    Drop,
}

/// Returns the action for a request that finds these facts in the cache.
#[inline]
pub(super) fn decide(
    facts: &Facts,
    freshness: Freshness,
    now: Moment,
    limits: &Limits,
    standing: Standing,
) -> Decision {
    if is_void(facts, now, standing) {
        return Decision::Drop;
    }
    // The age that is in force: a route or a confirmation may need facts more recent than the
    // setting of the cache does, and would wait for each if that setting told when to refresh.
    let max_age = freshness.max_age(limits.max_age_of(facts.method));
    let age = now.since(facts.verified_at);
    if age >= max_age {
        return Decision::Verify;
    }
    // Checking a signature again gives no new information.
    let remote = facts.method != Method::Jwt;
    let (share, whole) = REFRESH_AFTER_SHARE;
    Decision::Use {
        refresh: limits.refresh_ahead && remote && age >= max_age.saturating_mul(share) / whole,
    }
}

/// Returns true if facts that are too old may be used because the server is unavailable.
pub(super) fn serves_stale(
    facts: &Facts,
    freshness: Freshness,
    now: Moment,
    limits: &Limits,
    standing: Standing,
) -> bool {
    let until = limits.max_age_of(facts.method).saturating_add(limits.stale_if_error);
    !limits.stale_if_error.is_zero()
        && freshness == Freshness::Cached
        && !is_void(facts, now, standing)
        && now.since(facts.verified_at) < until
}

/// Returns true if the facts are void, whatever their age.
///
/// Facts established before the token's `exp` become void once `exp` has passed. Facts established
/// after `exp` are kept: the verifier already knew of the expiry, and the policy refuses the token.
fn is_void(facts: &Facts, now: Moment, standing: Standing) -> bool {
    let ended = |exp: UnixTime| facts.verified_at.wall() < exp && exp <= now.wall();
    facts.retired || standing != Standing::Stands || facts.expires_at.is_some_and(ended)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::clock::Clock;

    const SEC: Duration = Duration::from_secs(1);
    const LIMITS: Limits = Limits {
        remote_max_age: Duration::from_secs(30),
        jwt_max_age: Duration::from_secs(300),
        stale_if_error: Duration::from_secs(60),
        refresh_ahead: true,
    };
    const USE: Decision = Decision::Use { refresh: false };
    const REFRESH: Decision = Decision::Use { refresh: true };

    #[derive(Clone, Debug, Default)]
    struct Wall(Arc<Mutex<i64>>);

    impl Clock for Wall {
        fn now(&self) -> UnixTime {
            UnixTime::from_secs(*self.0.lock().unwrap())
        }
    }

    /// Returns the moment of facts established at wall-clock time 1000, and a moment that is
    /// `monotonic` seconds later by the monotonic clock and `wall` seconds later by the wall clock.
    async fn after(monotonic: u64, wall: i64) -> (Moment, Moment) {
        let clock = Wall::default();
        *clock.0.lock().unwrap() = 1_000;
        let then = Moment::now(&clock);
        tokio::time::advance(Duration::from_secs(monotonic)).await;
        *clock.0.lock().unwrap() = 1_000 + wall;
        (then, Moment::now(&clock))
    }

    #[tokio::test(start_paused = true)]
    async fn table_of_decisions() {
        use Freshness::{Cached, Live, Within};
        use Method::{Confirmed, Custom, Introspection, Jwt};
        use Standing::{Revoked, Stands};
        let outdated = Standing::Outdated(after(0, 0).await.0);
        for (line, (method, monotonic, wall, exp, freshness, standing, decision, stale)) in [
            // Age.
            (Introspection, 0, 0, None, Cached, Stands, USE, true),
            (Introspection, 23, 23, None, Cached, Stands, USE, true),
            (Introspection, 24, 24, None, Cached, Stands, REFRESH, true),
            (Introspection, 29, 29, None, Cached, Stands, REFRESH, true),
            (Introspection, 30, 30, None, Cached, Stands, Decision::Verify, true),
            (Introspection, 89, 89, None, Cached, Stands, Decision::Verify, true),
            (Introspection, 90, 90, None, Cached, Stands, Decision::Verify, false),
            (Custom, 30, 30, None, Cached, Stands, Decision::Verify, true),
            (Confirmed, 30, 30, None, Cached, Stands, Decision::Verify, true),
            (Jwt, 30, 30, None, Cached, Stands, USE, true),
            (Jwt, 299, 299, None, Cached, Stands, USE, true),
            (Jwt, 300, 300, None, Cached, Stands, Decision::Verify, true),
            // By either clock.
            (Introspection, 0, 30, None, Cached, Stands, Decision::Verify, true),
            (Introspection, 30, 0, None, Cached, Stands, Decision::Verify, true),
            (Introspection, 30, -3_600, None, Cached, Stands, Decision::Verify, true),
            (Introspection, 0, -3_600, None, Cached, Stands, USE, true),
            (Introspection, 0, 31_536_000, None, Cached, Stands, Decision::Verify, false),
            // Freshness.
            (Introspection, 7, 7, None, Within(10 * SEC), Stands, USE, false),
            (Introspection, 8, 8, None, Within(10 * SEC), Stands, REFRESH, false),
            (Introspection, 9, 9, None, Within(10 * SEC), Stands, REFRESH, false),
            (Introspection, 23, 23, None, Within(600 * SEC), Stands, USE, false),
            (Introspection, 24, 24, None, Within(600 * SEC), Stands, REFRESH, false),
            (Jwt, 9, 9, None, Within(10 * SEC), Stands, USE, false),
            (Introspection, 10, 10, None, Within(10 * SEC), Stands, Decision::Verify, false),
            (Introspection, 0, 0, None, Within(Duration::ZERO), Stands, Decision::Verify, false),
            (Introspection, 30, 30, None, Within(600 * SEC), Stands, Decision::Verify, false),
            (Introspection, 0, 0, None, Live, Stands, Decision::Verify, false),
            (Jwt, 0, 0, None, Live, Stands, Decision::Verify, false),
            // The expiry of the token.
            (Introspection, 9, 9, Some(1_010), Cached, Stands, USE, true),
            (Introspection, 10, 10, Some(1_010), Cached, Stands, Decision::Drop, false),
            (Introspection, 40, 40, Some(1_010), Cached, Stands, Decision::Drop, false),
            (Jwt, 10, 10, Some(1_010), Cached, Stands, Decision::Drop, false),
            (Introspection, 0, 3_600, Some(1_010), Cached, Stands, Decision::Drop, false),
            // Verified after its expiry: the policy refuses the token.
            (Introspection, 9, 9, Some(500), Cached, Stands, USE, true),
            // Cutoffs.
            (Introspection, 0, 0, None, Cached, outdated, Decision::Drop, false),
            (Jwt, 0, 0, None, Cached, Revoked, Decision::Drop, false),
            (Introspection, 40, 40, None, Cached, outdated, Decision::Drop, false),
            (Introspection, 0, 0, None, Live, outdated, Decision::Drop, false),
        ]
        .into_iter()
        .enumerate()
        {
            let (verified_at, now) = after(monotonic, wall).await;
            let expires_at = exp.map(UnixTime::from_secs);
            let facts = Facts { method, verified_at, expires_at, retired: false };
            assert_eq!(decide(&facts, freshness, now, &LIMITS, standing), decision, "line {line}");
            let serves = serves_stale(&facts, freshness, now, &LIMITS, standing);
            assert_eq!(serves, stale, "stale, line {line}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn entry_of_a_retired_key_is_dropped() {
        let (verified_at, now) = after(0, 0).await;
        for method in [Method::Jwt, Method::Confirmed] {
            let facts = Facts { method, verified_at, expires_at: None, retired: true };
            let decision = decide(&facts, Freshness::Cached, now, &LIMITS, Standing::Stands);
            assert_eq!(decision, Decision::Drop);
            assert!(!serves_stale(&facts, Freshness::Cached, now, &LIMITS, Standing::Stands));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn zero_ages_disable_the_cache_and_refresh_ahead_can_be_disabled() {
        let off = Limits {
            remote_max_age: Duration::ZERO,
            jwt_max_age: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            refresh_ahead: false,
        };
        for method in [Method::Introspection, Method::Jwt] {
            let (verified_at, now) = after(0, 0).await;
            let facts = Facts { method, verified_at, expires_at: None, retired: false };
            let decision = decide(&facts, Freshness::Cached, now, &off, Standing::Stands);
            assert_eq!(decision, Decision::Verify);
            assert!(!serves_stale(&facts, Freshness::Cached, now, &off, Standing::Stands));
        }
        let lazy = Limits { refresh_ahead: false, ..LIMITS };
        let (verified_at, now) = after(29, 29).await;
        let facts =
            Facts { method: Method::Introspection, verified_at, expires_at: None, retired: false };
        assert_eq!(decide(&facts, Freshness::Cached, now, &lazy, Standing::Stands), USE);
    }
}

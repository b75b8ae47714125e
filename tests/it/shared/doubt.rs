//! Doubt about all facts, after cutoffs may have been missed.
//!
//! The time at which a fact is verified again depends on a random hash of the moment at which it was
//! established. A number of facts is bounded eight standard deviations from what is expected.

use tokio::time::advance;
use tower_introspect::{
    ErrorKind, Issuer,
    cache::{Cache, CacheLayer},
    revocation::{Cutoff, RevocationCheck, RevocationLayer, Revocations},
    verify::{Method, Verifier as _},
};
use tower_layer::Layer as _;

use super::*;
use crate::{
    scripted::{Act, Scripted, kind, token},
    support::ISSUER,
    world::{World, auth, remote},
};

const TOKENS: usize = 200;

const SPREAD: Duration = Duration::from_secs(100);

/// A cached verifier with cutoffs. The cache keeps facts for longer than a test takes.
struct Doubted {
    server: Scripted,
    local: LocalCutoffs,
    revocations: Revocations,
    verifier: RevocationCheck<Cache<Scripted>>,
}

impl Doubted {
    fn new(method: Method) -> Self {
        Self::with(method, Revocations::new())
    }

    fn with(method: Method, revocations: Revocations) -> Self {
        let server = Scripted::new().by(method);
        let revocations = revocations.clock(server.clock.clone());
        let cache = CacheLayer::new().revocations(revocations.clone()).max_age(36 * SPREAD);
        let cached = cache.clock(server.clock.clone()).layer(server.clone());
        let verifier = RevocationLayer::new(revocations.clone()).layer(cached);
        Self { server, local: revocations.local(), revocations, verifier }
    }

    /// Verifies a token, and returns how often the server was asked.
    async fn asked(&self, text: &str) -> usize {
        let before = self.server.calls();
        assert!(self.verifier.verify(token(text)).await.is_ok());
        self.server.calls() - before
    }

    /// Verifies all tokens, each at its own moment, and returns how often the server was asked.
    async fn all(&self) -> usize {
        let mut asked = 0;
        for n in 0..TOKENS {
            asked += self.asked(&format!("token-{n}")).await;
            advance(Duration::from_micros(1)).await;
        }
        asked
    }
}

#[tokio::test(start_paused = true)]
async fn doubted_facts_are_verified_again_over_the_spread() {
    let doubted = Doubted::new(Method::Introspection);
    assert_eq!((doubted.all().await, doubted.all().await), (TOKENS, 0));
    doubted.local.doubt(REASON, SPREAD);
    assert_eq!(doubted.all().await, 0, "all at once");
    let mut total = 0;
    for tenth in 1..=10 {
        advance(SPREAD / 10).await;
        let asked = doubted.all().await;
        // Twenty are expected.
        assert!(asked <= 55, "{asked} in one tenth of the time");
        total += asked;
        assert!(total.abs_diff(20 * tenth) <= 60, "{total} until the tenth {tenth}");
    }
    assert_eq!(total, TOKENS, "each once, and all at the end");
    advance(10 * SPREAD).await;
    assert_eq!(doubted.all().await, 0, "once more");
}

#[tokio::test(start_paused = true)]
async fn fact_that_is_not_presented_meanwhile_is_verified_again_after_the_spread() {
    let doubted = Doubted::new(Method::Introspection);
    doubted.all().await;
    doubted.local.doubt(REASON, SPREAD);
    advance(SPREAD).await;
    assert_eq!(doubted.all().await, TOKENS);
    doubted.all().await;
    assert_eq!(doubted.server.calls(), 2 * TOKENS);
}

#[tokio::test(start_paused = true)]
async fn facts_from_after_a_doubt_are_not_verified_again() {
    let doubted = Doubted::new(Method::Introspection);
    doubted.local.doubt(REASON, SPREAD);
    let facts = [("same", Duration::ZERO), ("later", SEC / 1000), ("much-later", SPREAD / 2)];
    for (fact, step) in facts {
        advance(step).await;
        assert_eq!(doubted.asked(fact).await, 1);
    }
    advance(2 * SPREAD).await;
    for (fact, _) in facts {
        assert_eq!(doubted.asked(fact).await, 0, "{fact}");
    }
}

#[tokio::test(start_paused = true)]
async fn doubt_without_a_spread_holds_at_once() {
    let doubted = Doubted::new(Method::Introspection);
    assert_eq!(doubted.asked("abc").await, 1);
    advance(Duration::from_micros(1)).await;
    doubted.local.doubt(REASON, Duration::ZERO);
    assert_eq!((doubted.asked("abc").await, doubted.asked("abc").await), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn jwts_stand_and_other_facts_do_not() {
    for (method, asked) in [
        (Method::Jwt, 0),
        (Method::Confirmed, 1),
        (Method::Custom, 1),
        (Method::Fallback, 1),
        (Method::Introspection, 1),
    ] {
        let doubted = Doubted::new(method);
        assert_eq!(doubted.asked("abc").await, 1, "{method:?}");
        advance(SEC).await;
        doubted.local.doubt(REASON, SPREAD);
        advance(SPREAD).await;
        assert_eq!(doubted.asked("abc").await, asked, "{method:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn token_that_was_revoked_meanwhile_is_refused_at_the_end_of_the_spread() {
    let doubted = Doubted::new(Method::Introspection);
    doubted.asked("abc").await;
    advance(SEC).await;
    doubted.server.always(Act::refuse(ErrorKind::Inactive));
    doubted.local.doubt(REASON, SPREAD);
    advance(SPREAD).await;
    let outcome = doubted.verifier.verify(token("abc")).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::Inactive));
}

#[tokio::test(start_paused = true)]
async fn verification_under_way_is_repeated_when_its_time_has_come() {
    let server = Scripted::new().takes(SEC);
    let revocations = Revocations::new().clock(server.clock.clone());
    let verifier = RevocationLayer::new(revocations.clone()).layer(server.clone());
    let waiting = tokio::spawn(verifier.verify(token("abc")));
    tokio::time::sleep(SEC / 2).await;
    // It is over when the outcome arrives.
    revocations.local().doubt(REASON, SEC / 4);
    assert!(waiting.await.unwrap().is_ok());
    assert_eq!(server.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn second_doubt_before_the_end_extends_nothing() {
    let doubted = Doubted::new(Method::Introspection);
    doubted.all().await;
    doubted.local.doubt(REASON, SPREAD);
    for _ in 0..9 {
        advance(SPREAD / 10).await;
        doubted.local.doubt(REASON, SPREAD);
    }
    advance(SPREAD / 10).await;
    assert_eq!(doubted.all().await, TOKENS);
}

#[tokio::test(start_paused = true)]
async fn second_doubt_outdates_the_facts_from_between_as_well() {
    let doubted = Doubted::new(Method::Introspection);
    doubted.local.doubt(REASON, SPREAD);
    advance(SPREAD / 4).await;
    doubted.asked("between").await;
    advance(SPREAD / 4).await;
    doubted.local.doubt(REASON, SPREAD);
    doubted.asked("after").await;
    // However long those may take.
    advance(2 * SPREAD).await;
    assert_eq!((doubted.asked("between").await, doubted.asked("after").await), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn doubt_after_the_end_of_another_has_its_own_spread() {
    let doubted = Doubted::new(Method::Introspection);
    doubted.all().await;
    doubted.local.doubt(REASON, SPREAD);
    advance(SPREAD).await;
    assert_eq!(doubted.all().await, TOKENS);
    doubted.local.doubt(REASON, SPREAD);
    assert_eq!(doubted.all().await, 0, "all at once");
    advance(SPREAD / 2).await;
    let half = doubted.all().await;
    assert!(half.abs_diff(TOKENS / 2) <= 60, "{half} in half of the time");
    advance(SPREAD / 2).await;
    assert_eq!(half + doubted.all().await, TOKENS);
}

#[tokio::test(start_paused = true)]
async fn doubt_is_no_cutoff_and_cutoffs_hold_beside_it() {
    let doubted = Doubted::new(Method::Introspection);
    for text in ["one", "two"] {
        doubted.asked(text).await;
    }
    advance(SEC).await;
    doubted.local.doubt(REASON, SPREAD);
    let revocations = &doubted.revocations;
    assert!(revocations.is_empty() && revocations.in_force(10).is_empty());
    // A look at the number leaves the doubt in force.
    advance(SPREAD).await;
    assert_eq!((revocations.len(), doubted.asked("one").await), (0, 1));
    // A cutoff has no spread, whichever comes first.
    advance(SEC).await;
    doubted.local.doubt(REASON, SPREAD);
    revocations.outdate(&Cutoff::subject(ISSUER, "alice"));
    assert_eq!((doubted.asked("one").await, doubted.asked("two").await), (1, 1));
    let jwts = Doubted::new(Method::Jwt);
    jwts.asked("abc").await;
    jwts.revocations.revoke(&Cutoff::issuer(ISSUER));
    jwts.local.doubt(REASON, SPREAD);
    let outcome = jwts.verifier.verify(token("abc")).await;
    assert_eq!(kind(&outcome), Some(ErrorKind::Revoked));
}

#[tokio::test(start_paused = true)]
async fn cutoffs_from_before_a_fact_do_not_spare_it() {
    let other = |name: &str| Cutoff::issuer(format!("https://{name}.example.com"));
    for cutoffs in [
        vec![Cutoff::subject(ISSUER, "bob")],
        vec![Cutoff::subject(ISSUER, "alice")],
        vec![Cutoff::issuer(ISSUER)],
        vec![Cutoff::issuer(ISSUER), Cutoff::subject(ISSUER, "alice")],
        vec![other("a")],
        // The last ones share a cutoff, because there is no place for them.
        vec![other("a"), other("b"), other("c"), other("d")],
    ] {
        let doubted = Doubted::with(Method::Introspection, Revocations::with_capacity(2));
        cutoffs.iter().for_each(|cutoff| doubted.revocations.outdate(cutoff));
        advance(SEC).await;
        assert_eq!((doubted.asked("abc").await, doubted.asked("abc").await), (1, 0));
        advance(SEC).await;
        doubted.local.doubt(REASON, SPREAD);
        advance(SPREAD).await;
        assert_eq!((doubted.asked("abc").await, doubted.asked("abc").await), (1, 0), "{cutoffs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn resource_server_spreads_what_it_asks_about_doubted_tokens() {
    let world = World::with(|api| api.issuer(remote()).max_age(36 * SPREAD));
    let mint = || world.server.opaque().expires_in(36 * SPREAD).audience(crate::support::AUDIENCE);
    let tokens: Vec<_> = (0..TOKENS).map(|_| mint().mint()).collect();
    let present_all = async || {
        let before = world.asked();
        for token in &tokens {
            assert_eq!(world.status(token).await, 200);
            advance(Duration::from_micros(1)).await;
        }
        world.asked() - before
    };
    assert_eq!((present_all().await, present_all().await), (TOKENS, 0));
    world.api.revocations().local().doubt(REASON, SPREAD);
    assert_eq!(present_all().await, 0, "all at once");
    let mut total = 0;
    for _ in 0..10 {
        advance(SPREAD / 10).await;
        let asked = present_all().await;
        assert!(asked <= 55, "{asked} in one tenth of the time");
        total += asked;
    }
    assert_eq!(total, TOKENS);
}

#[tokio::test(start_paused = true)]
async fn resource_server_still_admits_jwts_after_a_doubt() {
    let world = World::new(Issuer::hybrid(ISSUER, auth()));
    let jwt = world.jwt();
    assert_eq!(world.status(&jwt).await, 200);
    world.api.revocations().local().doubt(REASON, SEC);
    advance(2 * SEC).await;
    assert_eq!((world.status(&jwt).await, world.asked()), (200, 0));
}

#[tokio::test(start_paused = true)]
async fn many_doubts_cause_no_more_requests_than_one() {
    for pause in [1, 5, 20, 33, 45, 99] {
        let doubted = Doubted::new(Method::Introspection);
        doubted.all().await;
        let mut tenth = 0;
        for second in 0..400 {
            if second % pause == 0 && second < 200 {
                doubted.local.doubt(REASON, SPREAD);
            }
            tenth += doubted.all().await;
            if second % 10 == 9 {
                assert!(tenth <= 55, "{tenth} in one tenth of the time, at second {second}");
                tenth = 0;
            }
            advance(SPREAD / 100).await;
        }
        // The last ones have ended.
        assert_eq!(doubted.all().await, 0, "every {pause} seconds");
    }
}

#[tokio::test(start_paused = true)]
async fn doubt_after_the_end_of_another_gives_its_facts_no_more_time() {
    for pause in [SPREAD, 2 * SPREAD] {
        let doubted = Doubted::new(Method::Introspection);
        doubted.all().await;
        doubted.local.doubt(REASON, SPREAD);
        advance(pause).await;
        doubted.local.doubt(REASON, SPREAD);
        assert_eq!(doubted.all().await, TOKENS);
    }
}

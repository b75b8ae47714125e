//! Resource servers that share a tier.

use bytes::Bytes;
use http::Request;
use tower_introspect::{
    ErrorKind, Issuer, ResourceServer,
    clock::UnixTime,
    proof::{Dpop, Mark, Marking, MemoryReplay},
    resource_server::ResourceServerBuilder,
    revocation::{Cutoff, Revocations},
    test_util::Prover,
};

use super::*;
use crate::{
    support::{AUDIENCE, FixedClock, ISSUER, ask, refusal, request},
    world::{World, auth, bearer},
};

/// Two instances of a service, with one authorization server.
struct Pair {
    world: World,
    other: ResourceServer,
}

impl Pair {
    fn new(change: impl Fn(ResourceServerBuilder) -> ResourceServerBuilder) -> Self {
        let world = World::with(&change);
        let builder = ResourceServer::builder(AUDIENCE).transport(world.server.transport());
        let other = change(builder.clock(world.clock.clone())).build().unwrap();
        Self { world, other }
    }

    /// Returns the refusals by both.
    async fn refused(&self, request: impl Fn() -> Request<Bytes>) -> [Option<ErrorKind>; 2] {
        let one = refusal(&ask(&self.world.api.layer(), request()).await);
        [one, refusal(&ask(&self.other.layer(), request()).await)]
    }
}

#[tokio::test(start_paused = true)]
async fn jwt_that_one_instance_revokes_is_refused_by_both() {
    let bus = Bus::default();
    let pair = Pair::new(|api| api.issuer(Issuer::jwt(ISSUER)).shared(bus.clone()));
    let jwt = pair.world.jwt();
    assert_eq!(pair.refused(|| bearer(&jwt)).await, [None; 2]);
    pair.other.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    assert_eq!(pair.refused(|| bearer(&jwt)).await, [Some(ErrorKind::Revoked); 2]);
    assert_eq!(bus.published(), 1);
    // In both directions, and no later token.
    pair.world.clock.step(SEC);
    let later = pair.world.jwt();
    assert_eq!(pair.refused(|| bearer(&later)).await, [None; 2]);
    pair.world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    assert_eq!(pair.refused(|| bearer(&later)).await, [Some(ErrorKind::Revoked); 2]);
    assert_eq!(bus.published(), 2);
}

#[tokio::test(start_paused = true)]
async fn instances_without_a_tier_share_nothing() {
    let pair = Pair::new(|api| api.issuer(Issuer::jwt(ISSUER)));
    let jwt = pair.world.jwt();
    pair.other.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    assert_eq!(pair.refused(|| bearer(&jwt)).await, [None, Some(ErrorKind::Revoked)]);
}

#[tokio::test(start_paused = true)]
async fn token_that_one_instance_cuts_is_asked_anew_by_both() {
    for revokes in [true, false] {
        let bus = Bus::default();
        let pair =
            Pair::new(|api| api.issuer(Issuer::introspect(ISSUER, auth())).shared(bus.clone()));
        let token = pair.world.opaque();
        for _ in 0..2 {
            assert_eq!(pair.refused(|| bearer(&token)).await, [None; 2]);
        }
        assert_eq!(pair.world.asked(), 2, "once by each");
        tokio::time::advance(SEC).await;
        pair.world.server.revoke(&token);
        assert_eq!(pair.refused(|| bearer(&token)).await, [None; 2]);
        let alice = Cutoff::subject(ISSUER, "alice");
        let revocations = pair.other.revocations();
        if revokes {
            revocations.revoke(&alice)
        } else {
            revocations.outdate(&alice)
        }
        assert_eq!(pair.refused(|| bearer(&token)).await, [Some(ErrorKind::Inactive); 2]);
        assert_eq!(pair.world.asked(), 4);
        assert_eq!(bus.published(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn tier_gets_the_clock_and_the_cutoffs_of_the_resource_server() {
    let given = Arc::new(Mutex::new(None));
    let told = Arc::clone(&given);
    let tier = TestTier::with_feed(move |local, clock| {
        *told.lock().unwrap() = Some((local, clock));
        Ok(Some(Arc::new(TestFeed::default())))
    });
    let world = World::with(|api| api.issuer(Issuer::jwt(ISSUER)).shared(tier));
    let (local, clock) = given.lock().unwrap().take().unwrap();
    world.clock.step(7 * SEC);
    assert_eq!(clock.now(), UnixTime::from_secs(1_800_000_007));
    local.apply(&CutoffChange::Revoke(Cutoff::subject(ISSUER, "alice")));
    assert_eq!(world.api.revocations().len(), 1);
    drop(world);
    assert!(local.is_gone());
}

#[tokio::test(start_paused = true)]
async fn revocations_of_the_application_are_shared() {
    let (bus, own) = (Bus::default(), Revocations::new().clock(FixedClock));
    let with_own = |api: ResourceServerBuilder| {
        api.issuer(Issuer::jwt(ISSUER)).revocations(own.clone()).shared(bus.clone())
    };
    let world = World::with(with_own);
    let other = World::with(|api| api.issuer(Issuer::jwt(ISSUER)).shared(bus.clone()));
    own.revoke(&Cutoff::subject(ISSUER, "alice"));
    assert_eq!(other.api.revocations().len(), 1);
    assert_eq!(world.status(&world.jwt()).await, 401);
}

// ===== Used proofs =====

const URL: &str = "https://api.example.com/";

/// A store that the test can inspect.
struct Inspected(Arc<MemoryReplay>);

impl ReplayStore for Inspected {
    fn mark(&self, mark: Mark) -> Marking {
        self.0.mark(mark)
    }
}

/// Returns the refusals by two instances of a request with the same proof.
async fn refused_with_one_proof(pair: &Pair) -> [Option<ErrorKind>; 2] {
    let prover = Prover::new("client").with_clock(pair.world.clock.clone());
    let token = pair.world.server.jwt().audience(AUDIENCE).bound_to(&prover).mint();
    let proof = prover.proof("GET", URL).for_token(&token).mint();
    let authorization = format!("DPoP {token}");
    pair.refused(|| request(&[("authorization", &authorization), ("dpop", &proof)])).await
}

#[tokio::test(start_paused = true)]
async fn rfc9449_11_1_instances_with_a_shared_store_accept_a_proof_once_together() {
    let dpop = || Dpop::new("https://api.example.com").unwrap();
    // Whatever the builder is told first.
    for tier_first in [true, false] {
        let store = Arc::new(MemoryReplay::new());
        let pair = Pair::new(|api| {
            let tier = TestTier::with_store(Arc::clone(&store) as _);
            let api = api.issuer(Issuer::jwt(ISSUER));
            match tier_first {
                true => api.shared(tier).policy(|policy| policy.dpop(dpop())),
                false => api.policy(|policy| policy.dpop(dpop())).shared(tier),
            }
        });
        let refused = refused_with_one_proof(&pair).await;
        assert_eq!(refused, [None, Some(ErrorKind::InvalidProof)]);
        assert_eq!(store.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn store_of_proofs_that_the_application_set_stays() {
    let (shared, own) = (Arc::new(MemoryReplay::new()), Arc::new(MemoryReplay::new()));
    let pair = Pair::new(|api| {
        let dpop = Dpop::new("https://api.example.com").unwrap();
        let dpop = dpop.replay_store(Inspected(Arc::clone(&own)));
        api.issuer(Issuer::jwt(ISSUER))
            .policy(|policy| policy.dpop(dpop))
            .shared(TestTier::with_store(Arc::clone(&shared) as _))
    });
    let refused = refused_with_one_proof(&pair).await;
    assert_eq!(refused, [None, Some(ErrorKind::InvalidProof)], "it is the same for both");
    assert_eq!((shared.len(), own.len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn tier_without_a_store_of_proofs_leaves_each_instance_its_own() {
    let pair = Pair::new(|api| {
        let dpop = Dpop::new("https://api.example.com").unwrap();
        api.issuer(Issuer::jwt(ISSUER)).policy(|policy| policy.dpop(dpop)).shared(Bus::default())
    });
    assert_eq!(refused_with_one_proof(&pair).await, [None; 2]);
}

#[tokio::test(start_paused = true)]
async fn tier_with_a_store_of_proofs_requires_no_proofs() {
    let store = Arc::new(MemoryReplay::new());
    let tier = TestTier::with_store(Arc::clone(&store) as _);
    let world = World::with(|api| api.issuer(Issuer::jwt(ISSUER)).shared(tier));
    assert_eq!(world.status(&world.jwt()).await, 200);
    assert!(store.is_empty() && world.api.feed_state().is_none());
}

// ===== Problems with the settings =====

/// Returns the problems of a resource server with this tier, and no audience.
fn problems(tier: impl SharedTier, revocations: &Revocations) -> Vec<(String, String)> {
    let api = ResourceServer::builder("").issuer(Issuer::jwt(ISSUER)).shared(tier);
    let error = api.revocations(revocations.clone()).build().unwrap_err();
    error.problems().map(|(name, problem)| (name.to_owned(), problem.to_owned())).collect()
}

fn owned(problems: [(&str, &str); 2]) -> [(String, String); 2] {
    problems.map(|(name, problem)| (name.to_owned(), problem.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn tier_that_has_no_feed_because_of_its_settings_is_a_problem_beside_the_others() {
    let tier = TestTier::with_feed(|_, _| Err("the URL has no host".into()));
    let expected = [("audience", "the audience is empty"), ("shared", "the URL has no host")];
    assert_eq!(problems(tier, &Revocations::new()), owned(expected));
}

#[tokio::test(start_paused = true)]
async fn second_tier_for_the_same_revocations_is_a_problem() {
    let revocations = Revocations::new();
    revocations.connect(Arc::new(TestFeed::default())).unwrap();
    let told = ("shared", "the revocations have a feed already");
    let expected = [("audience", "the audience is empty"), told];
    assert_eq!(problems(Bus::default(), &revocations), owned(expected));
}

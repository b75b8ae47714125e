//! Issuers whose tokens a verifier of the application verifies, alone and beside others.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use tokio::time::sleep;
use tower_introspect::{
    ErrorKind, Issuer, ResourceServer, VerifyError,
    claims::Claims,
    clock::{Moment, UnixTime},
    credentials::Token,
    jose::Algorithm,
    jwt::KeySet,
    resource_server::{IssuerResolver, ResourceServerBuilder},
    revocation::Cutoff,
    test_util::TestClock,
    upstream::MissBudgetLayer,
    verify::{
        ActiveToken, Freshness, Method, Outcome, PeerKey, Verifier, VerifyRequest, Verifying,
    },
};

use crate::{
    support::{AUDIENCE, ISSUER, ask, refusal, with_authorization},
    world::{World, auth, remote},
};

const SEC: Duration = Duration::from_secs(1);
const KEYS: &str = "api-keys";
const CLAIMS: &str = r#"{"sub":"backup","jti":"1","aud":"https://api.example.com"}"#;

/// A store of keys. Clones share it.
#[derive(Clone)]
struct Keys {
    issuer: &'static str,
    claims: Arc<Mutex<BTreeMap<String, String>>>,
    calls: Arc<AtomicUsize>,
    /// True if the store responds at once.
    at_once: bool,
    clock: TestClock,
}

impl Keys {
    fn new() -> Self {
        Self::of(KEYS, CLAIMS)
    }

    /// A store that vouches for the key `key_1` in the name of `issuer`.
    fn of(issuer: &'static str, claims: &str) -> Self {
        let claims = BTreeMap::from([("key_1".to_owned(), claims.to_owned())]);
        Self {
            issuer,
            claims: Arc::new(Mutex::new(claims)),
            calls: Arc::default(),
            at_once: false,
            clock: TestClock::new(UnixTime::from_secs(1_800_000_000)),
        }
    }

    fn add(&self, key: &str) {
        self.claims.lock().unwrap().insert(key.to_owned(), CLAIMS.to_owned());
    }

    fn remove(&self, key: &str) {
        self.claims.lock().unwrap().remove(key);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn look_up(&self, key: &str, started: Moment) -> Outcome {
        let claims = self.claims.lock().unwrap().get(key).cloned();
        let claims = claims.ok_or_else(|| VerifyError::new(ErrorKind::Inactive))?;
        let claims = Claims::from_json(claims.as_bytes()).expect("strict claims");
        Ok(ActiveToken::new(self.issuer, claims, Method::Custom, started))
    }
}

impl Verifier for Keys {
    type Future = std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn verify(&self, request: VerifyRequest) -> Verifying<Self::Future> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (this, started) = (self.clone(), Moment::now(&self.clock));
        if self.at_once {
            return Verifying::done(this.look_up(request.token().secret_str(), started));
        }
        Verifying::pending(Box::pin(async move {
            sleep(SEC / 100).await;
            this.look_up(request.token().secret_str(), started)
        }))
    }
}

fn custom(keys: &Keys) -> Issuer {
    Issuer::custom(KEYS, keys.clone())
}

/// An unsigned JWT with these claims.
fn jwt_with(claims: &str) -> String {
    let [header, claims] = [r#"{"alg":"ES256"}"#, claims].map(|text| URL_SAFE_NO_PAD.encode(text));
    format!("{header}.{claims}.AAAA")
}

async fn refused(world: &World, token: &str) -> Option<ErrorKind> {
    refusal(&world.present(token).await)
}

// ===== Routes =====

#[tokio::test(start_paused = true)]
async fn keys_jwts_and_opaque_tokens_each_go_to_their_own_issuer() {
    let keys = Keys::new();
    let world = World::with(|api| {
        api.issuer(Issuer::hybrid(ISSUER, auth())).issuer(custom(&keys).token_prefix("key_"))
    });
    assert_eq!(world.present("key_1").await.body(), "backup");
    assert_eq!((keys.calls(), world.asked()), (1, 0));
    assert_eq!(world.present(&world.jwt()).await.body(), "alice");
    assert_eq!((keys.calls(), world.asked()), (1, 0));
    assert_eq!(world.present(&world.opaque()).await.body(), "alice");
    assert_eq!((keys.calls(), world.asked()), (1, 1));
}

/// A key is a secret of this service, and a token is one of the authorization server.
#[tokio::test(start_paused = true)]
async fn no_token_reaches_the_verifier_of_another_issuer() {
    let keys = Keys::new();
    let world = World::with(|api| api.issuer(remote()).issuer(custom(&keys).token_prefix("key_")));
    for key in ["key_2", "key_", "key_1x", "key_.a.b", "key_eyJ.e30.x"] {
        assert_eq!(refused(&world, key).await, Some(ErrorKind::Inactive), "{key}");
    }
    assert_eq!((keys.calls(), world.asked()), (5, 0));
    for other in ["KEY_1", "Key_1", "xkey_1", "key", "key-1", "1"] {
        assert_eq!(refused(&world, other).await, Some(ErrorKind::Inactive), "{other}");
    }
    assert_eq!((keys.calls(), world.asked()), (5, 6));
}

/// Each issuer would admit the token of the other by itself.
#[tokio::test(start_paused = true)]
async fn token_without_the_prefix_of_its_issuer_is_refused() {
    let keys = Keys::new();
    keys.add("secret");
    let named = jwt_with(&format!(r#"{{"iss":"{KEYS}"}}"#));
    keys.add(&named);
    let other = || Issuer::jwt(ISSUER);
    for other in [None, Some(other())] {
        let world = World::with(|api| {
            let api = other.into_iter().fold(api, ResourceServerBuilder::issuer);
            api.issuer(custom(&keys).token_prefix("key_"))
        });
        for _ in 0..2 {
            assert_eq!(refused(&world, "secret").await, Some(ErrorKind::MalformedToken));
            assert_eq!(refused(&world, &named).await, Some(ErrorKind::UnknownIssuer));
        }
    }
    assert_eq!(keys.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn custom_issuer_without_a_prefix_gets_what_no_other_issuer_claims() {
    let keys = Keys::new();
    let named = jwt_with(&format!(r#"{{"iss":"{KEYS}"}}"#));
    keys.add(&named);
    let world = World::with(|api| {
        api.issuer(Issuer::hybrid(ISSUER, auth()).token_prefix("at_")).issuer(custom(&keys))
    });
    assert_eq!(world.present("key_1").await.body(), "backup");
    assert_eq!(world.present(&named).await.body(), "backup", "a JWT that names it");
    assert_eq!(world.present(&world.jwt()).await.body(), "alice");
    assert_eq!(refused(&world, "at_1").await, Some(ErrorKind::Inactive));
    assert_eq!((keys.calls(), world.asked()), (2, 1));
    let unknown = jwt_with(r#"{"iss":"https://unheard-of.example.com"}"#);
    assert_eq!(refused(&world, &unknown).await, Some(ErrorKind::UnknownIssuer));
    assert_eq!(keys.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn shape_of_a_token_selects_its_issuer_unless_it_is_a_jwt() {
    let (keys, short) = (Keys::new(), Keys::of("short", CLAIMS));
    let world = World::with(|api| {
        api.issuer(Issuer::hybrid(ISSUER, auth()))
            .issuer(custom(&keys).token_shape(|token| token.ends_with('1') || token.len() > 60))
            .issuer(Issuer::custom("short", short.clone()).token_shape(|token| token.len() < 3))
    });
    assert_eq!(world.present("key_1").await.body(), "backup");
    assert_eq!(refused(&world, "a").await, Some(ErrorKind::Inactive));
    assert_eq!((keys.calls(), short.calls(), world.asked()), (1, 1, 0));
    // Of both shapes.
    assert_eq!(refused(&world, "a1").await, Some(ErrorKind::MalformedToken));
    assert_eq!((keys.calls(), short.calls(), world.asked()), (1, 1, 0));
    assert_eq!(world.present(&world.jwt()).await.body(), "alice", "long enough for the shape");
    assert_eq!(refused(&world, "other").await, Some(ErrorKind::Inactive));
    assert_eq!((keys.calls(), short.calls(), world.asked()), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn prefix_comes_before_shapes_and_its_own_shape_is_required_too() {
    let (keys, other) = (Keys::new(), Keys::of("other", CLAIMS));
    let world = World::with(|api| {
        api.issuer(remote().token_prefix("at_"))
            .issuer(custom(&keys).token_prefix("key_").token_shape(|token| token.len() == 5))
            .issuer(Issuer::custom("other", other.clone()).token_shape(|_| true))
    });
    assert_eq!(world.present("key_1").await.body(), "backup");
    // As by a checksum: no verifier is called.
    assert_eq!(refused(&world, "key_12").await, Some(ErrorKind::MalformedToken));
    assert_eq!(refused(&world, "at_1").await, Some(ErrorKind::Inactive));
    assert_eq!((keys.calls(), other.calls(), world.asked()), (1, 0, 1));
    assert_eq!(refused(&world, "1").await, Some(ErrorKind::Inactive));
    assert_eq!((keys.calls(), other.calls(), world.asked()), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn shape_gets_ascii_only() {
    let keys = Keys::new();
    let world = World::with(|api| {
        api.issuer(Issuer::jwt(ISSUER)).issuer(custom(&keys).token_shape(|token| {
            assert!(token.is_ascii());
            true
        }))
    });
    for value in [b"Bearer key_1\xe2\x82\xac".as_slice(), b"Bearer \xff", b"Bearer key 1"] {
        let request = with_authorization(value).unwrap();
        let response = ask(&world.api.layer(), request).await;
        assert_eq!(refusal(&response), Some(ErrorKind::MalformedCredentials));
    }
    assert_eq!(keys.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn custom_issuer_stands_beside_resolved_ones() {
    let keys = Keys::new();
    let world = World::with(|api| {
        let resolve = async |issuer: String| Ok(Some(Issuer::jwt(issuer)));
        api.resolve_issuers(IssuerResolver::new(|issuer| issuer == ISSUER, resolve))
            .issuer(custom(&keys).token_prefix("key_"))
    });
    assert_eq!(world.present("key_1").await.body(), "backup");
    assert_eq!(world.present(&world.jwt()).await.body(), "alice");
    assert_eq!(keys.calls(), 1);
}

// ===== Facts =====

/// Otherwise a fault of the verifier would let its tokens pass for those of another issuer.
#[tokio::test(start_paused = true)]
async fn facts_of_another_issuer_are_refused() {
    let with_iss = |iss: &str| CLAIMS.replacen('{', &format!("{{\"iss\":{iss},"), 1);
    let own = with_iss(&format!("\"{KEYS}\""));
    assert_eq!(World::new(custom(&Keys::of(KEYS, &own))).status("key_1").await, 200);
    for (issuer, claims) in [
        (ISSUER, CLAIMS.to_owned()),
        ("api-keys/", CLAIMS.to_owned()),
        (ISSUER, own),
        (KEYS, with_iss(&format!("\"{ISSUER}\""))),
        (KEYS, with_iss("\"\"")),
        (KEYS, with_iss("\"api-keys \"")),
    ] {
        for at_once in [true, false] {
            let keys = Keys { at_once, ..Keys::of(issuer, &claims) };
            let world = World::new(custom(&keys));
            for _ in 0..2 {
                let response = world.present("key_1").await;
                assert_eq!(response.status(), 401, "{claims}");
                assert_eq!(refusal(&response), Some(ErrorKind::WrongIssuer), "{claims}");
            }
            let world = World::with(|api| {
                api.issuer(Issuer::jwt(ISSUER)).issuer(custom(&keys).token_prefix("key_"))
            });
            assert_eq!(refused(&world, "key_1").await, Some(ErrorKind::WrongIssuer), "{claims}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn policy_is_the_same_for_custom_issuers() {
    for (claims, kind) in [
        (r#"{"sub":"backup"}"#, ErrorKind::MissingClaim("aud")),
        (r#"{"aud":"https://api.example.com","exp":1}"#, ErrorKind::Expired),
        (r#"{"aud":"https://api.example.com","cnf":{"jkt":"a"}}"#, ErrorKind::UnprovenPossession),
    ] {
        let world = World::new(custom(&Keys::of(KEYS, claims)));
        assert_eq!(refused(&world, "key_1").await, Some(kind), "{claims}");
    }
}

// ===== Cache, cutoffs, freshness, budget =====

#[tokio::test(start_paused = true)]
async fn facts_are_cached_shared_and_bounded_in_age() {
    let keys = Keys::new();
    let world = World::with(|api| {
        api.issuer(Issuer::jwt(ISSUER)).issuer(custom(&keys).token_prefix("key_")).max_age(SEC * 10)
    });
    let all = join_all((0..5).map(|_| world.status("key_1"))).await;
    assert_eq!(all, [200; 5]);
    assert_eq!(keys.calls(), 1);
    let stats = world.api.issuer_stats(KEYS).unwrap();
    assert_eq!((stats.coalesced, stats.entries), (4, 1));
    assert_eq!(world.status("key_1").await, 200);
    assert_eq!(keys.calls(), 1);
    keys.remove("key_1");
    sleep(SEC * 10).await;
    assert_eq!(refused(&world, "key_1").await, Some(ErrorKind::Inactive));
    assert_eq!(keys.calls(), 2);
    assert_eq!(refused(&world, "key_1").await, Some(ErrorKind::Inactive), "cached");
    assert_eq!(keys.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn revoked_key_is_refused_with_the_next_request() {
    let keys = Keys::new();
    let world = World::new(custom(&keys).token_prefix("key_"));
    assert_eq!(world.status("key_1").await, 200);
    world.api.revocations().revoke(&Cutoff::token(KEYS, "1"));
    assert_eq!(refused(&world, "key_1").await, Some(ErrorKind::Revoked));
}

/// The store knows best which of them are good.
#[tokio::test(start_paused = true)]
async fn cutoff_has_keys_without_iat_verified_again() {
    for cutoff in [Cutoff::subject(KEYS, "backup"), Cutoff::issuer(KEYS)] {
        let keys = Keys::new();
        let world = World::new(custom(&keys).token_prefix("key_"));
        assert_eq!(world.status("key_1").await, 200);
        world.api.revocations().revoke(&cutoff);
        assert_eq!(world.status("key_1").await, 200);
        assert_eq!(keys.calls(), 2);
        keys.remove("key_1");
        world.api.revocations().revoke(&cutoff);
        assert_eq!(refused(&world, "key_1").await, Some(ErrorKind::Inactive), "{cutoff:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn evicted_key_is_verified_again() {
    let keys = Keys::new();
    let world = World::new(custom(&keys).token_prefix("key_"));
    assert_eq!(world.status("key_1").await, 200);
    keys.remove("key_1");
    assert!(world.api.evict(&Token::bearer("key_1").unwrap()));
    assert_eq!(refused(&world, "key_1").await, Some(ErrorKind::Inactive));
}

#[tokio::test(start_paused = true)]
async fn live_request_calls_the_verifier() {
    let keys = Keys::new();
    let issuer = || custom(&keys).token_prefix("key_");
    let world = World::with(|api| api.issuer(remote()).issuer(issuer()));
    let live = world.api.live_layer().expect("both issuers can be asked");
    for calls in 1..4 {
        let response = ask(&live, crate::world::bearer("key_1")).await;
        assert_eq!((response.status().as_u16(), keys.calls()), (200, calls));
    }
    assert!(builder().freshness(Freshness::Live).issuer(issuer()).build().is_ok());
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_are_charged_to_the_budget_of_the_peer() {
    let keys = Keys::new();
    let world = World::with(|api| {
        api.issuer(custom(&keys).token_prefix("key_"))
            .miss_budget(MissBudgetLayer::new(2, SEC * 60), |_| {
                Some(PeerKey::address("192.0.2.1".parse().unwrap()))
            })
    });
    let mut kinds = Vec::new();
    for n in 2..10 {
        kinds.extend(refused(&world, &format!("key_{n}")).await);
    }
    assert!(kinds.ends_with(&[ErrorKind::TooManyRequests; 3]), "{kinds:?}");
    assert!(keys.calls() < 8);
}

// ===== Configuration =====

fn builder() -> ResourceServerBuilder {
    ResourceServer::builder(AUDIENCE)
}

fn problems(issuers: impl IntoIterator<Item = Issuer>) -> Vec<String> {
    match issuers.into_iter().fold(builder(), ResourceServerBuilder::issuer).build() {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

/// A custom issuer of this name.
fn named(name: &str) -> Issuer {
    Issuer::custom(name, Keys::new())
}

#[test]
fn overlapping_prefixes_are_refused() {
    for (one, other) in [("key_", "key_"), ("key_", "key_x_"), ("key_x_", "key_")] {
        let problem = format!("token_prefix: the prefixes `{one}` and `{other}` overlap");
        let custom = [named("a").token_prefix(one), named("b").token_prefix(other)];
        assert_eq!(problems(custom), [&*problem]);
        let mixed = [remote().token_prefix(one), named("b").token_prefix(other)];
        assert_eq!(problems(mixed), [&*problem]);
        let asking = Issuer::introspect("https://b.example.com", auth()).token_prefix(other);
        assert_eq!(problems([remote().token_prefix(one), asking]), [&*problem]);
    }
    let apart = ["key_a_", "key_b_", "Key_a_"].map(|prefix| named(prefix).token_prefix(prefix));
    assert!(problems(apart).is_empty());
}

#[test]
fn issuers_whose_tokens_nothing_tells_apart_are_refused() {
    let problem = |one: &str, other: &str| {
        format!(
            "token_prefix: nothing tells tokens of `{one}` from those of `{other}`: set a prefix or \
             a shape"
        )
    };
    assert_eq!(problems([named("a"), named("b")]), [problem("a", "b")]);
    assert_eq!(problems([remote(), named("b")]), [problem(ISSUER, "b")]);
    assert_eq!(problems([named("a"), Issuer::hybrid(ISSUER, auth())]), [problem("a", ISSUER)]);
    for fine in [
        vec![named("a")],
        vec![named("a"), Issuer::jwt(ISSUER)],
        vec![named("a"), remote().token_prefix("at_")],
        vec![named("a"), named("b").token_shape(|_| true)],
        vec![remote(), named("b").token_prefix("key_"), named("c").token_shape(|_| true)],
        vec![remote(), Issuer::introspect("https://b.example.com", auth())],
    ] {
        assert!(problems(fine).is_empty());
    }
}

#[test]
fn settings_of_a_custom_issuer_are_checked() {
    assert_eq!(problems([named("")]), ["issuer ``.issuer: the name is empty"]);
    assert_eq!(
        problems([named("a"), named("a").token_prefix("b_")]),
        ["issuer: `a` is configured twice"]
    );
    assert_eq!(
        problems([named("a").token_prefix("")]),
        ["issuer `a`.token_prefix: the prefix is empty"]
    );
    assert_eq!(
        problems([Issuer::jwt(ISSUER).token_shape(|_| true)]),
        ["issuer `https://as.example.com`.token_shape: only a custom issuer has one"]
    );
}

#[test]
fn custom_issuer_is_ready_and_no_authorization_server() {
    let keys = KeySet::from_secret(Algorithm::HS256, &[7; 32]).unwrap();
    let api = builder()
        .issuer(named("https://keys.example.com").token_prefix("key_"))
        .issuer(Issuer::jwt(ISSUER).configure_jwt(|jwt| jwt.keys(keys)))
        .metadata(|about| about)
        .build()
        .unwrap();
    assert!(api.readiness().iter().all(|issuer| issuer.is_ready()));
    let document = api.metadata_document().unwrap();
    assert!(document.contains(&format!(r#""authorization_servers":["{ISSUER}"]"#)), "{document}");
    let alone = builder().issuer(named("https://keys.example.com")).metadata(|about| about).build();
    let alone = alone.unwrap();
    assert!(!alone.metadata_document().unwrap().contains("authorization_servers"));
}

#[tokio::test(start_paused = true)]
async fn key_in_a_header_of_its_own_is_admitted() {
    let world = World::with(|api| {
        api.issuer(Issuer::jwt(ISSUER)).issuer(custom(&Keys::new()).token_prefix("key_")).extractor(
            tower_introspect::credentials::Extractor::new()
                .header(http::HeaderName::from_static("x-api-key")),
        )
    });
    let present = |fields: &[(&str, &str)]| {
        let request: Request<Bytes> = crate::support::request(fields);
        let layer = world.api.layer();
        async move { ask(&layer, request).await }
    };
    assert_eq!(present(&[("x-api-key", "key_1")]).await.body(), "backup");
    let token = format!("Bearer {}", world.jwt());
    assert_eq!(present(&[("authorization", &token)]).await.body(), "alice");
    let both = present(&[("authorization", &token), ("x-api-key", "key_1")]).await;
    assert_eq!(
        (both.status().as_u16(), refusal(&both)),
        (400, Some(ErrorKind::RepeatedCredentials))
    );
    // The padded form of an AWS load balancer is no JWS (RFC 7515 §2).
    let padded = present(&[("x-api-key", "eyJhIjoxfQ==.eyJhIjoxfQ==.AAAA==")]).await;
    assert_eq!(padded.status(), 400);
}

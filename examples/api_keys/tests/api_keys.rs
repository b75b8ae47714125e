//! The API with a real database, which each test creates.

use std::path::PathBuf;

use api_keys::{AUDIENCE, ApiKeys, ISSUER, NewKey, app, is_key, resource_server, revoke};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt as _;
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use tower::ServiceExt as _;
use tower_introspect::{
    ErrorKind, ResourceServer, VerifyError,
    test_util::{AuthorizationServer, Listening},
};

struct World {
    authority: AuthorizationServer,
    _listening: Listening,
    keys: ApiKeys,
    api: ResourceServer,
    app: Router,
    database: Database,
}

/// A database file that is removed on drop.
struct Database(PathBuf);

impl Database {
    fn new(name: &str) -> Self {
        let name = format!("introspect-api-keys-{name}-{}.db", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    async fn open(&self) -> ApiKeys {
        ApiKeys::open(SqliteConnectOptions::new().filename(&self.0), AUDIENCE).await.unwrap()
    }

    /// Returns the bytes of all files of the database.
    fn bytes(&self) -> Vec<u8> {
        let all = ["", "-wal", "-shm"].map(|end| format!("{}{end}", self.0.display()));
        all.iter().filter_map(|file| std::fs::read(file).ok()).flatten().collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            // A file that can't be removed stays.
            let _ = std::fs::remove_file(format!("{}{end}", self.0.display()));
        }
    }
}

impl World {
    async fn new(name: &str) -> Self {
        let (authority, _listening) = AuthorizationServer::on_loopback().await.unwrap();
        let database = Database::new(name);
        let keys = database.open().await;
        let api = resource_server(authority.issuer(), &keys);
        let api = api.danger_allow_http_loopback().build().unwrap();
        let app = app(&api, &keys, authority.issuer()).unwrap();
        Self { authority, _listening, keys, api, app, database }
    }

    fn jwt(&self, subject: &str) -> String {
        self.authority.jwt().subject(subject).audience(AUDIENCE).scope("reports:read").mint()
    }

    async fn key(&self) -> NewKey {
        self.keys.create("alice", "reports:read", None).await.unwrap()
    }

    /// Sends a request. Returns the status, the reason of a refusal, and the body.
    async fn send(
        &self,
        method: &str,
        path: &str,
        token: &str,
    ) -> (StatusCode, Option<ErrorKind>, String) {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {token}"));
        let response =
            self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let refused = response.extensions().get::<VerifyError>().map(VerifyError::kind);
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, refused, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn refused(&self, token: &str) -> Option<ErrorKind> {
        self.send("GET", "/reports", token).await.1
    }

    fn queries(&self) -> u64 {
        self.api.issuer_stats(ISSUER).unwrap().misses
    }
}

#[tokio::test]
async fn users_and_keys_are_both_admitted_and_told_apart() {
    let world = World::new("both").await;
    let key = world.key().await;
    let (status, _, body) = world.send("GET", "/reports", &key.secret).await;
    assert_eq!((status, &*body), (StatusCode::OK, "reports of alice, by api-keys\n"));
    let (status, _, body) = world.send("GET", "/reports", &world.jwt("alice")).await;
    let expected = format!("reports of alice, by {}\n", world.authority.issuer());
    assert_eq!((status, body), (StatusCode::OK, expected));
    assert_eq!(world.queries(), 1, "the JWT was not looked up");
}

#[tokio::test]
async fn unknown_key_is_refused_and_a_mistyped_one_costs_no_query() {
    let world = World::new("unknown").await;
    let key = world.key().await.secret;
    let unknown: String = key.chars().rev().take(43).collect();
    let unknown = format!("exkey_{unknown}");
    assert!(is_key(&unknown));
    assert_eq!(world.refused(&unknown).await, Some(ErrorKind::Inactive));
    assert_eq!(world.queries(), 1);
    for mistyped in [&key[..key.len() - 1], &format!("{key}a"), &key[6..], "exkey_", "key"] {
        assert_eq!(world.refused(mistyped).await, Some(ErrorKind::MalformedToken), "{mistyped}");
    }
    assert_eq!(world.queries(), 1);
}

#[tokio::test]
async fn database_holds_no_key() {
    let world = World::new("hashed").await;
    let key = world.key().await;
    assert_eq!(world.refused(&key.secret).await, None);
    let bytes = world.database.bytes();
    let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds(&key.id));
    assert!(!holds(&key.secret[6..]));
}

#[tokio::test]
async fn revoked_key_is_refused_with_the_next_request() {
    let world = World::new("revoked").await;
    let (key, other) = (world.key().await, world.key().await);
    for _ in 0..2 {
        assert_eq!(world.refused(&key.secret).await, None);
        assert_eq!(world.refused(&other.secret).await, None);
    }
    assert_eq!(world.queries(), 2, "then they are cached");
    let of_bob = revoke(&world.api, &world.keys, "bob", &key.id).await.unwrap();
    assert!(!of_bob, "it is not his");
    let path = format!("/keys/{}", key.id);
    assert_eq!(world.send("DELETE", &path, &world.jwt("bob")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.refused(&key.secret).await, None);
    assert_eq!(world.send("DELETE", &path, &world.jwt("alice")).await.0, StatusCode::NO_CONTENT);
    assert_eq!(world.refused(&key.secret).await, Some(ErrorKind::Inactive));
    assert_eq!(world.refused(&other.secret).await, None);

    // Another process, which knows only the database.
    let keys = world.database.open().await;
    let api = resource_server(world.authority.issuer(), &keys);
    let api = api.danger_allow_http_loopback().build().unwrap();
    let app = app(&api, &keys, world.authority.issuer()).unwrap();
    let world = World { keys, api, app, ..world };
    assert_eq!(world.refused(&key.secret).await, Some(ErrorKind::Inactive));
    assert_eq!(world.refused(&other.secret).await, None);
}

#[tokio::test]
async fn use_of_a_key_is_noted() {
    let world = World::new("used").await;
    let (status, _, body) = world.send("POST", "/keys", &world.jwt("alice")).await;
    assert_eq!(status, StatusCode::CREATED);
    let made: Value = serde_json::from_str(&body).unwrap();
    let key = made["key"].as_str().unwrap();
    let used = async || {
        let (_, _, body) = world.send("GET", "/keys", &world.jwt("alice")).await;
        let all: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(all[0]["id"], made["id"]);
        all[0]["last_used_at"].as_i64()
    };
    assert_eq!(used().await, None);
    assert_eq!(world.refused(key).await, None);
    assert!(used().await.unwrap() > 1_700_000_000);
    let (_, _, others) = world.send("GET", "/keys", &world.jwt("bob")).await;
    assert_eq!(others, "[]");
}

#[tokio::test]
async fn policy_judges_keys_like_tokens() {
    let world = World::new("policy").await;
    let expired = world.keys.create("alice", "reports:read", Some(1_700_000_000)).await.unwrap();
    assert_eq!(world.refused(&expired.secret).await, Some(ErrorKind::Expired));
    let weak = world.keys.create("alice", "other", None).await.unwrap();
    assert_eq!(world.refused(&weak.secret).await, Some(ErrorKind::InsufficientScope));
    let (_, refused, _) = world.send("POST", "/keys", &world.key().await.secret).await;
    assert_eq!(refused, Some(ErrorKind::WrongIssuer), "a key makes no keys");
}

#[tokio::test]
async fn key_is_not_refused_for_a_database_that_fails() {
    let world = World::new("down").await;
    let (cached, other) = (world.key().await, world.key().await);
    assert_eq!(world.refused(&cached.secret).await, None);
    world.keys.close().await;
    assert_eq!(world.refused(&cached.secret).await, None);
    let (status, refused, _) = world.send("GET", "/reports", &other.secret).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused, Some(ErrorKind::Unavailable));
}

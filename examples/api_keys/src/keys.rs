//! API keys in a database, and the verifier that looks them up.
//!
//! The database holds the SHA-256 digest of each key, never the key. A key is 256 random bits, so
//! nobody can find one with a given digest by trying. That is why no password hash is needed: its
//! slowness protects secrets that can be guessed, and would only cost time here, with every request
//! that is not in the cache. A salt would be of no use either: no two keys are the same, and it
//! would prevent the look-up by digest.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use sqlx::{
    Row as _, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow},
};
use tower_introspect::{
    ErrorKind, VerifyError,
    claims::Claims,
    clock::{Clock as _, Moment, SystemClock},
    credentials::Token,
    verify::{ActiveToken, Method, VerifyRequest},
};

/// The issuer of the facts about keys. The subject of a key is a user of the authorization server,
/// but the pair of issuer and subject is another identity than that user's.
pub const ISSUER: &str = "api-keys";

/// The start of each key. Scanners for leaked secrets can look for it.
pub const PREFIX: &str = "exkey_";

/// The length of the random part, 32 bytes in base64url.
const RANDOM_CHARS: usize = 43;

/// How much time may pass until the use of a key is noted again.
const NOTE_EVERY: Duration = Duration::from_secs(60);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS api_keys (
        id TEXT PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        scope TEXT NOT NULL,
        expires_at INTEGER,
        revoked_at INTEGER,
        last_used_at INTEGER
    ) STRICT";

/// The keys in a database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    pool: SqlitePool,
    audience: String,
}

/// A key that was just made. The only moment at which its text is known.
pub struct NewKey {
    /// Identifies the key in lists and logs. Not a secret.
    pub id: String,
    /// The key itself.
    pub secret: String,
}

/// A key as its owner sees it in a list.
pub struct Listed {
    pub id: String,
    pub scope: String,
    pub is_revoked: bool,
    pub last_used_at: Option<i64>,
}

impl ApiKeys {
    /// Opens the database, and creates its table if there is none. The keys are for `audience`.
    pub async fn open(
        options: SqliteConnectOptions,
        audience: impl Into<String>,
    ) -> Result<Self, sqlx::Error> {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(2));
        // A request waits no longer than this, and is then answered 503.
        let pool = SqlitePoolOptions::new().acquire_timeout(Duration::from_secs(2));
        let pool = pool.connect_with(options).await?;
        sqlx::query(SCHEMA).execute(&pool).await?;
        Ok(Self { pool, audience: audience.into() })
    }

    /// Makes a key, which ends at `expires_at` (seconds of Unix time), if ever.
    pub async fn create(
        &self,
        owner: &str,
        scope: &str,
        expires_at: Option<i64>,
    ) -> Result<NewKey, sqlx::Error> {
        let (id, secret) = (random_text::<12>()?, format!("{PREFIX}{}", random_text::<32>()?));
        let insert =
            "INSERT INTO api_keys (id, digest, owner, scope, expires_at) VALUES (?, ?, ?, ?, ?)";
        sqlx::query(insert)
            .bind(&id)
            .bind(digest(&secret))
            .bind(owner)
            .bind(scope)
            .bind(expires_at)
            .execute(&self.pool)
            .await?;
        Ok(NewKey { id, secret })
    }

    /// Returns the keys of an owner.
    pub async fn list(&self, owner: &str) -> Result<Vec<Listed>, sqlx::Error> {
        let select = "SELECT id, scope, revoked_at, last_used_at FROM api_keys WHERE owner = ?";
        let rows = sqlx::query(select).bind(owner).fetch_all(&self.pool).await?;
        let listed = |row: &SqliteRow| {
            Ok(Listed {
                id: row.try_get("id")?,
                scope: row.try_get("scope")?,
                is_revoked: row.try_get::<Option<i64>, _>("revoked_at")?.is_some(),
                last_used_at: row.try_get("last_used_at")?,
            })
        };
        rows.iter().map(listed).collect()
    }

    /// Revokes a key of an owner. Returns false if there is no such key.
    ///
    /// A cached key stays good until a cutoff or the end of its time in the cache: see
    /// [`revoke`](crate::revoke).
    pub(crate) async fn mark_revoked(&self, owner: &str, id: &str) -> Result<bool, sqlx::Error> {
        let update =
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?) WHERE owner = ? AND id = ?";
        let update = sqlx::query(update).bind(now()).bind(owner).bind(id);
        Ok(update.execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Closes all connections. Keys that are not in a cache are then refused with 503.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Looks a key up. This is the verifier.
    ///
    /// It states facts and makes no decision about this request: the policy checks the audience, the
    /// time, and the scope that a route needs, for cached keys too.
    pub async fn verify(&self, request: VerifyRequest) -> Result<ActiveToken, VerifyError> {
        // Before the query: a revocation after this moment may be missed by it.
        let started = Moment::now(&SystemClock);
        let select = "
            SELECT id, owner, scope, expires_at, last_used_at
            FROM api_keys WHERE digest = ? AND revoked_at IS NULL";
        // The SHA-256 digest of the token, which the cache needs as well.
        let select = sqlx::query(select).bind(request.fingerprint().as_bytes().to_vec());
        let found = select.fetch_optional(&self.pool).await.map_err(unavailable)?;
        let row = found.ok_or_else(|| VerifyError::new(ErrorKind::Inactive))?;
        let (id, claims) = self.claims(&row).map_err(unavailable)?;
        self.note_use(&id, row.try_get("last_used_at").map_err(unavailable)?).await;
        Ok(ActiveToken::new(ISSUER, claims, Method::Custom, started))
    }

    /// Returns the identifier of a key and its claims.
    ///
    /// There is no `iat`, so a cutoff for the owner has a key looked up again instead of refusing it.
    fn claims(&self, row: &SqliteRow) -> Result<(String, Claims), sqlx::Error> {
        let id: String = row.try_get("id")?;
        let mut claims = json!({
            "aud": self.audience,
            "jti": id,
            "scope": row.try_get::<String, _>("scope")?,
            "sub": row.try_get::<String, _>("owner")?,
        });
        if let Some(expires_at) = row.try_get::<Option<i64>, _>("expires_at")? {
            claims["exp"] = expires_at.into();
        }
        let claims = Claims::from_json(claims.to_string().as_bytes());
        Ok((id, claims.map_err(|error| sqlx::Error::Decode(error.into()))?))
    }

    /// Notes that a key was used, unless that was noted a moment ago.
    ///
    /// Requests whose key is in the cache do not come here. A key in use leaves the cache after
    /// `max_age`, 30 seconds by default, so the time is right to a minute or two.
    async fn note_use(&self, id: &str, noted_at: Option<i64>) {
        let now = now();
        if noted_at.is_some_and(|noted| now - noted < NOTE_EVERY.as_secs().cast_signed()) {
            return;
        }
        // The policy refuses an expired key.
        let update = "
            UPDATE api_keys SET last_used_at = ?1
            WHERE id = ?2 AND (expires_at IS NULL OR expires_at > ?1)";
        let update = sqlx::query(update).bind(now).bind(id);
        // The key is good whether or not this can be written.
        if let Err(error) = update.execute(&self.pool).await {
            eprintln!("the use of the key {id} could not be noted: {error}");
        }
    }
}

/// Returns true for texts that may be a key. All others are refused without a query.
pub fn is_key(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|random| random.len() == RANDOM_CHARS)
}

/// The database could not say. Clients get 503, and keep their keys.
fn unavailable(error: sqlx::Error) -> VerifyError {
    VerifyError::new(ErrorKind::Unavailable).with_source(error)
}

fn digest(secret: &str) -> Vec<u8> {
    let token = Token::bearer(secret).expect("letters, digits, `-` and `_`");
    VerifyRequest::new(token).fingerprint().as_bytes().to_vec()
}

/// Returns `N` random bytes in base64url, from the generator of the operating system.
fn random_text<const N: usize>() -> Result<String, sqlx::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn now() -> i64 {
    SystemClock.now().as_secs()
}

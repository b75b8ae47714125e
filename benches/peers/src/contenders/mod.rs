//! The crates that are measured, each in a file of its own and set up as its documentation says for
//! production.

mod aliri;
mod axum_jwt_auth;
mod axum_oidc_layer;
mod bare;
mod huskarl;
mod jwt_authorizer;
mod oauth_resource_server;
mod tower_oauth2;
mod us;
mod zitadel;

use std::{fmt::Display, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use tokio::runtime::Runtime;
use tower_introspect::jose::Algorithm;

pub use self::bare::{axum_07, axum_08, floor, floor_around};
pub use self::us::around as us_around;
use crate::{
    authority::{Authority, bearer},
    backend::Backend,
    drive::{Answer, Credentials, Drive, drive},
};

pub const US: &str = "tower-introspect";
pub const US_OPAQUE: &str = "tower-introspect, opaque";

/// A crate that is measured.
pub struct Contender {
    pub name: &'static str,
    /// The bare router inside.
    pub base: Base,
    /// True if it caches tokens.
    pub remembers: bool,
    backend: Backend,
    drive: Box<dyn Drive>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    Axum07,
    Axum08,
}

/// One that can't be, and why.
pub struct Skipped {
    pub name: &'static str,
    pub reason: String,
}

type Built = Result<Contender, String>;

impl Contender {
    fn new(name: &'static str, drive: Box<dyn Drive>) -> Self {
        Self { name, base: Base::Axum08, remembers: false, backend: Backend::AwsLc, drive }
    }

    /// A layer or an extractor in a router of axum 0.8.
    fn router(name: &'static str, router: Router) -> Self {
        Self::new(name, drive::<_, axum::body::Body, _>(served(router)))
    }

    /// A layer in a router of axum 0.7.
    fn old_router(name: &'static str, router: axum07::Router) -> Self {
        let drive = drive::<_, axum07::body::Body, _>(router.with_state::<()>(()));
        Self { base: Base::Axum07, ..Self::new(name, drive) }
    }

    fn with(self, backend: Backend) -> Self {
        Self { backend, ..self }
    }

    fn remembering(self) -> Self {
        Self { remembers: true, ..self }
    }

    pub fn is_us(&self) -> bool {
        [US, US_OPAQUE].contains(&self.name)
    }

    pub fn time(
        &mut self,
        runtime: &Runtime,
        batch: &[Credentials],
        expected: StatusCode,
    ) -> Duration {
        self.backend.select();
        self.drive.time(runtime, batch, expected)
    }

    #[cfg(feature = "count")]
    pub fn allocations(&mut self, credentials: &Credentials) -> Option<u64> {
        self.backend.select();
        self.drive.allocations(credentials)
    }

    pub fn ask(&self, credentials: &Credentials) -> Answer {
        self.backend.select();
        self.drive.ask(credentials)
    }

    /// Lets it load what it needs, until it answers a good token well.
    async fn warmed(self, good: &str) -> Built {
        let mut status = StatusCode::OK;
        for _ in 0..100 {
            status = self.ask(&bearer(good)).await;
            if status == StatusCode::OK {
                return Ok(self);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("answers a good token with {status}"))
    }
}

/// All that verify JWTs of this algorithm; with their memory of tokens, or without.
pub async fn of_jwts(
    authority: &Authority,
    algorithm: Algorithm,
    memory: bool,
) -> (Vec<Contender>, Vec<Skipped>) {
    use Backend::{AwsLc, RustCrypto};
    let all = [
        (US, us::jwt(authority, algorithm, memory).await),
        (jwt_authorizer::NAME, jwt_authorizer::build(authority, algorithm).await),
        (tower_oauth2::AWS_LC, tower_oauth2::build(authority, algorithm, AwsLc).await),
        (tower_oauth2::RUST_CRYPTO, tower_oauth2::build(authority, algorithm, RustCrypto).await),
        (axum_jwt_auth::AWS_LC, axum_jwt_auth::build(authority, algorithm, AwsLc).await),
        (axum_jwt_auth::RUST_CRYPTO, axum_jwt_auth::build(authority, algorithm, RustCrypto).await),
        (oauth_resource_server::NAME, oauth_resource_server::build(authority, algorithm).await),
        (huskarl::NAME, huskarl::jwt(authority, algorithm).await),
        (aliri::NAME, aliri::build(authority, algorithm).await),
        (axum_oidc_layer::NAME, axum_oidc_layer::build(authority, memory)),
    ];
    sort(all, &authority.jwt(algorithm)).await
}

/// All that ask the authorization server about tokens.
pub async fn of_opaque(authority: &Authority) -> (Vec<Contender>, Vec<Skipped>) {
    let all = [
        (US_OPAQUE, us::opaque(authority).await),
        (zitadel::NAME, zitadel::build(authority).await),
        (huskarl::INTROSPECTION, huskarl::introspection(authority).await),
    ];
    sort(all, &authority.opaque()).await
}

async fn sort<const N: usize>(
    all: [(&'static str, Built); N],
    good: &str,
) -> (Vec<Contender>, Vec<Skipped>) {
    let (mut contenders, mut skipped) = (Vec::new(), Vec::new());
    for (name, built) in all {
        let ready = match built {
            Ok(contender) => contender.warmed(good).await,
            Err(reason) => Err(reason),
        };
        match ready {
            Ok(contender) => contenders.push(contender),
            Err(reason) => skipped.push(Skipped { name, reason }),
        }
    }
    (contenders, skipped)
}

/// The handler that all have, but those that are an extractor in it.
fn plain() -> Router {
    Router::new().route("/", get(async || "done"))
}

/// The same in axum 0.7.
fn plain_07() -> axum07::Router {
    axum07::Router::new().route("/", axum07::routing::get(async || "done"))
}

/// The router as `axum::serve` has it: with its layers made. Without this, each request would make
/// them anew.
fn served(router: Router) -> Router {
    router.with_state(())
}

fn reason(error: impl Display) -> String {
    error.to_string()
}

//! A client replaces the token of its stream.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{FutureExt as _, Stream};
use tower_introspect::{
    ErrorKind, VerifyError,
    revocation::Cutoff,
    stream::Lease,
    test_util::{Jwt, TokenBuilder},
};

use super::*;

fn mint(world: &World, change: impl FnOnce(TokenBuilder<Jwt>) -> TokenBuilder<Jwt>) -> String {
    let token = world.server.jwt().subject("alice").client_id("app").audience(AUDIENCE);
    change(token.scope("read write").expires_in(60 * SEC)).mint()
}

async fn renewed(open: &Open, token: &str) -> Result<(), ErrorKind> {
    open.lease().renew(token).await.map(drop).map_err(|error: VerifyError| error.kind())
}

#[tokio::test(start_paused = true)]
async fn stream_goes_on_with_the_new_token() {
    let world = World::new(local());
    let old = mint(&world, |token| token);
    let mut open = open(&world, &old, GRPC).await;
    pass(50 * SEC).await;
    let new = mint(&world, |token| token.expires_in(600 * SEC));
    assert_eq!(renewed(&open, &new).await, Ok(()));
    pass(100 * SEC).await;
    assert_eq!(open.see().await, Seen::Nothing, "the old token has expired");
    assert!(open.lease().token().unwrap().expires_at() > Some(world.clock.now()));
    pass(600 * SEC).await;
    assert_eq!(open.see().await, Seen::Status("16".into(), true));
    assert_eq!(renewed(&open, &new).await, Err(ErrorKind::Expired), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn other_user_client_or_key_is_refused() {
    let world = World::new(local());
    let mut open = open(&world, &mint(&world, |token| token), GRPC).await;
    let jkt = serde_json::json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
    for (token, refused) in [
        (mint(&world, |token| token.subject("mallory")), ErrorKind::Denied),
        (mint(&world, |token| token.client_id("other")), ErrorKind::Denied),
        (mint(&world, |token| token.claim("cnf", jkt)), ErrorKind::UnprovenPossession),
        (
            mint(&world, |token| token.audience("https://other.example.com")),
            ErrorKind::WrongAudience,
        ),
        (mint(&world, |token| token.expired()), ErrorKind::Expired),
        ("not a token".to_owned(), ErrorKind::MalformedCredentials),
        ("x".repeat(8193), ErrorKind::TokenTooLong),
        (String::new(), ErrorKind::MalformedCredentials),
    ] {
        assert_eq!(renewed(&open, &token).await, Err(refused), "{token}");
        assert_eq!(open.see().await, Seen::Nothing, "the stream goes on");
    }
    assert_eq!(world.api.leases().open(), 1);
}

#[tokio::test(start_paused = true)]
async fn narrower_scope_is_judged_by_what_the_request_had_to_meet() {
    let world = World::new(local());
    let open = open(&world, &mint(&world, |token| token), GRPC).await;
    open.lease().require(&Requirement::all_scopes(["write"])).unwrap();
    let narrower = mint(&world, |token| token.scope("read"));
    assert_eq!(renewed(&open, &narrower).await, Err(ErrorKind::InsufficientScope));
    let enough = mint(&world, |token| token.scope("write"));
    assert_eq!(renewed(&open, &enough).await, Ok(()));
    assert_eq!(open.lease().token().unwrap().scope().to_string(), "write");
}

#[tokio::test(start_paused = true)]
async fn another_login_is_as_good_as_that_of_the_request() {
    let recent = Requirement::max_age(300 * SEC);
    let world = World::with(|api| api.issuer(local()).require(recent.clone()));
    let mint = |ahead: i64| {
        let login = world.clock.now().as_secs() + ahead;
        mint(&world, |token| token.expires_in(3600 * SEC).claim("auth_time", login))
    };
    let open = open(&world, &mint(0), GRPC).await;
    open.lease().require(&recent).unwrap();
    pass(400 * SEC).await;
    assert_eq!(renewed(&open, &mint(0)).await, Ok(()));
    open.lease().require(&recent).unwrap();
    // A login in the future still proves nothing.
    assert_eq!(renewed(&open, &mint(200)).await, Err(ErrorKind::InsufficientAuthentication));
    pass(400 * SEC).await;
    assert_eq!(open.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn maximum_life_for_want_of_an_expiry_is_that_of_the_new_token() {
    let world = World::new(remote());
    let mint = || world.server.opaque().subject("alice").audience(AUDIENCE);
    let dated = || mint().expires_in(36_000 * SEC).mint();
    let undated = || mint().without("exp").mint();
    let (short, long) = (open(&world, &dated(), GRPC).await, open(&world, &undated(), GRPC).await);
    let limited = world.api.streams().max_life(4000 * SEC);
    let limited = Open::with(&limited, bearer(&undated()), GRPC).await;
    assert_eq!(renewed(&short, &undated()).await, Ok(()));
    for open in [&long, &limited] {
        assert_eq!(renewed(open, &dated()).await, Ok(()));
    }
    pass(3602 * SEC).await;
    assert_eq!((short.reason(), long.reason()), (Some("max_life"), None));
    assert_eq!(limited.reason(), None);
    pass(400 * SEC).await;
    assert_eq!((limited.reason(), long.reason()), (Some("max_life"), None));
}

/// A stream that renews another one as it is dropped.
struct Renewing(Lease, String);

impl Stream for Renewing {
    type Item = ();

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<()>> {
        Poll::Pending
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        let _ = self.0.renew(&self.1).now_or_never();
    }
}

#[tokio::test(start_paused = true)]
async fn stream_that_is_renewed_during_a_shutdown_ends_all_the_same() {
    let world = World::new(local());
    let mint = || mint(&world, |token| token);
    let (one, other) = (open(&world, &mint(), GRPC).await, open(&world, &mint(), GRPC).await);
    // Whichever ends first renews the other, which was found to end before.
    let _one = one.lease().guard(Renewing(other.lease().clone(), mint()));
    let _other = other.lease().guard(Renewing(one.lease().clone(), mint()));
    world.api.end_streams(Duration::ZERO).await;
    assert_eq!((one.reason(), other.reason()), (Some("shut_down"), Some("shut_down")));
    assert_eq!(world.api.leases().open(), 0);
}

#[tokio::test(start_paused = true)]
async fn renewed_stream_ends_with_its_new_token() {
    let world = World::new(remote());
    let mint = || world.server.opaque().subject("alice").audience(AUDIENCE).mint();
    let (old, new) = (mint(), mint());
    let (renewing, other) = (open(&world, &old, GRPC).await, open(&world, &old, GRPC).await);
    assert_eq!(renewed(&renewing, &new).await, Ok(()));
    world.server.revoke(&new);
    pass(MAX_AGE + SEC).await;
    assert_eq!((renewing.reason(), other.reason()), (Some("inactive"), None));
}

#[tokio::test(start_paused = true)]
async fn stream_that_was_revoked_is_not_brought_back() {
    let world = World::new(local());
    let open = open(&world, &mint(&world, |token| token), GRPC).await;
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    pass(2 * SEC).await;
    let fresh = mint(&world, |token| token);
    assert_eq!(renewed(&open, &fresh).await, Err(ErrorKind::Revoked));
    assert_eq!(world.api.leases().open(), 0);
}

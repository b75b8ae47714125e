//! Nonces (RFC 9449 §8, §9).

use std::time::Duration;

use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_introspect::{ErrorKind, proof::NonceSecret};

use super::*;

/// Returns the nonce that a client without one gets.
async fn issued_nonce(world: &World) -> String {
    let response = world.with_proof(&world.proof().mint()).await;
    assert_eq!(refusal(&response), Some(ErrorKind::NonceRequired));
    nonce_of(&response).expect("a nonce")
}

fn nonce_required() -> World {
    World::with(dpop().require_nonce())
}

const NONCE_REQUIRED: Result<(), ErrorKind> = Err(ErrorKind::NonceRequired);

#[tokio::test(start_paused = true)]
async fn rfc9449_9_proof_without_a_nonce_is_refused_with_a_nonce() {
    let world = nonce_required();
    let response = world.with_proof(&world.proof().mint()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        challenges(&response),
        [
            "DPoP realm=\"https://api.example.com\", error=\"use_dpop_nonce\", algs=\"ES256 EdDSA PS256 ES384 RS256\""
        ]
    );
    assert_eq!(response.headers()["cache-control"], "no-store");
    let nonce = nonce_of(&response).unwrap();
    // 1*NQCHAR.
    assert!(nonce.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)), "{nonce}");
    assert_eq!(world.outcome(world.proof().nonce(&nonce)).await, Ok(()));
    assert_eq!(
        world.outcome(world.proof().nonce(&nonce)).await,
        Ok(()),
        "a nonce is valid for several proofs"
    );
}

#[tokio::test(start_paused = true)]
async fn rfc9449_11_3_nonce_of_another_service_is_refused() {
    let world = nonce_required();
    let nonce = issued_nonce(&world).await;
    assert_eq!(world.outcome(world.proof()).await, NONCE_REQUIRED);
    let other = issued_nonce(&nonce_required()).await;
    let longer = format!("{nonce}AAAA");
    for wrong in
        ["", "x", &nonce[1..], &longer, &nonce.to_lowercase(), &other, &format!(" {nonce}")]
    {
        let response = world.with_proof(&world.proof().nonce(wrong).mint()).await;
        assert_eq!(refusal(&response), Some(ErrorKind::NonceRequired), "{wrong}");
        assert!(nonce_of(&response).is_some());
    }
    let wrong_type = world.proof().claim("nonce", serde_json::json!([nonce]));
    assert_eq!(world.outcome(wrong_type).await, Err(ErrorKind::InvalidProof));
}

#[tokio::test(start_paused = true)]
async fn rfc9449_4_3_with_a_nonce_iat_is_not_compared() {
    let world = nonce_required();
    let nonce = issued_nonce(&world).await;
    for iat in [0, NOW.as_secs() - 86_400, NOW.as_secs() + 86_400] {
        assert_eq!(
            world.outcome(world.proof().nonce(&nonce).claim("iat", iat)).await,
            Ok(()),
            "{iat}"
        );
    }
    // It is required nevertheless.
    let without = world.proof().nonce(&nonce).without("iat");
    assert_eq!(world.outcome(without).await, Err(ErrorKind::InvalidProof));
}

#[tokio::test(start_paused = true)]
async fn rfc9449_8_2_nonce_of_the_previous_rotation_is_accepted_and_replaced() {
    let world = World::with(dpop().require_nonce().nonce_rotation(Duration::from_secs(60)));
    // The time at the start is a multiple of the rotation.
    let nonce = issued_nonce(&world).await;
    let answer = async || world.with_proof(&world.proof().nonce(&nonce).mint()).await;
    tokio::time::advance(Duration::from_secs(59)).await;
    let response = answer().await;
    assert_eq!((response.status(), nonce_of(&response)), (StatusCode::OK, None));
    assert!(!response.headers().contains_key("cache-control"));

    tokio::time::advance(Duration::from_secs(1)).await;
    let response = answer().await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let fresh = nonce_of(&response).expect("a fresh nonce");
    assert_ne!(fresh, nonce);

    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(answer().await.status(), StatusCode::OK);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(refusal(&answer().await), Some(ErrorKind::NonceRequired));
    assert_eq!(world.outcome(world.proof().nonce(&fresh)).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn rfc9449_8_2_only_successful_responses_carry_one_new_nonce() {
    let world = nonce_required();
    let nonce = issued_nonce(&world).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    for status in [200, 204, 302, 404, 500] {
        let handler = service_fn(move |_: Request<Bytes>| async move {
            let response = Response::builder().status(status);
            let response = response
                .header("dpop-nonce", "of the handler")
                .header("cache-control", "max-age=60");
            Ok::<_, std::convert::Infallible>(response.body(Bytes::new()).unwrap())
        });
        let service = world.api.layer().layer(handler);
        let response =
            service.oneshot(world.request(&world.proof().nonce(&nonce).mint())).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        let success = response.status().is_success();
        assert_eq!(nonce_of(&response).is_some_and(|nonce| nonce != "of the handler"), success);
        assert_eq!(response.headers()["cache-control"] == "no-store", success);
    }
}

#[tokio::test(start_paused = true)]
async fn instances_with_one_secret_accept_each_others_nonces() {
    let instance = |byte| {
        World::with(dpop().require_nonce().nonce_secret(NonceSecret::new(&[byte; 32]).unwrap()))
    };
    let (one, two, stranger) = (instance(1), instance(1), instance(2));
    let nonce = issued_nonce(&one).await;
    assert_eq!(two.outcome(two.proof().nonce(&nonce)).await, Ok(()));
    assert_eq!(stranger.outcome(stranger.proof().nonce(&nonce)).await, NONCE_REQUIRED);
}

#[tokio::test(start_paused = true)]
async fn optional_nonce_replaces_iat_for_a_client_with_a_wrong_clock() {
    let world = World::with(dpop().accept_nonce());
    assert_eq!(world.outcome(world.proof()).await, Ok(()), "a correct clock needs no nonce");
    let late = || world.proof().claim("iat", NOW.as_secs() - 3600);
    let response = world.with_proof(&late().mint()).await;
    assert_eq!(refusal(&response), Some(ErrorKind::NonceRequired));
    let nonce = nonce_of(&response).unwrap();
    assert_eq!(world.outcome(late().nonce(&nonce)).await, Ok(()));
    // A nonce that is present must be valid.
    assert_eq!(world.outcome(world.proof().nonce("x")).await, NONCE_REQUIRED);
    // Without nonces the same proof is invalid.
    let world = World::new();
    let late = world.proof().claim("iat", NOW.as_secs() - 3600).nonce(&nonce);
    assert_eq!(world.outcome(late).await, Err(ErrorKind::InvalidProof));
}

#[tokio::test(start_paused = true)]
async fn proof_with_a_nonce_is_accepted_once_while_the_nonce_is_valid() {
    let world = nonce_required();
    let nonce = issued_nonce(&world).await;
    let proof = world.proof().nonce(&nonce).mint();
    assert_eq!(world.with_proof(&proof).await.status(), StatusCode::OK);
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(refusal(&world.with_proof(&proof).await), Some(ErrorKind::InvalidProof));
    }
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(refusal(&world.with_proof(&proof).await), Some(ErrorKind::NonceRequired));
}

#[tokio::test(start_paused = true)]
async fn client_of_the_test_kit_retries_once_with_the_nonce() {
    let world = nonce_required();
    let client = world.prover.client("https://api.example.com", &world.token);
    let service = client.layer(world.api.layer().layer(crate::support::whoami_service()));
    assert_eq!(client.nonce(), None);
    for _ in 0..5 {
        let response = service.clone().oneshot(get("/r?a=b", &[])).await.unwrap();
        assert_eq!(response.body(), "alice");
        tokio::time::advance(Duration::from_secs(40)).await;
    }
    assert!(client.nonce().is_some());
    // It retries only once.
    let broken = service_fn(async |_: Request<Bytes>| {
        let response = Response::builder().status(401).header("dpop-nonce", "x");
        let response = response.header("www-authenticate", "DPoP error=\"use_dpop_nonce\"");
        Ok::<_, std::convert::Infallible>(response.body(Bytes::new()).unwrap())
    });
    let response = client.layer(broken).oneshot(get("/r", &[])).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

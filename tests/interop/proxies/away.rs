//! No request passes while `forward-auth` does not respond.

use super::{Proxy, World};

#[tokio::test]
async fn nobody_is_let_in_while_forward_auth_is_gone() {
    for proxy in Proxy::ALL {
        let Some(mut world) = World::new(proxy).await else { continue };
        let bearer = world.bearer();
        let fields = [("authorization", &*bearer)];
        assert_eq!(world.get(&fields).await.status, 200, "{proxy:?}");
        drop(world.forward_auth.take());
        let answer = world.get(&fields).await;
        assert_eq!(answer.got, serde_json::Value::Null, "{proxy:?}");
        let expected = match proxy {
            Proxy::Caddy => 502,
            Proxy::Envoy | Proxy::Nginx => 503,
            // Not in its hand.
            Proxy::Traefik => 500,
        };
        assert_eq!(answer.status, expected, "{proxy:?}");
    }
}

#[tokio::test]
async fn nobody_waits_for_ever_while_forward_auth_hangs() {
    // Traefik gives up after 30 s, which can't be set.
    for proxy in [Proxy::Caddy, Proxy::Envoy, Proxy::Nginx] {
        let sooner = |file: &str, text: &str| match file {
            "forward_auth.toml" | "nginx-client-cert.conf" => text.to_owned(),
            _ => {
                assert!(text.contains("10s"), "{file}");
                text.replace("10s", "1s")
            }
        };
        let Some(world) = World::with(proxy, sooner).await else { continue };
        let bearer = world.bearer();
        let stopped = world.forward_auth.as_ref().expect("it runs").stop();
        let answer = world.get(&[("authorization", &*bearer)]).await;
        drop(stopped);
        let expected = if proxy == Proxy::Caddy { 504 } else { 503 };
        assert_eq!((answer.status, answer.got.is_null()), (expected, true), "{proxy:?}");
    }
}

/// Why the recipe says never.
#[tokio::test]
async fn envoy_that_allows_in_failure_mode_lets_everybody_in_but_not_as_somebody() {
    let world = World::with(Proxy::Envoy, |_, text| {
        text.replace("failure_mode_allow: false", "failure_mode_allow: true")
    });
    let Some(mut world) = world.await else { return };
    assert_eq!(world.get(&[]).await.status, 401);
    drop(world.forward_auth.take());
    let forged =
        [("x-auth-subject", "root"), ("x_auth_subject", "root"), ("x.auth.scope", "admin")];
    let answer = world.get(&forged).await;
    assert_eq!(answer.status, 200);
    assert!(answer.got("x-auth-subject").is_empty() && answer.got("x-auth-scope").is_empty());
}

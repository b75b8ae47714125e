//! Proofs are compared with the request of the client.

use std::time::Duration;

use http::{Request, Response};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_introspect::{
    Issuer, ResourceServer,
    clock::Clock as _,
    proof::{Dpop, NonceSecret},
    test_util::{Prover, TestClock},
};

use super::{Answer, Change, Proxy, URL, World};
use crate::clock::Ahead;
use testing::oidc_provider::API;

/// A client with a bound token.
struct Laptop<'a> {
    world: &'a World,
    prover: Prover,
    token: String,
}

impl<'a> Laptop<'a> {
    fn of(world: &'a World) -> Self {
        let prover = Prover::new("laptop");
        let token = world.server.jwt().audience(API).bound_to(&prover).mint();
        Self { world, prover, token }
    }

    fn proof(&self, method: &str, path: &str, nonce: Option<&str>) -> String {
        let proof = self.prover.proof(method, &format!("{URL}{path}")).for_token(&self.token);
        nonce.into_iter().fold(proof, |proof, nonce| proof.nonce(nonce)).mint()
    }

    async fn send(&self, method: &str, path: &str, proof: &str, more: &[(&str, &str)]) -> Answer {
        let authorization = format!("DPoP {}", self.token);
        let fields = [&[("authorization", &*authorization), ("dpop", proof)], more].concat();
        self.world.send(method, path, &fields, "").await
    }

    /// Returns a nonce, which a refusal brings.
    async fn nonce(&self) -> String {
        let answer = self.send("GET", "/", &self.proof("GET", "/", None), &[]).await;
        assert_eq!(answer.status, 401);
        let challenges = answer.field("www-authenticate").join(", ");
        assert!(challenges.contains("use_dpop_nonce"), "{challenges}");
        answer.field("dpop-nonce").first().expect("a nonce").to_string()
    }
}

#[tokio::test]
async fn rfc9449_4_3_proof_is_about_the_request_of_the_client_behind_every_proxy() {
    for proxy in Proxy::ALL {
        let Some(world) = World::new(proxy).await else { continue };
        let laptop = Laptop::of(&world);
        let bearer = format!("Bearer {}", laptop.token);
        assert_eq!(world.get(&[("authorization", &bearer)]).await.status, 401, "{proxy:?}");
        let nonce = laptop.nonce().await;
        let good = |method: &str, path: &str| laptop.proof(method, path, Some(&nonce));
        let answer = laptop.send("POST", "/a?b=c", &good("POST", "/a"), &[]).await;
        assert_eq!(
            (answer.status, answer.got("x-auth-subject")),
            (200, vec!["alice"]),
            "{proxy:?}"
        );
        assert_eq!(answer.got["path"], "/a?b=c", "{proxy:?}");
        // For another URL, or for the URL in a field of the client.
        for (method, path) in [("GET", "/a"), ("POST", "/b"), ("GET", "/ask/a"), ("GET", "/ask")] {
            let told = [
                ("x-forwarded-method", method),
                ("x-forwarded-uri", path),
                ("x-original-url", path),
                ("x-envoy-original-path", path),
            ];
            for more in [&told[..], &[]] {
                let answer = laptop.send("POST", "/a", &good(method, path), more).await;
                assert_eq!(answer.status, 401, "{proxy:?} {method} {path}");
            }
        }
        // The proof is accepted once.
        let once = good("DELETE", "/a");
        assert_eq!(laptop.send("DELETE", "/a", &once, &[]).await.status, 200, "{proxy:?}");
        assert_eq!(laptop.send("DELETE", "/a", &once, &[]).await.status, 401, "{proxy:?}");
    }
}

/// The secret of the nonces of two services.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Returns a nonce that is good until the end of this hour, as another service made it whose clock
/// is behind.
async fn nonce_of_an_hour_ago(world: &World) -> String {
    let rotation = Duration::from_secs(3600);
    let then = Ahead::default().now().saturating_sub(rotation);
    let dpop = Dpop::new(URL).expect("a URL").require_nonce().nonce_rotation(rotation);
    let secret = NonceSecret::new(SECRET.as_bytes()).expect("long enough");
    let api = ResourceServer::builder(API)
        .issuer(Issuer::jwt(world.server.issuer()))
        .danger_allow_http_loopback()
        .clock(TestClock::new(then))
        .dpop(dpop.nonce_secret(secret))
        .build()
        .expect("valid");
    let prover = Prover::new("laptop");
    let token = world.server.jwt().audience(API).bound_to(&prover).issued_at(then).mint();
    let proof = prover.proof("GET", URL).for_token(&token).mint();
    let request = Request::get("/")
        .header("authorization", format!("DPoP {token}"))
        .header("dpop", proof)
        .body(String::new())
        .expect("a request");
    let handler =
        service_fn(async |_| Ok::<_, std::convert::Infallible>(Response::new(String::new())));
    let Ok(response) = api.layer().layer(handler).oneshot(request).await;
    let nonce = response.headers()["dpop-nonce"].to_str().expect("text");
    nonce.to_owned()
}

/// RFC 9449 §8.2: a success brings the next nonce before the old one expires.
#[tokio::test]
async fn rfc9449_8_2_nonce_of_a_success_is_for_the_client() {
    for proxy in Proxy::ALL {
        let shared: Change = |_, text| {
            let nonce = "nonce = \"require\"\n";
            let secret =
                format!("danger_nonce_secret = \"{SECRET}\"\nnonce_rotation_seconds = 3600\n");
            text.replace(nonce, &format!("{nonce}{secret}"))
        };
        let Some(world) = World::with(proxy, shared).await else { continue };
        let laptop = Laptop::of(&world);
        let proof = laptop.proof("GET", "/a", Some(&nonce_of_an_hour_ago(&world).await));
        let answer = laptop.send("GET", "/a", &proof, &[("dpop-nonce", "forged")]).await;
        assert_eq!(answer.status, 200, "{proxy:?}");
        let nonces = answer.field("dpop-nonce");
        // Traefik has no means to pass it on.
        let expected = if proxy == Proxy::Traefik { 0 } else { 1 };
        assert_eq!(nonces.len(), expected, "{proxy:?}: {answer:?}");
        assert!(!nonces.contains(&"forged"), "{proxy:?}: {nonces:?}");
    }
}

/// Traefik passes on a proof as if it were for `/a` where the client asked for `//a`, and passes that
/// on to the service. See "Traefik" in docs/operations.md.
#[tokio::test]
async fn traefik_asks_about_the_path_that_the_service_gets() {
    let Some(world) = World::new(Proxy::Traefik).await else { return };
    let laptop = Laptop::of(&world);
    let nonce = laptop.nonce().await;
    for (sent, cleaned) in [("//a", "/a"), ("/b/../a", "/a"), ("/b//a/./", "/b/a/")] {
        let proof = laptop.proof("GET", cleaned, Some(&nonce));
        let answer = laptop.send("GET", sent, &proof, &[]).await;
        assert_eq!((answer.status, &answer.got["path"]), (200, &cleaned.into()), "{sent}");
        let literal = laptop.proof("GET", "/b", Some(&nonce));
        assert_eq!(laptop.send("GET", sent, &literal, &[]).await.status, 401, "{sent}");
    }
}

/// Has Traefik keep the `X-Forwarded` fields of its clients.
pub(super) fn insecure(file: &str, text: &str) -> String {
    let listen = "    address: \"@LISTEN@\"\n";
    assert!(file != "traefik.yaml" || text.contains(listen));
    text.replace(listen, &format!("{listen}    forwardedHeaders: {{insecure: true}}\n"))
}

/// Why the recipe has neither: see "Traefik" in docs/operations.md.
#[tokio::test]
async fn traefik_that_trusts_forwarded_fields_lets_a_proof_be_used_for_another_url() {
    let world = World::with(Proxy::Traefik, |file, text| {
        let address = "        address: \"http://@AUTHORIZER@/\"\n";
        let trusting = format!("{address}        trustForwardHeader: true\n");
        insecure(file, text).replace(address, &trusting)
    });
    let Some(world) = world.await else { return };
    let laptop = Laptop::of(&world);
    let nonce = laptop.nonce().await;
    let proof = laptop.proof("GET", "/b", Some(&nonce));
    let answer = laptop.send("GET", "/a", &proof, &[("x-forwarded-uri", "/b")]).await;
    assert_eq!((answer.status, &answer.got["path"]), (200, &"/a".into()));
}

#[tokio::test]
async fn routes_of_traefik_do_not_trust_forwarded_fields_that_its_entry_point_keeps() {
    let Some(world) = World::with(Proxy::Traefik, insecure).await else { return };
    let laptop = Laptop::of(&world);
    let nonce = laptop.nonce().await;
    let proof = laptop.proof("GET", "/b", Some(&nonce));
    let answer = laptop.send("GET", "/a", &proof, &[("x-forwarded-uri", "/b")]).await;
    assert_eq!(answer.status, 401);
}

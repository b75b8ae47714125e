//! The service gets the identity that `forward-auth` states, whatever the client writes.

use super::{Proxy, World};
use testing::oidc_provider::API;

const FIELDS: [&str; 4] = ["x-auth-subject", "x-auth-issuer", "x-auth-client", "x-auth-scope"];

/// Spellings of a field that lenient servers take for the same.
fn spellings(name: &str) -> Vec<String> {
    vec![name.to_owned(), name.to_uppercase(), name.replace('-', "_"), name.replace('-', ".")]
}

#[tokio::test]
async fn proxies_pass_on_the_identity_that_forward_auth_states() {
    for proxy in Proxy::ALL {
        let Some(world) = World::new(proxy).await else { continue };
        let token = world.server.jwt().audience(API).client_id("app").scope("read write").mint();
        let answer = world.get(&[("authorization", &format!("Bearer {token}"))]).await;
        assert_eq!(answer.status, 200, "{proxy:?}: {answer:?}");
        let identity = FIELDS.map(|name| answer.got(name).join("|"));
        let expected = ["alice", world.server.issuer(), "app", "read write"];
        assert_eq!(identity, expected, "{proxy:?}");
    }
}

#[tokio::test]
async fn identity_that_a_client_writes_is_gone_behind_every_proxy() {
    for proxy in Proxy::ALL {
        let Some(world) = World::new(proxy).await else { continue };
        // Without a client and a scope, whose fields are empty in the response of `forward-auth`.
        let token = world.server.jwt().audience(API).without("client_id").without("scope").mint();
        let bearer = format!("Bearer {token}");
        for name in FIELDS {
            for spelling in spellings(name) {
                for value in ["root", ""] {
                    let fields = [("authorization", &*bearer), (&*spelling, value)];
                    let answer = world.get(&fields).await;
                    let expected: &[&str] = match name {
                        "x-auth-subject" => &["alice"],
                        "x-auth-issuer" => &[world.server.issuer()],
                        _ => &[],
                    };
                    let got = answer.got(name);
                    let got: Vec<_> = got.into_iter().filter(|value| !value.is_empty()).collect();
                    assert_eq!(
                        (answer.status, &*got),
                        (200, expected),
                        "{proxy:?} {spelling} {value}"
                    );
                }
            }
        }
    }
}

/// RFC 9110 §7.6.1: a proxy removes what a client names in `Connection`.
#[tokio::test]
async fn client_cannot_have_the_identity_dropped() {
    for proxy in Proxy::ALL {
        let Some(world) = World::new(proxy).await else { continue };
        let bearer = world.bearer();
        for option in ["X-Auth-Subject", "x-auth-subject", "X-Auth-Subject, X-Auth-Issuer"] {
            let connection = format!("close, {option}");
            let fields = [("authorization", &*bearer), ("connection", &*connection)];
            let answer = world.get(&fields).await;
            assert_eq!(answer.got("x-auth-subject"), ["alice"], "{proxy:?} {option}: {answer:?}");
        }
        // Nor what `forward-auth` needs: it refuses such a request, or is told all the same.
        for option in ["Authorization", "X-Forwarded-Uri", "X-Forwarded-Method"] {
            let connection = format!("close, {option}");
            let answer =
                world.get(&[("authorization", "Bearer x"), ("connection", &connection)]).await;
            assert!(answer.status >= 400, "{proxy:?} {option}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn refusals_of_forward_auth_reach_the_client() {
    for proxy in Proxy::ALL {
        let Some(world) = World::new(proxy).await else { continue };
        let without = world.get(&[]).await;
        assert_eq!((without.status, without.got.is_null()), (401, true), "{proxy:?}");
        let challenges = without.field("www-authenticate").join(", ");
        // nginx before 1.23 passes on the first of two fields.
        let has_both = challenges.contains("DPoP") || proxy == Proxy::Nginx;
        assert!(challenges.contains("Bearer") && has_both, "{proxy:?}: {challenges}");
        for fields in [
            &[("content-type", "application/grpc")][..],
            &[("x-auth-subject", "root")],
            &[("authorization", "Bearer abc"), ("content-type", "application/grpc")],
            &[("authorization", "Basic YTpi")],
        ] {
            let answer = world.get(fields).await;
            // Envoy answers such a client in gRPC, where 16 means the same.
            let in_grpc = answer.status == 200 && answer.field("grpc-status") == ["16"];
            assert!(
                answer.status == 401 || (proxy == Proxy::Envoy && in_grpc),
                "{proxy:?}: {answer:?}"
            );
            assert!(answer.got.is_null(), "{proxy:?} {fields:?}");
        }
        // Also with other methods.
        let preflight = [("origin", "https://a"), ("access-control-request-method", "GET")];
        for method in ["OPTIONS", "HEAD", "DELETE", "POST"] {
            let answer = world.send(method, "/a", &preflight, "").await;
            assert_eq!(answer.status, 401, "{proxy:?} {method}");
        }
        // A malformed credential is the client's fault, and no alarm for the operator.
        let malformed = world.get(&[("authorization", "Bearer a b")]).await;
        assert_eq!(malformed.status, 400, "{proxy:?}: {malformed:?}");
    }
}

#[tokio::test]
async fn the_challenge_of_a_403_reaches_the_client() {
    for proxy in Proxy::ALL {
        let requiring = |file: &str, text: &str| match file {
            "forward_auth.toml" => {
                text.replace("audience =", "required_scopes = [\"pay\"]\naudience =")
            }
            _ => text.to_owned(),
        };
        let Some(world) = World::with(proxy, requiring).await else { continue };
        let answer = world.get(&[("authorization", &world.bearer())]).await;
        assert_eq!((answer.status, answer.got.is_null()), (403, true), "{proxy:?}: {answer:?}");
        let challenges = answer.field("www-authenticate").join(", ");
        for text in ["error=\"insufficient_scope\"", "scope=\"pay\""] {
            assert!(challenges.contains(text), "{proxy:?}: {challenges}");
        }
        let scope = world.server.jwt().audience(super::API).scope("pay").mint();
        let answer = world.get(&[("authorization", &format!("Bearer {scope}"))]).await;
        assert_eq!(answer.status, 200, "{proxy:?}: {answer:?}");
    }
}

#[tokio::test]
async fn body_of_an_admitted_request_reaches_the_service() {
    for proxy in Proxy::ALL {
        let Some(world) = World::new(proxy).await else { continue };
        let bearer = world.bearer();
        let fields = [("authorization", &*bearer)];
        for method in ["GET", "POST", "DELETE", "PUT"] {
            for path in ["/a", "/ask", "/?a=b"] {
                let answer = world.send(method, path, &fields, "three").await;
                let got = (&answer.got["body"], &answer.got["path"]);
                assert_eq!(got, (&5.into(), &path.into()), "{proxy:?} {method} {path}: {answer:?}");
            }
        }
    }
}

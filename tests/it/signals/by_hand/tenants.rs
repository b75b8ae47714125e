//! Issuers that a resolver finds.

use tower_introspect::{
    ErrorKind, VerifyError, jwt::KeySet, resource_server::IssuerResolver,
    test_util::AuthorizationServer,
};

use super::*;

const TENANTS: &str = "https://login.example.com/";

/// A resource server with an issuer of its own staff, and one for each tenant.
fn with_tenants() -> World {
    World::with(|api| {
        api.issuer(Issuer::jwt(ISSUER)).resolve_issuers(IssuerResolver::new(
            |issuer| issuer.starts_with(TENANTS),
            async |issuer: String| match issuer.strip_prefix(TENANTS) {
                Some("down") => Err(VerifyError::new(ErrorKind::Unavailable)),
                Some("unknown") => Ok(None),
                _ => {
                    let keys = AuthorizationServer::new(&issuer).jwks().to_string();
                    let keys = KeySet::from_jwks(keys.as_bytes()).unwrap();
                    Ok(Some(Issuer::jwt(issuer).configure_jwt(|jwt| jwt.keys(keys))))
                }
            },
        ))
    })
}

#[tokio::test]
async fn issuers_that_a_resolver_finds_are_trusted_and_others_are_not() {
    let world = with_tenants();
    let (service, token) = (service(&world), staff(&world));
    for (tenant, expected) in [("a", 200), ("unknown", 400), ("down", 503), ("A%2f", 400)] {
        let body = json!({"issuer": format!("{TENANTS}{tenant}"), "subject": "alice"});
        let (status, answer) = call(&service, post(&token, body.to_string())).await;
        assert_eq!(status, expected, "{tenant}: {answer}");
    }
    assert_eq!(world.api.revocations().len(), 1);
}

#[tokio::test]
async fn caller_of_a_tenant_names_its_own_issuer_only() {
    let world = with_tenants();
    let service = service(&world);
    let (own, other) = (format!("{TENANTS}a"), format!("{TENANTS}b"));
    let tenant = AuthorizationServer::new(&own).with_clock(world.clock.clone());
    let token = tenant.jwt().subject("eve").audience(AUDIENCE).scope(SCOPE).mint();
    world.api.revocations().revoke(&Cutoff::subject(ISSUER, "alice"));
    for issuer in [ISSUER, &other, "https://unknown.example.com"] {
        let body = json!({"issuer": issuer, "all": true}).to_string();
        let (status, answer) = call(&service, post(&token, body)).await;
        assert_eq!((status, &answer["error"]), (403, &json!("access_denied")), "{issuer}");
        assert_eq!(call(&service, get(&token, &format!("issuer={issuer}"))).await.0, 403);
    }
    let body = json!({"token": world.jwt()}).to_string();
    assert_eq!(call(&service, post(&token, body)).await.0, 403);
    assert_eq!(world.api.revocations().len(), 1);
    let body = json!({"issuer": own, "subject": "mallory"}).to_string();
    assert_eq!(call(&service, post(&token, body)).await.0, 200);
    let (status, answer) = call(&service, get(&token, "")).await;
    let list = answer["in_force"].as_array().unwrap();
    assert_eq!((status, list.len(), &list[0]["issuer"]), (200, 1, &json!(own)));
}

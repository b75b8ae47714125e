//! The shapes of providers.

use tower_introspect::test_util::{Prover, Provider};

use super::*;

fn like(provider: Provider) -> AuthorizationServer {
    server().with_provider(provider)
}

/// Returns the members of `object` that have one of these names.
fn among(object: &Value, names: &[&str]) -> Value {
    let members = object.as_object().unwrap().iter();
    let kept = members.filter(|(name, _)| names.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[test]
fn access_tokens_have_the_shape_of_their_provider() {
    let scopes = json!(["read", "write"]);
    for (provider, typ, client, scope, aud) in [
        (Provider::Auth0, Some("JWT"), "azp", json!({"scope": "read write"}), json!(API)),
        (Provider::Cognito, None, "client_id", json!({"scope": "read write"}), Value::Null),
        (Provider::Entra, Some("JWT"), "azp", json!({"scp": "read write"}), json!(API)),
        (
            Provider::Glewlwyd,
            Some("at+jwt"),
            "client_id",
            json!({"scope": "read write"}),
            json!(API),
        ),
        (Provider::Hydra, Some("JWT"), "client_id", json!({"scp": scopes}), json!([API])),
        (
            Provider::Keycloak,
            Some("JWT"),
            "azp",
            json!({"scope": "read write"}),
            json!([API, "account"]),
        ),
        (
            Provider::OidcProvider,
            Some("at+jwt"),
            "client_id",
            json!({"scope": "read write"}),
            json!(API),
        ),
        (Provider::Okta, None, "cid", json!({"scp": scopes}), json!(API)),
        (Provider::Spring, None, "", json!({"scope": scopes}), json!(API)),
        (Provider::Zitadel, Some("JWT"), "client_id", json!({}), json!([API])),
    ] {
        let jwt = like(provider).jwt().client_id("web").audience(API).scope("read write").mint();
        let (header, claims) = (part(&jwt, 0), part(&jwt, 1));
        assert_eq!(header["alg"], "RS256", "{provider:?}");
        assert_eq!(header.get("typ").and_then(Value::as_str), typ, "{provider:?}");
        let wanted = if client.is_empty() { json!({}) } else { json!({ client: "web" }) };
        assert_eq!(among(&claims, &["azp", "cid", "client_id"]), wanted, "{provider:?}");
        assert_eq!(among(&claims, &["scope", "scp", "roles"]), scope, "{provider:?}");
        assert_eq!(claims["aud"], aud, "{provider:?}");
        assert_eq!(claims["sub"], "alice", "{provider:?}");
    }
}

/// Google signs no access token for other services.
#[test]
fn google_tokens_are_id_tokens_of_service_accounts() {
    let token = like(Provider::Google).jwt().subject("jobs").audience(API).mint();
    let claims = part(&token, 1);
    assert_eq!(claims["email"], "jobs@project.iam.gserviceaccount.com");
    assert_eq!((&claims["aud"], &claims["azp"]), (&json!(API), &json!("jobs")));
}

#[test]
fn tokens_of_clients_differ_from_those_of_users() {
    let of_client = |provider| {
        let jwt = like(provider).jwt().subject("svc").client_id("svc").scope("read");
        part(&jwt.mint(), 1)
    };
    let auth0 = of_client(Provider::Auth0);
    assert_eq!(
        (&auth0["sub"], &auth0["gty"]),
        (&json!("svc@clients"), &json!("client-credentials"))
    );
    let entra = of_client(Provider::Entra);
    assert_eq!(among(&entra, &["scp", "roles"]), json!({"roles": ["read"]}));
    let keycloak = of_client(Provider::Keycloak);
    assert_eq!(keycloak["client_id"], "svc");
    assert_eq!(keycloak["preferred_username"], "service-account-svc");
    assert!(of_client(Provider::Cognito).get("username").is_none());
    assert!(of_client(Provider::Okta).get("uid").is_none());
}

#[test]
fn audience_of_tokens_without_one_is_that_of_their_provider() {
    for (provider, aud) in [
        (Provider::Auth0, Some(json!([]))),
        (Provider::Glewlwyd, Some(json!("read"))),
        (Provider::Hydra, Some(json!([]))),
        (Provider::Keycloak, Some(json!("account"))),
        (Provider::OidcProvider, None),
        (Provider::Spring, Some(json!("client"))),
        (Provider::Zitadel, Some(json!(["client"]))),
    ] {
        let claims = part(&like(provider).jwt().scope("read").mint(), 1);
        assert_eq!(claims.get("aud"), aud.as_ref(), "{provider:?}");
    }
}

#[test]
fn id_tokens_have_only_the_marks_of_their_provider() {
    let marks = ["typ", "token_use", "at_hash", "nonce", "events", "scope", "scp"];
    for (provider, typ, wanted) in [
        (Provider::Auth0, Some("JWT"), json!([])),
        (Provider::Cognito, None, json!(["at_hash", "token_use"])),
        (Provider::Entra, Some("JWT"), json!([])),
        (Provider::Glewlwyd, Some("JWT"), json!(["at_hash"])),
        (Provider::Google, Some("JWT"), json!(["at_hash"])),
        (Provider::Hydra, Some("JWT"), json!(["at_hash"])),
        (Provider::Keycloak, Some("JWT"), json!(["at_hash", "typ"])),
        (Provider::OidcProvider, None, json!([])),
        (Provider::Okta, None, json!(["at_hash"])),
        (Provider::Spring, None, json!([])),
        (Provider::Zitadel, Some("JWT"), json!(["at_hash"])),
    ] {
        let id = like(provider).id_token().client_id("web").mint();
        assert_eq!(part(&id, 0).get("typ").and_then(Value::as_str), typ, "{provider:?}");
        let claims = part(&id, 1);
        let mut shown: Vec<_> =
            among(&claims, &marks).as_object().unwrap().keys().cloned().collect();
        shown.sort();
        assert_eq!(json!(shown), wanted, "{provider:?}");
        let aud = &claims["aud"];
        assert!(*aud == json!("web") || *aud == json!(["web"]), "{provider:?}: {aud}");
    }
}

#[tokio::test]
async fn introspection_responses_have_the_shape_of_their_provider() {
    for (provider, wanted) in [
        (
            Provider::Glewlwyd,
            json!({"aud": API, "client_id": "web", "scope": "read write", "sub": "alice", "token_type": "bearer", "username": "alice"}),
        ),
        (
            Provider::Hydra,
            json!({"aud": [API], "client_id": "web", "iss": AS, "scope": "read write", "sub": "alice", "token_type": "Bearer", "token_use": "access_token"}),
        ),
        (
            Provider::OidcProvider,
            json!({"aud": API, "client_id": "web", "iss": AS, "scope": "read write", "sub": "alice", "token_type": "Bearer"}),
        ),
        (
            Provider::Okta,
            json!({"aud": API, "client_id": "web", "iss": AS, "scope": "read write", "sub": "alice", "token_type": "Bearer", "username": "alice"}),
        ),
        (
            Provider::Spring,
            json!({"aud": [API], "client_id": "web", "iss": AS, "scope": "read write", "sub": "alice", "token_type": "Bearer"}),
        ),
    ] {
        let server = like(provider);
        let token = server.opaque().client_id("web").audience(API).scope("read write");
        let body = introspect(&server, &token.mint()).await;
        assert_eq!(body["active"], true, "{provider:?}");
        assert!(body["exp"].is_i64(), "{provider:?}");
        let names = [
            "aud",
            "client_id",
            "cid",
            "azp",
            "iss",
            "scope",
            "scp",
            "sub",
            "token_type",
            "token_use",
            "typ",
            "username",
        ];
        assert_eq!(among(&body, &names), wanted, "{provider:?}");
    }
}

#[tokio::test]
async fn keycloak_and_zitadel_introspect_for_clients_in_the_audience_only() {
    for provider in [Provider::Keycloak, Provider::Zitadel] {
        let server = like(provider);
        let of_others = server.jwt().audience(API).mint();
        assert_eq!(introspect(&server, &of_others).await, json!({"active": false}));
        let ours = server.jwt().audience(vec![API, "api"]).scope("read").mint();
        let body = introspect(&server, &ours).await;
        assert_eq!(
            among(&body, &["scope", "client_id", "token_type"]),
            json!({"scope": "read", "client_id": "client", "token_type": "Bearer"})
        );
        assert_eq!(body["username"], "alice");
    }
}

#[tokio::test]
async fn oidc_provider_does_not_introspect_jwts() {
    let server = like(Provider::OidcProvider);
    let token = server.jwt().audience(API).mint();
    let request = post(&server, Endpoint::Introspection, &format!("token={token}"));
    let response = send(&server, request).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json_of(&response)["error"], "unsupported_token_type");
}

#[tokio::test]
async fn rfc7662_2_2_some_providers_report_refresh_and_id_tokens_as_active() {
    let ask = async |provider: Provider, kind: &str| {
        let server = like(provider);
        let token = match kind {
            "refresh" => server.refresh_token().client_id("web").scope("read").mint(),
            _ => server.id_token().client_id("web").mint(),
        };
        introspect(&server, &token).await
    };
    for provider in [Provider::Keycloak, Provider::Okta, Provider::Zitadel] {
        assert_eq!(ask(provider, "refresh").await, json!({"active": false}), "{provider:?}");
        assert_eq!(ask(provider, "id").await, json!({"active": false}), "{provider:?}");
    }
    let marks = |body: &Value| {
        among(body, &["active", "aud", "client_id", "scope", "token_type", "token_use"])
    };
    let hydra = ask(Provider::Hydra, "refresh").await;
    assert_eq!(
        marks(&hydra),
        json!({"active": true, "aud": [], "client_id": "web", "scope": "read", "token_type": "Bearer", "token_use": "refresh_token"})
    );
    let oidc_provider = ask(Provider::OidcProvider, "refresh").await;
    assert_eq!(marks(&oidc_provider), json!({"active": true, "client_id": "web", "scope": "read"}));
    let spring = ask(Provider::Spring, "refresh").await;
    assert_eq!(marks(&spring), json!({"active": true, "client_id": "web"}));
    let glewlwyd = ask(Provider::Glewlwyd, "refresh").await;
    assert_eq!(glewlwyd["token_type"], "refresh_token");

    let spring = ask(Provider::Spring, "id").await;
    assert_eq!(marks(&spring), json!({"active": true, "aud": ["web"], "client_id": "web"}));
    assert!(spring["auth_time"].is_string());
    let glewlwyd = ask(Provider::Glewlwyd, "id").await;
    assert_eq!(
        (&glewlwyd["token_type"], glewlwyd.get("sid")),
        (&json!("id_token"), Some(&Value::Null))
    );
}

#[tokio::test]
async fn refresh_tokens_are_inactive_without_a_provider() {
    let server = server();
    assert!(!is_active(&server, &server.refresh_token().mint()).await);
}

#[test]
fn opaque_tokens_have_the_shape_of_their_provider() {
    let hydra = like(Provider::Hydra);
    assert!(hydra.opaque().mint().starts_with("ory_at_"));
    assert!(hydra.refresh_token().mint().starts_with("ory_rt_"));
    // It looks like an encrypted JWT.
    let zitadel = like(Provider::Zitadel).opaque().mint();
    assert_eq!(zitadel.split('.').count(), 5);
    assert_eq!(part(&zitadel, 0)["enc"], "A256GCM");
    let keycloak = like(Provider::Keycloak).refresh_token().mint();
    assert_eq!(part(&keycloak, 0)["alg"], "HS512");
    let claims = part(&keycloak, 1);
    assert_eq!((&claims["typ"], &claims["aud"]), (&json!("Refresh"), &json!(AS)));
}

#[test]
fn key_sets_have_the_shape_of_their_provider() {
    for (provider, alg, used) in [
        (Provider::Entra, false, true),
        (Provider::Glewlwyd, true, false),
        (Provider::Hydra, true, true),
        (Provider::Spring, false, false),
    ] {
        let keys = like(provider).jwks()["keys"].clone();
        assert_eq!(keys.as_array().unwrap().len(), 1, "{provider:?}");
        assert_eq!(keys[0].get("alg").is_some(), alg, "{provider:?}");
        assert_eq!(keys[0].get("use").is_some(), used, "{provider:?}");
    }
    let keycloak = like(Provider::Keycloak).jwks()["keys"].clone();
    let uses = keycloak.as_array().unwrap().iter().map(|key| key["use"].as_str().unwrap());
    assert_eq!(uses.collect::<Vec<_>>(), ["sig", "enc"]);
}

#[tokio::test]
async fn providers_without_introspection_have_no_endpoint_for_it() {
    for provider in [Provider::Auth0, Provider::Cognito, Provider::Entra, Provider::Google] {
        let server = like(provider);
        assert!(server.metadata().get("introspection_endpoint").is_none(), "{provider:?}");
        let response = send(&server, post(&server, Endpoint::Introspection, "token=x")).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{provider:?}");
    }
    // That of Hydra is on a port that the metadata does not name.
    let hydra = like(Provider::Hydra);
    assert!(hydra.metadata().get("introspection_endpoint").is_none());
    assert!(is_active(&hydra, &hydra.opaque().mint()).await);
    let response = send(&hydra, get(&hydra.url(Endpoint::Discovery))).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_a_test_sets_by_hand_is_written_as_it_is() {
    let server = like(Provider::Okta);
    let token = server.jwt().scope("read").claim("scp", "odd").claim("scope", 7).without("cid");
    let claims = part(&token.typ("odd").mint(), 1);
    assert_eq!(among(&claims, &["scp", "scope", "cid"]), json!({"scp": "odd", "scope": 7}));

    let spring = like(Provider::Spring);
    let token = spring.opaque().claim("aud", "odd").without("token_type").mint();
    let body = introspect(&spring, &token).await;
    assert_eq!(among(&body, &["aud", "token_type"]), json!({"aud": "odd"}));
}

#[tokio::test]
async fn dates_are_those_of_the_test_in_every_shape() {
    let dates = ["iat", "nbf", "exp"];
    let wanted = json!({"iat": 1_799_999_995, "nbf": 1_799_999_996, "exp": 1_800_000_007});
    for provider in Provider::ALL {
        let server = like(provider);
        let [issued, start, end] =
            dates.map(|name| UnixTime::from_secs(wanted[name].as_i64().unwrap()));
        let jwt = server.jwt().issued_at(issued).not_before(start).expires_at(end);
        assert_eq!(among(&part(&jwt.mint(), 1), &dates), wanted, "{provider:?}");
        if server.metadata().get("introspection_endpoint").is_some() {
            let opaque = server.opaque().audience("api");
            let token = opaque.issued_at(issued).not_before(start).expires_at(end).mint();
            let body = introspect(&server, &token).await;
            assert_eq!(among(&body, &dates), wanted, "{provider:?}");
            assert!(!is_active(&server, &server.opaque().audience("api").expired().mint()).await);
        }
    }
}

#[tokio::test]
async fn rfc9449_6_bound_tokens_keep_their_key_in_every_shape() {
    let prover = Prover::new("alice").with_clock(FixedClock);
    let jkt = json!({"jkt": prover.thumbprint()});
    for provider in Provider::ALL {
        let server = like(provider);
        let token = server.jwt().audience(vec![API, "api"]).bound_to(&prover).mint();
        assert_eq!(part(&token, 1)["cnf"], jkt, "{provider:?}");
        let opaque = server.opaque().audience(vec![API, "api"]).bound_to(&prover).mint();
        let request = post(&server, Endpoint::Introspection, &format!("token={opaque}"));
        let response = send(&server, request).await;
        if response.status() == StatusCode::OK {
            let body = json_of(&response);
            assert_eq!((&body["cnf"], &body["token_type"]), (&jkt, &json!("DPoP")), "{provider:?}");
        }
    }
    let keycloak = like(Provider::Keycloak).jwt().bound_to(&prover).mint();
    assert_eq!(part(&keycloak, 1)["typ"], "DPoP");
}

#[tokio::test]
async fn the_token_endpoint_issues_tokens_of_the_provider() {
    let client = Client::new("api", "s3cret").with_jwt_access_tokens().with_audience(API);
    let server = AuthorizationServer::new(AS).with_client(client).with_provider(Provider::Okta);
    let request = post(&server, Endpoint::Token, "grant_type=client_credentials&scope=read");
    let answer = json_of(&send(&server, request).await);
    let token = answer["access_token"].as_str().unwrap();
    assert!(part(token, 0).get("typ").is_none());
    assert_eq!(among(&part(token, 1), &["cid", "scp"]), json!({"cid": "api", "scp": ["read"]}));
}

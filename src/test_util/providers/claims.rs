//! The claims of the JWTs of each provider.
//!
//! ID tokens have no `nonce`, as where the client sent none.

use serde_json::{Map, Value, json};

use super::{
    members::{Facts, IssuedKind, array, one_or_many},
    provider::Provider,
};

/// An `at_hash` (OpenID Connect Core 1.0 §3.1.3.6).
const AT_HASH: &str = "MTIzNDU2Nzg5MDEyMzQ1Ng";
/// An identifier of an event, a session or an object.
const UUID: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";

/// Returns the claims of a JWT of this kind.
pub(super) fn of(provider: Provider, kind: IssuedKind, facts: &Facts<'_>) -> Map<String, Value> {
    let id = kind == IssuedKind::Id;
    let claims = match provider {
        Provider::Auth0 if id => auth0_id(facts),
        Provider::Auth0 => auth0(facts),
        Provider::Cognito if id => cognito_id(facts),
        Provider::Cognito => cognito(facts),
        Provider::Entra => entra(facts, id),
        Provider::Glewlwyd if id => glewlwyd_id(facts),
        Provider::Glewlwyd => glewlwyd(facts),
        Provider::Google => google(facts, id),
        Provider::Hydra if id => hydra_id(facts),
        Provider::Hydra => hydra(facts),
        Provider::Keycloak => return keycloak(kind, facts),
        Provider::OidcProvider if id => oidc_provider_id(facts),
        Provider::OidcProvider => oidc_provider(facts),
        Provider::Okta if id => okta_id(facts),
        Provider::Okta => okta(facts),
        Provider::Spring if id => spring_id(facts),
        Provider::Spring => spring(facts),
        Provider::Zitadel if id => zitadel_id(facts),
        Provider::Zitadel => zitadel(facts),
    };
    facts.with(claims)
}

fn auth0(facts: &Facts<'_>) -> Value {
    let openid = facts.get("scope").as_str().is_some_and(|scope| has(scope, "openid"));
    let mut audiences = facts.audiences();
    if openid {
        audiences.push(format!("{}userinfo", text(&facts.get("iss"))).into());
    }
    let mut claims = json!({
        "aud": one_or_many(audiences),
        "azp": facts.client(),
        "scope": facts.get("scope"),
    });
    if facts.of_client() {
        claims["sub"] = format!("{}@clients", text(&facts.client())).into();
        claims["gty"] = "client-credentials".into();
    }
    claims
}

fn auth0_id(facts: &Facts<'_>) -> Value {
    json!({
        "aud": facts.or("aud", facts.client()),
        "nickname": facts.get("sub"),
        "name": facts.get("sub"),
        "email": email(facts),
        "email_verified": true,
        "sid": UUID,
    })
}

fn cognito(facts: &Facts<'_>) -> Value {
    json!({
        "token_use": "access",
        "client_id": facts.client(),
        "scope": facts.get("scope"),
        "jti": facts.get("jti"),
        "version": 2,
        "auth_time": facts.get("iat"),
        "username": facts.of_user(facts.get("sub")),
        "origin_jti": facts.of_user(UUID),
        "event_id": facts.of_user(UUID),
    })
}

fn cognito_id(facts: &Facts<'_>) -> Value {
    json!({
        "aud": facts.or("aud", facts.client()),
        "token_use": "id",
        "cognito:username": facts.get("sub"),
        "email": email(facts),
        "email_verified": true,
        "auth_time": facts.get("iat"),
        "at_hash": AT_HASH,
        "jti": facts.get("jti"),
        "origin_jti": UUID,
        "event_id": UUID,
    })
}

fn entra(facts: &Facts<'_>, id: bool) -> Value {
    // The issuer is `https://login.microsoftonline.com/{tenant}/v2.0`.
    let issuer = facts.get("iss");
    let tenant = text(&issuer).split('/').nth(3).unwrap_or_default();
    let mut claims = json!({
        "aud": facts.or("aud", if id { facts.client() } else { Value::Null }),
        "nbf": facts.or("nbf", facts.get("iat")),
        "oid": facts.of_user(UUID),
        "tid": tenant,
        "uti": facts.get("jti"),
        "ver": "2.0",
        "name": facts.of_user(facts.get("sub")),
        "preferred_username": facts.of_user(email(facts)),
    });
    if !id {
        claims["azp"] = facts.client();
        claims["azpacr"] = "1".into();
        if facts.of_client() {
            claims["oid"] = facts.get("sub");
            claims["roles"] = facts.scopes();
        } else {
            claims["scp"] = facts.get("scope");
        }
    }
    claims
}

fn glewlwyd(facts: &Facts<'_>) -> Value {
    json!({
        "aud": facts.or("aud", facts.get("scope")),
        "client_id": facts.client(),
        "nbf": facts.or("nbf", facts.get("iat")),
        "jti": facts.get("jti"),
        "type": "access_token",
        "scope": facts.get("scope"),
    })
}

fn glewlwyd_id(facts: &Facts<'_>) -> Value {
    json!({
        "aud": facts.or("aud", facts.client()),
        "auth_time": facts.get("iat"),
        "azp": facts.client(),
        "amr": ["password"],
        "at_hash": AT_HASH,
    })
}

/// The ID token of a service account, or of a user.
fn google(facts: &Facts<'_>, id: bool) -> Value {
    let audience = if id { facts.client() } else { Value::Null };
    let mut claims = json!({
        "aud": facts.or("aud", audience),
        "azp": if id { facts.client() } else { facts.get("sub") },
        "email": email(facts),
        "email_verified": true,
    });
    if id {
        claims["at_hash"] = AT_HASH.into();
        claims["name"] = facts.get("sub");
    } else {
        let account = format!("{}@project.iam.gserviceaccount.com", text(&facts.get("sub")));
        claims["email"] = account.into();
    }
    claims
}

fn hydra(facts: &Facts<'_>) -> Value {
    json!({
        "aud": facts.audiences(),
        "client_id": facts.client(),
        "ext": {},
        "jti": facts.get("jti"),
        "nbf": facts.or("nbf", facts.get("iat")),
        "scp": facts.scopes().as_array().cloned().unwrap_or_default(),
    })
}

fn hydra_id(facts: &Facts<'_>) -> Value {
    json!({
        "aud": array(facts.or("aud", facts.client())),
        "at_hash": AT_HASH,
        "auth_time": facts.get("iat"),
        "jti": facts.get("jti"),
        "rat": facts.get("iat"),
        "sid": UUID,
    })
}

fn keycloak(kind: IssuedKind, facts: &Facts<'_>) -> Map<String, Value> {
    let bound = facts.get("cnf").get("jkt").is_some();
    let account = json!(["manage-account", "manage-account-links", "view-profile"]);
    let mut claims = facts.with(json!({
        "jti": facts.get("jti"),
        "azp": facts.client(),
        "sid": facts.of_user(UUID),
        "scope": facts.or("scope", "email profile"),
    }));
    let more = match kind {
        IssuedKind::Access => {
            let mut audiences = facts.audiences();
            audiences.push("account".into());
            json!({
                "typ": if bound { "DPoP" } else { "Bearer" },
                "aud": one_or_many(audiences),
                "acr": "1",
                "client_id": if facts.of_client() { facts.client() } else { Value::Null },
                "realm_access": {"roles": ["offline_access", "uma_authorization"]},
                "resource_access": {"account": {"roles": account}},
                "preferred_username": keycloak_username(facts),
                "email_verified": facts.of_user(true),
            })
        }
        IssuedKind::Id => json!({
            "typ": "ID",
            "aud": facts.or("aud", facts.client()),
            "acr": "1",
            "at_hash": AT_HASH,
            "auth_time": facts.get("iat"),
            "preferred_username": keycloak_username(facts),
            "email_verified": true,
            "scope": null,
        }),
        IssuedKind::Refresh => json!({"typ": "Refresh", "aud": facts.get("iss")}),
    };
    claims.extend(more.as_object().cloned().unwrap_or_default());
    claims.retain(|_, value| !value.is_null());
    claims
}

/// Returns the name of the user, or of the account of a client.
pub(super) fn keycloak_username(facts: &Facts<'_>) -> Value {
    if facts.of_client() {
        format!("service-account-{}", text(&facts.client())).into()
    } else {
        facts.get("sub")
    }
}

fn oidc_provider(facts: &Facts<'_>) -> Value {
    json!({
        "aud": facts.get("aud"),
        "client_id": facts.client(),
        "jti": facts.get("jti"),
        "scope": facts.get("scope"),
    })
}

fn oidc_provider_id(facts: &Facts<'_>) -> Value {
    json!({"aud": facts.or("aud", facts.client())})
}

fn okta(facts: &Facts<'_>) -> Value {
    json!({
        "ver": 1,
        "jti": format!("AT.{}", text(&facts.get("jti"))),
        "aud": facts.get("aud"),
        "cid": facts.client(),
        "uid": facts.of_user("00u1a2b3c4"),
        "scp": facts.scopes(),
        "auth_time": facts.of_user(facts.get("iat")),
    })
}

fn okta_id(facts: &Facts<'_>) -> Value {
    json!({
        "ver": 1,
        "jti": format!("ID.{}", text(&facts.get("jti"))),
        "aud": facts.or("aud", facts.client()),
        "amr": ["pwd"],
        "idp": "00o1a2b3c4",
        "name": facts.get("sub"),
        "email": email(facts),
        "preferred_username": email(facts),
        "auth_time": facts.get("iat"),
        "at_hash": AT_HASH,
    })
}

fn spring(facts: &Facts<'_>) -> Value {
    json!({
        "aud": facts.or("aud", facts.client()),
        "nbf": facts.or("nbf", facts.get("iat")),
        "scope": facts.scopes(),
        "jti": facts.get("jti"),
    })
}

fn spring_id(facts: &Facts<'_>) -> Value {
    json!({
        "aud": facts.or("aud", facts.client()),
        "azp": facts.client(),
        "auth_time": facts.get("iat"),
        "jti": facts.get("jti"),
        "sid": UUID,
    })
}

fn zitadel(facts: &Facts<'_>) -> Value {
    json!({
        "aud": array(facts.or("aud", facts.client())),
        "client_id": facts.client(),
        "jti": facts.get("jti"),
        "nbf": facts.or("nbf", facts.get("iat")),
    })
}

fn zitadel_id(facts: &Facts<'_>) -> Value {
    json!({
        "aud": array(facts.or("aud", facts.client())),
        "azp": facts.client(),
        "client_id": facts.client(),
        "auth_time": facts.get("iat"),
        "at_hash": AT_HASH,
    })
}

fn email(facts: &Facts<'_>) -> Value {
    format!("{}@example.com", text(&facts.get("sub"))).into()
}

fn has(scope: &str, wanted: &str) -> bool {
    scope.split(' ').any(|value| value == wanted)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

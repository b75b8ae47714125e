//! The introspection responses of each provider (RFC 7662 §2.2).

use serde_json::{Map, Value, json};

use super::{
    claims::{self, keycloak_username},
    members::{Facts, IssuedKind, array},
    provider::Provider,
};

/// Returns the response for an active token without `active`, or `None` if the provider reports
/// tokens of this kind as inactive.
pub(super) fn of(
    provider: Provider,
    kind: IssuedKind,
    facts: &Facts<'_>,
    token_type: &str,
) -> Option<Map<String, Value>> {
    let access = kind == IssuedKind::Access;
    Some(match provider {
        Provider::Glewlwyd => glewlwyd(kind, facts, token_type),
        Provider::Hydra if kind != IssuedKind::Id => hydra(access, facts, token_type),
        Provider::Keycloak if access => {
            let mut response = claims::of(provider, kind, facts);
            response.insert("client_id".into(), facts.client());
            response.insert("username".into(), keycloak_username(facts));
            response.insert("token_type".into(), token_type.into());
            response
        }
        Provider::OidcProvider if kind != IssuedKind::Id => {
            oidc_provider(access, facts, token_type)
        }
        Provider::Okta if access => facts.with(json!({
            "aud": facts.get("aud"),
            "client_id": facts.client(),
            "jti": format!("AT.{}", facts.get("jti").as_str().unwrap_or_default()),
            "scope": facts.get("scope"),
            "token_type": token_type,
            "uid": facts.of_user("00u1a2b3c4"),
            "username": facts.of_user(facts.get("sub")),
        })),
        Provider::Spring => spring(kind, facts, token_type),
        Provider::Zitadel if access => facts.with(json!({
            "aud": array(facts.or("aud", facts.client())),
            "client_id": facts.client(),
            "jti": facts.get("jti"),
            "nbf": facts.or("nbf", facts.get("iat")),
            "scope": facts.get("scope"),
            "token_type": token_type,
            "username": facts.get("sub"),
        })),
        _ => return None,
    })
}

fn glewlwyd(kind: IssuedKind, facts: &Facts<'_>, token_type: &str) -> Map<String, Value> {
    let access = kind == IssuedKind::Access;
    let mut response = facts.with(json!({
        "iss": null,
        "sub": facts.of_user(facts.get("sub")),
        "username": facts.of_user(facts.get("sub")),
        "aud": if access { facts.or("aud", facts.get("scope")) } else { facts.client() },
        "client_id": facts.client(),
        "jti": if access { facts.get("jti") } else { Value::Null },
        "nbf": facts.or("nbf", facts.get("iat")),
        "scope": facts.get("scope"),
        "token_type": match kind {
            IssuedKind::Access if token_type == "Bearer" => "bearer",
            IssuedKind::Access => token_type,
            IssuedKind::Id => "id_token",
            IssuedKind::Refresh => "refresh_token",
        },
    }));
    if kind == IssuedKind::Id {
        response.insert("sid".into(), Value::Null);
    }
    response
}

fn hydra(access: bool, facts: &Facts<'_>, token_type: &str) -> Map<String, Value> {
    facts.with(json!({
        "aud": facts.audiences(),
        "client_id": facts.client(),
        "nbf": facts.or("nbf", facts.get("iat")),
        "scope": facts.get("scope"),
        "token_type": token_type,
        "token_use": if access { "access_token" } else { "refresh_token" },
    }))
}

fn oidc_provider(access: bool, facts: &Facts<'_>, token_type: &str) -> Map<String, Value> {
    let mut response = facts.with(json!({
        "sub": facts.of_user(facts.get("sub")),
        "client_id": facts.client(),
        "scope": facts.get("scope"),
    }));
    if access {
        response.insert("aud".into(), facts.get("aud"));
        response.insert("token_type".into(), token_type.into());
    }
    response.retain(|_, value| !value.is_null());
    response
}

fn spring(kind: IssuedKind, facts: &Facts<'_>, token_type: &str) -> Map<String, Value> {
    let mut response = claims::of(Provider::Spring, kind, facts);
    match kind {
        IssuedKind::Access => {
            response.insert("scope".into(), facts.get("scope"));
            response.insert("token_type".into(), token_type.into());
        }
        // A text where a number is defined (OpenID Connect Core 1.0 §2).
        IssuedKind::Id => {
            drop(response.insert("auth_time".into(), "2026-11-29T22:45:27.545Z".into()))
        }
        IssuedKind::Refresh => response.retain(|name, _| ["iat", "exp"].contains(&name.as_str())),
    }
    response.insert("client_id".into(), facts.client());
    if let Some(audience) = response.remove("aud") {
        response.insert("aud".into(), array(audience));
    }
    response.retain(|_, value| !value.is_null());
    response
}

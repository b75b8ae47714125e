//! Sets up Glewlwyd for a test, by its configuration file and its administration API.

use std::path::Path;

use serde_json::{Value, json};

use super::server::Glewlwyd;
use crate::oidc_provider::API;

/// The configuration file of a server on this port.
pub(crate) fn config(port: u16, home: &Path, database: &Path) -> String {
    let modules = "/usr/lib/glewlwyd";
    let (home, database) = (home.display(), database.display());
    format!(
        r#"
port = {port}
bind_address = "127.0.0.1"
external_url = "http://127.0.0.1:{port}"
login_url = "login.html"
api_prefix = "api"
static_files_path = "/usr/share/glewlwyd/webapp/"
cookie_domain = "127.0.0.1"
cookie_secure = 0
log_mode = "file"
log_level = "WARNING"
log_file = "{home}/log"
session_expiration = 3600
session_key = "SESSION"
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "{modules}/user"
user_middleware_module_path = "{modules}/user_middleware"
client_module_path = "{modules}/client"
user_auth_scheme_module_path = "{modules}/scheme"
plugin_module_path = "{modules}/plugin"
hash_algorithm = "SHA512"
database = {{ type = "sqlite3" path = "{database}" }}
"#
    )
}

/// Returns the session cookie of the administrator, with the name and password of a new database.
pub(crate) async fn log_in(server: &Glewlwyd) -> String {
    let admin = json!({"username": "admin", "password": "password"});
    server.admin("POST", "/auth", &admin).await.expect("a session")
}

/// Creates scopes, clients, a user, and the OpenID Connect plugin.
pub(crate) async fn create_all(server: &Glewlwyd, keys: &[&str]) {
    for name in ["read", "write", "introspect"] {
        let scope = json!({
            "name": name,
            "display_name": name,
            "password_required": false,
            "scheme": {},
        });
        server.admin("POST", "/scope", &scope).await;
    }
    for client in [
        client("svc", "svc-secret", &["client_credentials"], &["read", "write"]),
        client("web", "web-secret", &["password", "refresh_token"], &[]),
        client("rs", "rs-secret", &["client_credentials"], &["introspect"]),
        client("rs-odd", ODD_SECRET, &["client_credentials"], &["introspect"]),
    ] {
        server.admin("POST", "/client", &client).await;
    }
    let alice = json!({
        "username": "alice",
        "name": "Alice",
        "email": "alice@example.com",
        "password": "alice-password",
        "enabled": true,
        "scope": ["openid", "read", "write"],
    });
    server.admin("POST", "/user", &alice).await;
    server.admin("POST", "/mod/plugin/", &plugin(&server.issuer(), keys)).await;
}

/// A secret with characters that the form encoding of RFC 6749 changes.
pub const ODD_SECRET: &str = "more: 100% & a+b";

/// Changes the keys, as an administrator would: new settings, then a restart of the plugin.
pub(crate) async fn publish(server: &Glewlwyd, keys: &[&str]) {
    server.admin("PUT", "/mod/plugin/oidc", &plugin(&server.issuer(), keys)).await;
    server.admin("PUT", "/mod/plugin/oidc/reset", &json!(null)).await;
}

fn client(id: &str, secret: &str, grants: &[&str], scope: &[&str]) -> Value {
    json!({
        "client_id": id,
        "name": id,
        "confidential": true,
        "enabled": true,
        "token_endpoint_auth_method": ["client_secret_basic", "client_secret_post"],
        "client_secret": secret,
        "scope": scope,
        "authorization_type": grants,
        "redirect_uri": ["https://client.example.com/"],
        "resource": [API, "https://other.example.com"],
    })
}

fn plugin(issuer: &str, keys: &[&str]) -> Value {
    json!({
        "module": "oidc",
        "name": "oidc",
        "display_name": "oidc",
        "enabled": true,
        "parameters": {
            "iss": issuer,
            "jwks-private": private_keys(keys).to_string(),
            "jwks-show": true,
            "jwt-type": "ecdsa",
            "jwt-key-size": "256",
            "subject-type": "public",
            "access-token-duration": 3600,
            "refresh-token-duration": 86400,
            "code-duration": 600,
            "allow-non-oidc": true,
            "auth-type-client-enabled": true,
            "auth-type-password-enabled": true,
            "auth-type-refresh-enabled": true,
            "introspection-revocation-allowed": true,
            "introspection-revocation-allow-target-client": true,
            "introspection-revocation-auth-scope": ["introspect"],
            "resource-allowed": true,
            "resource-client-property": "resource",
            "resource-scope": {},
            "resource-scope-and-client-property": false,
        },
    })
}

/// Returns the keys of these names, in this order. The first one signs.
fn private_keys(names: &[&str]) -> Value {
    let all: Value =
        serde_json::from_str(include_str!("test-only-keys.json")).expect("a set of keys");
    let all = all["keys"].as_array().expect("keys");
    let named = |name: &&str| all.iter().find(|key| key["kid"] == **name).expect("a known key");
    json!({ "keys": names.iter().map(named).collect::<Vec<_>>() })
}

//! Settings for one issuer, from environment variables.

use toml::{Table, Value};

/// Returns the settings for one issuer, as a file would hold them.
pub(crate) fn settings() -> Table {
    let var = |name: &str| std::env::var(format!("FORWARD_AUTH_{name}")).ok();
    let mut client = Table::new();
    if let Some(id) = var("CLIENT_ID") {
        client.insert("method".into(), "basic".into());
        client.insert("id".into(), id.into());
    }
    if let Some(file) = var("CLIENT_SECRET_FILE") {
        client.insert("secret_file".into(), file.into());
    }
    if var("CLIENT_SECRET").is_some() {
        client.insert("secret_env".into(), "FORWARD_AUTH_CLIENT_SECRET".into());
    }
    let mut issuer = Table::new();
    if let Some(name) = var("ISSUER") {
        issuer.insert("issuer".into(), name.into());
    }
    issuer.insert("mode".into(), var("MODE").unwrap_or_else(|| "jwt".to_owned()).into());
    if !client.is_empty() {
        issuer.insert("client".into(), client.into());
    }
    let mut resource_server = Table::new();
    resource_server.insert("issuer".into(), Value::Array(vec![issuer.into()]));
    if let Some(audience) = var("AUDIENCE") {
        resource_server.insert("audience".into(), audience.into());
    }
    if let Some(scopes) = var("REQUIRED_SCOPES").filter(|scopes| !scopes.trim().is_empty()) {
        let scopes = scopes.split_whitespace().map(Value::from).collect();
        resource_server.insert("required_scopes".into(), Value::Array(scopes));
    }
    if var("DANGER_ALLOW_HTTP_LOOPBACK").is_some_and(|value| value == "true") {
        resource_server.insert("danger_allow_http_loopback".into(), true.into());
    }
    let mut settings = Table::new();
    let listen = var("LISTEN").unwrap_or_else(|| "127.0.0.1:4180".to_owned());
    settings.insert("listen".into(), listen.into());
    settings.insert("resource_server".into(), resource_server.into());
    settings
}

//! The files of docs/operations for proxies, without the proxies. `tests/interop/proxies` runs them.

use std::{fs, path::Path};

use tower_introspect::test_util::AuthorizationServer;

use testing::program::{header, request, started, stopped};

use crate::{AUDIENCE, forward_auth};

/// The headers that `forward-auth` writes.
const IDENTITY: [&str; 4] = ["X-Auth-Subject", "X-Auth-Issuer", "X-Auth-Client", "X-Auth-Scope"];

pub(crate) fn recipe(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations").join(file);
    fs::read_to_string(path).unwrap()
}

/// Returns the only line with this word that is no comment.
fn line<'a>(text: &'a str, word: &str) -> &'a str {
    let mut lines = text.lines().filter(|line| {
        !line.trim_start().starts_with('#')
            && line.trim_start().trim_start_matches('-').contains(word)
    });
    let line = lines.next().unwrap_or_else(|| panic!("no {word}"));
    assert_eq!(lines.next(), None, "{word}");
    line
}

fn has_all(line: &str) -> bool {
    IDENTITY.iter().all(|name| line.contains(name) || line.contains(&name.to_lowercase()))
}

#[test]
fn every_proxy_replaces_every_identity_header() {
    for (file, word) in [
        ("Caddyfile", "copy_headers"),
        ("envoy.yaml", "allowed_upstream_headers"),
        ("traefik-routes.yaml", "authResponseHeaders"),
    ] {
        assert!(has_all(line(&recipe(file), word)), "{file}");
    }
    for name in IDENTITY {
        // Again, as the client may have named it in `Connection`.
        line(&recipe("Caddyfile"), &format!("header_up {name} "));
        let variable = name.to_lowercase().replace("x-", "$").replace('-', "_");
        line(&recipe("nginx.conf"), &format!("proxy_set_header {name} {variable};"));
    }
}

#[test]
fn no_proxy_passes_on_the_certificate_headers_of_its_clients() {
    let names = [
        "Client-Cert",
        "Client-Cert-Chain",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Tls-Client-Cert",
    ];
    for name in names {
        assert!(recipe("traefik-routes.yaml").contains(&format!("{name}: \"\"")), "{name}");
        assert!(recipe("nginx.conf").contains(&format!("proxy_set_header {name} \"\";")), "{name}");
        assert!(recipe("Caddyfile").contains(&format!("request_header -{name}")), "{name}");
    }
    let caddy = recipe("Caddyfile");
    let places =
        ["route {", "request_header -Client-Cert\n", "request_header @shown", "forward_auth @"];
    let places = places.map(|place| caddy.find(place).unwrap());
    assert!(places.is_sorted(), "{places:?}");
    let traefik = recipe("traefik-routes.yaml");
    assert!(line(&traefik, "middlewares: [").ends_with("[strip, certificate, ask]"));
    assert!(line(&recipe("envoy.yaml"), "forward_client_cert_details").ends_with(" SANITIZE_SET"));
}

#[test]
fn envoy_lets_nobody_in_while_forward_auth_is_away() {
    let envoy = recipe("envoy.yaml");
    assert!(line(&envoy, "failure_mode_allow").ends_with(": false"));
    assert!(line(&envoy, "status_on_error").contains("ServiceUnavailable"));
    // An introspection takes up to 3 s, and a second one may wait for it.
    assert!(line(&envoy, "server_uri").contains("timeout: 10s"));
    assert!(line(&recipe("Caddyfile"), "response_header_timeout").ends_with(" 10s"));
    assert!(line(&recipe("nginx.conf"), "proxy_read_timeout").ends_with(" 10s;"));
}

#[tokio::test]
async fn forward_auth_takes_the_settings_for_each_proxy() {
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    let bearer = format!("Authorization: Bearer {}\r\n", server.jwt().audience(AUDIENCE).mint());
    for (original_request, field) in [
        ("x_forwarded", "client_cert"),
        ("same", "xfcc"),
        ("x_forwarded", "x_forwarded_tls_client_cert"),
    ] {
        let table = "\n[resource_server]\n";
        let loopback = format!("{table}danger_allow_http_loopback = true\n");
        let mut settings = recipe("forward_auth.toml").replace(table, &loopback);
        for (name, value) in [
            ("AUTHORIZER", "127.0.0.1:0"),
            ("ORIGINAL_REQUEST", original_request),
            ("AUDIENCE", AUDIENCE),
            ("ISSUER", server.issuer()),
            ("URL", "https://api.example.com"),
            ("FIELD", field),
        ] {
            settings = settings.replace(&format!("@{name}@"), value);
        }
        let file = format!("forward-auth-recipe-{field}-{}.toml", std::process::id());
        let file = std::env::temp_dir().join(file);
        fs::write(&file, settings).unwrap();
        let (child, address) = started(forward_auth().arg(&file)).await;
        let told = "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /a\r\n";
        let answer = request(&address, "/a", &format!("{bearer}{told}")).await;
        assert_eq!(header(&answer, "x-auth-subject"), Some("alice"), "{field}: {answer}");
        for name in IDENTITY {
            assert!(header(&answer, &name.to_lowercase()).is_some(), "{name}: {answer}");
        }
        stopped(child).await;
        fs::remove_file(file).unwrap();
    }
}

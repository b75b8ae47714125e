//! A client of a proxy that uploads without a token gets the refusal of the service behind it.
//!
//! Proxies go on to send the body after the response, over HTTP/1.1. They report 502 if the service
//! ends the connection meanwhile.

use std::{fs, net::SocketAddr};

use axum::{Router, routing};
use tokio::net::TcpListener;
use tower_introspect::{
    Issuer, ResourceServer, respond::refused_body::ReadRefusedLayer, test_util::AuthorizationServer,
};

use super::Proxy;
use testing::{
    host::{self, ScratchDir},
    oidc_provider::API,
    proxy::until,
};

/// A configuration that only passes requests on.
fn plain(
    proxy: Proxy,
    listen: SocketAddr,
    api: SocketAddr,
    dir: &str,
) -> Vec<(&'static str, String)> {
    let port = listen.port();
    match proxy {
        Proxy::Caddy => vec![(
            "Caddyfile",
            format!(
                "{{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n}}\n\
                 http://:{port} {{\n\tbind 127.0.0.1\n\treverse_proxy {api}\n}}\n"
            ),
        )],
        Proxy::Nginx => vec![(
            "nginx.conf",
            format!(
                "client_max_body_size 20m;\n\
                 server {{ listen {listen}; location / {{ proxy_pass http://{api}; }} }}\n"
            ),
        )],
        Proxy::Traefik => vec![
            (
                "traefik.yaml",
                format!(
                    "global: {{checkNewVersion: false, sendAnonymousUsage: false}}\n\
                     entryPoints: {{api: {{address: \"{listen}\"}}}}\n\
                     providers: {{file: {{filename: \"{dir}/traefik-routes.yaml\"}}}}\n"
                ),
            ),
            (
                "traefik-routes.yaml",
                format!(
                    "http:\n  routers: {{api: {{rule: \"PathPrefix(`/`)\", service: api}}}}\n  \
                     services: {{api: {{loadBalancer: {{servers: [{{url: \"http://{api}\"}}]}}}}}}\n"
                ),
            ),
        ],
        Proxy::Envoy => vec![(
            "envoy.yaml",
            format!(
                r#"static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: api
          route_config: {{virtual_hosts: [{{name: api, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: api}}}}]}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: api
    load_assignment:
      cluster_name: api
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {api_port}}}}}}}}}]}}]
"#,
                api_port = api.port()
            ),
        )],
    }
}

/// A service that reads the bodies of refused requests.
async fn service() -> SocketAddr {
    let server = AuthorizationServer::new("https://as.example.com");
    let api = ResourceServer::builder(API)
        .issuer(Issuer::jwt(server.issuer()))
        .transport(server.transport())
        .build()
        .expect("valid");
    let app = Router::new().route("/", routing::post(async || ()));
    let app = app.layer(ReadRefusedLayer::new(api.layer()).max_time(host::PATIENCE));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

/// Returns the statuses of five uploads of this many bytes.
async fn statuses(proxy: Proxy, length: usize) -> Vec<u16> {
    let home = ScratchDir::new("plain");
    let listen = SocketAddr::from(([127, 0, 0, 1], host::free_port()));
    let dir = home.path().to_str().expect("UTF-8");
    for (name, text) in plain(proxy, listen, service().await, dir) {
        fs::write(home.path().join(name), text).expect("writable");
    }
    let _process = proxy.start(home.path(), listen).await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("http://{listen}/");
    // Traefik listens before it has its routes.
    let has_routes = async || {
        let answer = http.get(&url).send().await;
        answer.is_ok_and(|answer| answer.status() != 404)
    };
    until(has_routes, || format!("{proxy:?} has no routes")).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let upload = http.post(&url).body(vec![0; length]);
        statuses.push(upload.send().await.expect("an answer").status().as_u16());
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_of_an_upload_reaches_the_client_of_every_proxy() {
    for proxy in Proxy::ALL {
        if proxy.is_there() {
            assert_eq!(statuses(proxy, 5 << 20).await, [401; 5], "{proxy:?}");
        }
    }
}

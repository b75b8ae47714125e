//! The example `forward_auth` behind nginx, with the configuration of its documentation.

use std::{fs, net::SocketAddr, process::Command};

use axum::{Router, http::HeaderMap};
use tokio::net::TcpListener;
use tokio_rustls::rustls::DEFAULT_VERSIONS;
use tower_introspect::test_util::{AuthorizationServer, Listening, Prover};

use crate::mtls::{bound, field};
use testing::{
    host::{self, Process, ScratchDir},
    oidc_provider::API,
    pki::{Authority, Client},
    proxy::{listens, nginx},
};

/// The protected service, which responds with the identity that it got.
async fn protected_service() -> SocketAddr {
    let app = Router::new().fallback(async |headers: HeaderMap| {
        let subject = headers.get("x-auth-subject").and_then(|value| value.to_str().ok());
        subject.unwrap_or("nobody").to_owned()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

struct World {
    server: AuthorizationServer,
    authority: Authority,
    base: String,
    tls: SocketAddr,
    http: reqwest::Client,
    _listening: Listening,
    _processes: [Process; 2],
    _home: ScratchDir,
}

impl World {
    /// Returns `None` without nginx.
    async fn new() -> Option<Self> {
        if !host::has("nginx") {
            host::skip("nginx");
            return None;
        }
        let (server, listening) = AuthorizationServer::on_loopback().await.expect("a port");
        let home = ScratchDir::new("forward-auth");
        let address = || SocketAddr::from(([127, 0, 0, 1], host::free_port()));
        let (asked, proxy, tls, protected_service) =
            (address(), address(), address(), protected_service().await);

        let settings = format!(
            "listen = '{asked}'\noriginal_request = 'x_forwarded'\n[resource_server]\n\
             audience = '{API}'\ndanger_allow_http_loopback = true\n[[resource_server.issuer]]\n\
             issuer = '{}'\nmode = 'jwt'\n[resource_server.dpop]\nurl = 'https://api.example.com'\n\
             nonce = 'require'\n[resource_server.mtls]\nfield = 'client_cert'\n\
             proxies = '127.0.0.1'\n",
            server.issuer()
        );
        let file = home.path().join("forward_auth.toml");
        fs::write(&file, settings).expect("writable");
        // The program that was built along with this test.
        let test = std::env::current_exe().expect("this has a file");
        let target = test.parent().and_then(|deps| deps.parent()).expect("a directory of cargo");
        let program = target.join("examples").join("forward_auth");
        assert!(program.exists(), "it is not built: run the tests without naming a target");
        let mut command = Command::new(program);
        let process = Process::start(command.arg(file));
        listens(&command, asked).await;

        let authority = Authority::new();
        let own = authority.server();
        let write =
            |name: &str, text: String| fs::write(home.path().join(name), text).expect("writable");
        write("own.pem", own.certificate.pem() + &own.key.serialize_pem());
        write("ca.pem", authority.pem());
        let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/nginx-client-cert.conf");
        let locations = format!(
            "    location / {{
      auth_request /auth;
      auth_request_set $subject $upstream_http_x_auth_subject;
      proxy_set_header X-Auth-Subject $subject;
      auth_request_set $auth_status $upstream_status;
      error_page 500 = @unanswered;
      auth_request_set $dpop_nonce $upstream_http_dpop_nonce;
      add_header DPoP-Nonce $dpop_nonce always;
      proxy_pass http://{protected_service};
    }}
    location @unanswered {{
      if ($auth_status = 400) {{ return 400; }}
      return 503;
    }}
    location = /auth {{
      internal;
      proxy_pass http://{asked};
      proxy_pass_request_body off;
      proxy_set_header Content-Length \"\";
      proxy_set_header X-Forwarded-Method $request_method;
      proxy_set_header X-Forwarded-Uri $request_uri;
      proxy_set_header Client-Cert $client_cert;
      proxy_set_header Client-Cert-Chain \"\";
    }}"
        );
        let lines = format!(
            "  include {recipe};
  server {{
    listen {proxy};
{locations}
  }}
  server {{
    listen {tls} ssl;
    ssl_certificate own.pem;
    ssl_certificate_key own.pem;
    ssl_client_certificate ca.pem;
    ssl_verify_client optional;
{locations}
  }}"
        );
        let nginx = nginx(home.path(), &lines, proxy).await;
        Some(Self {
            server,
            authority,
            tls,
            base: format!("http://{proxy}"),
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            _listening: listening,
            _processes: [process, nginx],
            _home: home,
        })
    }

    /// Returns the status, the body and the fields of the response.
    async fn send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> (u16, String, HeaderMap) {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, response.text().await.expect("a text"), headers)
    }
}

#[tokio::test]
async fn nginx_admits_the_requests_that_forward_auth_admits() {
    let Some(world) = World::new().await else { return };
    let unbound = format!("Bearer {}", world.server.jwt().audience(API).mint());
    let (status, said, _) = world.send("GET", "/a", &[("authorization", &unbound)]).await;
    assert_eq!((status, &*said), (200, "alice"));
    // Whatever protocol or identity the client claims.
    for fields in [
        &[][..],
        &[("content-type", "application/grpc")],
        &[("x-auth-subject", "root")],
        &[("authorization", "Bearer abc"), ("content-type", "application/grpc")],
    ] {
        assert_eq!(world.send("GET", "/a", fields).await.0, 401, "{fields:?}");
    }
    // Also with other methods.
    let preflight = [("origin", "https://a"), ("access-control-request-method", "GET")];
    for method in ["OPTIONS", "HEAD", "TRACES"] {
        assert_eq!(world.send(method, "/a", &preflight).await.0, 401, "{method}");
    }
    // A malformed credential is the client's fault, and no alarm for the operator.
    assert_eq!(world.send("GET", "/a", &[("authorization", "Bearer a b")]).await.0, 400);

    let laptop = Prover::new("laptop");
    let token = world.server.jwt().audience(API).bound_to(&laptop).mint();
    let (bearer, dpop) = (format!("Bearer {token}"), format!("DPoP {token}"));
    assert_eq!(world.send("GET", "/a", &[("authorization", &bearer)]).await.0, 401);
    let proof = |method: &str, path: &str, nonce: Option<&str>| {
        let proof = laptop.proof(method, &format!("https://api.example.com{path}"));
        let proof = proof.for_token(&token);
        nonce.into_iter().fold(proof, |proof, nonce| proof.nonce(nonce)).mint()
    };
    let send = async |method: &str, path: &str, proof: &str, more: &[(&str, &str)]| {
        let fields = [&[("authorization", &*dpop), ("dpop", proof)], more].concat();
        world.send(method, path, &fields).await
    };
    // The challenge reaches the client.
    let (status, _, fields) = send("POST", "/a?b=c", &proof("POST", "/a", None), &[]).await;
    let challenges: Vec<_> = fields.get_all("www-authenticate").iter().collect();
    assert_eq!(status, 401);
    assert!(challenges.iter().any(|one| format!("{one:?}").contains("use_dpop_nonce")));
    let nonce = fields["dpop-nonce"].to_str().expect("text");
    let good = |method: &str, path: &str| proof(method, path, Some(nonce));
    let (status, said, _) = send("POST", "/a?b=c", &good("POST", "/a"), &[]).await;
    assert_eq!((status, &*said), (200, "alice"));
    // For another URL, or for the URL in a field of the client.
    for (method, path) in [("GET", "/a"), ("POST", "/b"), ("GET", "/auth")] {
        let told = [("x-forwarded-method", method), ("x-forwarded-uri", path)];
        assert_eq!(send("POST", "/a", &good(method, path), &told).await.0, 401, "{method} {path}");
    }
    // The proof is accepted once.
    let once = good("DELETE", "/a");
    assert_eq!(send("DELETE", "/a", &once, &[]).await.0, 200);
    assert_eq!(send("DELETE", "/a", &once, &[]).await.0, 401);
}

#[tokio::test]
async fn rfc9440_2_2_nginx_sends_the_certificate_of_its_client_to_forward_auth() {
    let Some(world) = World::new().await else { return };
    let (own, other) = (world.authority.client(), world.authority.client());
    let bound = bound(&world.server, &own);
    for (shown, lines, status) in [
        (Some(&own), String::new(), 200),
        (Some(&own), field(&other), 200),
        (Some(&other), field(&own), 401),
        (None, field(&own), 401),
    ] {
        let client = Client::new(&world.authority, shown, DEFAULT_VERSIONS);
        let told = client.get(world.tls, &bound, &lines).await;
        assert_eq!(told.status, status, "{}", told.text);
        assert_eq!(told.text.ends_with("alice"), status == 200, "{}", told.text);
    }
    // Also without TLS.
    let (bearer, forged) = (format!("Bearer {bound}"), field(&own));
    let forged = forged.trim_end().split_once(": ").expect("a field");
    let fields = [("authorization", &*bearer), forged];
    assert_eq!(world.send("GET", "/", &fields).await.0, 401);
}

//! The example `forward_auth`, asked by nginx, which is set up as the example says.

use std::{fs, net::SocketAddr, process::Command};

use axum::{Router, http::HeaderMap};
use tokio::net::TcpListener;
use tower_introspect::test_util::{AuthorizationServer, Listening, Prover};

use crate::{
    host::{self, Home, Process},
    proxy::{listens, nginx},
    server::API,
};

/// What is behind: it tells whom it believes to serve.
async fn behind() -> SocketAddr {
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
    base: String,
    http: reqwest::Client,
    _listening: Listening,
    _processes: [Process; 2],
    _home: Home,
}

impl World {
    async fn new() -> Self {
        let (server, listening) = AuthorizationServer::on_loopback().await.expect("a port");
        let home = Home::new("forward-auth");
        let address = || SocketAddr::from(([127, 0, 0, 1], host::free_port()));
        let (asked, proxy, behind) = (address(), address(), behind().await);

        let settings = format!(
            "listen = '{asked}'\noriginal_request = 'x_forwarded'\n[resource_server]\n\
             audience = '{API}'\ndanger_allow_http_loopback = true\n[[resource_server.issuer]]\n\
             issuer = '{}'\nmode = 'jwt'\n[resource_server.dpop]\nurl = 'https://api.example.com'\n\
             nonce = 'require'\n",
            server.issuer()
        );
        let file = home.path().join("forward_auth.toml");
        fs::write(&file, settings).expect("writable");
        // One that was built along with this test.
        let test = std::env::current_exe().expect("this has a file");
        let target = test.parent().and_then(|deps| deps.parent()).expect("a directory of cargo");
        let program = target.join("examples").join("forward_auth");
        assert!(program.exists(), "it is not built: run the tests without naming a target");
        let mut command = Command::new(program);
        let process = Process::start(command.arg(file));
        listens(&command, asked).await;

        let lines = format!(
            "  server {{
    listen {proxy};
    location / {{
      auth_request /auth;
      auth_request_set $subject $upstream_http_x_auth_subject;
      proxy_set_header X-Auth-Subject $subject;
      auth_request_set $dpop_nonce $upstream_http_dpop_nonce;
      add_header DPoP-Nonce $dpop_nonce always;
      proxy_pass http://{behind};
    }}
    location = /auth {{
      internal;
      proxy_pass http://{asked};
      proxy_pass_request_body off;
      proxy_set_header Content-Length \"\";
      proxy_set_header X-Forwarded-Method $request_method;
      proxy_set_header X-Forwarded-Uri $request_uri;
    }}
  }}"
        );
        let nginx = nginx(home.path(), &lines, proxy).await;
        Self {
            server,
            base: format!("http://{proxy}"),
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            _listening: listening,
            _processes: [process, nginx],
            _home: home,
        }
    }

    /// The status, what is behind says, and the fields of the answer.
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
async fn nginx_lets_in_whom_forward_auth_does() {
    if !host::has("nginx") {
        host::skip("nginx");
        return;
    }
    let world = World::new().await;
    let unbound = format!("Bearer {}", world.server.jwt().audience(API).mint());
    let (status, said, _) = world.send("GET", "/a", &[("authorization", &unbound)]).await;
    assert_eq!((status, &*said), (200, "alice"));
    // Whatever a client says that it speaks, or who it is.
    for fields in [
        &[][..],
        &[("content-type", "application/grpc")],
        &[("x-auth-subject", "root")],
        &[("authorization", "Bearer abc"), ("content-type", "application/grpc")],
    ] {
        assert_eq!(world.send("GET", "/a", fields).await.0, 401, "{fields:?}");
    }

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
    // What a client needs to begin with gets through.
    let (status, _, fields) = send("POST", "/a?b=c", &proof("POST", "/a", None), &[]).await;
    let challenges: Vec<_> = fields.get_all("www-authenticate").iter().collect();
    assert_eq!(status, 401);
    assert!(challenges.iter().any(|one| format!("{one:?}").contains("use_dpop_nonce")));
    let nonce = fields["dpop-nonce"].to_str().expect("text");
    let good = |method: &str, path: &str| proof(method, path, Some(nonce));
    let (status, said, _) = send("POST", "/a?b=c", &good("POST", "/a"), &[]).await;
    assert_eq!((status, &*said), (200, "alice"));
    // For something else, or for what the client says that it asks for.
    for (method, path) in [("GET", "/a"), ("POST", "/b"), ("GET", "/auth")] {
        let told = [("x-forwarded-method", method), ("x-forwarded-uri", path)];
        assert_eq!(send("POST", "/a", &good(method, path), &told).await.0, 401, "{method} {path}");
    }
    // Once.
    let once = good("DELETE", "/a");
    assert_eq!(send("DELETE", "/a", &once, &[]).await.0, 200);
    assert_eq!(send("DELETE", "/a", &once, &[]).await.0, 401);
}

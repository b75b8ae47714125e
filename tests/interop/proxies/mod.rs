//! The configuration files of docs/operations, run by the proxies that they are for, in front of the
//! program `forward-auth` and of a service that trusts its headers.

mod away;
mod certificates;
mod identity;
mod large_upload;
mod proofs;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use axum::{Router, body::Bytes, extract::OriginalUri, http::HeaderMap};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::rustls::DEFAULT_VERSIONS;
use tower_introspect::test_util::{AuthorizationServer, Listening};

use testing::{
    host::{self, Process, ScratchDir},
    oidc_provider::API,
    pki::{Authority, Client, Signed},
    proxy::{nginx, until},
};

/// The URL by which clients reach the proxies.
const URL: &str = "https://api.example.com";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proxy {
    Caddy,
    Envoy,
    Nginx,
    Traefik,
}

impl Proxy {
    const ALL: [Self; 4] = [Self::Caddy, Self::Envoy, Self::Nginx, Self::Traefik];

    const fn name(self) -> &'static str {
        match self {
            Self::Caddy => "caddy",
            Self::Envoy => "envoy",
            Self::Nginx => "nginx",
            Self::Traefik => "traefik",
        }
    }

    /// The files of docs/operations for this proxy, the main one first.
    const fn files(self) -> &'static [&'static str] {
        match self {
            Self::Caddy => &["Caddyfile"],
            Self::Envoy => &["envoy.yaml"],
            Self::Nginx => &["nginx.conf", "nginx-client-cert.conf"],
            Self::Traefik => &["traefik.yaml", "traefik-routes.yaml"],
        }
    }

    /// The settings of `forward-auth` behind it: `original_request` and `field`.
    const fn settings(self) -> (&'static str, &'static str) {
        match self {
            Self::Envoy => ("same", "xfcc"),
            Self::Traefik => ("x_forwarded", "x_forwarded_tls_client_cert"),
            Self::Caddy | Self::Nginx => ("x_forwarded", "client_cert"),
        }
    }

    /// Returns true if it is installed, and reports a skipped test otherwise.
    fn is_there(self) -> bool {
        let is_there = match self {
            Self::Nginx => host::has("nginx"),
            _ => self.program().is_file(),
        };
        if !is_there {
            host::skip(&format!("{} (tests/interop/proxies/.venv)", self.name()));
        }
        is_there
    }

    fn program(self) -> PathBuf {
        let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/proxies/.venv/bin");
        venv.join(self.name())
    }

    /// Runs it with the files in this directory, and waits until it listens.
    async fn start(self, dir: &Path, address: SocketAddr) -> Process {
        let main = self.files()[0];
        if self == Self::Nginx {
            let include = format!("include {};", dir.join(main).display());
            let home = dir.join("nginx");
            fs::create_dir_all(&home).expect("writable");
            return nginx(&home, &include, address).await;
        }
        let mut command = Command::new(self.program());
        command.current_dir(dir).env("HOME", dir);
        match self {
            Self::Caddy => {
                command.args(["run", "--adapter", "caddyfile", "--config", main]);
            }
            Self::Envoy => {
                command.args([
                    "--concurrency",
                    "1",
                    "--disable-hot-restart",
                    "-l",
                    "off",
                    "-c",
                    main,
                ]);
            }
            _ => {
                command.arg(format!("--configFile={main}"));
            }
        }
        let mut process = Process::start(&mut command);
        process.listens(&command, address).await;
        process
    }

    /// Returns a file of docs/operations, with what a test needs besides.
    fn recipe(self, file: &str) -> String {
        let text = recipe(file);
        match file {
            // No port of its own, no files elsewhere.
            "Caddyfile" => {
                format!("{{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n}}\n{text}")
            }
            "traefik.yaml" => {
                format!("{text}global: {{checkNewVersion: false, sendAnonymousUsage: false}}\n")
            }
            _ => text,
        }
    }
}

pub(crate) fn recipe(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations").join(file);
    fs::read_to_string(path).expect("a file of docs/operations")
}

/// Fills in what stands between two @, and nothing else may be left to fill in.
pub(crate) fn filled(text: &str, values: &[(&str, &str)]) -> String {
    let filled = values
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value));
    let settings = filled.lines().filter(|line| !line.trim_start().starts_with('#'));
    for line in settings {
        let mut parts = line.split('@').skip(1);
        let unknown = parts.find(|part| part.chars().all(|letter| letter.is_ascii_uppercase()));
        assert_eq!(unknown.filter(|part| !part.is_empty()), None, "{line}");
    }
    filled
}

/// A change of a file before a proxy is started with it.
type Change = fn(&str, &str) -> String;

/// The proxy, what it asks and what it protects.
struct World {
    server: AuthorizationServer,
    authority: Authority,
    address: SocketAddr,
    forward_auth: Option<Process>,
    _proxy: Process,
    _listening: Listening,
    _home: ScratchDir,
}

impl World {
    /// Returns `None` without the proxy.
    async fn new(proxy: Proxy) -> Option<Self> {
        Self::with(proxy, |_, text| text.to_owned()).await
    }

    async fn with(proxy: Proxy, change: Change) -> Option<Self> {
        Self::around(proxy, change, async |_| echo().await).await
    }

    /// Starts it in front of another service, which trusts this authorization server.
    async fn around(
        proxy: Proxy,
        change: Change,
        service: impl AsyncFnOnce(&AuthorizationServer) -> SocketAddr,
    ) -> Option<Self> {
        if !proxy.is_there() {
            return None;
        }
        let (server, listening) = AuthorizationServer::on_loopback().await.expect("a port");
        let (authority, home) = (Authority::new(), ScratchDir::new(proxy.name()));
        let (dir, own) = (home.path(), authority.server());
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).expect("writable");
        write("server.pem", &own.certificate.pem());
        write("server.key", &own.key.serialize_pem());
        write("clients.pem", &authority.pem());

        let address = || SocketAddr::from(([127, 0, 0, 1], host::free_port()));
        let (listen, authorizer, api) = (address(), address(), service(&server).await);
        let (original_request, field) = proxy.settings();
        let ports = [listen, authorizer, api].map(|address| address.port().to_string());
        let hosts = [listen, authorizer, api].map(|address| address.to_string());
        let values = [
            ("DIRECTORY", dir.to_str().expect("UTF-8")),
            ("LISTEN", &hosts[0]),
            ("LISTEN_HOST", "127.0.0.1"),
            ("LISTEN_PORT", &ports[0]),
            ("AUTHORIZER", &hosts[1]),
            ("AUTHORIZER_HOST", "127.0.0.1"),
            ("AUTHORIZER_PORT", &ports[1]),
            ("API", &hosts[2]),
            ("API_HOST", "127.0.0.1"),
            ("API_PORT", &ports[2]),
            ("ORIGINAL_REQUEST", original_request),
            ("AUDIENCE", API),
            ("ISSUER", server.issuer()),
            ("URL", URL),
            ("FIELD", field),
        ];
        let settings = recipe("forward_auth.toml").replace(
            "\n[resource_server]\n",
            "\n[resource_server]\ndanger_allow_http_loopback = true\n",
        );
        let settings = change("forward_auth.toml", &settings);
        write("forward_auth.toml", &filled(&settings, &values));
        let forward_auth = forward_auth(&dir.join("forward_auth.toml"), authorizer).await;
        for file in proxy.files() {
            write(file, &filled(&change(file, &proxy.recipe(file)), &values));
        }
        let running = proxy.start(dir, listen).await;
        let world = Self {
            server,
            authority,
            address: listen,
            forward_auth: Some(forward_auth),
            _proxy: running,
            _listening: listening,
            _home: home,
        };
        // Traefik listens before it has its routes and its certificate.
        let request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let has_routes = async || {
            let answer = world.client(None).try_send(listen, request).await;
            answer.is_some_and(|answer| answer.status != 404)
        };
        until(has_routes, || format!("{proxy:?} has no routes")).await;
        // On a busy machine the first fetch of the keys may take too long.
        let bearer = world.bearer();
        let fields = [("authorization", &*bearer)];
        let has_keys = async || world.get(&fields).await.status != 503;
        until(has_keys, || format!("{proxy:?} has no keys")).await;
        Some(world)
    }

    fn client(&self, own: Option<&Signed>) -> Client {
        Client::new(&self.authority, own, DEFAULT_VERSIONS)
    }

    /// Sends `GET /a` with these fields, without a certificate.
    async fn get(&self, fields: &[(&str, &str)]) -> Answer {
        self.send("GET", "/a", fields, "").await
    }

    async fn send(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in fields {
            request += &format!("{name}: {value}\r\n");
        }
        if !fields.iter().any(|(name, _)| *name == "connection") {
            request += "connection: close\r\n";
        }
        if !body.is_empty() {
            request += &format!("content-length: {}\r\n", body.len());
        }
        request += &format!("\r\n{body}");
        Answer::read(&self.client(None).send(self.address, &request).await.text)
    }

    /// Returns `Bearer` and an unbound token.
    fn bearer(&self) -> String {
        format!("Bearer {}", self.server.jwt().audience(API).mint())
    }
}

/// Starts the program in its last build.
async fn forward_auth(settings: &Path, address: SocketAddr) -> Process {
    let test = std::env::current_exe().expect("this has a file");
    let target = test.parent().and_then(|deps| deps.parent()).expect("a directory of cargo");
    let program = target.join("forward-auth");
    assert!(
        program.exists(),
        "it is not built: run the tests of the workspace without naming a target"
    );
    let mut command = Command::new(program);
    let mut process = Process::start(command.arg(settings));
    process.listens(&command, address).await;
    process
}

/// A service that responds with the request that it got.
async fn echo() -> SocketAddr {
    let app = Router::new().fallback(
        async |OriginalUri(uri): OriginalUri, headers: HeaderMap, body: Bytes| {
            let fields: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
                .collect();
            json!({"path": uri.to_string(), "fields": fields, "body": body.len()}).to_string()
        },
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

/// The response that a client gets.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    /// The request as the service got it, null if it didn't.
    got: Value,
}

impl Answer {
    fn read(text: &str) -> Self {
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        // Chunks have their lengths around it.
        let json = body.find('{').zip(body.rfind('}')).map(|(start, end)| &body[start..=end]);
        let got = json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        Self { status: status.expect("an answer"), head: head.to_owned(), got }
    }

    /// Returns the values of a field of the response.
    fn field(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// Returns the fields of the request at the service whose names a lenient server may take for
    /// this one, with their values.
    fn got(&self, name: &str) -> Vec<&str> {
        let folded =
            |name: &str| name.to_lowercase().replace(|byte: char| !byte.is_alphanumeric(), "-");
        let all = self.got["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
        let fields = all.iter().filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)));
        fields.filter(|(found, _)| folded(found) == name).map(|(_, value)| value).collect()
    }
}

#[test]
fn what_stands_between_two_signs_is_filled_in() {
    assert_eq!(
        filled("a @B@ @shown \"@type\" @C@", &[("B", "1"), ("C", "2")]),
        "a 1 @shown \"@type\" 2"
    );
}

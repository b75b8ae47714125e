//! The service, called as a reverse proxy calls it.

use std::path::PathBuf;

use serde_json::json;
use tokio::process::{Child, Command};
use tower_introspect::{
    proof::PeerCertificate,
    test_util::{AuthorizationServer, Client, Endpoint, Fault, Listening, Prover},
};

use testing::program::{header, output, request, started, stopped};

use crate::{AUDIENCE, forward_auth};

fn from_environment(issuer: &str, mode: &str) -> Command {
    let mut command = forward_auth();
    for (name, value) in [
        ("LISTEN", "127.0.0.1:0"),
        ("AUDIENCE", AUDIENCE),
        ("ISSUER", issuer),
        ("MODE", mode),
        ("CLIENT_ID", "api"),
        ("CLIENT_SECRET", "s3cret"),
        ("REQUIRED_SCOPES", "api read"),
        ("DANGER_ALLOW_HTTP_LOOPBACK", "true"),
    ] {
        command.env(format!("FORWARD_AUTH_{name}"), value);
    }
    command
}

#[tokio::test]
async fn forward_auth_responds_with_identity_headers_or_a_challenge() {
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    server.register(Client::new("api", "s3cret"));
    let (child, address) = started(&mut from_environment(server.issuer(), "hybrid")).await;
    let ask = async |path: &str, token: &str| {
        request(&address, path, &format!("Authorization: Bearer {token}\r\n")).await
    };

    let token = server.jwt().audience(AUDIENCE).scope("read api more");
    let answer = ask("/any/path?of=the&client", &token.client_id("app").mint()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(header(&answer, "x-auth-subject"), Some("alice"));
    assert_eq!(header(&answer, "x-auth-issuer"), Some(server.issuer()));
    assert_eq!(header(&answer, "x-auth-client"), Some("app"));
    assert_eq!(header(&answer, "x-auth-scope"), Some("read api more"));
    assert_eq!(header(&answer, "cache-control"), Some("no-store"));

    // A subject can't add header lines, nor imitate another subject.
    let opaque = || server.opaque().audience(AUDIENCE).scope("read api");
    let odd = opaque().subject("a b%20c\r\nX-Auth-Scope: admin\u{e9}").without("client_id").mint();
    let answer = ask("/", &odd).await;
    let encoded = "a%20b%2520c%0D%0AX-Auth-Scope:%20admin%C3%A9";
    assert_eq!(header(&answer, "x-auth-subject"), Some(encoded));
    assert_eq!(header(&answer, "x-auth-scope"), Some("read api"));
    // The header is present although empty, so that it replaces that of the client.
    assert_eq!(header(&answer, "x-auth-client"), Some(""));
    let long = ask("/", &opaque().subject(&"x".repeat(4000)).mint()).await;
    assert!(long.starts_with("HTTP/1.1 403"), "{long}");

    let refused = request(&address, "/", "").await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let challenge = "Bearer realm=\"https://api.example.com\"";
    assert_eq!(header(&refused, "www-authenticate"), Some(challenge));
    assert_eq!(header(&refused, "x-auth-subject"), None);

    let refused = ask("/", &server.jwt().audience(AUDIENCE).scope("read").mint()).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let challenge = header(&refused, "www-authenticate").unwrap();
    assert!(challenge.ends_with("error=\"insufficient_scope\", scope=\"api read\""), "{challenge}");

    let token = opaque().mint();
    assert!(ask("/", &token).await.starts_with("HTTP/1.1 200"));
    server.inject(Endpoint::Introspection, Fault::close());
    let unseen = opaque().mint();
    let refused = ask("/", &unseen).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(header(&refused, "retry-after").is_some());
    assert_eq!(header(&refused, "www-authenticate"), None);
    let status = stopped(child).await;
    assert!(status.success() || cfg!(not(unix)), "{status}");
}

#[tokio::test]
async fn forward_auth_reads_a_file() {
    let (server, _listening) = AuthorizationServer::on_loopback().await.unwrap();
    server.register(Client::new("api", "s3cret"));
    let directory = std::env::temp_dir().join(format!("forward-auth-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (file, secret) = (directory.join("forward_auth.toml"), directory.join("secret"));
    std::fs::write(&secret, "s3cret\n").unwrap();
    let issuer = server.issuer();
    let settings = format!(
        "listen = '127.0.0.1:0'\n[resource_server]\naudience = '{AUDIENCE}'\n\
         danger_allow_http_loopback = true\n[resource_server.forward]\nsubject = 'x-user'\n\
         claims = {{ tenant = 'x-tenant', team = 'x-team' }}\n[[resource_server.issuer]]\nissuer = '{issuer}'\n\
         mode = 'introspect'\nclient = {{ method = 'post', id = 'api', secret_file = '{}' }}\n",
        secret.display()
    );
    std::fs::write(&file, &settings).unwrap();
    let (child, address) = started(forward_auth().arg(&file)).await;
    let token = server.opaque().audience(AUDIENCE).claim("tenant", u64::MAX).mint();
    let answer = request(&address, "/", &format!("Authorization: Bearer {token}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(header(&answer, "x-user"), Some("alice"));
    assert_eq!(header(&answer, "x-tenant"), Some("18446744073709551615"));
    assert_eq!(header(&answer, "x-team"), Some(""));
    assert_eq!(header(&answer, "x-auth-subject"), None);
    let status = stopped(child).await;
    assert!(status.success() || cfg!(not(unix)), "{status}");

    std::fs::write(&file, settings.replace("mode = 'introspect'", "mode = 'introspekt'")).unwrap();
    let (ok, _, err) = output(forward_auth().arg(&file)).await;
    assert!(!ok);
    assert!(err.contains("issuer[0].mode: expected `jwt` or `introspect` or `hybrid`"), "{err}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn forward_auth_does_not_start_without_settings() {
    let (ok, out, err) = output(&mut forward_auth()).await;
    assert!(!ok && out.is_empty());
    assert!(err.contains("audience: missing"), "{err}");
    assert!(err.contains("issuer[0].issuer: missing"), "{err}");
}

/// A running service with settings from a file, and the issuer that it trusts.
struct ForwardAuth {
    server: AuthorizationServer,
    child: Child,
    address: String,
    file: PathBuf,
    _listening: Listening,
}

/// Writes a file with these settings, for an issuer that is never called.
fn file(name: &str, issuer: &str, top: &str, tables: &str) -> PathBuf {
    let name = format!("forward-auth-{name}-{}.toml", std::process::id());
    let file = std::env::temp_dir().join(name);
    let text = format!(
        "listen = '127.0.0.1:0'\n{top}\n[resource_server]\naudience = '{AUDIENCE}'\n\
         danger_allow_http_loopback = true\n[[resource_server.issuer]]\nissuer = '{issuer}'\n\
         mode = 'jwt'\n{tables}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

impl ForwardAuth {
    async fn new(name: &str, top: &str, tables: &str) -> Self {
        let (server, listening) = AuthorizationServer::on_loopback().await.unwrap();
        let file = file(name, server.issuer(), top, tables);
        let (child, address) = started(forward_auth().arg(&file)).await;
        Self { server, child, address, file, _listening: listening }
    }

    /// Returns the status and the full response.
    async fn ask(&self, path: &str, lines: &[String]) -> (u16, String) {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let answer = request(&self.address, path, &lines).await;
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    async fn end(self) {
        let status = stopped(self.child).await;
        assert!(status.success() || cfg!(not(unix)), "{status}");
        std::fs::remove_file(self.file).unwrap();
    }
}

/// Returns the fields that a client sends with `token` for `GET {path}`.
fn dpop(prover: &Prover, token: &str, path: &str) -> Vec<String> {
    let proof = prover.proof("GET", &format!("https://api.example.com{path}"));
    let proof = proof.for_token(token).mint();
    vec![format!("Authorization: DPoP {token}"), format!("DPoP: {proof}")]
}

/// Returns the fields that a proxy adds.
fn proxy_fields(method: &str, path: &str) -> Vec<String> {
    vec![format!("X-Forwarded-Method: {method}"), format!("X-Forwarded-Uri: {path}")]
}

/// A gRPC refusal has the HTTP status 200, which would admit the client.
#[tokio::test]
async fn request_with_a_grpc_content_type_is_refused_in_http() {
    let dpop = "[resource_server.dpop]\nurl = 'https://api.example.com'";
    let asked = ForwardAuth::new("grpc", "original_request = 'x_forwarded'", dpop).await;
    for kind in ["application/grpc", "application/grpc-web+proto"] {
        for method in ["GET", "POST"] {
            let mut lines = proxy_fields(method, "/");
            lines.push(format!("Content-Type: {kind}"));
            let (status, answer) = asked.ask("/", &lines).await;
            assert_eq!(status, 401, "{answer}");
            lines.push("Authorization: Bearer abc".to_owned());
            assert_eq!(asked.ask("/", &lines).await.0, 401);
        }
    }
    asked.end().await;
}

#[tokio::test]
async fn rfc9449_7_2_bound_token_is_refused_as_bearer_token() {
    let tables = "[resource_server.dpop]\nurl = 'https://api.example.com'\nwindow_seconds = 300\n\
         [resource_server.mtls]\nfield = 'client_cert'\nproxies = '127.0.0.1'";
    let plain = ForwardAuth::new("plain", "", "").await;
    let full = ForwardAuth::new("full", "original_request = 'x_forwarded'", tables).await;
    let laptop = Prover::new("laptop");
    let x5t = json!({"x5t#S256": "x".repeat(43)});
    for asked in [&plain, &full] {
        let token = || asked.server.jwt().audience(AUDIENCE);
        let unbound = token().mint();
        let bearer = |token: &str| {
            let mut lines = proxy_fields("GET", "/payments");
            lines.push(format!("Authorization: Bearer {token}"));
            lines
        };
        assert_eq!(asked.ask("/", &bearer(&unbound)).await.0, 200);
        for bound in [
            token().bound_to(&laptop).mint(),
            token().claim("cnf", x5t.clone()).mint(),
            token().claim("cnf", json!({"other": "x"})).mint(),
        ] {
            assert_eq!(asked.ask("/", &bearer(&bound)).await.0, 401);
            // Also with a valid proof under that scheme.
            let mut lines = bearer(&bound);
            lines.extend(dpop(&laptop, &bound, "/payments").pop());
            assert_eq!(asked.ask("/", &lines).await.0, 401);
        }
    }
    plain.end().await;
    full.end().await;
}

#[tokio::test]
async fn rfc9449_4_3_proof_is_checked_against_the_original_request() {
    let tables = "[resource_server.dpop]\nurl = 'https://api.example.com'\nwindow_seconds = 300";
    let asked = ForwardAuth::new("dpop", "original_request = 'x_forwarded'", tables).await;
    let laptop = Prover::new("laptop");
    let token = asked.server.jwt().audience(AUDIENCE).bound_to(&laptop).mint();
    // The proxy calls a path of its own.
    let ask = async |proxy_fields: Vec<String>| {
        let lines = [dpop(&laptop, &token, "/payments"), proxy_fields].concat();
        asked.ask("/auth", &lines).await
    };
    let (status, answer) = ask(proxy_fields("GET", "/payments?of=may")).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(header(&answer, "x-auth-subject"), Some("alice"));
    for (method, path) in [("POST", "/payments"), ("GET", "/other"), ("GET", "/auth")] {
        let (status, answer) = ask(proxy_fields(method, path)).await;
        assert_eq!(status, 401, "{answer}");
        assert!(answer.contains("error=\"invalid_dpop_proof\""), "{answer}");
    }
    // The field of the client is sent beside that of the proxy.
    let twice = [proxy_fields("GET", "/payments"), proxy_fields("POST", "/other")].concat();
    assert_eq!(ask(twice).await.0, 400);
    for odd in [
        proxy_fields("GET", "payments"),
        proxy_fields("G T", "/payments"),
        proxy_fields("GET", "*"),
    ] {
        assert_eq!(ask(odd).await.0, 400);
    }
    // If the proxy does not send the original request, the client is not to blame.
    assert_eq!(ask(Vec::new()).await.0, 500);
    assert_eq!(ask(proxy_fields("GET", "/payments")[..1].to_vec()).await.0, 500);
    // The proof was used before.
    let lines = [dpop(&laptop, &token, "/payments"), proxy_fields("GET", "/payments")].concat();
    assert_eq!(asked.ask("/auth", &lines).await.0, 200);
    assert_eq!(asked.ask("/auth", &lines).await.0, 401);
    asked.end().await;
}

#[tokio::test]
async fn request_passed_unchanged_is_checked_as_it_is() {
    let tables = "[resource_server.dpop]\nurl = 'https://api.example.com'\nwindow_seconds = 300\nnonce = 'require'";
    let asked = ForwardAuth::new("same", "original_request = 'same'", tables).await;
    let laptop = Prover::new("laptop");
    let token = asked.server.jwt().audience(AUDIENCE).bound_to(&laptop).mint();
    let (status, answer) = asked.ask("/payments", &dpop(&laptop, &token, "/payments")).await;
    assert_eq!(status, 401);
    let nonce = header(&answer, "dpop-nonce").expect("a nonce").to_owned();
    let proof = |path: &str| {
        let proof = laptop.proof("GET", &format!("https://api.example.com{path}"));
        let proof = proof.for_token(&token).nonce(&nonce).mint();
        vec![format!("Authorization: DPoP {token}"), format!("DPoP: {proof}")]
    };
    let (status, answer) = asked.ask("/payments", &proof("/payments")).await;
    assert_eq!(status, 200, "{answer}");
    // Then the fields of a client are ignored.
    let lines = [proof("/other"), proxy_fields("GET", "/other")].concat();
    assert_eq!(asked.ask("/payments", &lines).await.0, 401);
    asked.end().await;
}

#[tokio::test]
async fn rfc9440_4_certificate_is_read_from_the_field_of_the_proxy() {
    let mtls = |proxy: &str| {
        format!("[resource_server.mtls]\nfield = 'client_cert'\nproxies = ['{proxy}']")
    };
    let asked = ForwardAuth::new("mtls", "", &mtls("127.0.0.1")).await;
    let elsewhere = ForwardAuth::new("elsewhere", "", &mtls("10.1.2.0/24")).await;
    let der = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        made.cert.der().to_vec()
    };
    let (own, other) = (der("a"), der("b"));
    let field = |der: &[u8]| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        format!("Client-Cert: :{}:", STANDARD.encode(der))
    };
    let cnf = json!({"x5t#S256": PeerCertificate::from_der(&own).unwrap().thumbprint()});
    for (asked, outcome) in [(&asked, 200), (&elsewhere, 401)] {
        let token = asked.server.jwt().audience(AUDIENCE).claim("cnf", cnf.clone()).mint();
        let bearer = format!("Authorization: Bearer {token}");
        let with = async |field: String| asked.ask("/", &[bearer.clone(), field]).await.0;
        assert_eq!(with(field(&own)).await, outcome);
        assert_eq!(with(field(&other)).await, 401);
        assert_eq!(asked.ask("/", std::slice::from_ref(&bearer)).await.0, 401);
    }
    asked.end().await;
    elsewhere.end().await;
}

/// As Traefik 3.7 sends it: in base64, and with the certificates of its issuers after commas.
#[tokio::test]
async fn rfc8705_3_certificate_is_read_from_the_field_of_traefik() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mtls =
        "[resource_server.mtls]\nfield = 'x_forwarded_tls_client_cert'\nproxies = '127.0.0.1'";
    let asked = ForwardAuth::new("traefik", "", mtls).await;
    let der = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        made.cert.der().to_vec()
    };
    let (own, other) = (der("a"), der("b"));
    let cnf = json!({"x5t#S256": PeerCertificate::from_der(&own).unwrap().thumbprint()});
    let token = asked.server.jwt().audience(AUDIENCE).claim("cnf", cnf).mint();
    let (own, other) = (STANDARD.encode(own), STANDARD.encode(other));
    for (lines, status) in [
        (vec![format!("X-Forwarded-Tls-Client-Cert: {own}")], 200),
        (vec![format!("X-Forwarded-Tls-Client-Cert: {own},{other}")], 200),
        (vec![format!("X-Forwarded-Tls-Client-Cert: {other},{own}")], 401),
        // What a client of Traefik wrote, which passes unless it is removed there.
        (vec![format!("Client-Cert: :{own}:")], 401),
        (vec![format!("X-Forwarded-Tls-Client-Cert-Info: {own}")], 401),
        (vec![format!("X_Forwarded_Tls_Client_Cert: {own}")], 401),
        (vec![], 401),
    ] {
        let lines =
            [proxy_fields("GET", "/a"), vec![format!("Authorization: Bearer {token}")], lines];
        let (answered, answer) = asked.ask("/", &lines.concat()).await;
        assert_eq!(answered, status, "{answer}");
    }
    asked.end().await;
}

#[tokio::test]
async fn invalid_combinations_of_settings_are_refused_at_start() {
    let proxy_fields = async |top: &str, tables: &str| {
        let file = file("refused", "https://as.example.com", top, tables);
        let (ok, out, err) = output(forward_auth().arg(&file)).await;
        std::fs::remove_file(file).unwrap();
        assert!(!ok && out.is_empty(), "{out}");
        err
    };
    let dpop = "[resource_server.dpop]\nurl = 'https://api.example.com'";
    let err = proxy_fields("", dpop).await;
    assert!(err.contains("original_request: missing: proofs"), "{err}");
    let err = proxy_fields("original_request = 'same'", "").await;
    assert!(err.contains("original_request: has no effect without `dpop`"), "{err}");
    let err = proxy_fields("original_request = 'forwarded'", dpop).await;
    assert!(err.contains("unknown variant `forwarded`"), "{err}");
    // All problems are reported at once.
    let both = "[resource_server.mtls]\nkeep_field = true\n\
         [resource_server.dpop]\nurl = 'api.example.com'";
    let err = proxy_fields("", both).await;
    for problem in [
        "original_request: missing",
        "mtls.field: missing: TLS does not end here",
        "mtls.keep_field: has no effect: no request",
        "dpop.url: must be an http or https URL",
    ] {
        assert!(err.contains(problem), "{problem}: {err}");
    }
    let bad = "[resource_server.mtls]\nfield = 'client_cert'\nproxies = '0.0.0.0/0'";
    assert!(proxy_fields("", bad).await.contains("mtls.proxies: `0.0.0.0/0` covers all addresses"));
}

//! `introspect doctor` says at once what is wrong with a deployment, and what to change.
//!
//! The authorization servers have the shapes of real ones.

use bytes::Bytes;
use http::{HeaderValue, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower_introspect::{
    clock::UnixTime,
    test_util::{
        AuthorizationServer, Endpoint, Fault, Jwt, Listening, Opaque, Provider, TokenBuilder,
    },
};

use crate::{
    front,
    run::{AUDIENCE, NOW, Ran, at, file, run, run_in},
};

/// A server of a provider, and the name of the files for it.
struct World {
    name: &'static str,
    server: AuthorizationServer,
    _listening: Listening,
}

impl World {
    async fn new(name: &'static str) -> Self {
        let (server, listening) = front::plain().await;
        front::without_known_keys(&server);
        Self { name, server, _listening: listening }
    }

    async fn of(name: &'static str, provider: Provider) -> Self {
        let (server, listening) = front::plain().await;
        Self { name, server: server.with_provider(provider), _listening: listening }
    }

    /// Writes a configuration with these settings of the issuer, and returns its path.
    fn config(&self, more: &str) -> String {
        self.config_for(self.server.issuer(), more)
    }

    fn config_for(&self, issuer: &str, more: &str) -> String {
        front::config(&format!("truth-{}", self.name), issuer, more)
    }

    /// Returns the setting of a fixed introspection endpoint.
    fn endpoint(&self) -> String {
        format!("introspection_endpoint = \"{}\"\n", self.server.url(Endpoint::Introspection))
    }

    /// Runs the program as on a terminal.
    async fn doctor(&self, config: &str, token: Option<&str>, more: &[&str]) -> Ran {
        self.doctor_in(&[("COLUMNS", "80")], config, token, more).await
    }

    async fn doctor_in(
        &self,
        variables: &[(&str, &str)],
        config: &str,
        token: Option<&str>,
        more: &[&str],
    ) -> Ran {
        let (at, token) = (at(), token.map(|token| file(&format!("{}.token", self.name), token)));
        let mut all = vec!["doctor", "--at", &at, config];
        if let Some(path) = &token {
            all.extend(["--token-file", path]);
        }
        let ran = run_in(variables, &[&all, more].concat(), "").await;
        let ran = ran.steady(&self.server);
        assert!(!ran.screen().contains("s3cret"), "{}", ran.screen());
        ran
    }

    fn jwt(&self) -> TokenBuilder<Jwt> {
        valid(self.server.jwt())
    }

    fn opaque(&self) -> TokenBuilder<Opaque> {
        valid(self.server.opaque())
    }

    fn answers(&self, endpoint: Endpoint, response: Response<Bytes>) {
        self.server.clear(endpoint);
        self.server.inject(endpoint, Fault::respond(response));
    }
}

/// Makes a token for this service that is valid for ten minutes from [`NOW`] on.
fn valid<F>(token: TokenBuilder<F>) -> TokenBuilder<F> {
    let token = token.audience(AUDIENCE).scope("read").issued_at(UnixTime::from_secs(NOW));
    token.expires_at(UnixTime::from_secs(NOW + 600))
}

fn json_response(status: u16, body: &Value) -> Response<Bytes> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Bytes::from(body.to_string())).unwrap()
}

const INTROSPECT: &str = "mode = \"introspect\"\n";

#[tokio::test]
async fn issuer_with_a_wrong_slash_is_named_although_the_service_reads_no_metadata() {
    let world = World::new("slash").await;
    let wrong = format!("{}/", world.server.issuer());
    let config = world.config_for(&wrong, &format!("{INTROSPECT}{}", world.endpoint()));
    let told = [
        "NOT READY: 1 wrong",
        "names itself `https://as.example.com`",
        "`issuer` is `https://as.example.com/`",
        "only the final slash differs",
        "`issuer` in truth-slash.toml",
        "issuer = \"https://as.example.com\"",
    ];
    let without = world.doctor(&config, None, &[]).await;
    without.tells_at_once(&told);
    world.doctor_in(&[], &config, None, &[]).await.shows("doctor-issuer");
    // The token is refused for the same cause, which counts once.
    let opaque = world.opaque().mint();
    let ran = world.doctor(&config, Some(&opaque), &[]).await;
    ran.tells_at_once(&told);
    assert!(ran.out.contains("refuses it for the spelling of the issuer"), "{}", ran.screen());
    // Without metadata, the token alone shows it.
    world.answers(Endpoint::Discovery, json_response(404, &json!({})));
    let ran = world.doctor(&config, Some(&opaque), &[]).await;
    ran.tells_at_once(&["NOT READY", "https://as.example.com/", "`issuer` in truth-slash.toml"]);
    let ran = world.doctor(&config, None, &[]).await;
    ran.tells_at_once(&["READY, as far as was seen: no token was tried", "404 Not Found"]);
    assert_eq!(ran.code, 0, "{}", ran.screen());
}

/// The response to an introspection need not name the issuer.
#[tokio::test]
async fn admitted_token_shows_that_another_name_in_the_metadata_does_no_harm() {
    let world = World::new("named").await;
    world.server.set_metadata("issuer", "https://as.internal.example.com");
    let config = world.config(&format!("{INTROSPECT}{}", world.endpoint()));
    assert_eq!(world.doctor(&config, None, &[]).await.code, 1);
    let ran = world.doctor(&config, Some(&world.opaque().mint()), &[]).await;
    ran.tells_at_once(&["READY: 0 wrong", "names itself `https://as.internal.example.com`"]);
    assert_eq!(ran.code, 0, "{}", ran.screen());
}

#[tokio::test]
async fn both_lengths_of_a_token_that_is_too_long_are_shown() {
    let world = World::of("long", Provider::Keycloak).await;
    let config = world.config("mode = \"hybrid\"\n");
    let groups: Vec<_> = (0..300).map(|at| format!("/departments/engineering/{at}")).collect();
    let token = world.jwt().claim("groups", json!(groups)).mint();
    let ran = world.doctor(&config, Some(&token), &[]).await;
    let length = token.len().to_string();
    ran.tells_at_once(&["NOT READY", &length, "8192", "`max_token_bytes` in truth-long.toml"]);
    assert_eq!(ran.code, 1, "{}", ran.screen());
}

#[tokio::test]
async fn bound_tokens_need_a_proof_that_only_their_client_has() {
    let world = World::new("bound").await;
    let dpop = "[dpop]\nurl = \"https://api.example.com\"\n";
    let proxied = "[mtls]\nfield = \"client_cert\"\nproxies = \"10.1.2.3\"\n";
    let by_key = json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
    let by_key = world.jwt().claim("cnf", by_key).mint();
    let by_certificate = json!({"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"});
    let by_certificate = world.jwt().claim("cnf", by_certificate).mint();
    for (token, tables, of_client, setting) in [
        (&by_key, dpop, "a header `DPoP` with a new proof", "`dpop` in truth-bound.toml"),
        (&by_certificate, proxied, "that certificate on its", "`mtls` in truth-bound.toml"),
    ] {
        let config = world.config(&format!("mode = \"hybrid\"\n{tables}"));
        let ran = world.doctor(&config, Some(token), &[]).await;
        ran.tells_at_once(&[
            "READY, as far as was seen: no proof of possession was tried",
            "all other checks passed",
            of_client,
        ]);
        assert_eq!(ran.code, 0, "{}", ran.screen());
        let ran = world.doctor(&world.config("mode = \"hybrid\"\n"), Some(token), &[]).await;
        ran.tells_at_once(&["NOT READY: 1 wrong", "it is bound to", setting]);
        assert_eq!(ran.code, 1, "{}", ran.screen());
    }
    // The scope is checked after the proof.
    let text = std::fs::read_to_string(world.config(&format!("mode = \"hybrid\"\n{dpop}")));
    let config =
        file("truth-bound.toml", format!("required_scopes = \"admin\"\n{}", text.unwrap()));
    let ran = world.doctor(&config, Some(&by_key), &[]).await;
    ran.tells_at_once(&["NOT READY", "lacks the required scope `admin`", "`required_scopes` in"]);
}

/// As the admin port of Hydra.
#[tokio::test]
async fn endpoint_that_checks_no_credentials_is_one_finding() {
    let world = World::of("open", Provider::Hydra).await;
    world.answers(Endpoint::Introspection, json_response(200, &json!({"active": false})));
    let config = world.config(&format!("{INTROSPECT}{}", world.endpoint()));
    let ran = world.doctor(&config, None, &[]).await;
    assert!(!ran.out.contains("are accepted"), "{}", ran.screen());
    assert!(ran.out.contains("requests with the credentials of `api` (basic) are answered"));
    let ran = world.doctor(&config, None, &["--probe"]).await;
    ran.tells_at_once(&[
        "0 wrong, 0 not known, 2 warnings",
        "the introspection endpoint checks no credentials",
        "only the network protects it",
        "`client` in truth-open.toml: `client = { method = \"danger_none\" }`",
    ]);
    for false_claim in ["are accepted", "form-decode", "wrong secret", "wrong one"] {
        assert!(!ran.out.contains(false_claim), "{false_claim}: {}", ran.screen());
    }
    world.doctor_in(&[], &config, None, &["--probe"]).await.shows("doctor-open");
}

#[tokio::test]
async fn secret_that_is_not_checked_is_one_finding() {
    let world = World::new("unchecked").await;
    let (endpoint, _server) = scripted(|_, head| match head.contains("authorization: ") {
        true => json_response(200, &json!({"active": false})),
        false => json_response(401, &json!({"error": "invalid_client"})),
    })
    .await;
    let fixed = format!("{INTROSPECT}introspection_endpoint = \"{endpoint}\"\n");
    let ran = world.doctor(&world.config(&fixed), None, &["--probe"]).await;
    ran.tells_at_once(&["NOT READY: 1 wrong", "the server does not check the secret"]);
    assert!(!ran.out.contains("form-decode"), "{}", ran.screen());
}

/// As Keycloak, for its commonest mistake.
#[tokio::test]
async fn token_is_inactive_because_its_audience_lacks_the_client_that_asks() {
    let world = World::of("mapper", Provider::Keycloak).await;
    let (config, token) = (world.config(INTROSPECT), world.jwt().mint());
    let ran = world.doctor(&config, Some(&token), &[]).await;
    ran.tells_at_once(&["NOT READY: 1 wrong", "`aud` lacks the client `api`", "audience mapper"]);
    assert!(!ran.out.contains("who acts  the client"), "{}", ran.screen());
    world.doctor_in(&[], &config, Some(&token), &[]).await.shows("doctor-mapper");
    let told = ["REFUSED", "`aud` lacks the client `api`", "audience mapper"];
    introspect(&config, &token).await.tells_at_once(&told);
    let (at, issuer) = (at(), world.server.issuer());
    let options = ["introspect", "--at", &at, "--issuer", issuer, "--danger-allow-http-loopback"];
    let client = ["--client-id", "api", "--secret-env", "S"];
    let ran = run_in(&[("S", "s3cret")], &[&options[..], &client].concat(), &token).await;
    ran.tells_at_once(&told);
}

#[tokio::test]
async fn id_token_that_is_admitted_is_told_with_the_setting_that_lets_it_in() {
    // Spring, with a customizer that sets the audience of all tokens.
    let world = World::of("id", Provider::Spring).await;
    let token = valid(world.server.id_token()).mint();
    let jwt = "mode = \"hybrid\"\n";
    let lax = world.config(&format!("{jwt}danger_accept_unmarked_jwts = true\n"));
    let ran = world.doctor(&lax, Some(&token), &[]).await;
    ran.tells_at_once(&[
        "READY, as far as was seen: no access token was admitted",
        "this service admits it, although it is perhaps an ID token",
        "`danger_accept_unmarked_jwts` in truth-id.toml",
    ]);
    let identity = world.config(&format!("{jwt}profile = \"service_identity\"\n"));
    let ran = world.doctor(&identity, Some(&token), &[]).await;
    ran.tells_at_once(&["this service admits it, although", "`profile` in truth-id.toml"]);
    let ran = world.doctor(&world.config(jwt), Some(&token), &[]).await;
    ran.tells_at_once(&["NOT READY"]);
}

#[tokio::test]
async fn refresh_token_that_the_server_calls_active_is_flagged() {
    // Keycloak calls its own inactive, and they tell themselves what they are.
    let world = World::of("refresh-keycloak", Provider::Keycloak).await;
    let token = valid(world.server.refresh_token()).mint();
    let ran = world.doctor(&world.config(INTROSPECT), Some(&token), &[]).await;
    ran.tells_at_once(&[
        "READY, as far as was seen",
        "refresh token",
        "the claim typ is \"Refresh\"",
    ]);
    for (name, provider, mark) in [
        ("refresh-hydra", Provider::Hydra, "`token_use` is \"refresh_token\""),
        ("refresh-glewlwyd", Provider::Glewlwyd, "`token_type` is \"refresh_token\""),
        ("refresh-spring", Provider::Spring, "no `scope`, `token_type` or `sub`"),
    ] {
        let world = World::of(name, provider).await;
        let config = world.config(&format!("{INTROSPECT}{}", world.endpoint()));
        let token = valid(world.server.refresh_token()).mint();
        let ran = world.doctor(&config, Some(&token), &[]).await;
        ran.tells_at_once(&[
            "READY, as far as was seen: no access token was admitted",
            "the server calls it active, but",
            "a refresh token",
            mark,
            "this service refuses it, as it must",
        ]);
        assert_eq!(ran.code, 0, "{}", ran.screen());
    }
}

#[tokio::test]
async fn introspection_endpoint_that_no_metadata_names_is_one_finding() {
    let world = World::of("nowhere", Provider::Hydra).await;
    let (config, token) = (world.config(INTROSPECT), world.opaque().mint());
    let ran = world.doctor(&config, Some(&token), &[]).await;
    ran.tells_at_once(&[
        "NOT READY: 1 wrong, 0 not known",
        "the metadata names no introspection endpoint, which it may leave out",
        "`introspection_endpoint` in truth-nowhere.toml",
    ]);
    world.doctor_in(&[], &config, Some(&token), &[]).await.shows("doctor-nowhere");
}

#[tokio::test]
async fn errors_and_redirects_of_the_server_are_shown() {
    let world = World::new("errors").await;
    let (config, token) = (world.config(INTROSPECT), world.opaque().mint());
    let why = "Realm not enabled\u{1b}[2J";
    let body = json!({"error": "access_denied", "error_description": why});
    world.answers(Endpoint::Introspection, json_response(403, &body));
    let ran = world.doctor(&config, None, &[]).await;
    ran.tells_at_once(&[
        "NOT READY: 1 wrong",
        "403 Forbidden, `access_denied`: \"Realm not enabled",
    ]);
    assert!(!ran.screen().contains('\u{1b}'), "{:?}", ran.screen());
    introspect(&config, &token).await.tells_at_once(&["access_denied", "Realm not enabled"]);

    let redirect = |endpoint: Endpoint| {
        world.server.clear(endpoint);
        world.server.inject(endpoint, Fault::redirect("http://admin/elsewhere"));
    };
    redirect(Endpoint::Introspection);
    let ran = world.doctor(&config, None, &[]).await;
    ran.tells_at_once(&[
        "NOT READY: 1 wrong",
        "307 Temporary Redirect, a redirect to http://admin/elsewhere",
        "`introspection_endpoint` in truth-errors.toml",
    ]);
    introspect(&config, &token).await.tells_at_once(&["307", "to http://admin/elsewhere"]);
    world.server.clear(Endpoint::Introspection);
    redirect(Endpoint::Jwks);
    let ran = world.doctor(&world.config("mode = \"hybrid\"\n"), None, &[]).await;
    ran.tells_at_once(&["NOT READY: 1 wrong", "redirect (307) to http://admin/elsewhere"]);
    redirect(Endpoint::Discovery);
    let ran = world.doctor(&config, None, &[]).await;
    ran.tells_at_once(&["NOT READY: 1 wrong", "a redirect to http://admin/elsewhere"]);
    introspect(&config, &token).await.tells_at_once(&["307", "to http://admin/elsewhere"]);
}

#[tokio::test]
async fn keys_that_are_fetched_each_48_s_are_told() {
    let world = World::of("store", Provider::Spring).await;
    for value in ["no-cache, no-store, max-age=0", "max-age=30"] {
        world.server.set_cache_control(HeaderValue::from_static(value));
        let ran = world.doctor(&world.config("mode = \"hybrid\"\n"), None, &[]).await;
        ran.tells_at_once(&[value, "the library fetches keys in use every 48 s, 1800 times a day"]);
        assert_eq!(ran.code, 0, "{}", ran.screen());
    }
}

/// As a Spring Authorization Server that makes its key when it starts.
#[tokio::test]
async fn keys_that_are_all_new_are_told_with_the_likely_cause() {
    let world = World::of("restart", Provider::Spring).await;
    let config = world.config("mode = \"hybrid\"\n");
    let json = run(&["doctor", "--json", "--at", &at(), &config], "").await.out;
    let before = file("truth-restart.json", json);
    world.server.rotate_keys();
    world.server.remove_old_keys();
    let ran = world.doctor(&config, None, &["--since", &before]).await;
    ran.tells_at_once(&[
        "all keys are new since 2030-01-01",
        "the server makes its keys when it starts",
    ]);
    let ran = world.doctor(&config, None, &[]).await;
    assert!(!ran.out.contains("when it starts"), "{}", ran.screen());
}

#[tokio::test]
async fn scope_in_another_claim_is_told_with_the_setting_that_reads_it() {
    let world = World::of("scope", Provider::Entra).await;
    // A client that acts for itself gets its scope as `roles`.
    let token = world.jwt().subject("client").mint();
    let text = std::fs::read_to_string(world.config("mode = \"jwt\"\n")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("client")).collect();
    let text = lines.join("\n");
    let config = file("truth-scope.toml", format!("required_scopes = \"read\"\n{text}"));
    let ran = world.doctor(&config, Some(&token), &[]).await;
    ran.tells_at_once(&["NOT READY: 1 wrong", "`roles`", "`scope_claim` in truth-scope.toml"]);
}

/// As Canaille, which looks for the token only where the hint says.
#[tokio::test]
async fn hint_that_the_server_needs_is_proposed() {
    let world = World::new("hint").await;
    let (endpoint, _server) = scripted(|body, _| {
        let hinted = body.contains("token_type_hint=access_token");
        let body = json!({
            "active": hinted && body.contains("token=known"),
            "aud": AUDIENCE, "token_type": "Bearer", "exp": NOW + 600,
        });
        json_response(200, &body)
    })
    .await;
    let fixed = format!("{INTROSPECT}introspection_endpoint = \"{endpoint}\"\n");
    let ran = world.doctor(&world.config(&fixed), Some("known"), &["--probe"]).await;
    ran.tells_at_once(&[
        "NOT READY: 1 wrong",
        "without a hint the server calls it inactive",
        "`token_type_hint` in truth-hint.toml: token_type_hint = \"access_token\"",
    ]);
    let config = world.config(&format!("{fixed}token_type_hint = \"access_token\"\n"));
    assert_eq!(world.doctor(&config, Some("known"), &["--probe"]).await.code, 0);
}

#[tokio::test]
async fn the_proxy_of_the_configuration_is_used() {
    let world = World::new("proxied").await;
    let nowhere = format!("http://127.0.0.1:{}", testing::host::free_port());
    let config = world.config(&format!("{INTROSPECT}[transport]\nproxy = \"{nowhere}\"\n"));
    let ran = world.doctor(&config, None, &[]).await;
    assert_eq!(ran.code, 3, "{}", ran.screen());
    assert!(ran.out.contains(&format!("all requests go through {nowhere}")), "{}", ran.screen());
    let config = world.config(&format!("{INTROSPECT}[transport]\nwithout_proxy = true\n"));
    let at = at();
    let arguments = ["doctor", "--at", &at, &config];
    let ran = run_in(&[("HTTP_PROXY", &nowhere)], &arguments, "").await;
    assert_eq!(ran.code, 0, "{}", ran.screen());
}

#[tokio::test]
async fn no_token_of_an_issuer_was_seen() {
    let (one, two) = (World::new("one").await, World::new("two").await);
    let config = std::fs::read_to_string(one.config(INTROSPECT)).unwrap();
    let second = std::fs::read_to_string(two.config(INTROSPECT)).unwrap();
    let second = second.split_once("[[issuer]]").unwrap().1;
    let config = file("truth-one.toml", format!("{config}\n[[issuer]]{second}"));
    let ran = one.doctor(&config, Some(&one.opaque().mint()), &[]).await;
    let unseen = format!("READY, as far as was seen: no token of {}", two.server.issuer());
    ran.tells_at_once(&[&unseen]);
}

async fn introspect(config: &str, token: &str) -> Ran {
    run(&["introspect", "--at", &at(), "--config", config], token).await
}

#[tokio::test]
async fn token_is_sent_in_the_header_that_the_service_reads() {
    let world = World::new("header").await;
    let text = std::fs::read_to_string(world.config(INTROSPECT)).unwrap();
    let header = "token_header = \"x-api-key\"\nwithout_authorization = true\n";
    let config = file("truth-header.toml", format!("{header}{text}"));
    let token = world.opaque().without("exp").mint();
    let ran = world.doctor(&config, Some(&token), &[]).await;
    ran.tells_at_once(&["READY: 0 wrong", "it has no `exp`: only a revocation ends it"]);
}

/// Starts a server of one endpoint, and returns its URL. The function gets the body and the head of
/// each request, the head in lower case.
async fn scripted(
    respond: impl Fn(&str, &str) -> Response<Bytes> + Send + Sync + 'static,
) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/introspect", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tcp.read_u8().await.unwrap());
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length = length.split("\r\n").next().unwrap().parse().unwrap();
            let mut body = vec![0; length];
            tcp.read_exact(&mut body).await.unwrap();
            let response = respond(&String::from_utf8_lossy(&body), &head);
            let (status, body) = (response.status(), response.body());
            let mut out = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n\
                 content-length: {}\r\n\r\n",
                body.len()
            )
            .into_bytes();
            out.extend_from_slice(body);
            let _ = tcp.write_all(&out).await;
        }
    });
    (url, task)
}

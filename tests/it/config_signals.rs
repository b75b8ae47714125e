//! Logouts and security events, with the settings of a file.

use std::{future::pending, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::{sync::oneshot, time::advance};
use tower::ServiceExt as _;
use tower_introspect::{
    ResourceServer,
    config::{Config, ConfiguredSignals},
    revocation::Cutoff,
    test_util::{AuthorizationServer, Client, Endpoint, Fault, TestClock},
    verify::SignalState,
};

use crate::support::{AUDIENCE, ISSUER};

const SEC: Duration = Duration::from_secs(1);

/// The client whose streams the transmitter manages.
const RECEIVER: &str = "poller";

fn text(signals: &str) -> String {
    format!(
        "audience = '{AUDIENCE}'\nissuer = [{{ issuer = '{ISSUER}', mode = 'jwt' }}]\n\
         [signals]\n{signals}"
    )
}

fn problems(signals: &str) -> Vec<String> {
    let built = Config::from_toml(&text(signals)).and_then(|config| config.build());
    let error = built.expect_err("something is wrong").to_string();
    error.lines().map(str::to_owned).collect()
}

/// A service whose settings have this table, and its authorization server.
struct World {
    server: AuthorizationServer,
    clock: TestClock,
    api: ResourceServer,
    config: Config,
}

impl World {
    fn new(server: AuthorizationServer, clock: TestClock, signals: &str) -> Self {
        let config = Config::from_toml(&text(signals)).unwrap();
        let with = |builder: tower_introspect::resource_server::ResourceServerBuilder| {
            builder.transport(server.transport()).clock(clock.clone())
        };
        let api = config.build_with(with).unwrap();
        Self { server, clock, api, config }
    }

    fn signals(&self) -> ConfiguredSignals {
        self.config.signals(&self.api).unwrap().unwrap()
    }

    fn in_force(&self) -> usize {
        self.api.revocations().len()
    }

    fn state(&self) -> Option<SignalState> {
        self.api.readiness()[0].signals()
    }

    async fn pass(&self, seconds: u32) {
        for _ in 0..seconds {
            advance(SEC).await;
            self.clock.step(SEC);
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn revoke(&self, subject: &str) {
        let set = self.server.security_event(RECEIVER).of_subject(subject);
        self.server.queue_event(&set.session_revoked().mint());
    }
}

fn server() -> (AuthorizationServer, TestClock) {
    let clock = TestClock::new(tower_introspect::clock::UnixTime::from_secs(1_800_000_000));
    let server = AuthorizationServer::new(ISSUER).with_clock(clock.clone());
    (server.with_client(Client::new(RECEIVER, "s3cret").with_audience(ISSUER)), clock)
}

/// Returns the settings of a transmitter that is polled, with an access token by client credentials.
fn polled(server: &AuthorizationServer, stream: &str, more: &str) -> String {
    let token = server.url(Endpoint::Token);
    format!(
        "[[signals.transmitter]]\nissuer = '{ISSUER}'\naudience = '{RECEIVER}'\ndelivery = 'poll'\n\
         stream_id = '{stream}'\n{more}\n[signals.transmitter.client]\ntoken_endpoint = '{token}'\n\
         method = 'basic'\nid = '{RECEIVER}'\ndanger_secret = 's3cret'"
    )
}

async fn post(
    service: impl tower::Service<
        Request<Full<Bytes>>,
        Response = http::Response<Full<Bytes>>,
        Error = std::convert::Infallible,
    >,
    kind: &str,
    authorization: Option<&str>,
    body: String,
) -> StatusCode {
    let mut request = Request::post("/").header("content-type", kind);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let Ok(response) = service.oneshot(request.body(Full::from(body)).unwrap()).await;
    response.status()
}

#[tokio::test(start_paused = true)]
async fn logout_service_has_the_settings_of_the_file() {
    let (server, clock) = server();
    let settings = "logout_client_id = 'web'\nlogout_cut_by_subject = true\n\
                    logout_strict_typ = true\nlogout_max_age_seconds = 60";
    let world = World::new(server, clock, settings);
    let signals = world.signals();
    let kind = "application/x-www-form-urlencoded";
    let send = async |token: String| {
        let service = signals.logout_service::<Full<Bytes>>().unwrap();
        post(service, kind, None, format!("logout_token={token}")).await
    };
    let token = || world.server.logout_token("web").subject("alice").session("s1");
    assert_eq!(send(world.server.logout_token("other").subject("alice").mint()).await, 400);
    assert_eq!(send(token().typ("JWT").mint()).await, 400);
    let old = token().mint();
    world.pass(91).await;
    assert_eq!(send(old).await, 400);
    assert_eq!(world.in_force(), 0);
    assert_eq!(send(token().mint()).await, 200);
    let alice = Cutoff::subject(ISSUER, "alice");
    assert_eq!(world.api.revocations().in_force_for(&alice, 9).len(), 1);
    assert_eq!(signals.receivers().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn pushed_events_need_the_authorization_of_the_file() {
    let (server, clock) = server();
    let settings = format!(
        "transmitter = [{{ issuer = '{ISSUER}', audience = '{RECEIVER}', \
         danger_authorization = 'Bearer 4tVZ' }}]"
    );
    let world = World::new(server, clock, &settings);
    let signals = world.signals();
    assert!(signals.logout_service::<Full<Bytes>>().is_none());
    let (issuer, events) = signals.receivers().next().unwrap();
    assert_eq!(issuer, ISSUER);
    let set = world.server.security_event(RECEIVER).of_subject("alice").session_revoked().mint();
    let send = async |value| {
        let service = events.push_service::<Full<Bytes>>();
        post(service, "application/secevent+jwt", value, set.clone()).await
    };
    assert_eq!(send(None).await, 400);
    assert_eq!(send(Some("Bearer other")).await, 400);
    assert_eq!(world.in_force(), 0);
    assert_eq!(send(Some("Bearer 4tVZ")).await, 202);
    assert_eq!(world.in_force(), 1);
}

#[tokio::test(start_paused = true)]
async fn rfc8936_2_stream_of_the_file_is_polled_and_verified_until_shutdown() {
    let (server, clock) = server();
    let stream = server.add_poll_stream(RECEIVER);
    let more = "verify_every_seconds = 60\nverified_within_seconds = 300";
    let settings = polled(&server, &stream, more);
    let world = World::new(server, clock, &settings);
    world.server.inject(Endpoint::Streams, Fault::status(StatusCode::BAD_GATEWAY));
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(world.signals().run(async {
        let _ = stopped.await;
    }));
    world.revoke("alice");
    world.pass(70).await;
    assert_eq!((world.in_force(), world.state()), (0, Some(SignalState::Stale)));
    assert!(world.server.calls(Endpoint::Streams) < 10, "the pauses grow");
    world.server.clear(Endpoint::Streams);
    world.pass(75).await;
    assert_eq!((world.in_force(), world.state()), (1, Some(SignalState::Fresh)));
    world.pass(600).await;
    assert_eq!(world.state(), Some(SignalState::Fresh));
    world.revoke("bob");
    world.pass(1).await;
    drop(stop);
    world.pass(6).await;
    task.await.unwrap();
    assert_eq!((world.in_force(), world.server.queued_events().len()), (2, 0));
    let polls = world.server.calls(Endpoint::Poll);
    world.pass(120).await;
    assert_eq!(world.server.calls(Endpoint::Poll), polls);
}

/// Nothing else would show that the stream of the settings does not exist.
#[tokio::test(start_paused = true)]
async fn signals_are_stale_while_the_configuration_of_a_polled_stream_is_missing() {
    let (server, clock) = server();
    let settings = polled(&server, "none", "");
    let world = World::new(server, clock, &settings);
    assert_eq!(world.state(), None);
    tokio::spawn(world.signals().run(pending()));
    world.pass(70).await;
    assert_eq!(world.state(), Some(SignalState::Stale));
    // The URL of a stream that is pushed is not one of the transmitter.
    let stream = world.server.add_push_stream(RECEIVER, "https://api.example.com/events", None);
    let settings = polled(&world.server, &stream, "");
    let world = World::new(world.server, world.clock, &settings);
    tokio::spawn(world.signals().run(pending()));
    world.pass(70).await;
    assert_eq!(world.state(), Some(SignalState::Stale));
    assert!(world.server.unmatched_requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn poll_url_of_the_file_needs_no_configuration() {
    let (server, clock) = server();
    let stream = server.add_poll_stream(RECEIVER);
    let url = server.url(Endpoint::Poll);
    let settings = polled(&server, &stream, &format!("poll_url = '{url}'"));
    let world = World::new(server, clock, &settings);
    tokio::spawn(world.signals().run(pending()));
    world.revoke("alice");
    world.pass(2).await;
    assert_eq!((world.in_force(), world.server.calls(Endpoint::Streams)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn access_token_of_a_file_is_read_again() {
    let directory = std::env::temp_dir().join(format!("introspect-token-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("token");
    std::fs::write(&file, "outdated\n").unwrap();
    let (server, clock) = server();
    let stream = server.add_poll_stream(RECEIVER);
    let settings = format!(
        "[[signals.transmitter]]\nissuer = '{ISSUER}'\naudience = '{RECEIVER}'\ndelivery = 'poll'\n\
         stream_id = '{stream}'\naccess_token_file = '{}'",
        file.display()
    );
    let world = World::new(server, clock, &settings);
    tokio::spawn(world.signals().run(pending()));
    let token = world.server.jwt().client_id(RECEIVER).audience(ISSUER).mint();
    std::fs::write(&file, token).unwrap();
    world.revoke("alice");
    // Files are read on other threads.
    while world.in_force() == 0 {
        world.pass(1).await;
        tokio::task::spawn_blocking(|| {}).await.unwrap();
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn configuration_without_the_table_has_no_signals() {
    let config = format!("audience = 'a'\nissuer = [{{ issuer = '{ISSUER}', mode = 'jwt' }}]");
    let config = Config::from_toml(&config).unwrap();
    let api = config.build().unwrap();
    assert!(config.signals(&api).unwrap().is_none());
}

#[test]
fn every_problem_is_named_by_its_setting() {
    let transmitter = |lines: &str| {
        let fixed = "issuer = 'https://t'\naudience = 'a'\n";
        let issuer = if lines.contains("speaks_for") { "" } else { "speaks_for = 'ISSUER'\n" };
        let lines = format!("[[signals.transmitter]]\n{fixed}{issuer}{lines}");
        lines.replace("ISSUER", ISSUER)
    };
    let read = "signals.transmitter[0].";
    let built = "signals.transmitter `https://t`.";
    let token = "danger_access_token = 'x'";
    for (settings, expected) in [
        (
            String::new(),
            vec!["signals.logout_client_id: missing, as there is no `transmitter` either".into()],
        ),
        (
            format!("logout_strict_typ = true\n{}", transmitter("")),
            vec!["signals.logout_strict_typ: has no effect without `logout_client_id`".into()],
        ),
        ("logout_clientid = 'web'".to_owned(), {
            let first = "signals.logout_client_id: missing, as there is no `transmitter` either";
            vec![first.into(), "signals.logout_clientid: unknown setting".into()]
        }),
        (
            "transmitter = [{}]".to_owned(),
            vec![format!("{read}issuer: missing"), format!("{read}audience: missing")],
        ),
        (
            format!("{}\n{}", transmitter(""), transmitter("")),
            vec!["signals.transmitter: `https://t` is configured twice".into()],
        ),
        (
            transmitter("delivery = 'pull'"),
            vec![format!("{read}delivery: expected `push` or `poll`")],
        ),
        (
            transmitter("delivery = 'poll'\ndanger_authorization = 's3cret'"),
            vec![
                format!("{read}authorization: has no effect while `delivery` is `poll`"),
                format!("{read}stream_id: missing, although `delivery` is `poll`"),
                format!(
                    "{read}access_token: missing, as is `client`, although `delivery` is `poll`"
                ),
            ],
        ),
        (
            transmitter("poll_url = 'https://t/poll'\nverify_every_seconds = 60"),
            vec![
                format!("{read}poll_url: has no effect unless `delivery` is `poll`"),
                format!("{read}stream_id: missing, although `verify_every_seconds` is set"),
                format!(
                    "{read}access_token: missing, as is `client`, although `verify_every_seconds` \
                     is set"
                ),
            ],
        ),
        (
            transmitter(
                "jwks_uri = 'https://t/k'\njwks_file = 'k'\nverified_within_seconds = 60\n\
                 verify_every_seconds = 60\nstream_id = 's'\ndanger_access_token = 's3cret'\n\
                 client = { token_endpoint = 'https://t', method = 'bearer', danger_token = 's3cret' }",
            ),
            vec![
                format!("{read}jwks_file: conflicts with `jwks_uri`"),
                format!(
                    "{read}verified_within_seconds: must be longer than `verify_every_seconds`"
                ),
                format!("{read}client: conflicts with `access_token`"),
                format!("{read}client.method: not for a token endpoint"),
            ],
        ),
        (
            transmitter("client = { method = 'basic', id = 'a', danger_secret = 's3cret' }"),
            vec![format!("{read}client.token_endpoint: missing")],
        ),
        (
            transmitter("speaks_for = ['ISSUER', 'https://other']"),
            vec![format!("{built}speaks_for: `https://other` is not trusted")],
        ),
        (
            "transmitter = { issuer = 'https://t' }".to_owned(),
            vec!["signals.transmitter: expected an array of tables".into()],
        ),
        (
            "transmitter = [{ issuer = 'https://t', audience = 'a' }]".to_owned(),
            vec![format!("{built}speaks_for: name the issuers whose tokens its events are about")],
        ),
        (
            transmitter("danger_access_token = 's3cret s3cret'"),
            vec![format!("{built}access_token: not a bearer token")],
        ),
        (
            transmitter(&format!(
                "delivery = 'poll'\nstream_id = 's'\npoll_url = 'http://t'\n{token}"
            )),
            vec![format!("{built}poll_url: not an https URL")],
        ),
        (
            transmitter(
                "client = { token_endpoint = 'http://t', method = 'basic', id = 'a', danger_secret \
                 = 's3cret' }",
            ),
            vec![format!("{built}client.token_endpoint: not an https URL")],
        ),
        (
            transmitter("jwks_uri = 'keys'\nverified_within_seconds = 0"),
            vec![
                format!("{built}verified_within_seconds: the time is zero"),
                format!(
                    "{built}jwks_uri: not an absolute URL without user information and fragment"
                ),
            ],
        ),
    ] {
        let told = problems(&settings);
        assert_eq!(told, expected, "{settings}");
        assert!(!told.concat().contains("s3cret"), "{told:?}");
    }
}

#[test]
fn files_of_a_transmitter_are_read_when_the_service_is_built() {
    let settings = "[[signals.transmitter]]\nissuer = 'https://t'\naudience = 'a'\n\
                    speaks_for = 'https://as.example.com'\njwks_file = '/nowhere'\n\
                    authorization_file = '/nowhere'\nca_file = '/nowhere'\n\
                    client = { token_endpoint = 'https://t/token', method = 'mtls', id = 'a', \
                    certificate_file = '/nowhere', key_file = '/elsewhere' }";
    let names = |told: Vec<String>| {
        let prefix = "signals.transmitter `https://t`.";
        let name = |one: &String| one.split(": ").next().unwrap().replace(prefix, "");
        told.iter().map(name).collect::<Vec<_>>()
    };
    let expected =
        ["jwks_file", "authorization", "client.certificate_file", "client.key", "ca_file"];
    assert_eq!(names(problems(settings)), expected);
    // With the problems of other tables.
    let told = problems(&format!("{settings}\n[dpop]"));
    assert_eq!(names(told)[..1], ["dpop.url"]);
    let told = problems(&format!("{settings}\n[dpop]"));
    assert_eq!(names(told)[1..], expected);
}

/// The consequence of another problem would mislead the reader.
#[test]
fn transmitter_of_an_issuer_with_a_problem_is_not_reported() {
    let settings = text(&format!("[[signals.transmitter]]\nissuer = '{ISSUER}'\naudience = 'a'"));
    let wrong = settings.replace("'jwt'", "'jwtt'");
    let told = Config::from_toml(&wrong).unwrap_err().to_string();
    assert!(told.starts_with("issuer[0].mode: ") && !told.contains('\n'), "{told}");
    let wrong = settings.replace("mode = 'jwt'", "mode = 'jwt', jwks_file = '/nowhere'");
    let told = Config::from_toml(&wrong).unwrap().build().unwrap_err().to_string();
    assert!(told.contains("jwks_file: ") && !told.contains('\n'), "{told}");
}

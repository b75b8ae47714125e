//! Attacks that meet a request elsewhere than at its introspection: at the handler, the cutoffs and
//! the issuers that are resolved.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tower::{Service, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use tower_introspect::{
    ClientAuth, Issuer, ResourceServer,
    clock::{Clock, UnixTime},
    jose::{Algorithm, SigningKey},
    resource_server::IssuerResolver,
    revocation::{Cutoff, Revocations},
    transport::HttpTransport,
};
use tower_layer::Layer;

const AUDIENCE: &str = "https://api.example.com";
const HOME: &str = "https://home.example.com";
const HOSTILE: &str = "https://hostile.example.com";
const TENANTS: &str = "https://login.example.com/t/";
const KEY: &[u8] = include_bytes!("../../tests/it/keys/ed25519.pem");

/// The time at the start, in seconds since 1970.
const START: i64 = 1_800_000_000;

/// Good requests a second.
const RATE: f64 = 60.0;

/// Runs all of them, and passes their figures to `print`: the name, the share of good requests that
/// were admitted, the 99th percentile of their times in seconds, and the calls upstream.
pub(super) async fn run(print: impl Fn(&str, f64, f64, usize)) {
    let print = |name: &str, (good, calls): (Good, usize)| {
        print(name, good.share(), good.percentile(0.99), calls);
    };
    print("cutoff_of_another_issuer", cutoff_of_another_issuer().await);
    print("handler_with_few_permits", handler_with_few_permits().await);
    print("invented_issuers", invented_issuers().await);
    print("logouts_of_one_issuer", logouts_of_one_issuer().await);
    print("logouts_of_one_account", logouts_of_one_account().await);
}

/// A trusted issuer dates tokens for other services ahead, so that a logout at another issuer cuts
/// the logins that follow it.
async fn cutoff_of_another_issuer() -> (Good, usize) {
    let world = World::new(Revocations::new(), 0.02);
    let service = world.service(1_000);
    let ahead = async {
        for second in 0..60 {
            let token = format!("hostile-alice-{}", START + second + 299);
            status(service.clone(), &token).await;
            world.revocations.revoke(&Cutoff::subject(HOME, "alice"));
            sleep(Duration::from_secs(1)).await;
        }
    };
    let login = |_| format!("home-alice-{}", world.clock.now().as_secs() + 1);
    let (good, ()) = tokio::join!(send(service.clone(), RATE, 60.0, login), ahead);
    (good, world.calls())
}

/// Made-up tokens are verified slowly, before a handler that takes few requests at a time.
async fn handler_with_few_permits() -> (Good, usize) {
    let world = World::new(Revocations::new(), 0.5);
    let service = world.service(8);
    let junk = send(service.clone(), 50.0, 120.0, |number| format!("home-junk-{number}"));
    let (good, _) = tokio::join!(send(service.clone(), RATE, 120.0, people), junk);
    (good, world.calls())
}

/// Five thousand issuers that do not exist, at a database that does not respond about them.
async fn invented_issuers() -> (Good, usize) {
    let key = SigningKey::from_pem(Algorithm::EdDSA, KEY).unwrap().with_kid("k");
    let keys = Bytes::from(json!({"keys": [key.public_jwk().unwrap()]}).to_string());
    let calls = Arc::<AtomicUsize>::default();
    let (resolved, fetched) = (Arc::clone(&calls), Arc::clone(&calls));
    let resolver = IssuerResolver::new(
        |issuer| issuer.starts_with(TENANTS),
        move |name| {
            resolved.fetch_add(1, Ordering::Relaxed);
            async move {
                if name.contains("invented") {
                    std::future::pending::<()>().await;
                }
                sleep(Duration::from_millis(5)).await;
                let jwks = format!("{name}/jwks");
                Ok(Some(Issuer::jwt(name).configure_jwt(|jwt| jwt.jwks_uri(jwks))))
            }
        },
    );
    let transport = HttpTransport::new(service_fn(move |_: Request<Bytes>| {
        fetched.fetch_add(1, Ordering::Relaxed);
        let keys = keys.clone();
        async move {
            sleep(Duration::from_millis(20)).await;
            Ok::<_, Infallible>(Response::new(keys))
        }
    }));
    let builder = ResourceServer::builder(AUDIENCE).resolve_issuers(resolver).transport(transport);
    let api = builder.clock(Simulated::new()).build().unwrap();
    let service = api.layer().layer(service_fn(handler));
    let tokens: Vec<_> = (0..100).map(|number| signed(&key, number % 10, number)).collect();
    let flood = async {
        sleep(Duration::from_secs(40)).await;
        let mut requests = JoinSet::new();
        for number in 0..5_000 {
            let payload = json!({"iss": format!("{TENANTS}invented-{number}")}).to_string();
            let [header, payload] =
                [r#"{"alg":"EdDSA","kid":"k"}"#, &payload].map(|part| URL_SAFE_NO_PAD.encode(part));
            let (service, token) = (service.clone(), format!("{header}.{payload}.AAAA"));
            requests.spawn(async move { status(service, &token).await });
        }
        requests.join_all().await;
    };
    let token = |number: usize| tokens[number % tokens.len()].clone();
    let (good, ()) = tokio::join!(send(service.clone(), RATE, 60.0, token), flood);
    (good, calls.load(Ordering::Relaxed))
}

/// A token of a known tenant.
fn signed(key: &SigningKey, tenant: usize, subject: usize) -> String {
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "k"});
    let claims = json!({
        "iss": format!("{TENANTS}{tenant}"),
        "aud": AUDIENCE,
        "sub": subject.to_string(),
        "client_id": "app",
        "jti": subject.to_string(),
        "iat": START,
        "exp": START + 3_600,
    });
    key.sign(&header, &claims).unwrap()
}

/// A hundred thousand logouts at another issuer.
async fn logouts_of_one_issuer() -> (Good, usize) {
    let world = World::new(Revocations::new(), 0.02);
    let service = world.service(1_000);
    let logouts = async {
        for number in 0..100_000 {
            world.revocations.revoke(&Cutoff::subject(HOSTILE, format!("user{number}")));
            sleep(Duration::from_millis(1)).await;
        }
    };
    let (good, ()) = tokio::join!(send(service.clone(), RATE, 120.0, people), logouts);
    (good, world.calls())
}

/// One account of the same issuer logs in and out three times a second for an hour, at a service
/// that keeps a thousand cutoffs.
async fn logouts_of_one_account() -> (Good, usize) {
    let world = World::new(Revocations::with_capacity(1_000), 0.02);
    let service = world.service(1_000);
    let logouts = async {
        for number in 0..3 * 3_600 {
            let cutoff = Cutoff::session(HOME, format!("s{number}")).of_subject("mallory");
            world.revocations.revoke(&cutoff);
            sleep(Duration::from_secs(1) / 3).await;
        }
    };
    let token = |number: usize| people(number % 60);
    let (good, ()) = tokio::join!(send(service.clone(), RATE / 6.0, 3_600.0, token), logouts);
    (good, world.calls())
}

/// The tokens of six hundred users, issued before the start.
fn people(number: usize) -> String {
    format!("home-user{}-{}", number % 600, START - 60)
}

/// A wall clock that goes with Tokio's paused time.
#[derive(Clone, Copy, Debug)]
struct Simulated(Instant);

impl Simulated {
    fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Simulated {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(START).saturating_add(self.0.elapsed())
    }
}

/// A service with two introspecting issuers.
struct World {
    clock: Simulated,
    revocations: Revocations,
    api: ResourceServer,
    calls: Arc<AtomicUsize>,
}

impl World {
    /// Creates a world whose authorization servers respond after `latency` seconds.
    fn new(revocations: Revocations, latency: f64) -> Self {
        let (clock, calls) = (Simulated::new(), Arc::<AtomicUsize>::default());
        let revocations = revocations.clock(clock);
        let called = Arc::clone(&calls);
        let transport = HttpTransport::new(service_fn(move |request: Request<Bytes>| {
            called.fetch_add(1, Ordering::Relaxed);
            async move {
                sleep(Duration::from_secs_f64(latency)).await;
                let json = ("content-type", "application/json");
                let response = Response::builder().header(json.0, json.1);
                Ok::<_, Infallible>(response.body(introspect(request.body())).unwrap())
            }
        }));
        let issuer = |url: &'static str, prefix: &str| {
            Issuer::introspect(url, ClientAuth::basic("api", "secret"))
                .token_prefix(prefix)
                .configure_introspection(move |it| it.endpoint(format!("{url}/introspect")))
        };
        let builder = ResourceServer::builder(AUDIENCE)
            .issuer(issuer(HOME, "home-"))
            .issuer(issuer(HOSTILE, "hostile-"))
            .transport(transport)
            .revocations(revocations.clone())
            .clock(clock);
        Self { clock, revocations, api: builder.build().unwrap(), calls }
    }

    /// Returns the service, whose handler takes `limit` requests at a time.
    fn service(&self, limit: usize) -> impl Handler {
        let handler = ConcurrencyLimitLayer::new(limit).layer(service_fn(handler));
        self.api.layer().layer(handler)
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// Responds about a token, which is the host of its issuer, its subject and its `iat`.
fn introspect(body: &[u8]) -> Bytes {
    let form = std::str::from_utf8(body).unwrap();
    let token = form.split('&').find_map(|field| field.strip_prefix("token=")).unwrap();
    let [host, subject, iat] = token.split('-').collect::<Vec<_>>()[..] else {
        // A canary.
        return Bytes::from_static(br#"{"active":false}"#);
    };
    if subject == "junk" {
        return Bytes::from_static(br#"{"active":false}"#);
    }
    let audience = if host == "home" { AUDIENCE } else { "https://elsewhere.example.com" };
    let iat: i64 = iat.parse().unwrap();
    let claims = json!({
        "active": true,
        "iss": format!("https://{host}.example.com"),
        "sub": subject,
        "aud": audience,
        "iat": iat,
        "exp": iat + 7_200,
    });
    Bytes::from(claims.to_string())
}

/// A service that can be called more than once.
trait Handler:
    Service<Request<Bytes>, Response = Response<Bytes>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> Handler for S where
    S: Service<Request<Bytes>, Response = Response<Bytes>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

async fn handler(_: Request<Bytes>) -> Result<Response<Bytes>, Infallible> {
    sleep(Duration::from_millis(10)).await;
    Ok(Response::new(Bytes::new()))
}

async fn status(service: impl Handler, token: &str) -> StatusCode {
    let request = Request::builder().header("authorization", format!("Bearer {token}"));
    let Ok(response) = service.oneshot(request.body(Bytes::new()).unwrap()).await;
    response.status()
}

/// The outcome of good requests.
#[derive(Default)]
struct Good {
    admitted: usize,
    times: Vec<f64>,
}

/// Sends `rate` requests a second, for some seconds. `token` returns the token of each.
async fn send(
    service: impl Handler,
    rate: f64,
    seconds: f64,
    token: impl Fn(usize) -> String,
) -> Good {
    let (start, mut requests) = (Instant::now(), JoinSet::new());
    for number in 0..(rate * seconds) as usize {
        sleep_until(start + Duration::from_secs_f64(number as f64 / rate)).await;
        let (service, token) = (service.clone(), token(number));
        requests.spawn(async move {
            let came = Instant::now();
            let status = status(service, &token).await;
            (status, came.elapsed().as_secs_f64())
        });
    }
    let mut good = Good::default();
    for (status, time) in requests.join_all().await {
        good.admitted += usize::from(status == StatusCode::OK);
        good.times.push(time);
    }
    good
}

impl Good {
    fn share(&self) -> f64 {
        self.admitted as f64 / self.times.len() as f64
    }

    /// Returns the time within which this share of the requests had an answer.
    fn percentile(&self, share: f64) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times[((times.len() as f64 * share) as usize).min(times.len() - 1)]
    }
}

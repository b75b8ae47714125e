//! Serves the page to those who know its secret path. docs/security.md names the threats.

use std::{convert::Infallible, hint::black_box, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use super::call::Call;
use crate::Context;

const MAX_BODY: usize = 1024 * 1024;
const MAX_CONNECTIONS: usize = 64;
/// The most commands that may wait for servers at the same time. The others never wait for these.
const MAX_WAITING: usize = 8;
/// The time for the header, for the body, and for all of a connection but the command.
const PATIENCE: Duration = Duration::from_secs(10);

/// Its scripts and styles are files of its own, it sends requests to this server only, and no text
/// becomes markup.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The files of the page: names, types and texts.
const FILES: [(&str, &str, &str); 3] = [
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
];

/// The page, and who may see it.
pub(super) struct Site {
    /// The names of this server as browsers send them.
    hosts: [String; 2],
    path: String,
    page: Bytes,
    config: Option<PathBuf>,
    context: Box<dyn Fn(String) -> io::Result<Context> + Send + Sync>,
    waiting: Arc<Semaphore>,
    time_per_connection: Duration,
}

impl Site {
    pub(super) fn new(port: u16, secret: &str, config: Option<PathBuf>, cx: &Context) -> Arc<Self> {
        // Browsers leave out the port of the scheme.
        let port = if port == 80 { String::new() } else { format!(":{port}") };
        let hidden = if config.is_some() { "" } else { " hidden" };
        Arc::new(Self {
            hosts: ["127.0.0.1", "localhost"].map(|name| format!("{name}{port}")),
            path: format!("/{secret}/"),
            page: include_str!("page.html").replace("{hidden}", hidden).into(),
            config,
            context: Box::new(cx.again()),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            time_per_connection: cx.timeout + 3 * PATIENCE,
        })
    }

    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        match self.content(request).await {
            Ok((kind, body)) => {
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
                *response.body_mut() = body.into();
            }
            Err(status) => *response.status_mut() = status,
        }
        let headers = HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
        response.headers_mut().extend(headers);
        response
    }

    /// Returns the type and the content of a response, or the status of one without content.
    async fn content(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<(&'static str, Bytes), StatusCode> {
        let (head, body) = request.into_parts();
        self.admit(&head)?;
        let path = head.uri.path_and_query().map_or("", |path| path.as_str());
        let file = path.get(self.path.len()..).unwrap_or_default();
        let found = FILES.iter().find(|(name, ..)| *name == file);
        match (file, &head.method, found) {
            ("", &Method::GET, _) => Ok(("text/html; charset=utf-8", self.page.clone())),
            (_, &Method::GET, Some((_, kind, text))) => {
                Ok((kind, Bytes::from_static(text.as_bytes())))
            }
            ("run", &Method::POST, _) => {
                if body.size_hint().lower() > MAX_BODY as u64 {
                    return Err(StatusCode::PAYLOAD_TOO_LARGE);
                }
                let body = timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await;
                let body = body.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
                let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?.to_bytes();
                let call = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
                Ok(("application/json", self.run(call).await?))
            }
            ("" | "run", ..) | (.., Some(_)) => Err(StatusCode::METHOD_NOT_ALLOWED),
            _ => Err(StatusCode::NOT_FOUND),
        }
    }

    /// Refuses a request that no page of this server and no person with its URL would make.
    fn admit(&self, head: &request::Parts) -> Result<(), StatusCode> {
        let only = |name, wanted: &str| head.headers.get_all(name).iter().eq([wanted]);
        let no_other = |name, wanted: &str| !head.headers.contains_key(name) || only(name, wanted);
        // Another name may be one that an attacker's DNS server gives this address to.
        let host = self.hosts.iter().find(|host| only("host", host));
        let host = host.filter(|_| head.uri.authority().is_none());
        let host = host.ok_or(StatusCode::MISDIRECTED_REQUEST)?;
        let post = head.method == Method::POST;
        if !begins_with(head.uri.path(), &self.path) {
            Err(StatusCode::NOT_FOUND)
        } else if !no_other("origin", &format!("http://{host}"))
            || post && !no_other("sec-fetch-site", "same-origin")
        {
            Err(StatusCode::FORBIDDEN)
        } else if post && !only("content-type", "application/json") {
            // Forms and requests without a preflight have other types.
            Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        } else {
            Ok(())
        }
    }

    /// Runs a command on a thread of its own: it may block, and a recording covers one thread.
    async fn run(self: Arc<Self>, call: Call) -> Result<Bytes, StatusCode> {
        let permit = call.waits().then(|| self.waiting.clone().try_acquire_owned());
        let permit = permit.transpose().map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        let run = move || {
            let _permit = permit;
            let cx = (self.context)(call.token.clone())?;
            Ok(call.run(&cx, self.config.as_deref()).to_string().into())
        };
        let outcome = tokio::task::spawn_blocking(run).await;
        outcome.ok().and_then(io::Result::ok).ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Serves until the process is stopped. Each connection serves one request, so that none is idle.
pub(super) async fn serve(listener: TcpListener, site: Arc<Site>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // The peer gave up, or file descriptors ran out. Later connections may succeed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (site, limit) = (site.clone(), site.time_per_connection);
        let service = service_fn(move |request| {
            let site = site.clone();
            async move { Ok::<_, Infallible>(site.respond(request).await) }
        });
        let connection = http1::Builder::new()
            .keep_alive(false)
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _place = place;
            timeout(limit, connection).await
        });
    }
}

/// Compares the start of a text in a time that does not depend on where it differs.
fn begins_with(text: &str, secret: &str) -> bool {
    text.len() >= secret.len()
        && text.bytes().zip(secret.bytes()).fold(0, |all, (a, b)| black_box(all | (a ^ b))) == 0
}

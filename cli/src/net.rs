//! Sends requests and records them with their outcomes.
//!
//! Requests use the library's transport: its limits, its refusal to follow redirects, and the
//! proxies of the environment.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use tower::Service;
use tower_introspect::{
    clock::{Moment, SystemClock, UnixTime},
    inspect::{ClientSettings, IssuerSettings, Settings, SignalSettings},
    transport::{BodyLimit, HttpTransport, ReqwestTransport, TransportError, TransportErrorKind},
};

use crate::{
    causes,
    cert::{self, Certificate},
    input,
    report::Failure,
};

/// The hint for refused `http` URLs.
pub(crate) const LOOPBACK_HINT: &str =
    "`http` URLs are allowed for this machine only, with --danger-allow-http-loopback";

/// The certificates of connections: trusted authorities and the client's own.
#[derive(clap::Args, Clone, Default)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetArgs {
    /// A PEM file with certificates of authorities to trust, in addition to those of the system.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A PEM file with a client certificate and its private key.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl NetArgs {
    /// Returns these options as text for a command line.
    pub(crate) fn to_options(&self) -> String {
        let options = [("ca", &self.ca), ("identity", &self.identity)];
        let given = options.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?)));
        given.map(|(name, path)| format!(" --{name} {}", path.display())).collect()
    }

    /// Checks that the options name the certificates that the configuration of the service uses.
    /// With other certificates, the responses of the server would not show how it treats the
    /// service.
    ///
    /// # Errors
    ///
    /// If the configuration of an issuer has certificates and the matching option is missing.
    pub(crate) fn check_certificates(&self, issuers: &[IssuerSettings]) -> Result<(), Failure> {
        issuers.iter().try_for_each(|issuer| {
            self.check_certificates_of(
                &issuer.issuer,
                issuer.ca_file.as_deref(),
                issuer.client.as_ref(),
            )
        })
    }

    /// Checks the same for the transmitters.
    ///
    /// # Errors
    ///
    /// As those of [`check_certificates`](Self::check_certificates).
    pub(crate) fn check_certificates_of_signals(
        &self,
        signals: Option<&SignalSettings>,
    ) -> Result<(), Failure> {
        signals.iter().flat_map(|signals| &signals.transmitters).try_for_each(|one| {
            self.check_certificates_of(&one.issuer, one.ca_file.as_deref(), one.access.as_ref())
        })
    }

    fn check_certificates_of(
        &self,
        name: &str,
        ca_file: Option<&Path>,
        client: Option<&ClientSettings>,
    ) -> Result<(), Failure> {
        if let (Some(path), None) = (ca_file, &self.ca) {
            let path = path.display();
            return Err(Failure::usage(format!("{name} has a `ca_file`: give --ca {path}")));
        }
        let by_certificate = client.is_some_and(|client| client.method == "mtls");
        if by_certificate && self.identity.is_none() {
            return Err(Failure::usage(format!(
                "{name} authenticates this service by its certificate: give --identity, a file with \
                 the certificate and its private key"
            )));
        }
        Ok(())
    }

    /// Returns these options for a client that has no certificate.
    pub(crate) fn without_identity(&self) -> Self {
        Self { identity: None, ..self.clone() }
    }

    /// Returns the client certificate and its file, if one is set.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or has no certificate.
    pub(crate) fn certificate(&self) -> Result<Option<(&Path, Certificate)>, Failure> {
        let Some(path) = &self.identity else { return Ok(None) };
        let text = input::file(path)?;
        let found = cert::in_pem(&text).first().and_then(|der| Certificate::parse(der));
        let none = || Failure::usage(format!("`{}` has no certificate", path.display()));
        Ok(Some((path, found.ok_or_else(none)?)))
    }
}

/// A transport that records its exchanges. Clones share the record.
#[derive(Clone)]
pub(crate) struct RecordingTransport {
    inner: ReqwestTransport,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

/// A request and its outcome.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) request: Request<Bytes>,
    /// `None` if the exchange was cancelled.
    pub(crate) outcome: Option<Result<Response<Bytes>, ExchangeError>>,
    pub(crate) took: Duration,
    pub(crate) sent: UnixTime,
    pub(crate) received: UnixTime,
    start: Moment,
}

/// The reason why there is no response.
#[derive(Clone, Debug)]
pub(crate) struct ExchangeError {
    pub(crate) kind: TransportErrorKind,
    /// The messages of the error and its causes.
    chain: Vec<String>,
}

impl Exchange {
    pub(crate) fn response(&self) -> Option<&Response<Bytes>> {
        self.outcome.as_ref()?.as_ref().ok()
    }

    /// Returns the certificate of the server.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        let info = self.response()?.extensions().get::<reqwest::tls::TlsInfo>()?;
        Certificate::parse(info.peer_certificate()?)
    }

    fn finish(&mut self, now: Moment) {
        self.took = now.monotonic_since(self.start);
        self.received = now.wall();
    }

    pub(crate) const fn millis(&self) -> u128 {
        self.took.as_millis()
    }
}

impl RecordingTransport {
    /// Creates a transport with these certificates, and the proxy of a configuration.
    ///
    /// # Errors
    ///
    /// If a certificate can't be read, or TLS can't be set up.
    pub(crate) fn new(args: &NetArgs, settings: Option<&Settings>) -> Result<Self, Failure> {
        let mut authorities = Vec::new();
        if let Some(path) = &args.ca {
            let found = reqwest::Certificate::from_pem_bundle(&input::file(path)?);
            authorities = found.unwrap_or_default();
            if authorities.is_empty() {
                let problem = format!("`{}` has no certificate in PEM", path.display());
                return Err(Failure::usage(problem));
            }
        }
        let mut identity = None;
        if let Some(path) = &args.identity {
            let read = reqwest::Identity::from_pem(&input::file(path)?).map_err(|_| {
                let problem = "does not have a certificate and its private key in PEM";
                Failure::usage(format!("`{}` {problem}", path.display()))
            })?;
            identity = Some(read);
        }
        let proxy = settings.and_then(|settings| settings.proxy.as_ref());
        // The configuration was read, so this is a URL.
        let proxy = proxy.and_then(|url| reqwest::Proxy::all(url).ok());
        let without_proxy = settings.is_some_and(|settings| settings.without_proxy);
        let builder = || {
            let builder = ReqwestTransport::builder().tls_info(true);
            let builder = builder.tls_certs_merge(authorities.clone());
            let builder = match &proxy {
                Some(proxy) => builder.proxy(proxy.clone()),
                None if without_proxy => builder.no_proxy(),
                None => builder,
            };
            match &identity {
                Some(identity) => builder.identity(identity.clone()),
                None => builder,
            }
        };
        let inner = ReqwestTransport::from_builder(builder)
            .map_err(|problem| Failure::usage(problem.to_string()))?;
        Ok(Self { inner, exchanges: Arc::default() })
    }

    /// Returns the transport in the form that the library takes.
    pub(crate) fn transport(&self) -> HttpTransport {
        HttpTransport::new(self.clone())
    }

    /// Removes the recorded exchanges and returns them, in the order of the requests.
    ///
    /// An exchange that is still running stays without an outcome.
    pub(crate) fn take(&self) -> Vec<Exchange> {
        let now = Moment::now(&SystemClock);
        let mut all = std::mem::take(&mut *self.exchanges());
        for exchange in all.iter_mut().filter(|exchange| exchange.outcome.is_none()) {
            exchange.finish(now);
        }
        all
    }

    /// Records the outcome of the request sent at `start`, unless its exchange was taken already.
    fn record(&self, start: Moment, outcome: Result<Response<Bytes>, ExchangeError>) {
        let now = Moment::now(&SystemClock);
        let mut exchanges = self.exchanges();
        let pending = exchanges.iter_mut().find(|one| one.start == start && one.outcome.is_none());
        if let Some(exchange) = pending {
            exchange.outcome = Some(outcome);
            exchange.finish(now);
        }
    }

    /// Fetches a document of at most `limit` bytes, and records the exchange.
    pub(crate) async fn get(&self, url: Uri, accept: &'static str, limit: usize) {
        let request = Request::get(url).header(header::ACCEPT, accept);
        let request = request.header(header::ACCEPT_ENCODING, "identity");
        // A header that is a constant, and a URL that was parsed, make a request.
        if let Ok(request) = request.extension(BodyLimit::new(limit)).body(Bytes::new()) {
            self.send(request).await;
        }
    }

    /// Sends a request unchanged, and records the exchange.
    pub(crate) async fn send(&self, request: Request<Bytes>) {
        let _ = self.clone().call(request).await;
    }

    fn exchanges(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Request<Bytes>> for RecordingTransport {
    type Response = Response<Bytes>;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, TransportError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), TransportError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let start = Moment::now(&SystemClock);
        self.exchanges().push(Exchange {
            request: request.clone(),
            outcome: None,
            took: Duration::ZERO,
            sent: start.wall(),
            received: start.wall(),
            start,
        });
        let (transport, response) = (self.clone(), self.inner.call(request));
        Box::pin(async move {
            let response = response.await;
            let outcome = response.as_ref().map(Response::clone).map_err(ExchangeError::new);
            transport.record(start, outcome);
            response
        })
    }
}

impl ExchangeError {
    fn new(error: &TransportError) -> Self {
        Self { kind: error.kind(), chain: causes::chain(error) }
    }

    /// Describes the problem, with the most specific cause.
    pub(crate) fn describe(&self) -> String {
        let last = self.chain.last().map(String::as_str).unwrap_or_default();
        match (causes::tls_problem(&self.chain), self.kind) {
            (Some((problem, None)), _) => format!("{problem} ({last})"),
            (Some((problem, Some(option))), _) => format!("{problem}; {option} ({last})"),
            (None, TransportErrorKind::TooLarge) => {
                "the response is larger than the library accepts".to_owned()
            }
            (None, TransportErrorKind::Timeout) => "no response in time".to_owned(),
            _ => self.chain.join(": "),
        }
    }

    /// Returns true if the problem is a certificate or TLS itself.
    pub(crate) fn is_tls(&self) -> bool {
        causes::tls_problem(&self.chain).is_some()
    }
}

/// Returns true for https URLs, and for http URLs of this machine if they are allowed.
pub(crate) fn is_allowed(url: &Uri, loopback_http: bool) -> bool {
    let local = ["127.0.0.1", "localhost", "[::1]"].contains(&url.host().unwrap_or_default());
    let scheme = url.scheme_str();
    scheme == Some("https") || scheme == Some("http") && local && loopback_http
}

/// Returns a URL with its user information redacted.
pub(crate) fn redact_userinfo(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let authority = rest.find(['/', '?', '#']).map_or(rest, |end| &rest[..end]);
    let Some(at) = authority.rfind('@') else { return url.to_owned() };
    let colon = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{colon}[redacted]@{}", &rest[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_their_credentials() {
        for (url, shown) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://u:p@proxy:3128/x", "http://[redacted]@proxy:3128/x"),
            ("u:p@proxy", "[redacted]@proxy"),
            ("http://u:p@w@proxy", "http://[redacted]@proxy"),
            ("http://proxy/a@b", "http://proxy/a@b"),
            ("", ""),
        ] {
            assert_eq!(redact_userinfo(url), shown);
        }
    }
}

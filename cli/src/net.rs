//! Requests to the network, each of them noted with what came of it.
//!
//! They go the way that those of the library go: its transport, its limits, its refusal to follow
//! redirects, the proxies of the environment.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use tower_introspect::{
    clock::{Moment, SystemClock, UnixTime},
    inspect::IssuerSettings,
    transport::{BodyLimit, HttpTransport, ReqwestTransport, TransportError, TransportErrorKind},
};
use tower_service::Service;

use crate::{
    cert::{self, Certificate},
    input,
    report::Failure,
};

/// Whom to trust on the network, and as whom to speak.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetArgs {
    /// A file with certificates in PEM, of authorities to trust besides those of the system.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A file with a client certificate and its private key, in PEM.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl NetArgs {
    /// These options, for a command that is to be repeated.
    pub(crate) fn again(&self) -> String {
        let options = [("ca", &self.ca), ("identity", &self.identity)];
        let given = options.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?)));
        given.map(|(name, path)| format!(" --{name} {}", path.display())).collect()
    }

    /// # Errors
    ///
    /// If one of these issuers is reached with certificates of the configuration that are not given here:
    /// what the server makes of other ones would tell nothing about the service.
    pub(crate) fn fit<'a>(
        &self,
        issuers: impl IntoIterator<Item = &'a IssuerSettings>,
    ) -> Result<(), Failure> {
        for issuer in issuers {
            let name = &issuer.issuer;
            if let (Some(path), None) = (&issuer.ca_file, &self.ca) {
                let path = path.display();
                return Err(Failure::usage(format!("{name} has a `ca_file`: give --ca {path}")));
            }
            let by_certificate = issuer.client.as_ref().filter(|client| client.method == "mtls");
            if by_certificate.is_some() && self.identity.is_none() {
                let what = "its certificate and private key, in one file";
                return Err(Failure::usage(format!(
                    "{name} knows this service by its certificate: give --identity, {what}"
                )));
            }
        }
        Ok(())
    }

    /// The client certificate, if there is one.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or has none.
    pub(crate) fn certificate(&self) -> Result<Option<(&Path, Certificate)>, Failure> {
        let Some(path) = &self.identity else { return Ok(None) };
        let text = input::file(path)?;
        let found = cert::in_pem(&text).first().and_then(|der| Certificate::parse(der));
        let none = || Failure::usage(format!("`{}` has no certificate", path.display()));
        Ok(Some((path, found.ok_or_else(none)?)))
    }
}

/// A way to the network that remembers what went over it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Wire {
    inner: ReqwestTransport,
    log: Arc<Mutex<Vec<Exchange>>>,
}

/// A request, and what came of it.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) request: Request<Bytes>,
    /// Nothing if nobody waited for it any longer.
    pub(crate) outcome: Option<Result<Response<Bytes>, Trouble>>,
    pub(crate) took: Duration,
    pub(crate) sent: UnixTime,
    pub(crate) received: UnixTime,
    start: Moment,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) kind: TransportErrorKind,
    /// The error and its causes.
    pub(crate) chain: Vec<String>,
}

impl Exchange {
    pub(crate) fn response(&self) -> Option<&Response<Bytes>> {
        self.outcome.as_ref()?.as_ref().ok()
    }

    /// The certificate that the server showed.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        let info = self.response()?.extensions().get::<reqwest::tls::TlsInfo>()?;
        Certificate::parse(info.peer_certificate()?)
    }

    fn ends(&mut self, now: Moment) {
        self.took = now.monotonic_since(self.start);
        self.received = now.wall();
    }

    pub(crate) const fn millis(&self) -> u128 {
        self.took.as_millis()
    }
}

impl Wire {
    /// # Errors
    ///
    /// If a certificate can't be read, or TLS can't be set up.
    pub(crate) fn new(args: &NetArgs) -> Result<Self, Failure> {
        let mut builder = ReqwestTransport::builder().tls_info(true);
        if let Some(path) = &args.ca {
            let authorities = reqwest::Certificate::from_pem_bundle(&input::file(path)?)
                .ok()
                .filter(|found| !found.is_empty())
                .ok_or_else(|| {
                    Failure::usage(format!("`{}` has no certificates in PEM", path.display()))
                })?;
            builder = builder.tls_certs_merge(authorities);
        }
        if let Some(path) = &args.identity {
            let identity = reqwest::Identity::from_pem(&input::file(path)?).map_err(|_| {
                let problem = "is no certificate and private key in PEM";
                Failure::usage(format!("`{}` {problem}", path.display()))
            })?;
            builder = builder.identity(identity);
        }
        let inner = ReqwestTransport::from_builder(builder)
            .map_err(|problem| Failure::usage(problem.to_string()))?;
        Ok(Self { inner, log: Arc::default() })
    }

    pub(crate) fn transport(&self) -> HttpTransport {
        HttpTransport::new(self.clone())
    }

    /// What went over it since it was last asked, in the order of the requests. Of those still under
    /// way no more will be known.
    pub(crate) fn take(&self) -> Vec<Exchange> {
        let now = Moment::now(&SystemClock);
        let mut all = std::mem::take(&mut *self.log());
        for exchange in all.iter_mut().filter(|exchange| exchange.outcome.is_none()) {
            exchange.ends(now);
        }
        all
    }

    /// Notes what came of the request that was sent then, unless that was taken already.
    fn answered(&self, start: Moment, outcome: Result<Response<Bytes>, Trouble>) {
        let now = Moment::now(&SystemClock);
        let mut log = self.log();
        let pending = log.iter_mut().find(|one| one.start == start && one.outcome.is_none());
        if let Some(exchange) = pending {
            exchange.outcome = Some(outcome);
            exchange.ends(now);
        }
    }

    /// Fetches a document, of at most `limit` bytes.
    pub(crate) async fn get(&self, url: Uri, accept: &'static str, limit: usize) {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = url;
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(accept));
        request.extensions_mut().insert(BodyLimit::new(limit));
        // What came of it is noted.
        let _ = self.clone().call(request).await;
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, request: Request<Bytes>) {
        let _ = self.clone().call(request).await;
    }

    fn log(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Request<Bytes>> for Wire {
    type Response = Response<Bytes>;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, TransportError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), TransportError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let start = Moment::now(&SystemClock);
        self.log().push(Exchange {
            request: request.clone(),
            outcome: None,
            took: Duration::ZERO,
            sent: start.wall(),
            received: start.wall(),
            start,
        });
        let (wire, answer) = (self.clone(), self.inner.call(request));
        Box::pin(async move {
            let answer = answer.await;
            wire.answered(start, answer.as_ref().map(Response::clone).map_err(Trouble::of));
            answer
        })
    }
}

impl Trouble {
    fn of(error: &TransportError) -> Self {
        let mut chain = vec![error.to_string()];
        let mut cause = std::error::Error::source(error);
        for _ in 0..16 {
            let Some(error) = cause else { break };
            let text = error.to_string();
            // Wrappers repeat what they wrap.
            if chain.last().is_none_or(|last| *last != text) {
                chain.push(text);
            }
            cause = error.source();
        }
        Self { kind: error.kind(), chain }
    }

    /// What is wrong, for people, with the most telling cause.
    pub(crate) fn words(&self) -> String {
        let all = self.chain.join(": ");
        let last = self.chain.last().map(String::as_str).unwrap_or_default();
        if let Some(problem) = tls_problem(&all) {
            return format!("{problem} ({last})");
        }
        match self.kind {
            TransportErrorKind::TooLarge => {
                "the answer is larger than the library takes".to_owned()
            }
            TransportErrorKind::Timeout => "no answer in time".to_owned(),
            _ => all,
        }
    }

    /// Whether it is the certificate or TLS itself that is wrong.
    pub(crate) fn is_tls(&self) -> bool {
        tls_problem(&self.chain.join(": ")).is_some()
    }
}

/// Which problem it is with TLS, by the words of the TLS library.
fn tls_problem(chain: &str) -> Option<&'static str> {
    const PROBLEMS: [(&str, &str); 13] = [
        ("certificate expired", "the server's certificate has expired"),
        ("Expired", "the server's certificate has expired"),
        ("not valid yet", "the server's certificate is not valid yet"),
        ("NotValidYet", "the server's certificate is not valid yet"),
        ("not valid for name", "the server's certificate is for another name"),
        ("NotValidForName", "the server's certificate is for another name"),
        (
            "UnknownIssuer",
            "the server's certificate is of an authority that is not trusted, or the server leaves \
             out an intermediate certificate; `--ca` names further authorities",
        ),
        ("CaUsedAsEndEntity", "the server shows the certificate of an authority as its own"),
        ("Revoked", "the server's certificate is revoked"),
        ("invalid peer certificate", "the server's certificate is refused"),
        ("CertificateRequired", "the server wants a client certificate; `--identity` gives one"),
        ("InvalidContentType", "the server does not speak TLS on this port"),
        ("received fatal alert", "the server refuses the TLS connection"),
    ];
    PROBLEMS.into_iter().find(|(sign, _)| chain.contains(sign)).map(|(_, words)| words)
}

/// A URL without user information.
pub(crate) fn public(url: &str) -> String {
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
            assert_eq!(public(url), shown);
        }
    }
}

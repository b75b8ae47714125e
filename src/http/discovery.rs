//! What an authorization server says about itself (RFC 8414, OpenID Connect Discovery 1.0).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};

use super::{
    HttpTransport, answer,
    endpoint::{Endpoint, NotAnEndpoint},
    refresh::{Fetched, Refresher, Source},
};
use crate::{
    claims::json::{self, NotStrict, Object},
    clock::Clock,
    error::{ErrorKind, VerifyError},
};

/// Metadata serves for this long without being fetched anew.
const FRESH_FOR: Duration = Duration::from_secs(60 * 60);

/// The time for all requests of one discovery.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The most bytes of metadata.
const LIMIT: usize = 256 * 1024;

/// Metadata that seems to be wrong is fetched anew at most this often.
const DOUBT_INTERVAL: Duration = Duration::from_secs(60);

/// The metadata of one issuer, fetched when it is first needed. Clones share it.
///
/// The document of RFC 8414 is asked for first. Whatever is not a usable document there, save a
/// failure that another request would only make worse (no answer at all, 429, 503), leads to that
/// of OpenID Connect.
#[derive(Clone)]
pub(crate) struct Discovery(Refresher<WellKnown>);

impl Discovery {
    pub(crate) fn new(
        issuer: &str,
        transport: HttpTransport,
        loopback_http: bool,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, NotAnEndpoint> {
        let documents = documents(issuer, loopback_http)?;
        let source = WellKnown {
            issuer: issuer.into(),
            documents,
            transport,
            loopback_http,
            clock: Arc::clone(&clock),
        };
        Ok(Self(Refresher::new(source, clock)))
    }

    /// The metadata, fetched if it is not there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] or [`ErrorKind::BadResponse`].
    ///
    /// # Cancellation
    ///
    /// The fetch goes on.
    pub(crate) async fn metadata(&self) -> Result<Arc<Metadata>, VerifyError> {
        self.0.get().await
    }

    /// Notes that an endpoint did not do what it should: it may have moved. Never waits.
    pub(crate) fn doubt(&self) {
        self.0.expire(DOUBT_INTERVAL);
    }
}

/// The parts of the metadata that this crate acts on.
///
/// Lists of algorithms are not among them: what a server supports says nothing about what this
/// service accepts, and `none` may be listed.
#[derive(Debug)]
pub(crate) struct Metadata {
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
    pub(crate) jwks_uri: Option<Endpoint>,
    #[cfg(feature = "introspection")]
    pub(crate) introspection_endpoint: Option<Endpoint>,
    /// The introspection endpoint for clients with a certificate (RFC 8705 §5).
    #[cfg(feature = "introspection")]
    pub(crate) mtls_introspection_endpoint: Option<Endpoint>,
    /// The names of what is there but can't be used, with the reason.
    unusable: Vec<(&'static str, &'static str)>,
}

impl Metadata {
    /// `jwks_uri`, or what is wrong with it.
    #[cfg(all(feature = "jwt", feature = "_crypto"))]
    pub(crate) fn require_jwks_uri(&self) -> Result<&Endpoint, VerifyError> {
        self.require(JWKS_URI, self.jwks_uri.as_ref())
    }

    /// `introspection_endpoint`, or what is wrong with it. With `mtls` its alias for clients with
    /// a certificate, if there is one.
    #[cfg(feature = "introspection")]
    pub(crate) fn require_introspection_endpoint(
        &self,
        mtls: bool,
    ) -> Result<&Endpoint, VerifyError> {
        let alias = self.mtls_introspection_endpoint.as_ref();
        if mtls && (alias.is_some() || self.is_unusable(ALIASES)) {
            return self.require(ALIASES, alias);
        }
        self.require(INTROSPECTION, self.introspection_endpoint.as_ref())
    }

    fn require<'a>(
        &self,
        name: &'static str,
        endpoint: Option<&'a Endpoint>,
    ) -> Result<&'a Endpoint, VerifyError> {
        endpoint.ok_or_else(|| {
            let found = self.unusable.iter().find(|(unusable, _)| *unusable == name);
            let problem = found.map_or("missing", |(_, problem)| problem);
            bad(format!("`{name}` in the metadata: {problem}"))
        })
    }

    #[cfg(feature = "introspection")]
    fn is_unusable(&self, name: &str) -> bool {
        self.unusable.iter().any(|(unusable, _)| *unusable == name)
    }

    /// Reads metadata that must be of this issuer (RFC 8414 §3.3).
    fn parse(text: &[u8], issuer: &str, loopback_http: bool) -> Result<Self, VerifyError> {
        let object =
            Object::parse(text).map_err(|NotStrict| bad("the metadata is no JSON object"))?;
        // Octet by octet: no normalisation of any kind (RFC 8414 §4).
        match object.string("issuer") {
            Ok(Some(found)) if *found == *issuer => {}
            Ok(Some(found)) => {
                let found: String = found.chars().take(256).collect();
                return Err(bad(format!("the metadata is of the issuer {found:?}")));
            }
            _ => return Err(bad("the metadata names no issuer")),
        }
        let mut reader = Reader { loopback_http, unusable: Vec::new() };
        Ok(Self {
            #[cfg(all(feature = "jwt", feature = "_crypto"))]
            jwks_uri: reader.endpoint(&object, "jwks_uri", JWKS_URI),
            #[cfg(feature = "introspection")]
            introspection_endpoint: reader.endpoint(
                &object,
                "introspection_endpoint",
                INTROSPECTION,
            ),
            #[cfg(feature = "introspection")]
            mtls_introspection_endpoint: reader.alias(&object),
            unusable: reader.unusable,
        })
    }
}

#[cfg(all(feature = "jwt", feature = "_crypto"))]
const JWKS_URI: &str = "jwks_uri";
#[cfg(feature = "introspection")]
const INTROSPECTION: &str = "introspection_endpoint";
#[cfg(feature = "introspection")]
const ALIASES: &str = "mtls_endpoint_aliases.introspection_endpoint";

struct Reader {
    loopback_http: bool,
    unusable: Vec<(&'static str, &'static str)>,
}

impl Reader {
    fn endpoint(
        &mut self,
        object: &Object<'_>,
        member: &'static str,
        name: &'static str,
    ) -> Option<Endpoint> {
        let value = object.get(member)?;
        let endpoint = json::string(value).ok_or("not a string").and_then(|url| {
            Endpoint::parse(&url, self.loopback_http).map_err(NotAnEndpoint::describe)
        });
        endpoint.map_err(|problem| self.unusable.push((name, problem))).ok()
    }

    #[cfg(feature = "introspection")]
    fn alias(&mut self, object: &Object<'_>) -> Option<Endpoint> {
        let value = object.get("mtls_endpoint_aliases")?;
        let Ok(aliases) = Object::parse(value.get().as_bytes()) else {
            self.unusable.push((ALIASES, "not in an object"));
            return None;
        };
        self.endpoint(&aliases, "introspection_endpoint", ALIASES)
    }
}

/// Where the metadata of an issuer is found.
struct WellKnown {
    issuer: Box<str>,
    documents: [Endpoint; 2],
    transport: HttpTransport,
    loopback_http: bool,
    clock: Arc<dyn Clock>,
}

impl Source for WellKnown {
    type Value = Metadata;

    async fn fetch(&self, _: Option<Arc<Metadata>>) -> Result<Fetched<Metadata>, VerifyError> {
        let metadata = tokio::time::timeout(TIMEOUT, self.first_usable()).await;
        let metadata = metadata.unwrap_or_else(|elapsed| {
            Err(VerifyError::new(ErrorKind::Unavailable).with_source(elapsed))
        });
        match metadata {
            Ok(metadata) => Ok(Fetched { value: Arc::new(metadata), fresh_for: FRESH_FOR }),
            Err(error) => Err(in_context(error, &self.issuer)),
        }
    }
}

impl WellKnown {
    async fn first_usable(&self) -> Result<Metadata, VerifyError> {
        let [first, second] = &self.documents;
        let before = match self.document(first).await {
            Ok(metadata) => return Ok(metadata),
            Err(miss) if miss.last => return Err(miss.error),
            Err(miss) => miss,
        };
        self.document(second).await.map_err(|miss| {
            // The one that says most about what is wrong.
            if before.weight > miss.weight { before.error } else { miss.error }
        })
    }

    async fn document(&self, url: &Endpoint) -> Result<Metadata, Miss> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = url.uri().clone();
        let json = header::HeaderValue::from_static(JSON);
        request.headers_mut().insert(header::ACCEPT, json);
        let response = self
            .transport
            .send(request, TIMEOUT, LIMIT)
            .await
            .map_err(|error| Miss { error: error.into(), weight: 3, last: true })?;
        self.read(&response)
    }

    fn read(&self, response: &Response<Bytes>) -> Result<Metadata, Miss> {
        let status = response.status();
        if let Some(error) = answer::trouble(response, self.clock.now()) {
            let last =
                matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            return Err(Miss { error, weight: 3, last });
        }
        if status != StatusCode::OK {
            let error = bad(format!("there is no metadata: it answered {}", status.as_u16()));
            return Err(Miss { error, weight: 1, last: false });
        }
        let unusable = |error| Miss { error, weight: 2, last: false };
        if !answer::is_media_type(response.headers(), JSON) {
            return Err(unusable(bad("the metadata is not of the type application/json")));
        }
        Metadata::parse(response.body(), &self.issuer, self.loopback_http).map_err(unusable)
    }
}

const JSON: &str = "application/json";

/// Why one of the documents gave no metadata.
struct Miss {
    error: VerifyError,
    /// How much the error says.
    weight: u8,
    /// No other document is to be asked for.
    last: bool,
}

fn bad(context: impl Into<std::borrow::Cow<'static, str>>) -> VerifyError {
    VerifyError::new(ErrorKind::BadResponse).with_context(context)
}

/// The error with the issuer in front, for services with several.
fn in_context(error: VerifyError, issuer: &str) -> VerifyError {
    let context = match error.context() {
        Some(context) => format!("discovery of {issuer}: {context}"),
        None => format!("discovery of {issuer}"),
    };
    error.with_context(context)
}

/// Where the metadata is: by insertion before the path (RFC 8414 §3.1), then by appending to it
/// (OpenID Connect Discovery 1.0 §4). A terminating slash is removed in either case.
fn documents(issuer: &str, loopback_http: bool) -> Result<[Endpoint; 2], NotAnEndpoint> {
    // RFC 8414 §2: an issuer identifier has neither query nor fragment.
    if issuer.contains('?') {
        return Err(NotAnEndpoint::HasQuery);
    }
    let uri = Endpoint::parse(issuer, loopback_http)?.into_uri();
    let path = uri.path().strip_suffix('/').unwrap_or(uri.path());
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(NotAnEndpoint::NotAUrl);
    };
    let origin = format!("{scheme}://{authority}");
    Ok([
        Endpoint::parse(
            &format!("{origin}/.well-known/oauth-authorization-server{path}"),
            loopback_http,
        )?,
        Endpoint::parse(
            &format!("{origin}{path}/.well-known/openid-configuration"),
            loopback_http,
        )?,
    ])
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::advance;
    use tower::service_fn;

    use super::*;
    use crate::{
        clock::SystemClock,
        http::{TransportError, TransportErrorKind},
    };

    const RFC8414: &str = "https://as.example.com/.well-known/oauth-authorization-server/t1";
    const OIDC: &str = "https://as.example.com/t1/.well-known/openid-configuration";
    const ISSUER: &str = "https://as.example.com/t1";

    type Answer = Result<Response<Bytes>, TransportErrorKind>;

    /// An authorization server that notes which URLs it is asked for.
    fn server(
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> (HttpTransport, Arc<Mutex<Vec<String>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let answer = Arc::new(answer);
        let transport = HttpTransport::new(service_fn(move |request: Request<Bytes>| {
            assert_eq!(request.method(), "GET");
            assert_eq!(request.headers()["accept"], "application/json");
            let url = request.uri().to_string();
            let outcome = answer(&url).map_err(TransportError::new);
            log.lock().unwrap().push(url);
            async { outcome }
        }));
        (transport, seen)
    }

    fn discovery(transport: HttpTransport) -> Discovery {
        Discovery::new(ISSUER, transport, false, Arc::new(SystemClock)).unwrap()
    }

    #[expect(clippy::unnecessary_wraps, reason = "an answer of a server that works")]
    fn json(status: u16, body: impl Into<Bytes>) -> Answer {
        let response = Response::builder().status(status);
        Ok(response.header("content-type", "application/json").body(body.into()).unwrap())
    }

    fn metadata() -> String {
        format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"https://as.example.com/jwks","x":[{{}}]}}"#)
    }

    async fn error(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> VerifyError {
        discovery(server(answer).0).metadata().await.unwrap_err()
    }

    #[test]
    fn rfc8414_3_1_well_known_urls() {
        let urls = |issuer| documents(issuer, false).unwrap().map(|url| url.uri().to_string());
        let expect = |issuer, inserted: &str, appended: &str| {
            assert_eq!(urls(issuer), [inserted, appended], "{issuer}");
        };
        for issuer in ["https://as", "https://as/"] {
            expect(
                issuer,
                "https://as/.well-known/oauth-authorization-server",
                "https://as/.well-known/openid-configuration",
            );
        }
        for issuer in ["https://as:8443/t1", "https://as:8443/t1/"] {
            expect(
                issuer,
                "https://as:8443/.well-known/oauth-authorization-server/t1",
                "https://as:8443/t1/.well-known/openid-configuration",
            );
        }
        expect(
            "https://as/a%2Fb/c",
            "https://as/.well-known/oauth-authorization-server/a%2Fb/c",
            "https://as/a%2Fb/c/.well-known/openid-configuration",
        );
    }

    #[test]
    fn rfc8414_2_issuer_is_an_https_url_without_query_and_fragment() {
        for (issuer, problem) in [
            ("https://as?x=y", NotAnEndpoint::HasQuery),
            ("https://as/t1?", NotAnEndpoint::HasQuery),
            ("https://as/#f", NotAnEndpoint::NotAUrl),
            ("as.example.com", NotAnEndpoint::NotAUrl),
            ("", NotAnEndpoint::NotAUrl),
            ("http://as", NotAnEndpoint::NotHttps),
            ("http://127.0.0.1:9000", NotAnEndpoint::NotHttps),
        ] {
            assert_eq!(documents(issuer, false).err(), Some(problem), "{issuer}");
        }
        assert!(documents("http://127.0.0.1:9000", true).is_ok());
        assert!(documents("http://as", true).is_err());
    }

    #[tokio::test]
    async fn rfc8414_document_is_enough() {
        let (transport, seen) = server(|_| json(200, metadata()));
        let discovery = discovery(transport);
        assert!(discovery.0.current().is_none());
        discovery.metadata().await.unwrap();
        assert!(discovery.0.current().is_some());
        assert_eq!(*seen.lock().unwrap(), [RFC8414]);
    }

    #[tokio::test]
    async fn unusable_documents_lead_to_the_next() {
        let html = || Ok(Response::new("<html>".into()));
        let elsewhere = metadata().replace("t1", "t2");
        for first in [json(404, ""), json(302, ""), json(500, "{}"), html(), json(200, elsewhere)] {
            let first = first.unwrap();
            let (transport, seen) =
                server(
                    move |url| {
                        if url == OIDC { json(200, metadata()) } else { Ok(first.clone()) }
                    },
                );
            discovery(transport).metadata().await.unwrap();
            assert_eq!(*seen.lock().unwrap(), [RFC8414, OIDC]);
        }
    }

    #[tokio::test]
    async fn a_server_that_is_down_is_asked_once() {
        for answer in [
            || json(429, ""),
            || json(503, ""),
            || Err(TransportErrorKind::Connect),
            || Err(TransportErrorKind::Timeout),
        ] {
            let (transport, seen) = server(move |_| answer());
            let discovery = discovery(transport);
            for _ in 0..10 {
                let error = discovery.metadata().await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                assert!(error.retry_after().is_some());
            }
            assert_eq!(*seen.lock().unwrap(), [RFC8414]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn d9_failure_heals() {
        let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let switch = Arc::clone(&up);
        let (transport, _) = server(move |_| {
            let up = switch.load(std::sync::atomic::Ordering::SeqCst);
            if up { json(200, metadata()) } else { json(500, "") }
        });
        let discovery = discovery(transport);
        assert_eq!(discovery.metadata().await.unwrap_err().kind(), ErrorKind::Unavailable);
        up.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(discovery.metadata().await.is_err());
        advance(Duration::from_secs(1)).await;
        discovery.metadata().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_server_is_given_up() {
        let transport = HttpTransport::new(service_fn(|_| {
            std::future::pending::<Result<Response<Bytes>, TransportError>>()
        }));
        let start = crate::clock::Moment::now(&SystemClock);
        let error = discovery(transport).metadata().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let waited = crate::clock::Moment::now(&SystemClock).since(start);
        assert!(waited < TIMEOUT + Duration::from_millis(500), "{waited:?}");
    }

    #[tokio::test]
    async fn d1_d7_issuer_is_compared_byte_for_byte() {
        for issuer in [
            "https://as.example.com/t1/",
            "https://AS.example.com/t1",
            "https://as.example.com:443/t1",
            "https://as.example.com/T1",
            "https://as.example.com/%741",
            "https://as.example.com",
            "",
        ] {
            let body = format!(r#"{{"issuer":"{issuer}"}}"#);
            let error = error(move |_| json(200, body.clone())).await;
            assert_eq!(error.kind(), ErrorKind::BadResponse, "{issuer}");
        }
        // JSON escapes are no part of the value.
        let escaped = metadata().replacen('/', "\\u002f", 2);
        discovery(server(move |_| json(200, escaped.clone())).0).metadata().await.unwrap();
    }

    #[tokio::test]
    async fn d3_metadata_is_one_strict_json_object() {
        let twice = metadata().replacen('{', r#"{"issuer":"https://evil.example.com","#, 1);
        for body in [
            "",
            "[]",
            "{}",
            "null",
            "{\"issuer\":7}",
            "{\"issuer\":[\"https://as.example.com/t1\"]}",
            &twice,
        ] {
            let body = body.to_owned();
            let error = error(move |_| json(200, body.clone())).await;
            assert_eq!(error.kind(), ErrorKind::BadResponse);
        }
        let error = error(|_| json(200, vec![b' '; LIMIT + 1])).await;
        assert_eq!(error.kind(), ErrorKind::BadResponse);
    }

    #[tokio::test]
    async fn the_error_that_says_most_is_the_one_told() {
        let other = error(|url| {
            if url == RFC8414 {
                json(200, r#"{"issuer":"https://x\u001b/"}"#)
            } else {
                json(404, "")
            }
        });
        let context = other.await.context().unwrap().to_owned();
        assert!(context.contains("the issuer \"https://x\\u{1b}/\""), "{context}");
        let down = error(|url| if url == RFC8414 { json(500, "") } else { json(404, "") });
        assert_eq!(down.await.kind(), ErrorKind::Unavailable);
    }

    #[cfg(all(feature = "jwt", feature = "_crypto", feature = "introspection"))]
    #[test]
    fn d4_endpoints_that_are_not_https_are_named_and_not_used() {
        let parse = |members: &str, loopback| {
            let text = format!(r#"{{"issuer":"{ISSUER}",{members}}}"#);
            Metadata::parse(text.as_bytes(), ISSUER, loopback).unwrap()
        };
        for url in [r#""http://as.example.com/""#, r#""http://127.0.0.1/""#, "7", "null", r#""/x""#]
        {
            let members = format!(
                r#""jwks_uri":{url},"introspection_endpoint":{url},
                   "mtls_endpoint_aliases":{{"introspection_endpoint":{url}}}"#
            );
            let metadata = parse(&members, false);
            for (error, name) in [
                (metadata.require_jwks_uri(), "`jwks_uri`"),
                (metadata.require_introspection_endpoint(false), "`introspection_endpoint`"),
                (metadata.require_introspection_endpoint(true), "`mtls_endpoint_aliases."),
            ] {
                let error = error.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::BadResponse, "{url}");
                assert!(error.context().unwrap().contains(name), "{error}");
            }
        }
        let local = parse(r#""jwks_uri":"http://127.0.0.1:1/","mtls_endpoint_aliases":[]"#, true);
        assert!(local.require_jwks_uri().is_ok());
        assert!(local.require_introspection_endpoint(false).is_err());
        assert!(local.require_introspection_endpoint(true).is_err());
    }

    #[cfg(feature = "introspection")]
    #[test]
    fn rfc8705_5_the_alias_is_for_clients_with_a_certificate() {
        let text = r#"{"issuer":"https://as.example.com/t1",
            "introspection_endpoint":"https://as.example.com/i",
            "mtls_endpoint_aliases":{"introspection_endpoint":"https://mtls.example.com/i"}}"#;
        let metadata = Metadata::parse(text.as_bytes(), ISSUER, false).unwrap();
        let endpoint =
            |mtls| metadata.require_introspection_endpoint(mtls).unwrap().uri().to_string();
        assert_eq!(endpoint(false), "https://as.example.com/i");
        assert_eq!(endpoint(true), "https://mtls.example.com/i");
    }

    #[tokio::test(start_paused = true)]
    async fn doubt_leads_to_few_fetches() {
        let (transport, seen) = server(|_| json(200, metadata()));
        let discovery = discovery(transport);
        discovery.metadata().await.unwrap();
        for _ in 0..1000 {
            discovery.doubt();
            tokio::task::yield_now().await;
        }
        assert_eq!(seen.lock().unwrap().len(), 2);
    }
}

//! Telling a service behind a reverse proxy whose request it is, in headers.

mod names;
mod value;

use http::{HeaderMap, HeaderName, HeaderValue};

use self::value::{Budget, Unfit};
use crate::{
    error::{config::ConfigError, kind::ErrorKind, refusal::VerifyError},
    field_names as fields,
    policy::verified::VerifiedToken,
};

/// How many bytes all values may take together, unless configured.
const DEFAULT_LIMIT: usize = 4 * 1024;

/// Which headers tell a service behind a proxy what was verified.
///
/// For an inner service that passes requests on to where a
/// [`VerifiedToken`] can't get. Handlers in the same process need no headers.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_introspect::{
///     IntrospectLayer, Policy, VerifyError, ErrorKind,
///     claims::Claims,
///     clock::{Moment, SystemClock},
///     layer::ForwardHeaders,
///     verify::{ActiveToken, Method, verify_fn},
/// };
///
/// let verifier = verify_fn(async |_| {
///     let claims = r#"{"sub": "alice", "aud": "https://api.example.com", "tenant": 7}"#;
///     let claims = Claims::from_json(claims.as_bytes())
///         .map_err(|_| VerifyError::new(ErrorKind::BadResponse))?;
///     let verified_at = Moment::now(&SystemClock);
///     Ok(ActiveToken::new("https://as.example.com", claims, Method::Custom, verified_at))
/// });
/// let headers = ForwardHeaders::new()
///     .issuer("x-auth-issuer")?
///     .subject("x-auth-subject")?
///     .scope("x-auth-scope")?
///     .claim("tenant", "x-auth-tenant")?;
/// let layer = IntrospectLayer::new(verifier, Policy::new("https://api.example.com"))
///     .forward(headers)
///     .remove_credentials();
///
/// let proxy = service_fn(async |request: Request<String>| {
///     assert_eq!(request.headers()["x-auth-issuer"], "https://as.example.com");
///     assert_eq!(request.headers()["x-auth-subject"], "alice");
///     assert_eq!(request.headers()["x-auth-tenant"], "7");
///     // The token says nothing of it, so nobody else does.
///     assert!(!request.headers().contains_key("x-auth-scope"));
///     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
/// });
/// # tokio_test::block_on(async {
/// let request = Request::get("/")
///     .header("authorization", "Bearer abc")
///     .header("x-auth-subject", "root")
///     .header("X_Auth_Scope", "admin")
///     .body(String::new())?;
/// assert_eq!(layer.layer(proxy).oneshot(request).await?.status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// # Ok::<(), tower_introspect::ConfigError>(())
/// ```
///
/// # What is sent
///
/// One value or none for each header. What is not visible ASCII is percent-encoded, and so are `%`
/// and `,`: percent-decoding gives back exactly the claim, and nobody can read a value as a list of
/// several. Of a scope, the spaces between its values stay. Values are marked sensitive, so that
/// they are not shown where headers are logged.
///
/// A claim that is absent or empty gives no header. One that can't be sent as configured, or that
/// does not fit into what is left of [`max_bytes`](Self::max_bytes), has the request refused with
/// 403: nothing is cut, and nothing silently left out.
///
/// # Security
///
/// What a client sends under one of these names is removed from every request, those without a
/// token included; and so is what it sends under a name that differs only in case or in what stands
/// between letters and digits, because CGI, WSGI and many frameworks take `X_Auth_Subject` for
/// `X-Auth-Subject`. The names are also taken out of `Connection`, by which a client could else
/// have a proxy drop them (RFC 9110 §7.6.1). Trailers are not looked at: what is behind must not
/// merge them into the headers.
///
/// Whoever can reach the service behind without coming through here can write these headers. A
/// subject is unique only within its issuer: with more than one, forward both.
#[derive(Clone, Debug)]
pub struct ForwardHeaders {
    entries: Vec<Entry>,
    limit: usize,
    always: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    header: HeaderName,
    source: Source,
}

/// What a header tells.
#[derive(Clone, Debug)]
enum Source {
    Issuer,
    Subject,
    Client,
    Scope,
    Claim(Box<str>),
    Json(Box<str>),
}

impl ForwardHeaders {
    /// Forwards nothing yet.
    ///
    /// ```
    /// use tower_introspect::layer::ForwardHeaders;
    ///
    /// assert!(ForwardHeaders::new().subject("x-auth-subject").is_ok());
    /// // Not for us to decide.
    /// assert!(ForwardHeaders::new().subject("host").is_err());
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new(), limit: DEFAULT_LIMIT, always: false }
    }

    /// Forwards the issuer that vouches for the token: the configured one, whatever the token says.
    ///
    /// # Errors
    ///
    /// If the name can't be the name of such a header, or is given twice. It can't be one that
    /// HTTP, proxies or authentication have a use for, nor end in `-bin`, which marks binary
    /// metadata of gRPC.
    pub fn issuer(self, header: &str) -> Result<Self, ConfigError> {
        self.with(Source::Issuer, "issuer", header)
    }

    /// Forwards the subject. Unique only within the issuer.
    ///
    /// # Errors
    ///
    /// As [`issuer`](Self::issuer).
    pub fn subject(self, header: &str) -> Result<Self, ConfigError> {
        self.with(Source::Subject, "subject", header)
    }

    /// Forwards the client that asked for the token.
    ///
    /// # Errors
    ///
    /// As [`issuer`](Self::issuer).
    pub fn client(self, header: &str) -> Result<Self, ConfigError> {
        self.with(Source::Client, "client", header)
    }

    /// Forwards what the token allows, space-delimited.
    ///
    /// # Errors
    ///
    /// As [`issuer`](Self::issuer).
    pub fn scope(self, header: &str) -> Result<Self, ConfigError> {
        self.with(Source::Scope, "scope", header)
    }

    /// Forwards the text of a claim that is a string, a number or a boolean, with all its digits.
    /// Where it is an array or an object the request is refused; `null` is no claim.
    ///
    /// # Errors
    ///
    /// As [`issuer`](Self::issuer).
    pub fn claim(self, name: &str, header: &str) -> Result<Self, ConfigError> {
        let source = match name {
            // There is one reading of these.
            "iss" => Source::Issuer,
            "sub" => Source::Subject,
            "client_id" => Source::Client,
            "scope" => Source::Scope,
            other => Source::Claim(other.into()),
        };
        self.with(source, &format!("claims.{name}"), header)
    }

    /// Forwards a claim of any type, as the JSON it is written in; a string with its quotes.
    ///
    /// # Errors
    ///
    /// As [`issuer`](Self::issuer).
    pub fn json(self, name: &str, header: &str) -> Result<Self, ConfigError> {
        self.with(Source::Json(name.into()), &format!("json.{name}"), header)
    }

    /// Sets how many bytes all values of a request may take together, encoded. 4 KiB by default.
    #[must_use]
    pub const fn max_bytes(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Sends an empty value where there is nothing to tell.
    ///
    /// For answers to a proxy that takes over the headers it finds, and would let those of the
    /// client stand where it finds none.
    #[must_use]
    pub const fn empty_if_absent(mut self) -> Self {
        self.always = true;
        self
    }

    /// Makes `headers` tell who the bearer of `token` is, or with `None` that it is nobody.
    ///
    /// [`IntrospectLayer::forward`](super::IntrospectLayer::forward) does this to each request. By
    /// itself it is for services that ask about a request instead of passing it on, and get the
    /// headers with the answer: see the example `forward_auth`. Such a service must not answer in gRPC,
    /// whose refusals have the status 200: take `Content-Type` off what it is asked.
    ///
    /// # Errors
    ///
    /// [`Denied`](ErrorKind::Denied) if a claim can't be sent. Nothing of `token` is in `headers`
    /// then, and nothing that was there under these names before.
    pub fn apply(
        &self,
        token: Option<&VerifiedToken>,
        headers: &mut HeaderMap,
    ) -> Result<(), VerifyError> {
        self.clear(headers);
        token.map_or(Ok(()), |token| self.fill(token, headers))
    }

    /// Makes `headers` tell of nobody.
    pub(super) fn clear(&self, headers: &mut HeaderMap) {
        fields::remove(headers, |name| {
            self.entries.iter().any(|entry| fields::alike(entry.header.as_str().as_bytes(), name))
        });
        if self.always {
            for entry in &self.entries {
                // A map that is full holds none of these either way.
                let _ = headers.try_insert(&entry.header, HeaderValue::from_static(""));
            }
        }
    }

    /// Makes `headers`, which were cleared, tell of `token`.
    pub(super) fn fill(
        &self,
        token: &VerifiedToken,
        headers: &mut HeaderMap,
    ) -> Result<(), VerifyError> {
        let mut budget = Budget::new(self.limit);
        let values = self.entries.iter().map(|entry| entry.source.value(token, &mut budget));
        // All of them, or none.
        let values: Vec<_> = values.collect::<Result<_, _>>().map_err(|Unfit| unfit())?;
        for (entry, value) in self.entries.iter().zip(values) {
            let Some(value) = value else { continue };
            if headers.try_insert(&entry.header, value).is_err() {
                self.clear(headers);
                return Err(unfit());
            }
        }
        Ok(())
    }

    fn with(mut self, source: Source, what: &str, header: &str) -> Result<Self, ConfigError> {
        let mut problems = ConfigError::new();
        match names::parse(header) {
            Ok(header) => {
                let name = header.as_str().as_bytes();
                let alike = |entry: &Entry| fields::alike(entry.header.as_str().as_bytes(), name);
                if self.entries.iter().any(alike) {
                    problems.push(what, format!("`{header}` tells something else already"));
                }
                self.entries.push(Entry { header, source });
            }
            Err(problem) => problems.push(what, problem),
        }
        problems.or_ok(self)
    }
}

impl Default for ForwardHeaders {
    fn default() -> Self {
        Self::new()
    }
}

impl Source {
    fn value(
        &self,
        token: &VerifiedToken,
        budget: &mut Budget,
    ) -> Result<Option<HeaderValue>, Unfit> {
        match self {
            Self::Issuer => budget.text(token.issuer()),
            Self::Subject => budget.text(token.subject().unwrap_or_default()),
            Self::Client => budget.text(&token.client_id().unwrap_or_default()),
            Self::Scope => budget.words(token.scope().as_str()),
            Self::Json(name) => budget.text(token.claims().raw(name).unwrap_or_default()),
            Self::Claim(name) => match token.claims().raw(name) {
                None | Some("null") => Ok(None),
                Some(raw) if raw.starts_with(['[', '{']) => Err(Unfit),
                Some(raw) if raw.starts_with('"') => {
                    budget.text(&token.claims().string(name).ok_or(Unfit)?)
                }
                Some(raw) => budget.text(raw),
            },
        }
    }
}

fn unfit() -> VerifyError {
    VerifyError::new(ErrorKind::Denied)
        .with_context("a claim does not fit into the header that is to tell it")
}

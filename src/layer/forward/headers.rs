//! The headers that carry verified claims to the inner service.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    names,
    value::{Budget, Unsendable},
};
use crate::{
    error::{config::ConfigError, kind::ErrorKind, refusal::VerifyError},
    field_names as fields,
    policy::verified_token::VerifiedToken,
};

/// The default limit on the total size of all values, in bytes.
const DEFAULT_LIMIT: usize = 4 * 1024;

/// The request headers that carry verified claims to a service behind a proxy.
///
/// Use it with an inner service that passes requests on to another process, where no
/// [`VerifiedToken`] is available. Handlers in the same process need no headers.
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
/// // The token has no scope, so the header of the client is removed and not replaced.
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
/// # Values
///
/// Each header gets one value or none. All bytes other than visible ASCII are percent-encoded, and
/// so are `%` and `,`. Percent-decoding gives back exactly the claim, and no value can be read as a
/// list of several. In a scope, the spaces between its values are kept. Values are marked
/// sensitive, so that logs of headers do not show them.
///
/// A claim that is absent or empty gives no header. The request is refused with 403 if a claim
/// can't be sent as configured, or does not fit into the rest of [`max_bytes`](Self::max_bytes).
/// Values are never truncated, and headers are never left out silently.
///
/// # Security
///
/// Headers of these names that a client sends are removed from every request, including requests
/// without a token. So are headers whose names differ only in case or in the characters between
/// letters and digits, because CGI, WSGI and many frameworks read `X_Auth_Subject` as
/// `X-Auth-Subject`. The names are also removed from `Connection`; otherwise a client could make a
/// proxy drop the headers (RFC 9110 §7.6.1). Trailers are not examined: the service behind must not
/// merge them into the headers.
///
/// Anyone who can reach the service behind without passing this layer can write these headers. A
/// subject is unique only within its issuer: with more than one issuer, forward both.
#[derive(Clone, Debug)]
pub struct ForwardHeaders {
    entries: Vec<Entry>,
    limit: usize,
    send_empty: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    header: HeaderName,
    source: Source,
}

/// The claim that a header carries.
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
    /// Creates an empty set of headers.
    ///
    /// ```
    /// use tower_introspect::layer::ForwardHeaders;
    ///
    /// assert!(ForwardHeaders::new().subject("x-auth-subject").is_ok());
    /// // HTTP has a use for this name.
    /// assert!(ForwardHeaders::new().subject("host").is_err());
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new(), limit: DEFAULT_LIMIT, send_empty: false }
    }

    /// Forwards the issuer of the token: the configured issuer, whatever the token itself claims.
    ///
    /// # Errors
    ///
    /// Returns an error if the header name is invalid or is given twice. Names that HTTP, proxies
    /// or authentication use are invalid, and so are names that end in `-bin`, which marks binary
    /// metadata in gRPC.
    pub fn issuer(self, header: &str) -> Result<Self, ConfigError> {
        self.insert(Source::Issuer, "issuer", header)
    }

    /// Forwards the subject. A subject is unique only within its issuer.
    ///
    /// # Errors
    ///
    /// The same as for [`issuer`](Self::issuer).
    pub fn subject(self, header: &str) -> Result<Self, ConfigError> {
        self.insert(Source::Subject, "subject", header)
    }

    /// Forwards the identifier of the client that the token was issued to.
    ///
    /// # Errors
    ///
    /// The same as for [`issuer`](Self::issuer).
    pub fn client(self, header: &str) -> Result<Self, ConfigError> {
        self.insert(Source::Client, "client", header)
    }

    /// Forwards the scope of the token, space-delimited.
    ///
    /// # Errors
    ///
    /// The same as for [`issuer`](Self::issuer).
    pub fn scope(self, header: &str) -> Result<Self, ConfigError> {
        self.insert(Source::Scope, "scope", header)
    }

    /// Forwards the text of a claim that is a string, a number or a boolean.
    ///
    /// Numbers keep all their digits. The request is refused if the claim is an array or an object.
    /// A claim that is `null` counts as absent.
    ///
    /// # Errors
    ///
    /// The same as for [`issuer`](Self::issuer).
    pub fn claim(self, name: &str, header: &str) -> Result<Self, ConfigError> {
        let source = match name {
            // These claims are forwarded exactly as by the methods of their own.
            "iss" => Source::Issuer,
            "sub" => Source::Subject,
            "client_id" => Source::Client,
            "scope" => Source::Scope,
            other => Source::Claim(other.into()),
        };
        self.insert(source, &format!("claims.{name}"), header)
    }

    /// Forwards a claim of any type as JSON text, as the issuer wrote it. A string keeps its
    /// quotes.
    ///
    /// # Errors
    ///
    /// The same as for [`issuer`](Self::issuer).
    pub fn json(self, name: &str, header: &str) -> Result<Self, ConfigError> {
        self.insert(Source::Json(name.into()), &format!("json.{name}"), header)
    }

    /// Sets the limit on the total encoded size of all values, in bytes. Default: 4 KiB.
    #[must_use]
    pub const fn max_bytes(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Sends an empty value for each claim that is absent.
    ///
    /// Use it for responses to a proxy that copies the headers it finds into the request of the
    /// client. Without a value, the header that the client sent would stay in place.
    #[must_use]
    pub const fn empty_if_absent(mut self) -> Self {
        self.send_empty = true;
        self
    }

    /// Sets the headers to the claims of `token`, or clears them if there is no token.
    ///
    /// [`IntrospectLayer::forward`](crate::IntrospectLayer::forward) does this to each request.
    /// Call it directly in a service that decides about requests for a proxy and returns the
    /// headers in its response, as the program `forward-auth` does. Such a service must not refuse in
    /// gRPC, because gRPC refusals have the status 200: give its layers the responder
    /// [`HttpOnly`](crate::respond::HttpOnly).
    ///
    /// # Errors
    ///
    /// Returns [`Denied`](ErrorKind::Denied) if a claim can't be sent. `headers` then holds nothing
    /// of `token`, and no earlier values under these names.
    pub fn apply(
        &self,
        token: Option<&VerifiedToken>,
        headers: &mut HeaderMap,
    ) -> Result<(), VerifyError> {
        self.clear(headers);
        token.map_or(Ok(()), |token| self.fill(token, headers))
    }

    /// Removes the headers, or sets them to the empty value if so configured.
    pub(crate) fn clear(&self, headers: &mut HeaderMap) {
        fields::remove(headers, |name| {
            self.entries
                .iter()
                .any(|entry| fields::may_be_confused(entry.header.as_str().as_bytes(), name))
        });
        if self.send_empty {
            for entry in &self.entries {
                // A full map drops the empty value. The value of the client is removed already.
                let _ = headers.try_insert(&entry.header, HeaderValue::from_static(""));
            }
        }
    }

    /// Writes the claims of `token` into `headers`, which must be cleared.
    pub(crate) fn fill(
        &self,
        token: &VerifiedToken,
        headers: &mut HeaderMap,
    ) -> Result<(), VerifyError> {
        let mut budget = Budget::new(self.limit);
        let values = self.entries.iter().map(|entry| entry.source.value(token, &mut budget));
        // Computes all values before any is inserted, so that an error leaves no header behind.
        let values: Vec<_> = values.collect::<Result<_, _>>().map_err(|Unsendable| unsendable())?;
        for (entry, value) in self.entries.iter().zip(values) {
            let Some(value) = value else { continue };
            if headers.try_insert(&entry.header, value).is_err() {
                self.clear(headers);
                return Err(unsendable());
            }
        }
        Ok(())
    }

    fn insert(mut self, source: Source, setting: &str, header: &str) -> Result<Self, ConfigError> {
        let mut problems = ConfigError::new();
        match names::parse(header) {
            Ok(header) => {
                let name = header.as_str().as_bytes();
                let alike =
                    |entry: &Entry| fields::may_be_confused(entry.header.as_str().as_bytes(), name);
                if self.entries.iter().any(alike) {
                    problems.push(setting, format!("`{header}` is used for another claim already"));
                }
                self.entries.push(Entry { header, source });
            }
            Err(problem) => problems.push(setting, problem),
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
    ) -> Result<Option<HeaderValue>, Unsendable> {
        match self {
            Self::Issuer => budget.text(token.issuer()),
            Self::Subject => budget.text(token.subject().unwrap_or_default()),
            Self::Client => budget.text(&token.client_id().unwrap_or_default()),
            Self::Scope => budget.scope(token.scope().as_str()),
            Self::Json(name) => budget.text(token.claims().raw(name).unwrap_or_default()),
            Self::Claim(name) => match token.claims().raw(name) {
                None | Some("null") => Ok(None),
                Some(raw) if raw.starts_with(['[', '{']) => Err(Unsendable),
                Some(raw) if raw.starts_with('"') => {
                    budget.text(&token.claims().string(name).ok_or(Unsendable)?)
                }
                Some(raw) => budget.text(raw),
            },
        }
    }
}

fn unsendable() -> VerifyError {
    VerifyError::new(ErrorKind::Denied)
        .with_context("a claim can't be sent in its header")
        .with_unmet_requirement("claims that can be sent in their headers")
}

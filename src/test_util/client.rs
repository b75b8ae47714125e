use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};

use super::{
    answer::Refusal,
    assertion,
    fault::Endpoint,
    form::{self, Form},
    state::State,
};
use crate::jwt::keys::KeySet;

/// A client that is registered at the [`AuthorizationServer`](super::AuthorizationServer).
///
/// It requests tokens, or is a resource server that introspects them.
///
/// ```
/// use tower_introspect::test_util::{AuthorizationServer, Client};
///
/// let server = AuthorizationServer::new("https://as.example.com")
///     .with_client(Client::new("api", "s3cret"))
///     .with_client(Client::new("app", "pa55").with_scope("read write").with_jwt_access_tokens());
/// # let _ = server;
/// ```
#[derive(Clone)]
pub struct Client {
    id: String,
    credential: Credential,
    scope: Option<String>,
    audience: Option<String>,
    jwt: bool,
}

#[derive(Clone)]
enum Credential {
    Assertions(KeySet),
    Bearer(String),
    Mtls,
    Secret(String),
}

impl Client {
    /// Creates a client that authenticates with a secret.
    ///
    /// It may send the secret by `client_secret_basic` or `client_secret_post` (RFC 6749 §2.3.1).
    #[must_use]
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self::with_credential(id.into(), Credential::Secret(secret.into()))
    }

    /// Creates a client that authenticates with assertions signed by one of `keys`.
    ///
    /// The method is `private_key_jwt`, or `client_secret_jwt` if the key is a secret (RFC 7523
    /// §2.2, OpenID Connect Core 1.0 §9). An assertion is accepted once. Its only audience must be
    /// the issuer or the endpoint it is sent to, and it may be valid for five minutes at most.
    #[must_use]
    pub fn assertions(id: impl Into<String>, keys: KeySet) -> Self {
        Self::with_credential(id.into(), Credential::Assertions(keys))
    }

    /// Creates a client that authenticates by `token` in `Authorization: Bearer` (RFC 7662 §2.1).
    #[must_use]
    pub fn bearer(id: impl Into<String>, token: impl Into<String>) -> Self {
        Self::with_credential(id.into(), Credential::Bearer(token.into()))
    }

    /// Creates a client that authenticates by its certificate and sends only its identifier (RFC
    /// 8705 §2).
    ///
    /// This server sees no certificate and trusts the identifier.
    #[must_use]
    pub fn mtls(id: impl Into<String>) -> Self {
        Self::with_credential(id.into(), Credential::Mtls)
    }

    /// Sets the scope that the client may request. Default: any scope.
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Sets the audience of its tokens for requests that name none.
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Issues JWTs (RFC 9068) to the client. By default its access tokens are opaque.
    #[must_use]
    pub const fn with_jwt_access_tokens(mut self) -> Self {
        self.jwt = true;
        self
    }

    /// Returns the identifier.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    pub(super) fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    pub(super) const fn wants_jwt(&self) -> bool {
        self.jwt
    }

    const fn with_credential(id: String, credential: Credential) -> Self {
        Self { id, credential, scope: None, audience: None, jwt: false }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Authenticates the client that sends a request.
///
/// # Errors
///
/// Returns an error if the request has no credentials, wrong credentials, or more than one kind of
/// credentials (RFC 6749 §2.3).
pub(super) fn authenticate(
    state: &mut State,
    endpoint: Endpoint,
    headers: &HeaderMap,
    form: &Form,
) -> Result<Client, Refusal> {
    let shown = Shown::find(headers, form)?;
    if let Shown::Assertion(text) = &shown {
        return assert(state, endpoint, text, form.get("client_id"));
    }
    let client =
        state.clients.iter().find(|client| shown.is_by(client)).ok_or(Refusal::InvalidClient)?;
    if form.get("client_id").is_some_and(|id| id != client.id) {
        return Err(Refusal::invalid_request("client_id is of another client"));
    }
    Ok(client.clone())
}

/// Authenticates a client by its assertion, and marks the assertion as used.
fn assert(
    state: &mut State,
    endpoint: Endpoint,
    text: &str,
    client_id: Option<&str>,
) -> Result<Client, Refusal> {
    let id = assertion::claimed(text).ok_or(Refusal::InvalidClient)?;
    let client = state.clients.iter().find(|client| client.id == id);
    let client = client.ok_or(Refusal::InvalidClient)?.clone();
    let Credential::Assertions(keys) = &client.credential else {
        return Err(Refusal::InvalidClient);
    };
    if client_id.is_some_and(|shown| shown != id) {
        return Err(Refusal::invalid_request("client_id is of another client"));
    }
    let url = state.url(endpoint);
    let audiences = [&*state.issuer, &*url];
    let jti = assertion::check(text, keys, &id, &audiences, state.clock.now());
    let jti = jti.ok_or(Refusal::InvalidClient)?;
    if !state.assertions.insert((id, jti)) {
        return Err(Refusal::InvalidClient);
    }
    Ok(client)
}

/// The client credentials of a request.
enum Shown {
    Assertion(String),
    Bearer(String),
    Id(String),
    Secret { id: String, secret: String },
}

impl Shown {
    fn find(headers: &HeaderMap, form: &Form) -> Result<Self, Refusal> {
        let mut authorization = headers.get_all(header::AUTHORIZATION).iter();
        let header = authorization.next();
        if authorization.next().is_some() {
            return Err(Refusal::invalid_request("two Authorization headers"));
        }
        let param = |name| form.get(name).map(str::to_owned);
        let (id, secret, assertion) =
            (param("client_id"), param("client_secret"), param("client_assertion"));
        let ways = [header.is_some(), secret.is_some(), assertion.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err(Refusal::invalid_request("two ways of client authentication"));
        }
        if assertion.is_some() != (form.get("client_assertion_type") == Some(assertion::TYPE)) {
            return Err(Refusal::invalid_request("not the type of assertion that is known"));
        }
        match (header, assertion, id, secret) {
            (Some(value), ..) => value
                .to_str()
                .ok()
                .and_then(Self::read)
                .ok_or_else(|| Refusal::invalid_request("unreadable Authorization header")),
            (None, Some(assertion), ..) => Ok(Self::Assertion(assertion)),
            (None, None, Some(id), Some(secret)) => Ok(Self::Secret { id, secret }),
            (None, None, Some(id), None) => Ok(Self::Id(id)),
            (None, None, None, _) => Err(Refusal::InvalidClient),
        }
    }

    fn read(header: &str) -> Option<Self> {
        let (scheme, credentials) = header.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(credentials.into()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
        let (id, secret) = pair.split_once(':')?;
        // Both are form-encoded before they are joined (RFC 6749 §2.3.1).
        Some(Self::Secret { id: form::decode(id)?, secret: form::decode(secret)? })
    }

    fn is_by(&self, client: &Client) -> bool {
        match (self, &client.credential) {
            (Self::Bearer(shown), Credential::Bearer(token)) => shown == token,
            (Self::Id(id), Credential::Mtls) => *id == client.id,
            (Self::Secret { id, secret }, Credential::Secret(own)) => {
                *id == client.id && secret == own
            }
            _ => false,
        }
    }
}

use std::fmt;

use super::signals::delivery::is_http_url;
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
    pub(super) id: String,
    pub(super) credential: Credential,
    pub(super) scope: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) logout_url: Option<String>,
    /// True if its access tokens are JWTs.
    pub(super) jwt: bool,
}

/// How a client authenticates.
#[derive(Clone)]
pub(super) enum Credential {
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

    /// Sets the URL to which logout tokens are sent (OpenID Connect Back-Channel Logout 1.0 §2.2).
    ///
    /// See [`AuthorizationServer::deliveries`](super::AuthorizationServer::deliveries).
    ///
    /// # Panics
    ///
    /// Panics if `url` is not an HTTP URL.
    #[must_use]
    pub fn with_logout_url(mut self, url: &str) -> Self {
        assert!(is_http_url(url), "the logout URL must be an HTTP URL");
        self.logout_url = Some(url.to_owned());
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

    const fn with_credential(id: String, credential: Credential) -> Self {
        Self { id, credential, scope: None, audience: None, logout_url: None, jwt: false }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

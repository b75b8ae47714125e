//! The credentials of this service at the introspection endpoint.

use std::{fmt, path::PathBuf, sync::Arc};

#[cfg(feature = "jwt")]
use super::assertion::Assertion;
use super::auth_method::{AuthMethod, Encoding};
#[cfg(feature = "jwt")]
use crate::jose::signing::SigningKey;
use crate::{error::config::ConfigError, refresh::from_files::FromFiles, telemetry::events};

/// The credentials of this service at the introspection endpoint (RFC 7662 §2.1).
///
/// Secrets are wiped from memory when the last clone is dropped, and no `Debug` output shows them.
/// Invalid identifiers and secrets are reported when the verifier is built.
///
/// Most constructors take credentials that stay the same. Those of [`renewed`](Self::renewed) are read
/// again when their files change.
///
/// ```
/// use tower_introspect::ClientAuth;
///
/// let auth = ClientAuth::basic("api", "correct horse");
/// assert!(!format!("{auth:?}").contains("horse"));
/// ```
#[derive(Clone)]
pub struct ClientAuth {
    /// The first method. Later ones differ in secrets and keys only.
    pub(super) method: Arc<AuthMethod>,
    files: Option<FromFiles<Arc<AuthMethod>>>,
}

impl ClientAuth {
    /// Creates credentials with a client secret, sent by a method that the server offers.
    ///
    /// The methods are `client_secret_basic`, else `client_secret_post`, else `client_secret_jwt`,
    /// as the server's metadata lists them (RFC 8414 §2,
    /// `introspection_endpoint_auth_methods_supported`).
    ///
    /// Uses `client_secret_basic` if the metadata lists no methods, or if the endpoint is
    /// [configured](super::IntrospectionVerifierBuilder::endpoint). If the server offers none of
    /// the three, the secret is never sent, and verification fails with
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured).
    ///
    /// ```
    /// # use tower_introspect::ClientAuth;
    /// let auth = ClientAuth::secret("api", "correct horse");
    /// # let _ = auth;
    /// ```
    #[must_use]
    pub fn secret(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self::new(AuthMethod::secret(id.into(), secret.into()))
    }

    /// Creates credentials for `client_secret_basic`: identifier and secret as HTTP Basic
    /// credentials.
    ///
    /// Both are form-encoded first, as RFC 6749 §2.3.1 demands. Some servers never decode them. For
    /// those, use [`basic_raw`](Self::basic_raw) if either has characters other than letters,
    /// digits and `*-._`.
    ///
    /// ```
    /// # use tower_introspect::ClientAuth;
    /// let auth = ClientAuth::basic("api", "secret");
    /// # let _ = auth;
    /// ```
    #[must_use]
    pub fn basic(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self::new(AuthMethod::basic(id.into(), secret.into(), Encoding::Form))
    }

    /// Creates credentials for `client_secret_basic` at servers that do not decode: identifier and
    /// secret are sent without encoding.
    ///
    /// The identifier must not have a colon.
    ///
    /// ```
    /// # use tower_introspect::ClientAuth;
    /// let auth = ClientAuth::basic_raw("api", "100% secret");
    /// # let _ = auth;
    /// ```
    #[must_use]
    pub fn basic_raw(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self::new(AuthMethod::basic(id.into(), secret.into(), Encoding::Raw))
    }

    /// Creates credentials for `client_secret_post`: identifier and secret in the body (RFC 6749
    /// §2.3.1).
    ///
    /// ```
    /// # use tower_introspect::ClientAuth;
    /// let auth = ClientAuth::post("api", "secret");
    /// # let _ = auth;
    /// ```
    #[must_use]
    pub fn post(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self::new(AuthMethod::Post { id: id.into().into(), secret: secret.into().into() })
    }

    /// Creates credentials for `tls_client_auth` and `self_signed_tls_client_auth` (RFC 8705 §2):
    /// the identifier in the body.
    ///
    /// The [transport](crate::transport::HttpTransport) presents the certificate and must be set up
    /// for it: see [`RenewedTransport`](crate::transport::RenewedTransport). Unless the endpoint is
    /// [configured](super::IntrospectionVerifierBuilder::endpoint), the one among the
    /// `mtls_endpoint_aliases` of the server's metadata is used, if there is one (RFC 8705 §5).
    ///
    /// ```
    /// # use tower_introspect::ClientAuth;
    /// let auth = ClientAuth::mtls("api");
    /// # let _ = auth;
    /// ```
    #[must_use]
    pub fn mtls(id: impl Into<String>) -> Self {
        Self::new(AuthMethod::Mtls { id: id.into().into() })
    }

    /// Creates credentials with an access token that was issued to this service, sent as a bearer
    /// token (RFC 7662 §2.1).
    ///
    /// ```
    /// # use tower_introspect::ClientAuth;
    /// let auth = ClientAuth::bearer("23410913-abewfq.123483");
    /// # let _ = auth;
    /// ```
    #[must_use]
    pub fn bearer(token: impl Into<String>) -> Self {
        Self::new(AuthMethod::Bearer { token: token.into().into() })
    }

    /// Sends no credentials, for an endpoint that expects none, such as that of the admin port of Ory
    /// Hydra.
    ///
    /// # Security
    ///
    /// RFC 7662 §2.1 demands that the endpoint authorizes its callers, so that nobody can try tokens
    /// there (§4). Without credentials only the network keeps others out. Let this service alone
    /// reach the endpoint.
    ///
    /// ```
    /// use tower_introspect::{ClientAuth, Issuer};
    ///
    /// let issuer = Issuer::introspect("https://hydra.example.com/", ClientAuth::danger_none())
    ///     .configure_introspection(|remote| {
    ///         remote.endpoint("https://hydra-admin.internal/admin/oauth2/introspect")
    ///     });
    /// # let _ = issuer;
    /// ```
    #[must_use]
    pub fn danger_none() -> Self {
        Self::new(AuthMethod::None)
    }

    /// Creates credentials for `private_key_jwt`: an assertion signed by a key of this service
    /// (RFC 7523 §2.2).
    ///
    /// Each request carries a new assertion, valid for 60 seconds. Its audience is the issuer
    /// identifier of the server, unless [`assertion_audience`](Self::assertion_audience) sets
    /// another.
    ///
    /// ```
    /// use tower_introspect::{ClientAuth, jose::{Algorithm, SigningKey}};
    ///
    /// let pem = b"-----BEGIN PRIVATE KEY-----\n\
    ///     MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    ///     -----END PRIVATE KEY-----\n";
    /// let key = SigningKey::from_pem(Algorithm::EdDSA, pem)?.with_kid("2026");
    /// let auth = ClientAuth::private_key_jwt("api", key);
    /// # let _ = auth;
    /// # Ok::<(), tower_introspect::jose::KeyError>(())
    /// ```
    #[cfg(feature = "jwt")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    #[must_use]
    pub fn private_key_jwt(id: impl Into<String>, key: SigningKey) -> Self {
        Self::new(AuthMethod::Assertion(Assertion::private(id.into(), key)))
    }

    /// Creates credentials for `client_secret_jwt`: an assertion with an HS256 MAC by the client
    /// secret (OpenID Connect Core 1.0 §9).
    ///
    /// The secret must have at least 32 bytes (RFC 7518 §3.2).
    ///
    /// ```
    /// # use tower_introspect::ClientAuth;
    /// let auth = ClientAuth::client_secret_jwt("api", "a secret of 32 characters or more");
    /// # let _ = auth;
    /// ```
    #[cfg(feature = "jwt")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    #[must_use]
    pub fn client_secret_jwt(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self::new(AuthMethod::Assertion(Assertion::shared(id.into(), secret.into())))
    }

    /// Sets the audience of client assertions, for servers that expect the URL of an endpoint
    /// instead of their issuer identifier.
    ///
    /// Has no effect on other credentials, which have no audience.
    ///
    /// ```
    /// # use tower_introspect::ClientAuth;
    /// let auth = ClientAuth::client_secret_jwt("api", "a secret of 32 characters or more")
    ///     .assertion_audience("https://as.example.com/token");
    /// # let _ = auth;
    /// ```
    #[cfg(feature = "jwt")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    #[must_use]
    pub fn assertion_audience(mut self, audience: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.method).set_assertion_audience(audience.into());
        self
    }

    /// Creates credentials with `make`, and calls `make` again when one of `files` has changed.
    ///
    /// A rotated secret is then used without a restart. A request that comes a minute or more after
    /// the last check starts a check of the files, as with a
    /// [`RenewedTransport`](crate::transport::RenewedTransport). If a later call of `make` fails or
    /// panics, or if it returns another method or another client identifier, the previous
    /// credentials stay in use, and the next attempt follows a minute later.
    ///
    /// Set the audience of assertions within `make`. On the result
    /// `assertion_audience` has no effect.
    ///
    /// ```no_run
    /// use tower_introspect::{ClientAuth, ConfigError};
    ///
    /// const FILE: &str = "/run/secrets/api";
    ///
    /// let auth = ClientAuth::renewed([FILE], || {
    ///     let secret = std::fs::read_to_string(FILE).map_err(|error| {
    ///         let mut problems = ConfigError::new();
    ///         problems.push("secret", error);
    ///         problems
    ///     })?;
    ///     Ok(ClientAuth::secret("api", secret.trim_end()))
    /// })?;
    /// # let _ = auth;
    /// # Ok::<(), ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the first call of `make`. Later errors are reported as the event
    /// `credentials could not be read again`.
    pub fn renewed<P, F>(files: impl IntoIterator<Item = P>, make: F) -> Result<Self, ConfigError>
    where
        P: Into<PathBuf>,
        F: Fn() -> Result<Self, ConfigError> + Send + Sync + 'static,
    {
        let make = move |previous: Option<&Arc<AuthMethod>>| {
            let method = make()?.method;
            let mut problems = ConfigError::new();
            // The first is checked with the verifier that it is made for. The endpoint and the
            // expected responses depend on its name and identifier.
            if let Some(previous) = previous {
                method.check(&mut problems);
                let kind =
                    |method: &AuthMethod| (method.name(), method.client_id().map(str::to_owned));
                if kind(&method) != kind(previous) {
                    problems.push("client_auth", "another method or another client identifier");
                }
            }
            problems.or_ok(method)
        };
        let files = FromFiles::new(files, make, events::credentials_renewed)?;
        Ok(Self { method: files.unchecked(), files: Some(files) })
    }

    /// Returns the method with the credentials to use now.
    pub(crate) async fn current(&self) -> Arc<AuthMethod> {
        match &self.files {
            Some(files) => files.clone().current().await,
            None => Arc::clone(&self.method),
        }
    }

    /// Adds the problems with the credentials to `problems`.
    pub(crate) fn check(&self, problems: &mut ConfigError) {
        self.method.check(problems);
    }

    fn new(method: AuthMethod) -> Self {
        Self { method: Arc::new(method), files: None }
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuth")
            .field("method", &self.method.name())
            .field("client_id", &self.method.client_id())
            .finish_non_exhaustive()
    }
}

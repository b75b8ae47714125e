//! The credentials of this service at the introspection endpoint.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use secrecy::{ExposeSecret as _, SecretString};

#[cfg(feature = "jwt")]
use super::assertion::Assertion;
use super::form::{self, Form};
#[cfg(feature = "jwt")]
use crate::jose::signing::SigningKey;
use crate::{
    clock::UnixTime,
    credentials::token::Token,
    error::{config::ConfigError, kind::ErrorKind, refusal::VerifyError},
    transport::discovery::methods::AuthMethods,
};

/// The credentials of this service at the introspection endpoint (RFC 7662 §2.1).
///
/// Secrets are wiped from memory when the last clone is dropped, and no `Debug` output shows them.
/// Invalid identifiers and secrets are reported when the verifier is built.
///
/// ```
/// use tower_introspect::ClientAuth;
///
/// let auth = ClientAuth::basic("api", "correct horse");
/// assert!(!format!("{auth:?}").contains("horse"));
/// ```
#[derive(Clone)]
pub struct ClientAuth(Arc<Means>);

enum Means {
    #[cfg(feature = "jwt")]
    Assertion(Assertion),
    Basic {
        id: Box<str>,
        secret: SecretString,
        encoding: Encoding,
    },
    Bearer {
        token: SecretString,
    },
    Mtls {
        id: Box<str>,
    },
    Post {
        id: Box<str>,
        secret: SecretString,
    },
    /// A client secret, sent by a method that the server offers.
    Secret(Box<AnyMethod>),
}

/// A client secret, prepared for each method.
struct AnyMethod {
    basic: ClientAuth,
    post: ClientAuth,
    #[cfg(feature = "jwt")]
    assertion: ClientAuth,
}

/// The encoding of the two parts of Basic credentials before they are joined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Form,
    Raw,
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
    /// [`Misconfigured`](ErrorKind::Misconfigured).
    ///
    /// ```
    /// # use tower_introspect::ClientAuth;
    /// let auth = ClientAuth::secret("api", "correct horse");
    /// # let _ = auth;
    /// ```
    #[must_use]
    pub fn secret(id: impl Into<String>, secret: impl Into<String>) -> Self {
        let (id, secret) = (id.into(), secret.into());
        Self::of(Means::Secret(Box::new(AnyMethod {
            #[cfg(feature = "jwt")]
            assertion: Self::client_secret_jwt(id.clone(), secret.clone()),
            basic: Self::basic(id.clone(), secret.clone()),
            post: Self::post(id, secret),
        })))
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
        Self::with_basic(id.into(), secret.into(), Encoding::Form)
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
        Self::with_basic(id.into(), secret.into(), Encoding::Raw)
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
        Self::of(Means::Post { id: id.into().into(), secret: secret.into().into() })
    }

    /// Creates credentials for `tls_client_auth` and `self_signed_tls_client_auth` (RFC 8705 §2):
    /// the identifier in the body.
    ///
    /// The [transport](crate::transport::HttpTransport) presents the certificate and must be set up for
    /// it: see [`RenewedTransport`](crate::transport::RenewedTransport). Unless the endpoint is
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
        Self::of(Means::Mtls { id: id.into().into() })
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
        Self::of(Means::Bearer { token: token.into().into() })
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
        Self::of(Means::Assertion(Assertion::private(id.into(), key)))
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
        Self::of(Means::Assertion(Assertion::shared(id.into(), secret.into())))
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
    pub fn assertion_audience(self, audience: impl Into<String>) -> Self {
        match &*self.0 {
            Means::Assertion(assertion) => {
                Self::of(Means::Assertion(assertion.clone().meant_for(audience.into())))
            }
            Means::Secret(any) => Self::of(Means::Secret(Box::new(AnyMethod {
                basic: any.basic.clone(),
                post: any.post.clone(),
                assertion: any.assertion.clone().assertion_audience(audience),
            }))),
            _ => self,
        }
    }

    fn with_basic(id: String, secret: String, encoding: Encoding) -> Self {
        Self::of(Means::Basic { id: id.into(), secret: secret.into(), encoding })
    }

    fn of(means: Means) -> Self {
        Self(Arc::new(means))
    }

    /// Adds the problems with the credentials to `problems`.
    pub(super) fn check(&self, problems: &mut ConfigError) {
        match &*self.0 {
            #[cfg(feature = "jwt")]
            Means::Assertion(assertion) => {
                check_id(assertion.id(), problems);
                assertion.check(problems);
            }
            Means::Basic { id, secret, encoding } => {
                check_id(id, problems);
                check_secret(secret, problems);
                if *encoding == Encoding::Raw && id.contains(':') {
                    problems.push("client_auth", "a raw client identifier can't hold a colon");
                }
            }
            Means::Bearer { token } => {
                if Token::bearer(token.expose_secret()).is_none() {
                    problems.push("client_auth", "not a bearer token");
                }
            }
            Means::Mtls { id } => check_id(id, problems),
            Means::Post { id, secret } => {
                check_id(id, problems);
                check_secret(secret, problems);
            }
            // The secret may be too short for an assertion. That matters only if one is created.
            Means::Secret(any) => {
                any.post.check(problems);
                #[cfg(feature = "jwt")]
                if let Means::Assertion(assertion) = &*any.assertion.0 {
                    assertion.check_audience(problems);
                }
            }
        }
    }

    /// Returns these credentials for a method that the server offers.
    pub(super) fn for_server(&self, methods: &AuthMethods) -> Result<&Self, VerifyError> {
        let Means::Secret(any) = &*self.0 else { return Ok(self) };
        if methods.is_unknown() || methods.offers("client_secret_basic") {
            return Ok(&any.basic);
        }
        if methods.offers("client_secret_post") {
            return Ok(&any.post);
        }
        #[cfg(feature = "jwt")]
        if methods.offers("client_secret_jwt") {
            return Ok(&any.assertion);
        }
        Err(VerifyError::new(ErrorKind::Misconfigured).with_context(format!(
            "the introspection endpoint takes no client secret; it offers {methods}"
        )))
    }

    /// Returns the identifier of this service at the authorization server, if the credentials have
    /// it.
    pub(super) fn client_id(&self) -> Option<&str> {
        match &*self.0 {
            #[cfg(feature = "jwt")]
            Means::Assertion(assertion) => Some(assertion.id()),
            Means::Basic { id, .. } | Means::Mtls { id } | Means::Post { id, .. } => Some(id),
            Means::Bearer { .. } => None,
            Means::Secret(any) => any.post.client_id(),
        }
    }

    /// Returns true if the credentials are the certificate of the connection.
    pub(super) fn is_mtls(&self) -> bool {
        matches!(&*self.0, Means::Mtls { .. })
    }

    /// Adds the credentials to one request. Call it for each request, because an assertion is valid
    /// only once.
    #[cfg_attr(
        not(feature = "jwt"),
        expect(
            clippy::only_used_in_recursion,
            reason = "only assertions name the issuer and the time"
        )
    )]
    pub(super) fn apply(
        &self,
        form: &mut Form,
        headers: &mut HeaderMap,
        issuer: &str,
        now: UnixTime,
    ) -> Result<(), VerifyError> {
        match &*self.0 {
            #[cfg(feature = "jwt")]
            Means::Assertion(assertion) => assertion.apply(form, issuer, now)?,
            Means::Basic { id, secret, encoding } => {
                let pair = basic_pair(id, secret, *encoding);
                let value = format!("Basic {}", STANDARD.encode(pair.expose_secret()));
                headers.insert(AUTHORIZATION, sensitive(&SecretString::from(value))?);
            }
            Means::Bearer { token } => {
                let value = SecretString::from(format!("Bearer {}", token.expose_secret()));
                headers.insert(AUTHORIZATION, sensitive(&value)?);
            }
            Means::Mtls { id } => form.push("client_id", id),
            Means::Post { id, secret } => {
                form.push("client_id", id);
                form.push("client_secret", secret.expose_secret());
            }
            // Not narrowed by `for_server`: the endpoint is configured, so there is no metadata.
            Means::Secret(any) => any.basic.apply(form, headers, issuer, now)?,
        }
        Ok(())
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match &*self.0 {
            #[cfg(feature = "jwt")]
            Means::Assertion(assertion) => assertion.method(),
            Means::Basic { encoding: Encoding::Form, .. } => "basic",
            Means::Basic { encoding: Encoding::Raw, .. } => "basic_raw",
            Means::Bearer { .. } => "bearer",
            Means::Mtls { .. } => "mtls",
            Means::Post { .. } => "post",
            Means::Secret(_) => "secret",
        };
        f.debug_struct("ClientAuth")
            .field("method", &method)
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}

fn check_id(id: &str, problems: &mut ConfigError) {
    if id.is_empty() {
        problems.push("client_auth", "the client identifier is empty");
    }
}

fn check_secret(secret: &SecretString, problems: &mut ConfigError) {
    if secret.expose_secret().is_empty() {
        problems.push("client_auth", "the client secret is empty");
    }
}

fn basic_pair(id: &str, secret: &SecretString, encoding: Encoding) -> SecretString {
    let secret = secret.expose_secret();
    if encoding == Encoding::Raw {
        return SecretString::from(format!("{id}:{secret}"));
    }
    let mut pair = String::with_capacity((id.len() + secret.len()) * 3 + 1);
    form::encode(id, &mut pair);
    pair.push(':');
    form::encode(secret, &mut pair);
    SecretString::from(pair)
}

fn sensitive(value: &SecretString) -> Result<HeaderValue, VerifyError> {
    // Can't fail: base64 and bearer tokens are valid header values, and `check` has refused other
    // tokens.
    let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| {
        VerifyError::new(ErrorKind::Misconfigured).with_context("client credentials")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

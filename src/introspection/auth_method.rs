//! The methods by which this service authenticates at the introspection endpoint.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use secrecy::{ExposeSecret as _, SecretString};

#[cfg(feature = "jwt")]
use super::assertion::Assertion;
use super::form::{self, Form};
use crate::{
    clock::UnixTime,
    credentials::token::Token,
    error::{config::ConfigError, kind::ErrorKind, refusal::VerifyError},
    transport::discovery::methods::AuthMethods,
};

/// A method of client authentication, with its credentials.
#[derive(Clone)]
pub(crate) enum AuthMethod {
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
    /// No credentials: the endpoint is protected otherwise.
    None,
    Post {
        id: Box<str>,
        secret: SecretString,
    },
    /// A client secret, sent by a method that the server offers.
    Secret(Box<SecretByMethod>),
}

/// A client secret, prepared for each method.
#[derive(Clone)]
pub(crate) struct SecretByMethod {
    basic: AuthMethod,
    post: AuthMethod,
    #[cfg(feature = "jwt")]
    assertion: AuthMethod,
}

/// The encoding of the two parts of Basic credentials before they are joined.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Form,
    Raw,
}

impl AuthMethod {
    /// Prepares a client secret for each method.
    pub(super) fn secret(id: String, secret: String) -> Self {
        Self::Secret(Box::new(SecretByMethod {
            #[cfg(feature = "jwt")]
            assertion: Self::Assertion(Assertion::shared(id.clone(), secret.clone())),
            basic: Self::basic(id.clone(), secret.clone(), Encoding::Form),
            post: Self::Post { id: id.into(), secret: secret.into() },
        }))
    }

    pub(super) fn basic(id: String, secret: String, encoding: Encoding) -> Self {
        Self::Basic { id: id.into(), secret: secret.into(), encoding }
    }

    /// Sets the audience of assertions. Has no effect on other methods.
    #[cfg(feature = "jwt")]
    pub(super) fn set_assertion_audience(&mut self, audience: String) {
        match self {
            Self::Assertion(assertion) => assertion.set_audience(audience),
            Self::Secret(secrets) => secrets.assertion.set_assertion_audience(audience),
            _ => {}
        }
    }

    /// Adds the problems with the credentials to `problems`.
    pub(super) fn check(&self, problems: &mut ConfigError) {
        match self {
            #[cfg(feature = "jwt")]
            Self::Assertion(assertion) => {
                check_id(assertion.id(), problems);
                assertion.check(problems);
            }
            Self::Basic { id, secret, encoding } => {
                check_id(id, problems);
                check_secret(secret, problems);
                if *encoding == Encoding::Raw && id.contains(':') {
                    problems.push("client_auth", "a raw client identifier can't hold a colon");
                }
            }
            Self::Bearer { token } => {
                if Token::bearer(token.expose_secret()).is_none() {
                    problems.push("client_auth", "not a bearer token");
                }
            }
            Self::Mtls { id } => check_id(id, problems),
            Self::None => {}
            Self::Post { id, secret } => {
                check_id(id, problems);
                check_secret(secret, problems);
            }
            // The secret may be too short for an assertion. That matters only if one is created.
            Self::Secret(secrets) => {
                secrets.post.check(problems);
                #[cfg(feature = "jwt")]
                if let Self::Assertion(assertion) = &secrets.assertion {
                    assertion.check_audience(problems);
                }
            }
        }
    }

    /// Returns these credentials for a method that the server offers.
    pub(super) fn for_offered_methods(&self, methods: &AuthMethods) -> Result<&Self, VerifyError> {
        let Self::Secret(secrets) = self else { return Ok(self) };
        if methods.is_unknown() || methods.offers("client_secret_basic") {
            return Ok(&secrets.basic);
        }
        if methods.offers("client_secret_post") {
            return Ok(&secrets.post);
        }
        #[cfg(feature = "jwt")]
        if methods.offers("client_secret_jwt") {
            return Ok(&secrets.assertion);
        }
        Err(VerifyError::new(ErrorKind::Misconfigured).with_context(format!(
            "the introspection endpoint takes no client secret; it offers {methods}"
        )))
    }

    /// Returns the identifier of this service at the authorization server, if the credentials have
    /// it.
    pub(super) fn client_id(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "jwt")]
            Self::Assertion(assertion) => Some(assertion.id()),
            Self::Basic { id, .. } | Self::Mtls { id } | Self::Post { id, .. } => Some(id),
            Self::Bearer { .. } | Self::None => None,
            Self::Secret(secrets) => secrets.post.client_id(),
        }
    }

    /// Returns true if the credentials are the certificate of the connection.
    pub(super) fn is_mtls(&self) -> bool {
        matches!(self, Self::Mtls { .. })
    }

    /// Returns the name of the method for `Debug` output.
    pub(super) fn name(&self) -> &'static str {
        match self {
            #[cfg(feature = "jwt")]
            Self::Assertion(assertion) => assertion.method(),
            Self::Basic { encoding: Encoding::Form, .. } => "basic",
            Self::Basic { encoding: Encoding::Raw, .. } => "basic_raw",
            Self::Bearer { .. } => "bearer",
            Self::Mtls { .. } => "mtls",
            Self::None => "danger_none",
            Self::Post { .. } => "post",
            Self::Secret(_) => "secret",
        }
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
    pub(crate) fn apply(
        &self,
        form: &mut Form,
        headers: &mut HeaderMap,
        issuer: &str,
        now: UnixTime,
    ) -> Result<(), VerifyError> {
        match self {
            #[cfg(feature = "jwt")]
            Self::Assertion(assertion) => assertion.apply(form, issuer, now)?,
            Self::Basic { id, secret, encoding } => {
                let pair = basic_pair(id, secret, *encoding);
                let value = format!("Basic {}", STANDARD.encode(pair.expose_secret()));
                headers.insert(AUTHORIZATION, sensitive(&SecretString::from(value))?);
            }
            Self::Bearer { token } => {
                let value = SecretString::from(format!("Bearer {}", token.expose_secret()));
                headers.insert(AUTHORIZATION, sensitive(&value)?);
            }
            Self::Mtls { id } => form.push("client_id", id),
            Self::None => {}
            Self::Post { id, secret } => {
                form.push("client_id", id);
                form.push("client_secret", secret.expose_secret());
            }
            // `for_offered_methods` was not called: the endpoint is configured, so there is no
            // metadata.
            Self::Secret(secrets) => secrets.basic.apply(form, headers, issuer, now)?,
        }
        Ok(())
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
        VerifyError::new(ErrorKind::Misconfigured)
            .with_context("the client credentials can't be sent in a header")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

//! The access token of this service at a transmitter.

use std::{fmt, pin::Pin, sync::Arc};

#[cfg(feature = "introspection")]
use super::client_credentials::ClientCredentials;
use super::{
    error::{TransmitterError, TransmitterErrorKind},
    via::Via,
};
#[cfg(feature = "introspection")]
use crate::introspection::auth::ClientAuth;
use crate::{
    credentials::token::Token,
    error::{boxed::BoxError, config::ConfigError},
};

/// The authorization of this service at a transmitter: an access token (Shared Signals Framework 1.0
/// §9, RFC 6750).
///
/// No `Debug` output shows the token.
///
/// # Clone
///
/// Clones share the token that was obtained last.
#[derive(Clone)]
pub struct TransmitterAuth(Arc<Method>);

enum Method {
    /// `None` if the text is not a token.
    Bearer(Option<Token>),
    Function(Box<Obtain>),
    #[cfg(feature = "introspection")]
    ClientCredentials(ClientCredentials),
}

type Obtain = dyn Fn(bool) -> Obtaining + Send + Sync;

type Obtaining = Pin<Box<dyn Future<Output = Result<String, BoxError>> + Send>>;

impl TransmitterAuth {
    /// Authorizes by an access token that stays the same.
    ///
    /// ```
    /// use tower_introspect::signals::TransmitterAuth;
    ///
    /// let auth = TransmitterAuth::bearer("23410913-abewfq.123483");
    /// assert!(!format!("{auth:?}").contains("abewfq"));
    /// ```
    #[must_use]
    pub fn bearer(token: &str) -> Self {
        Self(Arc::new(Method::Bearer(Token::bearer(token))))
    }

    /// Authorizes by the access token that a function returns, which is called for each request.
    ///
    /// The argument is true if the transmitter has just rejected the last token (status 401). The
    /// function should then obtain another one. It is called once more for such a request, never
    /// twice. An error, or a text that is no token, counts as
    /// [`Unavailable`](TransmitterErrorKind::Unavailable).
    ///
    /// ```
    /// use tower_introspect::signals::TransmitterAuth;
    ///
    /// let auth = TransmitterAuth::from_fn(|renew| async move {
    ///     Ok(if renew { "another-token" } else { "a-token" }.to_owned())
    /// });
    /// # let _ = auth;
    /// ```
    ///
    /// # Security
    ///
    /// The error must not hold the token or the credentials for it: it becomes the source of a
    /// [`TransmitterError`].
    #[must_use]
    pub fn from_fn<F, Fut>(obtain: F) -> Self
    where
        F: Fn(bool) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        Self(Arc::new(Method::Function(Box::new(move |renew| Box::pin(obtain(renew))))))
    }

    /// Authorizes by an access token of the client credentials grant (RFC 6749 §4.4), with an optional
    /// scope.
    ///
    /// A token is used until shortly before it expires, and renewed once if the transmitter rejects it.
    /// Without `expires_in` it is used for five minutes. The endpoint must have an https URL. Client
    /// assertions name it as their audience, unless
    /// [`assertion_audience`](ClientAuth::assertion_audience) sets another.
    ///
    /// ```
    /// use tower_introspect::{ClientAuth, signals::TransmitterAuth};
    ///
    /// let auth = TransmitterAuth::client_credentials(
    ///     "https://as.example.com/token",
    ///     ClientAuth::basic("api", "correct horse"),
    ///     Some("ssf.manage ssf.read"),
    /// );
    /// assert!(!format!("{auth:?}").contains("horse"));
    /// ```
    #[cfg(feature = "introspection")]
    #[cfg_attr(docsrs, doc(cfg(feature = "introspection")))]
    #[must_use]
    pub fn client_credentials(
        token_endpoint: impl Into<String>,
        client: ClientAuth,
        scope: Option<&str>,
    ) -> Self {
        let credentials = ClientCredentials::new(token_endpoint.into(), client, scope);
        Self(Arc::new(Method::ClientCredentials(credentials)))
    }

    /// Adds the problems with the credentials to `problems`.
    pub(super) fn check(&self, loopback_http: bool, problems: &mut ConfigError) {
        match &*self.0 {
            Method::Bearer(None) => problems.push("auth", "not a bearer token"),
            Method::Bearer(Some(_)) | Method::Function(_) => {}
            #[cfg(feature = "introspection")]
            Method::ClientCredentials(credentials) => credentials.check(loopback_http, problems),
        }
        let _ = loopback_http;
    }

    /// Returns the token to send, or `None` if there is no other than the one that was rejected.
    pub(super) async fn token(
        &self,
        rejected: Option<&Token>,
        via: Via<'_>,
    ) -> Result<Option<Token>, TransmitterError> {
        let _ = via;
        match &*self.0 {
            Method::Bearer(Some(token)) => Ok(rejected.is_none().then(|| token.clone())),
            Method::Bearer(None) => Ok(None),
            Method::Function(obtain) => {
                let text = obtain(rejected.is_some()).await;
                let text = text.map_err(|error| no_token("it was not obtained").with_source(error));
                let token = Token::bearer(&text?);
                token.map(Some).ok_or_else(|| no_token("the text obtained is not a bearer token"))
            }
            #[cfg(feature = "introspection")]
            Method::ClientCredentials(credentials) => {
                credentials.token(rejected, via).await.map(Some)
            }
        }
    }
}

fn no_token(problem: &'static str) -> TransmitterError {
    TransmitterError::new(TransmitterErrorKind::Unavailable)
        .with_context(format!("no access token: {problem}"))
}

impl fmt::Debug for TransmitterAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match &*self.0 {
            Method::Bearer(_) => "bearer",
            Method::Function(_) => "from_fn",
            #[cfg(feature = "introspection")]
            Method::ClientCredentials(_) => "client_credentials",
        };
        f.debug_tuple("TransmitterAuth").field(&method).finish()
    }
}

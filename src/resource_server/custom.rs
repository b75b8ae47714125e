//! Issuers whose tokens are verified by the application.

use std::sync::Arc;

use super::issuer::Issuer;
use crate::verify::{boxed::BoxVerifier, verifier::Verifier};

/// Issuers with a verifier of the application.
impl Issuer {
    /// Creates an issuer whose tokens a verifier of the application verifies, such as API keys in a
    /// database.
    ///
    /// Around the verifier are the same parts as around introspection, with the same settings: a
    /// cache, the sharing of one verification by concurrent requests, cutoffs, and the budget of
    /// peers. Only the circuit breaker and the limit of concurrent introspections are left out. The
    /// policy is the same for all issuers, so the claims must have the audience of this service.
    /// Leave out the claim `iat` if the verifier asks a store: a cutoff for a subject then has the
    /// token verified again, instead of refusing it for having been issued earlier.
    ///
    /// Beside other issuers the tokens of this one must be told from theirs:
    ///
    /// * A JWT goes to the issuer that it names in `iss`, here too.
    /// * Any other token goes by [`token_prefix`](Self::token_prefix), else by
    ///   [`token_shape`](Self::token_shape). This issuer gets no token without its prefix and its
    ///   shape, and its verifier is the only one that is called for a token that has them.
    /// * Without either, the issuer gets the tokens that are neither JWTs nor claimed by another
    ///   issuer. Only one issuer may be like that.
    ///
    /// `name` is the issuer of the facts. It may be any text that no other issuer has. It is not
    /// listed as an authorization server in the metadata of this service. `examples/api_keys` keeps
    /// keys in a database, with revocation.
    ///
    /// ```
    /// use tower_introspect::{
    ///     ErrorKind, Issuer, ResourceServer,
    ///     claims::Claims,
    ///     clock::{Moment, SystemClock},
    ///     verify::{ActiveToken, Method, VerifyRequest, verify_fn},
    /// };
    ///
    /// let keys = verify_fn(async |request: VerifyRequest| {
    ///     // The start of the verification: a later revocation may have been missed.
    ///     let start = Moment::now(&SystemClock);
    ///     if request.token().secret_str() != "key_0123456789" {
    ///         return Err(ErrorKind::Inactive.into());
    ///     }
    ///     let claims = br#"{"sub": "backup", "aud": "https://api.example.com", "scope": "read"}"#;
    ///     let claims = Claims::from_json(claims).expect("strict JSON");
    ///     Ok(ActiveToken::new("api-keys", claims, Method::Custom, start))
    /// });
    /// let api = ResourceServer::builder("https://api.example.com")
    ///     .issuer(Issuer::custom("api-keys", keys).token_prefix("key_"))
    ///     .build()?;
    /// # let _ = api;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    ///
    /// # Security
    ///
    /// The verifier decides alone which tokens are good. It returns
    /// [`Inactive`](crate::ErrorKind::Inactive) for a token that it does not know, and
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if it can't tell. Facts that name another
    /// issuer, or have another `iss` among their claims, are refused as
    /// [`WrongIssuer`](crate::ErrorKind::WrongIssuer).
    pub fn custom<V>(name: impl Into<String>, verifier: V) -> Self
    where
        V: Verifier + Send + Sync + 'static,
        V::Future: Send + 'static,
    {
        let mut this = Self::new(name.into());
        this.custom = Some(BoxVerifier::new(verifier));
        this
    }

    /// Sets a function that returns true for the text of every token of this
    /// [custom](Self::custom) issuer, and of no other issuer.
    ///
    /// Use it if the tokens have no prefix, or to refuse a mistyped token by its checksum without a
    /// call of the verifier. A token that has the shape of two issuers is refused. The prefix of
    /// any issuer comes before the shapes of others. JWTs go by `iss` first.
    ///
    /// ```
    /// use tower_introspect::{ErrorKind, Issuer, verify::verify_fn};
    ///
    /// let keys = verify_fn(async |_| Err(ErrorKind::Inactive.into()));
    /// // 32 lower-case hexadecimal digits.
    /// let issuer = Issuer::custom("api-keys", keys).token_shape(|token| {
    ///     token.len() == 32 && token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    /// });
    /// # let _ = issuer;
    /// ```
    ///
    /// The function runs with every request, cached or not, and gets any ASCII text that a client
    /// sends. It should be quick, must not panic, and must always return the same for the same text.
    pub fn token_shape<F>(mut self, shape: F) -> Self
    where
        F: Fn(&str) -> bool + Send + Sync + 'static,
    {
        self.shape = Some(Arc::new(shape));
        self
    }
}

//! Issuers of providers that need more than a URL.

use super::issuer::Issuer;
use crate::{
    jose::algorithm::Algorithm,
    jwt::{builder::JwtVerifierBuilder, profile::Profile},
};

/// Issuers of providers, with the settings of the recipes in
/// [`docs::providers`](crate::docs::providers). All other providers need nothing but the URL of the
/// issuer, or credentials that only the application has.
impl Issuer {
    /// Creates the issuer of a user pool of AWS Cognito, such as `eu-central-1_Example`.
    ///
    /// Its access tokens have no `aud`. The audience of the service is the identifier of the client
    /// that it admits, and further ones are added by [`Policy::or_audience`](crate::Policy::or_audience).
    /// [`configure_jwt`](Self::configure_jwt) changes the settings.
    ///
    /// ```
    /// use tower_introspect::{Issuer, ResourceServer, policy::Requirement};
    ///
    /// let api = ResourceServer::builder("1example23456789")
    ///     .issuer(Issuer::cognito("eu-central-1", "eu-central-1_Example"))
    ///     .require(Requirement::any_scope(["https://api.example.com/read"]))
    ///     .build()?;
    /// # let _ = api;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    ///
    /// `build` returns an error unless the identifier of the pool starts with the region. Regions
    /// outside of `amazonaws.com` need [`jwt`](Self::jwt).
    ///
    /// # Security
    ///
    /// This sets [`danger_audience_claim`](JwtVerifierBuilder::danger_audience_claim). A token that
    /// an admitted client got for another service is accepted, so require a scope of the Cognito
    /// *resource server* that stands for this service.
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    pub fn cognito(region: &str, pool: &str) -> Self {
        let id = pool.strip_prefix(region).and_then(|rest| rest.strip_prefix('_'));
        let is_name = |text: &str, also: &[u8]| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || also.contains(&byte);
            !text.is_empty() && text.bytes().all(allowed)
        };
        let fits = is_name(region, b"-") && id.is_some_and(|id| is_name(id, b""));
        let issuer = format!("https://cognito-idp.{region}.amazonaws.com/{pool}");
        Self::of_provider(issuer, |jwt| jwt.danger_audience_claim("client_id")).with_problem(
            !fits,
            "pool",
            "must be REGION_ID, as in eu-central-1_Example",
        )
    }

    /// Creates the issuer of a tenant of Microsoft Entra ID, for tokens of version 2.
    ///
    /// `tenant` is the id of the tenant. The audience of the service is the id of its application,
    /// whose manifest has `requestedAccessTokenVersion` 2. [`configure_jwt`](Self::configure_jwt)
    /// changes the settings.
    ///
    /// ```
    /// use tower_introspect::{Issuer, ResourceServer};
    ///
    /// let api = ResourceServer::builder("00001111-aaaa-2222-bbbb-3333cccc4444")
    ///     .issuer(Issuer::entra("aaaabbbb-0000-cccc-1111-dddd2222eeee"))
    ///     .build()?;
    /// # let _ = api;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    ///
    /// `build` returns an error for the name of a domain and for `common` or `organizations`: no
    /// token has such an issuer.
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    pub fn entra(tenant: &str) -> Self {
        let groups = tenant.split('-').map(str::len);
        // `iss` has the id in lower case and is compared exactly.
        let is_hex = |byte: u8| matches!(byte, b'-' | b'0'..=b'9' | b'a'..=b'f');
        let is_id = groups.eq([8, 4, 4, 4, 12]) && tenant.bytes().all(is_hex);
        let issuer = format!("https://login.microsoftonline.com/{tenant}/v2.0");
        Self::of_provider(issuer, |jwt| jwt).with_problem(
            !is_id,
            "tenant",
            "must be the id of a tenant in lower case, not a domain, `common` or `organizations`",
        )
    }

    /// Creates the issuer of Google's tokens that identify service accounts to other services, as
    /// Cloud Run, Cloud Tasks and Pub/Sub send them.
    ///
    /// The audience of the service is that for which callers request their tokens, usually its URL.
    /// [`configure_jwt`](Self::configure_jwt) changes the settings.
    ///
    /// ```
    /// use tower_introspect::{Issuer, ResourceServer, policy::Requirement};
    ///
    /// let caller = Requirement::claim_is("email", "jobs@project.iam.gserviceaccount.com")
    ///     .and(Requirement::claim_fn("email_verified", |verified: bool| verified));
    /// let api = ResourceServer::builder("https://service.example.com")
    ///     .issuer(Issuer::google())
    ///     .require(caller)
    ///     .build()?;
    /// # let _ = api;
    /// # Ok::<(), tower_introspect::ConfigError>(())
    /// ```
    ///
    /// # Security
    ///
    /// This sets [`Profile::ServiceIdentity`]. Any Google account can get such a token for any
    /// audience: require the callers by name.
    #[cfg_attr(docsrs, doc(cfg(feature = "jwt")))]
    pub fn google() -> Self {
        let issuer = "https://accounts.google.com".to_owned();
        Self::of_provider(issuer, |jwt| jwt.profile(Profile::ServiceIdentity))
    }

    /// All these providers sign by RS256.
    fn of_provider(issuer: String, settings: fn(JwtVerifierBuilder) -> JwtVerifierBuilder) -> Self {
        Self::jwt(issuer).configure_jwt(move |jwt| settings(jwt).algorithms([Algorithm::RS256]))
    }
}

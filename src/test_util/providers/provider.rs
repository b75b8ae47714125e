use serde_json::{Value, json};

use super::members::IssuedKind;

/// A provider whose tokens, introspection responses and keys an
/// [`AuthorizationServer`](crate::test_util::AuthorizationServer) imitates.
///
/// Tests then see the same shapes as production: the `typ` of the header, how the client, the scope
/// and the audience are written, and what introspection tells. All sign with RS256 by default. The
/// endpoints keep the paths of the test kit, and there are no certificates in keys (`x5c`).
///
/// ```
/// use tower_introspect::test_util::{AuthorizationServer, Provider};
///
/// let okta = AuthorizationServer::new("https://acme.okta.com/oauth2/default")
///     .with_provider(Provider::Okta);
/// // Has `scp: ["read", "write"]` and `cid`, and no `typ` in its header.
/// let token = okta.jwt().audience("api://default").scope("read write").mint();
/// # let _ = token;
/// ```
///
/// The shapes are those of the recipes in [`docs::providers`](crate::docs::providers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// Auth0 with its own token profile. It has no introspection.
    Auth0,
    /// AWS Cognito. It puts no audience into access tokens, and has no introspection.
    ///
    /// So [`Defect::NoAudience`](crate::test_util::Defect::NoAudience) changes nothing.
    Cognito,
    /// Microsoft Entra ID, tokens of version 2. It has no introspection.
    ///
    /// A client that acts for itself gets its scope as `roles`.
    Entra,
    /// Glewlwyd. The audience of tokens without one is their scope.
    Glewlwyd,
    /// Google. [`jwt`](crate::test_util::AuthorizationServer::jwt) makes ID tokens of service
    /// accounts, which are the only ones meant for other services. It has no introspection.
    Google,
    /// Ory Hydra. Its metadata does not name the introspection endpoint.
    Hydra,
    /// Keycloak. It introspects only for clients that the audience names, and adds the audience
    /// `account`.
    Keycloak,
    /// The npm package `oidc-provider`. It does not introspect JWTs.
    OidcProvider,
    /// A custom authorization server of Okta.
    Okta,
    /// Spring Authorization Server.
    Spring,
    /// ZITADEL. Its JWTs have no scope, and it introspects only for clients that the audience
    /// names.
    Zitadel,
}

impl Provider {
    /// All providers.
    pub const ALL: [Self; 11] = [
        Self::Auth0,
        Self::Cognito,
        Self::Entra,
        Self::Glewlwyd,
        Self::Google,
        Self::Hydra,
        Self::Keycloak,
        Self::OidcProvider,
        Self::Okta,
        Self::Spring,
        Self::Zitadel,
    ];

    /// Returns the `typ` of its JWTs.
    pub(in crate::test_util) const fn typ(self, kind: IssuedKind) -> Option<&'static str> {
        match (self, kind) {
            (Self::Cognito | Self::Okta | Self::Spring, _)
            | (Self::OidcProvider, IssuedKind::Id) => None,
            (Self::Glewlwyd | Self::OidcProvider, IssuedKind::Access) => Some("at+jwt"),
            _ => Some("JWT"),
        }
    }

    /// Returns true if it has an introspection endpoint.
    pub(in crate::test_util) const fn introspects(self) -> bool {
        !matches!(self, Self::Auth0 | Self::Cognito | Self::Entra | Self::Google)
    }

    /// Returns true if its metadata names the introspection endpoint.
    pub(in crate::test_util) const fn names_introspection(self) -> bool {
        // Hydra has it on another port.
        self.introspects() && !matches!(self, Self::Hydra)
    }

    /// Returns true if it has the metadata of RFC 8414 besides that of OpenID Connect.
    pub(in crate::test_util) const fn has_oauth_metadata(self) -> bool {
        !matches!(self, Self::Hydra | Self::Zitadel)
    }

    /// Returns true if it introspects `token`, not only reports it as inactive.
    pub(in crate::test_util) fn accepts(self, token: &str) -> bool {
        !(matches!(self, Self::OidcProvider) && token.split('.').count() == 3)
    }

    /// Returns true if a client learns of a token only if `aud` names the client.
    pub(in crate::test_util) const fn introspects_for_audience_only(self) -> bool {
        matches!(self, Self::Keycloak | Self::Zitadel)
    }

    /// Returns the text of an opaque token whose random part is `random`.
    pub(in crate::test_util) fn opaque_text(self, kind: IssuedKind, random: &str) -> String {
        match (self, kind) {
            (Self::Hydra, IssuedKind::Refresh) => format!("ory_rt_{random}"),
            (Self::Hydra, _) => format!("ory_at_{random}"),
            // The shape of an encrypted JWT: a header with `alg` and `enc`, and four other parts.
            (Self::Zitadel, IssuedKind::Access) => {
                let header = "eyJhbGciOiJBMjU2R0NNS1ciLCJlbmMiOiJBMjU2R0NNIn0";
                format!("{header}.{random}.MDEyMzQ1Njc4OTAx.{random}.MDEyMzQ1Njc4OTAxMjM0NQ")
            }
            _ => random.to_owned(),
        }
    }

    /// Makes the published keys those of this provider.
    pub(in crate::test_util) fn shape_keys(self, keys: &mut Vec<Value>) {
        let left_out: &[&str] = match self {
            Self::Entra => &["alg"],
            Self::Glewlwyd => &["use"],
            Self::Spring => &["use", "alg"],
            _ => &[],
        };
        for key in keys.iter_mut().filter_map(Value::as_object_mut) {
            key.retain(|name, _| !left_out.contains(&name.as_str()));
        }
        // Keycloak publishes a key for encryption beside those for signatures.
        if matches!(self, Self::Keycloak)
            && let Some(rsa) = keys.iter().find(|key| key["kty"] == "RSA")
        {
            let (n, e) = (&rsa["n"], &rsa["e"]);
            let key = json!({"kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "test-encryption", "n": n, "e": e});
            keys.push(key);
        }
    }
}

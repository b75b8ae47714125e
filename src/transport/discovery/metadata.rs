#[cfg(feature = "introspection")]
use super::methods::AuthMethods;
use crate::{
    claims::json::{self, NotStrict, Object},
    error::refusal::VerifyError,
    transport::{
        endpoint::{Endpoint, EndpointError},
        response::bad,
    },
};

/// The parts of the metadata that this crate uses.
///
/// Lists of algorithms are not among them. The algorithms that a server supports do not decide what
/// this service accepts, and a list may include `none`.
#[derive(Debug)]
pub(crate) struct Metadata {
    #[cfg(feature = "jwt")]
    pub(crate) jwks_uri: Option<Endpoint>,
    #[cfg(feature = "introspection")]
    pub(crate) introspection_endpoint: Option<Endpoint>,
    /// The introspection endpoint for clients with a certificate (RFC 8705 §5).
    #[cfg(feature = "introspection")]
    pub(crate) mtls_introspection_endpoint: Option<Endpoint>,
    /// The client authentication methods of the introspection endpoint.
    #[cfg(feature = "introspection")]
    pub(crate) introspection_auth_methods: AuthMethods,
    /// The names of members that are present but can't be used, each with the reason.
    unusable: Vec<(&'static str, &'static str)>,
}

impl Metadata {
    /// Returns `jwks_uri`, or an error with the reason why there is none.
    #[cfg(feature = "jwt")]
    pub(crate) fn require_jwks_uri(&self) -> Result<&Endpoint, VerifyError> {
        self.require(JWKS_URI, self.jwks_uri.as_ref())
    }

    /// Returns `introspection_endpoint`, or an error with the reason why there is none.
    ///
    /// With `mtls` it returns the alias for clients with a certificate, if there is one.
    #[cfg(feature = "introspection")]
    pub(crate) fn require_introspection_endpoint(
        &self,
        mtls: bool,
    ) -> Result<&Endpoint, VerifyError> {
        let alias = self.mtls_introspection_endpoint.as_ref();
        if mtls && (alias.is_some() || self.is_unusable(ALIASES)) {
            return self.require(ALIASES, alias);
        }
        self.require(INTROSPECTION, self.introspection_endpoint.as_ref())
    }

    fn require<'a>(
        &self,
        name: &'static str,
        endpoint: Option<&'a Endpoint>,
    ) -> Result<&'a Endpoint, VerifyError> {
        endpoint.ok_or_else(|| {
            let found = self.unusable.iter().find(|(unusable, _)| *unusable == name);
            let problem = found.map_or("missing", |(_, problem)| problem);
            bad(format!("`{name}` in the metadata: {problem}"))
        })
    }

    #[cfg(feature = "introspection")]
    fn is_unusable(&self, name: &str) -> bool {
        self.unusable.iter().any(|(unusable, _)| *unusable == name)
    }

    /// Parses metadata, which must name this issuer (RFC 8414 §3.3). Members that are not set are
    /// absent.
    pub(super) fn parse(
        text: &[u8],
        issuer: &str,
        loopback_http: bool,
    ) -> Result<Self, VerifyError> {
        let object = Object::parse(text)
            .map_err(|NotStrict| bad("the metadata is not one JSON object with unique members"))?;
        let object = object.without_unset(&LISTS);
        // Compared octet by octet, without normalisation of any kind (RFC 8414 §4).
        match object.string("issuer") {
            Ok(Some(found)) if *found == *issuer => {}
            Ok(Some(found)) => {
                let found: String = found.chars().take(256).collect();
                return Err(bad(format!("the metadata names another issuer: {found:?}")));
            }
            _ => return Err(bad("the metadata names no issuer")),
        }
        let mut reader = Reader { loopback_http, unusable: Vec::new() };
        Ok(Self {
            #[cfg(feature = "jwt")]
            jwks_uri: reader.endpoint(&object, "jwks_uri", JWKS_URI),
            #[cfg(feature = "introspection")]
            introspection_endpoint: reader.endpoint(
                &object,
                "introspection_endpoint",
                INTROSPECTION,
            ),
            #[cfg(feature = "introspection")]
            mtls_introspection_endpoint: reader.alias(&object),
            #[cfg(feature = "introspection")]
            introspection_auth_methods: AuthMethods::read(&object),
            unusable: reader.unusable,
        })
    }
}

/// The members that are left out if they have no element (RFC 8414 §3.2). Some servers write an empty
/// object as an empty array.
const LISTS: [&str; 2] = ["introspection_endpoint_auth_methods_supported", "mtls_endpoint_aliases"];

#[cfg(feature = "jwt")]
const JWKS_URI: &str = "jwks_uri";
#[cfg(feature = "introspection")]
const INTROSPECTION: &str = "introspection_endpoint";
#[cfg(feature = "introspection")]
const ALIASES: &str = "mtls_endpoint_aliases.introspection_endpoint";

struct Reader {
    loopback_http: bool,
    unusable: Vec<(&'static str, &'static str)>,
}

impl Reader {
    fn endpoint(
        &mut self,
        object: &Object<'_>,
        member: &'static str,
        name: &'static str,
    ) -> Option<Endpoint> {
        let value = object.get(member)?;
        let endpoint = json::string(value).ok_or("not a string").and_then(|url| {
            Endpoint::parse(&url, self.loopback_http).map_err(EndpointError::describe)
        });
        endpoint.map_err(|problem| self.unusable.push((name, problem))).ok()
    }

    #[cfg(feature = "introspection")]
    fn alias(&mut self, object: &Object<'_>) -> Option<Endpoint> {
        let value = object.get("mtls_endpoint_aliases")?;
        let Ok(aliases) = Object::parse(value.get().as_bytes()) else {
            self.unusable.push((ALIASES, "`mtls_endpoint_aliases` is not an object"));
            return None;
        };
        let aliases = aliases.without_unset(&[]);
        self.endpoint(&aliases, "introspection_endpoint", ALIASES)
    }
}

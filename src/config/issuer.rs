//! Reads the settings of one issuer.

#[cfg(feature = "checks")]
mod inspect;

use std::{path::PathBuf, time::Duration};

use super::{
    client::Client,
    reader::{Section, load_keys},
    tls::{Tls, TransportConfig},
};
use crate::{
    error::config::ConfigError,
    introspection::{builder::IntrospectionVerifierBuilder, signed::SignedResponse},
    jose::algorithm::Algorithm,
    jwt::{keys::KeySet, profile::Profile},
    resource_server::issuer::Issuer,
    transport::http_transport::HttpTransport,
};

pub(super) struct IssuerConfig {
    name: String,
    mode: Mode,
    jwt: Option<JwtSettings>,
    introspection: Option<IntrospectionSettings>,
    client: Option<Client>,
    scope_claim: Option<String>,
    accept_unmarked: bool,
    prefix: Option<String>,
    ca_file: Option<PathBuf>,
    /// The longest age of the confirmation of a JWT.
    confirmation_max_age: Option<Duration>,
}

/// The settings for the verification of JWTs.
struct JwtSettings {
    jwks_file: Option<PathBuf>,
    jwks_uri: Option<String>,
    max_keys: Option<usize>,
    max_keys_tried: Option<usize>,
    algorithms: Option<Vec<Algorithm>>,
    profile: Option<Profile>,
    danger_audience_claim: Option<String>,
}

/// The settings for introspection.
struct IntrospectionSettings {
    endpoint: Option<String>,
    hint: Option<String>,
    timeout: Option<Duration>,
    connection_per_request: bool,
    signed: bool,
    danger_default_audience: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Hybrid,
    Introspect,
    Jwt,
    JwtAndIntrospect,
}

/// The modes by their names.
const MODES: [(&str, Mode); 4] = [
    ("jwt", Mode::Jwt),
    ("introspect", Mode::Introspect),
    ("hybrid", Mode::Hybrid),
    ("jwt_and_introspect", Mode::JwtAndIntrospect),
];

impl IssuerConfig {
    /// Reads an issuer. Missing settings are reported in the section, and then nothing is built.
    pub(super) fn read(section: &mut Section) -> Self {
        section.require("issuer");
        section.require_keyword("mode", &MODES);
        let name = section.text("issuer").unwrap_or_default();
        let mode = section.keyword("mode", &MODES);
        if mode.is_some_and(|mode| mode != Mode::Jwt) {
            section.require("client");
        }
        // With an unknown mode, the settings of all modes are accepted.
        let mode = mode.unwrap_or(Mode::JwtAndIntrospect);
        let confirms = mode == Mode::JwtAndIntrospect;
        let introspects = mode != Mode::Jwt;
        Self {
            name,
            mode,
            jwt: (mode != Mode::Introspect).then(|| JwtSettings::read(section)),
            introspection: introspects.then(|| IntrospectionSettings::read(section)),
            client: introspects.then(|| section.section("client", Client::read)).flatten(),
            scope_claim: section.text("scope_claim"),
            accept_unmarked: section.flag("danger_accept_unmarked_jwts"),
            prefix: introspects.then(|| section.text("token_prefix")).flatten(),
            ca_file: section.text("ca_file").map(Into::into),
            confirmation_max_age: confirms
                .then(|| section.seconds("confirmation_max_age_seconds"))
                .flatten(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the issuer. Reads its secrets. A confirmation is at most `max_age` old, and `shared` is
    /// the transport, unless the issuer has settings of its own.
    pub(super) fn load(
        &self,
        max_age: Duration,
        common: &TransportConfig,
        shared: Option<&HttpTransport>,
    ) -> Result<Issuer, ConfigError> {
        let mut problems = ConfigError::new();
        let auth = self.client.as_ref().and_then(|client| match client.load() {
            Ok(auth) => Some(auth),
            Err(problem) => {
                problems.merge("client", problem);
                None
            }
        });
        let keys = self.jwt.as_ref().and_then(|local| local.load_keys(&mut problems));
        let (name, max_age) = (&*self.name, self.confirmation_max_age.unwrap_or(max_age));
        let issuer = match (auth, self.mode) {
            // The first includes a client with problems, which are reported below.
            (None, _) | (_, Mode::Jwt) => Issuer::jwt(name),
            (Some(auth), Mode::Hybrid) => Issuer::hybrid(name, auth),
            (Some(auth), Mode::Introspect) => Issuer::introspect(name, auth),
            (Some(auth), Mode::JwtAndIntrospect) => Issuer::jwt_and_introspect(name, auth, max_age),
        };
        let issuer = match &self.jwt {
            Some(local) => local.apply(issuer, keys),
            None => issuer,
        };
        let issuer = match &self.introspection {
            Some(_) => issuer.configure_introspection(self.introspection_settings()),
            None => issuer,
        };
        let issuer = self.apply_claims_of_jwts(issuer);
        let own = self.own_transport(common).transpose();
        let own = own.map_err(|problem| problems.append(problem)).ok().flatten();
        let issuer = match own.as_ref().or(shared) {
            Some(transport) => issuer.transport_if_none(transport.clone()),
            None => issuer,
        };
        problems.or_ok(match &self.prefix {
            Some(prefix) => issuer.token_prefix(&**prefix),
            None => issuer,
        })
    }

    /// Applies the settings of claims to the verification of JWTs, if there is any.
    fn apply_claims_of_jwts(&self, issuer: Issuer) -> Issuer {
        let (scope_claim, accept_unmarked) = (self.scope_claim.clone(), self.accept_unmarked);
        issuer.configure_jwt(move |mut jwt| {
            if let Some(name) = scope_claim {
                jwt = jwt.scope_claim(name);
            }
            if accept_unmarked { jwt.danger_accept_unmarked_jwts() } else { jwt }
        })
    }

    /// Returns the function that applies all settings of introspection.
    fn introspection_settings(
        &self,
    ) -> impl FnOnce(IntrospectionVerifierBuilder) -> IntrospectionVerifierBuilder + use<> {
        let settings = self.introspection.as_ref().map(IntrospectionSettings::settings);
        let (scope_claim, accept_unmarked) = (self.scope_claim.clone(), self.accept_unmarked);
        move |mut remote| {
            if let Some(settings) = settings {
                remote = settings(remote);
            }
            if let Some(name) = scope_claim {
                remote = remote.scope_claim(name);
            }
            if accept_unmarked { remote.danger_accept_unmarked_jwts() } else { remote }
        }
    }

    /// Returns the transport to the issuer, if it differs from the shared one.
    fn own_transport(
        &self,
        common: &TransportConfig,
    ) -> Option<Result<HttpTransport, ConfigError>> {
        let client = self.client.as_ref().and_then(Client::certificate);
        let tls = Tls { common: common.clone(), authorities: self.ca_file.clone(), client };
        (tls.authorities.is_some() || tls.client.is_some()).then(|| tls.transport())
    }
}

impl JwtSettings {
    fn read(section: &mut Section) -> Self {
        if section.has("jwks_file") && section.has("jwks_uri") {
            section.problem("jwks_file", "conflicts with `jwks_uri`");
        }
        Self {
            jwks_file: section.text("jwks_file").map(Into::into),
            jwks_uri: section.text("jwks_uri"),
            max_keys: section.count("max_keys"),
            max_keys_tried: section.count("max_keys_tried"),
            algorithms: section.parsed("algorithms"),
            profile: section.keyword(
                "profile",
                &[
                    ("generic", Profile::Generic),
                    ("rfc9068", Profile::Rfc9068),
                    ("service_identity", Profile::ServiceIdentity),
                ],
            ),
            danger_audience_claim: section.text("danger_audience_claim"),
        }
    }

    fn load_keys(&self, problems: &mut ConfigError) -> Option<KeySet> {
        load_keys(self.jwks_file.as_ref()?)
            .map_err(|problem| problems.push("jwks_file", problem))
            .ok()
    }

    fn apply(&self, issuer: Issuer, keys: Option<KeySet>) -> Issuer {
        let uri = self.jwks_uri.clone();
        let (max_keys, max_keys_tried) = (self.max_keys, self.max_keys_tried);
        let algorithms = self.algorithms.clone();
        let (profile, audience_claim) = (self.profile, self.danger_audience_claim.clone());
        issuer.configure_jwt(move |mut jwt| {
            if let Some(keys) = keys {
                jwt = jwt.keys(keys);
            }
            if let Some(uri) = uri {
                jwt = jwt.jwks_uri(uri);
            }
            if let Some(number) = max_keys {
                jwt = jwt.max_keys(number);
            }
            if let Some(number) = max_keys_tried {
                jwt = jwt.max_keys_tried(number);
            }
            if let Some(algorithms) = algorithms {
                jwt = jwt.algorithms(algorithms);
            }
            if let Some(profile) = profile {
                jwt = jwt.profile(profile);
            }
            if let Some(name) = audience_claim {
                jwt = jwt.danger_audience_claim(name);
            }
            jwt
        })
    }
}

impl IntrospectionSettings {
    fn read(section: &mut Section) -> Self {
        Self {
            endpoint: section.text("introspection_endpoint"),
            hint: section.text("token_type_hint"),
            timeout: section.seconds("timeout_seconds"),
            connection_per_request: section.flag("connection_per_request"),
            signed: section.flag("require_signed_response"),
            danger_default_audience: section.text("danger_default_audience"),
        }
    }

    fn settings(
        &self,
    ) -> impl FnOnce(IntrospectionVerifierBuilder) -> IntrospectionVerifierBuilder + use<> {
        let (endpoint, hint) = (self.endpoint.clone(), self.hint.clone());
        let (timeout, signed) = (self.timeout, self.signed);
        let connection_per_request = self.connection_per_request;
        let audience = self.danger_default_audience.clone();
        move |mut remote| {
            if let Some(endpoint) = endpoint {
                remote = remote.endpoint(endpoint);
            }
            if let Some(hint) = hint {
                remote = remote.token_type_hint(hint);
            }
            if let Some(timeout) = timeout {
                remote = remote.timeout(timeout);
            }
            if connection_per_request {
                remote = remote.connection_per_request();
            }
            if signed {
                remote = remote.require_signed_response(SignedResponse::new());
            }
            if let Some(audience) = audience {
                remote = remote.danger_default_audience(audience);
            }
            remote
        }
    }
}

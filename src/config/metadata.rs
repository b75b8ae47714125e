//! Reads the table `[metadata]`.

use std::time::Duration;

use super::reader::{Secret, Section, load_key};
use crate::{
    error::config::ConfigError,
    jose::{algorithm::Algorithm, signing::SigningKey},
    resource_server::metadata::settings::ProtectedResourceMetadata,
};

type About = ProtectedResourceMetadata;

/// The name of a text, its setter, and the setter that takes a language.
type Localized = (&'static str, fn(About, &str) -> About, fn(About, &str, &str) -> About);

macro_rules! localized {
    ($name:ident, $in_language:ident) => {
        (
            stringify!($name),
            |about, text| about.$name(text),
            |about, language, text| about.$in_language(language, text),
        )
    };
}

const LOCALIZED: [Localized; 4] = [
    localized!(resource_name, resource_name_in),
    localized!(resource_documentation, resource_documentation_in),
    localized!(resource_policy_uri, resource_policy_uri_in),
    localized!(resource_tos_uri, resource_tos_uri_in),
];

pub(super) struct MetadataConfig {
    scopes: Vec<String>,
    texts: Vec<(&'static Localized, Option<String>, String)>,
    jwks_uri: Option<String>,
    signing_algorithms: Vec<String>,
    details_types: Vec<String>,
    max_age: Option<Duration>,
    without_cors: bool,
    signer: Option<MetadataSigner>,
}

/// The signer of the document.
struct MetadataSigner {
    issuer: String,
    algorithm: Option<Algorithm>,
    kid: Option<String>,
    key: Option<Secret>,
}

impl MetadataConfig {
    pub(super) fn read(section: &mut Section) -> Self {
        let mut texts = Vec::new();
        for localized in &LOCALIZED {
            for (language, text) in section.localized(localized.0) {
                texts.push((localized, language, text));
            }
        }
        let mut list = |name| section.texts(name).unwrap_or_default();
        Self {
            scopes: list("scopes_supported"),
            texts,
            signing_algorithms: list("resource_signing_alg_values_supported"),
            details_types: list("authorization_details_types_supported"),
            jwks_uri: section.text("jwks_uri"),
            max_age: section.seconds("max_age_seconds"),
            without_cors: section.flag("without_cors"),
            signer: section.section("signed", MetadataSigner::read),
        }
    }

    /// Returns a function that sets the metadata. Reads the key.
    pub(super) fn load(&self) -> Result<impl FnOnce(About) -> About, ConfigError> {
        let signer = self.signer.as_ref().map(MetadataSigner::load).transpose()?;
        Ok(move |mut about: About| {
            about = about
                .scopes_supported(self.scopes.clone())
                .resource_signing_alg_values_supported(self.signing_algorithms.clone())
                .authorization_details_types_supported(self.details_types.clone());
            for ((_, set, set_in), language, text) in &self.texts {
                about = match language {
                    Some(language) => set_in(about, language, text),
                    None => set(about, text),
                };
            }
            if let Some(url) = &self.jwks_uri {
                about = about.jwks_uri(url);
            }
            if let Some(age) = self.max_age {
                about = about.max_age(age);
            }
            if self.without_cors {
                about = about.without_cors();
            }
            match signer {
                Some((key, issuer)) => about.signed_with(key, issuer),
                None => about,
            }
        })
    }
}

impl MetadataSigner {
    fn read(section: &mut Section) -> Self {
        section.require("issuer");
        let (algorithm, kid, key) = section.signing_key();
        Self { issuer: section.text("issuer").unwrap_or_default(), algorithm, kid, key }
    }

    fn load(&self) -> Result<(SigningKey, String), ConfigError> {
        let key = load_key(self.key.as_ref(), self.algorithm, self.kid.as_deref());
        let key = key.map_err(|problem| ConfigError::of("signed.key", problem))?;
        Ok((key, self.issuer.clone()))
    }
}

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

const LOCALIZED: [Localized; 4] = [
    (
        "resource_name",
        |about, text| about.resource_name(text),
        |about, language, text| about.resource_name_in(language, text),
    ),
    (
        "resource_documentation",
        |about, url| about.resource_documentation(url),
        |about, language, url| about.resource_documentation_in(language, url),
    ),
    (
        "resource_policy_uri",
        |about, url| about.resource_policy_uri(url),
        |about, language, url| about.resource_policy_uri_in(language, url),
    ),
    (
        "resource_tos_uri",
        |about, url| about.resource_tos_uri(url),
        |about, language, url| about.resource_tos_uri_in(language, url),
    ),
];

pub(super) struct MetadataConfig {
    scopes: Vec<String>,
    texts: Vec<(&'static Localized, Option<String>, String)>,
    jwks_uri: Option<String>,
    signing_algorithms: Vec<String>,
    details_types: Vec<String>,
    max_age: Option<Duration>,
    without_cors: bool,
    signed: Option<Signed>,
}

/// The signer of the document.
struct Signed {
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
            signed: section.section("signed", Signed::read),
        }
    }

    /// Returns a function that sets the metadata. Reads the key.
    pub(super) fn load(&self) -> Result<impl FnOnce(About) -> About, ConfigError> {
        let signer = self.signed.as_ref().map(Signed::load).transpose()?;
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

impl Signed {
    fn read(section: &mut Section) -> Self {
        section.need("issuer");
        let (algorithm, kid, key) = section.signing_key();
        Self { issuer: section.text("issuer").unwrap_or_default(), algorithm, kid, key }
    }

    fn load(&self) -> Result<(SigningKey, String), ConfigError> {
        let key = load_key(self.key.as_ref(), self.algorithm, self.kid.as_deref());
        match key {
            Ok(key) => Ok((key, self.issuer.clone())),
            Err(problem) => {
                let mut problems = ConfigError::new();
                problems.push("signed.key", problem);
                Err(problems)
            }
        }
    }
}

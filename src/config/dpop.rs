//! Reads the table `[dpop]`.

use std::time::Duration;

use super::reader::{Secret, Section};
use crate::{
    error::config::ConfigError,
    jose::algorithm::{Algorithm, KeyType},
    proof::{
        dpop::{nonce::NonceSecret, settings::Dpop},
        presented::FAPI2,
    },
};

/// The configured verification of DPoP proofs.
pub(super) struct DpopConfig {
    urls: Vec<String>,
    algorithms: Option<Vec<Algorithm>>,
    window: Option<Duration>,
    max_ahead: Option<Duration>,
    /// `None` only if the setting has an invalid value.
    nonce: Option<Nonce>,
    secret: Option<Secret>,
    rotation: Option<Duration>,
}

#[derive(Clone, Copy)]
enum Nonce {
    Accept,
    Off,
    Require,
}

impl DpopConfig {
    pub(super) fn read(section: &mut Section) -> Self {
        section.require("url");
        let modes = [("off", Nonce::Off), ("accept", Nonce::Accept), ("require", Nonce::Require)];
        let has_secret = section.has_secret("nonce_secret");
        let config = Self {
            urls: section.texts("url").unwrap_or_default(),
            algorithms: section.parsed("algorithms"),
            window: section.seconds("window_seconds"),
            max_ahead: section.seconds("max_ahead_seconds"),
            nonce: match section.has("nonce") {
                true => section.keyword("nonce", &modes),
                false => Some(Nonce::Off),
            },
            secret: section.optional_secret("nonce_secret"),
            rotation: section.seconds("nonce_rotation_seconds"),
        };
        // Setting these suggests that nonces are expected.
        let unused =
            [("nonce_secret", has_secret), ("nonce_rotation_seconds", config.rotation.is_some())];
        for (name, _) in unused.into_iter().filter(|(_, given)| *given) {
            if matches!(config.nonce, Some(Nonce::Off)) {
                section.problem(name, "has no effect while `nonce` is `off`");
            }
        }
        for algorithm in config.algorithms.iter().flatten() {
            if algorithm.key_type() == KeyType::Secret {
                let problem = "a proof is made with a private key (RFC 9449 §4.2)";
                section.problem("algorithms", format!("`{algorithm}`: {problem}"));
            }
        }
        for url in &config.urls {
            if let Err(problem) = Dpop::new(url) {
                section
                    .problem("url", problem.problems().map(|(_, text)| text).collect::<String>());
            }
        }
        config
    }

    /// Returns true unless the algorithms exclude all those of the FAPI 2.0 Security Profile.
    pub(super) fn fits_fapi2(&self) -> bool {
        self.algorithms.as_ref().is_none_or(|all| all.iter().any(|one| FAPI2.contains(one)))
    }

    /// Returns the configured `Dpop`. Reads the secret.
    pub(super) fn load(&self) -> Result<Dpop, ConfigError> {
        let (first, others) =
            self.urls.split_first().map_or(("", &[][..]), |(first, others)| (first, others));
        let mut dpop = Dpop::new(first)?;
        for url in others {
            dpop = dpop.or_url(url)?;
        }
        if let Some(algorithms) = &self.algorithms {
            dpop = dpop.algorithms(algorithms.iter().copied());
        }
        if let Some(window) = self.window {
            dpop = dpop.window(window);
        }
        if let Some(ahead) = self.max_ahead {
            dpop = dpop.max_ahead(ahead);
        }
        if let Some(rotation) = self.rotation {
            dpop = dpop.nonce_rotation(rotation);
        }
        if let Some(secret) = &self.secret {
            let secret = secret.load();
            let secret = secret.map_err(|problem| ConfigError::of("nonce_secret", problem))?;
            dpop = dpop.nonce_secret(NonceSecret::new(secret.as_bytes())?);
        }
        Ok(match self.nonce {
            Some(Nonce::Accept) => dpop.accept_nonce(),
            Some(Nonce::Off) | None => dpop,
            Some(Nonce::Require) => dpop.require_nonce(),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::file::Config;

    fn built(dpop: &str) -> String {
        let text = format!(
            "audience = \"https://api.example.com\"\nrequire_binding = true\n\
             [[issuer]]\nissuer = \"https://as.example.com\"\nmode = \"jwt\"\n[dpop]\n{dpop}"
        );
        let built = Config::from_toml(&text).and_then(|config| config.build());
        built.map_or_else(|error| error.to_string(), |api| format!("{:?}", api.policy()))
    }

    #[test]
    fn dpop_table_sets_all_options() {
        let policy = built(
            "url = [\"https://api.example.com\", \"https://old.example.com/api\"]\n\
             algorithms = [\"ES256\", \"EdDSA\"]\nwindow_seconds = 10\n\
             max_ahead_seconds = 7\nnonce = \"require\"\nnonce_rotation_seconds = 120\n\
             danger_nonce_secret = \"0123456789abcdef0123456789abcdef\"",
        );
        for part in ["old.example.com", "[ES256, EdDSA]", "10s", "7s", "Required", "required: true"]
        {
            assert!(policy.contains(part), "{part}: {policy}");
        }
        assert!(!policy.contains("0123456789"), "{policy}");
        assert!(
            built("url = \"https://api.example.com\"\nnonce = \"accept\"").contains("Optional")
        );
    }

    #[test]
    fn all_problems_are_reported_without_the_secret() {
        let told = built(
            "url = [\"api.example.com\"]\nalgorithms = [\"none\", \"HS256\"]\nwindow_seconds = -1\n\
             nonce = \"yes\"\nnonces = true\nnonce_secret_env = \"A\"\ndanger_nonce_secret = \"s3cret\"",
        );
        let told: Vec<_> = told.lines().collect();
        assert_eq!(
            told,
            [
                "dpop.algorithms: `none`: not a supported signature algorithm",
                "dpop.window_seconds: expected a number of seconds",
                "dpop.nonce: expected `off` or `accept` or `require`",
                "dpop.nonce_secret: give exactly one of `nonce_secret_file`, `nonce_secret_env` and `danger_nonce_secret`",
                "dpop.algorithms: `HS256`: a proof is made with a private key (RFC 9449 §4.2)",
                "dpop.url: must be an http or https URL without query, fragment or user",
                "dpop.nonces: unknown setting",
            ]
        );
        assert_eq!(built(""), "dpop.url: missing");
        let url = "url = \"https://api.example.com\"";
        let unused =
            built(&format!("{url}\nnonce_rotation_seconds = 60\nnonce_secret_env = \"A\""));
        let told = [
            "dpop.nonce_secret: has no effect while `nonce` is `off`",
            "dpop.nonce_rotation_seconds: has no effect while `nonce` is `off`",
        ];
        assert_eq!(unused.lines().collect::<Vec<_>>(), told);
        let short = "nonce = \"accept\"\ndanger_nonce_secret = \"s3cret\"";
        let short = built(&format!("{url}\n{short}"));
        assert_eq!(short, "dpop.nonce_secret: must have at least 32 bytes");
    }
}

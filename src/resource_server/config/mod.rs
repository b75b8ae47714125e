//! A [`ResourceServer`] from a file.
//!
//! ```
//! use tower_introspect::resource_server::Config;
//!
//! let config = Config::from_toml(
//!     r#"
//!     audience = "https://api.example.com"
//!     required_scopes = ["api"]
//!
//!     [[issuer]]
//!     issuer = "https://as.example.com"
//!     mode = "jwt"
//!
//!     [[issuer]]
//!     issuer = "https://opaque.example.com"
//!     mode = "introspect"
//!     client = { method = "basic", id = "api", secret_file = "/run/secrets/api" }
//!     "#,
//! )?;
//! // The file with the secret is read now.
//! assert_eq!(
//!     config.build().unwrap_err().problems().next().unwrap().0,
//!     "issuer https://opaque.example.com.client.secret",
//! );
//! # Ok::<(), tower_introspect::ConfigError>(())
//! ```
//!
//! # Settings
//!
//! | setting | what it is |
//! |---|---|
//! | `audience` | who this service is: an identifier, or several, of which the first is its own |
//! | `required_scopes` | the scopes that every token must have |
//! | `leeway_seconds` | how far the clocks of issuers may be off; 30 |
//! | `max_age_seconds` | how long an introspected token is remembered; 30, 0 for not at all |
//! | `stale_if_error_seconds` | how much longer while its server is not available; 0 |
//! | `resource_metadata` | the URL to name in challenges (RFC 9728 §5.1) |
//! | `danger_allow_http_loopback` | takes `http` URLs of this machine, for tests |
//! | `[[issuer]]` | the trusted issuers, at least one |
//! | `[forward]` | the headers that tell a service behind who makes a request |
//!
//! Of an issuer:
//!
//! | setting | modes | what it is |
//! |---|---|---|
//! | `issuer` | all | its identifier |
//! | `mode` | | `jwt`, `introspect`, or `hybrid`: JWTs locally, asking about the rest |
//! | `jwks_uri` | `jwt`, `hybrid` | where its keys are, instead of discovering it |
//! | `jwks_file` | `jwt`, `hybrid` | a file with its keys, instead of fetching them |
//! | `algorithms` | `jwt`, `hybrid` | the signature algorithms to accept |
//! | `profile` | `jwt`, `hybrid` | `rfc9068`, or `generic` for issuers that don't follow it |
//! | `scope_claim` | `jwt`, `hybrid` | the claim that holds the scope, if not `scope` |
//! | `danger_audience_claim` | `jwt`, `hybrid` | the claim that stands in for an absent `aud` |
//! | `introspection_endpoint` | `introspect`, `hybrid` | its URL, instead of discovering it |
//! | `token_prefix` | `introspect`, `hybrid` | what its opaque tokens, and no other's, start with |
//! | `token_type_hint` | `introspect`, `hybrid` | the hint to send; none |
//! | `timeout_seconds` | `introspect`, `hybrid` | how long to wait for an answer |
//! | `require_signed_response` | `introspect`, `hybrid` | takes only signed answers (RFC 9701) |
//! | `danger_default_audience` | `introspect`, `hybrid` | the audience of tokens without one |
//! | `client` | `introspect`, `hybrid` | how this service authenticates to it |
//!
//! Of a client:
//!
//! | setting | methods | what it is |
//! |---|---|---|
//! | `method` | | `secret` (as the metadata says), `basic`, `basic_raw`, `post`, `bearer`, `private_key_jwt`, `client_secret_jwt` |
//! | `id` | all but `bearer` | the client identifier |
//! | `secret_file`, `secret_env` | those with a secret | where the secret is |
//! | `token_file`, `token_env` | `bearer` | where the token is |
//! | `key_file`, `key_env` | `private_key_jwt` | where the private key is, in PEM |
//! | `algorithm`, `kid` | `private_key_jwt` | what to sign with it, and its name |
//! | `assertion_audience` | `secret` and the two JWT ones | for whom assertions are meant, if not the issuer |
//!
//! To forward, the names of headers (see [`ForwardHeaders`]):
//!
//! | setting | what the header tells |
//! |---|---|
//! | `issuer`, `subject`, `client`, `scope` | that |
//! | `claims` | a table: of each claim named, its text |
//! | `json` | a table: of each claim named, its JSON |
//!
//! Exactly one place of a secret is given. `danger_secret`, `danger_token` and `danger_key` hold it
//! in the file itself. Client certificates need a transport of yours: see [`Config::builder`].

mod forward;
mod issuer;
mod reader;

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Table;

use self::{issuer::IssuerConfig, reader::Section};
use super::{ResourceServer, ResourceServerBuilder};
use crate::{
    claims::is_scope_token, error::ConfigError, layer::ForwardHeaders, policy::Requirement,
};

/// The settings of a [`ResourceServer`], from TOML or from a part of any document that serde reads.
///
/// See the [module docs](self) for the settings. Unknown ones are errors. `Debug` shows no secrets.
///
/// ```
/// use tower_introspect::resource_server::Config;
///
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     port: u16,
///     auth: Config,
/// }
///
/// let settings: Settings = serde_json::from_str(
///     r#"{
///         "port": 8080,
///         "auth": {
///             "audience": "https://api.example.com",
///             "issuer": [{"issuer": "https://as.example.com", "mode": "jwt"}]
///         }
///     }"#,
/// )?;
/// let resource_server = settings.auth.build()?;
/// # assert_eq!(settings.port, 8080);
/// # let _ = resource_server;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Config {
    audiences: Vec<String>,
    scopes: Vec<String>,
    leeway: Option<Duration>,
    max_age: Option<Duration>,
    stale_if_error: Option<Duration>,
    resource_metadata: Option<String>,
    loopback_http: bool,
    issuers: Vec<IssuerConfig>,
    forward: Option<ForwardHeaders>,
}

impl Config {
    /// Reads settings. Reads no other file and sends nothing.
    ///
    /// # Errors
    ///
    /// All that is wrong with the settings, each problem with the name of its setting. No problem
    /// shows the value of a secret.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let table = text.parse::<Table>().map_err(|error| {
            // Its `Display` form would quote the line, which may hold a secret.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let mut problem = ConfigError::new();
            problem.push(format!("line {line}"), error.message());
            problem
        })?;
        Self::read(table)
    }

    /// The resource server. Reads the files and variables with secrets and keys; sends nothing.
    ///
    /// # Errors
    ///
    /// All that is wrong.
    pub fn build(&self) -> Result<ResourceServer, ConfigError> {
        self.builder()?.build()
    }

    /// What [`build`](Self::build) builds, to change it before: to set a transport or a clock.
    ///
    /// # Errors
    ///
    /// If a file or a variable can't be read.
    pub fn builder(&self) -> Result<ResourceServerBuilder, ConfigError> {
        let mut problems = ConfigError::new();
        let audience = self.audiences.first().map(String::as_str).unwrap_or_default();
        let mut builder = ResourceServer::builder(audience).policy(|mut policy| {
            for other in self.audiences.iter().skip(1) {
                policy = policy.or_audience(other);
            }
            if !self.scopes.is_empty() {
                policy =
                    policy.require(Requirement::all_scopes(self.scopes.iter().map(String::as_str)));
            }
            match &self.resource_metadata {
                Some(url) => policy.resource_metadata(url),
                None => policy,
            }
        });
        if let Some(leeway) = self.leeway {
            builder = builder.leeway(leeway);
        }
        if let Some(age) = self.max_age {
            builder = builder.max_age(age);
        }
        if let Some(more) = self.stale_if_error {
            builder = builder.stale_if_error(more);
        }
        if let Some(headers) = &self.forward {
            builder = builder.forward(headers.clone());
        }
        if self.loopback_http {
            builder = builder.danger_allow_http_loopback();
        }
        for issuer in &self.issuers {
            match issuer.load() {
                Ok(issuer) => builder = builder.issuer(issuer),
                Err(problem) => problems.merge(&format!("issuer {}", issuer.name()), problem),
            }
        }
        problems.or_ok(builder)
    }

    fn read(table: Table) -> Result<Self, ConfigError> {
        let mut section = Section::new(table);
        section.need("audience");
        section.need("issuer");
        let config = Self {
            audiences: section.texts("audience").unwrap_or_default(),
            scopes: section.texts("required_scopes").unwrap_or_default(),
            leeway: section.seconds("leeway_seconds"),
            max_age: section.seconds("max_age_seconds"),
            stale_if_error: section.seconds("stale_if_error_seconds"),
            resource_metadata: section.text("resource_metadata"),
            loopback_http: section.flag("danger_allow_http_loopback"),
            issuers: section.sections("issuer", IssuerConfig::read),
            forward: section.section("forward", forward::read),
        };
        if !config.scopes.iter().all(|scope| is_scope_token(scope)) {
            section.problem("required_scopes", "one of them is no scope (RFC 6749 §3.3)");
        }
        section.finish().or_ok(config)
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(Table::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers: Vec<_> = self.issuers.iter().map(IssuerConfig::name).collect();
        f.debug_struct("Config")
            .field("audiences", &self.audiences)
            .field("scopes", &self.scopes)
            .field("issuers", &issuers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let error = Config::from_toml(text).expect_err("something is wrong");
        error.to_string().lines().map(str::to_owned).collect()
    }

    fn minimal(issuer: &str) -> String {
        format!(
            "audience = \"https://api.example.com\"\n[[issuer]]\n\
             issuer = \"https://as.example.com\"\n{issuer}"
        )
    }

    #[test]
    fn every_problem_is_named() {
        let text = r#"
            audience = ["https://api.example.com", ""]
            required_scopes = "two words"
            leeway_seconds = -1
            max_age_seconds = "30"
            stale_if_error_seconds = -0.5
            resource_metadata = 7
            audiance = "https://api.example.com"

            [[issuer]]
            mode = "jwks"
            algorithms = ["ES256", "none"]
            jwks_uri = "https://as.example.com/jwks"
            jwks_file = "keys.json"

            [[issuer]]
            issuer = "https://two.example.com"
            mode = "introspect"
            profile = "generic"
            require_signed_response = "yes"
            timeout_seconds = "3"

            [[issuer]]
            issuer = "https://three.example.com"
            mode = "hybrid"
            client = { method = "basic", secret_env = "A", danger_secret = "s3cret", kid = "x" }

            [[issuer]]
            issuer = "https://four.example.com"
            mode = "jwt"
            client = { method = "basic" }
        "#;
        assert_eq!(
            problems(text),
            [
                "audience: it is not a text or an array of texts, not empty",
                "leeway_seconds: it is not a number of seconds",
                "max_age_seconds: it is not a number of seconds",
                "stale_if_error_seconds: it is not a number of seconds",
                "resource_metadata: it is not a text that is not empty",
                "issuer[0].issuer: it is missing",
                "issuer[0].mode: it is not `jwt` or `introspect` or `hybrid`",
                "issuer[0].jwks_file: give it or `jwks_uri`, not both",
                "issuer[0].algorithms: `none`: no supported signature algorithm",
                "issuer[1].client: it is missing",
                "issuer[1].timeout_seconds: it is not a number of seconds",
                "issuer[1].require_signed_response: it is not true or false",
                "issuer[1].profile: it is not a setting here",
                "issuer[2].client.id: it is missing",
                "issuer[2].client.secret: give exactly one of `secret_file`, `secret_env` and `danger_secret`",
                "issuer[2].client.kid: it is not a setting here",
                "issuer[3].client: it is not a setting here",
                "required_scopes: one of them is no scope (RFC 6749 §3.3)",
                "audiance: it is not a setting here",
            ]
        );
        assert_eq!(problems(""), ["audience: it is missing", "issuer: it is missing"]);
    }

    #[test]
    fn no_problem_and_no_debug_form_shows_a_secret() {
        let secret = "hunter2";
        let good = minimal(
            "mode = \"hybrid\"\n\
             client = { method = \"post\", id = \"api\", danger_secret = \"hunter2\" }",
        );
        let config = Config::from_toml(&good).expect("sound settings");
        assert!(!format!("{config:?}").contains(secret));
        for client in [
            "{ method = \"post\", id = \"api\", danger_secret = \"hunter2",
            "{ method = \"post\", id = \"api\", danger_secret = hunter2 }",
            "{ method = \"post\", id = \"api\", danger_secret = [\"hunter2\"] }",
            "{ method = \"hunter2\", danger_secret = \"hunter2\" }",
            "{ danger_secret = \"hunter2\", danger_secret = \"hunter2\" }",
            "\"hunter2\"",
        ] {
            let text = minimal(&format!("mode = \"hybrid\"\nclient = {client}"));
            let told = problems(&text).join("\n");
            assert!(!told.contains(secret), "{told}");
        }
        let key = good.replace("post", "private_key_jwt").replace("_secret", "_key");
        let key = key.replace("id = \"api\"", "id = \"api\", algorithm = \"ES256\"");
        let config = Config::from_toml(&key).expect("a key that is not read yet");
        let told = config.build().unwrap_err().to_string();
        assert!(told.starts_with("issuer https://as.example.com.client.key: "), "{told}");
        assert!(!told.contains(secret), "{told}");
    }

    #[test]
    fn secrets_come_from_files_without_their_line_end() {
        let directory = std::env::temp_dir().join(format!("introspect-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("secret");
        let build = |content: &str| {
            std::fs::write(&file, content).unwrap();
            let text = minimal(&format!(
                "mode = \"introspect\"\n\
                 client = {{ method = \"basic\", id = \"api\", secret_file = '{}' }}",
                file.display()
            ));
            Config::from_toml(&text).unwrap().build().map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(build("s3cret\r\n"), Ok(()));
        let name = "issuer https://as.example.com.client.secret";
        assert_eq!(build("\n"), Err(format!("{name}: it is empty")));
        let long = "x".repeat(1024 * 1024 + 1);
        assert_eq!(build(&long), Err(format!("{name}: `{}` is too large", file.display())));
        std::fs::remove_dir_all(&directory).unwrap();

        let secret = reader::Secret::Inline("  s3cret \n".to_owned().into());
        assert_eq!(secret.load().as_deref(), Ok("  s3cret "));
        let unset = reader::Secret::Env("INTROSPECT_NO_SUCH_VARIABLE".to_owned());
        let problem = "the variable `INTROSPECT_NO_SUCH_VARIABLE` is not set";
        assert_eq!(unset.load(), Err(problem.to_owned()));
    }

    #[test]
    fn a_line_that_is_no_toml_is_told() {
        let [problem] = problems("audience = \"a\"\n\n[issuer").try_into().unwrap();
        assert!(problem.starts_with("line 3: "), "{problem}");
    }

    #[test]
    fn what_only_building_can_tell_is_told() {
        for (issuer, name) in [
            ("mode = \"jwt\"\njwks_file = \"/nowhere\"", "jwks_file"),
            ("mode = \"jwt\"\njwks_uri = \"http://as.example.com\"", "jwt.jwks_uri"),
            ("mode = \"jwt\"\ndanger_audience_claim = \"aud\"", "jwt.audience_claim"),
            (
                "mode = \"introspect\"\nintrospection_endpoint = \"http://x\"\n\
                 client = { method = \"secret\", id = \"api\", danger_secret = \"x\", \
                 assertion_audience = \"https://as.example.com/introspect\" }",
                "introspection.endpoint",
            ),
            (
                "mode = \"introspect\"\nintrospection_endpoint = \"ftp://x\"\n\
                 client = { method = \"bearer\", danger_token = \"x\" }",
                "introspection.endpoint",
            ),
        ] {
            let problems = Config::from_toml(&minimal(issuer)).unwrap().build().unwrap_err();
            let names: Vec<_> = problems.problems().map(|(name, _)| name).collect();
            assert_eq!(names, [format!("issuer https://as.example.com.{name}")]);
        }
    }
}

//! The settings of connections to the servers of issuers: `[transport]`, trusted authorities, and
//! client certificates.

use std::{path::PathBuf, time::Duration};

use super::reader::{Secret, Section, load_file};
use crate::{
    error::config::ConfigError,
    transport::{
        builder::TransportBuilder, http_transport::HttpTransport, renewed::RenewedTransport,
    },
};

/// The table `[transport]`: the settings of connections to all issuers.
#[derive(Clone, Default)]
pub(super) struct TransportConfig {
    pub(super) ca_file: Option<PathBuf>,
    pub(super) proxy: Option<String>,
    pub(super) without_proxy: bool,
    connect_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    max_idle: Option<usize>,
}

impl TransportConfig {
    pub(super) fn read(section: &mut Section) -> Self {
        let this = Self {
            ca_file: section.text("ca_file").map(Into::into),
            proxy: section.text("proxy"),
            without_proxy: section.flag("without_proxy"),
            connect_timeout: section.seconds("connect_timeout_seconds"),
            idle_timeout: section.seconds("idle_timeout_seconds"),
            max_idle: section.count("max_idle_connections"),
        };
        if this.proxy.is_some() && this.without_proxy {
            section.problem("without_proxy", "conflicts with `proxy`");
        }
        if this.proxy.as_ref().is_some_and(|url| url.contains('@')) {
            // This setting may be shown, unlike those of secrets.
            let problem = "must not hold a password: use the variable `HTTPS_PROXY`";
            section.problem("proxy", problem);
        }
        this
    }

    /// Returns the transport of issuers without settings of their own. Reads the file with the
    /// authorities.
    pub(super) fn transport(&self) -> Result<HttpTransport, ConfigError> {
        Tls { common: self.clone(), authorities: None, client: None }.transport()
    }

    fn to_builder(&self) -> TransportBuilder {
        let mut builder = HttpTransport::builder();
        if let Some(url) = &self.proxy {
            builder = builder.proxy(url);
        }
        if self.without_proxy {
            builder = builder.without_proxy();
        }
        if let Some(timeout) = self.connect_timeout {
            builder = builder.connect_timeout(timeout);
        }
        if let Some(timeout) = self.idle_timeout {
            builder = builder.idle_timeout(timeout);
        }
        match self.max_idle {
            Some(connections) => builder.max_idle_connections(connections),
            None => builder,
        }
    }
}

/// The settings of connections to the servers of one issuer.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) common: TransportConfig,
    /// The authorities of this issuer, instead of those in `common`.
    pub(super) authorities: Option<PathBuf>,
    pub(super) client: Option<ClientCert>,
}

/// The configured certificate of this service, and the location of its key.
#[derive(Clone)]
pub(super) struct ClientCert {
    pub(super) certificate: PathBuf,
    pub(super) key: Secret,
}

impl Tls {
    /// Returns a transport that reads its files, and reads them again when they are renewed.
    ///
    /// # Errors
    ///
    /// Returns why there is no transport, never the content of a file.
    pub(super) fn transport(&self) -> Result<HttpTransport, ConfigError> {
        let this = self.clone();
        RenewedTransport::new(self.files(), move || this.build()).map(HttpTransport::from)
    }

    fn ca_file(&self) -> Option<&PathBuf> {
        self.authorities.as_ref().or(self.common.ca_file.as_ref())
    }

    fn files(&self) -> Vec<PathBuf> {
        let client = self.client.as_ref();
        let key = client.and_then(|client| match &client.key {
            Secret::File(path) => Some(path),
            Secret::Env(_) | Secret::Inline(_) => None,
        });
        let all = [self.ca_file(), client.map(|client| &client.certificate), key];
        all.into_iter().flatten().cloned().collect()
    }

    fn build(&self) -> Result<HttpTransport, ConfigError> {
        let mut problems = ConfigError::new();
        let mut builder = self.common.to_builder();
        if let Some(pem) = self.client.as_ref().and_then(|client| client.load(&mut problems)) {
            builder = builder.identity_pem(pem);
        }
        if let Some(file) = self.ca_file() {
            match load_file(file) {
                Ok(pem) => builder = builder.ca_pem(pem),
                Err(problem) => problems.push("ca_file", problem),
            }
        }
        // Problems of files that can be read are reported beside those of others.
        match builder.build() {
            Ok(transport) => problems.or_ok(transport),
            Err(more) => {
                for (name, problem) in more.problems() {
                    match (name, self.ca_file()) {
                        ("ca_pem", Some(file)) => {
                            problems.push("ca_file", format!("`{}` has {problem}", file.display()));
                        }
                        ("identity_pem", _) => problems.push("client.certificate_file", problem),
                        (name, _) => problems.push(name, problem),
                    }
                }
                Err(problems)
            }
        }
    }
}

impl ClientCert {
    /// Reads the certificate and its key. Adds what is wrong with either file to `problems`.
    fn load(&self, problems: &mut ConfigError) -> Option<Vec<u8>> {
        let chain = load_file(&self.certificate);
        let chain = chain.map_err(|problem| problems.push("client.certificate_file", problem)).ok();
        // The same file is not read twice: the result would hold two keys.
        let same = matches!(&self.key, Secret::File(path) if *path == self.certificate);
        let key = if same { Ok(String::new()) } else { self.key.load() };
        let key = key.map_err(|problem| problems.push("client.key", problem)).ok();
        Some([chain?, b"\n".to_vec(), key?.into_bytes()].concat())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{ClientCert, Tls, TransportConfig};
    use crate::config::{file::Config, reader::Secret};

    /// A directory that is removed on drop.
    struct TempDir(PathBuf);

    impl TempDir {
        fn new(name: &str) -> Self {
            let name = format!("introspect-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn put(&self, name: &str, text: &str) {
            std::fs::write(self.0.join(name), text).unwrap();
        }

        /// Returns the problems of a service with this issuer.
        fn reported(&self, issuer: &str) -> Vec<String> {
            let directory = self.0.display().to_string();
            let issuer = issuer.replace("DIR", &directory);
            let text = format!("audience = \"a\"\n[[issuer]]\nissuer = \"https://as\"\n{issuer}");
            let built = Config::from_toml(&text).and_then(|config| config.build());
            let Err(problems) = built else { return Vec::new() };
            let text = problems.to_string().replace(&directory, "DIR");
            text.lines().map(|line| line.replace("issuer `https://as`.", "")).collect()
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            // If the directory can't be removed, it stays.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Returns a certificate and its key.
    fn new_certificate() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["api".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    const CLIENT: &str = "mode = \"introspect\"\n[issuer.client]\nmethod = \"mtls\"\nid = \"api\"\n\
        certificate_file = 'DIR/a.pem'\nkey_file = 'DIR/a.key'";

    const NONE: [&str; 0] = [];

    #[test]
    fn rfc8705_2_the_certificate_of_a_client_comes_from_files() {
        let directory = TempDir::new("tls-files");
        let (certificate, key) = new_certificate();
        directory.put("a.pem", &certificate);
        directory.put("a.key", &key);
        assert_eq!(directory.reported(CLIENT), NONE);
        // Both are in one file, which is given twice; also with an authority.
        directory.put("both.pem", &format!("{certificate}{key}"));
        let both = CLIENT.replace("a.pem", "both.pem").replace("a.key", "both.pem");
        assert_eq!(directory.reported(&both), NONE);
        assert_eq!(directory.reported(&format!("ca_file = 'DIR/a.pem'\n{both}")), NONE);
        assert_eq!(directory.reported("mode = \"jwt\"\nca_file = 'DIR/a.pem'"), NONE);
        let quotes = "'".repeat(3);
        let inline = format!("danger_key = {quotes}{key}{quotes}");
        assert_eq!(directory.reported(&CLIENT.replace("key_file = 'DIR/a.key'", &inline)), NONE);
    }

    #[test]
    fn every_file_that_is_read_is_looked_after() {
        let client = |key| ClientCert { certificate: "c".into(), key };
        let files = |key| {
            let common = TransportConfig { ca_file: Some("all".into()), ..Default::default() };
            Tls { common, authorities: Some("a".into()), client: Some(client(key)) }.files()
        };
        assert_eq!(files(Secret::File("k".into())), ["a", "c", "k"].map(PathBuf::from));
        assert_eq!(files(Secret::Env("K".to_owned())), ["a", "c"].map(PathBuf::from));
    }

    #[test]
    fn problem_with_a_certificate_is_reported_without_its_key() {
        let directory = TempDir::new("tls-wrong");
        let ((certificate, _), (_, other)) = (new_certificate(), new_certificate());
        directory.put("a.pem", &certificate);
        directory.put("other.key", &other);
        directory.put("empty", "");
        let with_key = |name: &str| directory.reported(&CLIENT.replace("a.key", name));
        let missing = with_key("none.key");
        assert!(missing.len() == 1, "{missing:?}");
        assert!(missing[0].starts_with("client.key: `DIR/none.key`: "), "{missing:?}");
        let none =
            "client.certificate_file: expected a certificate and exactly one private key, in PEM";
        assert_eq!(with_key("a.pem"), [none]);
        assert_eq!(with_key("empty"), ["client.key: the secret is empty"]);
        // The key of another certificate.
        let other_key = with_key("other.key");
        assert!(other_key.len() == 1, "{other_key:?}");
        assert!(other_key[0].starts_with("client.certificate_file: "), "{other_key:?}");
        let secret = other.lines().nth(1).unwrap();
        assert!(!other_key[0].contains(secret), "{other_key:?}");

        let ca =
            |name: &str| directory.reported(&format!("mode = \"jwt\"\nca_file = 'DIR/{name}'"));
        assert_eq!(ca("empty"), ["ca_file: `DIR/empty` has no certificates in PEM"]);
        assert!(ca("none")[0].starts_with("ca_file: `DIR/none`: "));
        directory.put("bad", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
        assert_eq!(ca("bad"), ["ca_file: `DIR/bad` has no certificates in PEM"]);
        assert_eq!(
            directory.reported("mode = \"introspect\"\nclient = { method = \"mtls\" }"),
            [
                "issuer[0].client.id: missing",
                "issuer[0].client.certificate_file: missing",
                "issuer[0].client.key: give exactly one of `key_file`, `key_env` and `danger_key`",
            ]
        );
    }
}

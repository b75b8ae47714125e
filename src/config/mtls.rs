//! Reads the table `[mtls]`.

use std::{net::IpAddr, sync::Arc};

use super::reader::Section;
use crate::{
    credentials::head::RequestHead,
    error::config::ConfigError,
    proof::mtls::{field::CertificateField, settings::Mtls},
};

/// A function that returns the address a request comes from.
pub(super) type AddressFn = dyn Fn(RequestHead<'_>) -> Option<IpAddr> + Send + Sync;

/// The configured source of client certificates.
pub(super) struct MtlsConfig {
    proxies: Option<(CertificateField, Vec<String>)>,
    keep_field: bool,
}

impl MtlsConfig {
    pub(super) fn read(section: &mut Section) -> Self {
        let fields = [
            ("client_cert", CertificateField::ClientCert),
            ("xfcc", CertificateField::Xfcc),
            ("x_forwarded_tls_client_cert", CertificateField::XForwardedTlsClientCert),
        ];
        // Neither is of use without the other: anyone may write a header, and trusted proxies have
        // no effect without a header to read.
        let behind_proxy = section.has("field") || section.has("proxies");
        if behind_proxy {
            section.require("field");
            section.require("proxies");
        } else if section.has("keep_field") {
            section.problem("keep_field", "has no effect without `field` and `proxies`");
        }
        let field = section.keyword("field", &fields);
        let proxies = section.texts("proxies").unwrap_or_default();
        if !proxies.is_empty() {
            let networks = proxies.iter().map(String::as_str);
            let checked = Mtls::new().trust_proxy(CertificateField::ClientCert, networks, |_| None);
            for (_, problem) in checked.err().iter().flat_map(ConfigError::problems) {
                section.problem("proxies", problem);
            }
        }
        Self {
            proxies: field.map(|field| (field, proxies)),
            keep_field: section.flag("keep_field"),
        }
    }

    /// Returns the header with the certificate, if a proxy is trusted to set one.
    #[cfg(feature = "checks")]
    pub(super) fn field(&self) -> Option<CertificateField> {
        self.proxies.as_ref().map(|(field, _)| *field)
    }

    pub(super) fn load(&self, address_fn: Option<&Arc<AddressFn>>) -> Result<Mtls, ConfigError> {
        let Some((field, proxies)) = &self.proxies else { return Ok(Mtls::new()) };
        let Some(address_fn) = address_fn.map(Arc::clone) else {
            let problem =
                "no proxy can be trusted: the program has not set `Config::peer_address_fn`";
            return Err(ConfigError::of("proxies", problem));
        };
        let networks = proxies.iter().map(String::as_str);
        let mtls = Mtls::new().trust_proxy(*field, networks, move |head| address_fn(head))?;
        Ok(if self.keep_field { mtls.keep_field() } else { mtls })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::file::Config;

    fn read(mtls: &str) -> Result<Config, String> {
        let text = format!(
            "audience = \"https://api.example.com\"\n\
             [[issuer]]\nissuer = \"https://as.example.com\"\nmode = \"jwt\"\n[mtls]\n{mtls}"
        );
        Config::from_toml(&text).map_err(|error| error.to_string())
    }

    fn policy(config: &Config) -> String {
        let built = config.build().map(|api| format!("{:?}", api.policy()));
        built.unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn empty_table_uses_the_certificate_of_the_connection() {
        let policy = policy(&read("").unwrap());
        assert!(policy.contains("Mtls { field: None, proxies: None"), "{policy}");
    }

    #[test]
    fn proxies_need_a_function_for_the_peer_address() {
        let config = read(
            "field = \"xfcc\"\nproxies = [\"10.1.2.0/24\", \"2001:db8::1\"]\nkeep_field = true",
        );
        let config = config.unwrap();
        let told = policy(&config);
        assert!(told.starts_with("mtls.proxies: no proxy can be trusted"), "{told}");
        let policy = policy(&config.peer_address_fn(|_| None));
        let expected = "Mtls { field: Some(Xfcc), proxies: Some([10.1.2.0/24, 2001:db8::1/128])";
        assert!(policy.contains(expected), "{policy}");
    }

    #[test]
    fn all_problems_are_reported() {
        for (mtls, problems) in [
            ("field = \"client_cert\"", &["mtls.proxies: missing"][..]),
            ("proxies = \"10.1.2.3\"", &["mtls.field: missing"]),
            (
                "keep_field = true",
                &["mtls.keep_field: has no effect without `field` and `proxies`"],
            ),
            (
                "field = \"Client-Cert\"\nproxies = [\"0.0.0.0/0\", \"proxy\", \"10.1.2.3/8\"]\n\
                 keep_field = 1\nproxy = \"10.1.2.3\"",
                &[
                    "mtls.field: expected `client_cert` or `xfcc` or `x_forwarded_tls_client_cert`",
                    "mtls.proxies: `0.0.0.0/0` covers all addresses",
                    "mtls.proxies: `proxy` is not an address or network",
                    "mtls.proxies: `10.1.2.3/8` has bits beyond its prefix",
                    "mtls.keep_field: expected true or false",
                    "mtls.proxy: unknown setting",
                ],
            ),
            (
                "field = \"xfcc\"\nproxies = []",
                &["mtls.proxies: expected a non-empty text or an array of them"],
            ),
        ] {
            let told = read(mtls).unwrap_err();
            assert_eq!(told.lines().collect::<Vec<_>>(), problems, "{mtls}");
        }
    }
}

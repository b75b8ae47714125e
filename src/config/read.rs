//! Reads settings from a table and reports every problem at once.

use bytes::Bytes;
use toml::Table;
use tower::service_fn;

#[cfg(feature = "dpop")]
use super::dpop::DpopConfig;
#[cfg(feature = "mtls")]
use super::mtls::MtlsConfig;
#[cfg(any(feature = "dpop", feature = "mtls"))]
use super::program::ProgramHooks;
#[cfg(feature = "signals")]
use super::signals::SignalsConfig;
use super::{
    file::Config, forward, issuer::IssuerConfig, metadata::MetadataConfig, reader::Section,
    tls::TransportConfig,
};
use crate::{
    claims::scope::is_scope_token,
    error::config::ConfigError,
    transport::{
        error::{TransportError, TransportErrorKind},
        http_transport::HttpTransport,
    },
};

impl Config {
    pub(super) fn read(table: Table) -> Result<Self, ConfigError> {
        let mut section = Section::new(table);
        section.require("audience");
        section.require("issuer");
        if section.has("metadata") && section.has("resource_metadata") {
            section.problem("resource_metadata", "conflicts with `metadata`");
        }
        if section.has("without_authorization") && !section.has("token_header") {
            section.problem("without_authorization", "needs a `token_header` to take tokens from");
        }
        // An invalid value of this setting must not cause further problems about `http` URLs.
        let loopback_given = section.has("danger_allow_http_loopback");
        let mut config = Self {
            audiences: section.texts("audience").unwrap_or_default(),
            scopes: section.texts("required_scopes").unwrap_or_default(),
            advertised: section.texts("advertised_scopes").unwrap_or_default(),
            leeway: section.seconds("leeway_seconds"),
            max_token_lifetime: section.seconds("max_token_lifetime_seconds"),
            max_token_bytes: section.count("max_token_bytes"),
            max_age: section.seconds("max_age_seconds"),
            stale_if_error: section.seconds("stale_if_error_seconds"),
            metadata: section.valid_section("metadata", MetadataConfig::read),
            resource_metadata: section.text("resource_metadata"),
            realm: section.text("realm"),
            loopback_http: section.flag("danger_allow_http_loopback"),
            transport: section.valid_section("transport", TransportConfig::read),
            issuers: section.valid_sections("issuer", IssuerConfig::read),
            forward: section.valid_section("forward", forward::read),
            token_headers: section.parsed("token_header").unwrap_or_default(),
            without_authorization: section.flag("without_authorization"),
            require_binding: section.flag("require_binding"),
            #[cfg(any(feature = "dpop", feature = "mtls"))]
            fapi2: section.flag("fapi2"),
            #[cfg(feature = "dpop")]
            dpop: section.valid_section("dpop", DpopConfig::read),
            #[cfg(feature = "mtls")]
            mtls: section.valid_section("mtls", MtlsConfig::read),
            #[cfg(feature = "signals")]
            signals: section.valid_section("signals", SignalsConfig::read),
            #[cfg(any(feature = "dpop", feature = "mtls"))]
            program: ProgramHooks::default(),
        };
        #[cfg(feature = "dpop")]
        if config.fapi2 && config.dpop.as_ref().is_some_and(|dpop| !dpop.fits_fapi2()) {
            section.problem("dpop.algorithms", "`fapi2` allows none of these algorithms");
        }
        for (name, scopes) in
            [("required_scopes", &config.scopes), ("advertised_scopes", &config.advertised)]
        {
            if !scopes.iter().all(|scope| is_scope_token(scope)) {
                section.problem(name, "contains an invalid scope (RFC 6749 §3.3)");
            }
        }
        match section.finish().or_ok(()) {
            Ok(()) => Ok(config),
            Err(mut problems) => {
                config.loopback_http = loopback_given;
                let has_all_issuers =
                    !problems.problems().any(|(name, _)| name.starts_with("issuer"));
                problems.append(config.build_problems(has_all_issuers));
                Err(problems)
            }
        }
    }

    /// Returns the problems that building would report for the parts that were read without a
    /// problem.
    #[cfg_attr(not(feature = "signals"), expect(unused_variables, reason = "about transmitters"))]
    fn build_problems(mut self, has_all_issuers: bool) -> ConfigError {
        if self.audiences.is_empty() {
            // The missing audience is reported already, and the metadata can't be checked without
            // it.
            self.audiences.push("unknown".to_owned());
            self.metadata = None;
        }
        for scopes in [&mut self.scopes, &mut self.advertised] {
            scopes.retain(|scope| is_scope_token(scope));
        }
        // The program sets this later.
        #[cfg(feature = "mtls")]
        let this = self.peer_address_fn(|_| None);
        #[cfg(not(feature = "mtls"))]
        let this = self;
        let (builder, mut problems, issuers) = this.to_builder();
        let built = (issuers > 0).then(|| builder.transport(unused_transport()).build());
        #[cfg(feature = "signals")]
        {
            let api = built.as_ref().and_then(|built| built.as_ref().ok());
            let api = api.filter(|_| has_all_issuers && issuers == this.issuers.len());
            problems.append(this.signal_problems(api));
        }
        if let Some(Err(more)) = built {
            problems.append(more);
        }
        problems
    }
}

/// Returns a transport that sends nothing: checking settings needs no client.
fn unused_transport() -> HttpTransport {
    HttpTransport::new(service_fn(async |_: http::Request<Bytes>| {
        Err::<http::Response<Bytes>, _>(TransportError::new(TransportErrorKind::Connect))
    }))
}

#[cfg(test)]
mod tests {
    use super::Config;

    fn problems(text: &str) -> Vec<String> {
        let error = Config::from_toml(text).expect_err("something is wrong");
        error.to_string().lines().map(str::to_owned).collect()
    }

    const SETTINGS: &str = r#"
        audience = "https://api.example.com"
        leeway_seconds = -1
        [[issuer]]
        issuer = "https://one.example.com"
        mode = "introspect"
        client = { method = "basic", id = "api", secret_file = "/nowhere" }
        [[issuer]]
        issuer = "http://two.example.com"
        mode = "jwt"
        [[issuer]]
        issuer = "https://three.example.com"
        mode = "jwks"
        jwks_file = "/nowhere"
        [metadata]
        scopes_supported = "offline_access"
    "#;

    /// Problems with files are reported together with all others, not only once those are fixed.
    #[test]
    fn problems_of_reading_and_building_are_reported_together() {
        let told = problems(SETTINGS);
        let names: Vec<_> = told.iter().map(|one| one.split(": ").next().unwrap()).collect();
        assert_eq!(
            names,
            [
                "leeway_seconds",
                "issuer[2].mode",
                "issuer `https://one.example.com`.client.secret",
                "metadata.scopes_supported",
                "issuer `http://two.example.com`.jwt.issuer",
            ]
        );
        assert!(told[2].contains("`/nowhere`"), "{told:?}");
        // The same problems are reported when only they are left.
        let sound = SETTINGS.replace("= -1", "= 1").replace("jwks\"", "jwt\"");
        let built = Config::from_toml(&sound).unwrap().build().unwrap_err();
        let again: Vec<_> = built.problems().map(|(name, _)| name).collect();
        assert!(names[2..].iter().all(|name| again.contains(name)), "{again:?}");
    }

    /// The consequence of another problem would mislead the reader.
    #[test]
    fn consequences_of_a_problem_are_not_reported() {
        let issuer = "[[issuer]]\nissuer = \"http://127.0.0.1:1\"\nmode = \"jwt\"";
        let flag = format!("audience = \"a\"\ndanger_allow_http_loopback = \"yes\"\n{issuer}");
        assert_eq!(problems(&flag), ["danger_allow_http_loopback: expected true or false"]);
        let scopes = "required_scopes = \"a b\"\nmetadata = {}\n\
             issuer = [{ issuer = \"https://a\", mode = \"jwt\" }]";
        let scope = "required_scopes: contains an invalid scope (RFC 6749 §3.3)";
        assert_eq!(problems(scopes), ["audience: missing", scope]);
        let nobody =
            "audience = \"https://a\"\nmetadata = {}\nissuer = [{ issuer = \"https://a\" }]";
        let mode = "issuer[0].mode: missing, expected `jwt` or `introspect` or `hybrid` or \
             `jwt_and_introspect`";
        assert_eq!(problems(nobody), [mode]);
    }

    #[cfg(all(feature = "dpop", feature = "mtls"))]
    #[test]
    fn required_binding_needs_dpop_or_mtls() {
        let text = |more: &str| {
            let issuer = "issuer = [{ issuer = \"https://a\", mode = \"jwt\" }]";
            format!("audience = \"a\"\n{issuer}\n{more}")
        };
        let built = |more: &str| {
            let built = Config::from_toml(&text(more)).and_then(|config| config.build());
            built.map(|api| format!("{:?}", api.policy())).map_err(|error| error.to_string())
        };
        for setting in ["require_binding", "fapi2"] {
            let problem = "no token can be proven: add `[dpop]` or `[mtls]`";
            let told = built(&format!("{setting} = true"));
            assert_eq!(told, Err(format!("{setting}: {problem}")));
            for way in ["mtls = {}", "dpop = { url = \"https://a\" }"] {
                let policy = built(&format!("{setting} = true\n{way}")).unwrap();
                assert!(policy.contains("required: true"), "{policy}");
                assert_eq!(policy.contains("fapi2: true"), setting == "fapi2", "{policy}");
            }
            // A program may add the missing proof.
            let config = Config::from_toml(&text(&format!("{setting} = true"))).unwrap();
            let built = config
                .build_with(|builder| builder.mtls(crate::proof::mtls::settings::Mtls::new()));
            assert!(built.is_ok());
        }
        let unfit = "fapi2 = true\ndpop = { url = \"https://a\", algorithms = \"RS256\" }";
        let told = "dpop.algorithms: `fapi2` allows none of these algorithms";
        assert_eq!(built(unfit), Err(told.to_owned()));
        assert!(built(&unfit.replace("\"RS256\"", "[\"RS256\", \"ES256\"]")).is_ok());
        assert!(built(&unfit.replace("fapi2 = true", "fapi2 = false")).is_ok());
    }
}

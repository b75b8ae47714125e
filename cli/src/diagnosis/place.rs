//! The place of the settings that decide: a file, or the command line.

use tower_introspect::{
    inspect::{IssuerSettings, Settings},
    jwt::Profile,
};

use crate::deployment::Deployment;

/// The place of the settings.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    File(&'a Deployment),
    /// With the issuer and the client that options name.
    CommandLine {
        issuer: Option<&'a str>,
        client: Option<&'a str>,
    },
}

/// A setting: its key in a file, and its option on the command line, if there is one.
#[derive(Clone, Copy)]
pub(crate) struct Setting(&'static str, &'static str);

impl Setting {
    pub(crate) const ACCESS_TOKEN: Self = Self("access_token", "");
    pub(crate) const ALGORITHMS: Self = Self("algorithms", "--alg");
    pub(crate) const AUDIENCE: Self = Self("audience", "--audience");
    pub(crate) const CA: Self = Self("ca_file", "--ca");
    pub(crate) const CLIENT: Self = Self("client", "--client-id");
    pub(crate) const CRITICAL_MEMBERS: Self = Self("critical_members", "");
    pub(crate) const CUT_BY_SUBJECT: Self = Self("cut_by_subject", "");
    pub(crate) const DELIVERY: Self = Self("delivery", "");
    pub(crate) const DPOP: Self = Self("dpop", "");
    pub(crate) const ENDPOINT: Self = Self("introspection_endpoint", "--endpoint");
    pub(crate) const HINT: Self = Self("token_type_hint", "--hint");
    pub(crate) const ISSUER: Self = Self("issuer", "--issuer");
    pub(crate) const KEYS: Self = Self("jwks_uri", "--jwks");
    pub(crate) const LEEWAY: Self = Self("leeway_seconds", "--leeway");
    pub(crate) const LOGOUT_CLIENT_ID: Self = Self("logout_client_id", "");
    pub(crate) const LOGOUT_CUT_BY_SUBJECT: Self = Self("logout_cut_by_subject", "");
    pub(crate) const MAX_KEYS_TRIED: Self = Self("max_keys_tried", "");
    pub(crate) const MAX_TOKEN_BYTES: Self = Self("max_token_bytes", "--max-token-bytes");
    pub(crate) const MODE: Self = Self("mode", "");
    pub(crate) const MTLS: Self = Self("mtls", "");
    pub(crate) const POLL_URL: Self = Self("poll_url", "");
    pub(crate) const PROFILE: Self = Self("profile", "--profile");
    pub(crate) const SCOPE: Self = Self("required_scopes", "--scope");
    pub(crate) const SCOPE_CLAIM: Self = Self("scope_claim", "--scope-claim");
    pub(crate) const STREAM_ID: Self = Self("stream_id", "");
    pub(crate) const UNMARKED: Self = Self("danger_accept_unmarked_jwts", "");
    pub(crate) const VERIFIED_WITHIN: Self = Self("verified_within_seconds", "");
    pub(crate) const VERIFY_EVERY: Self = Self("verify_every_seconds", "");
}

impl<'a> Place<'a> {
    pub(crate) fn settings(self) -> Option<&'a Settings> {
        match self {
            Self::File(deployment) => Some(&deployment.settings),
            Self::CommandLine { .. } => None,
        }
    }

    /// Returns the names of the issuers.
    pub(crate) fn issuers(self) -> Vec<&'a str> {
        match self {
            Self::File(deployment) => deployment.issuers(),
            Self::CommandLine { issuer, .. } => issuer.into_iter().collect(),
        }
    }

    /// Returns the settings of the issuer that a token names, or else those of the only issuer.
    pub(crate) fn issuer(self, named: Option<&str>) -> Option<&'a IssuerSettings> {
        let issuers = &self.settings()?.issuers;
        let of_name = issuers.iter().find(|issuer| Some(&*issuer.issuer) == named);
        match issuers.as_slice() {
            [only] => of_name.or(Some(only)),
            _ => of_name,
        }
    }

    /// Returns the issuer that judges a token which names `named`, and the client that asks it.
    pub(crate) fn judge(self, named: Option<&str>) -> Option<(&'a str, Option<&'a str>)> {
        if let Self::CommandLine { issuer, client } = self {
            return Some((issuer?, client));
        }
        let issuer = self.issuer(named)?;
        Some((&issuer.issuer, issuer.client.as_ref().and_then(|client| client.id.as_deref())))
    }

    /// Names a setting, with the file that has it.
    pub(crate) fn name(self, Setting(key, option): Setting) -> String {
        match self {
            Self::File(deployment) => format!("`{key}` in {}", deployment.file_name()),
            Self::CommandLine { .. } if option.is_empty() => format!("`{key}` of the service"),
            Self::CommandLine { .. } => format!("`{option}`"),
        }
    }

    /// Returns a change of a setting, in words.
    pub(crate) fn with(self, setting: Setting, text: &str) -> String {
        format!("{}: {text}", self.name(setting))
    }

    /// Names the setting by which tokens that are not marked as access tokens are admitted.
    pub(crate) fn admitting(self, issuer: &str) -> String {
        let (setting, text) = match self.issuer(Some(issuer)) {
            Some(issuer) if issuer.accepts_unmarked => {
                (Setting::UNMARKED, "remove it, if access tokens can be told from ID tokens")
            }
            Some(issuer) if issuer.profile != Some(Profile::ServiceIdentity) => {
                (Setting::MODE, "the server calls it an access token, and its word counts")
            }
            _ => (Setting::PROFILE, "it takes tokens that identify somebody"),
        };
        self.with(setting, text)
    }

    /// Returns a change of a setting to this value.
    pub(crate) fn set(self, setting: Setting, value: &str) -> String {
        self.with(setting, &self.line(setting, value))
    }

    /// Returns the line of a file or the options that give a setting this value.
    pub(crate) fn line(self, setting: Setting, value: impl Into<toml::Value>) -> String {
        let (Setting(key, option), value) = (setting, value.into());
        if matches!(self, Self::File(_)) || option.is_empty() {
            return format!("{key} = {value}");
        }
        let option_of = |value: &toml::Value| match value.as_str() {
            Some(text) => format!("{option} {}", quoted(text)),
            None => format!("{option} {value}"),
        };
        match value.as_array() {
            Some(values) => values.iter().map(option_of).collect::<Vec<_>>().join(" "),
            None => option_of(&value),
        }
    }
}

/// Quotes a text for a shell. It may be from a token, so it must not become a command.
fn quoted(text: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./:@%+=,".contains(char);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_token_do_not_become_commands() {
        let line = |value: &str| {
            Place::CommandLine { issuer: None, client: None }.line(Setting::AUDIENCE, value)
        };
        assert_eq!(line("https://a.example/x"), "--audience https://a.example/x");
        assert_eq!(line("a; rm -rf $HOME"), "--audience 'a; rm -rf $HOME'");
        assert_eq!(line("a'`b`"), r"--audience 'a'\''`b`'");
    }
}

//! The changes for each kind of refusal, where nothing else explains it.

use std::sync::LazyLock;

use serde_json::Value;
use tower_introspect::{Blame, ErrorKind, TokenKind, checks::Check, jose::Algorithm};

use super::{Actor, Case, Diagnosis, Setting};
use crate::{
    causes,
    exchange::summary,
    net::{Exchange, redact_userinfo},
};

/// The changes that need no values, by the party that has to act and the reason of the refusal.
static CHANGES: LazyLock<toml::Table> =
    LazyLock::new(|| include_str!("changes.toml").parse().unwrap_or_default());

impl Diagnosis {
    /// Sets the changes and the party that has to act by the kind of the refusal.
    pub(super) fn advise(&mut self, case: &Case<'_>) {
        use ErrorKind as K;
        let (mode, issuer) = (case.issuer().map(|issuer| issuer.mode), case.issuer().is_some());
        let of_proof = matches!(self.kind, K::UnprovenPossession | K::InvalidProof);
        if of_proof && self.advise_proof(case) {
            return;
        }
        match self.kind {
            K::MalformedToken if case.kind.code == "opaque" => {
                return self.advise_introspection(case, "hybrid", "issue JWTs to this client");
            }
            K::UnsupportedToken if case.kind.code == "jwe" => {
                return self.advise_introspection(case, "introspect", "encrypt no tokens");
            }
            K::WrongTokenKind(TokenKind::Unmarked) => return self.advise_marks(case),
            _ => {}
        }
        self.advise_by_reason();
        match self.kind {
            K::TokenTooLong => {
                let length = self.found.as_deref().and_then(|found| found.split(' ').next());
                let length = length.and_then(|length| length.parse().ok());
                if let Some(length @ ..=65_536) = length {
                    let limit = i64::from(u32::next_power_of_two(length));
                    let text = "Raise the limit here, and in the proxies in front:";
                    self.change_setting(case, Setting::MAX_TOKEN_BYTES, text, limit);
                }
            }
            K::UnsupportedAlgorithm => self.advise_algorithm(case),
            K::WrongAudience if self.check == Some(Check::Audience) => self.advise_audience(case),
            K::MissingClaim("aud") if issuer && mode != Some("introspect") => {
                let text = "If only the introspection response has it:";
                self.change_setting(case, Setting::MODE, text, "introspect");
            }
            K::NotYetValid => {
                let text = "If they can't be corrected, tolerate the difference:";
                self.change_setting(case, Setting::LEEWAY, text, 60);
            }
            K::InsufficientScope => self.setting = Some(case.place.name(Setting::SCOPE)),
            K::InvalidProof => self.setting = Some(case.place.name(Setting::DPOP)),
            K::UntriedKeys => {
                self.change_setting(case, Setting::MAX_KEYS_TRIED, "Try more keys:", 16);
            }
            K::CredentialsRejected => self.setting = Some(case.place.name(Setting::CLIENT)),
            K::NotIntrospectable => {
                let text = self.changes.pop().map(|change| change.text).unwrap_or_default();
                self.change_setting(case, Setting::MODE, text, "hybrid");
            }
            _ => {}
        }
        if self.kind.blame() == Blame::AuthorizationServer || self.kind == K::CredentialsRejected {
            self.describe_upstream(case);
        } else if self.because.is_none() {
            self.because = case.error.context().map(str::to_owned);
        }
    }

    /// Sets the changes of the table.
    fn advise_by_reason(&mut self) {
        let mut actors = Actor::ALL.into_iter();
        let actor = actors.find(|actor| self.advise_from(actor.0, self.kind.reason()));
        self.actor = actor.unwrap_or(self.actor);
    }

    /// Adds the changes of an entry of the table. Returns false if there is none.
    pub(super) fn advise_from(&mut self, group: &str, name: &str) -> bool {
        let changes = CHANGES.get(group).and_then(|group| group.get(name)?.as_array());
        let changes = changes.into_iter().flatten().filter_map(toml::Value::as_str);
        let before = self.changes.len();
        changes.for_each(|text| self.change(text));
        self.changes.len() > before
    }

    /// Adds a change of a setting, and names the setting.
    fn change_setting(
        &mut self,
        case: &Case<'_>,
        setting: Setting,
        text: impl Into<String>,
        value: impl Into<toml::Value>,
    ) {
        self.setting = Some(case.place.name(setting));
        self.change_line(text, case.place.line(setting, value));
    }

    /// Only the authorization server can judge the token.
    fn advise_introspection(&mut self, case: &Case<'_>, mode: &str, other: &str) {
        if case.place.settings().is_some() {
            self.actor = Actor::SERVICE;
            let text = "Introspect such tokens, with credentials of this service (`client`):";
            self.change_setting(case, Setting::MODE, text, mode);
        } else {
            self.change(
                "Ask the authorization server about such a token: `introspect introspect`, or \
                 `introspect explain` with the settings of the service.",
            );
        }
        self.change(format!("Have the authorization server {other}."));
    }

    fn advise_algorithm(&mut self, case: &Case<'_>) {
        if self.check == Some(Check::Key) {
            self.changes.clear();
            return self.change(
                "The key that the token names is for another algorithm: check the published keys \
                 with `introspect keys lint`.",
            );
        }
        let named = self.found.as_deref().and_then(|found| found.parse::<Algorithm>().ok());
        // A shared secret is no key of an issuer: whoever verifies tokens could make them.
        if let Some(named) = named.filter(|named| !named.as_str().starts_with("HS")) {
            let allowed = self.expected.clone().unwrap_or_default();
            let all = allowed.split(", ").filter(|one| !one.is_empty()).chain([named.as_str()]);
            let text = "Allow it, if the issuer uses it:";
            self.change_setting(case, Setting::ALGORITHMS, text, all.collect::<Vec<_>>());
        }
    }

    fn advise_audience(&mut self, case: &Case<'_>) {
        let found = self.found.clone().unwrap_or_default();
        let found: Vec<_> = found.split(", ").filter(|name| !name.is_empty()).collect();
        // An audience that is a client is that of an ID token, or of none in particular.
        let client = case.claim("client_id").or_else(|| case.claim("azp"));
        let is_client = |name: &&str| client.as_ref().and_then(Value::as_str) == Some(*name);
        if let Some(first) = found.first().filter(|_| !found.iter().any(is_client)) {
            let own = self.expected.clone().unwrap_or_default();
            let names: Vec<_> = own.split(", ").chain([*first]).collect();
            let text = "If that is a name of this service too:";
            self.change_setting(case, Setting::AUDIENCE, text, names);
        }
    }

    fn advise_marks(&mut self, case: &Case<'_>) {
        self.actor = Actor::SETTINGS;
        self.change(
            "Have the authorization server mark access tokens: with the type `at+jwt`, a scope or \
             a client.",
        );
        self.change("If it does, this is no access token: have the client send that one.");
        if case.issuer().is_some_and(|issuer| issuer.mode == "jwt") {
            self.change_setting(case, Setting::MODE, "Have its server judge them:", "introspect");
        }
        let text = "If such tokens identify services, as those of Google:";
        self.change_setting(case, Setting::PROFILE, text, "service_identity");
        self.setting = Some(case.place.name(Setting::UNMARKED));
    }

    /// A bound token without a proof passes all other checks. Returns false for other failures.
    fn advise_proof(&mut self, case: &Case<'_>) -> bool {
        self.because = case.error.context().map(str::to_owned);
        let is_bound = self.found.as_deref().is_some_and(|found| found.contains("jkt"));
        let has_none = self.because.as_deref() == Some("there is no proof");
        if !is_bound || self.kind == ErrorKind::InvalidProof && !has_none {
            return false;
        }
        let missing = if has_none { "there is no proof; " } else { "" };
        self.found = Some("a DPoP-bound token, without a proof for this request".to_owned());
        self.because = Some(format!("{missing}the token itself passes all checks before this one"));
        self.change_line(
            "Have the client send a proof too. To explain such a request:",
            "--scheme DPoP --header 'DPoP: PROOF'",
        );
        if !case.place.settings().is_some_and(|settings| settings.has_dpop) {
            self.setting = Some(case.place.name(Setting::DPOP));
            self.change("This service accepts such tokens with the table `[dpop]`.");
        }
        true
    }

    /// Adds what an authorization server sent, where the failure is not that of the client.
    fn describe_upstream(&mut self, case: &Case<'_>) {
        if self.found.as_deref().is_none_or(|found| found == "none") {
            self.found = case.exchanges.iter().rev().find_map(describe);
        }
        if self.found.as_deref().is_some_and(|found| found.starts_with('3')) {
            self.because = Some("redirects are not followed".to_owned());
            self.changes.clear();
            match case.issuer().and_then(|issuer| issuer.endpoint.as_ref()) {
                Some(_) => {
                    self.actor = Actor::SERVICE;
                    self.setting = Some(case.place.name(Setting::ENDPOINT));
                    self.change("Set it to the endpoint itself.");
                }
                None => self.change("Have the server name the endpoint itself in its metadata."),
            }
            return;
        }
        let hint = causes::hint(&self.causes);
        // The status is found already.
        let context = case.error.context().filter(|why| !why.starts_with("introspection returned"));
        let causes = context.into_iter().chain(self.causes.iter().skip(1).map(String::as_str));
        let causes = causes.collect::<Vec<_>>().join(": ");
        self.because = hint.or((!causes.is_empty()).then_some(causes));
    }
}

/// Describes the response or the failure of an exchange. One that was cancelled tells nothing.
fn describe(exchange: &Exchange) -> Option<String> {
    let url = redact_userinfo(&exchange.request.uri().to_string());
    match exchange.outcome.as_ref()? {
        Ok(response) => Some(format!("{}, from {url}", summary(response))),
        Err(error) => Some(format!("{url}: {}", error.describe())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_changes_under_one_actor() {
        let kinds = include_str!("../../../src/error/kind.rs");
        let reasons = kinds.split("fn reason").nth(1).unwrap().split("impl fmt::Display").next();
        let mut count = 0;
        for reason in reasons.unwrap().split('"').skip(1).step_by(2) {
            let has = |actor: &&Actor| CHANGES[actor.0].get(reason).is_some();
            let actors = Actor::ALL.iter().filter(has).count();
            // The issuers are compared.
            let expected = if reason.ends_with("_issuer") { 0 } else { 1 };
            assert_eq!(actors, expected, "{reason}");
            count += actors;
        }
        let all = Actor::ALL.iter().map(|actor| CHANGES[actor.0].as_table().unwrap().len());
        assert_eq!(all.sum::<usize>(), count, "only reasons are keys");
        let changes = CHANGES.values().flat_map(|group| group.as_table().unwrap().values());
        for change in changes.flat_map(|changes| changes.as_array().unwrap()) {
            assert!(change.is_str(), "{change}");
        }
    }
}

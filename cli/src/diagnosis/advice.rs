//! The changes for each kind of refusal, where nothing else explains it.

use http::header::{CONTENT_TYPE, LOCATION};
use serde_json::Value;
use tower_introspect::{ErrorKind, TokenKind, checks::Check, jose::Algorithm};

use super::{Actor, Case, Diagnosis, Setting};
use crate::{
    causes,
    net::{Exchange, redact_userinfo},
};

impl Diagnosis {
    /// Sets the changes and the party that has to act by the kind of the refusal.
    pub(super) fn advise(&mut self, case: &Case<'_>) {
        use ErrorKind as K;
        match self.kind {
            K::TokenTooLong => self.advise_length(case),
            K::MalformedToken if case.kind_code() == "opaque" => self.advise_mode(
                case,
                "Introspect such tokens, with credentials of this service (`client`):",
                "hybrid",
                "Have the authorization server issue JWTs to this client.",
            ),
            K::UnsupportedToken if case.kind_code() == "jwe" => self.advise_mode(
                case,
                "Introspect such tokens, with credentials of this service (`client`):",
                "introspect",
                "Have the authorization server issue tokens that are not encrypted.",
            ),
            K::NotIntrospectable => self.advise_mode(
                case,
                "Verify JWTs by their signature:",
                "hybrid",
                "Have the authorization server issue opaque tokens to this client.",
            ),
            K::UnsupportedAlgorithm => self.advise_algorithm(case),
            K::WrongAudience => self.advise_audience(case),
            K::WrongTokenKind(TokenKind::Unmarked) => self.advise_unmarked(case),
            K::MissingClaim("aud") if self.check == Some(Check::Audience) => {
                self.advise_missing_audience(case);
            }
            K::NotYetValid => {
                self.change("Compare the clocks of this machine and the authorization server.");
                let line = case.place.line(Setting::LEEWAY, 60);
                self.change_line("If they can't be corrected, tolerate the difference:", line);
            }
            K::UnprovenPossession | K::InvalidProof | K::NonceRequired => self.advise_proof(case),
            K::InsufficientScope => {
                let needed = case.error.scope().unwrap_or("the required scope");
                self.change(format!("Have the client request the scope: {needed}"));
                self.change("If it did, the user or the authorization server did not grant it.");
                self.setting = Some(case.place.name(Setting::SCOPE));
            }
            K::UntriedKeys => {
                self.actor = Actor::AuthorizationServerSettings;
                self.change("Have the issuer name the key in the header of its tokens (`kid`).");
                let line = case.place.line(Setting::MAX_KEYS_TRIED, 16);
                self.change_line("Try more keys:", line);
            }
            K::CredentialsRejected => {
                self.setting = Some(case.place.name(Setting::CLIENT));
                self.change("Correct the client identifier, the secret or the `method`.");
                self.describe_upstream(case);
            }
            kind => {
                let (actor, changes) = fixed(kind);
                self.actor = actor.unwrap_or(self.actor);
                for change in changes {
                    self.change(*change);
                }
                self.describe_upstream(case);
            }
        }
        if self.because.is_none() && self.check.is_none() {
            self.because = case.error.context().map(str::to_owned);
        }
    }

    fn advise_length(&mut self, case: &Case<'_>) {
        self.actor = Actor::AuthorizationServerSettings;
        self.setting = Some(case.place.name(Setting::MAX_TOKEN_BYTES));
        self.change("Put less into the token, such as fewer groups and roles.");
        let length = self.found.as_deref().and_then(|found| found.split(' ').next()?.parse().ok());
        if let Some(length @ ..=65_536) = length {
            let line = u32::next_power_of_two(length).into();
            let line = case.place.line(Setting::MAX_TOKEN_BYTES, toml::Value::Integer(line));
            self.change_line("Raise the limit here, and in the proxies in front:", line);
        }
    }

    fn advise_mode(&mut self, case: &Case<'_>, text: &str, mode: &str, other: &str) {
        if case.place.settings().is_none() {
            self.change(
                "Ask the authorization server about such a token: `introspect introspect`, or \
                 `introspect explain` with the settings of the service.",
            );
        } else {
            self.actor = Actor::Service;
            self.setting = Some(case.place.name(Setting::MODE));
            self.change_line(text, case.place.line(Setting::MODE, mode));
        }
        self.change(other);
    }

    fn advise_algorithm(&mut self, case: &Case<'_>) {
        self.actor = Actor::AuthorizationServerSettings;
        if self.check == Some(Check::Key) {
            self.change(
                "The key that the token names is for another algorithm: check the published keys \
                 with `introspect keys lint`.",
            );
            return;
        }
        let allowed = self.expected.clone().unwrap_or_default();
        self.change("Have the authorization server sign with an algorithm that is allowed here.");
        self.setting = Some(case.place.name(Setting::ALGORITHMS));
        let named = self.found.as_deref().and_then(|found| found.parse::<Algorithm>().ok());
        // A shared secret is no key of an issuer: whoever verifies tokens could make them.
        if let Some(named) = named.filter(|named| !named.as_str().starts_with("HS")) {
            let all = allowed.split(", ").filter(|one| !one.is_empty()).chain([named.as_str()]);
            let line = case.place.line(Setting::ALGORITHMS, all.collect::<Vec<_>>());
            self.change_line("Allow it, if the issuer uses it:", line);
        }
    }

    fn advise_audience(&mut self, case: &Case<'_>) {
        if self.check != Some(Check::Audience) {
            self.because = case.error.context().map(str::to_owned);
            self.change("Have the client request this service as the audience of its token.");
            return;
        }
        self.setting = Some(case.place.name(Setting::AUDIENCE));
        self.change(
            "Have the client request a token for this service (`resource`, RFC 8707, or the \
             parameter of the authorization server for it).",
        );
        let found = self.found.as_deref().unwrap_or_default();
        let found: Vec<_> = found.split(", ").filter(|name| !name.is_empty()).collect();
        // An audience that is a client is that of an ID token, or of none in particular.
        let client = case.claim("client_id").or_else(|| case.claim("azp"));
        let is_client = |name: &&str| client.as_ref().and_then(Value::as_str) == Some(*name);
        if let Some(first) = found.first().filter(|_| !found.iter().any(|name| is_client(name))) {
            let own = self.expected.iter().flat_map(|own| own.split(", ")).chain([*first]);
            let line = case.place.line(Setting::AUDIENCE, own.collect::<Vec<_>>());
            self.change_line("If that is a name of this service too:", line);
        }
    }

    fn advise_missing_audience(&mut self, case: &Case<'_>) {
        self.actor = Actor::AuthorizationServerSettings;
        self.change("Have the authorization server name this service in `aud`.");
        let introspects = case.issuer().is_some_and(|issuer| issuer.mode == "introspect");
        if !introspects && case.issuer().is_some() {
            let line = case.place.line(Setting::MODE, "introspect");
            self.change_line("If only the introspection response has it:", line);
        }
    }

    fn advise_unmarked(&mut self, case: &Case<'_>) {
        self.actor = Actor::AuthorizationServerSettings;
        self.setting = Some(case.place.name(Setting::UNMARKED));
        self.change(
            "Have the authorization server mark access tokens: with the type `at+jwt`, a scope or \
             a client.",
        );
        self.change("If it does, this is no access token: have the client send that one.");
        if case.issuer().is_some_and(|issuer| issuer.mode == "jwt") {
            let line = case.place.line(Setting::MODE, "introspect");
            self.change_line("Have its server judge them:", line);
        }
        let line = case.place.line(Setting::PROFILE, "service_identity");
        self.change_line("If such tokens identify services, as those of Google:", line);
    }

    /// A bound token passes all other checks before the proof is missed.
    fn advise_proof(&mut self, case: &Case<'_>) {
        self.because = case.error.context().map(str::to_owned);
        let bound = case.claim("cnf").filter(|cnf| !cnf["jkt"].is_null()).is_some()
            || self.found.as_deref().is_some_and(|found| found.contains("jkt"));
        let is_missing = case.error.context() == Some("there is no proof");
        match self.kind {
            ErrorKind::UnprovenPossession | ErrorKind::InvalidProof
                if bound && (self.kind == ErrorKind::UnprovenPossession || is_missing) =>
            {
                self.found = Some("a DPoP-bound token, without a proof for this request".into());
                let missing = if is_missing { "there is no proof; " } else { "" };
                let passes = "the token itself passes all checks before this one";
                self.because = Some(format!("{missing}{passes}"));
                self.change_line(
                    "Have the client send a proof too. To explain such a request:",
                    "--scheme DPoP --header 'DPoP: PROOF'",
                );
                if !case.place.settings().is_some_and(|settings| settings.has_dpop) {
                    self.setting = Some(case.place.name(Setting::DPOP));
                    self.change("This service accepts such tokens with the table `[dpop]`.");
                }
            }
            ErrorKind::UnprovenPossession => {
                self.change(
                    "The token is bound to a key (`cnf`), or is sent as one that is bound: send \
                     the proof of the key, or have a bearer token issued.",
                );
            }
            ErrorKind::NonceRequired => {
                self.change("Repeat the request with a proof that has the nonce of `DPoP-Nonce`.");
            }
            _ => {
                self.change(
                    "Have the client make a new proof for each request: with its method, its URL \
                     as clients see it, the hash of this token and the current time.",
                );
                self.setting = Some(case.place.name(Setting::DPOP));
                self.change("If it does, the URL in the settings may differ from that of clients.");
            }
        }
    }

    /// Adds what an authorization server sent, where the failure is not that of the client.
    fn describe_upstream(&mut self, case: &Case<'_>) {
        if self.actor == Actor::Client {
            return;
        }
        if self.found.as_deref().is_none_or(|found| found == "none") {
            self.found = case.exchanges.iter().rev().find_map(describe);
        }
        if self.found.as_deref().is_some_and(|found| found.starts_with('3')) {
            self.because = Some("redirects are not followed".to_owned());
            self.changes.clear();
            match case.issuer().and_then(|issuer| issuer.endpoint.as_ref()) {
                Some(_) => {
                    self.actor = Actor::Service;
                    self.setting = Some(case.place.name(Setting::ENDPOINT));
                    self.change("Set it to the endpoint itself.");
                }
                None => self.change("Have the server name the endpoint itself in its metadata."),
            }
            return;
        }
        let hint = causes::hints(&self.causes).into_iter().next();
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
        Ok(response) => {
            let field = |name| response.headers().get(name)?.to_str().ok();
            let location = field(LOCATION).map(|to| format!(", to {to}"));
            let kind = field(CONTENT_TYPE).map(|kind| format!(", {kind}"));
            let more = location.or(kind).unwrap_or_default();
            Some(format!("{}{more}, from {url}", response.status()))
        }
        Err(error) => Some(format!("{url}: {}", error.describe())),
    }
}

/// The party that has to act, unless it is the usual one, and the changes.
type Fixed = (Option<Actor>, &'static [&'static str]);

/// Returns the changes for kinds that need no values.
const fn fixed(kind: ErrorKind) -> Fixed {
    use ErrorKind as K;
    const SETTINGS: Option<Actor> = Some(Actor::AuthorizationServerSettings);
    match kind {
        K::MissingCredentials => (
            None,
            &[
                "Send `Authorization: Bearer TOKEN`.",
                "If the client does: a proxy or a redirect may drop the header on the way.",
            ],
        ),
        K::UnsupportedScheme => (None, &["Send the token with the scheme `Bearer`."]),
        K::MalformedCredentials => (
            None,
            &[
                "Send `Bearer`, one space and the token: no quotes, line breaks or percent-encoding.",
            ],
        ),
        K::RepeatedCredentials => {
            (None, &["Send the token once, in one place. A proxy may add a header of its own."])
        }
        K::MalformedToken => (
            None,
            &["Compare it with the token that was issued: it may be cut or changed. `introspect \
               decode` shows how much of it can be read."],
        ),
        K::UnsupportedToken => (
            SETTINGS,
            &["Have the authorization server issue signed tokens, not encrypted or nested ones."],
        ),
        K::UnsupportedExtension => {
            (SETTINGS, &["Have the authorization server issue tokens without `crit` and `b64`."])
        }
        K::UnknownKey => (
            None,
            &[
                "The key was probably rotated: get a new token.",
                "If new tokens fail too, the server does not publish this key, or the keys and the \
                 tokens are from different servers.",
            ],
        ),
        K::BadSignature => (
            None,
            &[
                "Get a new token: this one was changed, or its key was replaced under the same \
                 name.",
                "If new tokens fail too, the keys are not those of the server that issued the \
                 token: check the environment and the tenant.",
            ],
        ),
        K::WrongTokenKind(_) => (
            None,
            &[
                "Have the client send an access token.",
                "If it does, have the authorization server set the type of access tokens to \
                 `at+jwt`.",
            ],
        ),
        K::MissingClaim(_) => {
            (SETTINGS, &["Have the authorization server put that claim into its tokens."])
        }
        K::InvalidClaim(_) => (
            SETTINGS,
            &["Have the authorization server give that claim the type of its definition."],
        ),
        K::Expired => (
            None,
            &[
                "Get a new token, for example with the refresh token.",
                "If it was issued just now, compare the clocks of this machine and the \
                 authorization server.",
            ],
        ),
        K::Inactive => (
            None,
            &[
                "Get a new token: this one has expired, was revoked or was never issued there.",
                "If new tokens fail too, another server issued them, or this client may not \
                 introspect them.",
            ],
        ),
        K::Revoked => (None, &["Get a new token: this one was revoked."]),
        K::ReplayUnavailable => (
            None,
            &["The store of used proofs is unavailable or full. Token and proof may be valid."],
        ),
        K::InsufficientAuthentication => {
            (None, &["Have the user log in again, as the challenge requires."])
        }
        K::Denied => {
            (None, &["The policy of this service denies access: another token will not help."])
        }
        K::TooManyRequests => (None, &["Wait: this peer has sent too many bad tokens."]),
        K::ClockWrong => (None, &["Correct the clock of this machine. The token may be valid."]),
        K::Unavailable => {
            (None, &["Make the authorization server reachable from here. The token may be valid."])
        }
        K::BadResponse => (
            None,
            &[
                "Correct that response. The token may be valid.",
                "The URL may belong to something else: a login page, a proxy, another version.",
            ],
        ),
        K::FailsOnToken => (
            None,
            &["The server fails on this token and answers about others: look into its log. A \
               firewall in front of it may refuse the characters of this token."],
        ),
        K::KeyPending => (
            None,
            &["Try again in a moment: the keys were fetched just now, without the key of this \
               token. The token may be valid."],
        ),
        K::UnusableKey => (
            None,
            &["Check the published keys with `introspect keys lint`: it says why the key of the \
               token can't be used."],
        ),
        K::Misconfigured => (None, &["Correct the configuration of this service."]),
        _ => (None, &["Look into the log of this service."]),
    }
}

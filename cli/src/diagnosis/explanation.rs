//! Reasons behind a failed check. Where one is found, nothing else is advised.

use serde_json::Value;
use tower_introspect::{ErrorKind, TokenKind};

use super::{Actor, Case, Diagnosis, Setting};
use crate::{net::Exchange, when};

impl Diagnosis {
    /// Looks for a reason that explains the failed check, and returns true if there is one.
    pub(super) fn explain(&mut self, case: &Case<'_>) -> bool {
        self.explain_by_kind(case)
            || self.explain_by_issuer(case)
            || self.explain_inactive(case)
            || self.explain_scope(case)
    }

    /// Another kind of token fails many checks. To loosen one of them would not make it an access
    /// token.
    fn explain_by_kind(&mut self, case: &Case<'_>) -> bool {
        use ErrorKind as K;
        let kind = case.kind;
        let code = match self.kind {
            K::WrongTokenKind(TokenKind::Id) => "id_token",
            K::WrongTokenKind(TokenKind::Refresh) => "refresh_token",
            K::WrongTokenKind(_)
            | K::Inactive
            | K::InsufficientScope
            | K::MissingClaim(_)
            | K::NotIntrospectable
            | K::UnknownKey
            | K::UnsupportedAlgorithm
            | K::WrongAudience => kind.code,
            // Others may be JWTs that were cut.
            K::MalformedToken if matches!(kind.code, "paseto" | "saml") => kind.code,
            _ => return false,
        };
        if !self.advise_from("kinds", code) {
            return false;
        }
        let evidence = kind.evidence.join("; ");
        if matches!(self.kind, K::WrongTokenKind(kind) if kind != TokenKind::Unmarked) {
            // The verdict names the kind.
            if kind.code == code && self.found.as_deref().is_none_or(|found| found == "none") {
                self.found = Some(evidence);
            }
            self.expected.get_or_insert_with(|| "an access token".to_owned());
        } else {
            self.because = Some(format!("the token is {}: {evidence}", kind.description));
        }
        self.actor = Actor::CLIENT;
        if self.kind == K::WrongTokenKind(TokenKind::Unmarked) {
            self.change(
                "If it does, have the authorization server mark access tokens: with the type \
                 `at+jwt`, a scope or a client.",
            );
        }
        true
    }

    /// Compares the issuer in the token, in the response or in the metadata with the settings.
    fn explain_by_issuer(&mut self, case: &Case<'_>) -> bool {
        use ErrorKind as K;
        let in_metadata = || case.exchanges.iter().rev().find_map(issuer_in_metadata);
        let (theirs, from_metadata) = match self.kind {
            K::UnknownIssuer | K::WrongIssuer => (self.found.clone(), false),
            K::BadResponse | K::Unavailable => (in_metadata(), true),
            _ => return false,
        };
        let ours = case.place.issuers();
        let Some(theirs) = theirs.filter(|theirs| !ours.contains(&&**theirs)) else { return false };
        let near = ours.iter().find_map(|ours| Some((*ours, difference(ours, &theirs)?)));
        let setting = case.place.name(Setting::ISSUER);
        let ours = near.map_or_else(|| ours.join(", "), |(ours, _)| ours.to_owned());
        if from_metadata && !self.causes.iter().any(|cause| cause.contains("another issuer")) {
            return false;
        }
        let line = case.place.line(Setting::ISSUER, &*theirs);
        self.found = Some(theirs.clone());
        self.expected = Some(ours.clone());
        if let Some((_, difference)) = near {
            self.because = Some(format!("{setting} differs from it by {difference}"));
            self.actor = Actor::SERVICE;
            self.change_line("Write it exactly as the authorization server does:", line);
        } else if from_metadata {
            self.because = Some(format!("the server at {ours} calls itself {theirs}"));
            self.actor = Actor::SERVICE;
            self.change_line("If it is the right server:", line);
            self.change("If not, correct the public URL that the server is configured with.");
        } else {
            self.change(format!(
                "Have the client get its token from {ours}. This one is from another server, \
                 environment or tenant."
            ));
            self.change_line("If this service trusts that issuer too, add an issuer:", line);
        }
        self.setting = Some(setting);
        true
    }

    /// Compares an inactive JWT with what its own text says.
    fn explain_inactive(&mut self, case: &Case<'_>) -> bool {
        if self.kind != ErrorKind::Inactive {
            return false;
        }
        let Some(claims) = case.jws().and_then(crate::token::Jws::claims) else { return false };
        let own = "by its own text, which is not verified, ";
        if let Some(expiry) = claims.expires_at().filter(|expiry| *expiry <= case.now) {
            let ago = when::relative(expiry, case.now);
            self.because = Some(format!("{own}it expired {ago} ({})", when::date(expiry)));
            self.change("Get a new token.");
            return true;
        }
        let named = case.issuer_in_token();
        let Some((issuer, id)) = case.place.judge(named.as_deref()) else { return false };
        if let Some(named) = named.filter(|named| named != issuer) {
            self.because = Some(format!("{own}it is from {named}, not from {issuer}"));
            self.setting = Some(case.place.name(Setting::ISSUER));
            self.change(format!("Have the client get its token from {issuer}."));
            return true;
        }
        let Some(id) = id.filter(|id| !claims.audience().contains(id)) else { return false };
        let audience: Vec<_> = claims.audience().iter().collect();
        let audience = if audience.is_empty() { "none".to_owned() } else { audience.join(", ") };
        self.found = Some(format!("false; `aud` in the token: {audience}"));
        self.because = Some(format!(
            "likely: its `aud` lacks the client `{id}` of this service, and some servers, such as \
             Keycloak, then call it inactive"
        ));
        self.actor = Actor::SETTINGS;
        self.change(format!(
            "At the authorization server, add `{id}` to the audience of these tokens (in \
             Keycloak: an audience mapper)."
        ));
        self.change(
            "If its `aud` is right, it was revoked or its session has ended: get a new token.",
        );
        true
    }

    /// Looks for the required scope in other claims than the one that is read.
    fn explain_scope(&mut self, case: &Case<'_>) -> bool {
        if self.kind != ErrorKind::InsufficientScope {
            return false;
        }
        let Some(needed) = case.error.scope() else { return false };
        let claims = case.claims();
        let found = claims.iter().find(|(_, value)| {
            let values = texts(value);
            needed.split(' ').all(|one| values.contains(&one))
        });
        let Some((name, value)) = found else { return false };
        let read = self.found.as_deref().unwrap_or("none");
        self.found = Some(format!("{read}; but the claim `{name}` is {value}"));
        self.because =
            Some(format!("the required scope is in `{name}`, which is not read as a scope here"));
        self.actor = Actor::SERVICE;
        self.setting = Some(case.place.name(Setting::SCOPE_CLAIM));
        let line = case.place.line(Setting::SCOPE_CLAIM, &**name);
        self.change_line("Read the scope from there:", line);
        true
    }
}

impl Case<'_> {
    /// Returns the claims that were judged: those of the introspection response, or else those of
    /// the token.
    fn claims(&self) -> serde_json::Map<String, Value> {
        let response = self.exchanges.iter().rev().find_map(|exchange| {
            let value: Value = serde_json::from_slice(exchange.response()?.body()).ok()?;
            value.as_object().filter(|members| members.contains_key("active")).cloned()
        });
        let own = || serde_json::from_str(&self.jws()?.payload.text).ok();
        response.or_else(own).unwrap_or_default()
    }
}

/// Returns the texts of a claim, split at spaces if it is one text.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => text.split(' ').collect(),
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Returns the issuer in a response with metadata.
fn issuer_in_metadata(exchange: &Exchange) -> Option<String> {
    let value: Value = serde_json::from_slice(exchange.response()?.body()).ok()?;
    value["issuer"].as_str().map(str::to_owned)
}

/// Describes the difference between two issuers that are probably meant to be the same.
fn difference(one: &str, other: &str) -> Option<&'static str> {
    let scheme = |text: &str| text.split_once("://").map(|(_, rest)| rest.to_owned());
    let slashes = |text: &str| text.trim_end_matches('/').to_owned();
    if slashes(one) == slashes(other) {
        Some("the last slash")
    } else if one.eq_ignore_ascii_case(other) {
        Some("upper and lower case")
    } else if scheme(one).is_some() && scheme(one) == scheme(other) {
        Some("`http` and `https`")
    } else if one.trim() == other.trim() {
        Some("white space")
    } else {
        let plain = |text: &str| scheme(&slashes(text)).unwrap_or_default().to_ascii_lowercase();
        (!plain(one).is_empty() && plain(one) == plain(other)).then_some("more than one detail")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_that_are_probably_the_same_are_told_from_others() {
        let ours = "https://as.example.com/realms/a";
        for (theirs, expected) in [
            ("https://as.example.com/realms/a/", Some("the last slash")),
            ("https://AS.example.com/realms/a", Some("upper and lower case")),
            ("http://as.example.com/realms/a", Some("`http` and `https`")),
            ("http://AS.example.com/realms/a/", Some("more than one detail")),
            ("https://as.example.com/realms/b", None),
            ("https://other.example.com", None),
            ("", None),
        ] {
            assert_eq!(difference(ours, theirs), expected, "{theirs}");
        }
    }
}

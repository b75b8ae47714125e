//! Checks a JWK Set (RFC 7517 §5), a single JWK, or keys and certificates in PEM.

use std::collections::BTreeSet;

use serde_json::value::RawValue;
use tower_introspect::{jose::Algorithm, jwt::KeySet};

use super::{BYTE_ORDER_MARK, MARKED, jwk::Key};
use crate::{
    cert::{self, Certificate},
    finding::{Findings, Level, Today},
    json,
};

/// The settings that decide which keys of a set the library uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    /// The issuer whose tokens are verified, if it is known.
    pub(crate) issuer: Option<&'a str>,
    /// The number of keys that are kept.
    pub(crate) max_keys: usize,
    /// The number of keys that are tried for one token.
    pub(crate) max_keys_tried: usize,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self { issuer: None, max_keys: 64, max_keys_tried: 4 }
    }
}

/// The keys of a set, and the findings about the whole set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Set {
    pub(crate) keys: Vec<Key>,
    pub(crate) findings: Findings,
    /// True if this is a JWK Set, not a single key.
    is_set: bool,
}

impl Set {
    /// Checks the keys in `text`.
    pub(crate) fn read(text: &[u8], today: Today, settings: Settings<'_>) -> Self {
        let mut set = Self::default();
        set.read_text(text, today, settings);
        set
    }

    fn read_text(&mut self, text: &[u8], today: Today, settings: Settings<'_>) {
        let found = &mut self.findings;
        let Ok(text) = std::str::from_utf8(text) else {
            return found.bad("keys_no_text").text("this is not text, and so not a JWK Set");
        };
        if text.starts_with(BYTE_ORDER_MARK) {
            return found.bad("keys_byte_order_mark").text(MARKED);
        }
        let start = text.trim_start();
        if start.contains("-----BEGIN ") {
            return self.read_pem(text, today);
        }
        if start.starts_with('<') {
            return found.bad("keys_html").text("this is a page (HTML or XML), not a JWK Set");
        }
        match json::members(text) {
            Ok(members) => {
                self.read_object(text, &members, today);
                self.check_set(settings);
            }
            Err((_, problem)) => {
                found.bad("keys_no_json").text(format!("this is not a JSON object: {problem}"));
            }
        }
    }

    /// Returns the findings about the set and about each key.
    pub(crate) fn all_findings(&self) -> impl Iterator<Item = &Findings> {
        [&self.findings].into_iter().chain(self.keys.iter().map(|key| &key.findings))
    }

    fn read_object(&mut self, text: &str, members: &json::Members, today: Today) {
        let named = |name: &'static str| members.iter().filter(move |(member, _)| member == name);
        let Some((_, keys)) = named("keys").next() else {
            if named("kty").next().is_some() {
                self.keys.push(Key::read(0, text, today));
                self.findings.note("keys_single").text("this is one JWK, not a set");
            } else {
                self.findings.bad("keys_missing").text("there is no array `keys` (RFC 7517 §5)");
            }
            return;
        };
        if named("keys").count() > 1 {
            self.findings.bad("keys_member_repeated").text("the member `keys` is repeated");
        }
        let Ok(keys) = serde_json::from_str::<Vec<Box<RawValue>>>(keys.get()) else {
            self.findings.bad("keys_missing").text("`keys` is not an array (RFC 7517 §5)");
            return;
        };
        let keys = keys.iter().enumerate();
        self.keys = keys.map(|(at, key)| Key::read(at, key.get(), today)).collect();
        self.is_set = true;
    }

    /// Marks the keys that the library leaves out, although they can be used.
    fn leave_out(&mut self, settings: Settings<'_>) {
        let Settings { issuer, max_keys, .. } = settings;
        if let Some(issuer) = issuer {
            for key in self.keys.iter_mut().filter(|key| key.used && !key.serves(issuer)) {
                key.leave_out("key_of_another_issuer", format!("it does not serve `{issuer}`"));
            }
        }
        let number = self.keys.iter().filter(|key| key.used).count();
        if number > max_keys {
            self.findings.bad("keys_too_many").text(format!(
                "{number} keys can be used; the library keeps the first {max_keys} (setting \
                 `max_keys`), and can't verify the tokens of the others"
            ));
        }
        for key in self.keys.iter_mut().filter(|key| key.used).skip(max_keys) {
            key.leave_out("key_not_kept", format!("it is not one of the first {max_keys} keys"));
        }
    }

    /// Checks how many keys fit a token that names none.
    fn check_tries(&mut self, tried: usize) {
        let used = || self.keys.iter().filter(|key| key.used);
        for kind in used().map(Key::kind).collect::<BTreeSet<_>>() {
            let of_kind = || used().filter(|key| key.kind() == kind);
            let (number, named) = (of_kind().count(), of_kind().filter(|key| key.kid.is_some()));
            let warns = number - named.count() > tried;
            let level = if warns { Level::Warning } else { Level::Note };
            let text = format!(
                "{number} keys are of the type {kind}: the library tries {tried} for a token \
                 without `kid` (setting `max_keys_tried`)"
            );
            if number > tried {
                self.findings.add(level, "keys_not_tried", text);
            }
        }
    }

    /// Checks the number of usable keys and their names.
    fn check_set(&mut self, settings: Settings<'_>) {
        if !self.is_set {
            return;
        }
        self.leave_out(settings);
        self.check_tries(settings.max_keys_tried);
        let used = self.keys.iter().filter(|key| key.used).count();
        let all = self.keys.len();
        if used == 0 {
            self.findings.bad("keys_none_used").text(format!("none of the {all} keys can be used"));
        } else {
            self.findings.good("keys_used").text(format!("{used} of the {all} keys are used"));
        }
        for (at, key) in self.keys.iter().enumerate() {
            let others = || self.keys.iter().skip(at + 1);
            if let Some(kid) = &key.kid
                && others().any(|other| other.kid.as_ref() == Some(kid))
                && !self.keys[..at].iter().any(|earlier| earlier.kid.as_ref() == Some(kid))
            {
                self.findings.warn("kid_repeated").text(format!(
                    "several keys have the `kid` `{kid}` (RFC 7517 §4.5: should be distinct)"
                ));
            }
            let print = key.thumbprint.as_ref();
            let twin = others().find(|other| other.thumbprint.as_ref() == print && print.is_some());
            if let Some(twin) = twin.filter(|twin| twin.kid != key.kid) {
                let [one, other] = [key, twin].map(|key| key.kid.as_deref().unwrap_or("(none)"));
                let text = format!("`{one}` and `{other}` are the same key");
                self.findings.warn("key_repeated").text(text);
            }
        }
    }

    fn read_pem(&mut self, text: &str, today: Today) {
        if text.contains("PRIVATE KEY-----") {
            self.findings.bad("key_private").text(
                "this has a private key: anyone who can read it can forge tokens. Publish only \
                 the public key",
            );
        }
        for certificate in cert::in_pem(text.as_bytes()) {
            let Some(certificate) = Certificate::parse(&certificate) else {
                self.findings.bad("certificate_malformed").text("a certificate can't be read");
                continue;
            };
            let what = format!("the certificate of {}", certificate.subject);
            let end = certificate.not_after;
            self.findings.add_expiry("certificate_expires", &what, end, today);
        }
        if !text.contains("PUBLIC KEY-----") {
            return;
        }
        let all = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];
        let fits = |name: &&str| {
            let algorithm: Option<Algorithm> = name.parse().ok();
            algorithm.is_some_and(|algorithm| KeySet::from_pem(algorithm, text.as_bytes()).is_ok())
        };
        let fitting: Vec<_> = all.into_iter().filter(fits).collect();
        if fitting.is_empty() {
            let text = "this is not a public key that the library can use";
            self.findings.bad("key_unusable").text(text);
        } else {
            let fitting = fitting.join(", ");
            let text = format!("this is a public key for {fitting} and its variants");
            self.findings.good("key_used").text(text);
        }
    }
}

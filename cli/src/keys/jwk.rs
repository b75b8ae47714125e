//! Checks one JWK (RFC 7517 §4). Parsing is lenient, to report as many findings as possible.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use tower_introspect::{
    clock::UnixTime,
    inspect,
    jose::KeyError,
    jwt::{JwtVerifier, KeySet},
};

use super::known;
use crate::{
    cert::Certificate,
    finding::{Findings, Today},
    json as strict,
};

/// Members that only a private key has (RFC 7518 §6.2.2, §6.3.2; RFC 8037 §2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

/// The members that are arrays of at least one element.
const LISTS: [&str; 3] = ["key_ops", "oth", "x5c"];

/// The most characters to show of a member.
const MAX_CHARS: usize = 256;

/// A key and its findings.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) kid: Option<String>,
    /// The thumbprint (RFC 7638) of a public key.
    pub(crate) thumbprint: Option<String>,
    /// True if the library verifies signatures with the key.
    pub(crate) used: bool,
    /// The only issuer that the key serves, if it names one.
    issuer: Option<String>,
    text: String,
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) findings: Findings,
    index: usize,
}

impl Key {
    /// Checks the key at `index` of its set.
    pub(crate) fn read(index: usize, text: &str, today: Today) -> Self {
        let mut findings = Findings::default();
        let mut value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        remove_unset(&mut value);
        let member = |name: &str| {
            let text = value.get(name).and_then(Value::as_str);
            text.map(|text| text.chars().take(MAX_CHARS).collect::<String>())
        };
        let named = ["kty", "crv", "alg", "use"].map(|name| Some((name, member(name)?)));
        let bits = bytes(&value, "n").map(|n| ("bits", bit_length(&n).to_string()));
        let facts = named.into_iter().chain([bits]).flatten().collect();
        // `value` holds the last of repeated members, so that such a key has a thumbprint too.
        let thumbprint = inspect::thumbprint(&value.to_string());
        let used = check_use(text, &value, &mut findings);
        check_repeated_members(text, &mut findings);
        check_secrets(&value, &mut findings);
        check_names(&value, used, &mut findings);
        check_strength(&value, &mut findings);
        check_expiry(&value, today, &mut findings);
        let certificate = check_certificate(&value, today, &mut findings);
        if let Some(place) = thumbprint.as_deref().and_then(known::published_in) {
            findings.bad("key_known").text(format!("its private key is published in {place}"));
        }
        let issuer = value.get("issuer").and_then(Value::as_str).map(str::to_owned);
        if let Some(name) = member("issuer") {
            findings.note("key_issuer").text(format!("it serves the issuer `{name}` only"));
        }
        let (kid, text) = (member("kid"), text.to_owned());
        Self { kid, thumbprint, used, issuer, text, facts, certificate, findings, index }
    }

    /// Returns true if the library verifies tokens of `issuer` with the key.
    pub(crate) fn serves(&self, issuer: &str) -> bool {
        // A verifier can't be built with keys of other issuers only.
        let keys = KeySet::from_jwk(self.text.as_bytes());
        self.issuer.is_none()
            || keys.is_ok_and(|keys| JwtVerifier::builder(issuer).keys(keys).build().is_ok())
    }

    /// Marks the key as one that the library does not use, for this reason.
    pub(crate) fn leave_out(&mut self, code: &'static str, reason: String) {
        self.used = false;
        self.findings.0.retain(|finding| finding.code != "key_used");
        self.findings.warn(code).text(reason);
    }

    /// Returns the type and the curve of the key, by which it fits a token without `kid`.
    pub(crate) fn kind(&self) -> String {
        let facts = ["kty", "crv"].into_iter().filter_map(|name| self.fact(name));
        facts.collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn fact(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// Returns the title of the key.
    pub(crate) fn title(&self) -> String {
        match &self.kid {
            Some(kid) => format!("Key `{kid}`"),
            None => format!("Key {} of the set, without `kid`", self.index + 1),
        }
    }
}

/// Removes the members that are not set, as the library does.
fn remove_unset(value: &mut Value) {
    let Some(members) = value.as_object_mut() else { return };
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    members.retain(|name, value| {
        !(value.is_null() || is_empty(value) && LISTS.contains(&name.as_str()))
    });
}

/// Returns true if the library verifies signatures with the key.
fn check_use(text: &str, value: &Value, findings: &mut Findings) -> bool {
    let Err(error) = KeySet::from_jwk(text.as_bytes()) else {
        findings.good("key_used").text("the library verifies signatures with it");
        return true;
    };
    let kty = value.get("kty").and_then(Value::as_str).unwrap_or_default();
    match error {
        KeyError::NotForSignatures => {
            let text = "it is not for signatures, and is ignored";
            findings.note("key_not_for_signatures").text(text);
        }
        KeyError::TooShort => {
            findings.bad("key_weak").text("it is too short (RFC 7518 §3.3), and is not used");
        }
        KeyError::Unsupported if kty == "oct" => {}
        KeyError::Unsupported => findings.warn("key_unsupported").text(
            "its type, curve, size or algorithm is not supported: tokens signed with it are \
             refused",
        ),
        KeyError::WrongAlgorithm => {
            let text = "its `alg` does not fit its type, and it is not used";
            findings.bad("key_wrong_alg").text(text);
        }
        _ => findings
            .bad("key_malformed")
            .text("it is not a valid JWK (RFC 7517 §4, RFC 7518 §6): not used"),
    }
    false
}

fn check_repeated_members(text: &str, findings: &mut Findings) {
    let Ok(members) = strict::members(text) else { return };
    for name in strict::repeated(&members) {
        findings.bad("key_member_repeated").text(format!("the member `{name}` is repeated"));
    }
}

fn check_secrets(value: &Value, findings: &mut Findings) {
    let has = |name: &str| value.get(name).is_some_and(|value| *value != "" && *value != json!([]));
    if value.get("kty").is_some_and(|kty| kty == "oct") || has("k") {
        findings.bad("key_symmetric").text(
            "it is a shared secret: anyone who can read it can forge tokens. It is never used",
        );
        return;
    }
    let found: Vec<_> = PRIVATE.into_iter().filter(|name| has(name)).collect();
    if !found.is_empty() {
        findings.bad("key_private").text(format!(
            "it has private members ({}): anyone who can read them can forge tokens. Replace \
             the key",
            found.join(", ")
        ));
    }
}

fn check_names(value: &Value, used: bool, findings: &mut Findings) {
    if !used {
        return;
    }
    match value.get("kid").and_then(Value::as_str) {
        None => findings.warn("key_without_kid").text(
            "it has no `kid`: for tokens that name a key, it is found only by trying all keys",
        ),
        Some(kid) if kid.starts_with("test-") => findings
            .warn("key_test")
            .text("the `kid` marks a test key: production services must not trust it"),
        Some(kid) if kid.len() > MAX_CHARS => {
            findings.warn("key_long_kid").text("its `kid` is longer than 256 characters");
        }
        Some(_) => {}
    }
    if value.get("alg").is_none() {
        let rsa = value.get("kty").is_some_and(|kty| kty == "RSA");
        let any = if rsa { ", from RS256 to PS512" } else { "" };
        let text = format!("it has no `alg`: it verifies all algorithms of its type{any}");
        findings.note("key_without_alg").text(text);
    }
    if value.get("use").is_none() && value.get("key_ops").is_none() {
        findings.note("key_without_use").text("it has neither `use` nor `key_ops`");
    }
}

fn check_strength(value: &Value, findings: &mut Findings) {
    if let Some(e) = bytes(value, "e").filter(|_| value.get("n").is_some()) {
        let e = e.iter().fold(0_u64, |sum, byte| sum.saturating_mul(256) + u64::from(*byte));
        if e < 65_537 {
            let text = format!("its exponent is {e}; usual is 65537");
            findings.warn("key_small_exponent").text(text);
        }
    }
    let bits = bytes(value, "n").map(|n| bit_length(&n));
    if let Some(bits) = bits.filter(|bits| (2048..3072).contains(bits)) {
        let text = format!("{bits} bits are enough today; NIST SP 800-57 requires 3072 after 2030");
        findings.note("key_2048").text(text);
    }
}

/// Checks the members `exp` and `revoked` of keys (OpenID Federation 1.0 §8.7.2).
fn check_expiry(value: &Value, today: Today, findings: &mut Findings) {
    if value.get("revoked").is_some() {
        findings.bad("key_revoked").text("it is marked as revoked");
    }
    let Some(exp) = value.get("exp").and_then(Value::as_i64) else { return };
    findings.add_expiry("key_expires", "it", UnixTime::from_secs(exp), today);
}

fn check_certificate(value: &Value, today: Today, findings: &mut Findings) -> Option<Certificate> {
    let chain = value.get("x5c")?;
    let first = chain.as_array().and_then(|chain| chain.first()).and_then(Value::as_str);
    let certificate =
        first.and_then(|text| STANDARD.decode(text).ok()).and_then(|der| Certificate::parse(&der));
    let Some(certificate) = certificate else {
        let text = "its `x5c` does not start with a certificate in base64";
        findings.warn("x5c_malformed").text(text);
        return None;
    };
    if !has_key(&certificate, value) {
        findings.bad("x5c_mismatch").text(
            "the certificate in `x5c` is for another key (RFC 7517 §4.7); the library ignores it",
        );
    }
    findings.add_expiry("x5c_expires", "its certificate", certificate.not_after, today);
    if certificate.not_before > today.now {
        findings.warn("x5c_not_yet").text("its certificate is not valid yet");
    }
    Some(certificate)
}

/// Returns true if the certificate has the public key of the JWK.
fn has_key(certificate: &Certificate, value: &Value) -> bool {
    let bits = &certificate.public_key;
    let has =
        |part: &[u8]| !part.is_empty() && bits.windows(part.len()).any(|window| window == part);
    match (bytes(value, "n"), bytes(value, "x"), bytes(value, "y")) {
        (Some(n), ..) => has(&n),
        (None, Some(x), Some(y)) => *bits == [&[4], &*x, &*y].concat(),
        (None, Some(x), None) => *bits == x,
        _ => false,
    }
}

fn bytes(value: &Value, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(value.get(name)?.as_str()?).ok()
}

fn bit_length(number: &[u8]) -> usize {
    let bits = |at: usize| (number.len() - at) * 8 - number[at].leading_zeros() as usize;
    number.iter().position(|byte| *byte != 0).map_or(0, bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_do_not_count() {
        for (number, wanted) in
            [(&[][..], 0), (&[0, 0], 0), (&[1], 1), (&[0, 255], 8), (&[1, 0], 9), (&[128, 0], 16)]
        {
            assert_eq!(bit_length(number), wanted, "{number:?}");
        }
    }
}

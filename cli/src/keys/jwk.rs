//! One JWK (RFC 7517 §4), judged leniently: what can be said of it is said.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use tower_introspect::{clock::UnixTime, inspect::sha256, jose::KeyError, jwt::KeySet};

use super::known;
use crate::{cert::Certificate, finding::Findings, json, when};

/// Members that only a private key has (RFC 7518 §6.2.2, §6.3.2; RFC 8037 §2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

/// The most characters to show of a member.
const LONGEST: usize = 256;

/// A key that was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) kid: Option<String>,
    /// Its name by what it is made of (RFC 7638), if it has one.
    pub(crate) thumbprint: Option<String>,
    /// Whether the library verifies signatures with it.
    pub(crate) used: bool,
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) findings: Findings,
    at: usize,
}

impl Key {
    /// Looks at the key at place `at` of its set.
    pub(crate) fn read(at: usize, text: &str, now: UnixTime, warn_days: u32) -> Self {
        let mut findings = Findings::default();
        let value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let member = |name: &str| {
            let text = value.get(name).and_then(Value::as_str);
            text.map(|text| text.chars().take(LONGEST).collect::<String>())
        };
        let mut facts = Vec::new();
        for name in ["kty", "crv", "alg", "use"] {
            if let Some(text) = member(name) {
                facts.push((name, text));
            }
        }
        if let Some(bits) = bytes(&value, "n").map(|n| bits(&n)) {
            facts.push(("bits", bits.to_string()));
        }
        let mut key = Self {
            kid: member("kid"),
            thumbprint: thumbprint(&value),
            used: false,
            facts,
            certificate: None,
            findings: Findings::default(),
            at,
        };
        key.used = verdict(text, &value, &mut findings);
        repeated(text, &mut findings);
        secrets(&value, &mut findings);
        names(&value, key.used, &mut findings);
        weak(&value, &mut findings);
        ends(&value, now, warn_days, &mut findings);
        key.certificate = certificate(&value, now, warn_days, &mut findings);
        if let Some(place) = key.thumbprint.as_deref().and_then(known::published_in) {
            findings.bad(
                "key_known",
                format!("its private half is public knowledge: it is in {place}"),
            );
        }
        key.findings = findings;
        key
    }

    /// What it is called.
    pub(crate) fn title(&self) -> String {
        match &self.kid {
            Some(kid) => format!("Key `{kid}`"),
            None => format!("Key at place {}, without a name", self.at + 1),
        }
    }
}

/// What the library does with it.
fn verdict(text: &str, value: &Value, findings: &mut Findings) -> bool {
    let error = match KeySet::from_jwk(text.as_bytes()) {
        Ok(_) => {
            findings.good("key_used", "signatures are verified with it");
            return true;
        }
        Err(error) => error,
    };
    let kty = value.get("kty").and_then(Value::as_str).unwrap_or_default();
    match error {
        KeyError::NotForSignatures => {
            findings.note("key_not_for_signatures", "it is not for signatures, and left alone");
        }
        KeyError::TooShort => {
            findings.bad("key_weak", "it is too short (RFC 7518 §3.3), and not used");
        }
        KeyError::Unsupported if kty == "oct" => {}
        KeyError::Unsupported => findings.warn(
            "key_unsupported",
            "its type, curve, size or algorithm is not supported: tokens signed with it are \
             refused",
        ),
        KeyError::WrongAlgorithm => {
            findings.bad("key_wrong_alg", "its `alg` is not one of its type, and it is not used");
        }
        _ => findings
            .bad("key_malformed", "it is no valid JWK (RFC 7517 §4, RFC 7518 §6), and not used"),
    }
    false
}

fn repeated(text: &str, findings: &mut Findings) {
    let Ok(members) = json::members(text) else { return };
    let mut seen: Vec<&str> = Vec::new();
    for (name, _) in &members {
        if seen.contains(&&**name) {
            findings.bad("key_member_repeated", format!("the member `{name}` is there twice"));
        }
        seen.push(name);
    }
}

fn secrets(value: &Value, findings: &mut Findings) {
    if value.get("kty").is_some_and(|kty| kty == "oct") || value.get("k").is_some() {
        findings.bad(
            "key_symmetric",
            "it is a shared secret: whoever can read it can make tokens. It is never used",
        );
        return;
    }
    let found: Vec<_> = PRIVATE.into_iter().filter(|name| value.get(name).is_some()).collect();
    if !found.is_empty() {
        findings.bad(
            "key_private",
            format!(
                "its private half is here ({}): whoever can read it can make tokens. Replace it",
                found.join(", ")
            ),
        );
    }
}

fn names(value: &Value, used: bool, findings: &mut Findings) {
    if !used {
        return;
    }
    match value.get("kid").and_then(Value::as_str) {
        None => findings.warn(
            "key_without_kid",
            "it has no `kid`: tokens that name a key find it only by trying",
        ),
        Some(kid) if kid.starts_with("test-") => findings.warn(
            "key_test",
            "its name says that it is for tests: nothing that matters may trust it",
        ),
        Some(kid) if kid.len() > LONGEST => {
            findings.warn("key_long_kid", "its `kid` is longer than 256 characters");
        }
        Some(_) => {}
    }
    if value.get("alg").is_none() {
        let rsa = value.get("kty").is_some_and(|kty| kty == "RSA");
        let any = if rsa { ", RS256 to PS512 alike" } else { "" };
        findings.note(
            "key_without_alg",
            format!("it has no `alg`: it verifies every algorithm of its type{any}"),
        );
    }
    if value.get("use").is_none() && value.get("key_ops").is_none() {
        findings.note("key_without_use", "it has neither `use` nor `key_ops`");
    }
}

fn weak(value: &Value, findings: &mut Findings) {
    if let Some(e) = bytes(value, "e").filter(|_| value.get("n").is_some()) {
        let e = e.iter().fold(0_u64, |sum, byte| sum.saturating_mul(256) + u64::from(*byte));
        if e < 65_537 {
            findings.warn("key_small_exponent", format!("its exponent is {e}; 65537 is usual"));
        }
    }
    let bits = bytes(value, "n").map(|n| bits(&n));
    if let Some(bits) = bits.filter(|bits| (2048..3072).contains(bits)) {
        findings.note(
            "key_2048",
            format!("{bits} bits are enough today; NIST SP 800-57 asks for 3072 beyond 2030"),
        );
    }
}

/// When it is withdrawn, if it says so (OpenID Federation 1.0 §8.7.2 has `exp` and `revoked` for keys).
fn ends(value: &Value, now: UnixTime, warn_days: u32, findings: &mut Findings) {
    if value.get("revoked").is_some() {
        findings.bad("key_revoked", "it says of itself that it is revoked");
    }
    let Some(exp) = value.get("exp").and_then(Value::as_i64) else { return };
    until(UnixTime::from_secs(exp), now, warn_days, "key_expires", "it", findings);
}

/// Notes when something ends.
pub(crate) fn until(
    end: UnixTime,
    now: UnixTime,
    warn_days: u32,
    code: &'static str,
    what: &str,
    findings: &mut Findings,
) {
    let (date, relative) = (when::date(end), when::relative(end, now));
    let soon = now.saturating_add(std::time::Duration::from_secs(86_400) * warn_days);
    if end <= now {
        findings.bad(code, format!("{what} expired {relative} ({date})"));
    } else if end <= soon {
        findings.warn(code, format!("{what} expires {relative} ({date})"));
    } else {
        findings.good(code, format!("{what} is good until {date}, {relative}"));
    }
}

fn certificate(
    value: &Value,
    now: UnixTime,
    warn_days: u32,
    findings: &mut Findings,
) -> Option<Certificate> {
    let chain = value.get("x5c")?;
    let first = chain.as_array().and_then(|chain| chain.first()).and_then(Value::as_str);
    let certificate =
        first.and_then(|text| STANDARD.decode(text).ok()).and_then(|der| Certificate::parse(&der));
    let Some(certificate) = certificate else {
        findings.warn("x5c_malformed", "its `x5c` does not begin with a certificate in base64");
        return None;
    };
    if !is_of(value, &certificate) {
        findings.bad(
            "x5c_mismatch",
            "the certificate in `x5c` is of another key (RFC 7517 §4.7); this library does not \
             read it",
        );
    }
    until(certificate.not_after, now, warn_days, "x5c_expires", "its certificate", findings);
    if certificate.not_before > now {
        findings.warn("x5c_not_yet", "its certificate is not valid yet");
    }
    Some(certificate)
}

/// Whether the certificate has the public key of the JWK.
fn is_of(value: &Value, certificate: &Certificate) -> bool {
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

fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let first = number.get(zeros).map_or(8, |first| first.leading_zeros() as usize);
    (number.len() - zeros) * 8 - if zeros == number.len() { 0 } else { first }
}

/// RFC 7638 §3: the required members alone, in order.
fn thumbprint(value: &Value) -> Option<String> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let canonical = match text("kty")? {
        "RSA" => json!({"e": text("e")?, "kty": "RSA", "n": text("n")?}),
        "EC" => json!({"crv": text("crv")?, "kty": "EC", "x": text("x")?, "y": text("y")?}),
        "OKP" => json!({"crv": text("crv")?, "kty": "OKP", "x": text("x")?}),
        // Of a secret it would be one of its digests.
        _ => return None,
    };
    // `serde_json` sorts the members.
    Some(URL_SAFE_NO_PAD.encode(sha256(canonical.to_string().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7638_3_1_thumbprint() {
        let jwk = json!({
            "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        });
        assert_eq!(
            thumbprint(&jwk).as_deref(),
            Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")
        );
    }

    #[test]
    fn bits_of_numbers() {
        for (number, wanted) in
            [(&[][..], 0), (&[0, 0], 0), (&[1], 1), (&[0, 255], 8), (&[1, 0], 9), (&[128, 0], 16)]
        {
            assert_eq!(bits(number), wanted, "{number:?}");
        }
    }
}

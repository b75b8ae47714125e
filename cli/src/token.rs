//! Parses tokens leniently and determines their kind. Nothing is verified here.

use base64::Engine as _;
use serde_json::value::RawValue;
use tower_introspect::{TokenKind, claims::Claims, inspect};

use crate::json::{self, Members};

/// Lenient base64url, to show as much of a malformed token as possible. The library is strict.
const LENIENT: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    base64::engine::GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

/// The form of a token.
pub(crate) enum Form {
    Jws(Jws),
    /// An encrypted token. Only its header can be read.
    Jwe(Part),
    Opaque,
}

/// A signed JWT. It may be truncated.
pub(crate) struct Jws {
    pub(crate) header: Part,
    pub(crate) payload: Part,
    /// The length of the signature in bytes, if it is base64url.
    pub(crate) signature: Option<usize>,
    /// The reason why the token looks cut off.
    pub(crate) cut: Option<&'static str>,
}

/// The header or the claims, as far as they can be read.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) members: Members,
    pub(crate) text: String,
    pub(crate) problem: Option<String>,
}

impl Form {
    /// Parses a token.
    pub(crate) fn of(token: &str) -> Self {
        let parts: Vec<&str> = token.split('.').collect();
        let header = parts.first().map(|part| Part::decode(part)).unwrap_or_default();
        if header.members.is_empty() || parts.len() == 1 && header.problem.is_some() {
            return Self::Opaque;
        }
        if parts.len() == 5 || header.get("enc").is_some() {
            return Self::Jwe(header);
        }
        Self::Jws(Jws::of(header, parts.get(1).copied(), parts.get(2).copied()))
    }

    pub(crate) const fn jws(&self) -> Option<&Jws> {
        match self {
            Self::Jws(jws) => Some(jws),
            _ => None,
        }
    }
}

impl Jws {
    fn of(header: Part, payload: Option<&str>, signature: Option<&str>) -> Self {
        let signed = header.text("alg").is_none_or(|alg| !alg.eq_ignore_ascii_case("none"));
        let bytes = signature.filter(|text| !text.is_empty());
        let bytes = bytes.and_then(|text| LENIENT.decode(text).ok()).map(|bytes| bytes.len());
        let min_length = header.text("alg").and_then(|alg| min_signature_length(&alg));
        let decoded = payload.map(Part::decode);
        let broken = decoded.as_ref().is_some_and(|part| part.problem.is_some());
        let cut = match (payload, signature) {
            (None, _) => Some("there is nothing after the header"),
            (Some(_), None) if broken => Some("it ends within the claims"),
            (Some(_), None) => Some("there is no signature after the claims"),
            (Some(_), Some("")) if signed => Some("the signature is empty"),
            (Some(_), Some(text)) if text.len() % 4 == 1 => {
                Some("the signature ends within a byte")
            }
            _ => match (bytes, min_length) {
                (Some(bytes), Some(min_length)) if bytes < min_length => {
                    Some("the signature is too short for its algorithm")
                }
                _ => None,
            },
        };
        Self { header, payload: decoded.unwrap_or_default(), signature: bytes, cut }
    }

    /// Returns the claims, if the library accepts them.
    pub(crate) fn claims(&self) -> Option<Claims> {
        Claims::from_json(self.payload.text.as_bytes()).ok()
    }
}

/// Returns the least length of a signature, in bytes.
fn min_signature_length(alg: &str) -> Option<usize> {
    Some(match alg {
        "ES256" | "EdDSA" | "Ed25519" => 64,
        "ES384" => 96,
        "ES512" => 132,
        "HS256" => 32,
        "HS384" => 48,
        "HS512" => 64,
        // For a key of 2048 bits, the shortest that the library accepts.
        "PS256" | "PS384" | "PS512" | "RS256" | "RS384" | "RS512" => 256,
        _ => return None,
    })
}

impl Part {
    fn decode(part: &str) -> Self {
        // One character after the last group of four is not a whole byte.
        let whole = if part.len() % 4 == 1 { part.len() - 1 } else { part.len() };
        let Some(bytes) = part.get(..whole).and_then(|part| LENIENT.decode(part).ok()) else {
            return Self { problem: Some("it is not base64url".to_owned()), ..Self::default() };
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (members, problem) = match json::members(&text) {
            Ok(members) => (members, None),
            Err((members, problem)) => (members, Some(problem)),
        };
        Self { members, text, problem }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, value)| &**value)
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|value| serde_json::from_str(value.get()).ok())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// The form and the kind of a token, with the evidence for it.
pub(crate) struct Kind {
    pub(crate) form: Form,
    /// The name in JSON.
    pub(crate) code: &'static str,
    pub(crate) description: String,
    pub(crate) evidence: Vec<String>,
}

impl Kind {
    fn new(code: &'static str, description: impl Into<String>) -> Self {
        let (form, description) = (Form::Opaque, description.into());
        Self { form, code, description, evidence: Vec::new() }
    }

    fn with_evidence(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    /// Determines the form and the kind of a token.
    pub(crate) fn of(token: &str) -> Self {
        let form = Form::of(token);
        let kind = match &form {
            Form::Jws(jws) => Self::of_jws(jws),
            Form::Jwe(header) => {
                let parts = token.matches('.').count() + 1;
                let kind = Self::new("jwe", "an encrypted token (JWE), or an opaque one like it");
                let kind = kind.with_evidence(format!(
                    "{parts} parts, where a signed JWT has 3 (RFC 7516 §3.1)"
                ));
                header.text("enc").into_iter().fold(kind, |kind, enc| {
                    kind.with_evidence(format!("the header names an encryption, enc \"{enc}\""))
                })
            }
            Form::Opaque => Self::opaque(token),
        };
        Self { form, ..kind }
    }

    /// Determines the kind as the library does, or else guesses it from the claims. What the library
    /// judges in the same way by itself is the evidence.
    fn of_jws(jws: &Jws) -> Self {
        let (typ, claims) = (jws.header.text("typ"), &jws.payload);
        let typ_says = match &typ {
            Some(typ) => format!("typ is \"{}\"", bounded(typ)),
            None => "there is no typ".to_owned(),
        };
        let judge = |typ: Option<&str>, claims: &[(String, Box<RawValue>)]| {
            inspect::judge_jwt(typ, claims.iter().map(|(name, value)| (&**name, value.get())))
        };
        let verdict = judge(typ.as_deref(), &claims.members);
        if verdict == Err(TokenKind::Unmarked) {
            return Self::guess(claims, &typ_says);
        }
        let alone = |member: &_| judge(None, std::slice::from_ref(member)) == verdict;
        let speaking = claims.members.iter().filter(|member| alone(member));
        let (words, names): (Vec<_>, Vec<_>) =
            speaking.map(|(name, _)| &**name).partition(|name| WORDS.contains(name));
        let by_typ = judge(typ.as_deref(), &[]) == verdict;
        let (code, description, section) = describe(verdict.err());
        let mut evidence = Vec::new();
        if by_typ || verdict.is_err() && words.is_empty() && names.is_empty() {
            evidence.push(format!("{typ_says} ({section})"));
        } else if verdict.is_ok() {
            evidence.push(format!(
                "{typ_says}, which any kind of token may have: the profile `generic` (the default) \
                 accepts it, `rfc9068` (the one of `fapi2`) refuses it"
            ));
        }
        let called = |name: &&str| bounded(&claims.text(name).unwrap_or_default());
        evidence
            .extend(words.iter().map(|name| format!("the claim {name} is \"{}\"", called(name))));
        if !names.is_empty() && !by_typ {
            evidence.push(match verdict {
                Ok(()) => format!("it has {}, as access tokens do", list(&names)),
                Err(_) => format!("it has {} ({section})", list(&names)),
            });
        }
        let description = match verdict {
            Ok(()) if !by_typ => "an access token, by its claims".to_owned(),
            Err(TokenKind::Other) => {
                let called = words.first().map(called).or(typ).unwrap_or_default();
                format!("a token called \"{}\", not an access token", bounded(&called))
            }
            _ => description.to_owned(),
        };
        Self { evidence, ..Self::new(code, description) }
    }

    /// Guesses the kind of a token that nothing marks as an access token. The description says that
    /// it is a guess.
    fn guess(claims: &Part, typ_says: &str) -> Self {
        let untyped = format!("{typ_says}, as all kinds may have");
        let person: Vec<_> =
            ["auth_time", "nonce", "email", "preferred_username", "given_name", "picture"]
                .into_iter()
                .filter(|name| claims.has(name))
                .collect();
        if claims.members.is_empty() {
            return Self::new("jwt", "a JWT whose claims can't be read").with_evidence(untyped);
        }
        if !person.is_empty() {
            return Self::new("id_token", format!("perhaps {ID_TOKEN}"))
                .with_evidence(untyped)
                .with_evidence(format!("it has {}, as ID tokens do", list(&person)))
                .with_evidence("it has neither scope nor client_id, which access tokens have");
        }
        let own = claims.text("iss").is_some() && claims.text("iss") == claims.text("sub");
        if own && claims.has("jti") {
            return Self::new("client_assertion", "perhaps a client assertion (RFC 7523)")
                .with_evidence(untyped)
                .with_evidence("iss and sub are the same (RFC 7523 §3)");
        }
        Self::new("unmarked", "a JWT that nothing marks as an access token")
            .with_evidence(untyped)
            .with_evidence("it has neither scope nor client_id, which access tokens have")
            .with_evidence("an ID token may look exactly like this")
    }

    /// Returns the kind of a missing token.
    pub(crate) fn absent() -> Self {
        Self::new("none", "none")
    }

    fn opaque(token: &str) -> Self {
        let starts = |prefix: &str| token.starts_with(prefix);
        if ["v1.", "v2.", "v3.", "v4."].into_iter().any(starts)
            && [".local.", ".public."].into_iter().any(|part| token.contains(part))
        {
            return Self::new("paseto", "a PASETO, which the library does not support")
                .with_evidence(format!("it starts with a version, \"{}\"", &token[..2]));
        }
        if starts("PHNhbWw") || starts("PD94bWw") || starts("PEFzc2VydGlvbg") {
            return Self::new("saml", "a SAML assertion, which is not an access token")
                .with_evidence("it starts with XML in base64");
        }
        Self::new("opaque", "an opaque token, which only its authorization server can read")
            .with_evidence("it does not start with the header of a JWT (RFC 7519 §3)")
            .with_evidence(format!("{} characters", token.chars().count()))
    }
}

const ID_TOKEN: &str = "an ID token, which tells a client who logged in";

/// Claims whose values name the kind.
const WORDS: [&str; 3] = ["typ", "token_use", "token_type"];

/// Returns the code and the description of a kind, and the section that defines it. `None` is an
/// access token.
const fn describe(kind: Option<TokenKind>) -> (&'static str, &'static str, &'static str) {
    use TokenKind as K;
    const OTHER: &str = "RFC 8725 §3.11";
    match kind {
        None => ("access_token", "an access token (RFC 9068)", "RFC 9068 §2.1"),
        Some(K::ClientAssertion) => ("client_assertion", "a client assertion", "RFC 7523 §3"),
        Some(K::DpopProof) => {
            ("dpop_proof", "a DPoP proof, which is sent with an access token", "RFC 9449 §4.2")
        }
        Some(K::Id) => ("id_token", ID_TOKEN, "OpenID Connect Core 1.0 §2"),
        Some(K::IntrospectionResponse) => {
            ("introspection_response", "a signed introspection response", "RFC 9701 §5")
        }
        Some(K::Logout) => {
            ("logout_token", "a logout token", "OpenID Connect Back-Channel Logout 1.0 §2.4")
        }
        Some(K::Refresh) => {
            ("refresh_token", "a refresh token, for the authorization server only", OTHER)
        }
        Some(K::SecurityEvent) => ("security_event", "a security event token (SET)", "RFC 8417 §2"),
        Some(_) => ("other", "a JWT of another type than access tokens have", OTHER),
    }
}

/// Returns the start of a text that is too long for a line.
fn bounded(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Joins names: `a`, `a and b`, `a, b and c`.
fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

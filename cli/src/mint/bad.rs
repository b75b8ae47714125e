//! Mints tokens that every resource server must refuse, each for one reason.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::ValueEnum;
use serde_json::json;
use tower_introspect::{
    inspect,
    jose::{Algorithm, SigningKey},
    test_util::{Jwt, TokenBuilder},
};

use super::Minter;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Bad {
    /// It expired an hour ago.
    Expired,
    /// It is not valid for another hour.
    NotYetValid,
    /// It has no `exp`.
    NoExpiry,
    /// Its `aud` names another service.
    WrongAudience,
    /// It has no `aud`.
    NoAudience,
    /// Its `iss` names another issuer.
    WrongIssuer,
    /// It has no `iss`.
    NoIssuer,
    /// It is an ID token.
    IdToken,
    /// It is a logout token (OpenID Connect Back-Channel Logout 1.0).
    LogoutToken,
    /// Its `typ` is that of a DPoP proof.
    WrongTyp,
    /// It is bound to a key, and there is no proof of possession (RFC 9449).
    Bound,
    /// It is not signed (`alg` none).
    AlgNone,
    /// It is signed with the public key as a shared secret (RFC 8725 §2.1).
    PublicKeyAsSecret,
    /// Its `alg` is not the algorithm of the signature.
    WrongAlg,
    /// One bit of its signature is wrong.
    CorruptSignature,
    /// Its signature is empty.
    NoSignature,
    /// It is signed with an unrelated key, with the `kid` of the issuer's key.
    ForeignKey,
    /// Its `kid` names no key of the issuer.
    UnknownKey,
    /// It is signed with the key in its header (`jwk`).
    EmbeddedKey,
    /// It requires an unknown extension (RFC 7515 §4.1.11).
    Critical,
    /// It has two subjects.
    RepeatedClaim,
    /// Its `exp` is a string.
    ExpiryAsText,
    /// Its claims are not JSON.
    NoJson,
    /// It is longer than servers accept.
    TooLong,
}

impl Bad {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    pub(super) fn help(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }

    /// Mints a token with this mistake. `None` if it can't be made with this key.
    pub(super) fn mint(self, minter: &Minter<'_>, good: TokenBuilder<Jwt>) -> Option<String> {
        const HOUR: Duration = Duration::from_secs(3600);
        let now = minter.now();
        let signed = |builder| Some(minter.signed(builder).mint());
        match self {
            Self::Expired => signed(
                good.issued_at(now.saturating_sub(2 * HOUR)).expires_at(now.saturating_sub(HOUR)),
            ),
            Self::NotYetValid => {
                let start = now.saturating_add(HOUR);
                signed(good.not_before(start).expires_at(start.saturating_add(HOUR)))
            }
            Self::NoExpiry => signed(good.without("exp")),
            Self::WrongAudience => signed(good.audience("https://test-other.example")),
            Self::NoAudience => signed(good.without("aud")),
            Self::WrongIssuer => signed(good.claim("iss", "https://test-other.example")),
            Self::NoIssuer => signed(good.without("iss")),
            Self::IdToken => {
                let id = good.typ("JWT").without("client_id").without("scope");
                signed(id.claim("nonce", "test"))
            }
            Self::LogoutToken => {
                let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
                signed(good.typ("logout+jwt").claim("events", events))
            }
            Self::WrongTyp => signed(good.typ("dpop+jwt")),
            Self::Bound => {
                let print = URL_SAFE_NO_PAD.encode(inspect::sha256(b"test"));
                signed(good.claim("cnf", json!({ "jkt": print })))
            }
            Self::AlgNone => Some(good.unsigned().mint()),
            Self::PublicKeyAsSecret => {
                let kid = minter.kid()?;
                let secret = minter.public()?.to_string();
                let key = SigningKey::from_secret(Algorithm::HS256, secret.as_bytes()).ok()?;
                Some(good.signed_with(key.with_kid(kid)).mint())
            }
            Self::WrongAlg => {
                let other =
                    if minter.args.algorithm == Algorithm::ES256 { "RS256" } else { "ES256" };
                signed(good.header("alg", other))
            }
            Self::CorruptSignature => Some(minter.signed(good).with_corrupt_signature().mint()),
            Self::NoSignature => {
                let token = minter.signed(good).mint();
                token.rsplit_once('.').map(|(rest, _)| format!("{rest}."))
            }
            Self::ForeignKey => {
                Some(good.signed_with(unrelated_key()?.with_kid(minter.kid()?)).mint())
            }
            Self::UnknownKey => signed(good.kid("test-unknown")),
            Self::EmbeddedKey => {
                let key = unrelated_key()?;
                let jwk = key.public_jwk()?;
                Some(good.header("jwk", jwk).signed_with(key).without_header("kid").mint())
            }
            Self::Critical => {
                let name = "urn:test:unknown";
                signed(good.header("crit", json!([name])).header(name, true))
            }
            Self::RepeatedClaim => {
                let claims = minter.claims(good)?;
                let rest = claims.strip_prefix('{')?;
                Some(minter.raw(&format!("{{\"sub\":\"test-other\",{rest}")))
            }
            Self::ExpiryAsText => {
                signed(good.claim("exp", now.saturating_add(HOUR).as_secs().to_string()))
            }
            Self::NoJson => Some(minter.raw("test: no JSON")),
            Self::TooLong => signed(good.claim("padding", "test".repeat(32 * 1024))),
        }
    }
}

/// Generates a key that no issuer has.
fn unrelated_key() -> Option<SigningKey> {
    let pem = inspect::generate_key(Algorithm::ES256)?;
    SigningKey::from_pem(Algorithm::ES256, pem.as_bytes()).ok()
}

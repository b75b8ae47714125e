//! Local verification of JWT access tokens.
//!
//! A [`JwtVerifier`] verifies the tokens of one issuer. It checks that one of the issuer's keys
//! signed the token with an allowed algorithm, that the token is an access token and not another
//! kind of JWT that an authorization server signs, and that it names the issuer, an audience and
//! an expiry. The [`Policy`](crate::Policy) decides on every request whether this service is in
//! the audience and whether the token has expired.
//!
//! ```
//! use serde_json::json;
//! use tower_introspect::{
//!     credentials::Token,
//!     jose::{Algorithm, SigningKey},
//!     jwt::{JwtVerifier, KeySet},
//!     verify::{Verifier, VerifyRequest},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pem = b"-----BEGIN PRIVATE KEY-----\n\
//!     MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
//!     -----END PRIVATE KEY-----\n";
//! let key = SigningKey::from_pem(Algorithm::EdDSA, pem)?.with_kid("2026");
//! let jwk = key.public_jwk().expect("no secret").to_string();
//! let verifier = JwtVerifier::builder("https://as.example.com")
//!     .keys(KeySet::from_jwk(jwk.as_bytes())?)
//!     .build()?;
//!
//! let token = key.sign(
//!     &json!({"alg": "EdDSA", "kid": "2026", "typ": "at+jwt"}),
//!     &json!({"iss": "https://as.example.com", "aud": "api", "exp": 1893456000, "sub": "alice"}),
//! )?;
//! let request = VerifyRequest::new(Token::bearer(&token).expect("a b64token"));
//! // With configured keys the outcome is available at once.
//! let active = verifier.verify(request).now_or_later().ok().expect("at once")?;
//! assert_eq!(active.claims().subject(), Some("alice"));
//! # Ok(()) }
//! ```
//!
//! # Fetched keys
//!
//! Without configured [`keys`](JwtVerifierBuilder::keys) the verifier fetches the key set of the
//! issuer. The URL is the `jwks_uri` of the issuer's metadata (RFC 8414, or else OpenID Connect
//! Discovery; the `issuer` in the metadata must equal the configured one byte for byte), or [the
//! configured URL](JwtVerifierBuilder::jwks_uri).
//!
//! * The first token that needs the keys fetches them, or [`warm`](JwtVerifier::warm) does. Once
//!   they have verified a token, they are renewed in the background at 80 % of their freshness.
//!   They are fresh for 10 minutes, or as long as `Cache-Control` says, within 1 minute and 24
//!   hours. A token whose key is known never waits.
//! * A token of an unknown key waits for a fetch, which all such tokens share, for 2 seconds at
//!   most. The fetch begins at once, or 2 seconds after the one before. Fetches that bring no new
//!   key double that pause, up to 10 seconds. If no fetch ends in time, the error is
//!   [`KeyPending`](crate::ErrorKind::KeyPending). A token is refused only if its key is missing
//!   from a key set that was fetched after the token was presented.
//! * The same holds for a token without a `kid`, or with a bad signature under a known one, if it
//!   was issued after the keys were fetched: a new key may have the same name.
//! * At one server at most four such fetches a second begin, for all issuers of a
//!   [`ResourceServer`](crate::ResourceServer). Peers
//!   ([`VerifyRequest::with_peer`](crate::verify::VerifyRequest::with_peer)) take turns.
//! * After a failed refresh no refresh starts for 1 second. Each further failure doubles the pause,
//!   up to 30 seconds. `Retry-After` can lengthen it, up to 5 minutes. Meanwhile the last good keys
//!   stay in use, for at most 24 hours. Without any keys the pause is 5 seconds at most, and the
//!   error is [`Unavailable`](crate::ErrorKind::Unavailable), never one that blames the token.
//! * A key is retired by the fetch that shows that it is no longer published, or is published with
//!   other key material or another algorithm under the same name. Exactly the tokens that it
//!   verified [are retired](crate::verify::ActiveToken::is_retired) with it.
//! * A fetch takes at most 3 seconds and 512 KiB. It goes to `https` URLs only and follows no redirect.
//!   Of the keys that can be used, [64](JwtVerifierBuilder::max_keys) are kept. The others are left out,
//!   and their tokens are refused with [`UnusableKey`](crate::ErrorKind::UnusableKey), which does not
//!   blame the client. Secrets are never accepted from a fetched key set.
//! * A key with the member `issuer` serves that issuer only. Members of keys that are `null`, and empty
//!   arrays, are absent.
//!
//! # Differences from common JWT libraries
//!
//! The verifier refuses a `crit` of any kind, and `b64`. It refuses repeated members at every level
//! of the header and the claims, base64url with padding or stray bits, tokens without `exp`, `aud`
//! or `iss`, an `iss` that is an array, and the `typ` of another kind of JWT. It refuses a token that
//! nothing marks as an access token ([`Profile::Generic`]), as plain ID tokens are. It ignores keys in
//! the header (`jwk`, `x5c`) and URLs of keys in it (`jku`, `x5u`).

mod advice;
pub(crate) mod builder;
pub(crate) mod jwks;
mod key_faults;
pub(crate) mod keys;
pub(crate) mod profile;
pub(crate) mod read_keys;
pub(crate) mod remote_keys;
pub(crate) mod source;
pub(crate) mod statement;
mod unknown_keys;
mod validate;
pub(crate) mod verifier;

pub use self::{
    builder::JwtVerifierBuilder, keys::KeySet, profile::Profile, verifier::JwtVerifier,
};

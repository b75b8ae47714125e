//! Advises the operator about tokens that the issuer signed, but that are not access tokens.

use super::{keys::KeySet, profile::Profile, validate::Rules};
use crate::{
    claims::{
        claims_set::Claims,
        kind::Evidence,
        own_names::{OF_KIND, present},
        typ::{Typ, typ_in_words},
    },
    error::kind::TokenKind,
    jose::{header::Header, jws::CompactJws},
    telemetry::advice::{SEND_ACCESS_TOKEN, WrongKind, wants_wrong_kind, wrong_kind},
};

const OF_ACCESS_TOKEN: &str =
    "`typ` at+jwt, or a scope, a client or a word that says that it is an access token";

impl Rules {
    /// Reports a token that was refused for its kind, if the issuer signed it.
    ///
    /// The type is refused before a signature is verified. It is verified here, so that no made-up
    /// token causes an event. Fetches no keys.
    pub(super) fn tell_wrong_kind(&self, token: &str, keys: &KeySet, kind: TokenKind) {
        if !wants_wrong_kind(&self.issuer, kind) {
            return;
        }
        let Some((typ, claims)) = self.read_signed(token, keys) else { return };
        let (wanted, setting) = self.advice(Typ::of(typ.as_deref()), kind, &claims);
        wrong_kind(WrongKind {
            issuer: &self.issuer,
            kind,
            typ: Some(typ_in_words(typ.as_deref())),
            claims: &present(&OF_KIND, claims.members()),
            wanted,
            setting,
        });
    }

    /// Returns the `typ` and the claims of a token of any kind, if one of `keys` signed it and it is
    /// of this issuer.
    fn read_signed(&self, token: &str, keys: &KeySet) -> Option<(Option<String>, Claims)> {
        let jws = CompactJws::parse(token).ok()?;
        let header = Header::parse(jws.header()).ok()?;
        let algorithm = self.algorithm(&header, keys).ok()?;
        let signed = (jws.signing_input().as_bytes(), jws.signature());
        keys.verify(algorithm, header.kid.as_deref(), signed, self.max_tries).ok()?;
        let claims = Claims::from_json(jws.payload()).ok()?;
        let typ = header.typ.map(|typ| typ.into_owned());
        (claims.issuer() == Some(&*self.issuer)).then_some((typ, claims))
    }

    /// Returns the tokens that are wanted, and the setting to change.
    fn advice(&self, typ: Typ, kind: TokenKind, claims: &Claims) -> (&'static str, &'static str) {
        if let Typ::Other(_) = typ {
            let setting = match kind {
                TokenKind::Other => {
                    "none: if it is the access token, have the issuer set `typ` to at+jwt"
                }
                _ => SEND_ACCESS_TOKEN,
            };
            return (self.profile.accepted_typs(), setting);
        }
        let by_claims = Evidence::of_jwt(typ, claims.members()).judge();
        match (self.profile, by_claims) {
            (Profile::Rfc9068, Ok(())) => (
                self.profile.accepted_typs(),
                "have the issuer set `typ` to at+jwt, or choose `Profile::Generic`",
            ),
            (Profile::Rfc9068, Err(TokenKind::Unmarked)) => (
                self.profile.accepted_typs(),
                "have the issuer set `typ` to at+jwt, or choose `Profile::Generic` with \
                 `danger_accept_unmarked_jwts`",
            ),
            (Profile::Generic, Err(TokenKind::Unmarked)) => (
                OF_ACCESS_TOKEN,
                "have the issuer set `typ` to at+jwt, or choose `danger_accept_unmarked_jwts`; for \
                 tokens that identify services, `Profile::ServiceIdentity`",
            ),
            (Profile::ServiceIdentity, _) => {
                ("the token of a service, whose audience is not its client", SEND_ACCESS_TOKEN)
            }
            _ => (OF_ACCESS_TOKEN, SEND_ACCESS_TOKEN),
        }
    }
}

//! Reads the body of a request to revoke.

use super::name::{Fault, Name, Texts};
use crate::{
    claims::{
        claims_set::numeric_date,
        json::{self, Object},
    },
    clock::UnixTime,
    credentials::token::Token,
    jose::jws::CompactJws,
    revocation::change::CutoffChange,
};

/// An order to revoke tokens, or to ask anew about them.
pub(super) struct Order {
    /// The token to remove from the caches.
    pub(super) token: Option<Token>,
    /// The tokens to cut. `None` for an opaque token, which only its issuer can name.
    pub(super) name: Option<Name>,
    pub(super) at: Option<UnixTime>,
    pub(super) ask_anew: bool,
}

impl Order {
    /// Reads a body. An unknown member is refused, because it may be a misspelt restriction.
    ///
    /// # Errors
    ///
    /// Returns the first fault.
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        let object = Object::parse(body).map_err(|_| "the body is not one JSON object")?;
        let (mut texts, mut token, mut at) = (Texts::default(), None, None);
        let (mut all, mut ask_anew) = (None, None);
        for (name, raw) in object.iter() {
            match &**name {
                "token" => token = Some(json::string(raw).ok_or("token is not text")?),
                "at" => at = Some(numeric_date(raw.get()).ok_or("at is not a number")?),
                "all" => all = Some(json::boolean(raw).ok_or("all is not a boolean")?),
                "ask_anew" => {
                    ask_anew = Some(json::boolean(raw).ok_or("ask_anew is not a boolean")?);
                }
                name => {
                    let text = json::string(raw).ok_or("a member is unknown or not text")?;
                    if !texts.add(name, &text)? {
                        return Err("a member is unknown or not text");
                    }
                }
            }
        }
        if all == Some(false) {
            return Err("all can only be true");
        }
        let ask_anew = ask_anew.unwrap_or(false);
        if at.is_some() && ask_anew {
            return Err("at has no meaning with ask_anew");
        }
        let (token, name) = match token {
            None => (None, Some(texts.name(all.is_some())?)),
            Some(_) if all.is_some() || !matches!(texts.filter(), Ok(None)) => {
                return Err("more than one target is named");
            }
            Some(text) => {
                let token = Token::bearer(&text).ok_or("token has no form of a token")?;
                let name = name_of_jwt(&text, ask_anew)?;
                (Some(token), name)
            }
        };
        if at.is_some() && name.as_ref().is_none_or(Name::is_one_token) {
            return Err("at has no meaning for one token");
        }
        Ok(Self { token, name, at, ask_anew })
    }

    /// Returns the effect on the tokens that are named.
    pub(super) fn effect(&self, name: &Name) -> CutoffChange {
        let cutoff = name.cutoff();
        match self.at {
            _ if self.ask_anew => CutoffChange::Outdate(cutoff),
            Some(at) => CutoffChange::Revoke(cutoff.at(at)),
            None => CutoffChange::Revoke(cutoff),
        }
    }
}

/// Returns the name of a JWT, or `None` for an opaque token.
///
/// The signature is not verified: the caller may revoke any other token by its name.
///
/// # Errors
///
/// Returns an error if a JWT can't be named, and is to be revoked. Removing it from the cache would not
/// revoke it: its signature is as good as before.
fn name_of_jwt(token: &str, ask_anew: bool) -> Result<Option<Name>, Fault> {
    let Ok(jws) = CompactJws::parse(token) else { return Ok(None) };
    let Ok(claims) = Object::parse(jws.payload()) else { return Ok(None) };
    let text = |name| {
        let text = claims.get(name).and_then(json::string).filter(|text| !text.is_empty())?;
        Some(text.into_owned())
    };
    match (text("iss"), text("jti")) {
        (Some(issuer), Some(jwt_id)) => Ok(Some(Name::token(issuer, jwt_id))),
        _ if ask_anew => Ok(None),
        _ => Err("the token has no iss or no jti: name its subject, its session or its client"),
    }
}

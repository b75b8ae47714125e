//! Checks a logout token, apart from its signature (OpenID Connect Back-Channel Logout 1.0 §2.6).

use std::{borrow::Cow, time::Duration};

use super::settings::Settings;
use crate::{
    claims::{
        claims_set::numeric_date,
        json::{self, Object},
        typ::Typ,
    },
    clock::UnixTime,
    error::kind::TokenKind,
    jose::{header::Header, jws::CompactJws},
    revocation::{change::CutoffChange, cutoff::Cutoff},
    signals::statement,
};

/// The member of `events` in a logout token (§2.4).
const BACKCHANNEL_LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The tolerated difference between the clocks of the issuer and of this service.
const LEEWAY: Duration = Duration::from_secs(30);

/// A logout token that passed every check but that of its signature.
#[derive(Debug)]
pub(super) struct LogoutToken {
    pub(super) issuer: Box<str>,
    pub(super) issued_at: UnixTime,
    pub(super) alg: Box<str>,
    pub(super) kid: Option<Box<str>>,
    pub(super) effect: CutoffChange,
    /// False if its audience is another client.
    pub(super) is_for_us: bool,
}

/// The fault of a logout token, in words that quote nothing of it.
pub(super) type Fault = &'static str;

impl LogoutToken {
    /// Reads a logout token.
    ///
    /// # Errors
    ///
    /// Returns the first fault.
    pub(super) fn read(text: &str, settings: &Settings, now: UnixTime) -> Result<Self, Fault> {
        let is_typ = |header: &Header<'_>| match Typ::of(header.typ.as_deref()) {
            Typ::Other(TokenKind::Logout) => true,
            Typ::Plain => !settings.strict_typ,
            _ => false,
        };
        let read = |header: &Header<'_>, jws: &CompactJws<'_>| {
            let claims = Object::parse(jws.payload()).map_err(|_| "its claims are malformed")?;
            Self::of_claims(&claims, header, settings, now)
        };
        statement::parse(text, is_typ, read).map_err(|malformed| match malformed {
            statement::Malformed::Form => "it is not a signed JWT",
            statement::Malformed::Type => "its typ is not that of a logout token",
        })?
    }

    fn of_claims(
        claims: &Object<'_>,
        header: &Header<'_>,
        settings: &Settings,
        now: UnixTime,
    ) -> Result<Self, Fault> {
        let text = |name: &'static str, fault: Fault| match claims.get(name).map(json::string) {
            None => Ok(None),
            Some(Some(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(fault),
        };
        let issuer = text("iss", "iss is not text")?.ok_or("iss is missing")?;
        let is_for_us = is_for(claims, settings.client_at(&issuer));
        let issued_at = time(claims, "iat")?.ok_or("iat is missing")?;
        let (past, future) = (now.saturating_sub(LEEWAY), now.saturating_add(LEEWAY));
        if issued_at > future || issued_at < past.saturating_sub(settings.max_age) {
            return Err("its iat is not recent");
        }
        if time(claims, "exp")?.is_some_and(|end| end <= past) {
            return Err("it has expired");
        }
        text("jti", "jti is not text")?.ok_or("jti is missing")?;
        if claims.get("nonce").is_some() {
            return Err("it has a nonce, as ID tokens do");
        }
        let events = claims.get("events").and_then(|raw| Object::parse(raw.get().as_bytes()).ok());
        let event = events.as_ref().and_then(|events| events.get(BACKCHANNEL_LOGOUT));
        if event.is_none_or(|event| Object::parse(event.get().as_bytes()).is_err()) {
            return Err("events has no back-channel logout");
        }
        let (subject, session) = (text("sub", "sub is not text")?, text("sid", "sid is not text")?);
        let cutoff = cutoff(&issuer, subject, session, settings.cut_by_subject)?.at(issued_at);
        Ok(Self {
            issuer: (&*issuer).into(),
            issued_at,
            alg: (&*header.alg).into(),
            kid: header.kid.as_deref().map(Into::into),
            effect: CutoffChange::Revoke(cutoff),
            is_for_us,
        })
    }
}

/// Returns true if the audience is, or has, the client identifier of this service.
fn is_for(claims: &Object<'_>, client: &str) -> bool {
    let Some(aud) = claims.get("aud") else { return false };
    let one = json::string(aud).is_some_and(|aud| aud == client);
    one || json::strings(aud).is_some_and(|all| all.iter().any(|aud| aud == client))
}

fn time(claims: &Object<'_>, name: &'static str) -> Result<Option<UnixTime>, Fault> {
    let Some(raw) = claims.get(name) else { return Ok(None) };
    numeric_date(raw.get()).map(Some).ok_or("a time is not a number")
}

/// Returns the cutoff for the session, or for all sessions of the subject if none is named (§2.4).
fn cutoff(
    issuer: &str,
    subject: Option<Cow<'_, str>>,
    session: Option<Cow<'_, str>>,
    by_subject: bool,
) -> Result<Cutoff, Fault> {
    Ok(match (subject, session) {
        (Some(subject), Some(_)) if by_subject => Cutoff::subject(issuer, subject),
        (Some(subject), Some(session)) => Cutoff::session(issuer, session).of_subject(subject),
        (Some(subject), None) => Cutoff::subject(issuer, subject),
        (None, Some(session)) => Cutoff::session(issuer, session),
        (None, None) => return Err("both sub and sid are missing"),
    })
}

//! The claims of a token (JWT Claims Set, RFC 7519 §4).

use std::{borrow::Cow, fmt, sync::Arc};

use serde::de::DeserializeOwned;

use super::{
    actor::Actor,
    audience::Audience,
    confirmation::Confirmation,
    details::AuthorizationDetail,
    error::ClaimsError,
    json,
    path::{ClaimPath, NotAnObject},
    scope::{SCOPE, SCP, Scope},
    text::{
        json_text::{Mark, Text},
        span::Span,
    },
};
use crate::{clock::UnixTime, error::kind::ErrorKind};

/// The reason why a token with an empty `aud` is refused.
pub(crate) const FOR_NOBODY: &str = "`aud` is empty, so the token is for nobody";

/// The claims that name the client, the one that decides first.
pub(crate) const CLIENT_CLAIMS: [&str; 4] = ["client_id", "azp", "cid", "appid"];

/// The claims of one token.
///
/// `Debug` shows no claim but the issuer, and a [`ClaimsError`] shows no value of a claim.
#[derive(Clone)]
pub struct Claims {
    pub(super) text: Text,
    pub(super) issuer: Span,
    pub(super) subject: Span,
    pub(super) audience: Audience,
    pub(super) scope: Scope,
    // Each counts only if the text has its mark, which takes less space than three options.
    pub(super) expires_at: UnixTime,
    pub(super) not_before: UnixTime,
    pub(super) issued_at: UnixTime,
    /// The parts that few tokens have.
    pub(super) rare: Option<Box<RareClaims>>,
}

#[derive(Clone, Default)]
pub(super) struct RareClaims {
    /// The name of the claim that holds the scope, unless that is `scope`, or `scp` if there is no
    /// `scope`.
    pub(super) scope_claim: Option<Span>,
    pub(super) confirmation: Option<Confirmation>,
}

impl Claims {
    /// Returns `iss`, the issuer of the token (RFC 7519 §4.1.1).
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.text.get(self.issuer)
    }

    /// Returns `sub`, the subject of the token, unique only within its issuer (RFC 7519 §4.1.2).
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.text.get(self.subject)
    }

    /// Returns `aud`, the recipients that the token is meant for (RFC 7519 §4.1.3).
    #[must_use]
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// Refuses claims without an audience.
    ///
    /// # Errors
    ///
    /// An empty `aud` is not absent. It says that the token is for nobody, so the audience is wrong.
    pub(crate) fn require_audience(&self) -> Result<(), ErrorKind> {
        match (self.audience.is_empty(), self.raw("aud")) {
            (false, _) => Ok(()),
            (true, None) => Err(ErrorKind::MissingClaim("aud")),
            (true, Some(_)) => Err(ErrorKind::WrongAudience),
        }
    }

    /// Returns `exp`, the time from which the token must not be accepted (RFC 7519 §4.1.4).
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixTime> {
        self.text.has(Mark::ExpiresAt).then_some(self.expires_at)
    }

    /// Returns `nbf`, the time before which the token must not be accepted (RFC 7519 §4.1.5).
    #[must_use]
    pub fn not_before(&self) -> Option<UnixTime> {
        self.text.has(Mark::NotBefore).then_some(self.not_before)
    }

    /// Returns `iat`, the time at which the token was issued (RFC 7519 §4.1.6).
    #[must_use]
    pub fn issued_at(&self) -> Option<UnixTime> {
        self.text.has(Mark::IssuedAt).then_some(self.issued_at)
    }

    /// Returns the scope that the token grants (RFC 8693 §4.2).
    ///
    /// It is in `scope`, or in `scp` if there is no `scope`: a space-delimited string, or an array
    /// of strings. An element with a space is no scope, unless it is the only one. A setting of the
    /// verifier may name another claim. The scope is empty if the claim is absent or of another
    /// type.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns `cnf`, the key that the token is bound to (RFC 7800 §3.1).
    #[must_use]
    pub fn confirmation(&self) -> Option<&Confirmation> {
        self.rare.as_ref()?.confirmation.as_ref()
    }

    /// Returns the client that requested the token.
    ///
    /// It is in `client_id` (RFC 8693 §4.3), or else in `azp`, `cid` or `appid`, which some issuers
    /// write instead. The first of these claims decides; if it is not a string, there is no client.
    #[must_use]
    pub fn client_id(&self) -> Option<Cow<'_, str>> {
        self.try_client_id().ok().flatten()
    }

    /// Does the same as [`client_id`](Self::client_id).
    ///
    /// # Errors
    ///
    /// Returns an error if the claim that decides is not a string.
    pub(crate) fn try_client_id(&self) -> Result<Option<Cow<'_, str>>, ClaimsError> {
        let rank = |name: &str| CLIENT_CLAIMS.iter().position(|known| *known == name);
        let ranked = self.text.members().filter_map(|(name, value)| Some((rank(name)?, value)));
        let Some((rank, value)) = ranked.min_by_key(|(rank, _)| *rank) else { return Ok(None) };
        let name = CLIENT_CLAIMS.get(rank).copied().unwrap_or_default();
        json::decode_string(value).map(Some).ok_or(ClaimsError::Invalid(name))
    }

    /// Returns `jti`, the identifier of the token, unique within its issuer (RFC 7519 §4.1.7).
    #[must_use]
    pub fn jwt_id(&self) -> Option<Cow<'_, str>> {
        self.string("jti")
    }

    /// Returns `act`, the outermost party that acts for the subject (RFC 8693 §4.1).
    ///
    /// # Errors
    ///
    /// Returns an error if the claim is not an object, or if its `sub` or `iss` is not a string.
    pub fn actor(&self) -> Result<Option<Actor<'_>>, ClaimsError> {
        self.raw("act").map(Actor::parse).transpose()
    }

    /// Returns `authorization_details`, the detailed permissions of the token (RFC 9396 §9).
    ///
    /// The list is empty if the claim is absent.
    ///
    /// # Errors
    ///
    /// Returns an error if the claim is anything but an array of objects that each have a string
    /// `type`. Such a claim grants nothing.
    pub fn authorization_details(&self) -> Result<Vec<AuthorizationDetail<'_>>, ClaimsError> {
        let details = self.raw("authorization_details").map(AuthorizationDetail::parse_all);
        details.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Returns a claim that is a NumericDate (RFC 7519 §2), such as `auth_time`.
    ///
    /// # Errors
    ///
    /// Returns an error if the claim is present but not a number.
    pub fn time(&self, name: &'static str) -> Result<Option<UnixTime>, ClaimsError> {
        let date = |text| numeric_date(text).ok_or(ClaimsError::Invalid(name));
        self.raw(name).map(date).transpose()
    }

    /// Returns a claim that is a string, with escapes decoded.
    ///
    /// Returns `None` if the claim is absent or has another type.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<Cow<'_, str>> {
        self.raw(name).and_then(json::decode_string)
    }

    /// Returns a claim as JSON text.
    ///
    /// It is the text that was received, unless a later response of the issuer has narrowed the
    /// claim.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.text.raw(name)
    }

    /// Returns the claim at a path as JSON text.
    ///
    /// Returns `None` if there is no value, if it is `null`, or if the path leads into a value that
    /// is not an object.
    #[must_use]
    pub fn raw_at(&self, path: &ClaimPath) -> Option<&str> {
        self.try_raw_at(path).ok().flatten()
    }

    /// Does the same as [`raw_at`](Self::raw_at), but refuses a path into a value that is not an
    /// object.
    pub(crate) fn try_raw_at(&self, path: &ClaimPath) -> Result<Option<&str>, NotAnObject> {
        self.raw(path.first()).map_or(Ok(None), |value| path.follow(value))
    }

    /// Returns the names of all claims.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.text.names()
    }

    /// Deserializes one claim into a type of the application.
    ///
    /// # Errors
    ///
    /// Returns an error if the claim is present and does not have that type. The error may quote
    /// the claim: do not log it or send it in a response.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        self.raw(name).map(serde_json::from_str).transpose()
    }

    /// Deserializes all claims into a type of the application, anew with each call.
    ///
    /// For an admitted token, [`VerifiedToken::claims_as`](crate::VerifiedToken::claims_as) parses
    /// only once.
    ///
    /// Integers are exact in every integer type up to 128 bits. For larger numbers, or to keep the
    /// digits, use a `Box<serde_json::value::RawValue>` or [`raw`](Self::raw). Below
    /// `#[serde(flatten)]`, in untagged enums and in `serde_json::Value`, serde itself rounds
    /// integers beyond 64 bits.
    ///
    /// ```
    /// # use tower_introspect::claims::Claims;
    /// #[derive(serde::Deserialize)]
    /// struct Mine {
    ///     tenant: u64,
    /// }
    ///
    /// let claims = Claims::from_json(br#"{"tenant": 18446744073709551615}"#).unwrap();
    /// assert_eq!(claims.deserialize::<Mine>().unwrap().tenant, u64::MAX);
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the claims do not have that type. The error may quote a claim: do not
    /// log it or send it in a response.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.text.as_str())
    }

    /// Returns all claims as a `T`, parsed only once, or `None` if they are not a `T`.
    pub(crate) fn parsed<T>(&self) -> Option<Arc<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        // The error of the parser may quote a claim, so it is dropped.
        self.text.parsed().get(|| self.deserialize().ok())
    }

    /// Returns all claims: names, and values as JSON text.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.members()
    }

    /// Returns true if `token_type` or `token_use` says that the token is a refresh token.
    ///
    /// Costs no search.
    pub(crate) fn declares_refresh_token(&self) -> bool {
        self.text.has(Mark::Refresh)
    }

    /// Returns true if `token_type` says that the token is bound by DPoP (RFC 9449 §5).
    ///
    /// Costs no search.
    pub(crate) fn declares_dpop(&self) -> bool {
        self.text.has(Mark::Dpop)
    }

    /// Returns the name of the claim that holds the scope, or would hold it.
    pub(crate) fn scope_claim(&self) -> &str {
        let named = self.rare.as_ref().and_then(|rare| self.text.get(rare.scope_claim?));
        named.unwrap_or(match self.raw(SCOPE) {
            None if self.raw(SCP).is_some() => SCP,
            _ => SCOPE,
        })
    }

    /// Sets the audience that the issuer left out.
    #[must_use]
    pub(crate) fn with_audience(mut self, audience: &str) -> Self {
        self.audience = Audience::one(self.span_of(audience));
        self.with_updated_views()
    }

    /// Returns the span of `part` in the text, and appends `part` if the text lacks it.
    ///
    /// This may replace the text, so [`with_updated_views`](Self::with_updated_views) must follow.
    pub(super) fn span_of(&mut self, part: &str) -> Span {
        let (text, span) = self.text.with_part(part);
        self.text = text;
        span
    }

    /// Points the views of audience and scope at the current text.
    pub(super) fn with_updated_views(mut self) -> Self {
        self.audience.set_text(&self.text);
        self.scope.set_text(&self.text);
        self
    }

    /// Returns the size in bytes, including the struct itself, within a few machine words.
    pub(crate) fn bytes(&self) -> usize {
        let keys = self.confirmation().map(|key| [key.jkt(), key.x5t_s256()]);
        let keys = keys.into_iter().flatten().flatten().map(str::len).sum::<usize>();
        let rare = self.rare.as_ref().map_or(0, |_| size_of::<RareClaims>());
        size_of::<Self>() + self.text.bytes() + self.audience.bytes() + rare + keys
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("issuer", &self.issuer()).finish_non_exhaustive()
    }
}

/// Parses a NumericDate: a JSON number of seconds, possibly with a fraction (RFC 7519 §2).
///
/// Values beyond the range of [`UnixTime`] saturate. A fraction finer than a millisecond is cut off
/// towards the past, so that a token never lives longer than it says.
pub(crate) fn numeric_date(text: &str) -> Option<UnixTime> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(UnixTime::from_secs(seconds));
    }
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return None;
    }
    let seconds = text.parse::<f64>().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which is wanted")]
    Some(UnixTime::from_millis((seconds * 1000.0).floor() as i64))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

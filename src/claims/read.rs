//! Reads claims from the text of a JWT or of an introspection response.

use serde_json::value::RawValue;

use super::{
    audience::Audience,
    claims_set::{Claims, RareClaims, numeric_date},
    confirmation::Confirmation,
    error::ClaimsError,
    json::{NotStrict, Object},
    scope::{SCOPE, SCP, Scope, ScopeClaim},
    text::{json_text::Draft, span::Span},
    unset,
};

/// The maximum length of a text in bytes, because places in it are counted in 32 bits.
const MAX_TEXT: usize = 1 << 30;

impl Claims {
    /// Reads claims from one JSON object.
    ///
    /// # Errors
    ///
    /// Returns an error if the text is longer than 1 GiB, is not exactly one JSON object, names a
    /// member twice, nests too deeply, or gives a registered claim a value of the wrong type.
    pub fn from_json(text: &[u8]) -> Result<Self, ClaimsError> {
        Self::with_scope_from(text, ScopeClaim::Usual)
    }

    /// Does the same as [`from_json`](Self::from_json), and reads the scope from `claim`.
    pub(crate) fn with_scope_from(text: &[u8], claim: ScopeClaim<'_>) -> Result<Self, ClaimsError> {
        if text.len() > MAX_TEXT {
            return Err(ClaimsError::Malformed);
        }
        let object = Object::parse(text).map_err(|NotStrict| ClaimsError::Malformed)?;
        Self::from_object(text, &object, claim)
    }

    /// Reads the claims of an introspection response. `object` was read from `text`. Unset members
    /// count as absent.
    pub(crate) fn from_response(
        text: &[u8],
        object: &Object<'_>,
        claim: ScopeClaim<'_>,
    ) -> Result<Self, ClaimsError> {
        match unset::response_without_unset(object) {
            Some(text) => Self::with_scope_from(text.as_bytes(), claim),
            None if text.len() > MAX_TEXT => Err(ClaimsError::Malformed),
            None => Self::from_object(text, object, claim),
        }
    }

    fn from_object(
        text: &[u8],
        object: &Object<'_>,
        claim: ScopeClaim<'_>,
    ) -> Result<Self, ClaimsError> {
        // `Object::parse` has checked that the text is UTF-8.
        let text = std::str::from_utf8(text).map_err(|_| ClaimsError::Malformed)?;
        let mut draft = Draft::new(text, object);
        let mut span_of = |text: &str| draft.span_of(text);
        let mut string = |name| {
            let text = object.string(name)?;
            Ok::<_, ClaimsError>(text.map_or(Span::NONE, |text| span_of(&text)))
        };
        let (issuer, subject) = (string("iss")?, string("sub")?);
        // Otherwise a cutoff of this token would miss it.
        object.string("jti")?;
        let audience = optional(object, "aud", |value| Audience::parse(value, &mut span_of))?;
        let date = |name| optional(object, name, |value| numeric_date(value.get()));
        let (expires_at, not_before, issued_at) = (date("exp")?, date("nbf")?, date("iat")?);
        let (scope_name, scope) = claim.read(object);
        let scope = scope.map(|text| span_of(&text));
        let confirmation = optional(object, "cnf", Confirmation::parse)?;
        let is_found_by_name = match claim {
            ScopeClaim::Usual => true,
            ScopeClaim::Text => object.get(SCOPE).is_some() || object.get(SCP).is_none(),
            ScopeClaim::Named(_) => false,
        };
        let scope_claim = (!is_found_by_name).then(|| span_of(scope_name));
        let rare = RareClaims { scope_claim, confirmation };
        let rare = (rare.scope_claim.is_some() || rare.confirmation.is_some()).then_some(rare);
        let claims = Self {
            text: draft.finish(),
            issuer,
            subject,
            audience: audience.unwrap_or_default(),
            scope: scope.map(Scope::at).unwrap_or_default(),
            expires_at: expires_at.unwrap_or_default(),
            not_before: not_before.unwrap_or_default(),
            issued_at: issued_at.unwrap_or_default(),
            rare: rare.map(Box::new),
        };
        Ok(claims.with_updated_views())
    }
}

fn optional<'a, T>(
    object: &Object<'a>,
    name: &'static str,
    parse: impl FnOnce(&'a RawValue) -> Option<T>,
) -> Result<Option<T>, ClaimsError> {
    object.get(name).map(|value| parse(value).ok_or(ClaimsError::Invalid(name))).transpose()
}

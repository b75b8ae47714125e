//! Describes the requirements that a token does not meet, for operators.
//!
//! The words are those of the configuration. Of the token they only say whether a claim is absent, of
//! another type or another value.

use std::borrow::Cow;

use crate::{
    claims::{error::ClaimsError, path::NotAnObject},
    policy::verified_token::{ClaimTest, Kind, Requirement, VerifiedToken},
};

impl Requirement {
    /// Describes the parts of this requirement that `token` does not meet.
    pub(super) fn describe_unmet(&self, token: &VerifiedToken) -> String {
        self.0.describe_unmet(token)
    }

    fn is_met(&self, token: &VerifiedToken) -> bool {
        self.0.judge(token).into_result().is_ok()
    }
}

/// Describes which of several parts, all of which are required, `token` does not meet.
pub(super) fn describe_unmet_of(parts: &[Requirement], token: &VerifiedToken) -> String {
    let unmet = parts.iter().filter(|part| !part.is_met(token));
    join(unmet.map(|part| part.describe_unmet(token)), "; ")
}

impl Kind {
    fn describe_unmet(&self, token: &VerifiedToken) -> String {
        let mismatch = match self {
            Self::All(parts) => return describe_unmet_of(parts, token),
            Self::Any(parts) => {
                return join(parts.iter().map(|part| part.describe_unmet(token)), ", or ");
            }
            Self::AllScopes(scopes) => {
                let missing = scopes.iter().filter(|scope| !token.has_scope(scope));
                return format!("scope `{}`", join(missing, " "));
            }
            Self::AnyAcr(_) => Mismatch::of_text(token, "acr"),
            Self::AnyClient(_) => match token.claims().try_client_id() {
                Ok(None) => Mismatch::Absent,
                Ok(Some(_)) => Mismatch::OtherValue,
                Err(_) => Mismatch::OtherType,
            },
            Self::MaxAge(_) => Mismatch::of_time(token, "auth_time"),
            Self::Detail(_) => match token.claims().authorization_details() {
                Ok(details) if details.is_empty() => Mismatch::Absent,
                Ok(_) => Mismatch::OtherValue,
                Err(_) => Mismatch::OtherType,
            },
            Self::Claim(test) => test.mismatch(token),
            Self::AnyActor(_) => match token.claims().actor() {
                Ok(None) => Mismatch::Absent,
                Ok(Some(_)) => Mismatch::OtherValue,
                Err(_) => Mismatch::OtherType,
            },
            Self::AnyScope(_)
            | Self::AnyIssuer(_)
            | Self::Audience(_)
            | Self::Check(_)
            | Self::Fresh(_)
            | Self::NoActor
            | Self::Not(_)
            | Self::SenderConstrained => return self.name().into_owned(),
        };
        format!("{} ({})", self.name(), mismatch.as_str())
    }

    /// Names a requirement, without saying how a token differs.
    fn name(&self) -> Cow<'static, str> {
        let names =
            |parts: &[Requirement], separator| join(parts.iter().map(|it| it.0.name()), separator);
        match self {
            Self::All(parts) => names(parts, " and ").into(),
            Self::Any(parts) => names(parts, " or ").into(),
            Self::Not(part) => format!("not ({})", part.0.name()).into(),
            Self::AllScopes(scopes) => format!("scope `{}`", join(scopes, " ")).into(),
            Self::AnyScope(scopes) => format!("one scope of `{}`", join(scopes, " ")).into(),
            Self::AnyAcr(values) => format!("acr `{}`", join(values, " ")).into(),
            Self::MaxAge(age) => format!("auth_time of the last {} s", age.as_secs()).into(),
            Self::Fresh(age) => format!("facts of the last {} s", age.as_secs()).into(),
            Self::Claim(test) => format!("claim `{}`", test.path).into(),
            Self::Audience(identifier) => format!("audience `{identifier}`").into(),
            Self::AnyIssuer(_) => "issuer".into(),
            Self::AnyClient(_) => "client".into(),
            Self::AnyActor(_) => "actor".into(),
            Self::NoActor => "no actor".into(),
            Self::Detail(_) => "authorization_details".into(),
            Self::SenderConstrained => "a token that is bound to a key".into(),
            Self::Check(_) => "a check of the application".into(),
        }
    }
}

impl ClaimTest {
    fn mismatch(&self, token: &VerifiedToken) -> Mismatch {
        match token.claims().try_raw_at(&self.path) {
            Ok(None) => Mismatch::Absent,
            Ok(Some(text)) if (self.test)(text).is_some() => Mismatch::OtherValue,
            Ok(Some(_)) | Err(NotAnObject) => Mismatch::OtherType,
        }
    }
}

/// How a claim differs from what is required.
enum Mismatch {
    Absent,
    OtherType,
    OtherValue,
}

impl Mismatch {
    fn of_text(token: &VerifiedToken, claim: &str) -> Self {
        match (token.claims().string(claim), token.claims().raw(claim)) {
            (Some(_), _) => Self::OtherValue,
            (None, Some(_)) => Self::OtherType,
            (None, None) => Self::Absent,
        }
    }

    fn of_time(token: &VerifiedToken, claim: &'static str) -> Self {
        match token.claims().time(claim) {
            Ok(None) => Self::Absent,
            Ok(Some(_)) => Self::OtherValue,
            Err(ClaimsError::Invalid(_) | ClaimsError::Malformed) => Self::OtherType,
        }
    }

    const fn as_str(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::OtherType => "another type",
            Self::OtherValue => "another value",
        }
    }
}

fn join(texts: impl IntoIterator<Item = impl AsRef<str>>, separator: &str) -> String {
    let mut joined = String::new();
    for text in texts {
        if !joined.is_empty() {
            joined.push_str(separator);
        }
        joined.push_str(text.as_ref());
    }
    joined
}

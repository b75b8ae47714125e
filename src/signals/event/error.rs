//! The errors of reading a security event token.

/// The reason why a security event token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetError {
    /// The payload is not one JSON object with unique members.
    Malformed,
    /// The claim of this name is missing or has the wrong type.
    Claim(SetClaim),
    /// The claim `exp` is present (SSF 1.0 §4.1).
    Expires,
    /// The claim `sub` is present (SSF 1.0 §4.1).
    NamesSubject,
    /// The issuer is not the transmitter.
    Issuer,
    /// The token is for another receiver.
    Audience,
}

/// The claims of a security event token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetClaim {
    Audience,
    Events,
    IssuedAt,
    Issuer,
    JwtId,
    SubjectId,
}

impl SetError {
    /// Returns the error code of RFC 8935 §2.4.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Issuer => "invalid_issuer",
            Self::Audience => "invalid_audience",
            Self::Malformed | Self::Claim(_) | Self::Expires | Self::NamesSubject => {
                "invalid_request"
            }
        }
    }

    /// Returns a description for the transmitter. It quotes nothing of the token, and shows nothing
    /// of the configuration.
    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::Malformed => "The payload is not one JSON object with unique members.",
            Self::Claim(SetClaim::Audience) => "aud is neither text nor a list of text.",
            Self::Claim(SetClaim::Events) => {
                "events is not an object of at least one event, each an object."
            }
            Self::Claim(SetClaim::IssuedAt) => "iat is missing or not a number.",
            Self::Claim(SetClaim::Issuer) => "iss is missing or not text.",
            Self::Claim(SetClaim::JwtId) => "jti is missing or not text.",
            Self::Claim(SetClaim::SubjectId) => "sub_id is missing or not a subject identifier.",
            Self::Expires => "exp must not be present.",
            Self::NamesSubject => "sub must not be present.",
            Self::Issuer => "The issuer is not accepted here.",
            Self::Audience => "The audience is not this receiver.",
        }
    }
}

//! The checks that a token goes through, in the order in which they count.

/// The stage of the verification that a check belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// The request, before anything is known about its token.
    Request,
    /// The choice of the issuer's verifier.
    Route,
    /// The token as a JWT.
    Jwt,
    /// The introspection response of the authorization server.
    Introspection,
    /// The revocations known to this process.
    Revocation,
    /// The requirements of this service.
    Policy,
}

/// A check that a token has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "checks", expect(missing_docs, reason = "each has a title"))]
#[non_exhaustive]
pub enum Check {
    Credentials,
    Length,

    Route,

    Form,
    Header,
    Algorithm,
    Extension,
    Type,
    Keys,
    Key,
    Signature,
    Claims,
    Issuer,
    Kind,
    Complete,

    Endpoint,
    Answer,
    AnswerSignature,
    Active,
    AnswerIssuer,
    AnswerKind,
    AnswerBinding,

    Cutoff,

    Trusted,
    KeyInUse,
    NoRefreshToken,
    Expiry,
    Start,
    Audience,
    Possession,
    Requirements,
}

impl Check {
    /// All checks, in the order in which they count. The first that fails is the reason of the
    /// refusal.
    pub const ALL: [Self; 31] = [
        Self::Credentials,
        Self::Length,
        Self::Route,
        Self::Form,
        Self::Header,
        Self::Algorithm,
        Self::Extension,
        Self::Type,
        Self::Keys,
        Self::Key,
        Self::Signature,
        Self::Claims,
        Self::Issuer,
        Self::Kind,
        Self::Complete,
        Self::Endpoint,
        Self::Answer,
        Self::AnswerSignature,
        Self::Active,
        Self::AnswerIssuer,
        Self::AnswerKind,
        Self::AnswerBinding,
        Self::Cutoff,
        Self::Trusted,
        Self::KeyInUse,
        Self::NoRefreshToken,
        Self::Expiry,
        Self::Start,
        Self::Audience,
        Self::Possession,
        Self::Requirements,
    ];

    /// Returns the statement that has to hold for the check to pass.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.spec().2
    }

    /// Returns a stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spec().1
    }

    /// Returns the section of the specification that demands the check.
    #[must_use]
    pub const fn section(self) -> &'static str {
        self.spec().3
    }

    /// Returns the stage that the check belongs to.
    #[must_use]
    pub const fn stage(self) -> Stage {
        self.spec().0
    }

    const fn spec(self) -> (Stage, &'static str, &'static str, &'static str) {
        use Stage::{Introspection, Jwt, Policy, Request, Revocation, Route};
        match self {
            Self::Credentials => {
                (Request, "credentials", "the request carries one well-formed token", "RFC 6750 §2")
            }
            Self::Length => (Request, "length", "the token is not too long", "RFC 8725 §3.12"),

            Self::Route => {
                (Route, "route", "the token is from an issuer trusted here", "RFC 9068 §4")
            }

            Self::Form => (Jwt, "form", "the token is a compact JWS", "RFC 7515 §7.1"),
            Self::Header => (Jwt, "header", "the header is one JSON object", "RFC 7515 §4"),
            Self::Algorithm => (Jwt, "algorithm", "the algorithm is allowed", "RFC 8725 §3.1"),
            Self::Extension => {
                (Jwt, "extension", "the header requires no extension", "RFC 7515 §4.1.11")
            }
            Self::Type => {
                (Jwt, "type", "the header names the type of an access token", "RFC 9068 §4")
            }
            Self::Keys => (Jwt, "keys", "the issuer's keys are available", "RFC 8414 §2"),
            Self::Key => (Jwt, "key", "one of the keys matches the token", "RFC 7517 §4.5"),
            Self::Signature => (Jwt, "signature", "the signature is valid", "RFC 7515 §5.2"),
            Self::Claims => {
                (Jwt, "claims", "the claims have their registered types", "RFC 7519 §4.1")
            }
            Self::Issuer => (Jwt, "issuer", "the token names the issuer", "RFC 9068 §4"),
            Self::Kind => {
                (Jwt, "kind", "the claims are those of an access token", "RFC 8725 §3.12")
            }
            Self::Complete => {
                (Jwt, "complete", "the token has an audience and an expiry", "RFC 9068 §2.2")
            }

            Self::Endpoint => {
                (Introspection, "endpoint", "the introspection endpoint is known", "RFC 8414 §2")
            }
            Self::Answer => {
                (Introspection, "answer", "the authorization server responds", "RFC 7662 §2.3")
            }
            Self::AnswerSignature => {
                (Introspection, "answer_signature", "the response is signed", "RFC 9701 §5")
            }
            Self::Active => (Introspection, "active", "the token is active", "RFC 7662 §2.2"),
            Self::AnswerIssuer => (
                Introspection,
                "answer_issuer",
                "the response is about a token of the issuer",
                "RFC 7662 §2.2",
            ),
            Self::AnswerKind => (
                Introspection,
                "answer_kind",
                "the response is about an access token",
                "RFC 7662 §2.2",
            ),
            Self::AnswerBinding => (
                Introspection,
                "answer_binding",
                "the response names the key of a bound token",
                "RFC 9449 §6.2",
            ),

            Self::Cutoff => (Revocation, "cutoff", "the token was not revoked here", "RFC 7009 §3"),

            Self::Trusted => (Policy, "trusted", "the policy accepts the issuer", "RFC 9068 §4"),
            Self::KeyInUse => {
                (Policy, "key_in_use", "the signing key is still published", "RFC 7517 §5")
            }
            Self::NoRefreshToken => {
                (Policy, "no_refresh_token", "the token is not a refresh token", "RFC 6749 §1.5")
            }
            Self::Expiry => (Policy, "expiry", "the token has not expired", "RFC 7519 §4.1.4"),
            Self::Start => (Policy, "start", "the token is already valid", "RFC 7519 §4.1.5"),
            Self::Audience => {
                (Policy, "audience", "the token is meant for this service", "RFC 9068 §4")
            }
            Self::Possession => {
                (Policy, "possession", "a bound token comes with proof of its key", "RFC 9449 §7.1")
            }
            Self::Requirements => (
                Policy,
                "requirements",
                "the token meets the requirements of the request",
                "RFC 6750 §3.1",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_in_order_and_have_distinct_names() {
        assert!(Check::ALL.is_sorted_by(|one, next| one < next));
        assert!(Check::ALL.is_sorted_by_key(|check| check.stage()));
        let mut names: Vec<_> = Check::ALL.iter().map(|check| check.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Check::ALL.len());
        // Fails if `ALL` misses a variant.
        assert_eq!(Check::Requirements as usize + 1, Check::ALL.len());
    }
}

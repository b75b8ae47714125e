//! The types of security events, and their URIs.

/// The type of a security event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventType {
    /// An event about a subject.
    Subject(SubjectEvent),
    /// The transmitter shows that the stream works (SSF 1.0 §8.1.4.1).
    Verification,
    /// The transmitter has changed the status of the stream (SSF 1.0 §8.1.5).
    StreamUpdated,
    /// A type that has no effect here.
    Other,
}

/// The type of an event about a subject, in the order of CAEP 1.0 and RISC 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubjectEvent {
    SessionRevoked,
    TokenClaimsChange,
    CredentialChange,
    AssuranceLevelChange,
    DeviceComplianceChange,
    AccountPurged,
    AccountDisabled,
    CredentialCompromise,
    SessionsRevoked,
}

impl EventType {
    /// Returns the type that a URI stands for. URIs are compared byte by byte.
    pub(crate) fn from_uri(uri: &str) -> Self {
        let Some(path) = uri.strip_prefix("https://schemas.openid.net/secevent/") else {
            return Self::Other;
        };
        Self::Subject(match path {
            "caep/event-type/session-revoked" => SubjectEvent::SessionRevoked,
            "caep/event-type/token-claims-change" => SubjectEvent::TokenClaimsChange,
            "caep/event-type/credential-change" => SubjectEvent::CredentialChange,
            "caep/event-type/assurance-level-change" => SubjectEvent::AssuranceLevelChange,
            "caep/event-type/device-compliance-change" => SubjectEvent::DeviceComplianceChange,
            "risc/event-type/account-purged" => SubjectEvent::AccountPurged,
            "risc/event-type/account-disabled" => SubjectEvent::AccountDisabled,
            "risc/event-type/credential-compromise" => SubjectEvent::CredentialCompromise,
            "risc/event-type/sessions-revoked" => SubjectEvent::SessionsRevoked,
            "ssf/event-type/verification" => return Self::Verification,
            "ssf/event-type/stream-updated" => return Self::StreamUpdated,
            _ => return Self::Other,
        })
    }
}

impl SubjectEvent {
    /// Returns true if tokens that were issued after the event are not good either: the account must not
    /// be used, or somebody else may use it.
    pub(super) const fn has_no_good_tokens_after(self) -> bool {
        matches!(self, Self::AccountDisabled | Self::AccountPurged | Self::CredentialCompromise)
    }
}

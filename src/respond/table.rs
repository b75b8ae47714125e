//! The one table that maps each kind of error to a response.

use http::StatusCode;

use crate::error::kind::ErrorKind;

/// The rendering of one kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) status: StatusCode,
    pub(super) challenge: ChallengeForm,
    pub(super) grpc: GrpcStatus,
    /// The message for people. All errors of a row share it, because the client must not learn what
    /// exactly is wrong with a token.
    pub(super) message: &'static str,
}

/// The form of the `WWW-Authenticate` challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChallengeForm {
    /// No challenge.
    Absent,
    /// A challenge without an error code (RFC 6750 §3.1, last paragraph).
    Bare,
    /// A challenge with this error code.
    Error(&'static str),
    /// A challenge with this error code under `DPoP` alone, because the error is about a proof (RFC
    /// 9449 §7.1).
    Proof(&'static str),
}

/// The gRPC status codes that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcStatus {
    PermissionDenied,
    ResourceExhausted,
    Internal,
    Unavailable,
    Unauthenticated,
}

impl GrpcStatus {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::PermissionDenied => "7",
            Self::ResourceExhausted => "8",
            Self::Internal => "13",
            Self::Unavailable => "14",
            Self::Unauthenticated => "16",
        }
    }
}

pub(super) const fn row(kind: ErrorKind) -> Row {
    use ChallengeForm::{Absent, Bare, Error, Proof};
    use ErrorKind as Kind;
    use GrpcStatus::{Internal, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable};

    let (status, challenge, grpc, message) = match kind {
        Kind::MissingCredentials | Kind::UnsupportedScheme => {
            (StatusCode::UNAUTHORIZED, Bare, Unauthenticated, "authentication required")
        }
        Kind::MalformedCredentials | Kind::RepeatedCredentials => (
            StatusCode::BAD_REQUEST,
            Error("invalid_request"),
            Unauthenticated,
            "malformed credentials",
        ),
        Kind::TokenTooLong
        | Kind::MalformedToken
        | Kind::UnsupportedToken
        | Kind::UnsupportedAlgorithm
        | Kind::UnsupportedExtension
        | Kind::UnknownKey
        | Kind::BadSignature
        | Kind::UnknownIssuer
        | Kind::WrongIssuer
        | Kind::WrongAudience
        | Kind::WrongTokenKind(_)
        | Kind::MissingClaim(_)
        | Kind::InvalidClaim(_)
        | Kind::Expired
        | Kind::NotYetValid
        | Kind::Inactive
        | Kind::Revoked
        | Kind::NotIntrospectable
        | Kind::UnprovenPossession => {
            (StatusCode::UNAUTHORIZED, Error("invalid_token"), Unauthenticated, "invalid token")
        }
        Kind::InvalidProof => (
            StatusCode::UNAUTHORIZED,
            Proof("invalid_dpop_proof"),
            Unauthenticated,
            "invalid proof of possession",
        ),
        Kind::NonceRequired => (
            StatusCode::UNAUTHORIZED,
            Proof("use_dpop_nonce"),
            Unauthenticated,
            "nonce required in the proof of possession",
        ),
        Kind::InsufficientScope => (
            StatusCode::FORBIDDEN,
            Error("insufficient_scope"),
            PermissionDenied,
            "insufficient scope",
        ),
        Kind::InsufficientAuthentication => (
            StatusCode::UNAUTHORIZED,
            Error("insufficient_user_authentication"),
            Unauthenticated,
            "stronger or more recent authentication required",
        ),
        Kind::Denied => (StatusCode::FORBIDDEN, Absent, PermissionDenied, "permission denied"),
        Kind::TooManyRequests => {
            (StatusCode::TOO_MANY_REQUESTS, Absent, ResourceExhausted, "too many requests")
        }
        Kind::ClockWrong | Kind::KeyPending | Kind::Unavailable | Kind::ReplayUnavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            Absent,
            Unavailable,
            "the token can't be verified at present",
        ),
        Kind::TooManyStreams => {
            (StatusCode::SERVICE_UNAVAILABLE, Absent, Unavailable, "too many streams are open")
        }
        Kind::BadResponse | Kind::FailsOnToken | Kind::UnusableKey | Kind::UntriedKeys => {
            (StatusCode::BAD_GATEWAY, Absent, Unavailable, "the token can't be verified at present")
        }
        Kind::CredentialsRejected | Kind::Misconfigured => {
            (StatusCode::INTERNAL_SERVER_ERROR, Absent, Internal, "internal error")
        }
    };
    Row { status, challenge, grpc, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::kind::Blame;

    const KINDS: [ErrorKind; 40] = [
        ErrorKind::MissingCredentials,
        ErrorKind::UnsupportedScheme,
        ErrorKind::MalformedCredentials,
        ErrorKind::RepeatedCredentials,
        ErrorKind::TokenTooLong,
        ErrorKind::MalformedToken,
        ErrorKind::UnsupportedToken,
        ErrorKind::UnsupportedAlgorithm,
        ErrorKind::UnsupportedExtension,
        ErrorKind::UnknownKey,
        ErrorKind::BadSignature,
        ErrorKind::UnknownIssuer,
        ErrorKind::WrongIssuer,
        ErrorKind::WrongAudience,
        ErrorKind::WrongTokenKind(crate::error::kind::TokenKind::Id),
        ErrorKind::MissingClaim("aud"),
        ErrorKind::InvalidClaim("exp"),
        ErrorKind::Expired,
        ErrorKind::NotYetValid,
        ErrorKind::Inactive,
        ErrorKind::Revoked,
        ErrorKind::NotIntrospectable,
        ErrorKind::UnprovenPossession,
        ErrorKind::InvalidProof,
        ErrorKind::NonceRequired,
        ErrorKind::InsufficientScope,
        ErrorKind::InsufficientAuthentication,
        ErrorKind::Denied,
        ErrorKind::TooManyRequests,
        ErrorKind::ClockWrong,
        ErrorKind::Unavailable,
        ErrorKind::BadResponse,
        ErrorKind::FailsOnToken,
        ErrorKind::KeyPending,
        ErrorKind::UnusableKey,
        ErrorKind::UntriedKeys,
        ErrorKind::CredentialsRejected,
        ErrorKind::Misconfigured,
        ErrorKind::ReplayUnavailable,
        ErrorKind::TooManyStreams,
    ];

    #[test]
    fn only_faults_of_the_client_get_a_4xx_status() {
        for kind in KINDS {
            let client = kind.blame() == Blame::Client;
            assert_eq!(row(kind).status.is_client_error(), client, "{kind:?}");
            assert_eq!(
                row(kind).challenge != ChallengeForm::Absent,
                client && !matches!(kind, ErrorKind::Denied | ErrorKind::TooManyRequests),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn rfc9110_15_5_2_every_401_has_a_challenge() {
        for kind in KINDS.into_iter().filter(|kind| row(*kind).status == StatusCode::UNAUTHORIZED) {
            assert_ne!(row(kind).challenge, ChallengeForm::Absent, "{kind:?}");
        }
    }

    #[test]
    fn grpc_messages_need_no_percent_encoding() {
        for kind in KINDS {
            let message = row(kind).message;
            assert!(
                message.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'%'),
                "{message}"
            );
        }
    }
}

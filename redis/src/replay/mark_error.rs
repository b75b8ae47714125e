//! The reasons why a proof can't be marked.

use std::{error::Error, fmt};

use redis::{ErrorKind, RedisError};

/// The reason why a proof can't be marked.
///
/// It is the source of the [`VerifyError`](tower_introspect::VerifyError) with the kind
/// [`ReplayUnavailable`](tower_introspect::ErrorKind::ReplayUnavailable). It holds no text of the
/// server: no key, no address and no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MarkError {
    /// Too many marks wait for Redis already
    /// ([`max_in_flight`](crate::RedisReplayStore::max_in_flight)).
    Busy,
    /// The connection failed.
    Connection,
    /// Redis does not know the user or the password, or the user may not write these keys.
    Denied,
    /// Redis has no memory left and evicts nothing (`maxmemory`, `noeviction`).
    Full,
    /// Redis lost its data, and the proof may have been used before that.
    MarksLost,
    /// Redis can't write at present: it loads its data, has no primary, or moves the key.
    NotReady,
    /// The server is a replica.
    ReadOnly,
    /// Redis did not respond in time. The proof may be marked.
    Timeout,
    /// Too few replicas have the mark. The primary has it
    /// ([`wait_for_replicas`](crate::RedisReplayStore::wait_for_replicas)).
    TooFewReplicas,
    /// The proof is good for longer than [`longest_proof`](crate::RedisReplayStore::longest_proof).
    TooLong,
    /// The response was not one to this command.
    UnexpectedResponse,
    /// Redis does not support the command: it is older than version 7
    /// ([`danger_accept_losses`](crate::RedisReplayStore::danger_accept_losses)).
    Unsupported,
}

impl MarkError {
    /// Classifies an error of the client.
    pub(crate) fn of(error: RedisError) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        match error.kind() {
            ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => return Self::Connection,
            ErrorKind::AuthenticationFailed => return Self::Denied,
            ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::NoValidReplicasFoundBySentinel => {
                return Self::NotReady;
            }
            _ => {}
        }
        let errors = error.into_server_errors();
        match errors.as_deref().and_then(<[_]>::first).map(|(_, error)| error.code()) {
            Some("NOAUTH" | "NOPERM" | "WRONGPASS") => Self::Denied,
            Some("OOM") => Self::Full,
            Some("READONLY") => Self::ReadOnly,
            Some(
                "ASK" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "MISCONF" | "MOVED"
                | "NOREPLICAS" | "TRYAGAIN",
            ) => Self::NotReady,
            Some("ERR") => Self::Unsupported,
            _ => Self::UnexpectedResponse,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "too many marks wait for Redis",
            Self::Connection => "the connection to Redis failed",
            Self::Denied => "Redis refuses the user, the password or the key",
            Self::Full => "Redis has no memory left",
            Self::MarksLost => "Redis lost its data, and the proof may have been used before",
            Self::NotReady => "Redis can't write at present",
            Self::ReadOnly => "the server is a read-only replica",
            Self::Timeout => "Redis did not respond in time",
            Self::TooFewReplicas => "too few replicas have the mark",
            Self::TooLong => "the proof is good for longer than `longest_proof`",
            Self::UnexpectedResponse => "the response of Redis is not one to this command",
            Self::Unsupported => "Redis does not support the command, which needs version 7",
        }
    }
}

impl fmt::Display for MarkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error for MarkError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> MarkError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        MarkError::of(value.extract_error().unwrap_err())
    }

    #[test]
    fn errors_of_the_server_are_told_apart_without_its_text() {
        for (line, error) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", MarkError::Full),
            ("READONLY You can't write against a read only replica.", MarkError::ReadOnly),
            ("NOPERM this user has no permissions", MarkError::Denied),
            ("NOAUTH Authentication required.", MarkError::Denied),
            ("WRONGPASS invalid username-password pair", MarkError::Denied),
            ("LOADING Redis is loading the dataset in memory", MarkError::NotReady),
            ("CLUSTERDOWN Hash slot not served", MarkError::NotReady),
            ("MASTERDOWN Link with MASTER is down", MarkError::NotReady),
            ("MISCONF Errors writing to the AOF file", MarkError::NotReady),
            ("NOREPLICAS Not enough good replicas to write.", MarkError::NotReady),
            ("MOVED 3999 127.0.0.1:6381", MarkError::NotReady),
            ("TRYAGAIN Multiple keys request during rehashing", MarkError::NotReady),
            ("ERR syntax error", MarkError::Unsupported),
            ("WRONGTYPE Operation against a key", MarkError::UnexpectedResponse),
            ("\u{1b}[31mnew 127.0.0.1", MarkError::UnexpectedResponse),
        ] {
            assert_eq!(of(line), error, "{line}");
        }
    }
}

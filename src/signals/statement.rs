//! A signed statement that has passed every check but that of its signature.

use std::{fmt, sync::Arc};

use crate::{
    clock::{Moment, UnixTime},
    error::refusal::VerifyError,
    jose::{
        algorithm::Algorithm,
        header::Header,
        jws::{CompactError, CompactJws},
    },
    jwt::{keys::Mismatch, statement::StatementKeys},
    refresh::asker::Asker,
    telemetry::signals::Outcome,
};

/// Applies a statement whose signature is verified, and returns the outcome.
pub(super) type Apply = dyn Fn() -> Outcome + Send + Sync;

/// A statement whose signature is to be verified.
#[derive(Clone)]
pub(super) struct Statement {
    pub(super) text: Arc<str>,
    pub(super) keys: StatementKeys,
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Arc<str>>,
    /// The time of issue that it claims (`iat`).
    pub(super) issued_at: UnixTime,
    /// The time of its arrival.
    pub(super) arrived: Moment,
    pub(super) apply: Arc<Apply>,
}

/// The reason why the text of a statement can't be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It is no JWS with a header that is understood.
    Form,
    /// Its header names another type.
    Type,
}

impl Statement {
    /// Returns the text that the signature covers.
    pub(super) fn signed(&self) -> &str {
        self.text.rsplit_once('.').map_or(&*self.text, |(signed, _)| signed)
    }

    /// Returns true if the keys can be had, so that only an unknown one is missing.
    pub(super) fn has_keys(&self) -> bool {
        let readiness = self.keys.readiness();
        readiness.is_ready() && readiness.failure().is_none()
    }

    /// Verifies the signature.
    ///
    /// # Errors
    ///
    /// The outer error means that the keys can't be had just now.
    pub(super) async fn verify(&self, asker: Asker) -> Result<Result<(), Mismatch>, VerifyError> {
        let Ok(jws) = CompactJws::parse(&self.text) else { return Ok(Err(Mismatch::BadSignature)) };
        let key = (self.algorithm, self.kid.as_deref());
        // A sender must not choose a time from which on the keys are never new enough.
        let issued_at = self.issued_at.min(self.arrived.wall());
        self.keys.verify(&jws, key, (Some(issued_at), Some(self.arrived)), asker).await
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// Splits a statement and reads its header, whose `typ` must be one that `accepts_typ` accepts.
pub(super) fn parse<'a, T>(
    text: &'a str,
    accepts_typ: impl Fn(&Header<'_>) -> bool,
    read: impl FnOnce(&Header<'_>, &CompactJws<'a>) -> T,
) -> Result<T, Malformed> {
    let jws = CompactJws::parse(text)?;
    let header = Header::parse(jws.header()).map_err(|_| Malformed::Form)?;
    if header.demands_extension() || header.is_nested() {
        return Err(Malformed::Form);
    }
    if !accepts_typ(&header) {
        return Err(Malformed::Type);
    }
    Ok(read(&header, &jws))
}

impl From<CompactError> for Malformed {
    fn from(_: CompactError) -> Self {
        Self::Form
    }
}

//! Advises the operator when good tokens of an issuer are of no use to this service, as in the first
//! hour of a new one: a single event says what was seen, what was wanted, and which setting to change.
//!
//! The words are those of tables in this crate: a client that chooses the contents of its tokens does
//! not choose the text of an event.

#[cfg(feature = "tracing")]
use super::{
    events::{TARGET, truncate_name},
    limit::IssuerLimiter,
};
#[cfg(feature = "tracing")]
use crate::clock::{Moment, SystemClock};
use crate::error::kind::TokenKind;

#[cfg(feature = "tracing")]
static WRONG_KIND: IssuerLimiter = IssuerLimiter::new();
#[cfg(feature = "tracing")]
static NO_SCOPE: IssuerLimiter = IssuerLimiter::new();

/// The setting for a token that no setting admits.
pub(crate) const SEND_ACCESS_TOKEN: &str =
    "none: the client must send its access token instead of this one";

/// A good token that is refused for its kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrongKind<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) kind: TokenKind,
    /// The `typ` of the header, in words of this crate, if it is known.
    pub(crate) typ: Option<&'static str>,
    /// The names of the claims that tell the kind.
    pub(crate) claims: &'a str,
    pub(crate) wanted: &'static str,
    pub(crate) setting: &'static str,
}

/// Returns true if an event about a token of this kind would be written now.
///
/// To find its contents takes a signature verification, which is done for an event only.
pub(crate) fn wants_wrong_kind(issuer: &str, kind: TokenKind) -> bool {
    #[cfg(feature = "tracing")]
    return is_enabled() && WRONG_KIND.is_due(issuer, kind.describe(), Moment::now(&SystemClock));
    #[cfg(not(feature = "tracing"))]
    {
        let _ = (issuer, kind);
        false
    }
}

/// Reports a token of the issuer that is correctly signed, or active, and refused for its kind.
pub(crate) fn wrong_kind(refused: WrongKind<'_>) {
    let WrongKind { issuer, kind, typ, claims, wanted, setting } = refused;
    #[cfg(feature = "tracing")]
    {
        let token = kind.describe();
        if is_enabled() && WRONG_KIND.allow(issuer, token, Moment::now(&SystemClock)) {
            let issuer = truncate_name(issuer);
            tracing::info!(
                target: TARGET,
                issuer,
                token,
                typ,
                claims,
                wanted,
                setting,
                "good token of the issuer refused for its kind"
            );
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (issuer, kind, typ, claims, wanted, setting);
}

/// Returns true if an event about a token without scope would be written now.
pub(crate) fn wants_no_scope(issuer: &str) -> bool {
    #[cfg(feature = "tracing")]
    return is_enabled() && NO_SCOPE.is_due(issuer, "", Moment::now(&SystemClock));
    #[cfg(not(feature = "tracing"))]
    {
        let _ = issuer;
        false
    }
}

/// Reports an admitted token without any scope that is refused where a scope is required.
///
/// `claims` has the names of the claims that may grant something, and `scope_claim` is the one that
/// the scope is read from.
pub(crate) fn no_scope(issuer: &str, claims: &str, scope_claim: &str, setting: &str) {
    #[cfg(feature = "tracing")]
    if is_enabled() && NO_SCOPE.allow(issuer, "", Moment::now(&SystemClock)) {
        let issuer = truncate_name(issuer);
        tracing::info!(
            target: TARGET,
            issuer,
            claims,
            wanted = %format_args!("a scope in `{}`", truncate_name(scope_claim)),
            setting,
            "good token of the issuer has no scope where one is required"
        );
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (issuer, claims, scope_claim, setting);
}

#[cfg(feature = "tracing")]
fn is_enabled() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

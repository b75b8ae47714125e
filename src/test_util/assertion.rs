//! Strict verification of client assertions (RFC 7523 §3).

use std::time::Duration;

use crate::{
    claims::claims_set::Claims,
    clock::UnixTime,
    jose::{header::Header, jws::CompactJws},
    jwt::keys::{KeySet, MAX_TRIES},
};

/// The only assertion type (RFC 7523 §2.2).
pub(super) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The longest accepted validity of an assertion.
const LONGEST: Duration = Duration::from_secs(300);

/// Verifies an assertion of client `id` and returns its `jti`, or `None` if it is invalid.
pub(super) fn check(
    assertion: &str,
    keys: &KeySet,
    id: &str,
    audiences: &[&str],
    now: UnixTime,
) -> Option<String> {
    let jws = CompactJws::parse(assertion).ok()?;
    let header = Header::parse(jws.header()).ok()?;
    if header.demands_extension() {
        return None;
    }
    let algorithm = header.alg.parse().ok()?;
    let input = jws.signing_input().as_bytes();
    keys.verify(algorithm, header.kid.as_deref(), (input, jws.signature()), MAX_TRIES).ok()?;

    let claims = Claims::from_json(jws.payload()).ok()?;
    let own = claims.issuer() == Some(id) && claims.subject() == Some(id);
    // Exactly one audience is accepted: a server could replay an assertion at another server it
    // names.
    let mut named = claims.audience().iter();
    let ours = named.next().is_some_and(|name| audiences.contains(&name)) && named.next().is_none();
    let exp = claims.expires_at()?;
    let timely = now < exp && exp <= now.saturating_add(LONGEST);
    let begun = [claims.issued_at(), claims.not_before()].into_iter().flatten().all(|at| at <= now);
    let jti = claims.jwt_id().filter(|jti| !jti.is_empty())?;
    (own && ours && timely && begun).then(|| jti.into_owned())
}

/// Reads the client that an assertion names, without verifying it.
pub(super) fn named_client(assertion: &str) -> Option<String> {
    let jws = CompactJws::parse(assertion).ok()?;
    Claims::from_json(jws.payload()).ok()?.subject().map(str::to_owned)
}

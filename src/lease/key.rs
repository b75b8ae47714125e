//! A token with open streams, by which they share one verification.

use crate::{
    credentials::token::{Fingerprint, Scheme, Token},
    verify::peer::PeerKey,
};

/// A token with open streams.
pub(super) struct TokenKey {
    pub(super) fingerprint: Fingerprint,
    pub(super) token: Token,
    /// The sender of the request that opened the first stream.
    pub(super) peer: Option<PeerKey>,
    pub(super) scheme: Scheme,
    /// Looks random.
    pub(super) hash: u64,
    pub(super) issuer: u64,
    pub(super) subject: u64,
}

//! The way to the servers of a transmitter.

use crate::{clock::Clock, transport::http_transport::HttpTransport};

/// The settings of requests for an access token, which are those of requests to the transmitter.
#[derive(Clone, Copy)]
pub(super) struct Via<'a> {
    pub(super) transport: &'a HttpTransport,
    pub(super) loopback_http: bool,
    pub(super) clock: &'a dyn Clock,
}

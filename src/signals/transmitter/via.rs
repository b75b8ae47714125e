//! The settings of requests for an access token.

use crate::{clock::Clock, transport::http_transport::HttpTransport};

/// The settings of requests for an access token. They are those of requests to the transmitter.
#[derive(Clone, Copy)]
pub(super) struct Via<'a> {
    pub(super) transport: &'a HttpTransport,
    pub(super) loopback_http: bool,
    pub(super) clock: &'a dyn Clock,
}

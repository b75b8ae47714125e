//! Forwarding of verified claims in request headers, to a service behind a reverse proxy.

pub(crate) mod headers;
mod names;
mod value;

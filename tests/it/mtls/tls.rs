//! Real TLS.

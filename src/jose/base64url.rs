//! The base64url encoding of JOSE.

use base64::engine::{GeneralPurpose, general_purpose::URL_SAFE_NO_PAD};

/// The base64url encoding of JOSE: without padding or stray bits (RFC 7515 §2, RFC 4648 §3.5).
pub(crate) const BASE64URL: GeneralPurpose = URL_SAFE_NO_PAD;

//! The names of signals.

/// The `typ` of logout tokens (OpenID Connect Back-Channel Logout 1.0 §2.4).
pub(in crate::test_util) const LOGOUT_TYP: &str = "logout+jwt";
/// The `typ` of security event tokens (RFC 8417 §2.3).
pub(in crate::test_util) const SECURITY_EVENT_TYP: &str = "secevent+jwt";

/// The event of a logout token (OpenID Connect Back-Channel Logout 1.0 §2.4).
pub(in crate::test_util) const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Defines the name of an event of the OpenID Foundation.
macro_rules! event {
    ($name:ident = $path:literal) => {
        pub(in crate::test_util) const $name: &str =
            concat!("https://schemas.openid.net/secevent/", $path);
    };
}

event!(ACCOUNT_DISABLED = "risc/event-type/account-disabled");
event!(CREDENTIAL_CHANGE = "caep/event-type/credential-change");
event!(SESSION_REVOKED = "caep/event-type/session-revoked");
event!(STREAM_UPDATED = "ssf/event-type/stream-updated");
event!(TOKEN_CLAIMS_CHANGE = "caep/event-type/token-claims-change");
event!(VERIFICATION = "ssf/event-type/verification");

/// The events that receivers may request (SSF 1.0, Stream Configuration).
pub(in crate::test_util) const SUPPORTED: [&str; 10] = [
    ACCOUNT_DISABLED,
    CREDENTIAL_CHANGE,
    SESSION_REVOKED,
    TOKEN_CLAIMS_CHANGE,
    "https://schemas.openid.net/secevent/caep/event-type/assurance-level-change",
    "https://schemas.openid.net/secevent/caep/event-type/device-compliance-change",
    "https://schemas.openid.net/secevent/risc/event-type/account-enabled",
    "https://schemas.openid.net/secevent/risc/event-type/account-purged",
    "https://schemas.openid.net/secevent/risc/event-type/credential-compromise",
    "https://schemas.openid.net/secevent/risc/event-type/sessions-revoked",
];

//! Builds a [`ResourceServer`](crate::ResourceServer) from a configuration file.
//!
//! ```
//! use tower_introspect::config::Config;
//!
//! let config = Config::from_toml(
//!     r#"
//!     audience = "https://api.example.com"
//!     required_scopes = ["api"]
//!
//!     [[issuer]]
//!     issuer = "https://as.example.com"
//!     mode = "jwt"
//!
//!     [[issuer]]
//!     issuer = "https://opaque.example.com"
//!     mode = "introspect"
//!     client = { method = "basic", id = "api", secret_file = "/run/secrets/api" }
//!     "#,
//! )?;
//! // Only now is the file with the secret read.
//! assert_eq!(
//!     config.build().unwrap_err().problems().next().unwrap().0,
//!     "issuer `https://opaque.example.com`.client.secret",
//! );
//! # Ok::<(), tower_introspect::ConfigError>(())
//! ```
//!
//! # Settings
//!
//! | setting | meaning |
//! |---|---|
//! | `audience` | the identifier of this service, or several, of which the first is its own |
//! | `required_scopes` | the scopes that every token must have |
//! | `leeway_seconds` | how far the clocks of issuers may be off; 30 |
//! | `max_token_lifetime_seconds` | the longest lifetime of a token; unlimited. Cutoffs then end |
//! | `max_token_bytes` | the length of the longest token; 8192, for JWTs at most 65536 |
//! | `token_header` | another header that holds a token and nothing else, or several: those of proxies, `X-Api-Key` |
//! | `without_authorization` | takes no token from `Authorization`, only from `token_header` |
//! | `max_age_seconds` | how long an introspected token is cached; 30, 0 for not at all |
//! | `stale_if_error_seconds` | how much longer while the authorization server is unavailable; 0 |
//! | `advertised_scopes` | the scopes that challenges tell clients without a token to request |
//! | `[metadata]` | describes this service to clients (RFC 9728), see below |
//! | `resource_metadata` | the URL to name in challenges (RFC 9728 §5.1), if published elsewhere |
//! | `realm` | the realm in challenges; the audience |
//! | `danger_allow_http_loopback` | accepts `http` URLs of this machine, for tests |
//! | `[transport]` | how the servers of issuers are reached, see below |
//! | `[[issuer]]` | the trusted issuers, at least one |
//! | `[forward]` | the request headers that verified claims are written into |
//! | `[dpop]` | accepts tokens that are bound to a key, with proofs; feature `dpop` |
//! | `[mtls]` | accepts tokens that are bound to a client certificate; feature `mtls` |
//! | `[signals]` | receives logouts and security events; feature `signals` |
//! | `require_binding` | refuses tokens that are not bound to a key |
//! | `fapi2` | the same, and requires the algorithms of the FAPI 2.0 Security Profile |
//!
//! Settings of an issuer:
//!
//! | setting | modes | meaning |
//! |---|---|---|
//! | `issuer` | all | the issuer identifier |
//! | `mode` | | `jwt`, `introspect`, `hybrid` or `jwt_and_introspect`, see below |
//! | `jwks_uri` | all but `introspect` | the URL of the keys, instead of discovery |
//! | `jwks_file` | all but `introspect` | a file with the keys, instead of fetching them |
//! | `max_keys` | all but `introspect` | how many of the fetched keys are kept; 64 |
//! | `max_keys_tried` | all but `introspect` | how many keys are tried for one token; 4 |
//! | `ca_file` | all | a PEM file with the trusted authorities, instead of those of the system or of `[transport]` |
//! | `algorithms` | all but `introspect` | the signature algorithms to accept |
//! | `profile` | all but `introspect` | `generic`, the default; `rfc9068`, the strict one, and the default with `fapi2`; or `service_identity` |
//! | `scope_claim` | all | the claim that holds the scope, if neither `scope` nor `scp` |
//! | `danger_accept_unmarked_jwts` | all | accepts JWTs that nothing marks as access tokens |
//! | `danger_audience_claim` | all but `introspect` | the claim that replaces a missing `aud` |
//! | `introspection_endpoint` | all but `jwt` | the endpoint, instead of discovery |
//! | `token_prefix` | all but `jwt` | a prefix that only its opaque tokens have |
//! | `token_type_hint` | all but `jwt` | the hint to send; none |
//! | `timeout_seconds` | all but `jwt` | how long to wait for a response |
//! | `connection_per_request` | all but `jwt` | opens a connection for each introspection request |
//! | `require_signed_response` | all but `jwt` | takes only signed responses (RFC 9701) |
//! | `danger_default_audience` | all but `jwt` | the audience of tokens without one |
//! | `confirmation_max_age_seconds` | `jwt_and_introspect` | how old the confirmation of a JWT may be; as `max_age_seconds` |
//! | `client` | all but `jwt` | how this service authenticates to the issuer |
//!
//! | mode | JWTs | other tokens |
//! |---|---|---|
//! | `jwt` | verified locally | refused |
//! | `introspect` | introspected | introspected |
//! | `hybrid` | verified locally | introspected |
//! | `jwt_and_introspect` | verified locally, then confirmed by introspection | introspected |
//!
//! Settings of a client. The methods are `secret` (as the metadata of the issuer says), `basic`,
//! `basic_raw`, `post`, `bearer`, `private_key_jwt`, `client_secret_jwt` and `mtls`. The method
//! `danger_none` sends no credentials: see [`ClientAuth::danger_none`](crate::ClientAuth::danger_none).
//!
//! | setting | methods | meaning |
//! |---|---|---|
//! | `method` | | the method, as above |
//! | `id` | all but `bearer`, `danger_none` | the client identifier |
//! | `secret_file`, `secret_env` | those with a secret | where the secret is |
//! | `token_file`, `token_env` | `bearer` | where the token is |
//! | `key_file`, `key_env` | `private_key_jwt` | where the private key is, in PEM |
//! | `algorithm`, `kid` | `private_key_jwt` | the signature algorithm and the key identifier |
//! | `certificate_file` | `mtls` | a PEM file with the certificate and its chain |
//! | `key_file`, `key_env` | `mtls` | where its private key is, in PEM; may be the same file |
//! | `assertion_audience` | `secret`, JWT methods | the audience of assertions, if not the issuer |
//!
//! Settings of `[transport]`, all of them optional (see
//! [`TransportBuilder`](crate::transport::TransportBuilder)):
//!
//! | setting | meaning |
//! |---|---|
//! | `ca_file` | a PEM file with the trusted authorities, unless an issuer has its own `ca_file` |
//! | `proxy` | the URL of the proxy for all requests, without a password; by default the environment decides |
//! | `without_proxy` | uses no proxy, whatever the environment says |
//! | `connect_timeout_seconds` | how long to wait for a connection; 1 |
//! | `idle_timeout_seconds` | how long an idle connection is kept; 90 |
//! | `max_idle_connections` | how many idle connections to one server are kept; not limited |
//!
//! Settings of `[forward]`, which name headers (see
//! [`ForwardHeaders`](crate::layer::ForwardHeaders)):
//!
//! | setting | content of the header |
//! |---|---|
//! | `issuer`, `subject`, `client`, `scope` | that of the token |
//! | `claims` | a table: for each claim named, its text |
//! | `json` | a table: for each claim named, its JSON |
//!
//! Settings of `[metadata]`, named as in the document. The table may be empty.
//!
//! | setting | meaning |
//! |---|---|
//! | `scopes_supported` | the scopes that requests may need |
//! | `resource_name` | the name to show to users; also `"resource_name#de"`, in German |
//! | `resource_documentation` | the URL of a page for developers; also with a language |
//! | `resource_policy_uri` | the URL of a page about the use of the data; also with a language |
//! | `resource_tos_uri` | the URL of the terms of service; also with a language |
//! | `jwks_uri` | the URL of the keys that sign responses |
//! | `resource_signing_alg_values_supported` | the algorithms that sign responses |
//! | `authorization_details_types_supported` | the types of RFC 9396 |
//! | `max_age_seconds` | how long the document may be kept; 3600 |
//! | `without_cors` | prevents scripts of other origins from reading the document |
//! | `signed` | a table: `issuer`, `algorithm`, `kid`, `key_file` or `key_env`, to sign it with |
//!
//! Settings of `[dpop]` (see [`Dpop`](crate::proof::Dpop)):
//!
//! | setting | meaning |
//! |---|---|
//! | `url` | the URL under which clients reach this service, or several |
//! | `algorithms` | the algorithms of proofs |
//! | `window_seconds` | how old `iat` may be; 30, at most 300 |
//! | `max_ahead_seconds` | how far `iat` may be in the future; as the window, at most 60 |
//! | `nonce` | `off`, `accept`, or `require`; off |
//! | `nonce_secret_file`, `nonce_secret_env` | where the shared secret is; random |
//! | `nonce_rotation_seconds` | how long a key for nonces is used; 60, at least 10, at most 3600 |
//!
//! Settings of `[mtls]` (see [`Mtls`](crate::proof::Mtls)). An empty table takes the certificate of
//! the TLS connection.
//!
//! | setting | meaning |
//! |---|---|
//! | `field` | the header with the certificate: `client_cert` (RFC 9440), `xfcc` (Envoy) or `x_forwarded_tls_client_cert` (Traefik) |
//! | `proxies` | the proxies trusted to set it: addresses or networks, such as `10.1.2.0/24` |
//! | `keep_field` | leaves the header on the request for the handler |
//!
//! Settings of `[signals]`. `Config::signals` returns the receivers (see
//! [`LogoutService`](crate::signals::LogoutService)):
//!
//! | setting | meaning |
//! |---|---|
//! | `logout_client_id` | the client that users log in to; receives its back-channel logouts |
//! | `logout_cut_by_subject` | ends all sessions of the user, for access tokens without `sid` |
//! | `logout_strict_typ` | refuses logout tokens whose `typ` is not `logout+jwt` |
//! | `logout_max_age_seconds` | how old a logout token may be; 300 |
//! | `[[signals.transmitter]]` | the transmitters of security events |
//!
//! Settings of a transmitter (see [`Transmitter`](crate::signals::Transmitter)):
//!
//! | setting | meaning |
//! |---|---|
//! | `issuer` | the issuer of its events and of its metadata |
//! | `audience` | the `aud` of its events for this service |
//! | `speaks_for` | the issuer, or several, whose tokens its events are about; its own |
//! | `jwks_uri` | the URL of the keys, instead of discovery |
//! | `jwks_file` | a file with the keys, instead of fetching them |
//! | `delivery` | `push` or `poll`; `push` |
//! | `authorization_file`, `authorization_env` | `push`: where the expected value of `Authorization` is |
//! | `stream_id` | the identifier of the stream; needed to poll and to ask for verification |
//! | `poll_url` | `poll`: the URL of the events, instead of that in the configuration of the stream |
//! | `verify_every_seconds` | how often to ask for a verification event; never |
//! | `verified_within_seconds` | the longest time between two verification events; otherwise the signals are stale |
//! | `critical_members` | the critical members of its subjects; events with one are discarded |
//! | `cut_by_subject` | ends all sessions of the user, for access tokens without `sid` |
//! | `ca_file` | a PEM file with the trusted authorities, instead of those of the system or of `[transport]` |
//! | `access_token_file`, `access_token_env` | where the access token for the transmitter is |
//! | `client` | a table, instead of an access token: how to obtain one (RFC 6749 §4.4) |
//!
//! Settings of `client` of a transmitter: those of a client above, without the methods `bearer` and
//! `danger_none` (`secret` is the same as `basic`), and `token_endpoint`, which is required, and `scope`.
//! Assertions name the token endpoint as their audience.
//!
//! A file can't say where requests come from, or where the certificate of a connection is found.
//! The program sets these with `Config::peer_address_fn` and `Config::configure_mtls`. It sets a
//! store of used proofs that instances share with `Config::configure_dpop`.
//!
//! Give exactly one source of each secret. `danger_secret`, `danger_token`, `danger_key`,
//! `danger_nonce_secret`, `danger_authorization` and `danger_access_token` hold it in the file itself. Each `ca_file` and the files of a client
//! (`secret_file`, `token_file`, `key_file`, `certificate_file`) are read again when they change: see
//! [`ClientAuth::renewed`](crate::ClientAuth::renewed). An `access_token_file` is read for each request.
//! All others are read once.
//!
//! A larger example:
//!
//! ```
//! use std::net::SocketAddr;
//! use tower_introspect::config::Config;
//!
//! # if cfg!(all(feature = "dpop", feature = "mtls")) {
//! let config = Config::from_toml(
//!     r#"
//!     audience = "https://api.example.com"
//!     fapi2 = true
//!
//!     [[issuer]]
//!     issuer = "https://as.example.com"
//!     mode = "hybrid"
//!     ca_file = "/etc/api/authorities.pem"
//!
//!     [issuer.client]
//!     method = "mtls"
//!     id = "api"
//!     certificate_file = "/run/secrets/api.pem"
//!     key_file = "/run/secrets/api.key"
//!
//!     [dpop]
//!     url = "https://api.example.com"
//!     algorithms = ["ES256", "EdDSA"]
//!     window_seconds = 10
//!     nonce = "require"
//!     nonce_secret_file = "/run/secrets/nonce"
//!
//!     [mtls]
//!     field = "client_cert"
//!     proxies = ["10.1.2.0/24"]
//!     "#,
//! )?;
//! # #[cfg(feature = "mtls")]
//! // With axum: `head.extension::<ConnectInfo<SocketAddr>>()`.
//! let config = config.peer_address_fn(|head| head.extension::<SocketAddr>().map(SocketAddr::ip));
//! // Only now are the files read.
//! let problems = config.build().unwrap_err();
//! let names: Vec<_> = problems.problems().map(|(name, _)| name).collect();
//! assert_eq!(
//!     names,
//!     [
//!         "dpop.nonce_secret",
//!         "issuer `https://as.example.com`.client.certificate_file",
//!         "issuer `https://as.example.com`.client.key",
//!         "issuer `https://as.example.com`.ca_file",
//!     ]
//! );
//! # }
//! # Ok::<(), tower_introspect::ConfigError>(())
//! ```

mod builder;
mod client;
#[cfg(feature = "dpop")]
mod dpop;
pub(crate) mod file;
mod forward;
#[cfg(any(feature = "dpop", feature = "mtls"))]
mod hooks;
#[cfg(feature = "checks")]
pub(crate) mod inspect;
mod issuer;
mod metadata;
#[cfg(feature = "mtls")]
mod mtls;
#[cfg(any(feature = "dpop", feature = "mtls"))]
mod program;
mod read;
mod reader;
#[cfg(feature = "signals")]
pub(crate) mod signals;
mod tls;

pub use self::file::Config;
#[cfg(feature = "signals")]
pub use self::signals::configured::ConfiguredSignals;

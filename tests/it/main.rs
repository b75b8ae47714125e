//! The behaviour of the crate, seen from outside. Each test is named for what it proves.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]
#![expect(clippy::disallowed_methods, reason = "what is measured is paused time")]

mod apart;
mod axum;
mod bound;
mod breaker;
mod budget;
mod budgets;
mod cache;
mod coalesce;
mod config;
mod conformance;
mod discovery;
mod dpop;
mod examples;
mod flapping;
mod flood;
mod forward;
mod forward_auth;
mod grpc;
mod identity;
mod introspection;
mod jwks;
mod jwt;
mod layer;
mod mcp;
mod mcp_server;
mod memory;
mod metadata;
mod metrics;
mod modes;
mod mtls;
mod museum;
mod overheard;
mod readiness;
mod real_time;
mod recall;
mod recorder;
mod refusals;
mod renewed;
mod require;
mod requirement;
mod resource_server;
mod respond;
mod rest_api;
mod revocation;
mod scripted;
mod stepped;
mod support;
mod tenants;
mod test_util;
mod transport;
mod verify;
mod week;
mod world;

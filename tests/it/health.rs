//! No client's tokens keep the tokens of other clients from being verified.
//!
//! Each test is a situation between clients, this crate and an authorization server, in Tokio's
//! paused time: clients that ask at a steady rate, a server that answers in a way that the test
//! scripts, and an attacker or an outage. It states the share of good requests that may be lost.

mod floods;
mod interference;
mod outages;
mod overload;
mod poison;
mod tenants;
mod town;

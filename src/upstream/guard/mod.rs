//! Protects an authorization server, and other clients, from the tokens of each client.
//!
//! The health of the server is not judged by the tokens that clients send, because a client can
//! choose tokens that fail. It is judged by *known* tokens, which the server called active in the
//! last ten minutes, and by *canaries*: introspections of random tokens, or of a token of its own,
//! by this service itself.
//!
//! * [`Origin`](origin::Origin) is a server: all issuers under one scheme, host and port. It locks
//!   [`Health`](health::Health), which holds all state.
//! * A registration is this service as a client of one issuer there.
//! * [`Guard`](verifier::Guard) is the verifier that calls `Health` before and after each
//!   introspection.

mod breaker;
mod canaries;
mod health;
mod introspection;
mod judge;
mod opening;
pub(crate) mod origin;
mod overload;
mod peers;
mod permits;
mod recent;
mod registration;
pub(crate) mod verifier;

#[cfg(test)]
mod tests;

//! Protects an authorization server, and other clients, from the tokens of each client.
//!
//! The health of the server is not judged by the tokens that clients send, because a client can
//! choose tokens that fail. It is judged by tokens that were good before, and by *canaries*:
//! introspections of fresh random tokens, sent by this service itself.
//!
//! * [`Origin`](origin::Origin) is a server, as the clients of this service meet it: all issuers
//!   under one scheme, host and port. It locks [`Health`](health::Health), which holds all state.
//! * [`Guard`](verifier::Guard) is the verifier that asks it before and after each introspection.

mod canaries;
mod circuit;
mod health;
mod judge;
pub(crate) mod origin;
mod overload;
mod permits;
mod question;
mod recent;
mod tenant;
pub(crate) mod verifier;

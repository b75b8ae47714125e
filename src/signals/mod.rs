//! Receives logouts and security events, so that a revocation holds with the next request.

mod answer;
mod applied;
mod body;
pub(crate) mod effect;
pub(crate) mod event;
pub(crate) mod host;
mod intake;
pub(crate) mod issuers;
pub(crate) mod liveness;
pub(crate) mod logout;
mod pending;
mod received;
mod statement;
pub(crate) mod transmitter;

pub use self::{
    event::{
        push::EventService, receiver::EventReceiver, subject_id::SubjectId,
        transmitter::Transmitter,
    },
    logout::service::LogoutService,
    transmitter::{
        access::TransmitterAuth,
        error::{TransmitterError, TransmitterErrorKind},
        poll::Poller,
        stream::{EventStream, StreamStatus},
        stream_configuration::{DeliveryMethod, StreamConfiguration, StreamRequest},
        streams::{EventStreams, EventStreamsBuilder},
        verification::VerificationTask,
    },
};

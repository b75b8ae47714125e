//! Receives the security events of one transmitter.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{
    expected_states::ExpectedStates,
    mapping::{Mapped, effects},
    resolve::SubjectRules,
    set::{SecurityEvents, Verification},
    transmitter::Transmitter,
};
#[cfg(feature = "config")]
use crate::signals::transmitter::error::TransmitterErrorKind;
use crate::{
    claims::typ::Typ,
    clock::{Moment, UnixTime},
    error::{config::ConfigError, kind::TokenKind},
    jose::{header::Header, jws::CompactJws},
    jwt::{keys::Mismatch, statement::StatementKeys},
    refresh::asker::Asker,
    signals::{
        body::MAX_BODY,
        host::Host,
        intake::{Accepted, Intake, NotApplied},
        liveness::Liveness,
        received::{ReceiveSet, Received, Refusal},
        statement::{self, Malformed, Statement},
        transmitter::{
            access::TransmitterAuth,
            poll::Poller,
            poll_state::PollState,
            stream::{EventStream, StreamStatus},
            stream_configuration::StreamConfiguration,
            streams::{EventStreams, EventStreamsBuilder},
            verification::VerificationTask,
        },
    },
    telemetry::signals::{Outcome, Receiver, signal_refused, signal_without_effect},
    transport::common::CommonSettings,
};

/// A receiver of the security events of one transmitter (RFC 8417, Shared Signals Framework 1.0).
///
/// [`ResourceServer::receive_events`](crate::ResourceServer::receive_events) returns it. Events come by
/// [push](Self::push_service) or by [poll](Self::poller). A [table](crate::signals#events) lists the effect of
/// each.
///
/// # Clone
///
/// Clones share everything.
#[derive(Clone)]
pub struct EventReceiver(pub(super) Arc<ReceiverParts>);

pub(super) struct ReceiverParts {
    issuer: String,
    audience: String,
    pub(super) authorization: Option<[u8; 32]>,
    keys: StatementKeys,
    rules: SubjectRules,
    verified_within: Option<Duration>,
    pub(super) host: Host,
    intake: Arc<Intake>,
    expected: Arc<ExpectedStates>,
    polls: Arc<PollState>,
    requests: CommonSettings,
}

impl EventReceiver {
    pub(crate) fn new(
        transmitter: &Transmitter,
        host: Host,
        common: &CommonSettings,
    ) -> Result<Self, ConfigError> {
        let mut problems = ConfigError::new();
        transmitter.check(&mut problems);
        let own = host.issuers.is_trusted(&transmitter.issuer).then_some(&transmitter.issuer);
        let speaks_for = match &*transmitter.speaks_for {
            [] => own.into_iter().cloned().collect(),
            named => named.to_vec(),
        };
        if speaks_for.is_empty() {
            problems.push("speaks_for", "name the issuers whose tokens its events are about");
        }
        for issuer in speaks_for.iter().filter(|issuer| !host.issuers.is_trusted(issuer)) {
            problems.push("speaks_for", format!("`{issuer}` is not trusted"));
        }
        let requests = transmitter.requests(common, &mut problems);
        let of_tokens = host.issuers.configured_keys_of(&transmitter.issuer);
        let keys = transmitter.statement_keys(&requests, of_tokens, &mut problems);
        let names = speaks_for.iter().map(|issuer| Arc::from(issuer.as_str())).collect();
        let polls = Arc::new(PollState::new(&transmitter.issuer, Arc::clone(&host.clock)));
        let liveness = Liveness::of_transmitter(
            names,
            transmitter.verified_within,
            Arc::clone(&polls),
            Arc::clone(&host.clock),
        );
        let intake = host.intake(Receiver::Event, liveness);
        let parts = keys.map(|keys| ReceiverParts {
            issuer: transmitter.issuer.clone(),
            audience: transmitter.audience.clone(),
            authorization: transmitter.authorization,
            keys,
            rules: transmitter.rules(speaks_for),
            verified_within: transmitter.verified_within,
            host,
            intake,
            expected: Arc::default(),
            polls,
            requests,
        });
        problems.or_ok(parts)?.map(|parts| Self(Arc::new(parts))).ok_or_else(|| {
            let mut problems = ConfigError::new();
            problems.push("keys", "its keys can't be found");
            problems
        })
    }

    /// Returns the streams of this service at the transmitter, to be managed and polled.
    ///
    /// Requests use the transport of the [`Transmitter`]. If its audience is only known after the stream was
    /// created, create the stream by [`EventStreams::builder`] first.
    ///
    /// # Errors
    ///
    /// Returns every problem with the credentials.
    pub fn streams(&self, auth: TransmitterAuth) -> Result<EventStreams, ConfigError> {
        EventStreamsBuilder::from_settings(&self.0.requests, auth).build()
    }

    /// Returns a task that fetches the events of a stream (RFC 8936). `endpoint_url` is that of the
    /// stream's [configuration](StreamConfiguration::endpoint_url).
    ///
    /// # Errors
    ///
    /// Returns a problem if the URL can't be used, or if this receiver has a poller already.
    ///
    /// ```no_run
    /// use tower_introspect::{BoxError, signals::{EventReceiver, StreamRequest, TransmitterAuth}};
    ///
    /// # async fn run(events: EventReceiver, token: &str) -> Result<(), BoxError> {
    /// let streams = events.streams(TransmitterAuth::bearer(token))?;
    /// let created = streams.create(&StreamRequest::poll()).await?;
    /// let stream = streams.stream(created.stream_id());
    /// let url = created.endpoint_url().ok_or("the transmitter names no URL")?;
    /// let poller = events.poller(&stream, url)?;
    /// tokio::spawn(poller.run(std::future::pending()));
    /// # Ok(()) }
    /// ```
    pub fn poller(&self, stream: &EventStream, endpoint_url: &str) -> Result<Poller, ConfigError> {
        Poller::new(stream, endpoint_url, Arc::new(self.clone()), &self.0.polls)
    }

    /// Returns a task that asks for a verification event of `stream` each `interval`.
    ///
    /// Set [`verified_within`](Transmitter::verified_within) to some more than `interval`, so that missing
    /// ones are noticed. `configuration` has the times within which the transmitter allows such requests.
    #[must_use]
    pub fn verification_task(
        &self,
        stream: &EventStream,
        configuration: &StreamConfiguration,
        interval: Duration,
    ) -> VerificationTask {
        let expected = Arc::clone(&self.0.expected);
        VerificationTask::new(stream.clone(), configuration, interval, expected)
    }

    /// Notes that the stream can't be polled just now.
    #[cfg(feature = "config")]
    pub(in crate::signals) fn note_failed_poll(&self, kind: TransmitterErrorKind) {
        self.0.polls.failed(kind);
    }

    /// Returns the number of events that wait for the keys of the transmitter.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.0.intake.pending()
    }

    /// Receives a security event token.
    ///
    /// # Cancellation
    ///
    /// A token that is not verified yet is kept, as one whose keys can't be had.
    pub(super) async fn receive(&self, text: &str, asker: Asker) -> Received {
        let parts = &self.0;
        let now = Moment::now(&*parts.host.clock);
        if !parts.host.clock.can_be_right(now.wall()) {
            return Received::NotNow { retry_after: None };
        }
        if text.len() > MAX_BODY {
            return refused("invalid_request", "It is too long.");
        }
        let is_typ = |header: &Header<'_>| {
            Typ::of(header.typ.as_deref()) == Typ::Other(TokenKind::SecurityEvent)
        };
        let read = |header: &Header<'_>, jws: &CompactJws<'_>| {
            let set = SecurityEvents::read(jws.payload());
            let (alg, kid) =
                (header.alg.clone().into_owned(), header.kid.as_deref().map(Arc::from));
            set.map(|set| (set, alg, kid))
        };
        let (set, alg, kid) = match statement::parse(text, is_typ, read) {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return refused(error.code(), error.description()),
            Err(Malformed::Form) => return refused("invalid_request", "It is not a signed JWT."),
            Err(Malformed::Type) => {
                return refused("invalid_request", "Its typ is not secevent+jwt.");
            }
        };
        if let Err(error) = set.check_parties(&parts.issuer, &parts.audience) {
            return refused(error.code(), error.description());
        }
        let Some(algorithm) = parts.keys.algorithm(&alg) else {
            return refused("invalid_key", "Its algorithm is not accepted.");
        };
        let (verification, issued_at) = (set.verification.clone(), set.issued_at);
        // The statement may wait in the intake of these parts.
        let applying = Arc::downgrade(parts);
        let statement = Statement {
            text: text.into(),
            keys: parts.keys.clone(),
            algorithm,
            kid,
            issued_at,
            arrived: now,
            apply: Arc::new(move || {
                applying.upgrade().map_or(Outcome::Ignored, |parts| parts.apply(&set))
            }),
        };
        match parts.intake.accept(&statement, asker).await {
            Ok(Accepted::Before) => Received::Applied,
            Ok(Accepted::Now) => match verification {
                Some(verification) if !parts.is_expected(&verification) => {
                    refused("invalid_state", "The state is not that of a request.")
                }
                _ => Received::Applied,
            },
            Err(NotApplied::Refused(Mismatch::UnknownKey | Mismatch::Unusable)) => {
                refused("invalid_key", "Its key is not known.")
            }
            Err(NotApplied::Refused(_)) => refused("invalid_key", "Its signature does not verify."),
            Err(NotApplied::NoKeys(error)) => Received::NotNow { retry_after: error.retry_after() },
            Err(NotApplied::NotShared) => Received::NotNow { retry_after: None },
        }
    }
}

impl ReceiveSet for EventReceiver {
    fn receive<'a>(&'a self, set: &'a str) -> Pin<Box<dyn Future<Output = Received> + Send + 'a>> {
        Box::pin(self.receive(set, Asker::Own))
    }
}

impl ReceiverParts {
    /// Applies the events of a verified token. Only now the function of the application is called.
    fn apply(&self, set: &SecurityEvents) -> Outcome {
        let mapped = effects(set, &self.rules);
        for effect in &mapped.effects {
            self.host.settling.apply(effect);
        }
        if let Some(verification) = &mapped.verification {
            self.verified(verification, set.issued_at);
        }
        if let Some(update) = mapped.stream_updated {
            let is_stopped = update.status != Some(StreamStatus::Enabled);
            self.intake.liveness().set_stopped(is_stopped, set.issued_at);
        }
        self.outcome(&mapped)
    }

    /// Notes a verification event, which shows that events arrive. One that waited for long shows
    /// nothing, nor does one that nobody asked for.
    fn verified(&self, verification: &Verification, issued_at: UnixTime) {
        let now = Moment::now(&*self.host.clock).wall();
        let age = now.saturating_duration_since(issued_at);
        if self.is_expected(verification) && self.verified_within.is_none_or(|most| age < most) {
            self.intake.liveness().verified();
        }
    }

    /// Returns true if a verification event has the state of a request, or none, as those that the
    /// transmitter sends of its own accord (SSF 1.0 §8.1.4.1).
    fn is_expected(&self, verification: &Verification) -> bool {
        verification.state.as_deref().is_none_or(|state| self.expected.contains(state))
    }

    /// Reports events without the effect that they ask for.
    fn outcome(&self, mapped: &Mapped) -> Outcome {
        let counts = mapped.counts;
        for (count, reason) in [
            (counts.foreign_issuer, "its transmitter does not speak for the issuer of its subject"),
            (counts.critical_member, "a critical member of its subject is not known here"),
            (counts.unmapped_subject, "the sub of its subject is not known"),
        ] {
            if count > 0 {
                signal_without_effect(Receiver::Event, &self.issuer, reason);
            }
        }
        let is_about_stream = mapped.verification.is_some() || mapped.stream_updated.is_some();
        if mapped.effects.is_empty() && !is_about_stream {
            return Outcome::Ignored;
        }
        Outcome::Applied
    }
}

fn refused(err: &'static str, description: &'static str) -> Received {
    signal_refused(Receiver::Event, description);
    Received::Refused(Refusal { err, description })
}

impl fmt::Debug for EventReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReceiver").field("issuer", &self.0.issuer).finish_non_exhaustive()
    }
}

use std::{collections::VecDeque, time::Duration};

use http::HeaderValue;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::super::signals::delivery::{Delivery, DeliveryKind};
use crate::clock::UnixTime;

/// The streams of security events, at most one for each client.
#[derive(Debug)]
pub(in crate::test_util) struct Streams {
    pub(super) all: Vec<Stream>,
    /// The number of streams created so far.
    created: usize,
    /// The limit on the time of a long poll.
    pub(super) poll_wait: Duration,
    pub(super) min_verification_interval: Duration,
    /// Changes to members of the metadata. A member set to null is left out.
    pub(super) metadata_changes: Map<String, Value>,
    /// Notified when there may be events to poll.
    pub(super) changed: watch::Sender<()>,
    /// The `jti` of every event that a receiver acknowledged.
    pub(super) acknowledged: Vec<String>,
    /// The `jti` of every event that a receiver refused, and its error.
    pub(super) errors: Vec<(String, Value)>,
}

#[derive(Debug)]
pub(in crate::test_util) struct Stream {
    pub(super) id: String,
    /// The receiver, which is also the audience.
    pub(in crate::test_util) client: String,
    pub(super) settings: Settings,
    pub(super) status: Status,
    pub(super) reason: Option<String>,
    /// The `jti` and the text of the events that are neither pushed nor acknowledged.
    pub(super) queue: VecDeque<(String, String)>,
    /// The time of the last request for verification.
    pub(super) verified: Option<UnixTime>,
}

/// The properties that the receiver sets (SSF 1.0, Stream Configuration).
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// The push delivery. `None` for polling.
    pub(super) push: Option<Push>,
    /// `None` for all events.
    pub(super) events_requested: Option<Vec<String>>,
    pub(super) description: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Push {
    pub(super) url: String,
    pub(super) authorization: Option<HeaderValue>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    Disabled,
    #[default]
    Enabled,
    Paused,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            created: 0,
            poll_wait: Duration::from_secs(30),
            min_verification_interval: Duration::ZERO,
            metadata_changes: Map::new(),
            changed: watch::Sender::default(),
            acknowledged: Vec::new(),
            errors: Vec::new(),
        }
    }
}

impl Streams {
    pub(super) fn of(&mut self, client: &str) -> Option<&mut Stream> {
        self.all.iter_mut().find(|stream| stream.client == client)
    }

    /// Creates the stream of a client. It must have none.
    pub(super) fn create(&mut self, client: &str, settings: Settings) -> &Stream {
        self.created += 1;
        self.all.push(Stream {
            id: format!("stream-{}", self.created),
            client: client.to_owned(),
            settings,
            status: Status::default(),
            reason: None,
            queue: VecDeque::new(),
            verified: None,
        });
        &self.all[self.all.len() - 1]
    }

    /// Returns the clients whose streams have events of this type.
    pub(in crate::test_util) fn receivers_of(&self, event: &str) -> Vec<String> {
        let wanted = self.all.iter().filter(|stream| stream.settings.delivers(event));
        wanted.map(|stream| stream.client.clone()).collect()
    }

    /// Puts an event on these streams, unless they are disabled (SSF 1.0, Stream Status).
    pub(in crate::test_util) fn put(&mut self, to: impl Fn(&Stream) -> bool, jti: &str, set: &str) {
        let able = |stream: &&mut Stream| stream.status != Status::Disabled && to(stream);
        for stream in self.all.iter_mut().filter(able) {
            stream.queue.push_back((jti.to_owned(), set.to_owned()));
        }
        self.changed.send_replace(());
    }

    /// Takes the events that are to be pushed.
    pub(in crate::test_util) fn take_pushed(&mut self) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for stream in self.all.iter_mut().filter(|stream| stream.status == Status::Enabled) {
            let Some(push) = &stream.settings.push else { continue };
            deliveries.extend(stream.queue.drain(..).map(|(_, token)| Delivery {
                kind: DeliveryKind::SecurityEvent,
                url: push.url.clone(),
                token,
                authorization: push.authorization.clone(),
            }));
        }
        deliveries
    }
}

impl Settings {
    pub(super) fn delivers(&self, event: &str) -> bool {
        let requested = self.events_requested.as_ref();
        requested.is_none_or(|events| events.iter().any(|requested| requested == event))
    }
}

impl Status {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::Paused => "paused",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        let all = [Self::Disabled, Self::Enabled, Self::Paused];
        all.into_iter().find(|status| status.name() == name)
    }
}

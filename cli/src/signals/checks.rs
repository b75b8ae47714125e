//! Compares an event stream with the settings of its receiver.

use std::time::Duration;

use tower_introspect::{
    inspect::{self, TransmitterSettings},
    signals::{DeliveryMethod, StreamConfiguration, StreamStatus},
};

use crate::{
    diagnosis::{Place, Setting},
    finding::Findings,
};

/// The most types of events to list.
const MAX_EVENTS: usize = 12;

/// The event that ends sessions.
const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";

/// A stream, and the settings of its receiver.
pub(crate) struct Compared<'a> {
    pub(crate) settings: &'a TransmitterSettings,
    pub(crate) stream: &'a StreamConfiguration,
    /// `None` if the transmitter does not tell it.
    pub(crate) status: Option<StreamStatus>,
    pub(crate) place: Place<'a>,
}

impl Compared<'_> {
    /// Returns everything that was found.
    pub(crate) fn findings(&self) -> Findings {
        let mut found = Findings::default();
        self.check_status(&mut found);
        self.check_audience(&mut found);
        self.check_delivery(&mut found);
        self.check_events(&mut found);
        self.check_verification(&mut found);
        found
    }

    fn check_status(&self, found: &mut Findings) {
        let id = shortened(self.stream.stream_id());
        match self.status {
            Some(StreamStatus::Enabled) => {
                found.good("stream_enabled").text(format!("the stream `{id}` is enabled"));
            }
            Some(status) => {
                found.bad("stream_not_enabled").text(format!("the stream `{id}` sends no events"));
                expected(found, status.as_str(), "enabled");
                found.change("at the transmitter: enable the stream");
            }
            None => found
                .note("stream_status_unknown")
                .text(format!("the transmitter does not tell the status of the stream `{id}`")),
        }
    }

    fn check_audience(&self, found: &mut Findings) {
        let wanted = &*self.settings.audience;
        if self.stream.audience().any(|audience| audience == wanted) {
            let text = format!("its events are for `{wanted}`, as configured");
            return found.good("stream_audience").text(text);
        }
        let seen: Vec<_> = self.stream.audience().take(MAX_EVENTS).map(shortened).collect();
        let text = "its events are for another audience: this service refuses all of them";
        found.bad("stream_audience").text(text);
        expected(found, &seen.join(", "), wanted);
        if let [first, ..] = seen.as_slice() {
            let line = self.place.line(Setting::AUDIENCE, first.as_str());
            found
                .change(self.place.with(Setting::AUDIENCE, &format!("of the transmitter: {line}")));
        }
    }

    fn check_delivery(&self, found: &mut Findings) {
        let seen = delivery(self.stream);
        let wanted = if self.settings.is_polled { "poll" } else { "push" };
        let endpoint = self.stream.endpoint_url().map(shortened);
        let shown = endpoint.as_deref().unwrap_or("no URL");
        if seen != wanted {
            let text = format!("its events do not come as this service takes them ({shown})");
            found.bad("stream_delivery").text(text);
            expected(found, seen, wanted);
            if seen != "another" {
                found.change(self.place.set(Setting::DELIVERY, seen));
            }
            return found.change("at the transmitter: the delivery of the stream");
        }
        let configured = self.settings.poll_url.as_deref();
        if configured.is_some_and(|url| self.stream.endpoint_url() != Some(url)) {
            found.warn("stream_poll_url").text("this service polls another URL than that of it");
            expected(found, configured.unwrap_or_default(), shown);
            return found.change(self.place.with(Setting::POLL_URL, "remove it"));
        }
        let way = if self.settings.is_polled { "polled at" } else { "pushed to" };
        found.good("stream_delivery").text(format!("its events are {way} {shown}, as configured"));
        if !self.settings.is_polled && !self.settings.has_authorization {
            found.note("stream_no_authorization").text(
                "pushed events need no `Authorization`: strangers can have signatures checked",
            );
        }
    }

    fn check_events(&self, found: &mut Findings) {
        let delivered: Vec<_> = self.stream.events_delivered().collect();
        let used: Vec<_> = delivered.iter().filter(|uri| inspect::has_effect(uri)).collect();
        let at_transmitter = "at the transmitter: the events that the stream delivers";
        if delivered.contains(&SESSION_REVOKED) {
            let text = format!("it delivers session-revoked, and {} more", used.len() - 1);
            found.good("stream_events").text(text + " with an effect here");
        } else if delivered.is_empty() {
            found.note("stream_events_unknown").text("it does not tell which events it delivers");
        } else {
            let (level, text) = match used.as_slice() {
                [] => (crate::finding::Level::Bad, "none of the events it delivers has an effect"),
                _ => (crate::finding::Level::Warning, "it does not deliver session-revoked"),
            };
            found.add(level, "stream_events", text);
            expected(found, &list(delivered.iter().copied()), SESSION_REVOKED);
            found.change(at_transmitter);
        }
        let missing = list(missing(self.stream));
        if !missing.is_empty() {
            found.warn("stream_events_missing").text("it does not deliver all requested events");
            found.detail("missing", missing);
        }
    }

    fn check_verification(&self, found: &mut Findings) {
        let TransmitterSettings { verified_within, verify_every, .. } = *self.settings;
        let least = self.stream.min_verification_interval().unwrap_or_default();
        if let Some(within) = verified_within.filter(|within| *within <= least) {
            found.bad("verification_too_rare").text(
                "verification events can't come as often as configured: the signals will be stale",
            );
            expected(found, &seconds(within), &format!("more than {}", seconds(least)));
            let more = i64::try_from(least.as_secs().saturating_mul(3)).unwrap_or(i64::MAX);
            let line = self.place.line(Setting::VERIFIED_WITHIN, more);
            found.change(self.place.with(Setting::VERIFIED_WITHIN, &line));
        } else if let Some(every) = verify_every {
            let text = match every < least {
                true => format!("the transmitter allows one each {} only", seconds(least)),
                false => "the transmitter allows that".to_owned(),
            };
            let every = seconds(every);
            found
                .good("verification_interval")
                .text(format!("a verification event is asked for each {every}: {text}"));
        }
        if verify_every.is_some() {
            return;
        }
        if verified_within.is_some() {
            found.warn("verification_not_asked").text(
                "the settings ask for no verification event. Unless the program or the transmitter \
                 sees to it, the signals will be stale",
            );
            let line = self.place.line(Setting::VERIFY_EVERY, 300);
            found.change(self.place.with(Setting::VERIFY_EVERY, &line));
        } else {
            found.note("verification_none").text(
                "without `verify_every_seconds` and `verified_within_seconds` nobody can tell whether \
                 its events arrive",
            );
        }
        if let Some(timeout) = self.stream.inactivity_timeout().filter(|_| !self.settings.is_polled)
        {
            found.warn("stream_inactivity").text(format!(
                "the transmitter may give up the stream after {} without a request",
                seconds(timeout)
            ));
            found.change(self.place.with(Setting::VERIFY_EVERY, "at most half of that"));
        }
    }
}

/// Returns the name of the delivery of a stream, as in the settings.
pub(super) fn delivery(stream: &StreamConfiguration) -> &'static str {
    match stream.delivery_method() {
        DeliveryMethod::Poll => "poll",
        DeliveryMethod::Push => "push",
        _ => "another",
    }
}

/// Returns the events that were requested and are not delivered.
pub(super) fn missing(stream: &StreamConfiguration) -> impl Iterator<Item = &str> {
    let is_delivered = |uri: &str| stream.events_delivered().any(|one| one == uri);
    stream.events_requested().filter(move |uri| !is_delivered(uri))
}

/// Lists types of events without what their URIs have in common.
pub(super) fn list<'a>(events: impl Iterator<Item = &'a str>) -> String {
    let name = |uri: &str| {
        let name = uri.strip_prefix("https://schemas.openid.net/secevent/").unwrap_or(uri);
        shortened(&name.replacen("event-type/", "", 1))
    };
    let mut names: Vec<_> = events.take(MAX_EVENTS + 1).map(name).collect();
    if names.len() > MAX_EVENTS {
        names.truncate(MAX_EVENTS);
        names.push("..".to_owned());
    }
    names.join(", ")
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// Shortens a text of the transmitter.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

fn expected(found: &mut Findings, seen: &str, wanted: &str) {
    found.detail("found", if seen.is_empty() { "nothing" } else { seen });
    found.detail("expected", wanted);
}

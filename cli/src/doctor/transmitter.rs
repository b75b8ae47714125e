//! Checks each transmitter of security events.

use http::{StatusCode, Uri};
use serde_json::{Value, json};
use tower_introspect::{
    inspect::{self, SignalSettings, TransmitterSettings},
    signals::{EventStreams, StreamConfiguration, TransmitterError, TransmitterErrorKind},
};

use super::{
    Doctor,
    discovery::{LIMIT, document},
};
use crate::{
    diagnosis::Setting,
    finding::{Findings, Level},
    keys::{
        self,
        jwk::Key,
        set::{Set, Settings},
    },
    net::Exchange,
    report::Failure,
    signals::{checks::Compared, problem},
};

/// The members of subjects that the library understands.
const UNDERSTOOD: [&str; 2] = ["session", "user"];

impl Doctor<'_> {
    /// Checks each transmitter, and the logouts.
    pub(super) fn check_signals(&mut self) {
        let Some(signals) = self.deployment.settings.signals.take() else { return };
        for (at, transmitter) in signals.transmitters.iter().enumerate() {
            let metadata = self.check_transmitter(at, transmitter);
            let way = if transmitter.is_polled { "poll" } else { "push" };
            let title = format!("Transmitter {} ({way})", transmitter.issuer);
            let more = json!({ "transmitter": transmitter.issuer, "metadata": metadata });
            self.add_section(title, more);
        }
        self.check_logouts(&signals);
        self.deployment.settings.signals = Some(signals);
    }

    fn check_transmitter(&mut self, at: usize, transmitter: &TransmitterSettings) -> Value {
        let mut exchanges = Vec::new();
        let metadata = self.read_transmitter_metadata(transmitter, &mut exchanges);
        self.check_critical_members(transmitter, &metadata);
        self.check_event_keys(transmitter, &metadata, &mut exchanges);
        self.check_stream(at, transmitter);
        exchanges.extend(self.transport.take());
        let exchanges: Vec<_> = exchanges.iter().collect();
        self.check_certificates(&exchanges);
        self.check_clock(&exchanges);
        metadata
    }

    /// Fetches a document as the library does.
    fn fetch(&mut self, url: Uri, activity: &str) -> Option<Exchange> {
        self.transport.take();
        let _ = self.cx.wait(activity, self.transport.get(url, "application/json", LIMIT));
        self.transport.take().pop()
    }

    fn read_transmitter_metadata(
        &mut self,
        transmitter: &TransmitterSettings,
        exchanges: &mut Vec<Exchange>,
    ) -> Value {
        let url = inspect::transmitter_metadata_url(&transmitter.issuer);
        let Some(uri) = url.as_ref().and_then(|url| url.parse().ok()) else { return Value::Null };
        let url = url.unwrap_or_default();
        let Some(exchange) = self.fetch(uri, "reading the metadata of the transmitter") else {
            return Value::Null;
        };
        let read = document(&exchange);
        exchanges.push(exchange);
        let setting = self.place().name(Setting::ISSUER);
        match read {
            Ok((named, value)) if named == transmitter.issuer => {
                self.found
                    .good("transmitter_metadata")
                    .text(format!("the metadata is at {url}, and names the issuer exactly"));
                return value;
            }
            Ok((named, _)) => {
                let named: String = named.chars().take(200).collect();
                self.found.bad("transmitter_issuer_mismatch").text(format!(
                    "the metadata at {url} names another issuer: the library does not use it"
                ));
                self.found.detail("found", &named);
                self.found.detail("expected", &transmitter.issuer);
                let line = self.place().line(Setting::ISSUER, &*named);
                self.found.change(format!("{setting}, of the transmitter, if that is it: {line}"));
            }
            // The check of certificates reports problems with TLS.
            Err(None) => {}
            Err(Some((level, _, text))) => {
                // The service needs none if its settings have all that it uses.
                let is_needed = transmitter.access.is_some() || self.discovers_keys(transmitter);
                let level = match level {
                    _ if !is_needed => Level::Unseen,
                    Level::Warning => Level::Bad,
                    level => level,
                };
                let text = format!("there is no metadata of the transmitter: {url}: {text}");
                self.found.add(level, "transmitter_metadata", text);
                if is_needed {
                    let text = "of the transmitter: it may be spelled otherwise";
                    self.found.change(self.place().with(Setting::ISSUER, text));
                }
            }
        }
        Value::Null
    }

    /// Returns true if the keys of its events are not those of a trusted issuer, and no setting says
    /// where they are.
    fn discovers_keys(&self, transmitter: &TransmitterSettings) -> bool {
        let TransmitterSettings { issuer, jwks_uri, jwks_file, .. } = transmitter;
        let issuers = &self.deployment.settings.issuers;
        let is_trusted = issuers.iter().any(|trusted| trusted.issuer == *issuer);
        jwks_uri.is_none() && jwks_file.is_none() && !is_trusted
    }

    fn check_critical_members(&mut self, transmitter: &TransmitterSettings, metadata: &Value) {
        let named = metadata["critical_subject_members"].as_array();
        let named = named.into_iter().flatten().filter_map(Value::as_str);
        let is_known = |name: &&str| {
            UNDERSTOOD.contains(name) || transmitter.critical_members.iter().any(|it| it == name)
        };
        let missing: Vec<_> = named.take(20).filter(|name| !is_known(name)).collect();
        if missing.is_empty() {
            return;
        }
        self.found.warn("critical_members").text(format!(
            "the metadata calls members of subjects critical that the settings do not: {}. Events with \
             them are applied as if they were not there",
            missing.join(", ")
        ));
        let known = transmitter.critical_members.iter().map(String::as_str);
        let all: Vec<_> = known.chain(missing).map(toml::Value::from).collect();
        let line = self.place().line(Setting::CRITICAL_MEMBERS, all);
        self.found.change(self.place().with(Setting::CRITICAL_MEMBERS, &line));
    }

    fn check_event_keys(
        &mut self,
        transmitter: &TransmitterSettings,
        metadata: &Value,
        exchanges: &mut Vec<Exchange>,
    ) {
        if let Some(path) = &transmitter.jwks_file {
            let text = "do not follow rotations of the transmitter";
            let text = format!("the keys are read from `{}`, and {text}", path.display());
            return self.found.note("jwks_file").text(text);
        }
        let discovers = self.discovers_keys(transmitter);
        let found = metadata["jwks_uri"].as_str().filter(|_| discovers).map(str::to_owned);
        let url = transmitter.jwks_uri.clone().or(found);
        let Some(url) = url.or_else(|| self.unread_keys(&transmitter.issuer)) else {
            if !discovers {
                let text = "its keys are those of the access tokens of the issuer";
                self.found.note("event_keys_of_issuer").text(text);
            } else if metadata.is_object() {
                let text = "the metadata of the transmitter names no keys (`jwks_uri`)";
                self.found.bad("no_jwks_uri").text(text);
                let text = "of the transmitter: set the URL of the keys";
                self.found.change(self.place().with(Setting::KEYS, text));
            }
            return;
        };
        let Some((exchange, set)) = self.check_keys_at(&url, &transmitter.issuer) else { return };
        exchanges.push(exchange);
        let is_rs256 = |key: &Key| {
            let fits = key.fact("alg").is_none_or(|alg| alg == "RS256");
            key.used && fits && key.fact("kty") == Some("RSA")
        };
        match set.keys.iter().any(is_rs256) {
            true => self.found.good("events_rs256").text("one of them fits RS256"),
            false => self.found.note("events_rs256").text(
                "none of them fits RS256, with which the interoperability profile of CAEP has \
                 transmitters sign",
            ),
        }
    }

    /// Returns the URL of the keys of an issuer whose tokens need none, which are those of its logouts
    /// and events.
    pub(super) fn unread_keys(&self, issuer: &str) -> Option<String> {
        let mut issuers = self.deployment.settings.issuers.iter();
        issuers.find(|one| one.issuer == issuer && one.mode == "introspect")?;
        let section = self.sections.iter().find(|section| section.more["issuer"] == issuer)?;
        section.more["metadata"]["jwks_uri"].as_str().map(str::to_owned)
    }

    /// Fetches keys, and checks them.
    pub(super) fn check_keys_at(&mut self, url: &str, issuer: &str) -> Option<(Exchange, Set)> {
        let exchange = self.fetch(url.parse().ok()?, "reading the keys")?;
        let mut own = Findings::default();
        keys::check_response(&exchange, &mut own);
        self.found.0.extend(own.0.into_iter().filter(|one| one.level > Level::Note));
        let response = exchange.response().filter(|one| one.status() == StatusCode::OK)?;
        let settings = Settings { issuer: Some(issuer), ..Settings::default() };
        let set = Set::read(response.body(), self.today(), settings);
        self.check_key_set(&set, url);
        Some((exchange, set))
    }

    /// Checks the stream as the transmitter has it.
    fn check_stream(&mut self, at: usize, transmitter: &TransmitterSettings) {
        // The settings were checked before.
        let streams = self.deployment.config.event_streams(at, &self.server).ok().flatten();
        let Some(streams) = streams else {
            return self.found.unseen("stream_not_seen").text(
                "the stream was not looked at: the settings have neither `access_token` nor `client` \
                 for the transmitter",
            );
        };
        let stream = match self.read_stream(&streams, transmitter) {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.report_transmitter(&error, transmitter),
            Err(failure) => return self.found.unknown("timeout").text(failure.message),
        };
        let text = "the transmitter accepts the credentials of this service";
        self.found.good("transmitter_credentials").text(text);
        let Some(configuration) = stream else { return };
        let stream = streams.stream(configuration.stream_id());
        let status = self.cx.wait("reading the stream", async { stream.status().await });
        let status = match status {
            Ok(Ok(status)) => Some(status),
            Ok(Err(error)) if error.kind() == TransmitterErrorKind::Unsupported => None,
            Ok(Err(error)) => return self.report_transmitter(&error, transmitter),
            Err(failure) => return self.found.unknown("timeout").text(failure.message),
        };
        let (settings, stream_seen, place) = (transmitter, &configuration, self.place());
        let compared = Compared { settings, stream: stream_seen, status, place };
        let found = compared.findings();
        self.found.0.extend(found.0);
        if self.args.probe {
            let asking = async { stream.verify(None).await };
            match self.cx.wait("asking for a verification event", asking) {
                Ok(Ok(())) => self.found.good("verification_asked").text(
                    "the transmitter accepts a request for a verification event. Whether it arrives, \
                     only the service can tell: `signals` in its readiness",
                ),
                Ok(Err(error)) => self.report_transmitter(&error, transmitter),
                Err(failure) => self.found.unknown("timeout").text(failure.message),
            }
        }
    }

    /// Returns the configured stream, or the only one. `None` if the settings don't say which.
    fn read_stream(
        &mut self,
        streams: &EventStreams,
        transmitter: &TransmitterSettings,
    ) -> Result<Result<Option<StreamConfiguration>, TransmitterError>, Failure> {
        if let Some(id) = &transmitter.stream_id {
            let stream = streams.stream(id.as_str());
            let read = self.cx.wait("reading the stream", async { stream.read().await })?;
            return Ok(read.map(Some));
        }
        let all = self.cx.wait("listing the streams", async { streams.list().await })?;
        Ok(all.map(|mut all| match all.len() {
            0 => {
                self.found
                    .bad("stream_none")
                    .text("the transmitter has no stream for this service");
                self.found.change("create the stream at the transmitter");
                None
            }
            1 => all.pop(),
            count => {
                let text = format!("this service has {count} streams, and no setting says which");
                self.found.unseen("stream_not_seen").text(text);
                let text = "one that `introspect signals status` lists";
                self.found.change(self.place().with(Setting::STREAM_ID, text));
                None
            }
        }))
    }

    fn report_transmitter(&mut self, error: &TransmitterError, settings: &TransmitterSettings) {
        let found = problem::finding(error, settings, self.place());
        self.found.0.extend(found);
    }

    fn check_logouts(&mut self, signals: &SignalSettings) {
        let Some(client) = &signals.logout_client_id else { return };
        for name in self.deployment.issuers().into_iter().map(str::to_owned).collect::<Vec<_>>() {
            self.check_logout(&name, client);
        }
        self.transport.take();
        self.add_section(format!("Logouts of {client}"), Value::Null);
    }
}

//! Reads the settings of one transmitter of security events.

use std::{path::PathBuf, time::Duration};

use super::access::Access;
use crate::{
    config::{
        reader::{Secret, Section, load_keys},
        tls::{Tls, TransportConfig},
    },
    error::config::ConfigError,
    resource_server::server::ResourceServer,
    signals::{
        event::{receiver::EventReceiver, transmitter::Transmitter},
        stream_task::StreamTask,
        transmitter::access::TransmitterAuth,
    },
    transport::http_transport::HttpTransport,
};

pub(super) struct TransmitterConfig {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) speaks_for: Vec<String>,
    pub(super) jwks_uri: Option<String>,
    pub(super) jwks_file: Option<PathBuf>,
    pub(super) authorization: Option<Secret>,
    pub(super) critical_members: Vec<String>,
    pub(super) cut_by_subject: bool,
    pub(super) verified_within: Option<Duration>,
    pub(super) delivery: Delivery,
    pub(super) stream_id: Option<String>,
    pub(super) poll_url: Option<String>,
    pub(super) verify_every: Option<Duration>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) access: Option<Access>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Poll,
    Push,
}

const DELIVERIES: [(&str, Delivery); 2] = [("push", Delivery::Push), ("poll", Delivery::Poll)];

/// A transmitter whose files were read.
pub(super) struct Loaded<'a> {
    config: &'a TransmitterConfig,
    transmitter: Transmitter,
    access: Option<TransmitterAuth>,
    /// The transport, if the settings ask for one of its own.
    transport: Option<HttpTransport>,
}

impl TransmitterConfig {
    pub(super) fn read(section: &mut Section) -> Self {
        section.require("issuer");
        section.require("audience");
        let is_push_given = !section.has("delivery");
        let delivery = section.keyword("delivery", &DELIVERIES);
        let delivery = delivery.or(is_push_given.then_some(Delivery::Push));
        check_delivery(delivery, section);
        if section.has("jwks_file") && section.has("jwks_uri") {
            section.problem("jwks_file", "conflicts with `jwks_uri`");
        }
        let (verified_within, verify_every) =
            (section.seconds("verified_within_seconds"), section.seconds("verify_every_seconds"));
        if verified_within.zip(verify_every).is_some_and(|(within, every)| within <= every) {
            let problem = "must be longer than `verify_every_seconds`";
            section.problem("verified_within_seconds", problem);
        }
        Self {
            issuer: section.text("issuer").unwrap_or_default(),
            audience: section.text("audience").unwrap_or_default(),
            speaks_for: section.texts("speaks_for").unwrap_or_default(),
            jwks_uri: section.text("jwks_uri"),
            jwks_file: section.text("jwks_file").map(Into::into),
            authorization: section.optional_secret("authorization"),
            critical_members: section.texts("critical_members").unwrap_or_default(),
            cut_by_subject: section.flag("cut_by_subject"),
            verified_within,
            delivery: delivery.unwrap_or(Delivery::Push),
            stream_id: section.text("stream_id"),
            poll_url: section.text("poll_url"),
            verify_every,
            ca_file: section.text("ca_file").map(Into::into),
            access: Access::read(section),
        }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the part of the settings that problems are reported for.
    pub(super) fn title(&self) -> String {
        format!("transmitter `{}`", self.issuer)
    }

    pub(super) fn is_pushed(&self) -> bool {
        self.delivery == Delivery::Push
    }

    /// Reads the files and variables with secrets and keys.
    pub(super) fn load(&self, common: &TransportConfig) -> Result<Loaded<'_>, ConfigError> {
        let mut problems = ConfigError::new();
        let mut transmitter = Transmitter::new(&*self.issuer, &*self.audience);
        for issuer in &self.speaks_for {
            transmitter = transmitter.speaks_for(issuer);
        }
        for member in &self.critical_members {
            transmitter = transmitter.critical_member(member);
        }
        if let Some(url) = &self.jwks_uri {
            transmitter = transmitter.jwks_uri(url);
        }
        match self.jwks_file.as_deref().map(load_keys) {
            Some(Ok(keys)) => transmitter = transmitter.keys(keys),
            Some(Err(problem)) => problems.push("jwks_file", problem),
            None => {}
        }
        match self.authorization.as_ref().map(Secret::load) {
            Some(Ok(value)) => transmitter = transmitter.authorization(value),
            Some(Err(problem)) => problems.push("authorization", problem),
            None => {}
        }
        if self.cut_by_subject {
            transmitter = transmitter.cut_by_subject();
        }
        if let Some(time) = self.verified_within {
            transmitter = transmitter.verified_within(time);
        }
        let access = self.access.as_ref().map(Access::load).transpose();
        let access = access.map_err(|problem| problems.append(problem)).ok().flatten();
        let client = self.access.as_ref().and_then(Access::certificate);
        let tls = Tls { common: common.clone(), authorities: self.ca_file.clone(), client };
        let is_own = tls.authorities.is_some() || tls.client.is_some();
        let transport = is_own.then(|| tls.transport()).transpose();
        let transport = transport.map_err(|problem| problems.append(problem)).ok().flatten();
        problems.or_ok(Loaded { config: self, transmitter, access, transport })
    }
}

impl Loaded<'_> {
    /// Returns the receiver, and the task of its stream if it has one.
    pub(super) fn build<R>(
        self,
        api: &ResourceServer<R>,
        shared: Option<&HttpTransport>,
    ) -> Result<(EventReceiver, Option<StreamTask>), ConfigError> {
        let (config, access) = (self.config, self.access.clone());
        let receiver = self.receiver(api, shared)?;
        let streams = access.map(|access| receiver.streams(access)).transpose();
        let streams = streams.map_err(|problems| renamed(&problems))?;
        let Some((streams, id)) = streams.zip(config.stream_id.as_deref()) else {
            return Ok((receiver, None));
        };
        let mut task = StreamTask::new(receiver.clone(), streams.stream(id));
        if config.delivery == Delivery::Poll {
            task = task.poll(config.poll_url.as_deref()).map_err(|problems| renamed(&problems))?;
        }
        if let Some(interval) = config.verify_every {
            task = task.verify_every(interval);
        }
        Ok((receiver, Some(task)))
    }

    fn receiver<R>(
        self,
        api: &ResourceServer<R>,
        shared: Option<&HttpTransport>,
    ) -> Result<EventReceiver, ConfigError> {
        let transmitter = match self.transport.as_ref().or(shared) {
            // A transport that the program has set replaces those of the settings.
            Some(transport) if !api.has_given_transport() => {
                self.transmitter.transport(transport.clone())
            }
            _ => self.transmitter,
        };
        api.receive_events(&transmitter).map_err(|problems| renamed(&problems))
    }

    /// Returns the streams at the transmitter, if this service is authorized there.
    #[cfg(feature = "checks")]
    pub(super) fn streams<R>(
        self,
        api: &ResourceServer<R>,
        shared: Option<&HttpTransport>,
    ) -> Result<Option<crate::signals::transmitter::streams::EventStreams>, ConfigError> {
        let Some(access) = self.access.clone() else { return Ok(None) };
        self.receiver(api, shared)?.streams(access).map(Some).map_err(|problems| renamed(&problems))
    }
}

/// Checks the settings that depend on the delivery. That is `None` if it has an unknown value.
fn check_delivery(delivery: Option<Delivery>, section: &mut Section) {
    if delivery == Some(Delivery::Push) && section.has("poll_url") {
        section.problem("poll_url", "has no effect unless `delivery` is `poll`");
    }
    if delivery == Some(Delivery::Poll) && section.has_secret("authorization") {
        section.problem("authorization", "has no effect while `delivery` is `poll`");
    }
    let reason = match delivery {
        Some(Delivery::Poll) => "`delivery` is `poll`",
        _ if section.has("verify_every_seconds") => "`verify_every_seconds` is set",
        _ => return,
    };
    if !section.has("stream_id") {
        section.problem("stream_id", format!("missing, although {reason}"));
    }
    if !Access::is_in(section) {
        let problem = format!("missing, as is `client`, although {reason}");
        section.problem("access_token", problem);
    }
}

/// Names settings as the file does, not as the program.
fn renamed(problems: &ConfigError) -> ConfigError {
    let mut renamed = ConfigError::new();
    for (name, problem) in problems.problems() {
        let name = match name {
            "auth" => "access_token",
            "auth.token_endpoint" => "client.token_endpoint",
            "client_auth" => "client",
            "endpoint_url" => "poll_url",
            "keys" => "jwks_file",
            "verified_within" => "verified_within_seconds",
            name => name,
        };
        renamed.push(name, problem);
    }
    renamed
}

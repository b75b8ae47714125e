//! The transmitter that a command is about.

use std::path::PathBuf;

use tower_introspect::{inspect::TransmitterSettings, signals::EventStreams};

use crate::{Context, deployment::Deployment, report::Failure};

/// The configuration, and the transmitter in it.
#[derive(clap::Args)]
pub(super) struct SelectArgs {
    /// The configuration of the service in TOML; its table `[resource_server]` if it has one.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The issuer of the transmitter. Needed if the configuration has several.
    #[arg(long, value_name = "ISSUER")]
    transmitter: Option<String>,
}

/// A transmitter of a configuration.
pub(super) struct Selected {
    pub(super) deployment: Deployment,
    pub(super) streams: EventStreams,
    at: usize,
}

impl Selected {
    /// Selects the transmitter. Its connections are those of the service.
    ///
    /// # Errors
    ///
    /// If the configuration has mistakes, several such transmitters or none, or no credentials.
    pub(super) fn read(args: &SelectArgs, cx: &Context) -> Result<Self, Failure> {
        let deployment = Deployment::read(&args.config)?;
        let names: Vec<_> = transmitters(&deployment).iter().map(|one| &*one.issuer).collect();
        let wanted = |name: &str| args.transmitter.as_ref().is_none_or(|wanted| wanted == name);
        let mut selected = (0..names.len()).filter(|at| wanted(names[*at]));
        let (Some(at), None) = (selected.next(), selected.next()) else {
            return Err(Failure::usage(match names.as_slice() {
                [] => "the configuration has no `[[signals.transmitter]]`".to_owned(),
                several => format!("`--transmitter` must select one of {}", several.join(", ")),
            }));
        };
        let server = deployment.server(cx, None)?;
        let streams = deployment.config.event_streams(at, &server);
        let streams = streams.map_err(|problems| deployment.file.failure(&problems))?;
        let Some(streams) = streams else {
            let text = "has neither `access_token` nor `client`, so its streams can't be managed";
            return Err(Failure::usage(format!("the transmitter {} {text}", names[at])));
        };
        Ok(Self { deployment, streams, at })
    }

    pub(super) fn settings(&self) -> &TransmitterSettings {
        &transmitters(&self.deployment)[self.at]
    }
}

fn transmitters(deployment: &Deployment) -> &[TransmitterSettings] {
    deployment.settings.signals.as_ref().map_or(&[], |signals| &signals.transmitters)
}

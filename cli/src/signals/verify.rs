//! `signals verify` asks a transmitter for a verification event.

use super::{
    problem,
    selected::{SelectArgs, Selected},
};
use crate::{
    Context,
    diagnosis::Place,
    report::{Exit, Failure, Field, Report, Tone},
};

/// Ask for a verification event, which shows that events arrive at the service.
///
/// The event comes over the stream to the service itself, not to this program.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    select: SelectArgs,
    /// The `state` of the event. The service verifies such an event, but refuses it (`invalid_state`),
    /// because it did not ask for it.
    #[arg(long, value_name = "TEXT")]
    state: Option<String>,
}

pub(super) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let selected = Selected::read(&args.select, cx)?;
    let (settings, place) = (selected.settings(), Place::File(&selected.deployment));
    let Some(id) = &settings.stream_id else {
        let text = format!("the transmitter {} has no `stream_id`", settings.issuer);
        let hint = "`introspect signals status` lists the streams";
        return Err(Failure::usage(text).hint(hint));
    };
    let stream = selected.streams.stream(id.as_str());
    let asking = async { stream.verify(args.state.as_deref()).await };
    let asked = cx.wait("asking for a verification event", asking)?;
    asked.map_err(|error| problem::failure(&error, settings, place))?;
    let look = match (&args.state, settings.verified_within) {
        (Some(_), _) => "the service refuses the event (`invalid_state`) once it has verified it",
        (None, Some(_)) => "the readiness of the service: `signals` of its issuers is fresh",
        (None, None) => {
            "nothing shows it in the service: readiness tells `signals` only with \
             `verified_within_seconds`"
        }
    };
    let way = if settings.is_polled { "when the service polls" } else { "by push to the service" };
    let mut report = Report::new("signals verify", Exit::Accepted);
    report.line(Tone::Good, "ASKED: the transmitter will send a verification event");
    report.fields([
        Field::new("transmitter", &*settings.issuer),
        Field::new("stream", id),
        Field::new("arrives", way),
        Field::new("look at", look),
    ]);
    report.set("transmitter", &*settings.issuer);
    report.set("stream_id", id.as_str());
    report.set("state", args.state.clone());
    Ok(report)
}

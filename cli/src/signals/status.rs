//! `signals status` shows the event streams of a service.

use serde_json::{Value, json};
use tower_introspect::signals::{
    StreamConfiguration, StreamStatus, TransmitterError, TransmitterErrorKind,
};

use super::{
    checks::{self, Compared, list, seconds, shortened},
    problem,
    selected::{SelectArgs, Selected},
};
use crate::{
    Context,
    diagnosis::Place,
    finding::{self, Findings},
    report::{Exit, Failure, Field, Report, Tone},
};

/// The most streams to show.
const MAX_STREAMS: usize = 20;

/// Show the event streams of a service at a transmitter.
///
/// Shows the configured stream, or all of them if the configuration names none. A stream that does not
/// suit the configuration is an error.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    select: SelectArgs,
}

type Stream = (StreamConfiguration, Option<StreamStatus>);

pub(super) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let selected = Selected::read(&args.select, cx)?;
    let (settings, place) = (selected.settings(), Place::File(&selected.deployment));
    let all = cx.wait("reading the streams", read(&selected))?;
    let all = all.map_err(|error| problem::failure(&error, settings, place))?;
    let compare = |(stream, status): &Stream| {
        let (settings, status) = (settings, *status);
        Compared { settings, stream, status, place }.findings()
    };
    // Others than the configured one belong to other services, perhaps.
    let found: Vec<Findings> = match all.as_slice() {
        [only] => vec![compare(only)],
        _ => Vec::new(),
    };
    let exit = match all.as_slice() {
        [] => Exit::Refused,
        _ => finding::exit(&found, false),
    };
    let mut report = Report::new("signals status", exit);
    let (tone, plural) = (
        if exit == Exit::Accepted { Tone::Good } else { Tone::Bad },
        if all.len() == 1 { "" } else { "s" },
    );
    report.line(tone, format!("{} stream{plural} at {}", all.len(), settings.issuer));
    found.iter().for_each(|found| found.report_to(&mut report));
    for stream in all.iter().take(MAX_STREAMS) {
        report.heading(format!("Stream {}", shortened(stream.0.stream_id())));
        report.fields(fields(stream));
    }
    if all.len() > 1 {
        report.line(Tone::Plain, "");
        report.line(Tone::Plain, "`stream_id` in the configuration selects one of them.");
    }
    report.set("transmitter", &*settings.issuer);
    report.set("streams", all.iter().map(to_json).collect::<Vec<_>>());
    report.set("findings", json!(found.into_iter().flat_map(|found| found.0).collect::<Vec<_>>()));
    Ok(report)
}

/// Returns the configured stream, or all of them, each with its status if the transmitter tells it.
async fn read(selected: &Selected) -> Result<Vec<Stream>, TransmitterError> {
    let all = match &selected.settings().stream_id {
        Some(id) => vec![selected.streams.stream(id.as_str()).read().await?],
        None => selected.streams.list().await?,
    };
    let mut streams = Vec::new();
    for stream in all {
        let status = match selected.streams.stream(stream.stream_id()).status().await {
            Ok(status) => Some(status),
            Err(error) if error.kind() == TransmitterErrorKind::Unsupported => None,
            Err(error) => return Err(error),
        };
        streams.push((stream, status));
    }
    Ok(streams)
}

fn fields((stream, status): &Stream) -> Vec<Field> {
    let none = || "none".to_owned();
    let some = |text: String| if text.is_empty() { none() } else { text };
    let audience: Vec<_> = stream.audience().take(MAX_STREAMS).map(shortened).collect();
    let mut fields = vec![
        Field::new("status", status.map_or("unknown", StreamStatus::as_str)),
        Field::new("audience", some(audience.join(", "))),
        Field::new("delivery", checks::delivery(stream)),
        Field::new("endpoint", stream.endpoint_url().map_or_else(none, shortened)),
        Field::new("events", some(list(stream.events_delivered()))),
    ];
    let missing = list(checks::missing(stream));
    if !missing.is_empty() {
        fields.push(Field::new("missing", missing));
    }
    let intervals = [
        ("verification", "at most one each", stream.min_verification_interval()),
        ("inactivity", "given up after", stream.inactivity_timeout()),
    ];
    for (name, words, time) in intervals {
        fields.extend(time.map(|time| Field::new(name, format!("{words} {}", seconds(time)))));
    }
    fields
}

fn to_json((stream, status): &Stream) -> Value {
    json!({
        "stream_id": stream.stream_id(),
        "status": status.map(StreamStatus::as_str),
        "audience": stream.audience().collect::<Vec<_>>(),
        "delivery": checks::delivery(stream),
        "endpoint_url": stream.endpoint_url(),
        "events_delivered": stream.events_delivered().collect::<Vec<_>>(),
        "events_missing": checks::missing(stream).collect::<Vec<_>>(),
        "min_verification_interval": stream.min_verification_interval().map(|it| it.as_secs()),
        "inactivity_timeout": stream.inactivity_timeout().map(|it| it.as_secs()),
    })
}

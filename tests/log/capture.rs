//! Captures all log events of this process at the finest level.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, OnceLock},
};

use tracing::{
    Event, Id, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Record},
};
use tracing_subscriber::{
    fmt::MakeWriter,
    layer::{Context, Layer, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// The log since the test began.
#[derive(Clone)]
pub(crate) struct Captured {
    log: Arc<Log>,
    from: (usize, usize),
}

#[derive(Default)]
struct Log {
    /// The text as written to a file.
    text: Mutex<Vec<u8>>,
    lines: Mutex<Vec<Line>>,
}

/// An event or a closed span.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) target: String,
    pub(crate) level: Level,
    /// The message of an event, the name of a span.
    pub(crate) name: String,
    pub(crate) fields: BTreeMap<String, String>,
    /// The names of the spans around it.
    pub(crate) within: Vec<&'static str>,
}

impl Line {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

/// Starts capturing.
pub(crate) fn start() -> Captured {
    static LOG: OnceLock<Arc<Log>> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let log = Arc::new(Log::default());
        let text = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
            .with_writer(Writer(Arc::clone(&log)));
        // With the events of libraries that use the crate `log`.
        tracing_subscriber::registry().with(text).with(Lines(Arc::clone(&log))).init();
        log
    });
    let from = (log.text.lock().unwrap().len(), log.lines.lock().unwrap().len());
    Captured { log: Arc::clone(log), from }
}

impl Captured {
    pub(crate) fn text(&self) -> String {
        let text = self.log.text.lock().unwrap();
        String::from_utf8_lossy(&text[self.from.0..]).into_owned()
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.log.lines.lock().unwrap()[self.from.1..].to_vec()
    }

    /// The events with this message, or the spans of this name.
    pub(crate) fn named(&self, name: &str) -> Vec<Line> {
        self.lines().into_iter().filter(|line| line.name == name).collect()
    }
}

#[derive(Clone)]
struct Writer(Arc<Log>);

impl std::io::Write for Writer {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.text.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Writer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

struct Lines(Arc<Log>);

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let scope = context.event_scope(event).into_iter().flatten();
        self.0.lines.lock().unwrap().push(Line {
            target: event.metadata().target().to_owned(),
            level: *event.metadata().level(),
            name: fields.0.remove("message").unwrap_or_default(),
            fields: fields.0,
            within: scope.map(|span| span.name()).collect(),
        });
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let fields = span.extensions_mut().remove::<Fields>().unwrap_or_default();
        self.0.lines.lock().unwrap().push(Line {
            target: span.metadata().target().to_owned(),
            level: *span.metadata().level(),
            name: span.name().to_owned(),
            fields: fields.0,
            within: span.scope().skip(1).map(|span| span.name()).collect(),
        });
    }
}

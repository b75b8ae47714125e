//! The commands that mark a proof, and the responses to them.

use std::{
    fmt::Write as _,
    hash::{BuildHasher as _, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{Pipeline, Value, aio::ConnectionLike};
use tower_introspect::{clock::UnixTime, proof::Marked};

use super::{
    mark_error::MarkError,
    settings::{Replicas, Settings},
};

/// The number of parts of the key space. A part has a hash tag, so all of its keys are in one slot of
/// a cluster, together with the key that has the time of its first data.
pub(crate) const PARTS: u8 = 64;

/// The commands that mark one proof, all for the same node and connection.
pub(crate) struct Exchange {
    commands: Pipeline,
    /// Identifies this mark, so that a connection may send the commands again.
    value: String,
    reads_since: bool,
    replicas: Option<Replicas>,
}

/// The outcome of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) marked: Marked,
    /// The time since which the part has its data, unless losses are accepted.
    pub(crate) since: Option<Since>,
    pub(crate) has_replicas: bool,
}

/// The time since which a part of the key space has its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// The key was missing until now: the data is lost, or was never there.
    Now,
    /// The key was there.
    Time(UnixTime),
}

impl Exchange {
    /// Builds the commands that set the mark `key` at `at`, to be kept for `keep`.
    pub(crate) fn new(settings: &Settings, key: &[u8; 32], at: UnixTime, keep: Duration) -> Self {
        let value = unique_value();
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut commands = redis::pipe();
        let set = commands.cmd("SET").arg(mark_key(settings, key)).arg(&value).arg("NX");
        if !settings.accepts_losses {
            set.arg("GET");
        }
        set.arg("PX").arg(keep);
        if !settings.accepts_losses {
            // After the mark: if the data is lost between the two, this key is missing.
            add_since(&mut commands, settings, part(key), at);
        }
        if let Some(replicas) = settings.replicas {
            // Zero would wait without end.
            let millis = u64::try_from(replicas.timeout.as_millis()).unwrap_or(u64::MAX).max(1);
            commands.cmd("WAIT").arg(replicas.count).arg(millis);
        }
        let reads_since = !settings.accepts_losses;
        Self { commands, value, reads_since, replicas: settings.replicas }
    }

    pub(crate) async fn run(
        &self,
        connection: &mut impl ConnectionLike,
    ) -> Result<Reply, MarkError> {
        let values: Vec<Value> =
            self.commands.query_async(connection).await.map_err(MarkError::of)?;
        self.read(values).ok_or(MarkError::UnexpectedResponse)
    }

    fn read(&self, values: Vec<Value>) -> Option<Reply> {
        let mut values = values.into_iter();
        let marked = match (values.next()?, self.reads_since) {
            (Value::Nil, true) | (Value::Okay, false) => Marked::First,
            // The connection sent the commands again, and the first time they had arrived.
            (value, true) if text(&value)? == self.value => Marked::First,
            (Value::Nil, false) => Marked::Replayed,
            (_, true) => Marked::Replayed,
            (_, false) => return None,
        };
        let since = if self.reads_since { Some(read_since(&values.next()?)?) } else { None };
        let has_replicas = match self.replicas {
            None => true,
            Some(replicas) => {
                let Value::Int(count) = values.next()? else { return None };
                count >= i64::from(replicas.count)
            }
        };
        values.next().is_none().then_some(Reply { marked, since, has_replicas })
    }
}

/// Sets the key with the time since which a part has its data, unless it is there. Returns the time.
pub(crate) async fn since(
    connection: &mut impl ConnectionLike,
    settings: &Settings,
    part: u8,
    at: UnixTime,
) -> Result<Since, MarkError> {
    let mut commands = redis::pipe();
    add_since(&mut commands, settings, part, at);
    let values: Vec<Value> = commands.query_async(connection).await.map_err(MarkError::of)?;
    values.first().and_then(read_since).ok_or(MarkError::UnexpectedResponse)
}

fn add_since(commands: &mut Pipeline, settings: &Settings, part: u8, at: UnixTime) {
    let key = format!("{}{{{part:02x}}}:since", settings.prefix);
    commands.cmd("SET").arg(key).arg(at.as_millis()).arg("NX").arg("GET");
}

fn read_since(value: &Value) -> Option<Since> {
    match value {
        Value::Nil => Some(Since::Now),
        value => {
            let millis = text(value)?.parse().ok()?;
            Some(Since::Time(UnixTime::from_millis(millis)))
        }
    }
}

const fn part(key: &[u8; 32]) -> u8 {
    key[0] % PARTS
}

fn mark_key(settings: &Settings, key: &[u8; 32]) -> String {
    let mut name = format!("{}{{{:02x}}}:", settings.prefix, part(key));
    for byte in key {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Returns a value that no other mark has. It need not be secret: who can write to Redis can delete
/// marks.
pub(crate) fn unique_value() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:x}.{:x}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(settings: &Settings) -> Exchange {
        Exchange::new(settings, &[0xab; 32], UnixTime::from_secs(1), Duration::from_secs(60))
    }

    fn words(exchange: &Exchange) -> String {
        let packed = exchange.commands.get_packed_pipeline();
        let text = String::from_utf8(packed).unwrap();
        let words = text.split("\r\n").filter(|word| !word.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    #[test]
    fn keys_of_one_exchange_share_a_hash_tag() {
        let exchange = exchange(&Settings::default());
        let (value, key) = (&exchange.value, "ab".repeat(32));
        assert_eq!(
            words(&exchange),
            format!(
                "SET tower-introspect:dpop:{{2b}}:{key} {value} NX GET PX 60000 \
                 SET tower-introspect:dpop:{{2b}}:since 1000 NX GET"
            )
        );
    }

    #[test]
    fn mark_whose_time_is_past_is_kept_for_a_millisecond() {
        let settings = Settings { accepts_losses: true, ..Settings::default() };
        let past = Exchange::new(&settings, &[0; 32], UnixTime::from_secs(1), Duration::ZERO);
        assert!(words(&past).ends_with("NX PX 1"), "{}", words(&past));
    }

    #[test]
    fn responses_to_other_commands_are_refused() {
        let exchange = exchange(&Settings::default());
        let (own, other) = (exchange.value.clone(), "0.0".to_owned());
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let read = |values| exchange.read(values).map(|reply| (reply.marked, reply.since));
        let since = Some(Since::Time(UnixTime::from_millis(7)));
        assert_eq!(read(vec![Value::Nil, bulk("7")]), Some((Marked::First, since)));
        assert_eq!(read(vec![Value::Nil, Value::Nil]), Some((Marked::First, Some(Since::Now))));
        assert_eq!(read(vec![bulk(&own), bulk("7")]), Some((Marked::First, since)));
        assert_eq!(read(vec![bulk(&other), bulk("7")]), Some((Marked::Replayed, since)));
        assert_eq!(read(vec![bulk("\u{e9}"), bulk("7")]), Some((Marked::Replayed, since)));
        for bad in [
            vec![],
            vec![Value::Nil],
            vec![Value::Okay, bulk("7")],
            vec![Value::Int(1), bulk("7")],
            vec![Value::Array(vec![]), bulk("7")],
            vec![Value::Nil, bulk("")],
            vec![Value::Nil, bulk("x")],
            vec![Value::Nil, bulk("99999999999999999999")],
            vec![Value::Nil, bulk("7"), Value::Nil],
        ] {
            assert_eq!(read(bad.clone()), None, "{bad:?}");
        }
    }

    #[test]
    fn too_few_acknowledgements_are_told() {
        let replicas = Some(Replicas { count: 2, timeout: Duration::ZERO });
        let exchange =
            exchange(&Settings { accepts_losses: true, replicas, ..Settings::default() });
        assert!(words(&exchange).ends_with("PX 60000 WAIT 2 1"), "{}", words(&exchange));
        let read = |count| exchange.read(vec![Value::Okay, count]).map(|reply| reply.has_replicas);
        assert_eq!(read(Value::Int(2)), Some(true));
        assert_eq!(read(Value::Int(1)), Some(false));
        assert_eq!(read(Value::Int(-1)), Some(false));
        assert_eq!(read(Value::Okay), None);
        assert_eq!(
            exchange.read(vec![Value::Nil, Value::Int(2)]).unwrap().marked,
            Marked::Replayed
        );
    }
}

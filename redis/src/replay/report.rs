//! The report on a store and its Redis, for operators.

use std::time::Duration;

use redis::{Value, aio::ConnectionLike};
use tokio::time::timeout;
use tower_introspect::clock::{Clock as _, SystemClock};

use super::{
    exchange::{Exchange, unique_value},
    mark_error::MarkError,
    store::RedisReplayStore,
};

/// The time limit for each response.
const PATIENCE: Duration = Duration::from_secs(2);

/// The state of a store and its Redis, by [`RedisReplayStore::check`].
///
/// `None` means that it is not known, for example because the user may not send `INFO`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreReport {
    /// The result of marking a proof that no client has.
    pub marks: Result<(), MarkError>,
    /// The time for which proofs can still be refused because Redis has lost its data or is new. Zero
    /// if none is refused.
    pub doubt: Option<Duration>,
    /// True if `maxmemory-policy` of every server is `noeviction`, so that Redis keeps all marks.
    pub keeps_marks: Option<bool>,
    /// True if the server is a replica. Not known of a cluster.
    pub is_replica: Option<bool>,
    /// True if the server belongs to a cluster.
    pub is_cluster: Option<bool>,
    /// The number of connected replicas, of the primary that has the fewest.
    pub replicas: Option<u64>,
    wanted_replicas: u64,
}

impl StoreReport {
    /// Returns what should be mended, empty if nothing.
    #[must_use]
    pub fn problems(&self) -> Vec<&'static str> {
        let mut problems = Vec::new();
        if let Err(error) = self.marks {
            problems.push(error.as_str());
        }
        if self.doubt.is_some_and(|doubt| !doubt.is_zero()) {
            problems.push("Redis is new or lost its data, so proofs are refused for a while");
        }
        match self.keeps_marks {
            Some(true) => {}
            Some(false) => problems
                .push("`maxmemory-policy` is not `noeviction`, so used proofs can be good again"),
            None => problems.push("it is not known whether `maxmemory-policy` is `noeviction`"),
        }
        if self.is_replica == Some(true) {
            problems.push("the server is a replica");
        }
        if self.replicas.is_some_and(|replicas| replicas < self.wanted_replicas) {
            problems.push("a server has fewer replicas than marks wait for");
        }
        problems
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> RedisReplayStore<C> {
    /// Looks at the store and its Redis, for the start of a service and for monitoring.
    ///
    /// It marks a proof that nobody has, and sends `INFO`. With an empty Redis the time in which proofs
    /// are refused starts with the first check or mark. It takes a few seconds at most.
    ///
    /// ```no_run
    /// # async fn check(store: tower_introspect_redis::RedisReplayStore<redis::aio::MultiplexedConnection>) {
    /// let report = store.check().await;
    /// if report.keeps_marks == Some(false) {
    ///     eprintln!("this Redis is a cache, and does not keep all marks");
    /// }
    /// # }
    /// ```
    pub async fn check(&self) -> StoreReport {
        let settings = &*self.settings;
        let now = SystemClock.now();
        let exchange = Exchange::new(settings, &unused_key(), now, Duration::from_secs(1));
        let marks = match self.run(exchange, PATIENCE.max(settings.patience())).await {
            Ok(reply) if !reply.has_replicas => Err(MarkError::TooFewReplicas),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        let mut report = StoreReport {
            marks,
            doubt: None,
            keeps_marks: None,
            is_replica: None,
            is_cluster: None,
            replicas: None,
            wanted_replicas: settings.replicas.map_or(0, |replicas| replicas.count.into()),
        };
        if !settings.accepts_losses && report.marks.is_ok() {
            let since =
                timeout(PATIENCE, self.all_since(SystemClock.now().saturating_add(PATIENCE)));
            let since = since.await;
            report.doubt = since
                .ok()
                .and_then(Result::ok)
                .map(|since| since.saturating_add(settings.doubt()).saturating_duration_since(now));
        }
        let mut connection = self.connection.clone();
        let info = redis::cmd("INFO");
        let info = timeout(PATIENCE, info.query_async::<Value>(&mut connection)).await;
        if let Ok(Ok(value)) = info {
            report.read_info(&value);
        }
        report
    }
}

impl StoreReport {
    /// Reads the response to `INFO`: a text, or a map of them for the servers of a cluster.
    fn read_info(&mut self, value: &Value) {
        let mut servers = Vec::new();
        collect_texts(value, &mut servers);
        servers.retain(|text| field(text, "role").is_some());
        if servers.is_empty() {
            return;
        }
        let policies = servers.iter().map(|text| field(text, "maxmemory_policy"));
        self.keeps_marks = all(policies.map(|policy| Some(policy? == "noeviction")));
        self.is_cluster = field(servers[0], "cluster_enabled").map(|enabled| enabled == "1");
        if self.is_cluster == Some(false) {
            self.is_replica = field(servers[0], "role").map(|role| role != "master");
        }
        let primaries = servers.iter().filter(|text| field(text, "role") == Some("master"));
        self.replicas =
            primaries.filter_map(|text| field(text, "connected_slaves")?.parse().ok()).min();
    }
}

/// Returns false if one is false, or else `None` if one is not known.
fn all(known: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let known: Vec<_> = known.collect();
    if known.contains(&Some(false)) {
        Some(false)
    } else {
        known.into_iter().collect::<Option<Vec<_>>>().map(|_| true)
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
}

fn collect_texts<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::BulkString(bytes) => texts.extend(std::str::from_utf8(bytes).ok()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => texts.push(text),
        Value::Array(values) => values.iter().for_each(|value| collect_texts(value, texts)),
        Value::Map(pairs) => pairs.iter().for_each(|(_, value)| collect_texts(value, texts)),
        _ => {}
    }
}

/// Returns a key that no proof has: a text instead of a digest.
fn unused_key() -> [u8; 32] {
    let mut key = [b'.'; 32];
    for (to, from) in key.iter_mut().rev().zip(unique_value().bytes()) {
        *to = from;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(info: &Value) -> StoreReport {
        let mut report = StoreReport {
            marks: Ok(()),
            doubt: None,
            keeps_marks: None,
            is_replica: None,
            is_cluster: None,
            replicas: None,
            wanted_replicas: 2,
        };
        report.read_info(info);
        report
    }

    fn node(role: &str, policy: &str, replicas: u8) -> Value {
        let text = format!(
            "# Replication\r\nrole:{role}\r\nconnected_slaves:{replicas}\r\n\
             maxmemory_policy:{policy}\r\ncluster_enabled:1\r\n"
        );
        Value::BulkString(text.into_bytes())
    }

    #[test]
    fn every_server_of_a_cluster_must_keep_its_marks() {
        let map = |nodes: Vec<Value>| {
            Value::Map(nodes.into_iter().map(|node| (Value::Nil, node)).collect())
        };
        let good = || node("master", "noeviction", 2);
        let report_of = |nodes| report(&map(nodes));
        let all_good = report_of(vec![good(), node("slave", "noeviction", 0)]);
        assert_eq!((all_good.keeps_marks, all_good.replicas), (Some(true), Some(2)));
        assert_eq!(all_good.problems(), Vec::<&str>::new());
        let evicting = report_of(vec![good(), node("master", "volatile-lru", 1)]);
        assert_eq!((evicting.keeps_marks, evicting.replicas), (Some(false), Some(1)));
        assert_eq!(evicting.problems().len(), 2);
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        for info in [Value::Nil, Value::Okay, Value::BulkString(b"\xff".to_vec())] {
            let report = report(&info);
            assert_eq!(
                (report.keeps_marks, report.is_replica, report.is_cluster),
                (None, None, None)
            );
        }
        let without_policy = report(&Value::SimpleString("role:master\r\n".to_owned()));
        assert_eq!((without_policy.keeps_marks, without_policy.is_cluster), (None, None));
    }
}

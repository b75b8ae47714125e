//! A Redis of one process, with the commands that cutoffs need, and faults.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    Arg, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, Value, aio::ConnectionLike,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use crate::random::Random;

/// The longest way of a command to the server, and of its response.
const LONGEST_WAY: Duration = Duration::from_millis(20);

/// The time after which a command that gets no response fails.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

type Bytes = Vec<u8>;
type Position = (u64, u64);

/// The data of a server.
#[derive(Clone, Default)]
pub(crate) struct Data {
    hashes: BTreeMap<Bytes, BTreeMap<Bytes, Bytes>>,
    logs: BTreeMap<Bytes, Log>,
}

#[derive(Clone, Default)]
struct Log {
    last: Position,
    entries: VecDeque<(Position, Bytes)>,
}

impl Data {
    /// Removes some fields of the hash.
    pub(crate) fn remove_fields(&mut self, random: &mut Random) {
        for hash in self.hashes.values_mut() {
            hash.retain(|_, _| random.below(3) > 0);
        }
    }

    /// Adds fields and messages that nobody sealed.
    pub(crate) fn add_garbage(&mut self, random: &mut Random) {
        for hash in self.hashes.values_mut() {
            let field = format!("{:032x}", random.below(u64::MAX));
            hash.insert(field.into_bytes(), vec![1; 60]);
        }
        for log in self.logs.values_mut() {
            log.last.1 += 1;
            log.entries.push_back((log.last, vec![1; 60]));
        }
    }

    /// Adds a message of the log once more.
    pub(crate) fn repeat_message(&mut self, random: &mut Random) {
        for log in self.logs.values_mut().filter(|log| !log.entries.is_empty()) {
            let at = random.below(log.entries.len() as u64) as usize;
            let message = log.entries[at].1.clone();
            log.last.1 += 1;
            log.entries.push_back((log.last, message));
        }
    }

    /// Keeps a few messages of the log only.
    pub(crate) fn trim(&mut self) {
        for log in self.logs.values_mut() {
            log.entries.drain(..log.entries.len().saturating_sub(2));
        }
    }
}

/// A server that connections share.
#[derive(Clone)]
pub(crate) struct SimRedis(Arc<Shared>);

struct Shared {
    data: Mutex<Data>,
    added: Notify,
    start: Instant,
    random: Mutex<Random>,
    /// The way of its clock from that of the others, in milliseconds.
    clock_offset: Mutex<i64>,
    is_down: Mutex<bool>,
}

/// The network between one instance and the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Link {
    #[default]
    Up,
    /// Commands fail at once.
    Refused,
    /// Commands do not arrive.
    Silent,
    /// Commands arrive, and responses do not.
    Deaf,
}

/// A connection of one instance.
#[derive(Clone)]
pub(crate) struct SimConnection {
    server: SimRedis,
    link: Arc<Mutex<Link>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimRedis {
    pub(crate) fn new(random: Random) -> Self {
        Self(Arc::new(Shared {
            data: Mutex::default(),
            added: Notify::new(),
            start: Instant::now(),
            random: Mutex::new(random),
            clock_offset: Mutex::new(0),
            is_down: Mutex::new(false),
        }))
    }

    pub(crate) fn connection(&self, link: &Arc<Mutex<Link>>) -> SimConnection {
        SimConnection { server: self.clone(), link: Arc::clone(link) }
    }

    pub(crate) fn data(&self) -> MutexGuard<'_, Data> {
        lock(&self.0.data)
    }

    /// Lets nothing arrive, or everything again.
    pub(crate) fn set_down(&self, is_down: bool) {
        *lock(&self.0.is_down) = is_down;
    }

    /// Replaces the data by those that another server has, whose clock differs.
    pub(crate) fn fail_over(&self, data: Data, clock_offset: i64) {
        *self.data() = data;
        *lock(&self.0.clock_offset) = clock_offset;
    }

    fn time(&self) -> u64 {
        let passed = i64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        u64::try_from(1_000_000 + passed + *lock(&self.0.clock_offset)).unwrap_or_default()
    }

    fn way(&self) -> Duration {
        let micros = u64::try_from(LONGEST_WAY.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(lock(&self.0.random).below(micros))
    }

    fn run(&self, command: &[Bytes]) -> Value {
        let text = |at: usize| String::from_utf8_lossy(&command[at]).into_owned();
        let bulk = |bytes: &Bytes| Value::BulkString(bytes.clone());
        let time = self.time();
        let mut data = self.data();
        let Data { hashes, logs } = &mut *data;
        let key = || command[1].clone();
        match &*text(0) {
            "HSET" => {
                let hash = hashes.entry(key()).or_default();
                for pair in command[2..].chunks(2) {
                    hash.insert(pair[0].clone(), pair[1].clone());
                }
                Value::Okay
            }
            "HDEL" => {
                let hash = hashes.entry(key()).or_default();
                for field in &command[2..] {
                    hash.remove(field);
                }
                Value::Okay
            }
            "HLEN" => {
                let length = hashes.get(&command[1]).map_or(0, BTreeMap::len);
                Value::Int(i64::try_from(length).unwrap_or(i64::MAX))
            }
            "HKEYS" => {
                let names = hashes.get(&command[1]).into_iter().flat_map(BTreeMap::keys);
                Value::Array(names.map(bulk).collect())
            }
            "HGETALL" => {
                let fields = hashes.get(&command[1]).into_iter().flatten();
                Value::Array(fields.flat_map(|(name, value)| [bulk(name), bulk(value)]).collect())
            }
            "HMGET" => {
                let hash = hashes.entry(key()).or_default();
                let values =
                    command[2..].iter().map(|name| hash.get(name).map_or(Value::Nil, bulk));
                Value::Array(values.collect())
            }
            "XADD" => {
                let log = logs.entry(key()).or_default();
                log.last = if time > log.last.0 { (time, 0) } else { (log.last.0, log.last.1 + 1) };
                log.entries.push_back((log.last, command.last().cloned().unwrap_or_default()));
                let position = log.last;
                drop(data);
                self.0.added.notify_waiters();
                Value::BulkString(write_position(position).into_bytes())
            }
            "XREVRANGE" => {
                let last = logs.get(&command[1]).and_then(|log| log.entries.back());
                Value::Array(last.into_iter().map(message).collect())
            }
            "XRANGE" => {
                let (after, until) = (position(&text(2)[1..]), position(&text(3)));
                let entries = logs.get(&command[1]).into_iter().flat_map(|log| &log.entries);
                let between = entries.filter(|(at, _)| *at > after && *at <= until);
                Value::Array(between.map(message).collect())
            }
            "XREAD" => {
                let (log, after) =
                    (&command[command.len() - 2], position(&text(command.len() - 1)));
                let entries = logs.get(log).into_iter().flat_map(|log| &log.entries);
                let messages: Vec<_> = entries.filter(|(at, _)| *at > after).map(message).collect();
                if messages.is_empty() {
                    return Value::Nil;
                }
                Value::Array(vec![Value::Array(vec![bulk(log), Value::Array(messages)])])
            }
            name => panic!("the simulated Redis does not know {name}"),
        }
    }

    /// Runs a command, which may wait for a message.
    async fn run_or_wait(&self, command: &[Bytes]) -> Value {
        let block = command.iter().position(|word| word == b"BLOCK");
        let Some(at) = block else { return self.run(command) };
        let millis = String::from_utf8_lossy(&command[at + 1]).parse().unwrap_or(0);
        let until = Instant::now() + Duration::from_millis(millis);
        loop {
            let added = self.0.added.notified();
            let value = self.run(command);
            if value != Value::Nil || timeout_at(until, added).await.is_err() {
                return value;
            }
        }
    }
}

fn write_position((millis, number): Position) -> String {
    format!("{millis}-{number}")
}

fn position(text: &str) -> Position {
    let (millis, number) = text.split_once('-').unwrap_or((text, "0"));
    (millis.parse().unwrap_or(0), number.parse().unwrap_or(0))
}

fn message((position, text): &(Position, Bytes)) -> Value {
    let bulk = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
    let fields = Value::Array(vec![bulk(b"m"), bulk(text)]);
    Value::Array(vec![bulk(write_position(*position).as_bytes()), fields])
}

fn words(command: &Cmd) -> Vec<Bytes> {
    let word = |arg: Arg<&[u8]>| match arg {
        Arg::Simple(word) => word.to_vec(),
        _ => b"0".to_vec(),
    };
    command.args_iter().map(word).collect()
}

fn failed() -> RedisError {
    (ErrorKind::Io, "the link is down").into()
}

impl SimConnection {
    fn link(&self) -> Link {
        if *lock(&self.server.0.is_down) { Link::Silent } else { *lock(&self.link) }
    }

    async fn arrives(&self) -> RedisResult<()> {
        sleep(self.server.way()).await;
        match self.link() {
            Link::Up | Link::Deaf => Ok(()),
            Link::Refused => Err(failed()),
            Link::Silent => self.hangs().await,
        }
    }

    async fn returns<T>(&self, value: T) -> RedisResult<T> {
        sleep(self.server.way()).await;
        match self.link() {
            Link::Up => Ok(value),
            Link::Refused => Err(failed()),
            Link::Deaf | Link::Silent => self.hangs().await.map(|()| value),
        }
    }

    async fn hangs(&self) -> RedisResult<()> {
        sleep(RESPONSE_TIMEOUT).await;
        Err(failed())
    }
}

impl ConnectionLike for SimConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            self.arrives().await?;
            let value = self.server.run_or_wait(&words(command)).await;
            self.returns(value).await
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        _offset: usize,
        _count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            assert!(pipeline.is_transaction(), "nothing else is sent");
            self.arrives().await?;
            let values = pipeline.cmd_iter().map(|command| self.server.run(&words(command)));
            let values = values.collect();
            self.returns(vec![Value::Array(values)]).await
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

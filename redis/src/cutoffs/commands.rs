//! The commands on the map and the log, which are in one slot of a cluster.

use std::time::Duration;

use redis::{FromRedisValue, Pipeline, RedisResult, Value, aio::ConnectionLike};

use super::{
    id::{Id, Position},
    telling::Write,
};

/// The number of messages that the log keeps at least.
const LOG_LENGTH: usize = 10_000;

/// The most messages in one response.
const MESSAGES: usize = 500;

/// The keys of the map and the log.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    map: String,
    log: String,
}

/// A message and its position.
pub(crate) type Logged = (Position, Vec<u8>);

impl Keys {
    /// Returns the keys of an epoch. The braces keep them in one slot.
    pub(crate) fn new(prefix: &str, epoch: u32) -> Self {
        let key = |part| format!("{prefix}{{cutoffs:{epoch}}}:{part}");
        Self { map: key("map"), log: key("log") }
    }

    /// Writes a transaction. Returns the position of its message, and the length of the map then.
    pub(crate) async fn write(
        &self,
        connection: &mut impl ConnectionLike,
        write: &Write,
    ) -> RedisResult<(Position, u64)> {
        let mut commands = redis::pipe();
        commands.atomic();
        if !write.set.is_empty() {
            let set = commands.cmd("HSET").arg(&self.map);
            for (id, sealed) in &write.set {
                set.arg(id.to_string()).arg(sealed.as_slice());
            }
            set.ignore();
        }
        if !write.delete.is_empty() {
            let delete = commands.cmd("HDEL").arg(&self.map);
            for id in &write.delete {
                delete.arg(id.to_string());
            }
            delete.ignore();
        }
        let add = commands.cmd("XADD").arg(&self.log).arg("MAXLEN").arg("~").arg(LOG_LENGTH);
        add.arg("*").arg("m").arg(write.message.as_slice());
        commands.cmd("HLEN").arg(&self.map);
        let (position, length): (String, u64) = commands.query_async(connection).await?;
        Ok((position.parse().map_err(|()| unexpected())?, length))
    }

    /// Waits until this many replicas have what was written on this connection. Returns how many have.
    pub(crate) async fn wait(
        connection: &mut impl ConnectionLike,
        replicas: u32,
        time: Duration,
    ) -> RedisResult<i64> {
        // Zero would wait without end.
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        redis::cmd("WAIT").arg(replicas).arg(millis).query_async(connection).await
    }

    /// Reads the messages after a position. With `wait` Redis waits for the first one for that time.
    pub(crate) async fn read(
        &self,
        connection: &mut impl ConnectionLike,
        after: Position,
        wait: Option<Duration>,
    ) -> RedisResult<Vec<Logged>> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(MESSAGES);
        if let Some(wait) = wait {
            command.arg("BLOCK").arg(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
        }
        command.arg("STREAMS").arg(&self.log).arg(after.to_string());
        let value: Value = command.query_async(connection).await?;
        match value {
            Value::Nil => Ok(Vec::new()),
            value => {
                let streams: Vec<(String, Value)> = pairs(value)?;
                streams.into_iter().try_fold(Vec::new(), |mut all, (_, messages)| {
                    all.extend(logged(messages)?);
                    Ok(all)
                })
            }
        }
    }

    /// Reads the messages after a position, and not after another one.
    pub(crate) async fn range(
        &self,
        connection: &mut impl ConnectionLike,
        after: Position,
        until: Position,
    ) -> RedisResult<Vec<Logged>> {
        let mut command = redis::cmd("XRANGE");
        command.arg(&self.log).arg(format!("({after}")).arg(until.to_string());
        logged(command.arg("COUNT").arg(MESSAGES).query_async(connection).await?)
    }

    /// Returns the names of all entries, and the end of the log at that time.
    pub(crate) async fn names(
        &self,
        connection: &mut impl ConnectionLike,
    ) -> RedisResult<(Vec<Vec<u8>>, Position)> {
        let mut commands = redis::pipe();
        commands.atomic().cmd("HKEYS").arg(&self.map);
        self.add_end(&mut commands);
        let (names, end): (Vec<Vec<u8>>, Value) = commands.query_async(connection).await?;
        Ok((names, position_of(end)?))
    }

    /// Returns all entries, and the end of the log at that time.
    pub(crate) async fn entries(
        &self,
        connection: &mut impl ConnectionLike,
    ) -> RedisResult<(Vec<(Vec<u8>, Vec<u8>)>, Position)> {
        let mut commands = redis::pipe();
        commands.atomic().cmd("HGETALL").arg(&self.map);
        self.add_end(&mut commands);
        let (entries, end): (Value, Value) = commands.query_async(connection).await?;
        Ok((pairs(entries)?, position_of(end)?))
    }

    fn add_end(&self, commands: &mut Pipeline) {
        commands.cmd("XREVRANGE").arg(&self.log).arg("+").arg("-").arg("COUNT").arg(1);
    }

    /// Returns the number of entries.
    pub(crate) async fn length(&self, connection: &mut impl ConnectionLike) -> RedisResult<u64> {
        redis::cmd("HLEN").arg(&self.map).query_async(connection).await
    }

    /// Returns some names of entries and the place to go on at, which is 0 at the end.
    pub(crate) async fn scan(
        &self,
        connection: &mut impl ConnectionLike,
        from: u64,
    ) -> RedisResult<(u64, Vec<(Vec<u8>, Vec<u8>)>)> {
        let mut command = redis::cmd("HSCAN");
        command.arg(&self.map).arg(from).arg("COUNT").arg(MESSAGES);
        let (next, entries): (u64, Value) = command.query_async(connection).await?;
        Ok((next, pairs(entries)?))
    }

    /// Returns the values of entries that are still there.
    pub(crate) async fn values(
        &self,
        connection: &mut impl ConnectionLike,
        ids: &[Id],
    ) -> RedisResult<Vec<(Id, Vec<u8>)>> {
        let mut command = redis::cmd("HMGET");
        command.arg(&self.map);
        for id in ids {
            command.arg(id.to_string());
        }
        let values: Vec<Option<Vec<u8>>> = command.query_async(connection).await?;
        Ok(ids.iter().copied().zip(values).filter_map(|(id, value)| Some((id, value?))).collect())
    }

    /// Deletes fields of the map that do not belong there.
    pub(crate) async fn delete(
        &self,
        connection: &mut impl ConnectionLike,
        fields: &[Vec<u8>],
    ) -> RedisResult<()> {
        let mut command = redis::cmd("HDEL");
        command.arg(&self.map);
        for field in fields {
            command.arg(field.as_slice());
        }
        command.query_async(connection).await
    }
}

/// Reads pairs: an array of arrays, an array in which they follow each other, or a map.
fn pairs<A: FromRedisValue, B: FromRedisValue>(value: Value) -> RedisResult<Vec<(A, B)>> {
    Ok(redis::from_redis_value(value)?)
}

/// Reads messages. One of another form has no text, so it is a foreign message.
fn logged(value: Value) -> RedisResult<Vec<Logged>> {
    let messages: Vec<(String, Value)> = pairs(value)?;
    let message = |(position, fields): (String, Value)| {
        let fields: Vec<(Vec<u8>, Vec<u8>)> = pairs(fields).unwrap_or_default();
        let text = fields.into_iter().find(|(name, _)| name == b"m").map(|(_, text)| text);
        Ok((position.parse().map_err(|()| unexpected())?, text.unwrap_or_default()))
    };
    messages.into_iter().map(message).collect()
}

/// Returns the position of the last message, or the start of an empty log.
fn position_of(value: Value) -> RedisResult<Position> {
    Ok(logged(value)?.first().map_or(Position::default(), |(position, _)| *position))
}

fn unexpected() -> redis::RedisError {
    (redis::ErrorKind::UnexpectedReturnType, "no position in a stream").into()
}

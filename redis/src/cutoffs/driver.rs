//! The task that reads, writes and merges.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use redis::{RedisResult, aio::ConnectionLike};
use tokio::time::{sleep, timeout};
use tower_introspect::revocation::{CutoffChange, FeedState};

use super::{
    commands::{Keys, Logged},
    feed::Shared,
    id::{Id, Position},
    replica::Merge,
};
use crate::replay::mark_error::MarkError;

/// The longest time for which Redis waits for a message, and between two reads where it can't wait. It is
/// shorter than the time limit that connections have for a response by default.
const WAIT: Duration = Duration::from_millis(250);

/// The time limit for each command.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(200);

/// The most entries that are read at a time.
const VALUES: usize = 200;

/// The most messages that are written before others are read.
const WRITES: usize = 16;

/// The most pages of a map that is too large that are cleaned at a time.
const PAGES: usize = 1_000;

/// The task of a feed. If its runtime ends, the feed starts another.
pub(super) struct Driver<C> {
    shared: Weak<Shared<C>>,
}

impl<C> Driver<C> {
    pub(super) fn new(shared: &Arc<Shared<C>>) -> Self {
        Self { shared: Arc::downgrade(shared) }
    }
}

impl<C> Drop for Driver<C> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            // It hears nothing from now on.
            shared.local.set_state(FeedState::Behind);
            shared.set_driven(false);
        }
    }
}

/// The reason why a command failed.
struct Failed(&'static str);

const SLOW: Failed = Failed("Redis did not respond in time");
const NO_RANDOMNESS: Failed = Failed("the operating system has no random bytes");

type Reading = Pin<Box<dyn Future<Output = Result<Vec<Logged>, Failed>> + Send>>;

/// Runs the feed until it is closed, or the cutoffs that it belongs to are gone.
pub(super) async fn drive<C>(driver: Driver<C>)
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    // It goes on while something is written: a connection would run the next read after this one.
    let mut reading: Option<Reading> = None;
    loop {
        let Some(shared) = driver.shared.upgrade() else { return };
        let is_closing = shared.is_closing.load(Ordering::Acquire);
        if shared.local.is_gone() && !is_closing && !shared.replica().has_untold() {
            return;
        }
        let worked = shared.watched(shared.work()).await;
        if is_closing {
            // An instance that has more to tell must be missed.
            if !shared.replica().has_untold() {
                shared.leave().await;
            }
            return;
        }
        shared.note_state();
        if let Err(Failed(reason)) = worked {
            shared.local.note_failure(reason);
            sleep(PAUSE).await;
        }
        let read = reading.get_or_insert_with(|| shared.reading());
        tokio::select! {
            messages = read => {
                reading = None;
                match messages {
                    Ok(messages) => shared.take(messages),
                    Err(Failed(reason)) => {
                        shared.local.note_failure(reason);
                        sleep(PAUSE).await;
                    }
                }
            }
            () = shared.wake.notified() => {}
        }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Shared<C> {
    /// Does what is due.
    async fn work(&self) -> Result<(), Failed> {
        let due = {
            let now = self.now();
            let mut replica = self.replica();
            replica.tick(now);
            replica.due_merge(now)
        };
        let merged = match due {
            Some(merge) => self.merge(merge).await,
            None => Ok(()),
        };
        if merged.is_err() {
            self.replica().merge_failed(self.now());
        }
        // An instance that can't merge can write all the same.
        self.tell().await.and(merged)?;
        let foreign = self.replica().take_foreign();
        if foreign > 0 {
            self.local.note_foreign(foreign);
        }
        Ok(())
    }

    /// Writes the messages that are due, and waits until enough replicas of Redis have them.
    async fn tell(&self) -> Result<(), Failed> {
        self.write().await?;
        if !self.replica().has_unconfirmed() {
            return Ok(());
        }
        if let Some((replicas, time)) = self.settings.replicas {
            let mut connection = self.connection.clone();
            let wait = Keys::wait(&mut connection, replicas, time);
            let have = timeout(time + PATIENCE, wait).await.map_err(|_| SLOW)?.map_err(failed)?;
            if have < i64::from(replicas) {
                return Err(Failed("too few replicas have the cutoffs"));
            }
        }
        let told = self.replica().confirm();
        self.told.send_replace(told);
        Ok(())
    }

    /// Writes the messages that are due, a few at a time. The others are written after the next read.
    async fn write(&self) -> Result<(), Failed> {
        for _ in 0..WRITES {
            let now = self.now();
            if !self.has_time(now) {
                return Err(Failed("the clock of this instance is wrong"));
            }
            let write = self.replica().next_write(now).map_err(|_| NO_RANDOMNESS)?;
            let Some(write) = write else { return Ok(()) };
            let mut connection = self.connection.clone();
            let (at, length) = patient(self.keys.write(&mut connection, &write)).await?;
            self.replica().written(at, length, self.now());
        }
        // There is more.
        self.wake.notify_one();
        Ok(())
    }

    /// Runs something that may take long, and keeps the state up to date.
    async fn watched<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => return outcome,
                () = sleep(WAIT) => self.note_state(),
            }
        }
    }

    fn note_state(&self) {
        let state = self.replica().state(self.now());
        self.local.set_state(state);
    }

    /// Tells the others that this instance ends.
    async fn leave(&self) {
        let farewell = self.replica().farewell(self.now());
        if let Ok(Some(write)) = farewell {
            let mut connection = self.connection.clone();
            if patient(self.keys.write(&mut connection, &write)).await.is_ok() {
                self.has_ended.send_replace(true);
            }
        }
    }

    /// Starts to read the messages after those that were read.
    fn reading(&self) -> Reading {
        let (position, heartbeat) = {
            let replica = self.replica();
            (replica.position(), replica.heartbeat())
        };
        // Heartbeats are written between two reads.
        let wait = WAIT.min(heartbeat / 2);
        let (keys, waiting) = (self.keys.clone(), self.waiting.clone());
        let mut connection = self.connection.clone();
        Box::pin(async move {
            let Some(after) = position else {
                sleep(wait).await;
                return Ok(Vec::new());
            };
            match waiting {
                Some(mut waiting) => {
                    let read = keys.read(&mut waiting, after, Some(wait));
                    timeout(wait + PATIENCE, read).await.map_err(|_| SLOW)?.map_err(failed)
                }
                None => {
                    sleep(wait).await;
                    patient(keys.read(&mut connection, after, None)).await
                }
            }
        })
    }

    fn take(&self, messages: Vec<Logged>) {
        for (at, sealed) in messages {
            let changes = self.replica().read(at, &sealed, self.now());
            self.apply(changes);
        }
    }

    fn apply(&self, changes: Vec<CutoffChange>) {
        for change in changes {
            self.local.apply(&change);
        }
    }

    async fn merge(&self, merge: Merge) -> Result<(), Failed> {
        let is_first = self.replica().position().is_none();
        let mut connection = self.connection.clone();
        let length = patient(self.keys.length(&mut connection)).await?;
        if length > self.replica().most_entries() {
            self.clean(&mut connection).await?;
            let length = patient(self.keys.length(&mut connection)).await?;
            if length > self.replica().most_entries() {
                return Err(Failed("Redis has too many cutoffs"));
            }
        }
        match merge {
            Merge::Whole => {
                let (entries, last) = patient(self.keys.entries(&mut connection)).await?;
                self.catch_up(&mut connection, last).await?;
                let opener = self.replica().opener();
                let open = |(field, sealed): (Vec<u8>, Vec<u8>)| opener.open(&field, &sealed);
                let opened: Vec<_> = entries.into_iter().map(open).collect();
                let changes = self.replica().merge_whole(last, opened, self.now());
                self.apply(changes);
            }
            Merge::Names => self.merge_names(&mut connection).await?,
        }
        if is_first {
            self.local.start();
        }
        let doubt = self.replica().take_doubt();
        if let Some(doubt) = doubt {
            self.local.doubt(doubt.as_str(), self.settings.spread);
        }
        Ok(())
    }

    async fn merge_names(&self, connection: &mut C) -> Result<(), Failed> {
        let (names, last) = patient(self.keys.names(connection)).await?;
        self.catch_up(connection, last).await?;
        let merged = self.replica().merge_names(last, names, self.now());
        let unknown = merged.map_err(|_| Failed("Redis lost messages"))?;
        for ids in unknown.chunks(VALUES) {
            self.adopt(connection, ids).await?;
        }
        Ok(())
    }

    /// Reads the messages up to a position. The map does not have the names that they outdate.
    async fn catch_up(&self, connection: &mut C, last: Position) -> Result<(), Failed> {
        loop {
            let position = self.replica().position();
            let Some(position) = position.filter(|position| *position < last) else { break };
            let messages = patient(self.keys.range(connection, position, last)).await?;
            if messages.is_empty() {
                break;
            }
            self.take(messages);
        }
        Ok(())
    }

    /// Reads entries that others wrote, and this instance was not told.
    async fn adopt(&self, connection: &mut C, ids: &[Id]) -> Result<(), Failed> {
        for (id, sealed) in patient(self.keys.values(connection, ids)).await? {
            let change = self.replica().adopt(id, &sealed, self.now());
            self.apply(change.into_iter().collect());
        }
        Ok(())
    }

    /// Deletes entries that were not sealed with the secret from a map that is too large to be read at
    /// once.
    async fn clean(&self, connection: &mut C) -> Result<(), Failed> {
        let mut from = 0;
        for _ in 0..PAGES {
            let (next, entries) = patient(self.keys.scan(connection, from)).await?;
            let opener = self.replica().opener();
            let entries = entries.into_iter();
            let foreign = entries.filter(|(field, sealed)| opener.open(field, sealed).is_none());
            let foreign: Vec<_> = foreign.map(|(field, _)| field).collect();
            if !foreign.is_empty() {
                self.local.note_foreign(u64::try_from(foreign.len()).unwrap_or(u64::MAX));
                patient(self.keys.delete(connection, &foreign)).await?;
            }
            from = next;
            if next == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Runs a command within its time limit.
async fn patient<T>(command: impl Future<Output = RedisResult<T>>) -> Result<T, Failed> {
    timeout(PATIENCE, command).await.map_err(|_| SLOW)?.map_err(failed)
}

fn failed(error: redis::RedisError) -> Failed {
    Failed(MarkError::of(error).as_str())
}

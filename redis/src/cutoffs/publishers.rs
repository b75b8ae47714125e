//! The instances that publish, as one instance hears them.

use std::{collections::HashMap, time::Duration};

use tower_introspect::clock::Moment;

use super::id::Id;

/// The most instances that are known at a time.
const MAX_PUBLISHERS: usize = 10_000;

/// The other instances, with the numbers of their last messages.
#[derive(Debug, Default)]
pub(crate) struct Publishers(HashMap<Id, Heard>);

#[derive(Clone, Copy, Debug)]
struct Heard {
    number: u64,
    at: Moment,
    /// True if the messages up to now need not be read: the whole map was.
    may_skip: bool,
}

/// The place of a message among those of its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It follows the last one, or is the first.
    Next,
    /// It was read before.
    Repeated,
    /// At least one before it was not read.
    AfterGap,
}

impl Publishers {
    /// Notes a message. Only a fresh one shows that its publisher is alive.
    ///
    /// A publisher that is not known yet has messages that were missed, unless this is its first one or
    /// `accepts_new` is true: it may have begun before this instance.
    pub(crate) fn note(
        &mut self,
        id: Id,
        number: u64,
        now: Moment,
        is_fresh: bool,
        accepts_new: bool,
    ) -> Place {
        if let Some(heard) = self.0.get_mut(&id) {
            if number <= heard.number {
                return Place::Repeated;
            }
            let is_next = heard.may_skip || heard.number.checked_add(1) == Some(number);
            *heard = Heard { number, at: if is_fresh { now } else { heard.at }, may_skip: false };
            return if is_next { Place::Next } else { Place::AfterGap };
        }
        if !is_fresh {
            return Place::Next;
        }
        if self.0.len() < MAX_PUBLISHERS {
            self.0.insert(id, Heard { number, at: now, may_skip: false });
        }
        if number == 1 || accepts_new { Place::Next } else { Place::AfterGap }
    }

    /// Removes one that ends.
    pub(crate) fn remove(&mut self, id: Id) {
        self.0.remove(&id);
    }

    /// Counts all as heard now, because this instance has read the whole map instead of their messages.
    pub(crate) fn excuse(&mut self, now: Moment) {
        for heard in self.0.values_mut() {
            (heard.at, heard.may_skip) = (now, true);
        }
    }

    /// Removes those that were not heard for this time. Returns how many.
    pub(crate) fn remove_silent(&mut self, time: Duration, now: Moment) -> usize {
        let before = self.0.len();
        self.0.retain(|_, heard| now.monotonic_since(heard.at) < time);
        before - self.0.len()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use tower_introspect::clock::SystemClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn messages_of_a_publisher_are_counted() {
        let mut publishers = Publishers::default();
        let now = Moment::now(&SystemClock);
        let mut note =
            |id, number, accepts_new| publishers.note(Id(id), number, now, true, accepts_new);
        assert_eq!(note(1, 1, false), Place::Next);
        assert_eq!(note(1, 2, false), Place::Next);
        assert_eq!(note(1, 2, false), Place::Repeated);
        assert_eq!(note(1, 1, true), Place::Repeated);
        assert_eq!(note(1, 4, true), Place::AfterGap);
        assert_eq!(note(1, 5, false), Place::Next);
        assert_eq!(note(2, 7, false), Place::AfterGap, "its first six were missed");
        assert_eq!(note(3, 7, true), Place::Next, "it began before this instance");
        assert_eq!(note(3, 8, false), Place::Next);
    }

    #[tokio::test(start_paused = true)]
    async fn old_message_shows_nobody_to_be_alive() {
        let mut publishers = Publishers::default();
        let now = || Moment::now(&SystemClock);
        assert_eq!(publishers.note(Id(1), 5, now(), false, false), Place::Next);
        assert_eq!(publishers.len(), 0);
        publishers.note(Id(2), 1, now(), true, false);
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(publishers.note(Id(2), 2, now(), false, false), Place::Next);
        assert_eq!(publishers.remove_silent(Duration::from_secs(7), now()), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_publishers_are_forgotten_once() {
        let mut publishers = Publishers::default();
        let now = || Moment::now(&SystemClock);
        let limit = Duration::from_secs(7);
        publishers.note(Id(1), 1, now(), true, false);
        tokio::time::advance(Duration::from_secs(5)).await;
        publishers.note(Id(2), 1, now(), true, false);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(publishers.remove_silent(limit, now()), 1);
        assert_eq!(publishers.remove_silent(limit, now()), 0);
        publishers.excuse(now());
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!((publishers.remove_silent(limit, now()), publishers.len()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_a_whole_map_stands_for_are_not_missed() {
        let mut publishers = Publishers::default();
        let now = Moment::now(&SystemClock);
        let note =
            |publishers: &mut Publishers, number| publishers.note(Id(1), number, now, true, false);
        assert_eq!(note(&mut publishers, 1), Place::Next);
        publishers.excuse(now);
        assert_eq!(note(&mut publishers, 1), Place::Repeated);
        assert_eq!(note(&mut publishers, 5), Place::Next);
        assert_eq!(note(&mut publishers, 7), Place::AfterGap);
    }
}

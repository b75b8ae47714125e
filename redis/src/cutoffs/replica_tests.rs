use std::collections::BTreeMap;

use tower_introspect::test_util::TestClock;

use super::{super::entry::Name, *};

const AS: &str = "https://as.example.com";
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// One instance, and the Redis that it writes to.
struct World {
    secret: SharedSecret,
    place: Place,
    clock: TestClock,
    replica: Replica,
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The clock of Redis in milliseconds, which gives the positions.
    time: u64,
    writes: usize,
}

impl World {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            heartbeat: Duration::from_secs(2),
            silence: Duration::from_secs(7),
            merge: Duration::from_secs(300),
            clock_difference: Duration::from_secs(60),
            capacity: 100,
            lifetime: None,
        };
        change(&mut settings);
        let (secret, place) = (SharedSecret::new(&[7; 32]).unwrap(), Place::new("p:".into(), 1));
        let clock = TestClock::new(NOW);
        let now = Moment::now(&clock);
        let replica = Replica::new(secret.clone(), place.clone(), settings, now).unwrap();
        let time = u64::try_from(NOW.as_millis()).unwrap();
        let mut world =
            Self { secret, place, clock, replica, map: BTreeMap::new(), time, writes: 0 };
        world.merge();
        world
    }

    fn now(&self) -> Moment {
        Moment::now(&self.clock)
    }

    async fn pass(&mut self, seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        self.time += seconds * 1000;
    }

    fn revoke(&mut self, cutoff: &Cutoff) {
        let at = self.now().wall();
        self.replica.publish(&CutoffChange::Revoke(cutoff.clone().at(at)));
    }

    /// Writes what is due. Returns the messages, with their positions.
    fn write(&mut self) -> Vec<(Position, Vec<u8>)> {
        let mut log = Vec::new();
        while let Some(write) = self.replica.next_write(self.now()).unwrap() {
            self.time += 1;
            self.writes += 1;
            assert!(log.len() < 100, "it writes on and on, and reads nothing");
            for (id, sealed) in write.set {
                self.map.insert(id.to_string().into_bytes(), sealed);
            }
            for id in write.delete {
                self.map.remove(id.to_string().as_bytes());
            }
            let (at, length) = (Position(self.time, 0), u64::try_from(self.map.len()).unwrap());
            self.replica.written(at, length, self.now());
            log.push((at, write.message));
        }
        log
    }

    fn read(&mut self, log: Vec<(Position, Vec<u8>)>) {
        for (at, message) in log {
            let now = self.now();
            self.replica.read(at, &message, now);
        }
    }

    fn exchange(&mut self) {
        let log = self.write();
        self.read(log);
    }

    /// Merges if that is due. Returns the number of changes that came of it.
    fn merge(&mut self) -> usize {
        let now = self.now();
        let last = self.replica.position().unwrap_or(Position(self.time, 0));
        match self.replica.due_merge(now) {
            None => 0,
            Some(Merge::Whole) => {
                let opener = self.replica.opener();
                let opened: Vec<_> =
                    self.map.iter().map(|(field, sealed)| opener.open(field, sealed)).collect();
                let changes = self.replica.merge_whole(last, opened, now);
                self.replica.take_doubt();
                changes.len()
            }
            Some(Merge::Names) => {
                let names = self.map.keys().cloned().collect();
                let unknown = self.replica.merge_names(last, names, now).unwrap();
                let value = |id: &Id| self.map[id.to_string().as_bytes()].clone();
                let values: Vec<_> = unknown.iter().map(|id| (*id, value(id))).collect();
                let adopted =
                    values.iter().filter_map(|(id, sealed)| self.replica.adopt(*id, sealed, now));
                adopted.count()
            }
        }
    }

    fn put(&mut self, id: u128, cutoff: &Cutoff, at: UnixTime, lifetime: Option<Duration>) {
        let entry = Entry::new(Name::of(cutoff), None, at, at, lifetime, Id(id));
        let sealed = self.place.seal_entry(&self.secret, Id(id), &entry).unwrap();
        self.map.insert(Id(id).to_string().into_bytes(), sealed);
    }
}

#[tokio::test(start_paused = true)]
async fn map_that_is_too_large_is_shrunk_in_few_messages() {
    let mut world = World::new(|_| ());
    for n in 0..300 {
        world.revoke(&Cutoff::subject(AS, n.to_string()));
    }
    for _ in 0..20 {
        world.exchange();
        world.pass(2).await;
    }
    assert!(world.map.len() <= 100, "{}", world.map.len());
    assert!(world.writes < 60, "{}", world.writes);
    assert_eq!(world.replica.map.len(), world.map.len());
}

#[tokio::test(start_paused = true)]
async fn issuers_with_one_cutoff_each_are_not_shrunk_for_ever() {
    let mut world = World::new(|_| ());
    for n in 0..150 {
        world.revoke(&Cutoff::issuer(format!("https://{n}.example.com")));
    }
    for _ in 0..10 {
        world.exchange();
        world.pass(2).await;
    }
    assert_eq!(world.map.len(), 150, "none can be given up");
    assert!(world.writes < 30, "{}", world.writes);
}

#[tokio::test(start_paused = true)]
async fn covered_entry_that_comes_back_is_removed_and_not_applied() {
    let mut world = World::new(|_| ());
    let whole = Cutoff::issuer(AS);
    world.put(2, &whole, UnixTime::from_secs(2), None);
    world.pass(11).await;
    world.replica.want(Merge::Whole);
    assert_eq!(world.merge(), 1);
    // A failover brought an earlier one back.
    world.put(1, &whole, UnixTime::from_secs(1), None);
    for _ in 0..4 {
        world.pass(11).await;
        world.exchange();
        assert_eq!(world.merge(), 0, "it is not applied again");
    }
    assert_eq!(world.map.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn own_message_that_was_lost_before_it_was_read_is_noticed_at_the_next_one() {
    let mut world = World::new(|_| ());
    world.revoke(&Cutoff::subject(AS, "alice"));
    world.exchange();
    world.pass(20).await;
    // It replaces the first, so the length of the map says nothing.
    world.revoke(&Cutoff::subject(AS, "alice"));
    let before = world.map.clone();
    drop(world.write());
    world.map = before;
    world.pass(2).await;
    world.exchange();
    assert_eq!(world.replica.due_merge(world.now()), Some(Merge::Whole));
    world.merge();
    world.exchange();
    let entries: Vec<_> =
        world.replica.map.ids().filter_map(|id| world.replica.map.get(id)).collect();
    let latest = NOW.saturating_add(Duration::from_secs(20));
    assert!(entries.iter().any(|entry| entry.at == latest), "{entries:?}");
}

#[tokio::test(start_paused = true)]
async fn entries_are_sealed_again_after_a_rotation() {
    let mut world = World::new(|_| ());
    world.revoke(&Cutoff::subject(AS, "alice"));
    world.exchange();
    let (old, new) = ([7; 32], [8; 32]);
    world.secret.rotate(&old, &[&new]).unwrap();
    world.secret.rotate(&new, &[&old]).unwrap();
    for _ in 0..160 {
        world.merge();
        world.exchange();
        world.pass(4).await;
    }
    world.secret.rotate(&new, &[]).unwrap();
    let opener = world.replica.opener();
    assert!(world.map.iter().all(|(field, sealed)| opener.open(field, sealed).is_some()));
    assert_eq!(world.map.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn cutoffs_end_by_the_earlier_of_two_clocks_and_the_longer_of_two_lifetimes() {
    let hour = Duration::from_secs(3600);
    for (told, clock_ahead, redis_ahead, left) in [
        (Some(hour), 2, 2, 0),
        (Some(hour), 2, 0, 1),
        (Some(hour), 0, 2, 1),
        (Some(3 * hour), 2, 2, 1),
        (None, 2, 2, 1),
    ] {
        let mut world = World::new(|settings| settings.lifetime = Some(hour));
        world.put(1, &Cutoff::subject(AS, "alice"), NOW, told);
        world.clock.step(clock_ahead * hour);
        world.time += redis_ahead * 3_600_000;
        // It reads its message, and so the clock of Redis.
        world.exchange();
        world.pass(11).await;
        for _ in 0..3 {
            world.replica.want(Merge::Whole);
            world.merge();
            world.exchange();
            world.pass(11).await;
        }
        assert_eq!(world.map.len(), left, "{told:?} {clock_ahead} {redis_ahead}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_what_it_writes_is_behind_after_each_merge() {
    let mut world = World::new(|_| ());
    world.exchange();
    assert_eq!(world.replica.state(world.now()), FeedState::Current);
    for _ in 0..5 {
        world.pass(8).await;
        let now = world.now();
        world.replica.tick(now);
        assert_eq!(world.replica.state(now), FeedState::Behind);
        world.pass(3).await;
        world.merge();
        drop(world.write());
        assert_eq!(world.replica.state(world.now()), FeedState::Behind);
    }
}

#[tokio::test(start_paused = true)]
async fn change_is_written_once_and_told_when_enough_replicas_have_it() {
    let mut world = World::new(|_| ());
    world.revoke(&Cutoff::subject(AS, "alice"));
    world.exchange();
    assert_eq!(world.map.len(), 1);
    assert!(world.replica.has_unconfirmed() && world.replica.has_untold());
    world.exchange();
    assert_eq!(world.writes, 1, "the replicas are asked again, and nothing is written");
    assert_eq!(world.replica.confirm(), 1);
    assert!(!world.replica.has_unconfirmed() && !world.replica.has_untold());
}

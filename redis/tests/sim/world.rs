//! Instances of a service, the server that they share, and what was told to whom.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};
use tower_introspect::{
    Issuer, ResourceServer,
    clock::UnixTime,
    revocation::{Cutoff, FeedState},
    test_util::{AuthorizationServer, TestClock},
};
use tower_introspect_redis::{RedisTier, SharedSecret};

use crate::{
    random::Random,
    server::{Data, Link, SimConnection, SimRedis},
};

const AS: &str = "https://as.example.com";

/// The time within which a cutoff that is acknowledged holds in every instance that is current: an
/// instance that hears nothing is behind after seven seconds.
const BOUND: Duration = Duration::from_secs(9);

/// The same after Redis has lost data: an instance that knows the cutoff and reaches Redis writes it again,
/// ten seconds after its last merge at the latest.
const BOUND_AFTER_LOSS: Duration = Duration::from_secs(30);

/// The time after which all instances agree when nothing fails any more.
const SETTLES_IN: Duration = Duration::from_secs(60);

/// One instance of a service.
struct Instance {
    name: usize,
    api: ResourceServer,
    tier: RedisTier<SimConnection>,
    link: Arc<Mutex<Link>>,
    link_ends: Option<Instant>,
    link_up_since: Instant,
}

/// A cutoff that an instance was told.
struct Told {
    by: usize,
    subject: String,
    /// The time at which it was acknowledged.
    acknowledged: Arc<Mutex<Option<Instant>>>,
    flush: JoinHandle<()>,
}

/// A step of a story.
pub(crate) struct Step(Duration, String);

pub(crate) struct World {
    random: Random,
    start: Instant,
    redis: SimRedis,
    authorization: AuthorizationServer,
    instances: Vec<Instance>,
    named: usize,
    told: BTreeMap<usize, Told>,
    next_cutoff: usize,
    earlier: Data,
    lost_at: Instant,
    down_until: Option<Instant>,
    up_since: Instant,
    pub(crate) story: Vec<Step>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.3} s  {}", self.0.as_secs_f64(), self.1)
    }
}

impl World {
    pub(crate) fn new(seed: u64, instances: usize) -> Self {
        let mut random = Random(seed);
        let redis = SimRedis::new(Random(random.below(u64::MAX)));
        let mut world = Self {
            random,
            start: Instant::now(),
            redis,
            authorization: AuthorizationServer::new(AS),
            instances: Vec::new(),
            named: 0,
            told: BTreeMap::new(),
            next_cutoff: 0,
            earlier: Data::default(),
            lost_at: Instant::now(),
            down_until: None,
            up_since: Instant::now(),
            story: Vec::new(),
        };
        for _ in 0..instances {
            world.start_instance();
        }
        world
    }

    fn note(&mut self, what: impl Into<String>) {
        self.story.push(Step(self.start.elapsed(), what.into()));
    }

    fn start_instance(&mut self) {
        let link = Arc::new(Mutex::new(Link::Up));
        let secret = SharedSecret::new(&[7; 32]).expect("it is long enough");
        let tier = RedisTier::new(self.redis.connection(&link), secret)
            .feed(self.redis.connection(&link))
            .flush_timeout(Duration::from_secs(600));
        // Clocks are up to 20 s apart.
        let offset = i64::try_from(self.random.below(20)).expect("a small number");
        let start = UnixTime::from_secs(testing::clock::NOW.as_secs() + offset);
        let clock = TestClock::new(start.saturating_add(self.start.elapsed()));
        let api = ResourceServer::builder("https://api.example.com")
            .issuer(Issuer::jwt(AS))
            .transport(self.authorization.transport())
            .clock(clock)
            .shared(tier.clone())
            .build()
            .expect("good settings");
        let name = self.named;
        self.named += 1;
        self.note(format!("instance {name} starts, its clock is {offset} s ahead"));
        self.instances.push(Instance {
            name,
            api,
            tier,
            link,
            link_ends: None,
            link_up_since: Instant::now(),
        });
    }

    /// Does something at random.
    pub(crate) async fn step(&mut self) {
        let now = Instant::now();
        if self.down_until.is_some_and(|until| until <= now) {
            self.heal_server();
        }
        for at in 0..self.instances.len() {
            if self.instances[at].link_ends.is_some_and(|ends| ends <= now) {
                self.heal_link(at);
            }
        }
        match self.random.below(100) {
            0..50 => self.tell(),
            50..60 => self.break_link(),
            60..64 => self.kill(),
            64..67 => self.close().await,
            67..70 => {
                let until = now + self.random.millis(20_000);
                self.down_until = Some(until);
                self.redis.set_down(true);
                self.note("Redis hangs");
            }
            70..74 => {
                self.earlier = self.redis.data().clone();
                self.note("a replica has the data of now");
            }
            74..77 => {
                let offset = i64::try_from(self.random.below(10_000)).expect("small") - 5_000;
                self.redis.fail_over(self.earlier.clone(), offset);
                self.lost("a replica with earlier data becomes the primary");
            }
            77..79 => {
                self.redis.fail_over(Data::default(), 0);
                self.lost("Redis has no data");
            }
            79..82 => {
                self.redis.data().remove_fields(&mut self.random);
                self.lost("some entries are deleted");
            }
            82..85 => {
                self.redis.data().trim();
                self.lost("the log is trimmed");
            }
            85..88 => {
                self.redis.data().add_garbage(&mut self.random);
                self.note("somebody writes garbage");
            }
            88..91 => {
                self.redis.data().repeat_message(&mut self.random);
                self.note("somebody repeats a message");
            }
            _ => {}
        }
        let pause = self.random.millis(2_000);
        tokio::time::sleep(pause).await;
    }

    fn lost(&mut self, what: &str) {
        self.lost_at = Instant::now();
        self.note(what);
    }

    fn tell(&mut self) {
        let at = self.random.index(self.instances.len());
        let subject = format!("user-{}", self.next_cutoff);
        let by = self.instances[at].name;
        let revocations = self.instances[at].api.revocations().clone();
        revocations.revoke(&Cutoff::subject(AS, subject.clone()));
        let acknowledged = Arc::new(Mutex::new(None));
        let flush = tokio::spawn({
            let acknowledged = Arc::clone(&acknowledged);
            async move {
                if revocations.flush().await.is_ok() {
                    *lock(&acknowledged) = Some(Instant::now());
                }
            }
        });
        self.note(format!("instance {by} is told to revoke {subject}"));
        self.told.insert(self.next_cutoff, Told { by, subject, acknowledged, flush });
        self.next_cutoff += 1;
    }

    fn break_link(&mut self) {
        let at = self.random.index(self.instances.len());
        let link = [Link::Refused, Link::Silent, Link::Deaf][self.random.index(3)];
        let time = self.random.millis(25_000);
        let instance = &mut self.instances[at];
        *lock(&instance.link) = link;
        instance.link_ends = Some(Instant::now() + time);
        let name = instance.name;
        self.note(format!("the link of instance {name} is {link:?}"));
    }

    fn heal_link(&mut self, at: usize) {
        let instance = &mut self.instances[at];
        *lock(&instance.link) = Link::Up;
        instance.link_ends = None;
        instance.link_up_since = Instant::now();
        let name = instance.name;
        self.note(format!("the link of instance {name} is up"));
    }

    fn heal_server(&mut self) {
        self.redis.set_down(false);
        self.down_until = None;
        self.up_since = Instant::now();
        self.note("Redis responds again");
    }

    fn take_instance(&mut self) -> Instance {
        let at = self.random.index(self.instances.len());
        let instance = self.instances.swap_remove(at);
        for told in self.told.values().filter(|told| told.by == instance.name) {
            told.flush.abort();
        }
        instance
    }

    fn kill(&mut self) {
        let killed = self.take_instance();
        self.note(format!("instance {} is killed", killed.name));
        drop(killed);
        self.start_instance();
    }

    async fn close(&mut self) {
        let closing = self.take_instance();
        self.note(format!("instance {} closes", closing.name));
        let closed = tokio::time::timeout(Duration::from_secs(5), closing.tier.close()).await;
        self.note(format!("it has closed: {closed:?}"));
        drop(closing);
        self.start_instance();
    }

    /// Checks that every current instance knows what it must know by now.
    ///
    /// # Errors
    ///
    /// Returns the fault.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.forget_lost();
        let now = Instant::now();
        for told in self.told.values() {
            let acknowledged = *lock(&told.acknowledged);
            for instance in &self.instances {
                let knows = instance.knows(&told.subject);
                if told.by == instance.name && !knows {
                    return Err(format!("instance {} has lost its own {}", told.by, told.subject));
                }
                let Some(acknowledged) = acknowledged else { continue };
                let due = (acknowledged + BOUND).max(self.written_again_by(&told.subject));
                if instance.is_current() && !knows && now >= due {
                    return Err(format!(
                        "instance {} is current and does not know {}, acknowledged at {:.3} s",
                        instance.name,
                        told.subject,
                        (acknowledged - self.start).as_secs_f64()
                    ));
                }
            }
        }
        self.no_more_is_revoked()
    }

    /// Returns the time at which an instance must have written a cutoff again that Redis has lost.
    fn written_again_by(&self, subject: &str) -> Instant {
        let can_write = |instance: &Instance| match instance.link_ends {
            None => instance.link_up_since.max(self.up_since).max(self.lost_at),
            // It writes when the link is up again.
            Some(_) => Instant::now(),
        };
        let knowing = self.instances.iter().filter(|instance| instance.knows(subject));
        let earliest = knowing.map(can_write).min().unwrap_or(self.lost_at);
        let earliest = if self.down_until.is_some() { Instant::now() } else { earliest };
        earliest + BOUND_AFTER_LOSS
    }

    /// Forgets the cutoffs that no instance knows. One that is acknowledged is in Redis, so the next
    /// instance must learn it there, unless Redis has lost data since.
    fn forget_lost(&mut self) {
        let (instances, lost_at) = (&self.instances, self.lost_at);
        self.told.retain(|_, told| {
            let is_kept = lock(&told.acknowledged).is_some_and(|at| at > lost_at);
            is_kept || instances.iter().any(|instance| instance.knows(&told.subject))
        });
    }

    fn no_more_is_revoked(&self) -> Result<(), String> {
        for instance in &self.instances {
            for cutoff in instance.api.revocations().in_force(10_000) {
                let number = cutoff.value().and_then(|value| value.strip_prefix("user-"));
                let number: Option<usize> = number.and_then(|number| number.parse().ok());
                if number.is_none_or(|number| number >= self.next_cutoff) {
                    return Err(format!("instance {} knows {cutoff:?}", instance.name));
                }
            }
        }
        Ok(())
    }

    /// Ends all faults, and checks that all instances agree after a while.
    ///
    /// # Errors
    ///
    /// Returns the fault.
    pub(crate) async fn settle(&mut self) -> Result<(), String> {
        self.heal_server();
        for at in 0..self.instances.len() {
            self.heal_link(at);
        }
        let settled = Instant::now() + SETTLES_IN;
        while Instant::now() < settled {
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.check()?;
        }
        self.note("all have settled");
        let first = self.instances[0].names();
        for instance in &self.instances {
            if !instance.is_current() {
                return Err(format!("instance {} is still behind", instance.name));
            }
            if instance.names() != first {
                let other = self.instances[0].name;
                return Err(format!("instances {} and {other} differ", instance.name));
            }
        }
        self.start_instance();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let started = self.instances.last().expect("one was started");
        if started.names() != first {
            return Err("an instance that starts knows other cutoffs".to_owned());
        }
        Ok(())
    }
}

impl Instance {
    fn knows(&self, subject: &str) -> bool {
        !self.api.revocations().in_force_for(&Cutoff::subject(AS, subject), 1).is_empty()
    }

    fn is_current(&self) -> bool {
        self.api.feed_state() == Some(FeedState::Current)
    }

    /// Returns the names of all cutoffs.
    fn names(&self) -> Vec<String> {
        let list = self.api.revocations().in_force(10_000);
        let names = list.iter().filter_map(|cutoff| cutoff.value().map(str::to_owned));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

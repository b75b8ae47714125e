//! The protocol, as a machine of few states.

use std::collections::BTreeMap;

use stateright::Property;

/// A set of cutoffs, one bit each.
type Set = u8;

/// The rules of the protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Messages have numbers, and a missing one is noticed.
    numbers: bool,
    /// A message has the map of its publisher, which readers compare with their own.
    maps: bool,
    /// An instance compares the length of the map in Redis with that of its own.
    lengths: bool,
    /// An instance keeps what it has written until it has read it.
    unread: bool,
    /// An instance notices that the log went back.
    regress: bool,
    /// An instance that merges writes again what Redis has lost.
    repair: bool,
}

/// How much may happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) instances: usize,
    pub(crate) cutoffs: u8,
    /// The number of times that facts are outdated, at most one.
    pub(crate) outdates: u8,
    pub(crate) messages: u8,
    pub(crate) faults: u8,
    /// True if the clock of Redis may step back at a failover. Messages that only outdate facts can then be
    /// missed for some heartbeats, until the next doubt.
    pub(crate) clock_steps: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) rules: Rules,
    pub(crate) limits: Limits,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    redis: Redis,
    /// The data that a replica of Redis has.
    replica: Option<Redis>,
    /// The clock of Redis, by which it gives positions.
    time: u8,
    instances: Vec<Instance>,
    next_publisher: u8,
    next_cutoff: u8,
    acknowledged: Set,
    /// The publisher that told to outdate facts, when that was acknowledged.
    outdated_by: Option<u8>,
    next_outdate: u8,
    faults: u8,
    messages: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Redis {
    map: Set,
    log: Vec<Message>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Message {
    position: u8,
    publisher: u8,
    number: u8,
    add: Set,
    outdates: bool,
    seen: u8,
    map: Set,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Instance {
    publisher: u8,
    number: u8,
    /// The cutoffs in force here.
    knows: Set,
    outbox: Set,
    /// True if the facts from before are outdated here, by the message or because of a doubt since.
    has_outdated: bool,
    will_outdate: bool,
    unread_outdate: bool,
    /// The map as it was read. `None` before the first merge.
    map: Option<Set>,
    position: u8,
    /// The furthest position that was read or written.
    furthest: u8,
    history: Vec<(u8, Set)>,
    heard: BTreeMap<u8, u8>,
    /// The number of the last own message that was read.
    heard_own: u8,
    unread: Set,
    missing: Set,
    /// The positions of own messages, with the length of the map in Redis.
    lengths: Vec<(u8, u32)>,
    wants_merge: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Tell(usize),
    Outdate(usize),
    Write(usize),
    Read(usize),
    Merge(usize),
    Kill(usize),
    LoseEntries,
    TrimLog,
    Copy,
    FailOver { clock_is_behind: bool },
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        numbers: true,
        maps: true,
        lengths: true,
        unread: true,
        regress: true,
        repair: true,
    };

    /// Returns the rules with each left out, but for the comparison of maps: it is there for entries that
    /// somebody exchanges for others, which nobody does here.
    pub(crate) fn each_left_out() -> [(&'static str, Self); 5] {
        [
            ("numbers", Self { numbers: false, ..Self::ALL }),
            ("lengths", Self { lengths: false, ..Self::ALL }),
            ("unread", Self { unread: false, ..Self::ALL }),
            ("regress", Self { regress: false, ..Self::ALL }),
            ("repair", Self { repair: false, ..Self::ALL }),
        ]
    }
}

impl Limits {
    pub(crate) const SMALL: Self =
        Self { instances: 2, cutoffs: 1, outdates: 0, messages: 2, faults: 2, clock_steps: true };
    pub(crate) const OUTDATES: Self =
        Self { instances: 2, cutoffs: 0, outdates: 1, messages: 2, faults: 1, clock_steps: false };
}

impl State {
    fn end(&self) -> u8 {
        self.redis.log.last().map_or(0, |message| message.position)
    }

    fn write(&mut self, at: usize, rules: Rules) {
        let end = self.end();
        let instance = &mut self.instances[at];
        let Some(map) = instance.map else { return };
        let outdates = std::mem::take(&mut instance.will_outdate);
        let position = self.time.max(end + 1);
        self.time = position + 1;
        instance.number += 1;
        let add = instance.outbox | instance.missing;
        self.redis.map |= add;
        self.redis.log.push(Message {
            position,
            publisher: instance.publisher,
            number: instance.number,
            add,
            outdates,
            seen: instance.position,
            map,
        });
        self.acknowledged |= instance.outbox;
        (instance.outbox, instance.missing) = (0, 0);
        if outdates {
            self.outdated_by = Some(instance.publisher);
            instance.unread_outdate = rules.unread;
        }
        if rules.unread {
            instance.unread |= add;
        }
        instance.furthest = instance.furthest.max(instance.position);
        if position <= instance.furthest {
            instance.wants_merge |= rules.regress;
            // Others may have read further, and miss it.
            instance.will_outdate |= rules.regress && outdates;
        } else {
            instance.lengths.push((position, self.redis.map.count_ones()));
        }
        instance.furthest = instance.furthest.max(position);
    }

    /// Reads the next message. Returns false if there is none.
    fn read(&mut self, at: usize, rules: Rules) -> bool {
        let instance = &mut self.instances[at];
        let Some(map) = instance.map else { return false };
        let next = self.redis.log.iter().find(|message| message.position > instance.position);
        let Some(message) = next else { return false };
        instance.position = message.position;
        if message.publisher != instance.publisher {
            let heard = instance.heard.insert(message.publisher, message.number);
            // In the first seconds of an instance those that it does not know yet are no gap.
            let has_gap = message.number > heard.unwrap_or_default() + 1;
            instance.wants_merge |= rules.numbers && has_gap;
            let of_then = instance.history.iter().rev().find(|(at, _)| *at <= message.seen);
            let differs = of_then.is_some_and(|(_, map)| *map != message.map);
            instance.wants_merge |= rules.maps && differs;
        } else {
            let has_gap = message.number > instance.heard_own + 1;
            instance.wants_merge |= rules.numbers && has_gap;
            instance.heard_own = message.number;
            instance.unread_outdate &= !message.outdates;
        }
        instance.unread &= !message.add;
        instance.knows |= message.add;
        instance.has_outdated |= message.outdates;
        let map = map | message.add;
        instance.map = Some(map);
        instance.history.push((instance.position, map));
        let read: Vec<_> =
            instance.lengths.extract_if(.., |(at, _)| *at <= message.position).collect();
        let differs = read.iter().any(|(at, length)| {
            let of_then = instance.history.iter().rev().find(|(then, _)| then <= at);
            of_then.is_some_and(|(_, map)| map.count_ones() != *length)
        });
        instance.wants_merge |= rules.lengths && differs;
        true
    }

    fn merge(&mut self, at: usize, rules: Rules) {
        while self.read(at, rules) {}
        let (end, map) = (self.end(), self.redis.map);
        let instance = &mut self.instances[at];
        let is_first = instance.map.is_none();
        let known = instance.map.unwrap_or_default() | instance.unread;
        if rules.repair {
            instance.missing |= known & !map;
        }
        instance.unread = 0;
        instance.heard_own = instance.number;
        instance.will_outdate |= std::mem::take(&mut instance.unread_outdate);
        instance.knows |= map;
        instance.map = Some(map);
        instance.position = end;
        instance.furthest = end;
        instance.history = vec![(end, map)];
        instance.lengths.clear();
        // A doubt outdates all facts, and so does the start.
        instance.has_outdated |= std::mem::take(&mut instance.wants_merge) || is_first;
    }

    /// Lets an instance hear all others, after these have merged if they want to, and have told what they
    /// must, in few messages.
    fn hear_all(&mut self, at: usize, rules: Rules) {
        for other in (0..self.instances.len()).filter(|other| *other != at) {
            self.exchange(other, rules);
            for _ in 0..4 {
                let Instance { wants_merge, will_outdate, .. } = self.instances[other];
                if wants_merge {
                    self.merge(other, rules);
                }
                if wants_merge || will_outdate {
                    self.exchange(other, rules);
                }
            }
        }
        self.exchange(at, rules);
    }

    /// Lets an instance read everything, write, and read what it wrote.
    fn exchange(&mut self, at: usize, rules: Rules) {
        while self.read(at, rules) {}
        self.write(at, rules);
        while self.read(at, rules) {}
    }

    /// Lets all instances do what is due, often enough.
    fn settle(&mut self, rules: Rules) {
        for _ in 0..4 {
            for at in 0..self.instances.len() {
                while self.read(at, rules) {}
                if self.instances[at].wants_merge || self.instances[at].map.is_none() {
                    self.merge(at, rules);
                }
                self.exchange(at, rules);
            }
        }
    }

    fn start(&mut self) -> Instance {
        self.next_publisher += 1;
        Instance { publisher: self.next_publisher, ..Instance::default() }
    }

    /// Returns what somebody has of the cutoffs that were acknowledged.
    fn at_hand(&self) -> Set {
        let known = self.instances.iter().fold(self.redis.map, |all, one| all | one.knows);
        known & self.acknowledged
    }
}

impl stateright::Model for Model {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            redis: Redis::default(),
            replica: None,
            time: 1,
            instances: Vec::new(),
            next_publisher: 0,
            next_cutoff: 0,
            acknowledged: 0,
            outdated_by: None,
            next_outdate: 0,
            faults: 0,
            messages: 0,
        };
        for _ in 0..self.limits.instances {
            let instance = state.start();
            state.instances.push(instance);
        }
        vec![state]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let may_fail = state.faults < self.limits.faults;
        for (at, instance) in state.instances.iter().enumerate() {
            if state.next_cutoff < self.limits.cutoffs {
                steps.push(Step::Tell(at));
            }
            if state.next_outdate < self.limits.outdates {
                steps.push(Step::Outdate(at));
            }
            if state.messages < self.limits.messages && instance.map.is_some() {
                steps.push(Step::Write(at));
            }
            steps.extend([Step::Read(at), Step::Merge(at)]);
            if may_fail {
                steps.push(Step::Kill(at));
            }
        }
        if may_fail {
            steps.extend([Step::LoseEntries, Step::TrimLog]);
            if state.replica.is_some() {
                steps.push(Step::FailOver { clock_is_behind: false });
                if self.limits.clock_steps {
                    steps.push(Step::FailOver { clock_is_behind: true });
                }
            } else {
                steps.push(Step::Copy);
            }
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        let rules = self.rules;
        match step {
            Step::Tell(at) => {
                let cutoff = 1 << state.next_cutoff;
                state.next_cutoff += 1;
                state.instances[at].knows |= cutoff;
                state.instances[at].outbox |= cutoff;
            }
            Step::Outdate(at) => {
                state.next_outdate += 1;
                for (other, instance) in state.instances.iter_mut().enumerate() {
                    instance.has_outdated = other == at;
                }
                state.instances[at].will_outdate = true;
            }
            Step::Write(at) => {
                state.messages += 1;
                state.write(at, rules);
            }
            Step::Read(at) => {
                state.read(at, rules);
            }
            Step::Merge(at) => state.merge(at, rules),
            Step::Kill(at) => {
                state.faults += 1;
                state.instances[at] = state.start();
            }
            Step::LoseEntries => {
                state.faults += 1;
                state.redis.map = 0;
            }
            Step::TrimLog => {
                state.faults += 1;
                state.redis.log.drain(..state.redis.log.len().saturating_sub(1));
            }
            Step::Copy => state.replica = Some(state.redis.clone()),
            Step::FailOver { clock_is_behind } => {
                state.faults += 1;
                state.redis = state.replica.take()?;
                if clock_is_behind {
                    state.time = 1;
                }
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("knows, or knows that it does not", |model: &Self, state: &State| {
                (0..state.instances.len()).all(|at| {
                    let mut heard = state.clone();
                    heard.hear_all(at, model.rules);
                    let instance = &heard.instances[at];
                    let is_sure = instance.map.is_some() && !instance.wants_merge;
                    // The silence of one that is gone takes time to be noticed, which there is none of.
                    let is_alive = |by| heard.instances.iter().any(|one| one.publisher == by);
                    let must_outdate = heard.outdated_by.is_some_and(is_alive);
                    let has_cutoffs = heard.at_hand() & !instance.knows == 0;
                    !is_sure || has_cutoffs && (instance.has_outdated || !must_outdate)
                })
            }),
            Property::always("agrees in the end", |model: &Self, state: &State| {
                let mut settled = state.clone();
                settled.settle(model.rules);
                let at_hand = settled.at_hand();
                at_hand & !settled.redis.map == 0
                    && settled
                        .instances
                        .iter()
                        .all(|one| at_hand & !one.knows == 0 && one.map == Some(settled.redis.map))
            }),
        ]
    }
}

//! A model of the protocol by which instances share cutoffs, checked in all of its states.
//!
//! It is written from docs/design.md, and knows no code of the package. Time does not pass in it: an
//! instance may do any step next, or none for ever. It checks two properties in every state that few
//! cutoffs, instances and faults can lead to:
//!
//! * An instance that hears all others knows every cutoff that was acknowledged and that one of them, or
//!   Redis, has; or it knows that it does not, and merges.
//! * When no more fails, all instances agree after a few steps of each, and Redis has what they know.
//!
//! Each rule of the protocol is also left out once, which must break a property.

mod protocol;

use std::collections::BTreeSet;

use protocol::{Limits, Model, Rules};
use stateright::{Checker as _, HasDiscoveries, Model as _};

/// Returns the names of the properties that do not hold.
fn refuted(rules: Rules, limits: Limits) -> BTreeSet<&'static str> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let checker = Model { rules, limits }
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!("{rules:?}: {} states", checker.unique_state_count());
    for (name, path) in checker.discoveries() {
        println!("{name}: {path}");
    }
    checker.discoveries().into_keys().collect()
}

const NONE: BTreeSet<&str> = BTreeSet::new();

#[test]
fn promise_12_instance_knows_every_cutoff_or_that_it_does_not() {
    for limits in [Limits::SMALL, Limits::OUTDATES] {
        assert_eq!(refuted(Rules::ALL, limits), NONE, "{limits:?}");
    }
}

#[test]
fn every_rule_is_needed() {
    for (name, rules) in Rules::each_left_out() {
        let is_needed = |limits| refuted(rules, limits) != NONE;
        assert!(is_needed(Limits::SMALL) || is_needed(Limits::OUTDATES), "{name}");
    }
}

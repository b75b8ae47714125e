//! Measures in many short rounds, each of which gives every contender a turn.
//!
//! A disturbance longer than a round disturbs all alike, and a shorter one falls out of the median.
//! Only numbers of one run are ever compared.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::runtime::Runtime;

use crate::{contenders::Contender, drive::Credentials};

/// Something that gets a turn in every round.
pub struct Lane<'a> {
    per_turn: usize,
    turn: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Lane<'a> {
    /// Sends a batch of requests each turn.
    pub fn requests(
        runtime: &'a Runtime,
        contender: &'a mut Contender,
        batch: &'a [Credentials],
        expected: StatusCode,
    ) -> Self {
        let turn = Box::new(move || contender.time(runtime, batch, expected));
        Self { per_turn: batch.len(), turn }
    }

    /// Calls a function `per_turn` times each turn, with 0, 1, and so on.
    pub fn calls(per_turn: usize, mut call: impl FnMut(usize) + 'a) -> Self {
        let turn = Box::new(move || {
            let start = Instant::now();
            (0..per_turn).for_each(&mut call);
            start.elapsed()
        });
        Self { per_turn, turn }
    }
}

/// Nanoseconds for one request or call of each lane, in the median of all rounds.
pub fn interleave(lanes: &mut [Lane<'_>], rounds: usize) -> Vec<f64> {
    let mut samples = vec![Vec::with_capacity(rounds); lanes.len()];
    for round in 0..rounds + warm_up(rounds) {
        for turn in 0..lanes.len() {
            // Nobody always comes after the same neighbour's first and last.
            let at = (turn + round) % lanes.len();
            let lane = &mut lanes[at];
            let taken = (lane.turn)();
            if round >= warm_up(rounds) {
                samples[at].push(taken.as_nanos() as f64 / lane.per_turn as f64);
            }
        }
    }
    samples.iter_mut().map(|samples| median(samples)).collect()
}

fn warm_up(rounds: usize) -> usize {
    rounds / 10 + 2
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

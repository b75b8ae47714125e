//! Measures the time of a request beyond that of the bare router.

mod cold;
mod crowd;
mod hit;
mod refusal;

pub use self::{cold::cold, crowd::crowd, hit::hit, refusal::refusals};

use axum::http::StatusCode;
use tokio::runtime::Runtime;

use crate::{
    contenders::{Base, Contender, axum_07, axum_08},
    drive::Credentials,
    measure::{Lane, interleave},
};

/// Requests in a turn. Fewer than the operations after which tokio has a task yield.
const BATCH: usize = 64;

/// The requests to a contender, and the status that it has to respond with.
struct Asked {
    contender: Contender,
    batch: Vec<Credentials>,
    expected: StatusCode,
}

impl Asked {
    fn new(contender: Contender, batch: Vec<Credentials>, expected: StatusCode) -> Self {
        Self { contender, batch, expected }
    }

    fn lane<'a>(&'a mut self, runtime: &'a Runtime) -> Lane<'a> {
        Lane::requests(runtime, &mut self.contender, &self.batch, self.expected)
    }
}

/// Bare routers that are sent the same.
fn bare(batch: &[Credentials]) -> [Asked; 2] {
    [axum_08(), axum_07()].map(|router| Asked::new(router, batch.to_vec(), StatusCode::OK))
}

/// The nanoseconds that each adds to its bare router, and further lanes take, in one run.
fn added(
    runtime: &Runtime,
    bare: &mut [Asked; 2],
    asked: &mut [Asked],
    further: Option<Lane<'_>>,
    rounds: usize,
) -> (f64, Vec<f64>, Option<f64>) {
    let bases: Vec<Base> = asked.iter().map(|asked| asked.contender.base).collect();
    let mut lanes: Vec<Lane<'_>> =
        bare.iter_mut().chain(asked).map(|asked| asked.lane(runtime)).collect();
    let more = further.is_some();
    lanes.extend(further);
    let mut medians = interleave(&mut lanes, rounds);
    let further = if more { medians.pop() } else { None };
    let (bare, others) = medians.split_at(2);
    let base = |base| if base == Base::Axum08 { bare[0] } else { bare[1] };
    let added = others.iter().zip(bases).map(|(median, of)| median - base(of)).collect();
    (bare[0], added, further)
}

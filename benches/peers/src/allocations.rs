//! The allocations of a hit, over those of the bare router. `peers` runs this, and prints what it prints.

#![allow(dead_code, reason = "the other executable takes the time, and needs more of the modules")]

mod authority;
mod backend;
mod contenders;
mod drive;
mod report;

use tokio::runtime::Runtime;
use tower_introspect::jose::Algorithm;

use self::{
    authority::{Authority, bearer},
    contenders::{
        Base, Contender, US, axum_07, axum_08, floor, floor_around, of_jwts, of_opaque, us_around,
    },
    drive::Credentials,
    report::{Report, table},
};

fn main() {
    backend::install();
    let runtime = Runtime::new().expect("the system has threads for a runtime");
    let mut report = Report::default();
    let authority = runtime.block_on(Authority::start());
    let algorithm = Algorithm::RS256;
    let [jwt, opaque] = [authority.jwt(algorithm), authority.opaque()].map(|token| bearer(&token));

    let (mut jwts, _) = runtime.block_on(of_jwts(&authority, algorithm, true));
    let around = runtime.block_on(us_around(&authority, algorithm)).expect("it is built above too");
    let floor = floor();
    let named = [
        (US, "hit_allocations"),
        (around.name, "hit_allocations_around_router"),
        (floor.name, "hit_floor_allocations"),
    ];
    jwts.splice(0..0, [floor, floor_around(), around]);
    let (opaques, _) = runtime.block_on(of_opaque(&authority));
    let asked = jwts.into_iter().map(|contender| (contender, &jwt));
    let asked = asked.chain(opaques.into_iter().map(|contender| (contender, &opaque)));

    let mut rows = Vec::new();
    for (mut contender, credentials) in asked {
        let mut bare = if contender.base == Base::Axum08 { axum_08() } else { axum_07() };
        let own = least(&runtime, &mut bare, credentials).expect("a bare router answers at once");
        let over = |count: u64| count as i64 - own as i64;
        let count = least(&runtime, &mut contender, credentials).map(over);
        let figure = named.iter().find(|(name, _)| *name == contender.name);
        if let (Some((_, figure)), Some(count)) = (figure, count) {
            report.count(figure, count, "allocations");
        }
        let count = count.map_or_else(|| "?".to_owned(), |count| count.to_string());
        rows.push([contender.name.to_owned(), count]);
    }
    table("allocations of a hit, over those of a bare router", ["", "allocations"], &rows);
    report.print();
    // The tasks by which peers refresh their keys never end by themselves.
    runtime.shutdown_background();
}

/// The allocations of one request, where it is answered at once.
fn least(runtime: &Runtime, contender: &mut Contender, credentials: &Credentials) -> Option<u64> {
    // What is to be remembered, is now.
    runtime.block_on(contender.ask(credentials));
    let _within = runtime.enter();
    // Now and then a table grows or a queue is emptied; that is no part of the request.
    (0..9).map(|_| contender.allocations(credentials)).min()?
}

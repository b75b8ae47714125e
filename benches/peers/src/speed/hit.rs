//! The same good token again and again.

use axum::http::StatusCode;
use tokio::runtime::Runtime;
use tower_introspect::jose::Algorithm;

use super::{Asked, BATCH, added, bare};
use crate::{
    authority::{Authority, bearer},
    contenders::{
        Contender, Skipped, US, US_OPAQUE, floor, floor_around, of_jwts, of_opaque, us_around,
    },
    drive::Credentials,
    report::{Report, nanos, table},
};

/// Rounds for what takes a microsecond, where a quotient of small differences is asked for.
const CLOSE: usize = 4000;
const ROUNDS: usize = 400;

pub fn hit(runtime: &Runtime, authority: &Authority, report: &mut Report) {
    let jwt = bearer(&authority.jwt(Algorithm::RS256));
    let opaque = bearer(&authority.opaque());
    close(runtime, authority, &jwt, report);
    all(runtime, authority, &jwt, &opaque, report);
}

/// Against the floor: as a layer of the router, and around the router, where axum boxes nothing.
fn close(runtime: &Runtime, authority: &Authority, jwt: &Credentials, report: &mut Report) {
    let algorithm = Algorithm::RS256;
    let (mut contenders, _) = runtime.block_on(of_jwts(authority, algorithm, true));
    contenders.retain(|contender| contender.name == US);
    let around = runtime.block_on(us_around(authority, algorithm)).expect("us is built above");
    let contenders = [floor(), contenders.remove(0), floor_around(), around];
    let mut asked = contenders.map(|contender| same(contender, jwt));
    let mut bare = bare(&asked[0].batch);
    let (base, added, _) = added(runtime, &mut bare, &mut asked, None, CLOSE);

    let rows = asked.iter().zip(&added);
    let rows: Vec<_> =
        rows.map(|(asked, added)| [asked.contender.name.to_owned(), nanos(*added)]).collect();
    let title = format!("hit against the floor, over a bare router of {}", nanos(base));
    table(&title, ["", "added"], &rows);

    let [floor, us, floor_around, us_around] = added[..] else { unreachable!("there are four") };
    report.figure("hit_over_floor", us / floor, "ratio");
    report.figure("hit_over_floor_around_router", us_around / floor_around, "ratio");
    report.figure("hit_added", us, "ns");
    report.figure("hit_floor_added", floor, "ns");
}

/// Everyone.
fn all(
    runtime: &Runtime,
    authority: &Authority,
    jwt: &Credentials,
    opaque: &Credentials,
    report: &mut Report,
) {
    let (jwts, skipped) = runtime.block_on(of_jwts(authority, Algorithm::RS256, true));
    let (mut opaques, skipped_opaque) = runtime.block_on(of_opaque(authority));
    skipped.iter().chain(&skipped_opaque).for_each(|skipped| report.skip("hit", skipped));
    for contender in opaques.extract_if(.., |contender| !contender.remembers) {
        let reason = "it has no memory, so each request is a call".to_owned();
        report.skip("hit", &Skipped { name: contender.name, reason });
    }
    let mut asked: Vec<Asked> = jwts.into_iter().map(|contender| same(contender, jwt)).collect();
    asked.extend(opaques.into_iter().map(|contender| same(contender, opaque)));
    let mut bare = bare(&asked[0].batch);
    let (base, added, _) = added(runtime, &mut bare, &mut asked, None, ROUNDS);

    // Tokens of one kind are compared: a JWT is longer, and takes longer to digest.
    let us = |of: &Asked| {
        let same = |asked: &Asked| asked.contender.is_us() && asked.batch[0] == of.batch[0];
        added[asked.iter().position(same).expect("us is never skipped")]
    };
    let rows: Vec<_> = (0..asked.len())
        .map(|at| {
            let contender = &asked[at].contender;
            let remembers = if contender.remembers { "yes" } else { "no" };
            let times = format!("{:.2}", added[at] / us(&asked[at]));
            [contender.name.to_owned(), remembers.to_owned(), nanos(added[at]), times]
        })
        .collect();
    let title = format!(
        "hit: one RS256 token of {} bytes, or an opaque one of {}, over {}",
        size(jwt),
        size(opaque),
        nanos(base)
    );
    table(&title, ["", "remembers", "added", "x us"], &rows);

    let peers = asked.iter().zip(&added).filter(|(asked, _)| !asked.contender.is_us());
    let best = peers.map(|(asked, added)| added / us(asked)).min_by(f64::total_cmp);
    report.figure("hit_best_peer_over_us", best.unwrap_or(f64::NAN), "ratio");
    for (asked, added) in asked.iter().zip(&added) {
        if asked.contender.name == US_OPAQUE {
            report.figure("hit_opaque_added", *added, "ns");
        }
    }
}

fn same(contender: Contender, credentials: &Credentials) -> Asked {
    Asked::new(contender, vec![credentials.clone(); BATCH], StatusCode::OK)
}

fn size(credentials: &Credentials) -> usize {
    credentials.as_ref().map_or(0, |value| value.len() - "Bearer ".len())
}

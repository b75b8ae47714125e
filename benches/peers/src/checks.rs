//! Counts the tokens that each admits although they are no access tokens for this service: a crate
//! that checks less is faster.

use axum::http::StatusCode;
use serde_json::json;
use tokio::runtime::Runtime;
use tower_introspect::{
    jose::Algorithm,
    test_util::{Jwt, TokenBuilder},
};

use crate::{
    authority::{AUDIENCE, Authority, bearer},
    contenders::of_jwts,
    report::{Report, table},
};

const ALGORITHM: Algorithm = Algorithm::RS256;

/// All are signed with a key of the issuer.
const CASES: [(&str, Bad); 8] = [
    ("no iss", |authority| authority.unminted(ALGORITHM).without("iss")),
    ("no aud", |authority| authority.unminted(ALGORITHM).without("aud")),
    ("other aud", |authority| authority.unminted(ALGORITHM).audience("https://other.example.com")),
    ("exp over", |authority| authority.unminted(ALGORITHM).claim("exp", 1_000_000_000)),
    // The year 2100.
    ("nbf ahead", |authority| authority.unminted(ALGORITHM).claim("nbf", 4_102_444_800_u64)),
    ("ID token", |authority| authority.server.id_token().algorithm(ALGORITHM).audience(AUDIENCE)),
    ("cnf", |authority| {
        let thumbprint = json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
        authority.unminted(ALGORITHM).claim("cnf", thumbprint)
    }),
    ("crit", |authority| {
        let token = authority.unminted(ALGORITHM).header("crit", json!(["tenant"]));
        token.header("tenant", "other")
    }),
];

type Bad = fn(&Authority) -> TokenBuilder<Jwt>;

pub fn checks(runtime: &Runtime, authority: &Authority, report: &mut Report) {
    let (contenders, _) = runtime.block_on(of_jwts(authority, ALGORITHM, true));
    let tokens = CASES.map(|(_, bad)| bearer(&bad(authority).mint()));
    let mut rows = Vec::new();
    for contender in &contenders {
        let statuses = tokens.iter().map(|token| runtime.block_on(contender.ask(token)));
        let statuses: Vec<StatusCode> = statuses.collect();
        if contender.is_us() {
            let passed = statuses.iter().filter(|status| status.is_success()).count();
            report.count("bad_tokens_that_pass", passed, "tokens");
        }
        let mut row = [const { String::new() }; CASES.len() + 1];
        contender.name.clone_into(&mut row[0]);
        for (cell, status) in row[1..].iter_mut().zip(statuses) {
            *cell =
                if status.is_success() { "passes".to_owned() } else { status.as_u16().to_string() };
        }
        rows.push(row);
    }
    let mut head = [""; CASES.len() + 1];
    head[1..].copy_from_slice(&CASES.map(|(name, _)| name));
    table("tokens of the issuer that are none for this service", head, &rows);
}

//! Three instances of an API behind HAProxy, with one Redis: a logout that one of them is told holds in
//! all.
//!
//! ```text
//! cargo run -p tower-introspect-redis --example fleet               # needs redis-server and haproxy
//! cargo run -p tower-introspect-redis --example fleet -- --measure  # how long it takes, a hundred times
//! ```
//!
//! It starts everything on free ports of this machine, shows each step with what was answered, and ends
//! with an error if one is not as it should be. The instances are processes of their own:
//! `instance.rs` is what a service needs.

#![expect(clippy::disallowed_methods, reason = "it measures real time")]

mod instance;
mod machine;
mod story;

use std::{error::Error, process::ExitCode};

use machine::Machine;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        [] => tell().await,
        ["--measure"] => measure().await,
        ["instance", name, port, redis, issuer] => instance::run(name, port, redis, issuer).await,
        _ => {
            eprintln!("usage: fleet [--measure]");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleet: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tell() -> Outcome<()> {
    let mut machine = Machine::start().await?;
    story::a_logout_holds_everywhere(&machine).await?;
    story::redis_goes_away_and_comes_back(&mut machine).await
}

async fn measure() -> Outcome<()> {
    let machine = Machine::start().await?;
    story::measure(&machine, 100).await
}

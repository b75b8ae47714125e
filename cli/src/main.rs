//! `introspect` tells why a token is refused, one check at a time.
//!
//! It decides nothing by itself: what it says of a token is what the library said, overheard by
//! `tower_introspect::checks`. The commands take what they need from [`Context`], return a
//! [`Report`], and print nothing.

mod advice;
mod ask;
mod cert;
mod checks;
mod client;
mod config;
mod decode;
mod doctor;
mod explain;
mod finding;
mod input;
mod json;
mod keys;
mod mint;
mod net;
mod network;
mod pages;
mod pasted;
mod report;
mod screen;
mod serve_as;
mod settings;
mod token;
mod verdict;
mod verify;
mod when;
mod wire;

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::{Parser, Subcommand};
use tower_introspect::clock::{Clock, SystemClock, UnixTime};

use self::{
    report::{Exit, Failure, Field, Report, Tone},
    screen::{Colour, Screen},
};

/// What every command ends with, in `--help` and in the manual.
const EXIT_CODES: &str = "\
Exit codes:
  0  accepted, or done
  1  refused: the token, or the thing asked about, is not good
  2  the command line, the input or the configuration is wrong
  3  not known: what is needed to decide could not be reached";

/// Tells why an access token is refused.
///
/// A token is read from standard input, from a file or from a variable of the environment; on the
/// command line it is visible to everyone on this machine. Nothing is sent anywhere but to the
/// issuers, URLs and services that the command line or the configuration names.
#[derive(Parser)]
#[command(name = "introspect", version, after_help = EXIT_CODES)]
struct Cli {
    /// Print JSON for machines instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    /// When to use colour: `auto` is on a terminal, unless `NO_COLOR` is set.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    color: Colour,
    /// Judge as if it were this time: seconds since 1970, or RFC 3339.
    #[arg(long, global = true, value_parser = when::parse, value_name = "TIME")]
    at: Option<UnixTime>,
    /// Give up on the network after so many seconds.
    #[arg(long, global = true, default_value_t = 10, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Decode(decode::Args),
    Verify(verify::Args),
    Explain(explain::Args),
    Introspect(Box<ask::Args>),
    Doctor(doctor::Args),
    Keys(keys::Args),
    Mint(mint::Args),
    ServeAs(serve_as::Args),
    Completions(pages::CompletionsArgs),
    Man(pages::ManArgs),
}

impl Command {
    /// Runs the command. Every one has a module of its own, with `Args` and `run`.
    fn run(&self, cx: &Context) -> Result<Report, Failure> {
        match self {
            Self::Decode(args) => decode::run(args, cx),
            Self::Verify(args) => verify::run(args, cx),
            Self::Explain(args) => explain::run(args, cx),
            Self::Introspect(args) => ask::run(args, cx),
            Self::Doctor(args) => doctor::run(args, cx),
            Self::Keys(args) => keys::run(args, cx),
            Self::Mint(args) => mint::run(args, cx),
            Self::ServeAs(args) => serve_as::run(args, cx),
            Self::Completions(args) => pages::completions(args, cx),
            Self::Man(args) => pages::man(args, cx),
        }
    }
}

/// What commands work with.
pub(crate) struct Context {
    /// The only source of time.
    pub(crate) clock: Arc<dyn Clock>,
    /// It shows what `--at` says.
    given: bool,
    pub(crate) screen: Screen,
    /// How long the network may take, all in all.
    pub(crate) timeout: Duration,
    runtime: tokio::runtime::Runtime,
}

impl Context {
    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// What time it is taken to be.
    pub(crate) fn clock_field(&self) -> Field {
        let field = Field::new("clock", when::date(self.now()));
        if self.given { field.remark(Tone::Faint, "as given") } else { field }
    }

    /// Waits for the network, and says on a terminal what for.
    ///
    /// On this thread, with all that it spawns: a trace records what happens on its thread.
    ///
    /// # Errors
    ///
    /// [`Exit::Unavailable`] if it takes longer than `--timeout`.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let _spinner = self.screen.spin(what);
        self.runtime.block_on(async {
            tokio::time::timeout(self.timeout, future).await.map_err(|_| {
                let seconds = self.timeout.as_secs();
                Failure::new(Exit::Unavailable, format!("no answer within {seconds} s: {what}"))
                    .hint("something in between may drop the packets; `--timeout` waits longer")
            })
        })
    }

    /// Runs something that has no end of its own, such as a server.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// A clock that stands still.
#[derive(Debug)]
struct At(UnixTime);

impl Clock for At {
    fn now(&self) -> UnixTime {
        self.0
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come this way too, for standard output.
            let text = error.render().to_string();
            if error.use_stderr() {
                screen::complain(&text)
            } else {
                screen::print(&text)
            }
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Accepted.into() };
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            screen::complain(&format!("introspect: {error}\n"));
            return Exit::Unavailable.into();
        }
    };
    let clock: Arc<dyn Clock> = match cli.at {
        Some(at) => Arc::new(At(at)),
        None => Arc::new(SystemClock),
    };
    let screen = Screen::new(cli.color, cli.json);
    let given = cli.at.is_some();
    let cx = Context { clock, given, screen, timeout: Duration::from_secs(cli.timeout), runtime };
    let exit = match cli.command.run(&cx) {
        Ok(report) => cx.screen.show(&report),
        Err(failure) => cx.screen.fail(&failure),
    };
    exit.into()
}

//! `introspect` shows why an access token is refused, one check at a time.
//!
//! The program decides nothing itself. The library verifies the token, and
//! `tower_introspect::checks` records its checks. Each command takes its inputs from its arguments
//! and the [`Context`], returns a [`Report`], and prints nothing.

mod attempt;
mod causes;
mod cert;
mod checks;
mod client;
mod config;
mod decode;
mod deployment;
mod diagnosis;
mod doctor;
mod exchange;
mod explain;
mod finding;
mod input;
mod introspect;
mod json;
mod keys;
mod mint;
mod net;
mod outcome;
mod pages;
mod pasted;
mod proxy;
mod report;
mod screen;
mod serve_as;
mod signals;
mod token;
mod ui;
mod verify;
mod when;

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio::runtime::Runtime;
use tower_introspect::{
    clock::{Clock, SystemClock, UnixTime},
    test_util::TestClock,
};

use self::{
    report::{Exit, Failure, Field, Report, Tone},
    screen::Screen,
};

/// The exit codes, for `--help` and the manual.
const EXIT_CODES: &str = "\
Exit codes:
  0  accepted, or done
  1  refused: the token, the keys or the deployment failed a check
  2  the command line, the input or the configuration is wrong
  3  not known: a server that is needed to decide could not be reached";

/// Show why an access token is refused.
///
/// Tokens are read from standard input, a file or an environment variable. A token on the command
/// line is visible to everyone on this machine. Requests go only to the issuers, URLs and services
/// that the command line or the configuration names.
#[derive(Parser)]
#[command(name = "introspect", version, after_help = EXIT_CODES)]
#[command(next_help_heading = "Global options")]
struct Cli {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Use colour: always, never or on terminals (auto).
    #[arg(long, global = true, hide_possible_values = true, hide_default_value = true,
        default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    color: ColorChoice,
    /// Check as at this time, in seconds or as in RFC 3339.
    #[arg(long, global = true, value_parser = when::parse, value_name = "TIME")]
    at: Option<UnixTime>,
    /// Wait so long for the network.
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
    Introspect(Box<introspect::Args>),
    Doctor(doctor::Args),
    Signals(signals::Args),
    Keys(keys::Args),
    Mint(mint::Args),
    ServeAs(serve_as::Args),
    Ui(ui::Args),
    Completions(pages::CompletionsArgs),
    Man(pages::ManArgs),
}

impl Command {
    /// Runs the command. Each has a module of its own, with `Args` and `run`.
    fn run(&self, cx: &Context) -> Result<Report, Failure> {
        match self {
            Self::Decode(args) => decode::run(args, cx),
            Self::Verify(args) => verify::run(args, cx),
            Self::Explain(args) => explain::run(args, cx),
            Self::Introspect(args) => introspect::run(args, cx),
            Self::Doctor(args) => doctor::run(args, cx),
            Self::Signals(args) => signals::run(args, cx),
            Self::Keys(args) => keys::run(args, cx),
            Self::Mint(args) => mint::run(args, cx),
            Self::ServeAs(args) => serve_as::run(args, cx),
            Self::Ui(args) => ui::run(args, cx),
            Self::Completions(args) => pages::completions(args, cx),
            Self::Man(args) => pages::man(args, cx),
        }
    }
}

/// The clock, screen and runtime that all commands use.
pub(crate) struct Context {
    /// The only source of time.
    pub(crate) clock: Arc<dyn Clock>,
    /// True if `--at` sets the clock.
    fixed_clock: bool,
    pub(crate) screen: Screen,
    /// The limit for all network access of a command together.
    pub(crate) timeout: Duration,
    /// The text that commands read instead of standard input.
    pub(crate) input: Option<String>,
    runtime: Runtime,
}

impl Context {
    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Returns the field that shows the time which the checks use.
    pub(crate) fn clock_field(&self) -> Field {
        let field = Field::new("clock", when::date(self.now()));
        if self.fixed_clock { field.remark(Tone::Faint, "set by --at") } else { field }
    }

    /// Waits for the network, and shows `activity` on a terminal meanwhile.
    ///
    /// The future and all its tasks run on this thread, because a recording covers one thread.
    ///
    /// # Errors
    ///
    /// [`Exit::Unavailable`] if it takes longer than `--timeout`.
    pub(crate) fn wait<T>(
        &self,
        activity: &str,
        future: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let _spinner = self.screen.spin(activity);
        self.runtime.block_on(async {
            tokio::time::timeout(self.timeout, future).await.map_err(|_| {
                let seconds = self.timeout.as_secs();
                let message = format!("no response within {seconds} s: {activity}");
                Failure::new(Exit::Unavailable, message)
                    .hint("a firewall may drop the packets; `--timeout` waits longer")
            })
        })
    }

    /// Returns a function that makes contexts for commands on other threads, each with its input.
    /// They print nothing.
    pub(crate) fn again(&self) -> impl Fn(String) -> io::Result<Self> + Send + Sync + use<> {
        let (clock, fixed_clock, timeout) = (self.clock.clone(), self.fixed_clock, self.timeout);
        move |input| {
            let screen = Screen::new(ColorChoice::Never, true);
            let (clock, input, runtime) = (clock.clone(), Some(input), runtime()?);
            Ok(Self { clock, fixed_clock, screen, timeout, input, runtime })
        }
    }

    /// Runs a future without a time limit, such as a server.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// Returns the command line. Its help has one form, with each option on a line if it fits.
fn command() -> clap::Command {
    const TEMPLATE: &str =
        "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";
    fn shortened(command: clap::Command) -> clap::Command {
        let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
        let command = match long.split_once("\n\n") {
            Some((_, more)) => command.before_help(more.to_owned()),
            None => command,
        };
        command.long_about(None).help_template(TEMPLATE).mut_subcommands(shortened)
    }
    let columns = screen::columns(io::stdout().is_terminal());
    shortened(Cli::command()).term_width(columns.unwrap_or(0))
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn main() -> ExitCode {
    // clap prints help and mistakes itself, and ends with `Accepted` or `Usage`.
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            screen::print_error(&format!("introspect: {error}\n"));
            return ExitCode::from(Exit::Unavailable as u8);
        }
    };
    let clock: Arc<dyn Clock> = match cli.at {
        Some(at) => Arc::new(TestClock::pinned(at)),
        None => Arc::new(SystemClock),
    };
    let (screen, fixed_clock) = (Screen::new(cli.color, cli.json), cli.at.is_some());
    let timeout = Duration::from_secs(cli.timeout);
    let cx = Context { clock, fixed_clock, screen, timeout, input: None, runtime };
    let exit = match cli.command.run(&cx) {
        Ok(report) => cx.screen.show(&report),
        Err(failure) => cx.screen.fail(&failure),
    };
    ExitCode::from(exit as u8)
}

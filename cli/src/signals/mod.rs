//! `signals` looks at the event streams of a service, and asks for verification events.

pub(crate) mod checks;
pub(crate) mod problem;
mod selected;
mod status;
mod verify;

use crate::{
    Context,
    report::{Failure, Report},
};

/// Look at the streams of security events of a service.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Status(status::Args),
    Verify(verify::Args),
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    match &args.command {
        Command::Status(args) => status::run(args, cx),
        Command::Verify(args) => verify::run(args, cx),
    }
}

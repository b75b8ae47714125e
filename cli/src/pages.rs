//! `completions` and `man` print shell completions and the manual.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{
    Cli, Context,
    report::{Exit, Failure, Report},
};

/// Print a completion script for a shell.
#[derive(clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Print the manual in roff, for `man -l -`.
#[derive(clap::Args)]
pub(crate) struct ManArgs {
    /// The command whose page to print. By default the page of `introspect`.
    command: Option<String>,
}

pub(crate) fn completions(args: &CompletionsArgs, _: &Context) -> Result<Report, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "introspect", &mut text);
    page("completions", text)
}

pub(crate) fn man(args: &ManArgs, _: &Context) -> Result<Report, Failure> {
    let mut root = Cli::command();
    root.build();
    let command = match &args.command {
        Some(name) => root.find_subcommand(name),
        None => Some(&root),
    };
    let name = args.command.as_deref().unwrap_or_default();
    let none = || Failure::usage(format!("there is no command `{name}`"));
    let command = command.ok_or_else(none)?.clone();
    let mut text = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut text);
    rendered.map_err(|error| Failure::usage(error.to_string()))?;
    page("man", text)
}

fn page(command: &str, text: Vec<u8>) -> Result<Report, Failure> {
    let text = String::from_utf8(text).map_err(|error| Failure::usage(error.to_string()))?;
    let mut report = Report::new(command, Exit::Accepted);
    report.set("text", text.as_str());
    report.verbatim(text);
    Ok(report)
}

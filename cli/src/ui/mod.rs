//! `ui` serves a page with which people decode, verify and explain tokens, on this machine only.

mod call;
mod server;

use std::{net::Ipv4Addr, path::PathBuf};

use tokio::net::TcpListener;
use tower_introspect::inspect;

use self::server::Site;
use crate::{
    Context,
    deployment::Deployment,
    report::{Exit, Failure, Report, Tone},
};

/// Serve a page that decodes, verifies and explains tokens, on this machine only.
///
/// Nothing that is pasted there is stored. Requests go only to the issuers and URLs that you type
/// and to the servers that the configuration names. The URL of the page is secret, and works until
/// Ctrl-C ends the program.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The configuration of the service in TOML, to explain its responses on the page.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The port of 127.0.0.1; 0 for any free port.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    // The file is read again for each request. Its mistakes are better known now.
    args.config.as_deref().map(Deployment::read).transpose()?;
    let secret = inspect::random_text();
    let secret = secret.ok_or_else(|| Failure::usage("there are no random numbers"))?;
    let failed = |error: std::io::Error| {
        let failure = format!("can't listen on port {}: {error}", args.port);
        Failure::usage(failure).hint("`--port 0` uses any free port")
    };
    cx.run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let mut report = Report::new("ui", Exit::Accepted);
        let url = format!("http://127.0.0.1:{port}/{secret}/");
        report.line(Tone::Plain, &url);
        report.line(Tone::Faint, "Open it in a browser of this machine. Ctrl-C ends it.");
        report.set("url", url);
        cx.screen.show(&report);
        server::serve(listener, Site::new(port, &secret, args.config.clone(), cx)).await;
        Ok(report)
    })
}

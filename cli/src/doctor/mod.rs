//! `doctor`: a deployment looked at before anyone depends on it.
//!
//! It says what was seen, and guesses nothing. What the library fetches is fetched by the library, and
//! overheard; what it would never send is sent only where `--probe` asks for it.

mod credentials;
mod discovery;
mod issuer;
mod link;
mod memory;
mod probe;
mod runbook;
mod since;
mod tokens;

use std::path::PathBuf;

use serde_json::{Value, json};
use tower_introspect::{ResourceServer, clock::UnixTime};

use self::{runbook::Runbook, since::Before};
use crate::{
    Context,
    finding::{self, Findings},
    net::{NetArgs, Wire},
    network,
    report::{Failure, Report, Tone},
    settings::Deployed,
    when,
};

/// Check a deployment: configuration, authorization servers, keys, certificates, credentials, clocks.
///
/// Takes the configuration of the service itself. Ends with an entry for the runbook, and with exit
/// code 1 if anything is wrong.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The configuration (TOML) of the service; its table `resource_server`, if it has one.
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// A file with a real token to look at. May be given several times.
    #[arg(long, value_name = "FILE")]
    token_file: Vec<PathBuf>,
    /// The name of a variable with a real token. May be given several times.
    #[arg(long, value_name = "VARIABLE")]
    token_env: Vec<String>,
    /// Also ask in ways that no service would: without credentials, with a wrong secret, with a wrong
    /// hint. May be noticed there.
    #[arg(long)]
    probe: bool,
    /// An earlier report (`--json`) of this deployment, to tell what has changed in the keys.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Warn of what expires within so many days.
    #[arg(long, default_value_t = 30, value_name = "DAYS")]
    warn_days: u32,
    /// Let warnings count.
    #[arg(long)]
    strict: bool,
    /// Print nothing but the entry for the runbook, in Markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    #[command(flatten)]
    net: NetArgs,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let tokens = tokens::given(args)?;
    let mut doctor = Doctor::new(args, cx)?;
    doctor.configuration();
    doctor.issuers();
    doctor.tokens(&tokens);
    doctor.memory();
    Ok(doctor.report())
}

/// What was found, as the examination goes on.
struct Doctor<'a> {
    args: &'a Args,
    cx: &'a Context,
    deployed: Deployed,
    server: ResourceServer,
    before: Option<Before>,
    wire: Wire,
    sections: Vec<Section>,
    runbook: Runbook,
    lifetimes: Vec<Lifetime>,
    /// The slowest answer of an introspection endpoint, in milliseconds.
    slowest: u128,
}

/// A subject and what was found of it.
struct Section {
    title: String,
    findings: Findings,
    /// More of it for machines.
    more: Value,
}

/// For how long tokens are good.
struct Lifetime {
    what: String,
    seconds: u64,
    jwt: bool,
}

impl<'a> Doctor<'a> {
    fn new(args: &'a Args, cx: &'a Context) -> Result<Self, Failure> {
        let deployed = Deployed::read(&args.config)?;
        args.net.fit(&deployed.settings.issuers)?;
        let wire = Wire::new(&args.net)?;
        let wrong = |problems| deployed.file.failure(&problems);
        let builder = deployed.config.builder().map_err(wrong)?;
        let server =
            builder.transport(wire.transport()).clock(cx.clock.clone()).build().map_err(wrong)?;
        let runbook = Runbook::new(&deployed, args);
        Ok(Self {
            args,
            cx,
            deployed,
            server,
            before: args.since.as_deref().map(Before::read).transpose()?,
            wire,
            sections: Vec::new(),
            runbook,
            lifetimes: Vec::new(),
            slowest: 0,
        })
    }

    fn configuration(&mut self) {
        let mut findings = Findings::default();
        let settings = &self.deployed.settings;
        let issuers = settings.issuers.len();
        let plural = if issuers == 1 { "" } else { "s" };
        findings.good(
            "config",
            format!("it is complete: {issuers} issuer{plural}, all secrets can be read"),
        );
        findings.note("audience", format!("audience: {}", settings.audiences.join(", ")));
        if settings.loopback_http {
            findings.warn(
                "danger_allow_http_loopback",
                "`danger_allow_http_loopback` is set: tokens and credentials travel in the clear",
            );
        }
        for issuer in &settings.issuers {
            let name = &issuer.issuer;
            if issuer.default_audience {
                findings.warn("danger_default_audience", format!(
                    "`danger_default_audience` is set for {name}: its tokens for other services \
                     pass, too"
                ));
            }
            if issuer
                .client
                .as_ref()
                .is_some_and(|client| client.place == "the configuration itself")
            {
                findings.warn(
                    "secret_inline",
                    format!("the secret for {name} stands in the configuration itself"),
                );
            }
        }
        let urls: Vec<_> = settings.issuers.iter().map(|issuer| &*issuer.issuer).collect();
        for line in network::proxies(&urls) {
            findings.note("proxy", line);
        }
        if let Ok(Some((path, certificate))) = self.args.net.certificate() {
            let what = format!("the client certificate in `{}`", path.display());
            self.expiry(&what, certificate.not_after, "client_certificate_expires", &mut findings);
        }
        self.section("Configuration", findings, Value::Null);
    }

    /// Notes when something ends, here and for the runbook.
    fn expiry(&mut self, what: &str, end: UnixTime, code: &'static str, findings: &mut Findings) {
        crate::keys::jwk::until(end, self.cx.now(), self.args.warn_days, code, what, findings);
        self.runbook.expires(what, end);
    }

    fn section(&mut self, title: impl Into<String>, findings: Findings, more: Value) {
        self.sections.push(Section { title: title.into(), findings, more });
    }

    fn report(mut self) -> Report {
        let all = self.sections.iter().map(|section| &section.findings);
        let mut report = Report::new("doctor", finding::exit(all, self.args.strict));
        let runbook = std::mem::take(&mut self.runbook).finish(report.exit, self.cx.now());
        report.set("runbook", runbook.to_json());
        let sections = self.sections.iter().map(|section| {
            json!({
                "title": section.title,
                "findings": section.findings.to_json(),
                "more": section.more,
            })
        });
        report.set("sections", sections.collect::<Vec<_>>());
        if self.args.markdown {
            report.verbatim(runbook.markdown());
            return report;
        }
        let name = self.deployed.path.display();
        report.line(Tone::Plain, format!("Looking at {name}, {}", when::date(self.cx.now())));
        for section in &self.sections {
            report.heading(&section.title);
            section.findings.tell(&mut report);
        }
        self.summary(&mut report);
        runbook.tell(&mut report);
        report
    }

    fn summary(&self, report: &mut Report) {
        use finding::Level::{Bad, Unknown, Warning};
        let all = || self.sections.iter().flat_map(|section| &section.findings.0);
        let count = |level| all().filter(|finding| finding.level == level).count();
        let (bad, unknown, warnings) = (count(Bad), count(Unknown), count(Warning));
        report.heading("Outcome");
        let counts = format!("{bad} wrong, {unknown} not known, {warnings} to look at");
        let (tone, word) = match report.exit {
            crate::report::Exit::Accepted => (Tone::Good, "READY"),
            crate::report::Exit::Unavailable => (Tone::Warning, "NOT KNOWN"),
            _ => (Tone::Bad, "NOT READY"),
        };
        report.line(tone, format!("  {word}: {counts}"));
        report.set("counts", json!({"bad": bad, "unknown": unknown, "warnings": warnings}));
    }
}

//! `doctor` checks a deployment before services depend on it.
//!
//! It reports only what it observes. The library fetches what it would fetch in a service, real
//! tokens go through the layer of the service, and the exchanges are recorded. Only `--probe`, and a
//! look at metadata that the service does not need, send requests that the library never sends.

mod bound;
mod cache;
mod credentials;
mod discovery;
mod forged;
mod issuer;
mod logout;
mod probe;
mod response;
mod runbook;
mod since;
mod tls_and_clock;
mod tokens;
mod transmitter;

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};
use tower_introspect::{ResourceServer, clock::UnixTime, inspect::ClientSettings};

use self::{credentials::NO_CREDENTIALS, runbook::Runbook, since::EarlierReport};
use crate::{
    Context,
    deployment::Deployment,
    diagnosis::Place,
    finding::{self, Finding, Findings, Level, Today},
    net::{NetArgs, RecordingTransport},
    proxy,
    report::{Exit, Failure, Report, Tone},
    when,
};

/// Check a deployment: configuration, metadata, keys, certificates, credentials, clocks, tokens.
///
/// Uses the configuration of the service itself. The report begins with the outcome and ends with an
/// entry for the runbook. The exit code is 1 if anything is wrong.
///
/// The metadata of each issuer is read even where the service does not need it, to compare the name
/// of the issuer. `--probe` sends more requests that no service would send.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The configuration of the service in TOML; its table `[resource_server]` if it has one.
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// A file with a real token to check. May be given several times.
    #[arg(long, value_name = "FILE")]
    token_file: Vec<PathBuf>,
    /// The name of an environment variable with a real token. May be given several times.
    #[arg(long, value_name = "VARIABLE")]
    token_env: Vec<String>,
    /// Also introspect as no service would: without credentials, with a wrong secret, with a wrong
    /// hint. The authorization server may log or block such requests. Also ask transmitters for a
    /// verification event.
    #[arg(long)]
    probe: bool,
    /// An earlier report (`--json`) of this deployment, to compare the keys with.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Warn of keys and certificates that expire within this many days.
    #[arg(long, default_value_t = 30, value_name = "DAYS")]
    warn_days: u32,
    /// Exit with 1 for warnings too.
    #[arg(long)]
    strict: bool,
    /// Print only the entry for the runbook, in Markdown.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    #[command(flatten)]
    forged: forged::ForgedArgs,
    #[command(flatten)]
    net: NetArgs,
}

/// The most findings to show beside the verdict.
const HEADS: usize = 3;

pub(crate) fn run(args: &Args, cx: &Context) -> Result<Report, Failure> {
    let tokens = tokens::read(args)?;
    let mut doctor = Doctor::new(args, cx)?;
    let forgery = args.forged.read(&doctor)?;
    doctor.check_configuration();
    doctor.check_issuers();
    doctor.check_signals();
    doctor.check_tokens(&tokens);
    doctor.check_cache();
    if let Some(forgery) = &forgery {
        doctor.check_proxy(forgery);
    }
    Ok(doctor.report())
}

/// The state of the checks.
struct Doctor<'a> {
    args: &'a Args,
    cx: &'a Context,
    deployment: Deployment,
    server: ResourceServer,
    earlier: Option<EarlierReport>,
    transport: RecordingTransport,
    sections: Vec<Section>,
    /// The findings about the current subject.
    found: Findings,
    runbook: Runbook,
    lifetimes: Vec<Lifetime>,
    /// The time that the slowest introspection took, in milliseconds.
    slowest: u128,
    /// The issuers about which something is wrong or not known.
    troubled: Vec<String>,
    /// The issuers of the tokens that the service admits.
    admitted: Vec<String>,
}

/// A subject and its findings.
#[derive(Serialize)]
struct Section {
    title: String,
    findings: Findings,
    /// Additional values for machines.
    more: Value,
}

/// The lifetime of a token.
struct Lifetime {
    token: String,
    seconds: u64,
    jwt: bool,
}

impl<'a> Doctor<'a> {
    fn new(args: &'a Args, cx: &'a Context) -> Result<Self, Failure> {
        let deployment = Deployment::read(&args.config)?;
        args.net.check_certificates(&deployment.settings.issuers)?;
        args.net.check_certificates_of_signals(deployment.settings.signals.as_ref())?;
        let transport = RecordingTransport::new(&args.net, Some(&deployment.settings))?;
        let server = deployment.server(cx, Some(&transport))?;
        let runbook = Runbook::new(&deployment, args);
        Ok(Self {
            args,
            cx,
            deployment,
            server,
            earlier: args.since.as_deref().map(EarlierReport::read).transpose()?,
            transport,
            sections: Vec::new(),
            found: Findings::default(),
            runbook,
            lifetimes: Vec::new(),
            slowest: 0,
            troubled: Vec::new(),
            admitted: Vec::new(),
        })
    }

    fn check_configuration(&mut self) {
        let settings = &mut self.deployment.settings;
        let issuers = settings.issuers.len();
        let plural = if issuers == 1 { "" } else { "s" };
        self.found.good("config").text(format!(
            "the configuration is complete: {issuers} issuer{plural}, all secrets readable"
        ));
        self.found.note("audience").text(format!("audience: {}", settings.audiences.join(", ")));
        if settings.loopback_http {
            self.found.warn("danger_allow_http_loopback").text(
                "`danger_allow_http_loopback` is set: tokens and credentials are not encrypted",
            );
        }
        for issuer in &settings.issuers {
            let is = |of: fn(&ClientSettings) -> bool| issuer.client.as_ref().is_some_and(of);
            let mut warn = |is_set: bool, code, text| {
                if is_set {
                    self.found.warn(code).text(format!("`{code}` at {}: {text}", issuer.issuer));
                }
            };
            let text = "its tokens for other services are accepted too";
            warn(issuer.has_default_audience, "danger_default_audience", text);
            let text = "this service sends no credentials, so only the network keeps others from \
                        trying tokens there";
            warn(is(|client| client.method == NO_CREDENTIALS), "danger_none", text);
            let text = "its ID tokens may be accepted too";
            warn(issuer.accepts_unmarked, "danger_accept_unmarked_jwts", text);
            let inline = is(|client| client.secret_location == "the configuration itself");
            warn(inline, "secret_inline", "the secret is in the configuration itself");
        }
        if settings.issuers.iter().any(|issuer| issuer.client.is_some()) {
            let budget = "`ResourceServerBuilder::miss_budget`";
            self.found.note("peers").text(format!(
                "only the program can tell clients apart ({budget}). Otherwise a process that \
                 starts amid a flood of made-up tokens refuses half of the requests"
            ));
        }
        let urls: Vec<_> = settings.issuers.iter().map(|issuer| &*issuer.issuer).collect();
        for line in proxy::proxies_of_service(settings, &urls) {
            self.found.note("proxy").text(line);
        }
        if let Ok(Some((path, certificate))) = self.args.net.certificate() {
            let what = format!("the client certificate in `{}`", path.display());
            let end = certificate.not_after;
            self.add_expiry(&what, end, "client_certificate_expires");
        }
        self.add_section("Configuration", Value::Null);
    }

    /// Adds an expiry to the findings and to the runbook.
    fn add_expiry(&mut self, what: &str, end: UnixTime, code: &'static str) {
        self.found.add_expiry(code, what, end, self.today());
        self.runbook.add_expiry(what, end);
    }

    /// Ends a subject, and begins the next.
    fn add_section(&mut self, title: impl Into<String>, more: Value) {
        let findings = std::mem::take(&mut self.found);
        self.sections.push(Section { title: title.into(), findings, more });
    }

    /// Returns the place of the settings.
    const fn place(&self) -> Place<'_> {
        Place::File(&self.deployment)
    }

    fn today(&self) -> Today {
        Today { now: self.cx.now(), warn_days: self.args.warn_days }
    }

    fn has_finding(&self, code: &str) -> bool {
        self.findings().any(|(_, finding)| finding.code == code)
    }

    fn findings(&self) -> impl Iterator<Item = (&Section, &Finding)> {
        self.sections.iter().flat_map(|one| one.findings.0.iter().map(move |found| (one, found)))
    }

    fn report(mut self) -> Report {
        self.weigh_names();
        let all = self.sections.iter().map(|section| &section.findings);
        let mut report = Report::new("doctor", finding::exit(all, self.args.strict));
        let unseen = self.unseen();
        let (tone, outcome) = match report.exit {
            Exit::Accepted if unseen.is_none() => (Tone::Good, "READY"),
            Exit::Accepted => (Tone::Good, "READY, as far as was seen"),
            Exit::Unavailable => (Tone::Warning, "NOT KNOWN"),
            _ => (Tone::Bad, "NOT READY"),
        };
        let runbook = std::mem::take(&mut self.runbook).finish(outcome, self.cx.now());
        report.set("runbook", json!(runbook));
        report.set("sections", json!(self.sections));
        if self.args.markdown {
            report.verbatim(runbook.markdown());
            return report;
        }
        let heads = self.report_outcome((tone, outcome), unseen, &mut report);
        for section in &self.sections {
            report.heading(&section.title);
            for finding in &section.findings.0 {
                let is_head = heads.iter().any(|head| std::ptr::eq(*head, finding));
                // The details of those stand beside the verdict.
                finding.report_to(&mut report, !is_head);
            }
        }
        runbook.report_to(&mut report);
        report
    }

    /// A token that is admitted shows that the name of its issuer does no harm, whatever the metadata
    /// says that the service does not read.
    fn weigh_names(&mut self) {
        let is_refused =
            |(_, one): (_, &Finding)| one.code == "not_admitted" && one.level == Level::Note;
        if self.findings().any(is_refused) {
            return;
        }
        for section in &mut self.sections {
            let is_admitted = self.admitted.iter().any(|name| section.more["issuer"] == **name);
            for finding in section.findings.0.iter_mut().filter(|_| is_admitted) {
                match finding.code {
                    "issuer_mismatch" => finding.level = Level::Warning,
                    "issuer_not_compared" => finding.level = Level::Note,
                    _ => {}
                }
            }
        }
    }

    /// Reports the verdict and the worst findings, with what to change. Returns these findings.
    fn report_outcome(
        &self,
        (tone, outcome): (Tone, &str),
        unseen: Option<String>,
        report: &mut Report,
    ) -> Vec<&Finding> {
        use Level::{Bad, Unknown, Unseen, Warning};
        let of = |level| self.findings().filter(move |(_, finding)| finding.level == level);
        let [bad, unknown, warnings] = [Bad, Unknown, Warning].map(|level| of(level).count());
        let plural = if warnings == 1 { "" } else { "s" };
        let unseen_too = unseen.iter().filter(|_| report.exit == Exit::Accepted);
        let unseen_too: String = unseen_too.map(|unseen| format!(" {unseen};")).collect();
        let counts = format!("{bad} wrong, {unknown} not known, {warnings} warning{plural}");
        report.line(tone, format!("{outcome}:{unseen_too} {counts}"));
        report.set("counts", json!({"bad": bad, "unknown": unknown, "warnings": warnings}));
        report.set("unseen", unseen);
        // Those that are not as bad wait for their section.
        let worst = [Bad, Unknown, Warning].into_iter().find(|level| of(*level).next().is_some());
        let heads = worst.into_iter().flat_map(of).chain(of(Unseen).filter(|_| bad + unknown == 0));
        let mut heads: Vec<_> = heads.collect();
        // The settings were chosen. What tokens show is news.
        let order =
            ["Token", "Issuer", "Transmitter", "Logouts", "Proxy", "Cache", "Configuration"];
        let rank = |title: &str| order.iter().position(|name| title.starts_with(name));
        if worst.is_none_or(|level| level == Warning) {
            heads.sort_by_key(|(section, _)| rank(&section.title));
        }
        heads.truncate(HEADS);
        for (section, finding) in &heads {
            let kind = |title: &str| title.split(' ').next().map(str::to_owned);
            let same = |other: &&Section| kind(&other.title) == kind(&section.title);
            if self.sections.iter().filter(same).count() > 1 {
                report.line(Tone::Plain, format!("  {}:", section.title));
            }
            finding.report_to(report, true);
        }
        let name = self.deployment.path.display();
        report.line(Tone::Plain, "");
        report.line(Tone::Plain, format!("Checked {name} at {}", when::date(self.cx.now())));
        heads.into_iter().map(|(_, finding)| finding).collect()
    }

    /// Returns what no token has shown.
    fn unseen(&self) -> Option<String> {
        let names = self.deployment.settings.issuers.iter().map(|issuer| &issuer.issuer);
        let missing: Vec<_> = names.filter(|name| !self.admitted.contains(name)).cloned().collect();
        let none_given = self.args.token_file.is_empty() && self.args.token_env.is_empty();
        let unseen = match self.admitted.is_empty() {
            false => format!("no token of {} was tried", missing.join(", ")),
            true if self.has_finding("possession_not_tried") => {
                "no proof of possession was tried".to_owned()
            }
            true if none_given => "no token was tried (`--token-file`)".to_owned(),
            true => "no access token was admitted".to_owned(),
        };
        (!missing.is_empty()).then_some(unseen)
    }
}

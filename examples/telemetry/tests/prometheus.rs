//! A real Prometheus scrapes each of the programs, loads the alerts, and runs every query of the
//! dashboard. Without one the test prints `SKIPPED` and passes, unless `CI=true`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpListener,
    process::{Child, Command},
    time::{sleep, timeout},
};

mod common;

use common::{fetch, service};

/// A directory that is removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn docs(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations").join(file)
}

fn is_there(program: &str) -> bool {
    std::process::Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Starts a Prometheus that scrapes `target`. Returns it with the address it listens on.
async fn prometheus(scratch: &Scratch, target: &str) -> (Child, String) {
    let config = scratch.0.join("prometheus.yml");
    let rules = docs("alerts.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\n\
         scrape_configs: [{{job_name: api, static_configs: [{{targets: ['{target}']}}]}}]\n",
        rules.display()
    );
    fs::write(&config, text).unwrap();
    // If the port is taken in between, Prometheus does not start, and the test fails.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", scratch.0.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--log.level=warn")
        .kill_on_drop(true);
    (command.stdin(Stdio::null()).spawn().unwrap(), address)
}

async fn query(address: &str, expression: &str) -> Result<Vec<Value>, String> {
    let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = fetch(address, &format!("/api/v1/query?query={encoded}"), "").await;
    let (_, body) = answer.ok_or("no answer")?;
    let answer: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
    match answer["status"].as_str() {
        Some("success") => Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default()),
        _ => Err(format!("{}", answer["error"])),
    }
}

/// Returns the queries of the dashboard, with their variables filled in.
fn questions() -> Vec<(String, String)> {
    let text = fs::read_to_string(docs("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut questions = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression.replace("$__rate_interval", "30s").replace("$job", ".*");
            assert!(!expression.contains('$'), "{expression}");
            questions.push((panel["title"].as_str().unwrap().to_owned(), expression));
        }
    }
    questions
}

#[tokio::test]
async fn prometheus_scrapes_it_and_the_dashboard_finds_what_it_asks_for() {
    scraped("telemetry", env!("CARGO_BIN_EXE_telemetry")).await;
}

#[tokio::test]
async fn prometheus_scrapes_the_opentelemetry_sdk_and_finds_the_same() {
    scraped("otel", env!("CARGO_BIN_EXE_otel")).await;
}

async fn scraped(name: &str, program: &str) {
    if !is_there("prometheus") || !is_there("promtool") {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "there is no Prometheus");
        eprintln!("SKIPPED: prometheus and promtool are not installed");
        return;
    }
    let scratch = Scratch::new(name);
    let (_service, target) = service(program, &[]).await;
    let (mut prometheus, address) = prometheus(&scratch, &target).await;

    let questions = questions();
    let mut unanswered: BTreeSet<_> = questions.iter().collect();
    for _ in 0..240 {
        sleep(Duration::from_millis(500)).await;
        assert_eq!(prometheus.try_wait().unwrap(), None, "it ended");
        let mut left = BTreeSet::new();
        for question @ (_, expression) in unanswered {
            match query(&address, expression).await {
                Ok(found) if !found.is_empty() => {}
                // No data yet, or Prometheus does not listen yet.
                _ => drop(left.insert(question)),
            }
        }
        unanswered = left;
        if unanswered.is_empty() {
            break;
        }
    }
    assert!(unanswered.is_empty(), "{unanswered:#?}");

    // All rules are loaded and can be evaluated.
    let (_, rules) = fetch(&address, "/api/v1/rules", "").await.unwrap();
    let rules: Value = serde_json::from_str(&rules).unwrap();
    let groups = rules["data"]["groups"].as_array().unwrap();
    let rules: Vec<_> =
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert_eq!(rules.len(), 14);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        // One request in twelve has a token of an unknown key. Its alert may be pending by now.
        assert_ne!(rule["state"], "firing", "{rule}");
    }
    let up = query(&address, "up{job=\"api\"}").await.unwrap();
    assert_eq!(up[0]["value"][1], "1");

    // Prometheus accepts the exposition: names, units, help for each.
    let (status, exposed) = fetch(&target, "/metrics", "").await.unwrap();
    assert_eq!(status, 200);
    let mut lint = Command::new("promtool");
    lint.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut lint = lint.stdout(Stdio::piped()).spawn().unwrap();
    lint.stdin.take().unwrap().write_all(exposed.as_bytes()).await.unwrap();
    let lint = timeout(Duration::from_secs(120), lint.wait_with_output()).await.unwrap().unwrap();
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stderr));

    let (status, ready) = fetch(&target, "/ready", "").await.unwrap();
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!((status, &ready["ready"]), (200, &true.into()));
    assert_eq!(ready["issuers"][0]["reachable"], true);
}

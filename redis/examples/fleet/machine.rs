//! The processes of the example, on one machine.

use std::{fs, net::SocketAddr, process::Command};

use testing::host::{Process, ScratchDir, free_port, has};
use tower_introspect::test_util::{AuthorizationServer, Listening};

use crate::Outcome;

/// Three instances, HAProxy in front of them, Redis, and an authorization server in this process.
pub(crate) struct Machine {
    pub(crate) authorization: AuthorizationServer,
    pub(crate) http: reqwest::Client,
    pub(crate) instances: Vec<String>,
    pub(crate) proxy: String,
    redis: Option<Process>,
    redis_port: u16,
    dir: ScratchDir,
    _running: Vec<Process>,
    _listening: Listening,
}

impl Machine {
    pub(crate) async fn start() -> Outcome<Self> {
        for program in ["redis-server", "haproxy"] {
            if !has(program) {
                return Err(format!("{program} is not installed").into());
            }
        }
        let (authorization, listening) = AuthorizationServer::on_loopback().await?;
        let (dir, redis_port) = (ScratchDir::new("fleet"), free_port());
        let redis = redis(&dir, redis_port).await;
        let mut running = Vec::new();
        let ports = [free_port(), free_port(), free_port()];
        for (name, port) in ["one", "two", "three"].into_iter().zip(ports) {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["instance", name, &port.to_string()]);
            command.arg(format!("redis://127.0.0.1:{redis_port}/")).arg(authorization.issuer());
            let mut process = Process::start(&mut command);
            process.listens(&command, local(port)).await;
            running.push(process);
        }
        let proxy = free_port();
        running.push(haproxy(&dir, proxy, &ports).await?);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        Ok(Self {
            authorization,
            http: reqwest::Client::builder().no_proxy().build()?,
            instances: ports.map(url).to_vec(),
            proxy: url(proxy),
            redis: Some(redis),
            redis_port,
            dir,
            _running: running,
            _listening: listening,
        })
    }

    /// Kills Redis, with all that it knows.
    pub(crate) fn kill_redis(&mut self) {
        self.redis = None;
    }

    pub(crate) async fn start_redis(&mut self) {
        self.redis = Some(redis(&self.dir, self.redis_port).await);
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn redis(dir: &ScratchDir, port: u16) -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
    command.current_dir(dir.path());
    let mut process = Process::start(&mut command);
    process.listens(&command, local(port)).await;
    process
}

async fn haproxy(dir: &ScratchDir, port: u16, instances: &[u16]) -> Outcome<Process> {
    let servers: String =
        instances.iter().map(|port| format!("  server s{port} 127.0.0.1:{port}\n")).collect();
    let config = format!(
        "defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend api
  bind 127.0.0.1:{port}
  default_backend instances
backend instances
  balance roundrobin
{servers}"
    );
    let file = dir.path().join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = Command::new("haproxy");
    command.arg("-f").arg(file).arg("-db");
    let mut process = Process::start(&mut command);
    process.listens(&command, local(port)).await;
    Ok(process)
}

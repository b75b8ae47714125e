//! Proxies as child processes.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use crate::host::{PATIENCE, Process};

/// Starts nginx in a directory, with these lines inside of `http`, and waits until it listens.
pub async fn nginx(dir: &Path, http: &str, address: SocketAddr) -> Process {
    // A single process, which ends when it is killed.
    let config = format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
{http}
}}
"
    );
    fs::write(dir.join("nginx.conf"), config).expect("writable");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf"));
    command.arg("-e").arg(dir.join("error.log"));
    let mut process = Process::start(&mut command);
    process.listens(&command, address).await;
    process
}

/// Asks again and again until the answer is yes.
pub async fn until(is_so: impl AsyncFn() -> bool, otherwise: impl FnOnce() -> String) {
    let ready = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ready = tokio::time::timeout(PATIENCE, ready).await;
    ready.unwrap_or_else(|_| panic!("{}", otherwise()));
}

//! A Redis server for one test.

use std::{net::SocketAddr, process::Command, time::Duration};

use redis::{
    AsyncConnectionConfig, Client,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
};
use testing::host::{Process, ScratchDir, Stopped, free_port, has, skip};

use crate::{LONG, settle};

/// A server on a port of its own. Nothing of it is kept.
pub(crate) struct Server {
    pub(crate) port: u16,
    dir: ScratchDir,
    args: Vec<String>,
    process: Option<Process>,
}

impl Server {
    /// Starts a server, or says that the test is skipped.
    pub(crate) async fn start(args: &[&str]) -> Option<Self> {
        if !has("redis-server") {
            skip("redis-server");
            return None;
        }
        let (dir, port) = (ScratchDir::new("redis"), free_port());
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut server = Self { port, dir, args, process: None };
        server.restart().await;
        Some(server)
    }

    /// Starts a server that has had its data for long.
    pub(crate) async fn settled(args: &[&str]) -> Option<Self> {
        let server = Self::start(args).await?;
        settle(&mut server.connection().await).await;
        Some(server)
    }

    /// Starts it on the same port, without the data that it had.
    pub(crate) async fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"]);
        command.args(["--port", &self.port.to_string()]);
        command.args(&self.args).current_dir(self.dir.path());
        let mut process = Process::start(&mut command);
        process.listens(&command, SocketAddr::from(([127, 0, 0, 1], self.port))).await;
        self.process = Some(process);
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Suspends it until the returned value is dropped.
    pub(crate) fn stop(&self) -> Stopped<'_> {
        self.process.as_ref().expect("it runs").stop()
    }

    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        self.connection_of("").await
    }

    /// Connects as a user, such as `name:password@`.
    pub(crate) async fn connection_of(&self, user: &str) -> MultiplexedConnection {
        let settings = AsyncConnectionConfig::new()
            .set_response_timeout(Some(LONG))
            .set_connection_timeout(Some(LONG));
        let client = self.client(user);
        client.get_multiplexed_async_connection_with_config(&settings).await.expect("it accepts")
    }

    pub(crate) fn client(&self, user: &str) -> Client {
        Client::open(format!("redis://{user}127.0.0.1:{}/", self.port)).expect("a URL")
    }

    /// Returns a connection that is made anew when it breaks.
    pub(crate) fn manager(&self, user: &str) -> ConnectionManager {
        let settings = ConnectionManagerConfig::new()
            .set_min_delay(Duration::from_millis(1))
            .set_number_of_retries(1)
            .set_response_timeout(Some(LONG));
        ConnectionManager::new_lazy_with_config(self.client(user), settings).expect("good settings")
    }
}

//! A Redis server for one test.

use std::{net::SocketAddr, process::Command, time::Duration};

use redis::{
    AsyncConnectionConfig, Client,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
};
use testing::host::{PATIENCE, Process, ScratchDir, Stopped, free_port, has, skip};

use crate::replay::settle;

/// Longer than any response takes, also on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

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

    /// Starts a replica, and waits until it has the data of its primary.
    pub(crate) async fn replica_of(primary: &Self) -> Option<Self> {
        let replica = Self::start(&["--replicaof", &format!("127.0.0.1 {}", primary.port)]).await?;
        replica.says("INFO replication", "master_link_status:up").await;
        Some(replica)
    }

    /// Starts a cluster of one node.
    pub(crate) async fn cluster() -> Option<Self> {
        let node = Self::start(&["--cluster-enabled", "yes"]).await?;
        send(&mut node.connection().await, "CLUSTER ADDSLOTSRANGE 0 16383").await;
        node.says("CLUSTER INFO", "cluster_state:ok").await;
        Some(node)
    }

    /// Waits until the response to a command contains a text.
    pub(crate) async fn says(&self, command: &str, text: &str) {
        let mut connection = self.connection().await;
        let says = async {
            while !send(&mut connection, command).await.contains(text) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, says).await.expect("it does not say so");
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

/// Sends one command and returns the response as text.
pub(crate) async fn send(connection: &mut MultiplexedConnection, command: &str) -> String {
    let mut words = command.split(' ');
    let mut packed = redis::cmd(words.next().expect("a name"));
    for word in words {
        packed.arg(word);
    }
    let value: redis::Value = packed.query_async(connection).await.expect("the command is good");
    redis::from_redis_value::<String>(value).unwrap_or_default()
}

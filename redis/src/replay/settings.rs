//! The settings of a store.

use std::time::Duration;

/// The time limit of commands, unless requests wait for longer.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(5);

/// The settings of a store.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) prefix: String,
    pub(crate) timeout: Duration,
    pub(crate) replicas: Option<Replicas>,
    pub(crate) longest_proof: Duration,
    pub(crate) clock_difference: Duration,
    pub(crate) accepts_losses: bool,
}

/// The number of replicas that must have a mark, and the time to wait for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replicas {
    pub(crate) count: u32,
    pub(crate) timeout: Duration,
}

impl Settings {
    /// Returns the time for which a request waits for its mark.
    pub(crate) fn patience(&self) -> Duration {
        let replicas = self.replicas.map_or(Duration::ZERO, |replicas| replicas.timeout);
        self.timeout.saturating_add(replicas)
    }

    /// Returns the time after a loss of data in which a proof may have been used before the loss.
    ///
    /// The loss is dated by the time at which the first mark after it was sent. Others can have set
    /// marks until it arrived.
    pub(crate) fn doubt(&self) -> Duration {
        self.longest_proof.saturating_add(self.clock_difference).saturating_add(self.give_up())
    }

    /// Returns the time for which commands count as in flight if the connection gives up later or never.
    pub(crate) fn give_up(&self) -> Duration {
        GIVE_UP.max(self.patience())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prefix: "tower-introspect:dpop:".to_owned(),
            timeout: Duration::from_millis(20),
            replicas: None,
            longest_proof: Duration::from_secs(120),
            clock_difference: Duration::from_secs(5),
            accepts_losses: false,
        }
    }
}

//! The settings of a receiver of logout tokens.

use std::{collections::HashMap, time::Duration};

#[derive(Clone, Debug)]
pub(super) struct Settings {
    client_id: String,
    clients: HashMap<String, String>,
    pub(super) strict_typ: bool,
    pub(super) cut_by_subject: bool,
    pub(super) max_age: Duration,
}

impl Settings {
    pub(super) fn new(client_id: String) -> Self {
        Self {
            client_id,
            clients: HashMap::new(),
            strict_typ: false,
            cut_by_subject: false,
            max_age: Duration::from_secs(300),
        }
    }

    pub(super) fn set_client(&mut self, issuer: String, client_id: String) {
        self.clients.insert(issuer, client_id);
    }

    /// Returns the client identifier of this service at an issuer.
    pub(super) fn client_at(&self, issuer: &str) -> &str {
        self.clients.get(issuer).unwrap_or(&self.client_id)
    }
}

//! Everything that a run carries from round to round.

use plasticity_core::checkpoint::{Files, Snapshot, file, from_json, to_json};
use plasticity_core::error::RunError;
use serde::{Deserialize, Serialize};

use crate::federation::Server;

/// The state of a run.
pub(super) struct State {
    pub server: Server,
    pub history: Vec<Round>,
}

/// What is kept of a round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Round {
    pub global: f64,
    pub personal: f64,
    pub global_on_own: f64,
    pub flips: f64,
    pub ties: f64,
    /// Bytes so far, both directions, headers included.
    pub up: u64,
    pub down: u64,
}

impl State {
    /// The state before the first round.
    pub fn new(server: Server) -> Self {
        Self { server, history: Vec::new() }
    }
}

impl Snapshot for State {
    fn save(&self) -> Result<Files, RunError> {
        Ok(Files::from([
            ("server.bin".into(), self.server.to_bytes()),
            ("history.json".into(), to_json(&self.history)?),
        ]))
    }

    fn load(&mut self, files: &Files) -> Result<(), RunError> {
        self.server = Server::from_bytes(file(files, "server.bin")?)?;
        self.history = from_json("history.json".as_ref(), file(files, "history.json")?)?;
        Ok(())
    }
}

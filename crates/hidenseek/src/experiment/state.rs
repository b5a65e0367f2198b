//! Everything that a run carries from step to step.

use plasticity_core::checkpoint::{Files, Snapshot, file, from_json, to_json};
use plasticity_core::error::RunError;
use serde::{Deserialize, Serialize};

use crate::codec::bits::{pack, unpack};
use crate::federation::{self, Server};

/// The state of a run, phase by phase: pruning, rounds, and what every client trains for itself.
#[derive(Default)]
pub(super) struct State {
    /// What is left of the weights after some cuts.
    pub keep: Vec<bool>,
    pub cuts: usize,
    /// From the first round on.
    pub server: Option<Server>,
    pub history: Vec<Round>,
    /// The round under way.
    pub round: Option<federation::Round>,
    /// The same as it was saved.
    pub saved_round: Option<Vec<u8>>,
    /// The accuracy of each client that has trained for itself.
    pub alone: Vec<f64>,
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

const MASK: &str = "mask.bin";
const SERVER: &str = "server.bin";
const ROUND: &str = "round.bin";
const HISTORY: &str = "history.json";
const ALONE: &str = "alone.bin";

impl Snapshot for State {
    fn save(&self) -> Result<Files, RunError> {
        let mut mask = [self.cuts as u64, self.keep.len() as u64].map(u64::to_le_bytes).concat();
        mask.extend(pack(&self.keep));
        let alone: Vec<u8> = self.alone.iter().flat_map(|accuracy| accuracy.to_le_bytes()).collect();
        let mut files =
            Files::from([(MASK.into(), mask), (HISTORY.into(), to_json(&self.history)?), (ALONE.into(), alone)]);
        if let Some(server) = &self.server {
            files.insert(SERVER.into(), server.to_bytes());
        }
        if let Some(round) = &self.round {
            files.insert(ROUND.into(), round.to_bytes());
        }
        Ok(files)
    }

    fn load(&mut self, files: &Files) -> Result<(), RunError> {
        let damaged = |name: &str| RunError::Failed(format!("`{name}` of the checkpoint is none of this experiment"));
        let mask = file(files, MASK)?;
        let (words, bits) = mask.split_first_chunk::<16>().ok_or_else(|| damaged(MASK))?;
        let [cuts, weights] = [0, 8].map(|at| {
            let mut word = [0; 8];
            word.copy_from_slice(&words[at..at + 8]);
            u64::from_le_bytes(word) as usize
        });
        let (accuracies, rest) = file(files, ALONE)?.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(damaged(ALONE));
        }
        *self = Self {
            keep: unpack(bits, weights).map_err(|_| damaged(MASK))?,
            cuts,
            server: files.get(SERVER).map(|bytes| Server::from_bytes(bytes)).transpose()?,
            history: from_json(HISTORY.as_ref(), file(files, HISTORY)?)?,
            round: None,
            saved_round: files.get(ROUND).cloned(),
            alone: accuracies.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        };
        // The history is that of the server's rounds.
        let rounds = self.server.as_ref().map_or(0, Server::round);
        if self.history.len() as u64 == rounds { Ok(()) } else { Err(damaged(HISTORY)) }
    }
}

//! Which of the two client rounds a network gets.

use burn::prelude::Device;
use plasticity_core::rng::Stream;

use crate::client::{ClientData, LocalTraining, Subnetwork, Trainable, Trained};
use crate::composed;
use crate::error::FederationError;
use crate::fused::{self, Prepared};

/// The fused round, or that of tensor operations.
#[derive(Debug)]
pub(super) struct Engine {
    sub: Subnetwork,
    prepared: Option<Prepared>,
    device: Device,
}

impl Engine {
    pub fn new(sub: Subnetwork, device: &Device) -> Result<Self, FederationError> {
        let prepared = Prepared::new(&sub);
        if prepared.is_none() {
            sub.refuse_empty()?;
        }
        Ok(Self { sub, prepared, device: device.clone() })
    }

    pub fn subnetwork(&self) -> &Subnetwork {
        &self.sub
    }

    pub fn is_fused(&self) -> bool {
        self.prepared.is_some()
    }

    pub fn train(
        &self,
        trainable: Trainable,
        values: &[f32],
        data: &ClientData,
        training: &LocalTraining,
        stream: &mut Stream,
        round: u64,
    ) -> Result<Trained, FederationError> {
        let trained = match &self.prepared {
            Some(prepared) => fused::train(prepared, trainable, values, data, training, stream),
            None => composed::train(&self.sub, trainable, values, data, training, stream, &self.device),
        };
        trained.map_err(|error| in_round(error, round))
    }

    /// Logits `[rows, classes]` of these images of `x`, which is known to be finite, or of all.
    pub fn logits(
        &self,
        trainable: Trainable,
        values: &[f32],
        x: &[f32],
        rows: Option<&[u32]>,
        round: u64,
    ) -> Result<Vec<f32>, FederationError> {
        let logits = match &self.prepared {
            Some(prepared) => fused::logits_of(prepared, trainable, values, x, rows),
            None => {
                let inputs = self.sub.architecture().inputs();
                let picked = rows.map(|rows| {
                    rows.iter().flat_map(|row| &x[*row as usize * inputs..][..inputs]).copied().collect::<Vec<f32>>()
                });
                composed::logits_of(&self.sub, trainable, values, picked.as_deref().unwrap_or(x), &self.device)
            }
        };
        logits.map_err(|error| in_round(error, round))
    }
}

/// The same error, with the round in which it arose.
fn in_round(error: FederationError, round: u64) -> FederationError {
    match error {
        FederationError::NotFinite { field, .. } => FederationError::NotFinite { field, step: round },
        error => error,
    }
}

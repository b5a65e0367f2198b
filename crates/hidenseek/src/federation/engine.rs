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
        sub.architecture.check()?;
        let prepared = Prepared::new(&sub)?;
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
        }
        .map_err(|error| match error {
            FederationError::NotFinite { field, .. } => FederationError::NotFinite { field, step: round },
            error => error,
        })?;
        if trained.loss.is_finite() && trained.values.iter().all(|value| value.is_finite()) {
            return Ok(trained);
        }
        Err(FederationError::NotFinite { field: "loss", step: round })
    }

    /// Logits `[rows, classes]` of these images of `x`, or of all.
    pub fn logits(
        &self,
        trainable: Trainable,
        values: &[f32],
        x: &[f32],
        rows: Option<&[u32]>,
    ) -> Result<Vec<f32>, FederationError> {
        match &self.prepared {
            Some(prepared) => fused::logits(prepared, trainable, values, x, rows),
            None => {
                let inputs = self.sub.architecture.inputs();
                let picked = rows.map(|rows| {
                    rows.iter().flat_map(|row| &x[*row as usize * inputs..][..inputs]).copied().collect::<Vec<f32>>()
                });
                composed::logits(&self.sub, trainable, values, picked.as_deref().unwrap_or(x), &self.device)
            }
        }
    }
}

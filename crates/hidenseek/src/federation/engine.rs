//! Which of the two client rounds a network gets.

use burn::prelude::Device;
use plasticity_core::rng::Stream;

use crate::client::{ClientData, LocalTraining, Subnetwork, Trainable, Trained};
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
            None => Err(FederationError::setting("architecture", "no perceptron", "one")),
        };
        trained.map_err(|error| match error {
            FederationError::NotFinite { field, .. } => FederationError::NotFinite { field, round },
            error => error,
        })
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
                let _ = &self.device;
                Err(FederationError::setting("architecture", "no perceptron", "one"))
            }
        }
    }
}

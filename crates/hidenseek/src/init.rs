//! The frozen weights (section 6.2).

use plasticity_core::rng::Stream;
use serde::{Deserialize, Serialize};

use crate::error::FederationError;
use crate::mask::PruneMask;
use crate::network::{Architecture, Layer};

/// How the frozen weights are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightInit {
    /// Normal, standard deviation sqrt(2 / fan_in).
    #[default]
    KaimingNormal,
    /// +-sqrt(2 / fan_in), signs at random.
    SignedKaiming,
    /// Normal, standard deviation sqrt(2 / (fan_in + fan_out)).
    Xavier,
    /// U(-b, b), b = 1 / sqrt(fan_in): what PyTorch's layers begin with.
    TorchDefault,
    /// +-e / sqrt(fan_in), e Euler's number, signs at random: FedPM's.
    MaximumEntropy,
}

impl WeightInit {
    /// W0 in canonical order, all N of them.
    pub fn draw(self, architecture: &Architecture, stream: &mut Stream) -> Vec<f32> {
        architecture.prunable().flat_map(|layer| self.draw_layer(layer, stream)).collect()
    }

    fn draw_layer(self, layer: &Layer, stream: &mut Stream) -> Vec<f32> {
        let (n, fan_in, fan_out) = (layer.weights(), layer.fan_in() as f64, layer.fan_out() as f64);
        let signed = |c: f64, stream: &mut Stream| {
            (0..n).map(|_| if stream.bernoulli(0.5) { c as f32 } else { -c as f32 }).collect()
        };
        let normal = |sd: f64, stream: &mut Stream| (0..n).map(|_| (sd * stream.normal()) as f32).collect();
        match self {
            Self::KaimingNormal => normal((2.0 / fan_in).sqrt(), stream),
            Self::SignedKaiming => signed((2.0 / fan_in).sqrt(), stream),
            Self::Xavier => normal((2.0 / (fan_in + fan_out)).sqrt(), stream),
            Self::TorchDefault => {
                let b = fan_in.sqrt().recip();
                stream.uniform_vec(n, -b, b)
            }
            Self::MaximumEntropy => signed(std::f64::consts::E / fan_in.sqrt(), stream),
        }
    }
}

/// Multiplies each layer by sqrt(1 / density of the layer), so that the pruned network keeps the variance of its
/// signals. SynFlow's mask stays what it is.
///
/// # Errors
/// When there is not one weight per entry of the mask, or one is not finite, before or after.
pub fn rescale_survivors(weights: &[f32], mask: &PruneMask) -> Result<Vec<f32>, FederationError> {
    let expected = mask.keep().len();
    FederationError::length("weights", expected, weights.len())?;
    FederationError::finite("weights", weights)?;
    let mut rest = weights;
    let mut out = Vec::with_capacity(expected);
    for (size, kept) in mask.sizes().iter().zip(mask.per_layer()) {
        let (layer, tail) = rest.split_at(*size);
        rest = tail;
        // A layer of which nothing is left has nothing to scale.
        let factor = (*size as f64 / kept.max(1) as f64).sqrt();
        out.extend(layer.iter().map(|w| (f64::from(*w) * factor) as f32));
    }
    FederationError::finite("rescaled weights", &out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean square of each layer, times what it should be the inverse of.
    #[test]
    fn each_kind_has_its_variance() {
        let network = Architecture::mnist_cnn();
        for kind in [
            WeightInit::KaimingNormal,
            WeightInit::SignedKaiming,
            WeightInit::Xavier,
            WeightInit::TorchDefault,
            WeightInit::MaximumEntropy,
        ] {
            let weights = kind.draw(&network, &mut Stream::new(3, "init", 0));
            let mut rest = weights.as_slice();
            for layer in network.prunable() {
                let (values, tail) = rest.split_at(layer.weights());
                rest = tail;
                let (fan_in, fan_out) = (layer.fan_in() as f64, layer.fan_out() as f64);
                let square = values.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / values.len() as f64;
                // Variance, and how far fourth moments let its estimate stray (five standard errors).
                let (variance, spread) = match kind {
                    WeightInit::KaimingNormal => (2.0 / fan_in, 2.0f64),
                    WeightInit::SignedKaiming => (2.0 / fan_in, 0.0),
                    WeightInit::Xavier => (2.0 / (fan_in + fan_out), 2.0),
                    WeightInit::TorchDefault => (1.0 / (3.0 * fan_in), 0.8),
                    WeightInit::MaximumEntropy => (std::f64::consts::E.powi(2) / fan_in, 0.0),
                };
                let bound = 5.0 * (spread / values.len() as f64).sqrt() + 1e-6;
                assert!((square / variance - 1.0).abs() < bound, "{kind:?} {layer}: {square} of {variance}");
                let positive = values.iter().filter(|w| **w > 0.0).count() as f64 / values.len() as f64;
                assert!((positive - 0.5).abs() < 2.5 / (values.len() as f64).sqrt(), "{kind:?} {layer}: {positive}");
            }
        }
    }

    #[test]
    fn rescaling_is_per_layer() {
        let network = Architecture::mlp(&[2, 2, 1]).unwrap();
        let mask = PruneMask::new(&network, vec![true, false, false, false, true, true]).unwrap();
        let scaled = rescale_survivors(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mask).unwrap();
        assert_eq!(scaled, [2.0, 4.0, 6.0, 8.0, 5.0, 6.0]);
        assert!(matches!(rescale_survivors(&[1.0], &mask), Err(FederationError::Length { field: "weights", .. })));
        for broken in [f32::NAN, f32::INFINITY, f32::MAX] {
            let refused = rescale_survivors(&[broken, 2.0, 3.0, 4.0, 5.0, 6.0], &mask);
            assert!(matches!(refused, Err(FederationError::Setting { .. })), "{broken}: {refused:?}");
        }
    }
}

//! The mixture as a [`Denoiser`] of tensors.

use burn::prelude::*;
use burn::tensor::DType;
use rayon::prelude::*;

use super::LogNormalMixture;
use crate::error::DiffusionError;
use crate::score::{Denoiser, Level};

/// Coordinates that one rayon task takes.
const CHUNK: usize = 4096;

/// A component's log density a + b (y - m)^2 and posterior mean c + d y.
#[derive(Clone, Copy)]
struct Line {
    mean: f64,
    a: f64,
    b: f64,
    c: f64,
    d: f64,
}

impl LogNormalMixture {
    fn lines(&self, variance: f64) -> Vec<Line> {
        self.parts(Level { variance, drift: 0.0 })
            .map(|p| Line {
                mean: p.mean,
                a: p.weight.ln() - 0.5 * p.variance.ln(),
                b: -0.5 / p.variance,
                c: p.clean_mean * variance / p.variance,
                d: p.clean_variance / p.variance,
            })
            .collect()
    }

    /// The posterior mean as tensor operations, for gradients.
    fn composed(&self, y: Tensor<2>, sd: f64) -> Tensor<2> {
        let lines = self.lines(sd * sd);
        let logits = lines.iter().map(|l| (y.clone() - l.mean).powi_scalar(2) * l.b + l.a).collect();
        let r = burn::tensor::activation::softmax(Tensor::stack::<3>(logits, 2), 2);
        let means = lines.iter().map(|l| y.clone() * l.d + l.c).collect();
        (r * Tensor::stack::<3>(means, 2)).sum_dim(2).squeeze_dim(2)
    }
}

/// The posterior mean of one coordinate.
fn at(lines: &[Line], y: f64) -> f64 {
    let log_density = |l: &Line| l.a + l.b * (y - l.mean) * (y - l.mean);
    let max = lines.iter().map(log_density).fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut norm) = (0.0, 0.0);
    for line in lines {
        let r = (log_density(line) - max).exp();
        sum += r * (line.c + line.d * y);
        norm += r;
    }
    sum / norm
}

/// Coordinates are independent and of one law. Outside a graph the values are computed in f64 on
/// the host, whatever the device; inside one by tensor operations, so that gradients flow.
impl Denoiser for LogNormalMixture {
    fn denoise(&self, y: Tensor<2>, sd: f64) -> Result<Tensor<2>, DiffusionError> {
        self.check()?;
        DiffusionError::at_least_zero("sd", sd)?;
        let (device, dtype, shape) = (y.device(), y.dtype(), y.dims());
        if device.is_autodiff() {
            return Ok(self.composed(y, sd));
        }
        let lines = self.lines(sd * sd);
        let data = y.into_data();
        let data = match dtype {
            DType::F64 => TensorData::new(map(data.iter::<f64>().collect(), |y| at(&lines, y)), shape),
            _ => TensorData::new(map(data.iter::<f32>().collect(), |y| at(&lines, f64::from(y)) as f32), shape),
        };
        Ok(Tensor::from_data(data, (&device, dtype)))
    }
}

fn map<T: Copy + Send>(mut values: Vec<T>, f: impl Fn(T) -> T + Sync) -> Vec<T> {
    values.par_chunks_mut(CHUNK).for_each(|chunk| chunk.iter_mut().for_each(|v| *v = f(*v)));
    values
}

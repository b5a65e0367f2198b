//! Initial weights from a stream of the caller, and parameter ids from paths.

use burn::module::{ModuleMapper, Param, ParamId};
use burn::prelude::*;
use plasticity_core::rng::{Stream, fnv1a};

/// Draws the parameters of `module` and gives each the hash of its path as id, so that an
/// optimiser's saved state finds them.
///
/// Weights are N(0, 1/(3 inputs)) (the variance of Kaiming's uniform rule as PyTorch applies it; on
/// digits it learnt faster than three or six times as much), biases 0, gains 1, and the weights of
/// the `output` layer 0.
pub(super) fn initialise<M: Module>(module: M, stream: &mut Stream) -> M {
    module.map(&mut Draw { path: Vec::new(), stream })
}

struct Draw<'a> {
    path: Vec<String>,
    stream: &'a mut Stream,
}

impl ModuleMapper for Draw<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let (_, value, mapper) = param.consume();
        let shape = value.shape();
        let n = shape.num_elements();
        let values = if path.ends_with("gain") {
            vec![1.0; n]
        } else if path.ends_with("bias") || path.contains("output.") {
            vec![0.0; n]
        } else {
            // A convolution is [out, in, kernel, kernel], a linear layer [in, out].
            let inputs = if D == 2 { shape[0] } else { n / shape[0] };
            let sd = (3.0 * inputs as f32).sqrt().recip();
            self.stream.normal_vec(n).into_iter().map(|z| z * sd).collect()
        };
        // A leaf again: optimisers step tracked leaves only.
        let value = Tensor::from_data(TensorData::new(values, shape), &value.device()).inner().autodiff();
        Param::from_mapped_value(ParamId::from(fnv1a(&path)), value.require_grad(), mapper)
    }
}

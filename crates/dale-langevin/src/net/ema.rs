//! Averaged weights: an exponential moving average over the steps of training.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::prelude::*;

/// The decay of update `k` (from 0): it rises as (1 + k)/(10 + k) to `decay`, so that a short run
/// does not average over its initial weights.
pub fn ema_decay(decay: f64, k: u64) -> f64 {
    let k = k as f64;
    decay.min((1.0 + k) / (10.0 + k))
}

/// `decay average + (1 - decay) model`, parameter by parameter. `average` starts as
/// `model.valid()`; parameters are matched by id, and one that `model` lacks is left alone.
pub fn ema_update<M: Module>(average: M, model: &M, decay: f64) -> M {
    let mut values = Values(HashMap::new());
    model.visit(&mut values);
    average.map(&mut Mix { values: values.0, decay })
}

struct Values(HashMap<ParamId, Tensor<1>>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().inner();
        let n = value.shape().num_elements();
        self.0.insert(param.id, value.reshape([n]));
    }
}

struct Mix {
    values: HashMap<ParamId, Tensor<1>>,
    decay: f64,
}

impl ModuleMapper for Mix {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.values.remove(&param.id) else { return param };
        let decay = self.decay;
        param.map(|average| {
            let shape = average.shape();
            average * decay + value.reshape(shape) * (1.0 - decay)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Module, Debug)]
    struct Net {
        w: Param<Tensor<2>>,
    }

    fn net(id: ParamId, value: f32) -> Net {
        let device = plasticity_core::testing::cpu().autodiff();
        Net { w: Param::initialized(id, Tensor::full([1, 2], value, &device).require_grad()) }
    }

    #[test]
    fn the_decay_rises_from_a_tenth() {
        assert_eq!(ema_decay(0.999, 0), 0.1);
        assert_eq!(ema_decay(0.999, 8), 0.5);
        assert!(ema_decay(0.999, 8000) < 0.999);
        assert_eq!(ema_decay(0.999, 10_000), 0.999);
    }

    #[test]
    fn the_average_moves_by_what_the_decay_leaves() {
        let model = net(ParamId::from(7), 3.0);
        let average = ema_update(net(ParamId::from(7), 1.0).valid(), &model, 0.75);
        assert_eq!(average.w.val().into_data().try_to_vec::<f32>().unwrap(), [1.5, 1.5]);
        // A parameter of another id is not the same parameter.
        let other = ema_update(net(ParamId::from(8), 1.0).valid(), &model, 0.75);
        assert_eq!(other.w.val().into_data().try_to_vec::<f32>().unwrap(), [1.0, 1.0]);
    }
}

//! Decays from 1 to 0 within a chunk: what a token forgets does not blur what others keep.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::on_each_device;
use plasticity_core::testing::{assert_close, values};
use synaptic_resonance::kernel::attention_map;

use super::case::*;

/// Decays of this logarithm at some tokens of an ordinary sequence, at neighbouring ones too.
fn case(log_a: f64) -> Case {
    let mut case = Case::random(21, sizes(2, 50, 2, 1, 8, 8));
    let at = [3, 4, 17, 31, 32, 49, 50 + 9, 50 + 40];
    at.iter().for_each(|i| case.log_a.as_mut().unwrap()[*i] = log_a);
    case
}

/// From hardly to entirely.
const LOG_A: [f64; 8] = [-1.0, -30.0, -200.0, -1e4, -1e5, -1e7, -1e30, f64::NEG_INFINITY];

on_each_device!(any_decay_in_any_form, |device: Device| {
    for (log_a, rule) in LOG_A.iter().flat_map(|log_a| RULES.map(|rule| (*log_a, rule))) {
        let case = case(log_a);
        assert_any_form(&case, &device, rule);
    }
});

on_each_device!(gradients_at_any_decay, |device: Device| {
    for (log_a, rule) in LOG_A.iter().flat_map(|log_a| RULES.map(|rule| (*log_a, rule))) {
        let case = case(log_a);
        assert_gradients(&case, &device, rule, log_a);
    }
});

on_each_device!(the_attention_map_of_any_decay_makes_the_read_outs, |device: Device| {
    for (log_a, rule) in LOG_A.iter().flat_map(|log_a| RULES.map(|rule| (*log_a, rule))) {
        let case = case(log_a).empty();
        let (inputs, _) = case.inputs(&device, DType::F64);
        let [batch, time, heads, width] = [2, 50, 2, 8];
        let v = inputs.v.clone().swap_dims(1, 2).expand([batch, heads, time, width]);
        let read = attention_map(inputs, rule).unwrap().matmul(v).swap_dims(1, 2);
        assert_close(&values(read), &case.plain(rule).out, 1e-12);
    }
});

//! What the memories show of themselves is what they do.

use burn::module::Module;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, values};
use synaptic_resonance::model::{Model, Pass};
use synaptic_resonance::settings::ModelConfig;

use super::{cpu, model, tokens, variants};

#[test]
fn a_trace_ends_where_the_state_does() {
    let (batch, time) = (2, 17);
    let tokens = tokens(batch, time, 1);
    for (name, config) in variants() {
        let model = model(&config);
        let traces = model.trace(&tokens).unwrap();
        let (_, state) = model.forward(&tokens, model.start(batch), &Pass::default()).unwrap();
        assert_eq!(traces.len(), if config.memory.is_some() { config.layers } else { 0 }, "{name}");
        let (heads, groups) = (config.heads, config.groups());
        for (trace, layer) in traces.iter().zip(state.layers) {
            for x in [&trace.write_rate, &trace.surprise, &trace.norm] {
                assert_eq!(x.dims(), [batch, time, groups], "{name}");
            }
            for x in [&trace.familiarity, &trace.gate] {
                assert_eq!(x.dims(), [batch, time, heads], "{name}");
            }
            let s = layer.s.unwrap();
            let norm = s.powi_scalar(2).sum_dim(3).sum_dim(2).sqrt();
            assert_close(&values(trace.norm.clone().narrow(1, time - 1, 1)), &values(norm), 1e-4);
            assert_eq!(trace.half_life.is_some(), config.memory.as_ref().unwrap().decay, "{name}");
            assert!(values(trace.half_life.clone().unwrap_or(trace.write_rate.clone())).iter().all(|x| *x > 0.0));
        }
    }
}

#[test]
fn a_fresh_memory_writes_at_one_half_forgets_in_38_tokens_and_is_not_read() {
    let model = Model::new(&ModelConfig::default(), &mut Stream::new(0, "model", 0), &cpu()).unwrap().valid();
    for trace in model.trace(&tokens(1, 9, 2)).unwrap() {
        assert!(values(trace.write_rate).iter().all(|x| *x == 0.5));
        assert!(values(trace.gate).iter().all(|x| *x == 0.0));
        assert!(values(trace.half_life.unwrap()).iter().all(|x| (x - 38.19).abs() < 0.01));
        // The first key meets an empty memory: its error is the whole value, and no query is known before.
        assert!(values(trace.surprise).iter().all(|x| *x > 0.0));
    }
}

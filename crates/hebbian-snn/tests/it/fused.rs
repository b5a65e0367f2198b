//! The fused kernels against the composition of tensor operations. Weights, inputs and amplitude
//! lie on dyadic grids, so that every current is exact and the spikes must be the same ones.

use burn::prelude::*;
use hebbian_snn::hlop::Projection;
use hebbian_snn::network::Mlp;
use hebbian_snn::neuron::DsrLif;
use hebbian_snn::{composed, dsr, fused};
use plasticity_core::device::takes_kernels;
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, on_threads, values};

use crate::support::*;

/// Whole multiples of 1/64 in `[-high, high]` whose mean is `shift`, about.
fn grid(rows: usize, n: usize, high: i64, shift: i64, index: u64, device: &Device) -> Tensor<2> {
    let mut stream = Stream::new(17, "grid", index);
    let width = (2 * high + 1) as u64;
    let mut value = || (stream.below(width) as i64 - high + shift) as f32 / 64.0;
    matrix((0..rows * n).map(|_| value()).collect(), n, device)
}

/// A network on the grid; the output of a spike is 4.
fn grid_mlp(widths: &[usize], shift: i64, device: &Device) -> Mlp {
    let layers = widths.windows(2).enumerate();
    let weights = layers.map(|(i, w)| grid(w[0], w[1], 12, shift, i as u64, device)).collect();
    let lif = DsrLif { steps: 12, dt: 0.0625, threshold: 0.25, ..DsrLif::default() };
    Mlp::from_weights(weights, lif).unwrap()
}

/// Compares all that the two forms return; gives the firing of the hidden layers.
fn same(widths: &[usize], batch: usize, shift: i64, device: &Device) -> Vec<f64> {
    let mlp = grid_mlp(widths, shift, device);
    let x = grid(batch, widths[0], 128, 0, 99, device);
    assert!(takes_kernels(&x));
    let (logits, fast) = fused::forward(&mlp, x.clone());
    let (expected, plain) = composed::forward(&mlp, x.clone());
    assert_close(&fast.firing, &plain.firing, 1e-9);
    for (a, b) in fast.presynaptic.iter().zip(&plain.presynaptic) {
        assert_close(&values(a.rate.clone()), &values(b.rate.clone()), 1e-5);
        assert_close(&values(a.factor()), &values(b.factor()), 1e-4);
    }
    for (a, b) in fast.current.iter().zip(&plain.current) {
        assert_close(&values(a.clone()), &values(b.clone()), 1e-5);
    }
    assert_close(&values(logits.clone()), &values(expected), 1e-4);
    assert_eq!(values(dsr::evaluate(&mlp, x).unwrap()), values(logits));
    fast.firing
}

on_each_device!(fused_forward_is_the_composition, |device: Device| {
    // Widths that need every size of block, with and without a rest; batches around a task's.
    for (hidden, batch) in [(1, 1), (7, 8), (65, 9), (131, 3), (200, 17)] {
        let firing = same(&[20, hidden, hidden + 3, 4], batch, 0, &device);
        if hidden > 7 {
            assert!(firing.iter().all(|f| *f > 0.01), "silent layers show nothing: {firing:?}");
        }
    }
    same(&[9, 16, 12, 40, 3], 5, 0, &device);
});

on_each_device!(a_dense_layer_is_the_composition, |device: Device| {
    let mlp = grid_mlp(&[20, 30, 25, 4], 0, &device);
    let strong = Mlp::from_weights((0..3).map(|l| mlp.weight(l).abs()).collect(), mlp.lif.clone()).unwrap();
    let x = grid(6, 20, 128, 128, 98, &device);
    let (logits, records) = fused::forward(&strong, x.clone());
    assert!(records.firing[0] > 0.25, "the events' path was taken: {:?}", records.firing);
    let (expected, plain) = composed::forward(&strong, x);
    assert_close(&records.firing, &plain.firing, 1e-9);
    assert_close(&values(logits), &values(expected), 1e-3);
});

#[test]
fn evaluation_in_blocks_is_evaluation() {
    let device = Device::flex();
    let mlp = grid_mlp(&[6, 9, 3], 0, &device);
    let x = grid(600, 6, 128, 0, 97, &device);
    assert_eq!(values(dsr::evaluate(&mlp, x.clone()).unwrap()), values(dsr::forward(&mlp, x).unwrap().0));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let device = Device::flex();
    let run = |threads: usize| {
        on_threads(threads, || {
            let mlp = small_mlp(50, &[130, 70], 4, &device);
            let (logits, records) = dsr::forward(&mlp, glyphs(40, 50, 0, &device)).unwrap();
            let mut hlop = with_rows(&mlp.layer_inputs(), &[20, 40, 30], &[10, 20, 10], Projection::Input, &device);
            let projected = hlop.project(&records).unwrap();
            hlop.teach(&records, &projected).unwrap();
            let factors = projected.factors.into_iter().flat_map(values).collect();
            let rows = hlop.subspaces().iter().flat_map(|s| values(s.h().unwrap())).collect();
            [values(logits), factors, rows]
        })
    };
    let one = run(1);
    for threads in [2, 3, 8] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

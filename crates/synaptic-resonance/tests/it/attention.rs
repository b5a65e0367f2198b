//! Attention as one operation against its composition: values, rings and every gradient.

use burn::prelude::*;
use burn::tensor::{DType, Gradients};
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{max_difference, values};
use proptest::prelude::*;
use synaptic_resonance::attention::{Geometry, Sinks, Span, attend};
use synaptic_resonance::rope::Rope;
use synaptic_resonance::settings::{ModelConfig, Pairs};
use synaptic_resonance::state::{Firsts, Ring};

#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    batch: usize,
    time: usize,
    groups: usize,
    share: usize,
    width: usize,
    window: Option<usize>,
    /// Columns of the ring; how many of them are filled is drawn for each row.
    ring: usize,
    /// Share of tokens that begin a document.
    starts: f64,
    /// Rows are padded, some to the last token.
    padding: bool,
    /// Size of the scores.
    scale: f64,
    pairs: Pairs,
    /// First tokens that stay visible; how many have left a full ring is drawn for each row.
    sinks: usize,
}

const CASE: Case = Case {
    seed: 1,
    batch: 3,
    time: 37,
    groups: 2,
    share: 2,
    width: 16,
    window: Some(8),
    ring: 7,
    starts: 0.1,
    padding: true,
    scale: 1.0,
    pairs: Pairs::Interleaved,
    sinks: 0,
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Fused,
    /// Of tensor operations, in blocks or not.
    Composed(bool),
}

fn gradient(x: &Tensor<4>, grads: &Gradients) -> Vec<f64> {
    values(x.grad(grads).expect("a gradient"))
}

impl Case {
    /// Outputs, the next ring, and the gradients of all inputs.
    fn run(&self, way: Way, device: &Device, dtype: DType) -> Vec<(&'static str, Vec<f64>)> {
        let Self { batch, time, groups, share, width, window, ring, .. } = *self;
        let mut stream = Stream::new(self.seed, "attention", 0);
        let auto = device.clone().autodiff();
        let mut draw = |shape: [usize; 4], scale: f64| -> Tensor<4> {
            let data: Vec<f32> =
                stream.normal_vec(shape.iter().product()).into_iter().map(|x| x * scale as f32).collect();
            Tensor::from_data(TensorData::new(data, shape), (&auto, dtype)).require_grad()
        };
        let q = draw([batch, time, groups * share, width], self.scale);
        let (k, v) = (draw([batch, time, groups, width], 1.0), draw([batch, time, groups, width], 1.0));
        let old = (ring > 0).then(|| [0; 2].map(|_| draw([batch, groups, ring, width], 1.0)));
        let filled: Vec<usize> = (0..batch).map(|_| stream.below(ring as u64 + 1) as usize).collect();
        // A ring that is not full has lost none of its document.
        let full = |n: usize| self.sinks > 0 && window.is_some_and(|w| n + 1 == w);
        let most = self.sinks as u64;
        let kept: Vec<usize> =
            filled.iter().map(|n| if full(*n) { stream.below(most + 1) as usize } else { 0 }).collect();
        let far = |kept: usize| if kept == self.sinks { 1000 * self.seed } else { 0 };
        let position: Vec<u64> = (0..batch).map(|row| (filled[row] + kept[row]) as u64 + far(kept[row])).collect();
        let columns = kept.iter().copied().max().unwrap_or(0);
        let firsts = (columns > 0).then(|| {
            let data = || {
                let mut stream = Stream::new(self.seed, "firsts", 0);
                let x: Vec<f32> = stream.normal_vec(batch * groups * columns * width);
                Tensor::<4>::from_data(TensorData::new(x, [batch, groups, columns, width]), (&auto, dtype))
            };
            [data() * 0.7, data().neg()].map(|x| Tensor::from_data(x.into_data(), (&auto, dtype)).require_grad())
        });
        let sinks = (self.sinks > 0).then(|| Sinks { most: self.sinks, columns, filled: &kept, position: &position });
        let length = |row: usize, n: usize| if !self.padding || row == 1 { time } else { n };
        let lengths: Vec<usize> = (0..batch).map(|row| length(row, stream.below(time as u64 + 1) as usize)).collect();
        let starts: Vec<bool> = (0..batch * time).map(|_| stream.uniform() < self.starts).collect();
        let starts: Vec<bool> =
            starts.iter().enumerate().map(|(i, start)| *start && i % time < lengths[i / time]).collect();
        let starts = starts.contains(&true).then_some(starts.as_slice());
        let geometry = Geometry { window, time, ring, filled: &filled, lengths: &lengths, starts, sinks };
        let rope = Rope { base: 10f64.powi(3 + self.seed as i32 % 3), pairs: self.pairs };
        let span = match way {
            Way::Fused => Span::new(&geometry, width, rope, device, dtype),
            Way::Composed(blocked) => Span::with_blocks(&geometry, blocked, width, rope, device, dtype),
        };
        assert_eq!(span.is_fused(), way == Way::Fused);
        let before = old.clone().map(|[keys, values]| Ring {
            keys,
            values,
            filled: filled.clone(),
            sinks: firsts.clone().map(|[keys, values]| Firsts { keys, values, filled: kept.clone() }),
        });
        let (y, after) = attend(q.clone(), k.clone(), v.clone(), before, &span);
        let mut out = vec![("outputs", values(y.clone()))];
        let mut loss = y.sin().sum();
        if let Some(after) = after {
            out.push(("ring", values(after.keys.clone())));
            loss = loss + (after.keys.sin() + after.values.cos()).sum();
            if let Some(sinks) = after.sinks {
                out.push(("sinks", values(sinks.keys.clone())));
                loss = loss + (sinks.keys.sin() + sinks.values.cos()).sum();
            }
        }
        let grads = loss.backward();
        out.extend([("q", gradient(&q, &grads)), ("k", gradient(&k, &grads)), ("v", gradient(&v, &grads))]);
        if let Some([keys, values]) = old {
            let firsts = firsts.into_iter().flatten().map(|x| ("sinks' keys or values", gradient(&x, &grads)));
            out.extend(firsts);
            out.extend([("ring's keys", gradient(&keys, &grads)), ("ring's values", gradient(&values, &grads))]);
        }
        out
    }

    /// The operation in f32 differs from the composition in f64 by rounding only: by a few times as much as the
    /// composition in f32 does.
    fn agree(&self, device: &Device) {
        let found = self.run(Way::Fused, device, DType::F32);
        let rounded = self.run(Way::Composed(true), device, DType::F32);
        let exact = self.run(Way::Composed(false), device, DType::F64);
        for (((name, found), (_, rounded)), (_, exact)) in found.iter().zip(&rounded).zip(&exact) {
            let scale = exact.iter().fold(1.0f64, |m, x| m.max(x.abs()));
            let off = max_difference(found, exact) / scale;
            let composed = max_difference(rounded, exact) / scale;
            assert!(
                off <= (4.0 * composed).max(2e-6 * self.scale.max(1.0)),
                "{name}: {off:e}, composed {composed:e}, of {self:?}"
            );
        }
    }
}

on_each_device!(fused_attention_is_its_composition, |device: Device| {
    for (width, share, time) in [(16, 1, 37), (24, 4, 40), (32, 2, 9), (64, 1, 33), (6, 3, 8), (2, 1, 1), (40, 2, 17)] {
        for (window, ring) in [(None, 0), (None, 11), (Some(1), 0), (Some(8), 0), (Some(8), 7), (Some(24), 5)] {
            Case { width, share, time, window, ring, ..CASE }.agree(&device);
            Case { width, share, time, window, ring, pairs: Pairs::Halves, ..CASE }.agree(&device);
            if window.is_some_and(|w| w > 1) {
                Case { width, share, time, window, ring, sinks: 3, seed: 2, ..CASE }.agree(&device);
            }
        }
    }
    Case { starts: 0.0, padding: false, ring: 0, time: 70, ..CASE }.agree(&device);
    Case { window: Some(64), time: 200, batch: 2, ring: 63, width: 32, ..CASE }.agree(&device);
    Case { batch: 1, time: 1, starts: 0.0, padding: false, ..CASE }.agree(&device);
    // Nearly all of the weight on one column.
    Case { scale: 30.0, window: Some(24), ..CASE }.agree(&device);
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fused_attention_of_any_shape_is_its_composition(
        seed in 0u64..1000,
        (batch, time, groups, share) in (1usize..4, 1usize..50, 1usize..4, 1usize..4),
        half in 1usize..36,
        (window, ring) in (prop::option::weighted(0.8, 1usize..40), 0usize..20),
        starts in prop_oneof![Just(0.0), 0.0..0.5],
        padding: bool,
        scale in 0.1..4.0,
        pairs in prop_oneof![Just(Pairs::Interleaved), Just(Pairs::Halves)],
        sinks in prop_oneof![Just(0usize), 1usize..20],
    ) {
        let sinks = if window.is_some_and(|w| w > 1) { sinks } else { 0 };
        // Often full, so that first tokens have left it.
        let ring = window.map_or(ring, |w| if sinks % 2 == 1 { w - 1 } else { ring.min(w - 1) });
        let case = Case { seed, batch, time, groups, share, width: 2 * half, window, ring, starts, padding, scale, pairs, sinks };
        case.agree(&plasticity_core::device::by_name("flex").unwrap());
    }
}

on_each_device!(threads_do_not_change_a_byte, |device: Device| {
    let case = Case { batch: 5, time: 64, width: 32, ..CASE };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.run(Way::Fused, &device, DType::F32))
    };
    assert_eq!(run(1), run(2));
});

/// A query's output at the largest scores that f32 holds, and beyond: what is not a number is not hidden.
#[test]
fn large_scores() {
    let device = plasticity_core::device::by_name("flex").unwrap();
    let run = |size: f32| {
        let data = |x: f32| Tensor::<4>::full([1, 9, 1, 2], x, &device);
        let geometry =
            Geometry { window: Some(4), time: 9, ring: 0, filled: &[0], lengths: &[9], starts: None, sinks: None };
        let span = Span::new(&geometry, 2, ModelConfig::default().rope(), &device, DType::F32);
        values(attend(data(size), data(size), data(3.0), None, &span).0)
    };
    assert!(run(1e18).iter().all(|y| (y - 3.0).abs() < 1e-6));
    assert!(run(1e30).iter().all(|y| y.is_nan()));
    assert!(run(f32::NAN).iter().all(|y| y.is_nan()));
}

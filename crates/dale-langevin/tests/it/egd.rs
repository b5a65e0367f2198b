//! Exponentiated gradient descent (sections 3.1 and 19.7). All in f64.

use burn::module::{Module, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::DType;
use dale_langevin::DiffusionError;
use dale_langevin::egd::{Egd, log_normal, signs};
use plasticity_core::nn::{load_optimiser, save_optimiser};
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{self, assert_close, cpu, values};
use proptest::prelude::*;

#[derive(Module, Debug)]
struct Weights {
    w: Param<Tensor<1>>,
}

fn tensor(v: &[f64], device: &Device) -> Tensor<1> {
    testing::tensor(v, [v.len()], device, DType::F64)
}

impl Weights {
    fn new(w: &[f64], device: &Device) -> Self {
        let w = tensor(w, &device.clone().autodiff()).require_grad();
        Self { w: Param::initialized(ParamId::from(1), w) }
    }

    /// A step for the gradient `g`.
    fn step(self, optimiser: &mut ModuleOptimizer, lr: f64, g: &[f64]) -> Self {
        let loss = (self.w.val() * tensor(g, &self.w.val().device().without_autodiff())).sum();
        let grads = GradientsParams::from_grads(loss.backward(), &self);
        optimiser.step(lr, self, grads)
    }

    fn values(&self) -> Vec<f64> {
        values(self.w.val().inner())
    }
}

fn egd(momentum: f64, decay: f64) -> ModuleOptimizer {
    Egd::new(momentum, decay).unwrap().into()
}

/// T17: from w = 1, 100 gradients N(0,1) at rate 0.1 leave log w exactly N(0,1).
#[test]
fn t17_gaussian_gradients_make_log_normal_weights() {
    let n = 200_000;
    let mut stream = Stream::new(17, "egd", 0);
    let mut optimiser = egd(0.0, 0.0);
    let mut weights = Weights::new(&vec![1.0; n], &cpu());
    let mut sum = vec![0.0; n];
    for _ in 0..100 {
        let g: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
        sum.iter_mut().zip(&g).for_each(|(sum, g)| *sum += g);
        weights = weights.step(&mut optimiser, 0.1, &g);
    }
    let w = weights.values();
    let logs: Vec<f64> = w.iter().map(|w| w.ln()).collect();
    // Telescoping: the log is the sum of all gradients.
    assert_close(&logs, &sum.iter().map(|s| -0.1 * s).collect::<Vec<_>>(), 1e-12);
    let mean = |f: &dyn Fn(f64) -> f64| logs.iter().map(|l| f(*l)).sum::<f64>() / n as f64;
    let five = 5.0 / (n as f64).sqrt();
    for (power, moment, sd) in [(1, 0.0, 1.0f64), (2, 1.0, 2f64.sqrt()), (3, 0.0, 15f64.sqrt()), (4, 3.0, 96f64.sqrt())]
    {
        let found = mean(&|l| l.powi(power));
        assert!((found - moment).abs() < five * sd, "moment {power}: {found}");
    }
    for (quantile, share) in [(-1.959964, 0.025), (-0.6744898, 0.25), (0.0, 0.5), (1.2815516, 0.9)] {
        let found = mean(&|l| f64::from(l < quantile));
        assert!((found - share).abs() < five * 0.5, "share below {quantile}: {found}");
    }
    let average = w.iter().sum::<f64>() / n as f64;
    assert!((average / 0.5f64.exp() - 1.0).abs() < 0.01, "{average}");
}

on_each_device!(t17_a_quadratic_with_wrong_signs, |device: Device| {
    let target = [2.0, -0.3, -1.0, 1.0];
    let mut optimiser = egd(0.0, 0.0);
    let mut weights = Weights::new(&[1.0, -1.0, 0.5, -2.0], &device);
    for _ in 0..4000 {
        let g: Vec<f64> = weights.values().iter().zip(target).map(|(w, t)| w - t).collect();
        weights = weights.step(&mut optimiser, 0.05, &g);
    }
    let w = weights.values();
    assert_close(&w, &[2.0, -0.3, 0.0, 0.0], 1e-12);
    assert!(w[2] > 0.0 && w[2] < 1e-80 && w[3] < 0.0 && w[3] > -1e-80, "{w:?}");
});

#[test]
fn t17_telescoping_with_both_signs() {
    let start = [0.3, -0.3, 2.0, -5.0];
    let mut stream = Stream::new(3, "egd", 0);
    let mut optimiser = egd(0.0, 0.0);
    let mut weights = Weights::new(&start, &cpu());
    let mut sum = [0.0; 4];
    for _ in 0..50 {
        let g: Vec<f64> = (0..4).map(|_| stream.normal()).collect();
        sum.iter_mut().zip(&g).for_each(|(sum, g)| *sum += g);
        weights = weights.step(&mut optimiser, 0.2, &g);
    }
    let expected = start.iter().zip(sum).map(|(w, s)| w * (-0.2 * w.signum() * s).exp());
    assert_close(&weights.values(), &expected.collect::<Vec<_>>(), 1e-12);
}

#[test]
fn momentum_and_decay_by_hand() {
    let (momentum, decay, lr) = (0.5, 0.1, 0.2);
    let mut optimiser = egd(momentum, decay);
    let mut weights = Weights::new(&[2.0, -1.0, 0.0], &cpu());
    // Velocities: g + decay sign, then half of it plus the next; those of the weight 0 do not count.
    weights = weights.step(&mut optimiser, lr, &[1.0, 1.0, 1.0]);
    assert_close(&weights.values(), &[2.0 * (-0.2f64 * 1.1).exp(), -(0.2f64 * 0.9).exp(), 0.0], 1e-14);
    weights = weights.step(&mut optimiser, lr, &[-1.0, 0.0, 1.0]);
    let (first, second) = (1.1 + 0.55 - 0.9, 0.9 + 0.45 - 0.1);
    assert_close(&weights.values(), &[2.0 * (-0.2f64 * first).exp(), -(0.2f64 * second).exp(), 0.0], 1e-14);
}

proptest! {
    /// Sign bits stay, whatever the rate and the gradients; 0 stays 0.
    #[test]
    fn t17_no_step_changes_a_sign(
        start in prop::collection::vec(prop_oneof![-1e3..1e3, Just(0.0), Just(-0.0), -1e-300..1e-300], 1..8),
        lr in prop_oneof![0.0..1.0, 0.0..1e4],
        momentum in 0.0..0.99,
        decay in 0.0..1.0,
        seed: u64,
    ) {
        let mut stream = Stream::new(seed, "gradients", 0);
        let mut optimiser = egd(momentum, decay);
        let mut weights = Weights::new(&start, &cpu());
        for _ in 0..3 {
            let g: Vec<f64> = start.iter().map(|_| 100.0 * stream.normal()).collect();
            let before = weights.values();
            weights = weights.step(&mut optimiser, lr, &g);
            // A weight that has overflowed has diverged: only the step to infinity must keep the sign.
            let steps = before.into_iter().zip(weights.values()).filter(|(before, _)| before.is_finite());
            for (before, after) in steps {
                prop_assert!(!after.is_nan());
                prop_assert_eq!(before.is_sign_negative(), after.is_sign_negative());
                prop_assert!(before != 0.0 || after == 0.0);
            }
        }
    }

    #[test]
    fn initial_weights_keep_the_sign_of_their_row(seed: u64, units in 1usize..20, outputs in 0usize..20) {
        let mut stream = Stream::new(seed, "init", 0);
        let signs = signs(units, 0.8, &mut stream).unwrap();
        let w = log_normal(&signs, outputs, -1.0, 2.0, &mut stream).unwrap();
        prop_assert_eq!(w.len(), units * outputs);
        prop_assert!(w.iter().enumerate().all(|(i, w)| w.signum() == signs[i / outputs]));
    }
}

#[test]
fn the_state_resumes_bit_by_bit() {
    let device = cpu();
    let g = |k: u64| -> Vec<f64> { (0..5).map(|i| Stream::new(5, "g", 5 * k + i).normal()).collect() };
    let start = [1.0, -1.0, 0.5, -0.5, 2.0];
    let run = |mut weights: Weights, optimiser: &mut ModuleOptimizer, steps: std::ops::Range<u64>| {
        for k in steps {
            weights = weights.step(optimiser, 0.1, &g(k));
        }
        weights
    };
    let straight = run(Weights::new(&start, &device), &mut egd(0.9, 0.01), 0..6);
    let mut optimiser = egd(0.9, 0.01);
    let half = run(Weights::new(&start, &device), &mut optimiser, 0..3);
    let bytes = save_optimiser(&optimiser).unwrap();
    let fresh = Weights::new(&half.values(), &device);
    let mut optimiser = load_optimiser(egd(0.9, 0.01), &fresh, &bytes).unwrap();
    let resumed = run(fresh, &mut optimiser, 3..6);
    assert_eq!(straight.values(), resumed.values());
    let forgetful = run(Weights::new(&half.values(), &device), &mut egd(0.9, 0.01), 3..6);
    assert_ne!(straight.values(), forgetful.values(), "the state must matter");
}

#[test]
fn initial_weights_are_log_normal() {
    let mut stream = Stream::new(1, "init", 0);
    let n = 100_000;
    let w = log_normal(&signs(n, 0.8, &mut stream).unwrap(), 1, -1.0, 0.5, &mut stream).unwrap();
    let mean = |f: &dyn Fn(f64) -> f64| w.iter().map(|w| f(*w)).sum::<f64>() / n as f64;
    let five = 5.0 / (n as f64).sqrt();
    assert!((mean(&|w| f64::from(w > 0.0)) - 0.8).abs() < five * 0.4);
    assert!((mean(&|w| w.abs().ln()) + 1.0).abs() < five * 0.5);
    assert!((mean(&|w| (w.abs().ln() + 1.0).powi(2)) - 0.25).abs() < five * 0.25 * 2f64.sqrt());
}

#[test]
fn settings_out_of_range_are_named() {
    let named = |error: DiffusionError| match error {
        DiffusionError::Setting { field, .. } => field,
        other => panic!("{other}"),
    };
    let stream = &mut Stream::new(1, "init", 0);
    assert_eq!(named(Egd::new(1.0, 0.0).unwrap_err()), "momentum");
    assert_eq!(named(Egd::new(0.0, -0.1).unwrap_err()), "decay");
    assert_eq!(named(Egd::new(0.0, f64::NAN).unwrap_err()), "decay");
    assert_eq!(named(log_normal(&[1.0, 0.5], 2, 0.0, 1.0, stream).unwrap_err()), "signs");
    assert_eq!(named(log_normal(&[1.0], 2, f64::NAN, 1.0, stream).unwrap_err()), "log_mean");
    assert_eq!(named(log_normal(&[1.0], 2, 0.0, -1.0, stream).unwrap_err()), "log_sd");
    assert_eq!(named(signs(3, 1.5, stream).unwrap_err()), "excitatory");
}

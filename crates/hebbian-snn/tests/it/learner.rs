//! What protects earlier tasks cannot be walked around, and a step that fails changes nothing.

use burn::optim::SgdConfig;
use burn::optim::momentum::MomentumConfig;
use burn::prelude::*;
use hebbian_snn::dsr;
use hebbian_snn::error::SnnError;
use hebbian_snn::hlop::{Hlop, Projection};
use hebbian_snn::learner::{Learner, Saved, Task};
use hebbian_snn::network::Mlp;
use hebbian_snn::subspace::{Consolidate, LateralRule, Subspace};
use hebbian_snn::train::Optimiser;
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{assert_close, values};

use crate::support::*;

const INPUTS: [usize; 3] = [12, 10, 8];
const ROWS: [usize; 3] = [4, 3, 2];

/// A rate that is meant to overflow does so at once.
fn rules(lr: f64) -> [LateralRule; 3] {
    let momentum = if lr > 1.0 { 0.0 } else { 0.9 };
    [LateralRule { lr, momentum, ..LateralRule::default() }; 3]
}

fn learner_of(optimiser: Optimiser, lr: f64, lateral: f64, projection: Projection, device: &Device) -> Learner {
    let hlop = Hlop::new(&INPUTS, &rules(lateral), projection, Consolidate::Qr, device).unwrap();
    Learner::new(small_mlp(12, &[10, 8], 4, device), Some(hlop), optimiser, lr).unwrap()
}

fn learner(optimiser: Optimiser, device: &Device) -> Learner {
    learner_of(optimiser, 0.05, 0.05, Projection::Input, device)
}

fn stream(task: u64) -> Stream {
    Stream::new(31, "rows", task)
}

fn batch(index: u64, device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
    (normal(16, 12, &format!("batch {index}"), device).mul_scalar(3.0), labels(16, 4, index, device))
}

fn teach(task: &mut Task, batches: std::ops::Range<u64>, device: &Device) {
    for index in batches {
        let (x, y) = batch(index, device);
        task.step(x, y).unwrap();
    }
}

/// All that a task may change.
fn everything(mlp: &Mlp, hlop: Option<&Hlop>) -> Vec<Vec<f64>> {
    let weights = (0..mlp.weights.len()).map(|l| values(mlp.weight(l)));
    let thresholds = mlp.thresholds.iter().map(|v| values(v.val().inner()));
    let rows = hlop.into_iter().flat_map(Hlop::to_tensors).map(|(_, data)| data.iter::<f64>().collect());
    weights.chain(thresholds).chain(rows).collect()
}

/// How far each layer's weights move along the rows `h` of the finished task.
fn moved(h: &[Tensor<2>], before: &Mlp, after: &Mlp) -> f64 {
    let along = h.iter().enumerate().map(|(l, h)| largest(h.clone().matmul(after.weight(l) - before.weight(l))));
    along.fold(0.0, f64::max)
}

fn fixed(hlop: &Hlop) -> Vec<Tensor<2>> {
    hlop.subspaces().iter().map(|s| s.fixed().unwrap()).collect()
}

on_each_device!(momentum_ends_with_its_task, |device: Device| {
    for projection in [Projection::Input, Projection::Weight] {
        let mut task =
            learner_of(Optimiser::Momentum, 0.05, 0.05, projection, &device).begin_task(&ROWS, &mut stream(0)).unwrap();
        teach(&mut task, 0..10, &device);
        let (learner, end) = task.finish();
        assert_eq!((end.steps, end.dropped), (10, vec![0; 3]));
        let (h, start) = (fixed(learner.hlop().unwrap()), learner.mlp().clone());
        let mut task = learner.begin_task(&ROWS, &mut stream(1)).unwrap();
        teach(&mut task, 10..20, &device);
        let unprotected = largest(task.mlp().weight(0) - start.weight(0));
        assert!(unprotected > 1e-2, "the weights must move: {unprotected}");
        let found = moved(&h, &start, task.mlp());
        assert!(found < 1e-5, "what is protected moves by {found}");
    }
});

// Nothing random and nothing of the network is moved by a look at it: how often one evaluates is no setting of a run.
on_each_device!(an_evaluation_in_between_changes_no_bit_of_what_is_learned, |device: Device| {
    let learned = |look: bool| {
        let mut learner = learner(Optimiser::Momentum, &device);
        for index in 0..2 {
            let mut task = learner.begin_task(&ROWS, &mut stream(index)).unwrap();
            for at in 10 * index..10 * index + 10 {
                teach(&mut task, at..at + 1, &device);
                if look {
                    dsr::evaluate(task.mlp(), batch(99, &device).0).unwrap();
                }
            }
            learner = task.finish().0;
        }
        everything(learner.mlp(), learner.hlop())
    };
    assert_eq!(learned(true), learned(false));
});

/// The same by hand, with one optimiser of Burn's over both tasks: what a learner's user cannot write.
#[test]
fn momentum_that_is_kept_moves_what_is_protected() {
    let device = Device::flex();
    let momentum = MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false };
    let mut optimiser = SgdConfig::new().with_momentum(Some(momentum)).init();
    let mut task = learner(Optimiser::Momentum, &device).begin_task(&ROWS, &mut stream(0)).unwrap();
    teach(&mut task, 0..10, &device);
    let (h, mut mlp) = (fixed(task.finish().0.hlop().unwrap()), small_mlp(12, &[10, 8], 4, &device));
    let mut start = mlp.clone();
    for index in 0..20 {
        let (x, y) = batch(index, &device);
        let (logits, records) = dsr::forward(&mlp, x).unwrap();
        let (_, error) = dsr::cross_entropy(logits, y).unwrap();
        let mut gradients = dsr::backward(&mlp, &records, records.factors(), error).unwrap();
        if index == 10 {
            start = mlp.clone();
        }
        if index >= 10 {
            for (gradient, h) in gradients.weights.iter_mut().zip(&h) {
                *gradient = gradient.clone() - h.clone().transpose().matmul(h.clone().matmul(gradient.clone()));
            }
        }
        let params = gradients.into_params(&mlp, false).unwrap();
        mlp = optimiser.step(0.05, mlp, params);
    }
    let found = moved(&h, &start, &mlp);
    assert!(found > 1e-3, "{found}");
}

on_each_device!(o18_thresholds_learn_in_the_first_task_only, |device: Device| {
    // Strong inputs saturate neurons, so that the thresholds have a gradient.
    let strong = |task: &mut Task| {
        for index in 0..5 {
            let (x, y) = batch(index, &device);
            task.step(x.mul_scalar(7.0), y).unwrap();
        }
    };
    let thresholds = |mlp: &Mlp| [values(mlp.threshold(0)), values(mlp.threshold(1))];
    let naive = Learner::new(small_mlp(12, &[10, 8], 4, &device), None, Optimiser::Sgd, 0.1).unwrap();
    let start = thresholds(naive.mlp());
    let mut task = naive.begin_task(&[], &mut stream(0)).unwrap();
    strong(&mut task);
    let (learner, _) = task.finish();
    let first = thresholds(learner.mlp());
    assert_ne!(start[0], first[0]);
    let mut task = learner.begin_task(&[], &mut stream(1)).unwrap();
    strong(&mut task);
    assert_eq!(thresholds(task.mlp()), first);
    // Rows that are there already are those of a task before.
    let hlop = with_rows(&INPUTS, &ROWS, &[0; 3], Projection::Input, &device);
    let learner = Learner::new(small_mlp(12, &[10, 8], 4, &device), Some(hlop), Optimiser::Sgd, 0.1).unwrap();
    assert_eq!(learner.tasks(), 1);
    let mut task = learner.begin_task(&ROWS, &mut stream(1)).unwrap();
    strong(&mut task);
    assert_eq!(thresholds(task.mlp()), start);
});

#[test]
fn a_task_that_cannot_begin_gives_the_learner_back_as_it_was() {
    let device = Device::flex();
    let mut task = learner(Optimiser::Sgd, &device).begin_task(&ROWS, &mut stream(0)).unwrap();
    teach(&mut task, 0..2, &device);
    let (learner, _) = task.finish();
    let before = everything(learner.mlp(), learner.hlop());
    // The first layer has room, the second has not, and nothing was drawn.
    let mut rows = stream(1);
    let refused = learner.begin_task(&[2, 8, 2], &mut rows).unwrap_err();
    assert_eq!(refused.to_string(), "`rows` is 11: at most 10, the layer's inputs");
    assert_eq!(rows.bits(), stream(1).bits());
    let learner = *refused.learner;
    assert_eq!(everything(learner.mlp(), learner.hlop()), before);
    let refused = learner.begin_task(&[2, 2], &mut rows).unwrap_err();
    assert!(matches!(refused.error, SnnError::Shape { field: "rows", .. }));
    let wide = vec![Tensor::zeros([1, 12], &device), Tensor::zeros([1, 11], &device), Tensor::zeros([1, 8], &device)];
    let learner = refused.learner.begin_task_with(wide).unwrap_err().learner;
    assert_eq!(everything(learner.mlp(), learner.hlop()), before);
    // It goes on with rows for which there is room.
    let task = learner.begin_task(&[2, 7, 2], &mut stream(1)).unwrap();
    assert_eq!(task.hlop().unwrap().subspaces()[1].rows(), 10);
    let naive = Learner::new(small_mlp(12, &[10, 8], 4, &device), None, Optimiser::Sgd, 0.1).unwrap();
    assert!(naive.begin_task(&ROWS, &mut stream(0)).is_err(), "rows that nobody would teach");
}

#[test]
fn a_task_without_a_step_leaves_nothing() {
    let device = Device::flex();
    let learner = learner(Optimiser::Sgd, &device);
    let before = everything(learner.mlp(), learner.hlop());
    let (learner, end) = learner.begin_task(&ROWS, &mut stream(0)).unwrap().finish();
    assert_eq!((end.steps, end.dropped), (0, vec![0; 3]));
    assert_eq!((learner.tasks(), everything(learner.mlp(), learner.hlop())), (0, before));
}

// Rows of one's own, fixed or learning, are what the end of a task makes of them: of length 2, `I - H^T H` would have
// the eigenvalue -3.
on_each_device!(rows_that_a_learner_is_given_are_made_orthonormal, |device: Device| {
    let given = |consolidate| {
        let subspaces = INPUTS.iter().enumerate().map(|(layer, &n)| {
            let mut subspace = Subspace::new(n, LateralRule::default(), &device).unwrap();
            let rows = orthonormal(3, n, "long", &device).mul_scalar(2.0);
            subspace.append(Tensor::cat(vec![rows.clone(), rows.narrow(0, 0, 1)], 0)).unwrap();
            if layer == 0 {
                subspace.finish_task(Consolidate::None);
            }
            subspace
        });
        let hlop = Hlop::from_subspaces(subspaces.collect(), Projection::Input, consolidate);
        Learner::new(small_mlp(12, &[10, 8], 4, &device), Some(hlop), Optimiser::Sgd, 0.05).unwrap()
    };
    // The paper's form keeps them.
    let as_given = given(Consolidate::None);
    let least = as_given.hlop().unwrap().least_eigenvalues();
    assert!(least.iter().all(|least| (least + 7.0).abs() < 1e-5), "{least:?}");
    let learner = given(Consolidate::Qr);
    for (layer, &n) in INPUTS.iter().enumerate() {
        let h = learner.hlop().unwrap().subspaces()[layer].fixed().unwrap();
        assert!(off_orthonormal(h.clone()) < 1e-6);
        assert!(angle(rows_of(orthonormal(3, n, "long", &device)), rows_of(h)) < 1e-5);
    }
    let (h, start) = (fixed(learner.hlop().unwrap()), learner.mlp().clone());
    let mut task = learner.begin_task(&ROWS, &mut stream(1)).unwrap();
    teach(&mut task, 0..5, &device);
    assert!(moved(&h, &start, task.mlp()) < 1e-5);
    // The same where the rows of a task that goes on are taken for those of one that has ended.
    let hlop = task.hlop().unwrap().clone();
    let learner = Learner::new(task.mlp().clone(), Some(hlop), Optimiser::Sgd, 0.05).unwrap();
    let rows = fixed(learner.hlop().unwrap()).into_iter().map(off_orthonormal);
    assert!(rows.fold(0.0, f64::max) < 1e-6);
    // And a state has them: `Qr` left none that are not.
    let mut state = given(Consolidate::Qr).save().unwrap();
    state.tensors.retain(|(name, _)| name != "lateral.1.fixed");
    let rows = as_given.save().unwrap().tensors.into_iter().find(|(name, _)| name == "lateral.1.fixed");
    state.tensors.extend(rows);
    let error = given(Consolidate::Qr).load(&state).unwrap_err().to_string();
    assert_eq!(error, "saved state: the rows of `1.fixed` are not orthonormal, as `Qr` left them");
});

on_each_device!(dropped_rows_are_reported, |device: Device| {
    let learner = learner_of(Optimiser::Sgd, 0.05, 0.0, Projection::Input, &device);
    // A lateral rate of 0: the second of two equal rows stays one.
    let rows = |n| Tensor::cat(vec![orthonormal(2, n, "two", &device), orthonormal(1, n, "two", &device)], 0);
    let twice = Tensor::cat(vec![rows(12).narrow(0, 0, 2), rows(12).narrow(0, 0, 1)], 0);
    let mut task = learner.begin_task_with(vec![twice, rows(10).narrow(0, 0, 2), rows(8).narrow(0, 0, 2)]).unwrap();
    teach(&mut task, 0..1, &device);
    let (learner, end) = task.finish();
    assert_eq!(end.dropped, [1, 0, 0]);
    assert_eq!(learner.hlop().unwrap().subspaces()[0].rows(), 2);
});

// Whatever a step refuses, it has changed nothing, and the next one is that of a task that never saw it.
on_each_device!(a_step_that_is_not_finite_changes_nothing, |device: Device| {
    let spoil = |index: u64, value: f32| {
        let (x, y) = batch(index, &device);
        let mut values: Vec<f32> = x.into_data().iter::<f32>().collect();
        values[17] = value;
        (matrix(values, 12, &device), y)
    };
    let start = || {
        let mut task = learner(Optimiser::Momentum, &device).begin_task(&ROWS, &mut stream(0)).unwrap();
        teach(&mut task, 0..2, &device);
        task
    };
    let mut undisturbed = start();
    teach(&mut undisturbed, 2..3, &device);
    let mut task = start();
    let before = everything(task.mlp(), task.hlop());
    for (value, what) in [(f32::INFINITY, "`x`"), (f32::NAN, "`x`"), (f32::MAX, "")] {
        let (x, y) = spoil(7, value);
        // So large that the sums overflow.
        let x = if value == f32::MAX { x.mul_scalar(0.0) + value } else { x };
        let error = task.step(x, y).unwrap_err();
        assert!(matches!(&error, SnnError::NotFinite { what: found, .. } if found.starts_with(what)), "{error}");
        assert_eq!(everything(task.mlp(), task.hlop()), before);
    }
    let (x, y) = batch(2, &device);
    assert!(task.step(x.clone(), y.clone().narrow(0, 0, 15)).is_err());
    assert!(task.step(x, y - 5).is_err());
    assert_eq!(everything(task.mlp(), task.hlop()), before);
    teach(&mut task, 2..3, &device);
    assert_eq!(everything(task.mlp(), task.hlop()), everything(undisturbed.mlp(), undisturbed.hlop()));
    assert_eq!(task.steps(), 3);
});

on_each_device!(rates_that_overflow_are_seen_before_anything_changes, |device: Device| {
    for (lr, lateral, what) in [(3e38, 0.05, "the new weights of layer"), (0.05, 3e38, "the new rows of layer 1")] {
        let mut task = learner_of(Optimiser::Sgd, lr, lateral, Projection::Input, &device)
            .begin_task(&ROWS, &mut stream(0))
            .unwrap();
        let before = everything(task.mlp(), task.hlop());
        let (x, y) = batch(0, &device);
        let error = task.step(x.mul_scalar(50.0), y).unwrap_err();
        assert!(error.to_string().starts_with(what), "{error}");
        assert_eq!(everything(task.mlp(), task.hlop()), before);
    }
});

#[test]
fn what_does_not_fit_the_network_is_refused() {
    let device = Device::flex();
    let mut task = learner(Optimiser::Sgd, &device).begin_task(&ROWS, &mut stream(0)).unwrap();
    let mut refused = |rows: usize, width: usize, y: Tensor<1, Int>| {
        task.step(Tensor::zeros([rows, width], &device), y).unwrap_err().to_string()
    };
    assert_eq!(refused(6, 13, labels(6, 4, 0, &device)), "`x` has shape [6, 13], expected [6, 12]");
    assert_eq!(refused(6, 12, labels(5, 4, 0, &device)), "`labels` has shape [5], expected [6]");
    assert_eq!(refused(0, 12, labels(0, 4, 0, &device)), "`batch` is 0: at least 1");
    let one = |label: i64| Tensor::<1, Int>::from_data(TensorData::new(vec![label], [1]), &device);
    assert_eq!(refused(1, 12, one(-1)), "`labels` is -1: each from 0 to 3");
    assert_eq!(refused(1, 12, one(4)), "`labels` is 4: each from 0 to 3");
    let double = Tensor::<2>::zeros([1, 12], (&device, burn::tensor::DType::F64));
    assert_eq!(task.step(double, one(0)).unwrap_err().to_string(), "`x` is of F64: a tensor of F32");
    let mlp = || small_mlp(12, &[10, 8], 4, &device);
    let other = Hlop::new(&[12, 10, 9], &rules(0.01), Projection::Input, Consolidate::None, &device).unwrap();
    let error = Learner::new(mlp(), Some(other), Optimiser::Sgd, 0.1).unwrap_err();
    assert_eq!(error.to_string(), "`hlop` has shape [12, 10, 9], expected [12, 10, 8]");
    for lr in [0.0, -0.1, f64::NAN, f64::INFINITY, 1e-60, 1e60] {
        assert!(Learner::new(mlp(), None, Optimiser::Sgd, lr).is_err(), "{lr}");
    }
    // The fields of a network are open: what does not fit together is seen when it is to learn.
    let mut short = mlp();
    short.thresholds.pop();
    assert!(matches!(Learner::new(short, None, Optimiser::Sgd, 0.1), Err(SnnError::Shape { field: "thresholds", .. })));
    let mut still = mlp();
    still.lif.steps = 0;
    assert!(Learner::new(still, None, Optimiser::Sgd, 0.1).is_err());
    let mut spoilt = mlp();
    spoilt.thresholds[0] = spoilt.thresholds[0].clone().map(|v| v * f32::NAN);
    assert!(matches!(Learner::new(spoilt, None, Optimiser::Sgd, 0.1), Err(SnnError::NotFinite { .. })));
}

on_each_device!(a_saved_task_goes_on_as_the_one_that_was_not, |device: Device| {
    for optimiser in [Optimiser::Sgd, Optimiser::Momentum] {
        let mut task = learner(optimiser, &device).begin_task(&ROWS, &mut stream(0)).unwrap();
        let unbegun = task.save().unwrap();
        let mut resumed = learner(optimiser, &device).resume(&unbegun).unwrap();
        teach(&mut resumed, 0..3, &device);
        teach(&mut task, 0..3, &device);
        assert_eq!(everything(task.mlp(), task.hlop()), everything(resumed.mlp(), resumed.hlop()));
        // In the first task, between the two, and in the second, whose thresholds do not learn.
        let mut resumed = learner(optimiser, &device).resume(&task.save().unwrap()).unwrap();
        teach(&mut task, 3..5, &device);
        teach(&mut resumed, 3..5, &device);
        assert_eq!(everything(task.mlp(), task.hlop()), everything(resumed.mlp(), resumed.hlop()));
        let (between, _) = task.finish();
        let loaded = learner(optimiser, &device).load(&between.save().unwrap()).unwrap();
        assert_eq!(loaded.tasks(), 1);
        let (mut task, mut resumed) =
            (between.begin_task(&ROWS, &mut stream(1)).unwrap(), loaded.begin_task(&ROWS, &mut stream(1)).unwrap());
        teach(&mut task, 5..8, &device);
        teach(&mut resumed, 5..6, &device);
        let mut resumed = learner(optimiser, &device).resume(&resumed.save().unwrap()).unwrap();
        teach(&mut resumed, 6..8, &device);
        assert_eq!(resumed.steps(), 3);
        assert_eq!(everything(task.mlp(), task.hlop()), everything(resumed.mlp(), resumed.hlop()));
        let (task, resumed) = (task.finish().0, resumed.finish().0);
        assert_eq!(everything(task.mlp(), task.hlop()), everything(resumed.mlp(), resumed.hlop()));
    }
});

#[test]
fn a_state_is_held_against_what_it_is_for() {
    let device = Device::flex();
    let mut task = learner(Optimiser::Momentum, &device).begin_task(&ROWS, &mut stream(0)).unwrap();
    teach(&mut task, 0..2, &device);
    let within = task.save().unwrap();
    let between = task.finish().0.save().unwrap();
    let same = || learner(Optimiser::Momentum, &device);
    let message = |of: Learner, state: &Saved| match state.steps {
        Some(_) => of.resume(state).unwrap_err().to_string(),
        None => of.load(state).unwrap_err().to_string(),
    };
    // Of a learner that goes on otherwise: each is named.
    let rate = learner_of(Optimiser::Momentum, 0.1, 0.05, Projection::Input, &device);
    assert_eq!(message(rate, &within), "saved state: learning rate was 0.05, here it is 0.1");
    assert!(message(learner(Optimiser::Sgd, &device), &within).contains("optimiser was Momentum, here it is Sgd"));
    let rule = learner_of(Optimiser::Momentum, 0.05, 0.02, Projection::Input, &device);
    assert!(message(rule, &between).contains("lateral rule of layer 1 was"));
    let weight = learner_of(Optimiser::Momentum, 0.05, 0.05, Projection::Weight, &device);
    assert!(message(weight, &between).contains("projection was Input, here it is Weight"));
    let naive = Learner::new(small_mlp(12, &[10, 8], 4, &device), None, Optimiser::Momentum, 0.05).unwrap();
    assert!(message(naive.clone(), &between).contains("was Qr, here it is not there"));
    assert!(message(same(), &naive.save().unwrap()).contains("was not there, here it is Qr"));
    let wide = Learner::new(small_mlp(12, &[11, 8], 4, &device), None, Optimiser::Momentum, 0.05).unwrap();
    assert!(message(naive, &wide.save().unwrap()).contains("layers was [[12, 11], [11, 8], [8, 4]], here it is"));
    // Of another place in the order.
    assert_eq!(same().load(&within).unwrap_err().to_string(), "saved state: a task had begun: `resume` it");
    assert_eq!(same().resume(&between).unwrap_err().to_string(), "saved state: no task had begun: `load` it");
    let mut open = within.clone();
    open.steps = None;
    open.tensors.retain(|(name, _)| name.starts_with("lateral."));
    assert!(message(same(), &open).contains("rows learn, but no task had begun"));
    // Tensors that are missing, too many, of another type, size or value.
    let changed = |name: &str, data: Option<TensorData>| {
        let mut state = within.clone();
        state.tensors.retain(|(n, _)| n != name);
        state.tensors.extend(data.map(|data| (name.to_owned(), data)));
        same().resume(&state).unwrap_err()
    };
    let zeros = |rows, n| TensorData::zeros::<f32, _>([rows, n]);
    assert!(matches!(changed("momentum.weights.1", None), SnnError::Saved(_)));
    assert!(matches!(changed("momentum.weights.1", Some(zeros(10, 9))), SnnError::Shape { .. }));
    assert!(matches!(changed("momentum.weights.3", Some(zeros(10, 9))), SnnError::Saved(_)));
    assert!(matches!(changed("momentum.thresholds.0", None), SnnError::Saved(_)));
    assert!(matches!(changed("stray", Some(zeros(1, 1))), SnnError::Saved(_)));
    assert!(matches!(changed("lateral.3.fixed", Some(zeros(1, 8))), SnnError::Saved(_)));
    assert!(matches!(changed("lateral.0.velocity", None), SnnError::Saved(_)));
    assert!(matches!(changed("lateral.0.rows", Some(zeros(4, 11))), SnnError::Shape { .. }));
    assert!(matches!(changed("lateral.0.fixed", Some(zeros(9, 12))), SnnError::Setting { field: "rows", .. }));
    let double = TensorData::new(vec![0.5f64; 12], [1, 12]);
    assert!(matches!(changed("lateral.0.fixed", Some(double)), SnnError::Setting { field: "fixed", .. }));
    let none = TensorData::new(vec![f32::NAN; 12], [1, 12]);
    assert!(matches!(changed("lateral.0.fixed", Some(none)), SnnError::NotFinite { .. }));
    let fast = TensorData::new(vec![10.5f32; 48], [4, 12]);
    assert!(changed("lateral.0.velocity", Some(fast)).to_string().contains("which no step is"));
    let spoilt = TensorData::new(vec![f32::INFINITY; 80], [10, 8]);
    assert!(matches!(changed("momentum.weights.1", Some(spoilt)), SnnError::NotFinite { .. }));
    let mut other = between;
    other.model = small_model(&device);
    assert!(matches!(same().load(&other), Err(SnnError::Saved(_))));
}

// What a state says of its task is held against what its tensors say.
#[test]
fn a_state_is_held_against_its_own_numbers() {
    let device = Device::flex();
    let start = |optimiser| learner(optimiser, &device).begin_task(&ROWS, &mut stream(0)).unwrap();
    let refused = |optimiser, state: &Saved| learner(optimiser, &device).resume(state).unwrap_err().to_string();
    let momentum = |name: &str| name.starts_with("momentum.");
    for optimiser in [Optimiser::Sgd, Optimiser::Momentum] {
        let mut task = start(optimiser);
        let unbegun = task.save().unwrap();
        teach(&mut task, 0..2, &device);
        let within = task.save().unwrap();
        // Its end would throw the rows away.
        let forgetful = Saved { steps: Some(0), ..within.clone() };
        let what = match optimiser {
            Optimiser::Sgd => "rows have learned, but no step is done",
            Optimiser::Momentum => "the momentum is not that of this network and optimiser after as many steps",
        };
        assert_eq!(refused(optimiser, &forgetful), format!("saved state: {what}"));
        let mut still = forgetful;
        still.tensors.retain(|(name, _)| !momentum(name));
        assert_eq!(refused(optimiser, &still), "saved state: rows have learned, but no step is done");
        // Without its momentum it would go on as if the task began.
        let mut slow = within.clone();
        slow.tensors.retain(|(name, _)| !momentum(name));
        match optimiser {
            Optimiser::Sgd => assert_eq!(slow, within),
            Optimiser::Momentum => {
                assert!(refused(optimiser, &slow).contains("the momentum is not"));
                let some = Saved { steps: Some(1), ..unbegun };
                assert!(refused(optimiser, &some).contains("the momentum is not"));
            }
        }
        // The thresholds would learn once more.
        let mut task = task.finish().0.begin_task(&ROWS, &mut stream(1)).unwrap();
        teach(&mut task, 2..3, &device);
        for state in [task.save().unwrap(), task.finish().0.save().unwrap()] {
            let state = Saved { tasks: 0, ..state };
            let of = learner(optimiser, &device);
            let error = match state.steps {
                Some(_) => of.resume(&state).unwrap_err(),
                None => of.load(&state).unwrap_err(),
            };
            assert_eq!(error.to_string(), "saved state: rows are fixed, but no task had ended");
        }
    }
}

fn small_model(device: &Device) -> Vec<u8> {
    Learner::new(small_mlp(12, &[9, 8], 4, device), None, Optimiser::Sgd, 0.1).unwrap().save().unwrap().model
}

on_each_device!(the_lateral_connections_survive_a_checkpoint, |device: Device| {
    let new = || Hlop::new(&[6, 5], &[LateralRule::default(); 2], Projection::Input, Consolidate::Qr, &device).unwrap();
    let hlop = with_rows(&[6, 5], &[2, 0], &[1, 3], Projection::Input, &device);
    let saved = hlop.to_tensors();
    let names: Vec<&str> = saved.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["0.fixed", "0.rows", "0.velocity", "1.rows", "1.velocity"]);
    let mut restored = new();
    restored.load_tensors(saved.clone()).unwrap();
    for (a, b) in hlop.subspaces().iter().zip(restored.subspaces()) {
        assert_eq!(values(a.h().unwrap()), values(b.h().unwrap()));
        assert_eq!(a.fixed_rows(), b.fixed_rows());
    }
    // A state that is refused halfway leaves all layers as they were.
    let mut stray = saved;
    stray.push(("2.fixed".into(), stray[0].1.clone()));
    let mut untouched = new();
    assert!(matches!(untouched.load_tensors(stray), Err(SnnError::Saved(_))));
    assert!(untouched.subspaces().iter().all(|s| s.rows() == 0));
});

// A learner does what its parts do by hand.
on_each_device!(a_step_is_forward_projection_descent_and_lateral_rule, |device: Device| {
    let hlop = with_rows(&INPUTS, &ROWS, &[0; 3], Projection::Input, &device);
    let mlp = small_mlp(12, &[10, 8], 4, &device);
    let mut task = Learner::new(mlp.clone(), Some(hlop), Optimiser::Sgd, 0.1)
        .unwrap()
        .begin_task(&[2, 2, 2], &mut stream(1))
        .unwrap();
    let mut by_hand = task.hlop().unwrap().clone();
    let (x, y) = batch(0, &device);
    let (logits, records) = dsr::forward(&mlp, x.clone()).unwrap();
    let (_, error) = dsr::cross_entropy(logits, y.clone()).unwrap();
    let projected = by_hand.project(&records).unwrap();
    let gradients = dsr::backward(&mlp, &records, projected.factors.clone(), error).unwrap();
    by_hand.teach(&records, &projected).unwrap();
    task.step(x, y).unwrap();
    for (l, gradient) in gradients.weights.into_iter().enumerate() {
        let expected = mlp.weight(l) - gradient.mul_scalar(0.1);
        assert_close(&values(task.mlp().weight(l)), &values(expected), 1e-7);
        let (found, rows) = (task.hlop().unwrap().subspaces()[l].h(), by_hand.subspaces()[l].h());
        assert_close(&values(found.unwrap()), &values(rows.unwrap()), 1e-7);
    }
});

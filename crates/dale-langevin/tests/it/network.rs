//! The score network: sizes, preconditioning, training, state (sections 19.1 and 19.9).

mod file;
mod peer;
mod step;

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::DType;
use dale_langevin::DiffusionError;
use dale_langevin::loss::Weighting;
use dale_langevin::net::{
    Batch, Coefficients, Edm, LearningRate, NetDenoiser, NoiseLevels, StepOptions, Training, UNetConfig,
};
use dale_langevin::noise::Noise;
use dale_langevin::score::Denoiser;
use plasticity_core::data::testing::data_or_skip;
use plasticity_core::data::{Split, load};
use plasticity_core::nn::save_model;
use plasticity_core::on_each_device;
use plasticity_core::rng::Stream;
use plasticity_core::testing::{cpu, max_difference, on_threads, values};

fn edm(config: &UNetConfig, side: usize, sd_data: f64, device: &Device) -> Edm {
    let unet = config.init(&mut Stream::new(1, "unet", 0), device).unwrap();
    Edm::new(unet, [config.channels, side, side], sd_data).unwrap()
}

/// Adds normal noise to every parameter: an untrained network is the zero function.
struct Jitter(Stream);

impl ModuleMapper for Jitter {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            let shape = value.shape();
            let noise = self.0.normal_vec(shape.num_elements()).into_iter().map(|z| 0.1 * z).collect::<Vec<_>>();
            let noise = Tensor::from_data(TensorData::new(noise, shape), &value.device().without_autodiff());
            let tracked = value.is_require_grad();
            (value + noise).detach().set_require_grad(tracked)
        })
    }
}

fn jittered(edm: Edm) -> Edm {
    edm.map(&mut Jitter(Stream::new(2, "jitter", 0)))
}

fn options(lr: f64, sd_data: f64) -> StepOptions {
    StepOptions { lr, weighting: Weighting::Edm { sd_data }, clip: Some(1.0) }
}

fn normal(label: &str, n: usize, pixels: usize, device: &Device) -> Tensor<2> {
    Noise::new(3, label, 0, n).normal(pixels, device, DType::F32)
}

#[test]
fn any_side_keeps_its_shape_and_the_count_is_the_formula() {
    let device = cpu();
    let small = |multipliers: &[usize]| UNetConfig::new(4, multipliers);
    let cases = [
        (UNetConfig { channels: 3, blocks: 2, embedding: 5, ..small(&[1, 2]) }, 9),
        (small(&[1]), 5),
        (small(&[1, 2, 4]), 28),
        (small(&[2, 1, 3]), 7),
        (small(&[1, 2]), 14),
        (small(&[1, 1]), 1),
    ];
    for (config, side) in cases {
        let unet = jittered(edm(&config, side, 0.5, &device)).valid().unet().clone();
        assert_eq!(unet.num_params(), config.parameters().unwrap(), "{config:?}");
        let x = normal("x", 2, config.channels * side * side, &device).reshape([2, config.channels, side, side]);
        let noise = Tensor::from_floats([-0.3, 0.2], &device);
        let y = unet.forward(x.clone(), noise);
        assert_eq!(y.dims(), x.dims());
        assert!(values(y).iter().all(|v| v.is_finite() && *v != 0.0));
    }
    // Counted by hand: embedding 32*16+16 + 16*16+16; input 4*9+4; one block 8 + 148 + 136 + 148
    // down and the same in the middle; norm 8, output 36+1.
    assert_eq!(small(&[1]).parameters().unwrap(), 800 + 40 + 2 * 440 + 8 + 37);
}

#[test]
fn a_rectangular_image_and_a_batch_of_levels() {
    let device = cpu();
    let unet = jittered(edm(&UNetConfig::new(4, &[1, 2]), 6, 0.5, &device)).valid().unet().clone();
    let x = normal("x", 3, 35, &device).reshape([3, 1, 5, 7]);
    let all = unet.forward(x.clone(), Tensor::from_floats([-0.3, 0.2, 0.2], &device));
    assert_eq!(all.dims(), [3, 1, 5, 7]);
    let one = unet.forward(x.clone().narrow(0, 2, 1), Tensor::from_floats([0.2], &device));
    assert!(max_difference(&values(all.clone().narrow(0, 2, 1)), &values(one)) < 1e-5);
    let other = unet.forward(x.narrow(0, 2, 1), Tensor::from_floats([-0.3], &device));
    assert!(max_difference(&values(all.narrow(0, 2, 1)), &values(other)) > 1e-3, "the level must matter");
}

#[test]
fn settings_out_of_range_are_named() {
    let init = |config: UNetConfig| config.init(&mut Stream::new(1, "unet", 0), &cpu());
    let config = UNetConfig::new(4, &[1, 2]);
    let named = |error: DiffusionError| match error {
        DiffusionError::Setting { field, .. } | DiffusionError::Shape { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(named(init(UNetConfig { base: 6, ..config.clone() }).unwrap_err()), "base");
    assert_eq!(named(init(UNetConfig { base: 0, ..config.clone() }).unwrap_err()), "base");
    assert_eq!(named(init(UNetConfig { multipliers: vec![], ..config.clone() }).unwrap_err()), "multipliers");
    assert_eq!(named(init(UNetConfig { multipliers: vec![1, 0], ..config.clone() }).unwrap_err()), "multipliers");
    assert_eq!(named(init(UNetConfig { blocks: 0, ..config.clone() }).unwrap_err()), "blocks");
    for config in [UNetConfig { multipliers: vec![], ..config.clone() }, UNetConfig { blocks: 0, ..config.clone() }] {
        assert!(config.parameters().is_err(), "{config:?}");
    }
    let unet = init(config.clone()).unwrap();
    assert_eq!(named(Edm::new(unet.clone(), [1, 0, 4], 0.5).unwrap_err()), "shape");
    assert_eq!(named(Edm::new(unet.clone(), [3, 4, 4], 0.5).unwrap_err()), "shape");
    assert_eq!(named(Edm::new(unet, [1, 4, 4], f64::NAN).unwrap_err()), "sd_data");
    let edm = edm(&config, 4, 0.5, &cpu());
    let y = Tensor::<2>::zeros([2, 16], &cpu());
    assert_eq!(named(edm.denoise_batch(y.clone(), &[0.1; 3]).unwrap_err()), "sds");
    assert_eq!(named(edm.denoise_batch(y.clone(), &[0.1, 0.0]).unwrap_err()), "sds");
    assert_eq!(named(edm.denoise_batch(y.clone().reshape([1, 32]), &[0.1]).unwrap_err()), "y");
    assert_eq!(named(NetDenoiser::new(&edm, 0).unwrap_err()), "batch");
    let denoiser = NetDenoiser::new(&edm, 1).unwrap();
    assert_eq!(named(denoiser.denoise(Tensor::zeros([2, 15], &cpu()), 0.1).unwrap_err()), "y");
    assert_eq!(named(denoiser.denoise(y.clone(), 0.0).unwrap_err()), "sds");
    let levels = NoiseLevels { mean: -2.0, dev: 1.3, sd_min: 0.01, sd_max: 10.0 };
    assert_eq!(named(NoiseLevels { sd_max: 0.01, ..levels }.check().unwrap_err()), "sd_max");
    assert_eq!(named(NoiseLevels { sd_min: 0.0, ..levels }.check().unwrap_err()), "sd_min");
    assert_eq!(named(NoiseLevels { dev: -1.0, ..levels }.check().unwrap_err()), "dev");
    assert!(levels.check().is_ok());
}

#[test]
fn preconditioning_keeps_input_and_target_at_unit_variance() {
    for sd in [0.005, 0.22, 3.0, 20.0] {
        let q: f64 = 0.22;
        let c = Coefficients::new(sd, q);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(c.input.powi(2) * (sd * sd + q * q), 1.0);
        // The network's target is (y_0 - c_skip y) / c_out, and c_skip leaves it uncorrelated with y.
        close(((1.0 - c.skip).powi(2) * q * q + (c.skip * sd).powi(2)) / c.out.powi(2), 1.0);
        close((1.0 - c.skip) * q * q - c.skip * sd * sd, 0.0);
        close((4.0 * c.noise).exp() / sd, 1.0);
    }
}

on_each_device!(t25_a_new_network_is_the_skip_connection, |device: Device| {
    let edm = edm(&UNetConfig::new(4, &[1, 2]), 6, 0.22, &device);
    let y = normal("y", 3, 36, &device);
    let sds = [0.01, 0.5, 15.0];
    let d = edm.denoise_batch(y.clone(), &sds).unwrap().inner();
    for (i, sd) in sds.into_iter().enumerate() {
        let expected = y.clone().narrow(0, i, 1) * (0.22 * 0.22 / (sd * sd + 0.22 * 0.22));
        assert!(max_difference(&values(d.clone().narrow(0, i, 1)), &values(expected)) < 1e-6);
    }
});

/// The mean of the EDM-weighted loss of a new network over `batches` of 64.
fn initial_loss(y0: impl Fn(u64) -> Tensor<2>, edm: &Edm, batches: u64) -> f64 {
    let levels = NoiseLevels { mean: -2.0, dev: 1.3, sd_min: 0.005, sd_max: 20.0 };
    let losses = (0..batches).map(|index| {
        let y0 = y0(index);
        let [n, pixels] = y0.dims();
        let eps = Noise::new(5, "eps", 64 * index, n).normal(pixels, &y0.device(), DType::F32);
        let sds = levels.draw(n, &mut Stream::new(5, "levels", index));
        let batch = Batch { y0, sds, eps };
        Training::new(edm.clone(), 0.999).step(&batch, &options(0.0, edm.sd_data())).unwrap()
    });
    losses.sum::<f64>() / batches as f64
}

#[test]
fn t25_the_first_loss_is_one_per_pixel() {
    let device = cpu();
    let edm = edm(&UNetConfig::new(4, &[1, 2]), 14, 0.3, &device);
    let y0 = |index| Noise::new(4, "y0", 64 * index, 64).normal(196, &cpu(), DType::F32) * 0.3;
    let loss = initial_loss(y0, &edm, 4);
    assert!((loss - 1.0).abs() < 0.05, "{loss}");
}

#[test]
fn t25_the_first_loss_on_mnist() {
    let Some(mnist) = data_or_skip("mnist") else { return };
    let images = load(&mnist, Split::Train, Some(2000)).unwrap();
    let (y, side) = small_digits(&images, 2000);
    let mean = y.iter().sum::<f64>() / y.len() as f64;
    let sd_data = (y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / y.len() as f64).sqrt();
    let pixels = side * side;
    let edm = edm(&UNetConfig::new(4, &[1, 2]), side, sd_data, &cpu());
    let batch = |index: u64| {
        let y: Vec<f64> = y[index as usize * 64 * pixels..][..64 * pixels].iter().map(|y| y - mean).collect();
        Tensor::<2>::from_data(TensorData::new(y, [64, pixels]), (&cpu(), DType::F32))
    };
    let loss = initial_loss(batch, &edm, 16);
    assert!((loss - 1.0).abs() < 0.05, "{loss}");
}

/// log(1 + u) of images averaged over 2x2 pixels: `[n, side^2]`, and the side.
fn small_digits(images: &plasticity_core::data::Images, n: usize) -> (Vec<f64>, usize) {
    let side = images.width / 2;
    let mut y = Vec::with_capacity(n * side * side);
    for i in 0..n {
        let image = images.image(i);
        let at = |row: usize, column: usize| f64::from(image[row * images.width + column]);
        for (row, column) in (0..side * side).map(|p| (2 * (p / side), 2 * (p % side))) {
            let sum = at(row, column) + at(row, column + 1) + at(row + 1, column) + at(row + 1, column + 1);
            y.push((1.0 + sum / (4.0 * 255.0)).ln());
        }
    }
    (y, side)
}

/// A bright square of side 5 at a random place of a dark 14x14 image, in log space, less the mean.
fn squares(n: usize, index: u64, device: &Device) -> Tensor<2> {
    let mut stream = Stream::new(7, "squares", index);
    let mean = 2f64.ln() * 25.0 / 196.0;
    let mut y = vec![-mean; n * 196];
    for image in y.chunks_mut(196) {
        let (top, left) = (stream.below(10) as usize, stream.below(10) as usize);
        (0..25).for_each(|p| image[(top + p / 5) * 14 + left + p % 5] += 2f64.ln());
    }
    Tensor::from_data(TensorData::new(y, [n, 196]), (device, DType::F32))
}

const LEVELS: NoiseLevels = NoiseLevels { mean: -2.0, dev: 1.3, sd_min: 0.02, sd_max: 10.0 };

fn squares_batch(n: usize, index: u64, device: &Device) -> Batch {
    let eps = Noise::new(8, "eps", n as u64 * index, n).normal(196, device, DType::F32);
    Batch { y0: squares(n, index, device), sds: LEVELS.draw(n, &mut Stream::new(8, "levels", index)), eps }
}

fn run(training: &mut Training, steps: std::ops::Range<u64>, device: &Device) -> Vec<f64> {
    let rate = LearningRate { peak: 4e-3, warm_up: 20, steps: 150, floor: 0.0 };
    let sd_data = training.model.sd_data();
    steps.map(|k| training.step(&squares_batch(32, k, device), &options(rate.at(k), sd_data)).unwrap()).collect()
}

/// Section 19.9: a network of base 8 learns in 150 steps to halve the error of the identity.
#[test]
fn a_small_network_learns_to_denoise() {
    let device = cpu();
    let sd_data = 2f64.ln() * (25.0f64 / 196.0 * (1.0 - 25.0 / 196.0)).sqrt();
    let mut training = Training::new(edm(&UNetConfig::new(8, &[1, 2]), 14, sd_data, &device), 0.999);
    run(&mut training, 0..150, &device);
    let denoiser = NetDenoiser::new(&training.average, 64).unwrap();
    let y0 = squares(128, 1000, &device);
    let noise = Noise::new(9, "test", 0, 128).normal(196, &device, DType::F32);
    for (sd, share) in [(0.1, 0.5), (0.3, 0.2), (0.8, 0.1)] {
        let d = denoiser.denoise(y0.clone() + noise.clone() * sd, sd).unwrap();
        let error: f64 = (d - y0.clone()).powi_scalar(2).mean().into_scalar();
        eprintln!("sd {sd}: {} of the identity's", error / (sd * sd));
        assert!(error < share * sd * sd, "sd {sd}: {} of the identity's", error / (sd * sd));
    }
}

#[test]
fn a_resumed_run_gives_the_same_bytes() {
    let device = cpu();
    let start = || Training::new(edm(&UNetConfig::new(4, &[1, 2]), 14, 0.22, &device), 0.999);
    let mut straight = start();
    run(&mut straight, 0..6, &device);
    let mut first = start();
    run(&mut first, 0..3, &device);
    let files = first.save().unwrap();
    // Other weights in the fresh network: everything must come from the files.
    let mut resumed = Training::new(jittered(start().model), 0.999);
    resumed.load(&files).unwrap();
    assert_eq!(resumed.steps, 3);
    run(&mut resumed, 3..6, &device);
    let (straight, resumed) = (straight.save().unwrap(), resumed.save().unwrap());
    for name in ["model.safetensors", "average.safetensors", "steps.txt"] {
        assert!(straight[name] == resumed[name], "{name}");
        assert!(straight[name] != files[name], "{name} must have moved");
    }
    assert!(straight["model.safetensors"] != straight["average.safetensors"]);
}

/// House rule 3, with the fused operations and the convolutions on more threads than cores.
#[test]
fn the_number_of_threads_does_not_matter() {
    let device = cpu();
    let train = |threads| {
        on_threads(threads, || {
            let mut training = Training::new(edm(&UNetConfig::new(8, &[1, 2]), 14, 0.22, &device), 0.999);
            run(&mut training, 0..4, &device);
            save_model(&training.model).unwrap()
        })
    };
    let one = train(1);
    assert!(one == train(2) && one == train(3));
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let device = cpu();
    let start = |base, multipliers| Training::new(edm(&UNetConfig::new(base, multipliers), 8, 0.22, &device), 0.999);
    let files = start(8, &[1, 2]).save().unwrap();
    for mut other in [start(4, &[1, 2]), start(8, &[1, 2, 2]), start(8, &[1])] {
        let before = save_model(&other.model).unwrap();
        let error = other.load(&files).unwrap_err().to_string();
        assert!(error.contains("its `network` is"), "{error}");
        assert!(save_model(&other.model).unwrap() == before, "a failed load must change nothing");
    }
    for name in files.keys() {
        let mut lacking = files.clone();
        lacking.remove(name);
        assert!(start(8, &[1, 2]).load(&lacking).unwrap_err().to_string().contains(name.as_str()));
    }
}

#[test]
fn a_loss_that_is_not_finite_leaves_the_run_as_it_was() {
    let device = cpu();
    let mut training = Training::new(edm(&UNetConfig::new(4, &[1]), 14, 0.22, &device), 0.999);
    run(&mut training, 0..2, &device);
    let before = save_model(&training.model).unwrap();
    let mut batch = squares_batch(4, 0, &device);
    batch.y0 = batch.y0 * f32::NAN;
    let error = training.step(&batch, &options(1e-3, 0.22)).unwrap_err();
    assert_eq!(error, DiffusionError::NotFinite { field: "loss", step: 2 });
    assert!(save_model(&training.model).unwrap() == before);
    // Nor does the optimiser remember it.
    run(&mut training, 2..4, &device);
    let mut straight = Training::new(edm(&UNetConfig::new(4, &[1]), 14, 0.22, &device), 0.999);
    run(&mut straight, 0..4, &device);
    assert!(save_model(&training.model).unwrap() == save_model(&straight.model).unwrap());
}

/// 3 times the inputs of a layer times the mean square of its weights, by path.
#[derive(Default)]
struct Spread {
    path: Vec<String>,
    of: Vec<(String, usize, f64)>,
}

impl ModuleVisitor for Spread {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (path, dims, w) = (self.path.join("."), param.val().dims(), values(param.val().inner()));
        if path.ends_with("weight") && !path.contains("output") {
            let inputs = if D == 2 { dims[0] } else { dims[1..].iter().product() };
            let square = w.iter().map(|w| w * w).sum::<f64>() / w.len() as f64;
            self.of.push((path, w.len(), 3.0 * inputs as f64 * square));
        }
    }
}

#[test]
fn initial_weights_have_the_variance_of_their_rule() {
    let mut spread = Spread::default();
    edm(&UNetConfig::new(8, &[1, 2]), 14, 0.22, &cpu()).visit(&mut spread);
    // Two of the embedding, input, halving, two convolutions and one of FiLM in each of four
    // blocks, one shortcut.
    assert_eq!(spread.of.len(), 2 + 1 + 1 + 4 * 3 + 1);
    for (path, n, found) in spread.of {
        assert!((found - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt(), "{path}: {found}");
    }
}

#[test]
fn an_image_does_not_see_the_others_of_its_batch() {
    let device = cpu();
    let edm = jittered(edm(&UNetConfig::new(8, &[1, 2]), 14, 0.22, &device));
    let y = normal("y", 13, 196, &device);
    let whole = NetDenoiser::new(&edm, 64).unwrap().denoise(y.clone(), 0.3).unwrap();
    assert!(!whole.is_autodiff(), "no graph is kept");
    let whole = values(whole);
    for batch in [1, 5, 13] {
        let parts = values(NetDenoiser::new(&edm, batch).unwrap().denoise(y.clone(), 0.3).unwrap());
        assert!(whole == parts, "batches of {batch}");
    }
    let batch = values(edm.denoise_batch(y, &[0.3; 13]).unwrap().inner());
    assert!(max_difference(&whole, &batch) < 1e-5);
}

#[test]
fn noise_levels_are_log_normal_within_their_range() {
    let n = 20_000;
    let mut stream = Stream::new(11, "levels", 0);
    let levels = NoiseLevels { mean: -1.2, dev: 1.5, sd_min: 1e-9, sd_max: 1e9 };
    let logs: Vec<f64> = levels.draw(n, &mut stream).into_iter().map(f64::ln).collect();
    let mean = logs.iter().sum::<f64>() / n as f64;
    let dev = (logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
    assert!((mean + 1.2).abs() < 5.0 * 1.5 / (n as f64).sqrt(), "{mean}");
    assert!((dev - 1.5).abs() < 5.0 * 1.5 / (2.0 * n as f64).sqrt(), "{dev}");
    let clipped = NoiseLevels { sd_min: 0.1, sd_max: 0.5, ..levels }.draw(n, &mut stream);
    let share = |f: &dyn Fn(f64) -> bool| clipped.iter().filter(|sd| f(**sd)).count() as f64 / n as f64;
    assert_eq!(share(&|sd| (0.1..=0.5).contains(&sd)), 1.0);
    // P(ln sd < ln 0.1) = Phi(-0.7351), P(ln sd > ln 0.5) = Phi(-0.3379).
    assert!((share(&|sd| sd == 0.1) - 0.2311).abs() < 0.02);
    assert!((share(&|sd| sd == 0.5) - 0.3677).abs() < 0.02);
}

#[test]
fn the_learning_rate_rises_and_falls() {
    let rate = LearningRate { peak: 2.0, warm_up: 4, steps: 104, floor: 0.1 };
    let close = |step, expected: f64| assert!((rate.at(step) - expected).abs() < 1e-12, "{step}: {}", rate.at(step));
    [(0, 0.5), (3, 2.0), (4, 2.0), (54, 1.1), (104, 0.2), (1000, 0.2)].into_iter().for_each(|(s, r)| close(s, r));
    assert_eq!(LearningRate { warm_up: 0, ..rate }.at(0), 2.0);
    assert!((5..104).all(|step| rate.at(step) < rate.at(step - 1)));
}

#[test]
fn the_weighting_is_that_of_the_options() {
    let device = cpu();
    let mut training = Training::new(edm(&UNetConfig::new(4, &[1]), 14, 0.3, &device), 0.999);
    let y0 = normal("y0", 256, 196, &device) * 0.3;
    let batch = Batch { y0, sds: vec![0.4; 256], eps: normal("eps", 256, 196, &device) };
    let loss = training.step(&batch, &StepOptions { lr: 0.0, weighting: Weighting::Paper, clip: None }).unwrap();
    // The skip connection is the Wiener filter of white data: error V q^2 / (V + q^2), here 0.0576.
    assert!((loss - 0.0576).abs() < 0.001, "{loss}");
}

#[test]
fn a_batch_that_does_not_fit_is_refused() {
    let device = cpu();
    let mut training = Training::new(edm(&UNetConfig::new(4, &[1]), 14, 0.3, &device), 0.999);
    let batch = squares_batch(3, 0, &device);
    let wrong = [
        ("eps", Batch { eps: normal("eps", 2, 196, &device), ..batch.clone() }),
        ("sds", Batch { sds: vec![0.1], ..batch.clone() }),
        ("y", Batch { y0: normal("y0", 3, 9, &device), eps: normal("eps", 3, 9, &device), ..batch }),
    ];
    for (name, batch) in wrong {
        let error = training.step(&batch, &options(1e-3, 0.3)).unwrap_err();
        assert!(matches!(error, DiffusionError::Shape { field, .. } if field == name), "{error}");
    }
}

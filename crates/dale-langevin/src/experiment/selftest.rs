//! The self-test of a device: training, drawing and closed forms against the CPU and known values.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::device::DeviceError;
use plasticity_core::rng::Stream;
use plasticity_core::run::selftest::{Check, Failure, Selftest, values};

use crate::error::DiffusionError;
use crate::loss::Weighting;
use crate::mixture::LogNormalMixture;
use crate::net::{Batch, Edm, NetDenoiser, StepOptions, Training, UNetConfig};
use crate::noise::Noise;
use crate::sampler::{Sampler, Solver, sample, unobserved};
use crate::schedule::{Grid, Schedule};
use crate::score::{Denoiser, View, convert};
use crate::state::State;

const SIDE: usize = 14;
const PIXELS: usize = SIDE * SIDE;
const IMAGES: usize = 8;
const SD_DATA: f64 = 0.22;
const CALLS: usize = 20;

/// Compares `device` with the CPU.
///
/// # Errors
/// When there is no CPU device to compare it with.
pub fn selftest(device: &Device) -> Result<Vec<Check>, DeviceError> {
    let mut test = Selftest::new(device)?;
    let tolerance = test.tolerance(1e-4, 2e-2);
    test.compare("Losses of three training steps of the U-Net, 8 images of 14x14", tolerance, training_steps);
    test.compare("8 images after 20 Dale-Langevin steps with the U-Net, same noise", tolerance, drawing);
    let known = vec![0.6980560536, -0.3091095078, -0.6865407014, -2.2913016827];
    test.expect("Score of a log-normal mixture, against known values", 1e-5, Ok(known), mixture);
    Ok(test.finish())
}

/// Adds normal noise to every parameter: an untrained network is the zero function.
struct Jitter(Stream);

impl ModuleMapper for Jitter {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            let shape = value.shape();
            let noise: Vec<f32> = self.0.normal_vec(shape.num_elements()).into_iter().map(|z| 0.1 * z).collect();
            let noise = Tensor::from_data(TensorData::new(noise, shape), &value.device().without_autodiff());
            let tracked = value.is_require_grad();
            let plain = if value.is_autodiff() { value.inner() } else { value };
            let sum = plain + noise;
            if tracked { Tensor::from_inner(sum).require_grad() } else { sum }
        })
    }
}

fn network(device: &Device) -> Result<Edm, DiffusionError> {
    let unet = UNetConfig::new(8, &[1, 2]).init(&mut Stream::new(0, "dale-langevin/selftest/weights", 0), device)?;
    let edm = Edm::new(unet, [1, SIDE, SIDE], SD_DATA)?;
    Ok(edm.map(&mut Jitter(Stream::new(0, "dale-langevin/selftest/jitter", 0))))
}

fn normal(label: &str, device: &Device) -> Tensor<2> {
    Noise::new(0, label, 0, IMAGES).normal(PIXELS, device, DType::F32)
}

fn training_steps(device: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    let start = Training::new(network(device)?, 0.999);
    let batches: Vec<Batch> = (0..3)
        .map(|i| Batch {
            y0: normal(&format!("dale-langevin/selftest/clean/{i}"), device) * SD_DATA,
            sds: (0..IMAGES).map(|image| 0.02 * 2f64.powi(image as i32)).collect(),
            eps: normal(&format!("dale-langevin/selftest/eps/{i}"), device),
        })
        .collect();
    let options = StepOptions { lr: 1e-3, weighting: Weighting::Edm { sd_data: SD_DATA }, clip: Some(1.0) };
    Ok(move || {
        let mut training = start.clone();
        let losses: Result<_, DiffusionError> = batches.iter().map(|batch| training.step(batch, &options)).collect();
        Ok(losses?)
    })
}

/// The state in log space.
fn drawing(device: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    let denoiser = NetDenoiser::new(&network(device)?, IMAGES)?;
    let grid = Grid::geometric(0.02, 2.0, CALLS)?;
    let start = normal("dale-langevin/selftest/start", device) * grid.first().sd();
    Ok(move || {
        let mut noise = Noise::new(0, "dale-langevin/selftest/steps", 0, IMAGES);
        let sampler = Sampler::new(Solver::DaleLog);
        let drawn = sample(&denoiser, State::positive(start.clone()), &grid, &sampler, &mut noise, &mut unobserved)?;
        Ok(values(drawn.state.y))
    })
}

/// Mixture A at t = 0.3 of the paper's schedule, at x = 0.5, 1, 1.5, 2.5.
fn mixture(device: &Device) -> Result<impl FnMut() -> Result<Vec<f64>, Failure> + use<>, Failure> {
    // Inside a graph it is computed by tensor operations, elsewhere on the host.
    let device = device.clone().autodiff();
    let (mixture, level) = (LogNormalMixture::mixture_a(), Schedule::PAPER.level(0.3));
    let y = Tensor::<2>::from_floats([[0.5, 1.0, 1.5, 2.5]], &device).log();
    Ok(move || {
        let denoised = mixture.denoise(y.clone(), level.sd())?;
        Ok(values(convert(denoised, View::Denoised, View::Hyvarinen, &y, None, level).inner()))
    })
}

//! The paper's claims as experiments: exact scores, the terminal prior, and a network that draws digits.
//!
//! One entry, `dale-langevin`, with three studies ([`Study`]), each in the four steps config, run, evaluate, outcome:
//! `closed_form` and `prior` hold theirs in a file, `network` is the run whose measures are in `evaluate` and whose
//! report is in `outcome`.

mod closed_form;
mod config;
mod data;
mod draw;
mod evaluate;
mod network;
mod outcome;
mod prior;
mod samplers;
mod selftest;
mod state;
mod steps;

pub use config::{ClosedFormConfig, Config, LossWeight, NetworkConfig, PriorConfig, Study, TrainingConfig};
pub use data::Space;
pub use samplers::{Kind, SamplerConfig, Start};
pub use selftest::selftest;

use plasticity_core::config::{Checked, Invalid};
use plasticity_core::data::Facts;
use plasticity_core::data::manifest;
use plasticity_core::error::RunError;
use plasticity_core::run::record::{Outcome, Plan};
use plasticity_core::run::{Experiment, RunContext};

use crate::DiffusionError;

/// `dale-langevin` in suites.
pub struct DaleLangevin;

impl From<DiffusionError> for RunError {
    fn from(error: DiffusionError) -> Self {
        match error {
            DiffusionError::NotFinite { field, step } => {
                RunError::Diverged { metric: field.into(), value: f64::NAN, step: step as u64 }
            }
            error => RunError::Failed(error.to_string()),
        }
    }
}

impl Experiment for DaleLangevin {
    const NAME: &'static str = "dale-langevin";
    const ABOUT: &'static str =
        "arXiv 2510.02730: diffusion by multiplicative noise, with exact scores, with real images, with a network";
    type Config = Config;

    fn describe(config: &Checked<Config>) -> Plan {
        match config.study {
            Study::ClosedForm => closed_form::describe(&config.closed_form),
            Study::Prior => prior::describe(config),
            Study::Network => network::describe(config),
        }
    }

    fn reads(config: &Checked<Config>) -> Option<manifest::Kind> {
        (config.study != Study::ClosedForm).then_some(manifest::Kind::Images)
    }

    fn fits(config: &Checked<Config>, data: &Facts) -> Result<(), Invalid> {
        Config::fits(config, data)
    }

    fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        match config.study {
            Study::ClosedForm => closed_form::run(&config.closed_form, ctx),
            Study::Prior => prior::run(config, ctx),
            Study::Network => network::run(config, ctx),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::prelude::*;
    use plasticity_core::rng::Stream;

    use super::config::Config;
    use super::*;
    use crate::loss::Weighting;
    use crate::net::{Batch, Edm, StepOptions, Training, UNetConfig};

    /// A suite's config and the set of numbers of images at which its metrics are told apart.
    fn config(text: &str) -> Config {
        let source = plasticity_core::config::Source { file: "s.toml".into(), text: text.into() };
        source.decode(source.table().unwrap()).unwrap()
    }

    /// No two metrics of a run have one name or one title, whatever the ids and numbers that a suite gives.
    #[test]
    fn names_made_of_ids_never_meet() {
        let words = ["floor", "real", "a", "n256", "n300", "noisy", "gaussian", "blurred", "dpm"];
        let mut stream = Stream::new(1, "ids", 0);
        let mut valid = 0;
        for _ in 0..400 {
            let mut id = || {
                let n = 1 + stream.below(3);
                let word = |s: &mut Stream| words[s.below(words.len() as u64) as usize];
                (0..n).map(|_| word(&mut stream)).collect::<Vec<_>>().join("_")
            };
            let samplers: Vec<String> = [256, 300, 70]
                .map(|n| format!("{{ id = \"{}\", kind = \"ddim\", calls = 2, sd_max = 10.0, samples = {n} }}", id()))
                .to_vec();
            let Ok(config) = Checked::new(config(&format!("sampling = [{}]", samplers.join(", ")))) else { continue };
            valid += 1;
            let metrics = DaleLangevin::describe(&config).metrics;
            for (i, metric) in metrics.iter().enumerate() {
                let twice = |other: &plasticity_core::run::record::MetricInfo| {
                    other.name == metric.name || other.title == metric.title
                };
                assert!(!metrics[..i].iter().any(twice), "{} in {samplers:?}", metric.name);
            }
        }
        assert!(valid > 40, "{valid} sets of ids were allowed");
    }

    #[test]
    fn a_loss_that_blows_up_is_a_cell_that_diverged() {
        let device = Device::flex();
        let unet = UNetConfig::new(4, &[1]).init(&mut Stream::new(1, "weights", 0), &device.clone().autodiff());
        let mut training = Training::new(Edm::new(unet.unwrap(), [1, 4, 4], 0.5).unwrap(), 0.9);
        let normal = |label| TensorData::new(Stream::new(1, label, 0).normal_vec(64), [4, 16]);
        let batch = Batch {
            y0: Tensor::from_data(normal("y0"), &device),
            sds: vec![0.5; 4],
            eps: Tensor::from_data(normal("eps"), &device),
        };
        let options = StepOptions { lr: 1e9, weighting: Weighting::Edm { sd_data: 0.5 }, clip: None };
        let error = (0..20).find_map(|_| training.step(&batch, &options).err()).expect("a rate of 1e9 diverges");
        let error = RunError::from(error);
        assert_eq!(error.kind(), "diverged", "{error}");
    }
}

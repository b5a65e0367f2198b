//! The paper's claims as experiments: exact scores, the terminal prior, and a network that draws digits.
//!
//! One entry, `dale-langevin`, with three studies ([`config::Study`]).

mod bytes;
mod closed_form;
mod config;
mod draw;
mod images;
mod judge;
mod network;
mod prior;
mod samplers;
mod selftest;
mod state;

pub use config::{ClosedFormConfig, Config, LossWeight, NetworkConfig, PriorConfig, Space, Study, TrainingConfig};
pub use samplers::{Kind, SamplerConfig, Start};
pub use selftest::selftest;

use plasticity_core::config::Checked;
use plasticity_core::error::RunError;
use plasticity_core::run::record::{Outcome, Plan};
use plasticity_core::run::{Experiment, RunContext};

use crate::DiffusionError;

/// `dale-langevin` in suites.
pub struct DaleLangevin;

impl From<DiffusionError> for RunError {
    fn from(error: DiffusionError) -> Self {
        RunError::Failed(error.to_string())
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

    fn run(config: &Checked<Config>, ctx: &mut RunContext) -> Result<Outcome, RunError> {
        match config.study {
            Study::ClosedForm => closed_form::run(&config.closed_form, ctx),
            Study::Prior => prior::run(config, ctx),
            Study::Network => network::run(config, ctx),
        }
    }
}

//! One line per paper in each list.

use dale_langevin::experiment::DaleLangevin;
use hebbian_snn::experiment::HebbianSnn;
use hidenseek::experiment::HideNseek;
use plasticity_core::run::{Entry, Experiment, selftest};
use synaptic_resonance::experiment::SynapticResonance;

/// Every experiment that a suite can name.
pub fn entries() -> Vec<Entry> {
    vec![
        Entry::of::<DaleLangevin>(),
        Entry::of::<HebbianSnn>(),
        Entry::of::<HideNseek>(),
        Entry::of::<SynapticResonance>(),
    ]
}

/// The self-test of each paper, by its name.
pub fn selftests() -> Vec<(&'static str, selftest::Run)> {
    vec![
        (DaleLangevin::NAME, dale_langevin::experiment::selftest),
        (HebbianSnn::NAME, hebbian_snn::experiment::selftest),
        (HideNseek::NAME, hidenseek::experiment::selftest),
        (SynapticResonance::NAME, synaptic_resonance::experiment::selftest),
    ]
}

//! One line per paper.

use dale_langevin::experiment::DaleLangevin;
use hebbian_snn::experiment::HebbianSnn;
use hidenseek::experiment::HideNseek;
use plasticity_core::run::Entry;
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

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A cell's key holds the sources of its paper: those of the crate of the experiment's name.
    #[test]
    fn every_experiment_has_the_name_of_its_crate() {
        for entry in entries() {
            let sources = crate::reproduce::SOURCES.iter().find(|(name, _)| *name == entry.name);
            assert!(sources.is_some(), "there is no crates/{}/src: its changes would not change a key", entry.name);
        }
    }
}

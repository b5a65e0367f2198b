//! What can be run after a suite, and what it costs: the suites of each paper.

use plasticity_core::run::record::Profile;

use crate::report::measured::model::Report;
use crate::{registry, root, suite};

/// A suite of one paper.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// Name of the paper's experiment.
    pub paper: &'static str,
    /// The suite's title.
    pub title: String,
    /// Full or reduced.
    pub profile: Profile,
    /// Number of its cells.
    pub cells: usize,
    /// Seconds of all its cells one after the other, on one thread of an ordinary machine.
    pub seconds: f64,
    /// What runs it.
    pub command: String,
}

/// The suites of each paper but for the one that is reported. One that cannot be read is
/// passed over: `list` says what is wrong with it.
pub fn suites(report: &Report) -> Vec<Next> {
    let root = root::workspace();
    let entries = registry::entries();
    let mut all = Vec::new();
    for name in suite::all(&root).into_iter().filter(|name| *name != report.suite) {
        let Some(paper) = registry::PAPERS.iter().find(|p| name.split('/').next() == Some(p.name)) else { continue };
        let read = suite::find(&root, &name).and_then(|(file, name)| suite::read(&file, name, &entries));
        let Ok(suite) = read else { continue };
        all.push(Next {
            paper: paper.name,
            title: suite.head.title.clone(),
            profile: suite.head.profile,
            cells: suite.experiments.iter().map(|e| e.arms.len() * e.seeds.len()).sum(),
            seconds: suite.seconds(),
            command: format!("cargo xtask reproduce {name}"),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::build;
    use crate::report::testing::Fake;

    #[test]
    fn every_suite_of_a_paper_is_named_with_its_cost() {
        let runs = tempfile::tempdir().unwrap();
        let mut report = build(&Fake::default().write(runs.path()).unwrap()).unwrap();
        let all = suites(&report);
        for paper in registry::PAPERS {
            assert!(all.iter().any(|n| n.paper == paper.name && n.seconds > 0.0), "no suite of {}", paper.name);
        }
        let pmnist = |all: &[Next]| all.iter().any(|n| n.command == "cargo xtask reproduce hebbian-snn/pmnist");
        assert!(pmnist(&all) && !all.iter().any(|n| n.command.ends_with("reproduce smoke")));
        report.suite = "hebbian-snn/pmnist".into();
        assert!(!pmnist(&suites(&report)), "the suite that is reported has run");
    }
}

//! The experiments of a report, paper by paper.

use super::model::{Experiment, Report};
use crate::registry::{self, Paper};

/// The experiments of one paper.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    /// The name that they share.
    pub name: &'a str,
    /// The paper, if the program knows it.
    pub paper: Option<&'static Paper>,
    /// Their places in the report.
    pub experiments: Vec<usize>,
}

impl Group<'_> {
    /// The paper's title, or the name of the experiments.
    pub fn title(&self) -> &str {
        self.paper.map_or(self.name, |p| p.title)
    }

    /// `arXiv 2402.11984`.
    pub fn arxiv(&self) -> Option<String> {
        self.paper.map(|p| format!("arXiv {}", p.arxiv))
    }

    /// What the heading of one of its experiments says; `None` where one would say nothing
    /// that the paper's heading does not say.
    pub fn heading<'r>(&self, experiment: &'r Experiment) -> Option<&'r str> {
        (self.experiments.len() > 1 || experiment.title.is_some()).then(|| experiment.label())
    }
}

/// The papers of a report in the order of their first experiment.
pub fn groups(report: &Report) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    for (number, experiment) in report.experiments.iter().enumerate() {
        match groups.iter_mut().find(|g| g.name == experiment.name) {
            Some(group) => group.experiments.push(number),
            None => groups.push(Group {
                name: &experiment.name,
                paper: registry::paper(&experiment.name),
                experiments: vec![number],
            }),
        }
    }
    groups
}

/// Where the address of a paper is.
pub fn address(paper: &Paper) -> String {
    format!("https://arxiv.org/abs/{}", paper.arxiv)
}

/// The page of a paper, from the root of the repository.
pub fn page(paper: &Paper) -> String {
    format!("docs/papers/{}.md", paper.name)
}

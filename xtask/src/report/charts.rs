//! Which pictures a report has.

use anyhow::Result;

use super::heat::{self, Heat};
use super::{Experiment, Report, plot};

/// A picture as a file beside the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Name of the file.
    pub file: String,
    /// What it shows.
    pub alt: String,
    /// The SVG.
    pub svg: String,
}

/// Every picture of a report: the accuracy matrices first, then the curves.
///
/// # Errors
/// A chart that cannot be drawn.
pub fn pictures(report: &Report) -> Result<Vec<Picture>> {
    let mut out = Vec::new();
    for (number, experiment) in report.experiments.iter().enumerate() {
        for name in matrix_names(experiment) {
            out.push(Picture {
                file: format!("{}{}-matrix.svg", prefix(report, number), slug(&name)),
                alt: matrix_title(&name),
                svg: plot::for_file(&heat::whole(&matrices(experiment, &name))?),
            });
        }
    }
    for chart in &report.charts {
        let stem = format!("{}{}", prefix(report, chart.experiment), chart.file);
        let taken = |file: &String| out.iter().any(|p: &Picture| p.file == *file);
        let files = (1..).map(|n| if n == 1 { format!("{stem}.svg") } else { format!("{stem}-{n}.svg") });
        out.push(Picture {
            file: files.into_iter().find(|file| !taken(file)).unwrap_or_default(),
            alt: chart.title.clone(),
            svg: plot::for_file(&plot::whole(chart)?),
        });
    }
    Ok(out)
}

/// Names of the square matrices of any arm.
pub fn matrix_names(experiment: &Experiment) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, matrix) in experiment.arms.iter().flat_map(|a| &a.matrices) {
        let square = matrix.len() > 1 && matrix.iter().all(|row| row.len() <= matrix.len());
        if square && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// One matrix of every arm that has it.
pub fn matrices<'a>(experiment: &'a Experiment, name: &str) -> Vec<Heat<'a>> {
    let arms = experiment.arms.iter();
    arms.filter_map(|a| Some(Heat { title: &a.id, rows: a.matrices.get(name)? })).collect()
}

/// What a matrix shows.
pub fn matrix_title(name: &str) -> String {
    let mut name = name.replace('_', " ");
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!("{name} (%) on every task after every task, mean over finished seeds")
}

/// Suites of several experiments name them in their files.
fn prefix(report: &Report, experiment: usize) -> String {
    match report.experiments.get(experiment) {
        Some(experiment) if report.experiments.len() > 1 => format!("{}-", slug(experiment.label())),
        _ => String::new(),
    }
}

/// Letters and digits, with single hyphens between them.
pub fn slug(name: &str) -> String {
    let parts = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-")
}

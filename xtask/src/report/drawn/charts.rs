//! Which pictures a report has, in which order, and as which files.

use std::path::PathBuf;

use anyhow::Result;

use super::heat::{self, Heat};
use super::plot;
use crate::registry;
use crate::report::measured::album::Album;
use crate::report::measured::chart::{Chart, Weight};
use crate::report::measured::format::slug;
use crate::report::measured::model::{Experiment, PictureLine, Report};
use crate::report::measured::papers;

/// Something of an experiment to look at.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<'a> {
    /// The matrices of this name, one an arm.
    Matrix(String),
    /// Pictures that the runs made.
    Album(&'a Album),
    /// Curves.
    Chart(&'a Chart),
}

impl Item<'_> {
    /// What it shows.
    pub fn title(&self) -> String {
        match self {
            Item::Matrix(name) => matrix_title(name),
            Item::Album(album) => album.title.clone(),
            Item::Chart(chart) => chart.title.clone(),
        }
    }

    fn is_result(&self) -> bool {
        !matches!(self, Item::Chart(chart) if chart.weight != Weight::Result)
    }
}

/// What an experiment has to look at: what shows its paper's claim best first, then what
/// else its runs recorded as a result, then curves of the training.
pub fn items(report: &Report, number: usize) -> Vec<Item<'_>> {
    let Some(experiment) = report.experiments.get(number) else { return Vec::new() };
    let matrices = matrix_names(experiment).into_iter().map(Item::Matrix);
    let charts = || report.charts.iter().filter(|c| c.experiment == number).map(Item::Chart);
    let albums = report.albums.iter().filter(|a| a.experiment == number).map(Item::Album);
    let results = charts().filter(Item::is_result);
    let mut items: Vec<Item> = matrices.chain(results).chain(albums).collect();
    let best = registry::paper(&experiment.name).map_or("", |p| p.picture);
    items.sort_by_key(|item| !item.title().contains(best));
    items.extend(charts().filter(|c| !c.is_result()));
    items
}

/// Whether it is shown openly: results are, and the course of the training where there is no
/// result to show or where a run failed.
pub fn open(item: &Item, all: &[Item]) -> bool {
    match item {
        Item::Chart(chart) if chart.weight == Weight::Training => {
            chart.has_failed() || !all.iter().any(Item::is_result)
        }
        Item::Chart(chart) => chart.weight == Weight::Result,
        Item::Matrix(_) | Item::Album(_) => true,
    }
}

/// A picture as a file beside the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Name of the file, and what it shows.
    pub line: PictureLine,
    /// What is in it.
    pub content: Content,
}

/// What is in a picture's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A chart that was drawn here.
    Svg(String),
    /// A picture that a run made.
    Copy(PathBuf),
}

/// Every picture of a report, experiment by experiment in the order of the page. Of the
/// pictures that runs made, those of the first seed.
///
/// # Errors
/// A chart that cannot be drawn.
pub fn pictures(report: &Report) -> Result<Vec<Picture>> {
    let mut out: Vec<Picture> = Vec::new();
    let mut put = |experiment: usize, stem: &str, ending: &str, alt: String, content: Content| {
        let taken = |file: &String| out.iter().any(|p: &Picture| p.line.file == *file);
        let files = (1..).map(|n| if n == 1 { format!("{stem}.{ending}") } else { format!("{stem}-{n}.{ending}") });
        let file = files.into_iter().find(|file| !taken(file)).unwrap_or_default();
        out.push(Picture { line: PictureLine { file, alt, experiment }, content });
    };
    for (number, experiment) in report.experiments.iter().enumerate() {
        let prefix = prefix(report, number);
        for item in items(report, number) {
            match &item {
                Item::Matrix(name) => {
                    let svg = plot::for_file(&heat::whole(&matrices(experiment, name))?);
                    put(number, &format!("{prefix}{}-matrix", slug(name)), "svg", item.title(), Content::Svg(svg));
                }
                Item::Chart(chart) => {
                    let svg = plot::for_file(&plot::whole(chart)?);
                    put(number, &format!("{prefix}{}", chart.file), "svg", item.title(), Content::Svg(svg));
                }
                Item::Album(album) => {
                    for shot in album.shots.iter().filter(|shot| shot.first) {
                        let part =
                            |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
                        let (stem, ending) = (part(shot.path.file_stem()), part(shot.path.extension()));
                        let arm = shot.arms.first().map_or("", String::as_str);
                        let alt = format!("{}: {}, seed {}", album.title, shot.owner(), shot.seed);
                        let content = Content::Copy(shot.path.clone());
                        put(number, &format!("{prefix}{arm}-{}", slug(&stem)), &ending, alt, content);
                    }
                }
            }
        }
    }
    Ok(out)
}

/// Names of the square matrices of any arm.
fn matrix_names(experiment: &Experiment) -> Vec<String> {
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
fn matrix_title(name: &str) -> String {
    let mut name = name.replace('_', " ");
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!("{name} (%) on every task after every task, mean over finished seeds")
}

/// Suites of several experiments name them in their files: by the paper, and by their titles
/// where the paper has several.
fn prefix(report: &Report, number: usize) -> String {
    let Some(experiment) = report.experiments.get(number).filter(|_| report.experiments.len() > 1) else {
        return String::new();
    };
    let groups = papers::groups(report);
    let alone = groups.iter().any(|g| g.experiments == [number]);
    match experiment.title.as_deref().filter(|_| !alone) {
        // The second of a name is called after it.
        Some(title) if title.starts_with(&experiment.name) => format!("{}-", slug(title)),
        Some(title) => format!("{}-{}-", slug(&experiment.name), slug(title).to_ascii_lowercase()),
        None => format!("{}-", slug(&experiment.name)),
    }
}

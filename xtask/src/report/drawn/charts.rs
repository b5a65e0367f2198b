//! Which pictures a report has, in which order, and as which files.

use std::path::PathBuf;

use anyhow::Result;

use super::forest::{self, Layout};
use super::heat::{self, Heat};
use super::plot;
use crate::registry;
use crate::report::measured::album::{Album, Shot};
use crate::report::measured::arms;
use crate::report::measured::chart::{Chart, Weight};
use crate::report::measured::format::slug;
use crate::report::measured::model::{Experiment, PictureLine, Report};
use crate::report::measured::{glance, papers};
use crate::text::capital;

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

/// The pictures of an album: of the first seed those of at most four arms, then those of the other arms, and those of
/// other seeds.
pub fn shots<'a>(report: &Report, album: &'a Album) -> [Vec<&'a Shot>; 3] {
    let (first, more): (Vec<&Shot>, Vec<&Shot>) = album.shots.iter().partition(|shot| shot.first);
    let of = |shot: &Shot| {
        let arms = report.experiments.get(album.experiment).map_or(&[][..], |e| &e.arms);
        arms.iter().position(|arm| shot.arms.first() == Some(&arm.id)).unwrap_or(usize::MAX)
    };
    let arms: Vec<usize> = first.iter().map(|shot| of(shot)).collect();
    let (shown, _) = arms::divide(&arms, &arms::ranks(report, album.experiment));
    let (first, others) = first.into_iter().partition(|shot| shown.contains(&of(shot)));
    [first, others, more]
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
    /// The same for a narrow page, where there is one.
    pub narrow: Option<String>,
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
    let mut put = |name: [&str; 2], line: PictureLine, content: Content| {
        let [stem, ending] = name;
        let taken = |file: &String| out.iter().any(|p: &Picture| p.line.file == *file);
        let files = (1..).map(|n| if n == 1 { format!("{stem}.{ending}") } else { format!("{stem}-{n}.{ending}") });
        let file = files.into_iter().find(|file| !taken(file)).unwrap_or_default();
        out.push(Picture { line: PictureLine { file, ..line }, content, narrow: None });
    };
    for (number, experiment) in report.experiments.iter().enumerate() {
        let prefix = prefix(report, number);
        let line = |alt: String, caption: String, behind: bool| PictureLine {
            file: String::new(),
            alt,
            caption,
            behind,
            experiment: number,
            ..PictureLine::default()
        };
        for item in items(report, number) {
            match &item {
                Item::Matrix(name) => {
                    let (chance, [first, others]) = (chance(experiment, name), matrices(report, number, name));
                    let stem = format!("{prefix}{}-matrix", slug(name));
                    let svg = plot::for_file(&heat::whole(&first, chance)?);
                    put([&stem, "svg"], line(item.title(), heat::note(chance), false), Content::Svg(svg));
                    if !others.is_empty() {
                        let svg = plot::for_file(&heat::whole(&others, chance)?);
                        let line = line(format!("{}: the other arms", item.title()), heat::note(chance), true);
                        put([&format!("{stem}-other-arms"), "svg"], line, Content::Svg(svg));
                    }
                }
                Item::Chart(chart) => {
                    for (chart, behind) in [(*chart, false)].into_iter().chain(chart.rest.as_deref().map(|c| (c, true)))
                    {
                        let svg = plot::for_file(&plot::whole(chart)?);
                        let line = line(chart.title.clone(), chart.note.clone(), behind);
                        put([&format!("{prefix}{}", chart.file), "svg"], line, Content::Svg(svg));
                    }
                }
                Item::Album(album) => {
                    let [first, others, _] = shots(report, album);
                    let first = first.into_iter().map(|shot| (shot, false));
                    for (shot, behind) in first.chain(others.into_iter().map(|shot| (shot, true))) {
                        let part =
                            |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
                        let (stem, ending) = (part(shot.path.file_stem()), part(shot.path.extension()));
                        let arm = shot.arms.first().map_or("", String::as_str);
                        let alt = format!("{}: {}, seed {}", album.title, shot.owner(), shot.seed);
                        let line = line(alt, sentence(&shot.caption), behind);
                        let content = Content::Copy(shot.path.clone());
                        put([&format!("{prefix}{arm}-{}", slug(&stem)), &ending], line, content);
                    }
                }
            }
        }
    }
    Ok(forests(report)?.into_iter().chain(out).collect())
}

/// A forest plot of the claims of each paper that has some, in two widths.
fn forests(report: &Report) -> Result<Vec<Picture>> {
    let groups = papers::groups(report);
    let mut out = Vec::new();
    for group in &groups {
        let glance = glance::of(report, group);
        let Some(&experiment) = group.experiments.first().filter(|_| !forest::is_empty(&glance)) else { continue };
        let stem = if groups.len() > 1 { format!("{}-claims", slug(group.name)) } else { "claims".into() };
        let narrow = format!("{stem}-narrow.svg");
        let line = PictureLine {
            file: format!("{stem}.svg"),
            alt: format!("Claims and printed values of {}, with their intervals", group.title()),
            caption: String::new(),
            behind: false,
            experiment,
            narrow: Some(narrow),
            forest: true,
        };
        let draw = |layout| Ok::<_, anyhow::Error>(plot::for_file(&forest::whole(&glance, layout)?));
        out.push(Picture { line, content: Content::Svg(draw(Layout::Wide)?), narrow: Some(draw(Layout::Narrow)?) });
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

/// One matrix of every arm that has it: of the arms that are shown first, and of the others.
pub fn matrices<'a>(report: &'a Report, number: usize, name: &str) -> [Vec<Heat<'a>>; 2] {
    let Some(experiment) = report.experiments.get(number) else { return Default::default() };
    let arms = &experiment.arms;
    let having: Vec<usize> = (0..arms.len()).filter(|arm| arms[*arm].matrices.contains_key(name)).collect();
    let (first, others) = arms::divide(&having, &arms::ranks(report, number));
    let heat = |arm: usize| Some(Heat { title: &arms[arm].id, rows: arms[arm].matrices.get(name)? });
    [first, others].map(|part| part.into_iter().filter_map(heat).collect())
}

/// What guessing reaches in a matrix, where an arm's records say it.
pub fn chance(experiment: &Experiment, name: &str) -> Option<f64> {
    experiment.arms.iter().find_map(|arm| arm.chance.get(name)).copied()
}

/// A caption that stands by itself.
pub fn sentence(caption: &str) -> String {
    let end = if caption.is_empty() || caption.ends_with(['.', '!', '?']) { "" } else { "." };
    capital(caption) + end
}

/// What a matrix shows.
fn matrix_title(name: &str) -> String {
    let name = capital(&name.replace('_', " "));
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

//! The report in Markdown, and the pieces of it that published pages are made of.

use super::table::{self, Table};
use crate::report::drawn::charts::Picture;
use crate::report::measured::model::{PictureLine, Report};
use crate::report::measured::papers::{self, Group};
use crate::report::measured::{format, glance};

/// Where a text is put: what its headings and links must fit.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Level of a paper's heading.
    pub level: usize,
    /// The root of the repository from there, with a slash at its end; without it, papers'
    /// pages are not linked.
    pub root: Option<&'a str>,
    /// The directory of the pictures from there, likewise.
    pub pictures: &'a str,
}

/// The whole report, with its pictures beside it.
pub fn page(report: &Report, pictures: &[Picture]) -> String {
    let lines: Vec<&PictureLine> = pictures.iter().map(|p| &p.line).collect();
    let ended = format::ended(report).map_or(String::new(), |days| format!(" Runs ended {days} (UTC)."));
    let mut out = format!("# {}\n\nSuite `{}`.{ended}\n\n", inline(&report.title), report.suite);
    out += &body(report, &lines, &Place { level: 2, root: None, pictures: "" });
    for experiment in &report.experiments {
        out += &format!("## Seed by seed: {}\n\n", inline(experiment.label()));
        out += &table(&table::seeds(report, experiment));
    }
    out += "## Provenance\n\n";
    out += &table(&table::provenance(report));
    out
}

/// Paper by paper: verdicts, results, pictures, warnings.
pub fn body(report: &Report, pictures: &[&PictureLine], place: &Place) -> String {
    let mut out = String::new();
    if !report.claims.is_empty() {
        out += &format!("{}\n\n", inline(table::CLAIM_RULE));
    }
    if !report.targets.is_empty() {
        out += &format!("{}\n\n", inline(table::TARGET_RULE));
    }
    out += &warnings(&report.warnings_of(None));
    for group in papers::groups(report) {
        out += &introduction(&group, place);
        out += &format!("{}\n\n", inline(&glance::of(report, &group).sentence));
        for picture in pictures.iter().filter(|p| p.forest && group.experiments.contains(&p.experiment)) {
            out += &image(picture, place.pictures);
        }
        for &number in &group.experiments {
            let experiment = &report.experiments[number];
            if let Some(heading) = group.heading(experiment) {
                out += &format!("{} {}\n\n", "#".repeat(place.level + 1), inline(heading));
            }
            out += &verdicts(report, Some(number));
            out += &table(&table::results(report, experiment, None));
            out += &table::troubles(experiment).map_or(String::new(), |t| table(&t));
            out += &warnings(&report.warnings_of(Some(number)));
            for picture in pictures.iter().filter(|p| p.experiment == number && !p.forest) {
                out += &image(picture, place.pictures);
            }
        }
    }
    out + &verdicts(report, None)
}

/// A paper's heading and what it claims.
pub fn introduction(group: &Group, place: &Place) -> String {
    let mut heading = inline(group.title());
    let mut said = String::new();
    if let Some(paper) = group.paper {
        if let Some(root) = place.root {
            heading = format!("[{heading}]({root}{})", papers::page(paper));
        }
        heading += &format!(" ([arXiv {}]({}))", paper.arxiv, papers::address(paper));
        said = format!("The paper's claim: {} {}\n\n", inline(paper.claims), inline(paper.known));
    }
    format!("{} {heading}\n\n{said}", "#".repeat(place.level))
}

/// The claims and printed values of an experiment.
fn verdicts(report: &Report, number: Option<usize>) -> String {
    let claims = table::claims(report, &report.claims_of(number));
    let both = [claims, table::targets(report, &report.targets_of(number))];
    both.into_iter().flatten().map(|t| table(&t)).collect()
}

/// A picture, from where it lies; one that there is in two widths in the one that suits the page.
pub fn image(picture: &PictureLine, from: &str) -> String {
    let (alt, file) = (inline(&picture.alt), &picture.file);
    let Some(narrow) = &picture.narrow else { return format!("![{alt}]({from}{file})\n\n") };
    let alt = alt.replace('"', "&quot;");
    format!(
        "<picture><source media=\"(max-width: 44rem)\" srcset=\"{from}{narrow}\"><img alt=\"{alt}\" src=\"{from}{file}\">\
         </picture>\n\n"
    )
}

fn warnings(warnings: &[&str]) -> String {
    if warnings.is_empty() {
        return String::new();
    }
    let lines: String = warnings.iter().map(|w| format!("- {}\n", inline(w))).collect();
    format!("Warnings:\n\n{lines}\n")
}

/// A table with its notes below.
pub fn table(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = line(table.head.iter().map(|h| inline(h)).collect());
    let rule = |right: &bool| if *right { "---:" } else { "---" }.to_owned();
    out += &line(table.right.iter().map(rule).collect());
    // A line of its own within a cell.
    let cell = |text: &str| text.split('\n').map(inline).collect::<Vec<_>>().join("<br>");
    for row in &table.rows {
        out += &line(row.iter().map(|c| cell(&c.text)).collect());
    }
    out.push('\n');
    if !table.notes.is_empty() {
        let notes: Vec<String> = table.notes.iter().map(|n| inline(n)).collect();
        out += &format!("{}\n\n", notes.join(" "));
    }
    out
}

/// Text that must not end a table's cell or start a tag.
pub fn inline(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*").replace(['\n', '\r'], " ")
}

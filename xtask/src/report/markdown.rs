//! The report in Markdown, and the pieces of it that published pages are made of.

use anyhow::Result;

use super::table::{self, Table};
use super::{Report, charts};

/// The whole report, with its pictures beside it.
///
/// # Errors
/// A chart that cannot be drawn.
pub fn page(report: &Report) -> Result<String> {
    let pictures = charts::pictures(report)?;
    let mut out = format!("# {}\n\nSuite `{}`.\n\n", inline(&report.title), report.suite);
    out += &body(report, None);
    for picture in &pictures {
        out += &format!("![{}]({})\n\n", inline(&picture.alt), picture.file);
    }
    for experiment in &report.experiments {
        out += &format!("## Seed by seed: {}\n\n", inline(experiment.label()));
        out += &table(&table::seeds(report, experiment));
    }
    out += "## Provenance\n\n";
    out += &table(&table::provenance(report));
    Ok(out)
}

/// Results, claims, printed values, warnings. `most` limits the metrics of an arm.
pub fn body(report: &Report, most: Option<usize>) -> String {
    let mut out = String::new();
    for experiment in &report.experiments {
        let names = most.map(|n| table::main_metrics(report, experiment, n));
        out += &table(&table::results(report, experiment, names.as_deref()));
    }
    for part in [table::claims(report), table::targets(report), table::troubles(report)] {
        out += &part.map_or(String::new(), |t| table(&t));
    }
    if !report.warnings.is_empty() {
        out += "Warnings:\n\n";
        for warning in &report.warnings {
            out += &format!("- {}\n", inline(warning));
        }
        out.push('\n');
    }
    out
}

/// A table with its notes below.
pub fn table(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = line(table.head.iter().map(|h| inline(h)).collect());
    let rule = |right: &bool| if *right { "---:" } else { "---" }.to_owned();
    out += &line(table.right.iter().map(rule).collect());
    for row in &table.rows {
        out += &line(row.iter().map(|c| inline(&c.text)).collect());
    }
    out.push('\n');
    if !table.notes.is_empty() {
        let notes: Vec<String> = table.notes.iter().map(|n| inline(n)).collect();
        out += &format!("{}\n\n", notes.join(" "));
    }
    out
}

/// Text that must not end a table's cell or start a tag.
fn inline(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*").replace(['\n', '\r'], " ")
}

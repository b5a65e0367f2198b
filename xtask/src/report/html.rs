//! The report as one HTML page that needs no other file.

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::album::{Album, Shot};
use super::plot::{Chart, Stroke};
use super::table::{self, Table, Tone};
use super::{Report, charts, format, heat, plot};

const STYLE: &str = include_str!("style.css");

/// The whole page.
///
/// # Errors
/// A chart that cannot be drawn.
pub fn page(report: &Report) -> Result<String> {
    let (main, other): (Vec<&Chart>, Vec<&Chart>) = report.charts.iter().partition(|c| c.main);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (report.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (report.title) }
                    p.sub {
                        "Suite " code { (report.suite) } " · profile " (format::profile(report.profile))
                        " · " (format::all_seeds(report)) " · " (format::count(report.threads, "thread"))
                        " · device " (report.device)
                    }
                }
                main {
                    (warnings(report))
                    @for experiment in &report.experiments {
                        section {
                            h2 { "Results: " (experiment.label()) }
                            (draw(&table::results(report, experiment, None)))
                        }
                    }
                    (section("Claims", table::claims(report)))
                    (section("Printed values", table::targets(report)))
                    (section("Cells without a result", table::troubles(report)))
                    @for shown in &report.albums { (album(report, shown)) }
                    @for number in 0..report.experiments.len() { (matrices(report, number)?) }
                    @for chart in main { (figure(report, chart)?) }
                    @if !other.is_empty() {
                        details {
                            summary { "Other curves" }
                            @for chart in other { (figure(report, chart)?) }
                        }
                    }
                    @for experiment in &report.experiments {
                        details {
                            summary { "Seed by seed: " (experiment.label()) }
                            (draw(&table::seeds(report, experiment)))
                        }
                    }
                    section.provenance {
                        h2 { "Provenance" }
                        (draw(&table::provenance(report)))
                    }
                }
            }
        }
    };
    Ok(markup.into_string())
}

fn warnings(report: &Report) -> Markup {
    html! {
        @if !report.warnings.is_empty() {
            section.warnings {
                h2 { "Warnings" }
                ul { @for warning in &report.warnings { li { (warning) } } }
            }
        }
    }
}

fn section(title: &str, table: Option<Table>) -> Markup {
    html! { @if let Some(table) = table { section { h2 { (title) } (draw(&table)) } } }
}

fn draw(table: &Table) -> Markup {
    let right = |i: usize| table.right.get(i).copied().unwrap_or(false).then_some("num");
    let tone = |tone: Tone| match tone {
        Tone::Plain => None,
        Tone::Good => Some("good"),
        Tone::Bad => Some("bad"),
        Tone::Unsure => Some("unsure"),
    };
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr { @for (i, head) in table.head.iter().enumerate() {
                    th scope="col" class=[right(i)] { (head) }
                } } }
                tbody { @for row in &table.rows { tr { @for (i, cell) in row.iter().enumerate() {
                    td class=[right(i)] {
                        @if let Some(tone) = tone(cell.tone) { span class=(tone) { (cell.text) } }
                        @else { (cell.text) }
                    }
                } } } }
            }
        }
        @for note in &table.notes { p.note { (note) } }
    }
}

fn matrices(report: &Report, number: usize) -> Result<Markup> {
    let experiment = &report.experiments[number];
    let mut out = Vec::new();
    for name in charts::matrix_names(experiment) {
        let all = charts::matrices(experiment, &name);
        let range = heat::range(&all);
        let mut drawn = Vec::new();
        for one in &all {
            let label = format!("{name} matrix of {}", one.title);
            drawn.push(plot::for_page(&heat::one(one, range)?, &label));
        }
        out.push(html! {
            section {
                h2 { (of(report, number, &charts::matrix_title(&name))) }
                div.matrices { @for svg in &drawn { figure { (PreEscaped(svg)) } } }
                p.note {
                    "Row: after which task. Column: tested on which task; one beyond the row is not learned yet. The colours of all arms share the scale from "
                    (format::number(range.0, "fraction")) " to " (format::number(range.1, "fraction")) " %. "
                    (format::setting(report, experiment))
                }
            }
        });
    }
    Ok(html! { @for part in out { (part) } })
}

/// A heading says of which experiment it speaks where there are several.
fn of(report: &Report, experiment: usize, title: &str) -> String {
    match report.experiments.get(experiment) {
        Some(experiment) if report.experiments.len() > 1 => format!("{title} ({})", experiment.label()),
        _ => title.into(),
    }
}

fn album(report: &Report, album: &Album) -> Markup {
    let (first, more): (Vec<&Shot>, Vec<&Shot>) = album.shots.iter().partition(|s| s.first);
    // A caption that all pictures share is said once.
    let shared = album.shots.iter().all(|s| s.caption == album.shots[0].caption);
    let draw = |shot: &Shot| {
        html! {
            figure {
                img src=(shot.address) alt=(format!("{}: {}, seed {}", album.title, shot.arm, shot.seed));
                figcaption {
                    b { (shot.arm) } ", seed " (shot.seed)
                    @if !shared && !shot.caption.is_empty() { ". " (shot.caption) }
                }
            }
        }
    };
    html! {
        section {
            h2 { (of(report, album.experiment, &album.title)) }
            @if shared && !album.shots[0].caption.is_empty() { p.note { (album.shots[0].caption) } }
            div.shots { @for shot in &first { (draw(shot)) } }
            @if !more.is_empty() {
                details.more {
                    summary { "Other seeds" }
                    div.shots { @for shot in &more { (draw(shot)) } }
                }
            }
        }
    }
}

fn figure(report: &Report, chart: &Chart) -> Result<Markup> {
    let panels = plot::panels(chart)?;
    let line = |colour: usize, stroke: Stroke| {
        let c = plot::colour(colour);
        let kind = match stroke {
            Stroke::Solid => "solid",
            Stroke::Dashed => "dashed",
            Stroke::Dotted => "dotted",
        };
        format!("border-top-style:{kind};border-top-color:rgb({},{},{})", c.0, c.1, c.2)
    };
    let single = panels.len() == 1;
    Ok(html! {
        section {
            h2 { (of(report, chart.experiment, &chart.title)) }
            p.legend { @for key in &chart.keys {
                span { i style=(line(key.colour, key.stroke)) {} (key.name) }
            } }
            div class=(if single { "single" } else { "panels" }) {
                @for (label, svg) in &panels { figure { (PreEscaped(plot::for_page(svg, label))) } }
            }
            @if !chart.note.is_empty() { p.note { (chart.note) } }
        }
    })
}

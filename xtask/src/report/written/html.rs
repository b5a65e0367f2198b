//! The report as one HTML page that needs no other file.

use anyhow::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use plasticity_core::run::record::Profile;

use super::next::Next;
use super::table::{self, Table, Text, Tone};
use super::words;
use crate::registry;
use crate::report::drawn::charts::{self, Item};
use crate::report::drawn::forest::{self, Layout};
use crate::report::drawn::{heat, plot};
use crate::report::measured::album::{Album, Shot};
use crate::report::measured::chart::{Chart, Stroke};
use crate::report::measured::model::{ClaimLine, Experiment, Report};
use crate::report::measured::papers::{self, Group};
use crate::report::measured::{format, glance};
use crate::text::{duration, instant};

const STYLE: &str = include_str!("style.css");

/// Metrics that a results table shows openly; the rest is folded away.
const MOST_METRICS: usize = 3;

/// The whole page; `next` is what can be run after this, `root` the way from the page to the
/// root of the repository, if it lies inside.
///
/// # Errors
/// A chart that cannot be drawn.
pub fn page(report: &Report, next: &[Next], root: Option<&str>) -> Result<String> {
    let groups = papers::groups(report);
    let summary = summary(report, &groups)?;
    let mut sections = Vec::new();
    for group in &groups {
        sections.push(paper(report, group, root)?);
    }
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
                (head(report))
                main {
                    (summary)
                    (facts(report, &groups))
                    (warnings("Warnings", &report.warnings_of(None)))
                    @for section in &sections { (section) }
                    (afterwards(report, &groups, next))
                    section.provenance #provenance {
                        h2 { "Provenance" }
                        (draw("Provenance", &table::provenance(report)))
                    }
                }
            }
        }
    };
    Ok(markup.into_string())
}

/// The title of the report and the days of its runs.
fn head(report: &Report) -> Markup {
    html! {
        header {
            h1 { (report.title) }
            p.sub {
                @if let Some(days) = format::ended(report) { "Runs ended " time { (days) } " (UTC) · " }
                "suite " code { (report.suite) } " · " (format::profile(report.profile)) " profile · "
                (format::all_seeds(report))
            }
        }
    }
}

/// What ran, when, on what, and how long it took.
fn facts(report: &Report, groups: &[Group]) -> Markup {
    let arms = report.arms().count();
    let cells: usize = report.arms().map(|(_, arm)| arm.cells.len()).sum();
    let done = cells - report.failed() - report.unfinished();
    let values = |key: &str| report.provenance.get(key).map_or(&[][..], Vec::as_slice).join("; ");
    let machine = [("cpu", ""), ("cores", " cores"), ("os", "")];
    let machine = machine.map(|(key, noun)| (values(key), noun)).into_iter().filter(|(value, _)| !value.is_empty());
    let machine: Vec<String> = machine.map(|(value, noun)| format!("{value}{noun}")).collect();
    let mut data: Vec<String> = Vec::new();
    for set in report.experiments.iter().filter_map(|e| e.data.as_ref()) {
        let set = format::data_set(Some(set));
        if !data.contains(&set) {
            data.push(set);
        }
    }
    if report.experiments.iter().any(|e| e.data.is_none()) {
        data.push(if data.is_empty() { "no data set" } else { "none where the task is made up" }.into());
    }
    let profile = match report.profile {
        Profile::Full => "full: by the paper's protocol, so that printed values can be held against it",
        Profile::Reduced => {
            "reduced: less than the papers' protocols, so that nothing here counts as a printed value reproduced"
        }
    };
    html! {
        section #run {
            h2 { "What ran" }
            dl.facts {
                (fact("Suite", html! {
                    code { (report.suite) } ": " (format::count(groups.len(), "paper")) ", "
                    (format::count(arms, "arm")) ", " (format::count(cells, "run"))
                    @if done < cells {
                        " (" (done) " done"
                        @if report.failed() > 0 { ", " (report.failed()) " failed" }
                        @if report.unfinished() > 0 { ", " (report.unfinished()) " without a result yet" }
                        ")"
                    }
                    ". " (format::all_seeds(report)) "."
                }))
                @if !report.beside.is_empty() { (fact("Beside these", html! { (report.beside.join(" ")) })) }
                @if let Some(time) = time(report) { (fact("When, how long", html! { (time) })) }
                (fact("Machine", html! {
                    @if !machine.is_empty() { (machine.join(", ")) ". " }
                    "Device " (report.device) ", " (format::count(report.threads, "thread")) " a run."
                }))
                (fact("Profile", html! { (profile) "." }))
                (fact("Data", html! { (data.join("; ")) "." }))
            }
        }
    }
}

fn fact(name: &str, text: Markup) -> Markup {
    html! { div { dt { (name) } dd { (text) } } }
}

/// When it ran and how long it took, as far as that was recorded.
fn time(report: &Report) -> Option<String> {
    let computing: Vec<f64> = report.experiments.iter().filter_map(Experiment::seconds).collect();
    let mut parts = Vec::new();
    if let Some(last) = report.calls.last() {
        parts.push(format!(
            "{}: {} in {}, {} at a time.",
            instant(last.started),
            format::count(last.cells, "run"),
            duration(last.wall_s),
            last.jobs
        ));
    }
    if !computing.is_empty() {
        parts.push(format!("All runs one after the other: {}.", duration(computing.iter().sum())));
    }
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Per paper what came of it: a sentence, and a row for each claim and printed value.
fn summary(report: &Report, groups: &[Group]) -> Result<Markup> {
    let all: Vec<&ClaimLine> = report.claims.iter().collect();
    let one = groups.len() == 1;
    let mut cards = Vec::new();
    for group in groups {
        let glance = glance::of(report, group);
        let label = format!("Claims and printed values of {}: {}", glance.title, glance.sentence);
        let draw = |layout| Ok::<_, anyhow::Error>(plot::for_page(&forest::rows(&glance, layout)?, &label));
        let empty = forest::is_empty(&glance);
        // Beside another there is room for the narrow one alone.
        let wide = if one && !empty { Some(draw(Layout::Wide)?) } else { None };
        let narrow = if empty { None } else { Some(draw(Layout::Narrow)?) };
        cards.push(html! {
            article.card {
                h3 { a href=(format!("#{}", group.name)) { (group.title()) } }
                p { (glance.sentence) }
                @if let Some(svg) = wide { figure.wide { (PreEscaped(svg)) } }
                @if let Some(svg) = narrow { figure.narrow { (PreEscaped(svg)) } }
            }
        });
    }
    Ok(html! {
        section #summary {
            @if (!one && !all.is_empty()) || report.failed() > 0 {
                p.lead {
                    @if !one && !all.is_empty() { (format::count(all.len(), "claim")) ": " (table::tally(&all)) ". " }
                    @if report.failed() > 0 { (format::count(report.failed(), "run")) " failed." }
                }
            }
            div class=(if one { "cards one" } else { "cards" }) { @for card in &cards { (card) } }
            @if !all.is_empty() || !report.targets.is_empty() {
                details.more {
                    summary { "How this is judged" }
                    @if !all.is_empty() { p.note { (table::CLAIM_RULE) " " (table::judged(&all)) } }
                    @if !report.targets.is_empty() { p.note { (table::TARGET_RULE) } }
                }
            }
        }
    })
}

/// A verdict as a badge; why one was not judged stands beside it.
fn mark(verdict: &Text) -> Markup {
    let (word, why) = table::split(&verdict.text);
    html! {
        span class=(format!("mark {}", tone(verdict.tone).unwrap_or_default())) { (word) }
        @if !why.is_empty() { span.why { (why) } }
    }
}

fn tone(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Plain => None,
        Tone::Good => Some("good"),
        Tone::Bad => Some("bad"),
        Tone::Even => Some("even"),
        Tone::Unsure => Some("unsure"),
    }
}

/// A text whose names stand between backticks.
fn quoted(text: &str) -> Markup {
    html! {
        @for (i, part) in text.split('`').enumerate() {
            @if i % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn warnings(title: &str, warnings: &[&str]) -> Markup {
    html! {
        @if !warnings.is_empty() {
            aside.warnings {
                h4 { (title) }
                ul { @for warning in warnings { li { (quoted(warning)) } } }
            }
        }
    }
}

/// The section of a paper.
fn paper(report: &Report, group: &Group, root: Option<&str>) -> Result<Markup> {
    let mut parts = Vec::new();
    for &number in &group.experiments {
        parts.push(experiment(report, group, number)?);
    }
    let known: Vec<f64> = group.experiments.iter().filter_map(|n| report.experiments[*n].seconds()).collect();
    let cells = group.experiments.iter().flat_map(|n| &report.experiments[*n].arms).map(|a| a.cells.len()).sum();
    Ok(html! {
        section.paper #(group.name) {
            h2 { (group.title()) }
            @if let Some(paper) = group.paper {
                p.sub {
                    a href=(papers::address(paper)) { "arXiv " (paper.arxiv) }
                    " · equations, tests, findings: "
                    @let page = papers::page(paper);
                    @if let Some(root) = root { a href=(format!("{root}{page}")) { (page) } } @else { code { (page) } }
                    @if !known.is_empty() {
                        " · " (format::count(cells, "run")) ", " (duration(known.iter().sum())) " one after the other"
                    }
                }
                p { "The paper's claim: " (paper.claims) }
                p.note { (paper.known) }
            }
            @for part in parts { (part) }
        }
    })
}

fn experiment(report: &Report, group: &Group, number: usize) -> Result<Markup> {
    let experiment = &report.experiments[number];
    let words = &words::at_first_use(report, MOST_METRICS)[number];
    let items = charts::items(report, number);
    let mut open = Vec::new();
    let mut folded = Vec::new();
    for item in &items {
        let to = if charts::open(item, &items) { &mut open } else { &mut folded };
        to.push(picture(report, number, item)?);
    }
    let main = table::main_metrics(report, number, MOST_METRICS);
    let more = experiment.metrics().len() > main.len();
    let label = experiment.label();
    Ok(html! {
        section.experiment {
            @if let Some(heading) = group.heading(experiment) { h3 { (heading) } }
            (claims(report, number))
            @if let Some(table) = table::targets(report, &report.targets_of(Some(number))) {
                (draw(&format!("Printed values: {label}"), &table))
            }
            (draw(&format!("Results: {label}"), &table::results(report, experiment, Some(&main))))
            @if !words.main.is_empty() { p.note { (words::line(&words.main)) } }
            @if let Some(table) = table::troubles(experiment) {
                h4 { "Runs without a result" }
                (draw(&format!("Runs without a result: {label}"), &table))
            }
            (warnings("Warnings", &report.warnings_of(Some(number))))
            div.pictures { @for part in open { (part) } }
            @if more {
                details {
                    summary { "All metrics" }
                    (draw(&format!("All metrics: {label}"), &table::results(report, experiment, None).upright()))
                    @if !words.more.is_empty() { p.note { (words::line(&words.more)) } }
                }
            }
            @if !folded.is_empty() {
                details {
                    summary { "Curves of the training" }
                    div.pictures { @for part in folded { (part) } }
                }
            }
            details {
                summary { "Seed by seed" }
                (draw(&format!("Seed by seed: {label}"), &table::seeds(report, experiment)))
            }
        }
    })
}

/// The claims of an experiment with what they rest on.
fn claims(report: &Report, number: usize) -> Markup {
    let lines = report.claims_of(Some(number));
    html! {
        @if !lines.is_empty() {
            ul.claims { @for line in lines {
                li {
                    div { (mark(&table::claim_verdict(&line.verdict))) }
                    div {
                        p { (line.claim.text) }
                        p.note {
                            @if let Some(said) = glance::said(line.claim.speaks) { (charts::sentence(said)) " " }
                            (charts::sentence(&table::measured(report, line)))
                            // Of a bound, the interval above says it.
                            @if let ([Some(_), Some(_)], Some(difference)) = (line.arms(), table::difference(report, line)) {
                                " Difference: " (difference) "."
                            }
                            @if let Some(agreement) = table::agreement(report, line) { " " (agreement) " seeds agree." }
                            @if let Some(reason) = table::reason(report, line) { " " (reason) "." }
                            @if let Some(price) = table::price(report, line) { " Price: " (price) "." }
                            " " code { (line.formula) }
                        }
                    }
                }
            } }
        }
    }
}

/// A table that scrolls by itself where it is wider than the page.
fn draw(label: &str, table: &Table) -> Markup {
    let right = |i: usize| table.right.get(i).copied().unwrap_or(false).then_some("num");
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            // Names of metrics are longer than those of arms.
            table class=[(table.head.first().is_some_and(|head| head == "What")).then_some("upright")] {
                thead { tr { @for (i, head) in table.head.iter().enumerate() {
                    th scope="col" class=[right(i)] { (head) }
                } } }
                tbody { @for row in &table.rows { tr { @for (i, cell) in row.iter().enumerate() {
                    td class=[right(i)] {
                        @if tone(cell.tone).is_some() { (mark(cell)) }
                        @else { (cell.text) }
                    }
                } } } }
            }
        }
        @for note in &table.notes { p.note { (note) } }
    }
}

fn picture(report: &Report, number: usize, item: &Item) -> Result<Markup> {
    let title = item.title();
    match item {
        Item::Matrix(name) => matrices(report, number, name, &title),
        Item::Album(shown) => Ok(album(report, shown)),
        Item::Chart(chart) => figure(chart),
    }
}

fn matrices(report: &Report, number: usize, name: &str, title: &str) -> Result<Markup> {
    let chance = charts::chance(&report.experiments[number], name);
    let mut parts = Vec::new();
    for part in charts::matrices(report, number, name) {
        let mut drawn = Vec::new();
        for one in &part {
            drawn.push(plot::for_page(&heat::one(one, chance)?, &format!("{name} matrix of {}", one.title)));
        }
        parts.push(drawn);
    }
    let legend = plot::for_page(&heat::legend(chance)?, "Colours of the matrices");
    let draw = |drawn: &[String]| html! { div.matrices { @for svg in drawn { figure { (PreEscaped(svg)) } } } };
    let others = parts.pop().unwrap_or_default();
    Ok(html! {
        div.picture.wide {
            h4 { (title) }
            @for drawn in &parts { (draw(drawn)) }
            div.matrices { figure { (PreEscaped(legend)) } }
            p.note { (heat::note(chance)) }
            @if !others.is_empty() {
                details.more {
                    summary { "The other arms" }
                    (draw(&others))
                }
            }
        }
    })
}

fn album(report: &Report, album: &Album) -> Markup {
    let [first, others, more] = charts::shots(report, album);
    // A caption that all pictures share is said once.
    let shared = album.shots.iter().all(|s| s.caption == album.shots[0].caption);
    let draw = |shot: &Shot| {
        let owner = shot.owner();
        html! {
            figure {
                img src=(shot.address) alt=(format!("{}: {owner}, seed {}", album.title, shot.seed));
                figcaption {
                    b { (owner) } ", seed " (shot.seed)
                    @if !shared && !shot.caption.is_empty() { ": " (shot.caption) }
                }
            }
        }
    };
    // One picture of small images needs no whole row: what it is to be compared with stands beside it.
    let alone = first.len() == 1 && !first[0].address.starts_with("data:image/svg");
    html! {
        div class=(if alone { "picture" } else { "picture wide" }) {
            h4 { (album.title) }
            @if shared && !album.shots[0].caption.is_empty() { p.note { (charts::sentence(&album.shots[0].caption)) } }
            div.shots { @for shot in &first { (draw(shot)) } }
            @for (title, shots) in [("The other arms", others), ("Other seeds", more)] {
                @if !shots.is_empty() {
                    details.more {
                        summary { (title) }
                        div.shots { @for shot in &shots { (draw(shot)) } }
                    }
                }
            }
        }
    }
}

/// A chart, with that of the arms for which it has no room folded away below.
fn figure(chart: &Chart) -> Result<Markup> {
    let single = chart.panels.len() == 1;
    let inner = drawing(chart)?;
    let rest = chart.rest.as_deref().map(|rest| Ok::<_, anyhow::Error>((rest, drawing(rest)?))).transpose()?;
    Ok(html! {
        div class=(if single { "picture" } else { "picture wide" }) {
            h4 { (chart.title) }
            (inner)
            @if let Some((rest, drawing)) = rest {
                details.more open[rest.has_failed()] {
                    summary { "The other arms" }
                    (drawing)
                }
            }
        }
    })
}

/// Legend, panels and note of a chart.
fn drawing(chart: &Chart) -> Result<Markup> {
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
    Ok(html! {
        p.legend { @for key in &chart.keys {
            @if !key.name.is_empty() { span { i style=(line(key.colour, key.stroke)) {} (key.name) } }
        } }
        div class=(if panels.len() == 1 { "single" } else { "panels" }) {
            @for (label, svg) in &panels { figure { (PreEscaped(plot::for_page(svg, label))) } }
        }
        @if !chart.note.is_empty() { p.note { (chart.note) } }
    })
}

/// What can be run next, paper by paper, those of this report first.
fn afterwards(report: &Report, groups: &[Group], next: &[Next]) -> Markup {
    let mut all: Vec<&Next> = next.iter().collect();
    let place = |n: &Next| groups.iter().position(|g| g.name == n.paper).unwrap_or(usize::MAX);
    all.sort_by_key(|n| (place(n), n.profile != Profile::Full));
    let of = |n: &Next| registry::paper(n.paper).map_or(n.paper, |p| p.title).split(':').next().unwrap_or_default();
    html! {
        section #next {
            h2 { "What to do next" }
            @if report.failed() + report.unfinished() > 0 {
                p { "Go on with the runs that have no result: " code { "cargo xtask reproduce " (report.suite) } }
            }
            @if !all.is_empty() {
                p { "The suites of each paper, with the time and the disk that all their runs take, an estimate for CPU "
                    "cores like those of docs/performance.md. A command that was stopped goes on where it stopped." }
                ul.next { @for n in all {
                    li {
                        div {
                            (n.title)
                            p.note {
                                (of(n)) " · " (format::profile(n.profile)) " profile · " (format::count(n.cells, "run"))
                                " · about " (n.cost.time()) ", " (n.cost.jobs) " at a time, and " (n.cost.space())
                            }
                        }
                        code { (n.command) }
                    }
                } }
            }
        }
    }
}

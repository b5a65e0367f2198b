//! The tables of a report as plain rows of text, which HTML, Markdown and the terminal
//! each draw in their way.

use plasticity_core::run::record::Side;
use plasticity_core::stats::{ClaimVerdict, TargetVerdict};

use super::format::{self, difference_suffix, heading, interval, number, unit_suffix};
use super::{Arm, ClaimLine, Experiment, Report, State};
use crate::text::duration;

/// How a cell of a table is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it stands.
    Plain,
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// Neither.
    Unsure,
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What it says.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
}

/// A table with what belongs beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Headings of the columns.
    pub head: Vec<String>,
    /// Columns whose text is set flush right.
    pub right: Vec<bool>,
    /// The rows, as wide as the head.
    pub rows: Vec<Vec<Text>>,
    /// What stands below it.
    pub notes: Vec<String>,
}

fn plain(text: impl Into<String>) -> Text {
    Text { text: text.into(), tone: Tone::Plain }
}

fn texts<const N: usize>(items: [&str; N]) -> Vec<String> {
    items.iter().map(|s| (*s).to_owned()).collect()
}

/// The arms of an experiment with mean and 95% interval of every metric of `only`, or of
/// all metrics.
pub fn results(report: &Report, experiment: &Experiment, only: Option<&[String]>) -> Table {
    let metrics: Vec<_> =
        experiment.metrics().into_iter().filter(|m| only.is_none_or(|names| names.contains(&m.name))).collect();
    let unfinished = experiment.arms.iter().any(|a| a.unfinished() > 0);
    let mut head = texts(["Arm", "n", "failed"]);
    if unfinished {
        head.push("no result yet".into());
    }
    let timed = experiment.arms.iter().any(|a| a.seconds().is_some());
    if timed {
        head.push("time".into());
    }
    head.extend(metrics.iter().map(|m| heading(m)));
    let row = |arm: &Arm| {
        let kept = if arm.cells.iter().any(|c| c.kept) { "\u{a0}*" } else { "" };
        let mut row = vec![plain(format!("{}{kept}", arm.id))];
        row.push(plain(arm.done().to_string()));
        let tone = if arm.failed() > 0 { Tone::Bad } else { Tone::Plain };
        row.push(Text { text: arm.failed().to_string(), tone });
        if unfinished {
            row.push(plain(arm.unfinished().to_string()));
        }
        if timed {
            row.push(plain(arm.seconds().map_or("–".into(), duration)));
        }
        row.extend(metrics.iter().map(|m| plain(mean_of(arm, &m.name))));
        row
    };
    let rows: Vec<_> = experiment.arms.iter().map(row).collect();
    let right = (0..head.len()).map(|i| i > 0).collect();
    let time = if timed { " Time: wall time of a run, the median over seeds." } else { "" };
    let notes = vec![format!("Mean over seeds [95% t interval]. {}{time}", format::setting(report, experiment))];
    Table { head, right, rows, notes }
}

fn mean_of(arm: &Arm, metric: &str) -> String {
    let Some(info) = arm.info(metric) else {
        return "–".into();
    };
    match arm.summary(metric) {
        None => "–".into(),
        Some(s) => match s.interval {
            // A count that is the same for every seed has no interval worth printing.
            Some(e) if !(info.exact && e.sd == 0.0) => interval(&e, &info.unit),
            _ => number(s.mean, &info.unit),
        },
    }
}

/// The claims with their verdicts; `None` if there are none.
pub fn claims(report: &Report) -> Option<Table> {
    if report.claims.is_empty() {
        return None;
    }
    let rows = report.claims.iter().map(|line| {
        let difference = line.difference.as_ref();
        let seeds = seeds_of(report, line);
        vec![
            plain(&line.claim.text),
            plain(&line.formula),
            plain(
                difference
                    .map_or("–".into(), |e| format!("{}{}", interval(e, &line.unit), difference_suffix(&line.unit))),
            ),
            plain(difference.map_or("–".into(), |_| format!("{} of {seeds}", line.agree))),
            claim_verdict(&line.verdict),
        ]
    });
    let judged = |v: &ClaimVerdict| !matches!(v, ClaimVerdict::NotJudged(_));
    let count = report.claims.iter().filter(|l| judged(&l.verdict)).count();
    Some(Table {
        head: texts(["Claim", "Formula", "Left minus right [95%]", "Seeds agreeing", "Judgement"]),
        right: vec![false, false, true, true, false],
        rows: rows.collect(),
        notes: vec![
            format!(
                "{count} of {} judged; not adjusted for multiple comparison.",
                format::count(report.claims.len(), "claim")
            ),
            "A claim holds when the two-sided 95% t interval of the paired difference lies beyond \
             the margin and every seed agrees in direction; it fails when the interval lies on the \
             other side of the margin; else it is undecided."
                .into(),
            settings(report),
        ],
    })
}

/// Over how many seeds a claim is judged.
fn seeds_of(report: &Report, line: &ClaimLine) -> usize {
    let sides = [&line.claim.left, &line.claim.right];
    let counts = sides.into_iter().filter_map(|side| match side {
        Side::Measured { arm, .. } => report.arms().find(|(_, a)| a.id == *arm).map(|(_, a)| a.cells.len()),
        Side::Number(_) => None,
    });
    counts.max().unwrap_or(0)
}

/// The claims without formula and explanation, for the README; `None` if there are none.
pub fn brief_claims(report: &Report) -> Option<Table> {
    let mut table = claims(report)?;
    table.head.remove(1);
    table.right.remove(1);
    for row in &mut table.rows {
        row.remove(1);
    }
    table.notes.truncate(1);
    Some(table)
}

/// The printed values beside ours; `None` if there are none.
pub fn targets(report: &Report) -> Option<Table> {
    if report.targets.is_empty() {
        return None;
    }
    let rows = report.targets.iter().map(|line| {
        let t = &line.target;
        let printed =
            format!("{} ± {}{}", number(t.value, &line.unit), number(t.tolerance, &line.unit), unit_suffix(&line.unit));
        vec![
            plain(&t.text),
            plain(printed),
            plain(line.ours.as_ref().map_or("–".into(), |e| interval(e, &line.unit))),
            target_verdict(&line.verdict),
            plain(&t.source),
        ]
    });
    Some(Table {
        head: texts(["Printed value", "Printed ± tolerance", "Ours [95%]", "Judgement", "Source"]),
        right: vec![false, true, true, false, false],
        rows: rows.collect(),
        notes: vec![
            "Reproduced: the 90% interval lies inside the printed value ± tolerance. Better or \
             worse: the 95% interval lies beyond it. Else inconclusive."
                .into(),
            settings(report),
        ],
    })
}

/// The settings of all experiments, one sentence each.
fn settings(report: &Report) -> String {
    match report.experiments.as_slice() {
        [one] => format::setting(report, one),
        many => {
            let each = many.iter().map(|e| format!("{}: {}", e.label(), format::setting(report, e)));
            each.collect::<Vec<_>>().join(" ")
        }
    }
}

/// Cells without a result, with the reason; `None` if all are done.
pub fn troubles(report: &Report) -> Option<Table> {
    let mut rows = Vec::new();
    for (_, arm) in report.arms() {
        for cell in &arm.cells {
            let (state, message) = match &cell.state {
                State::Done => continue,
                State::Failed { kind, message } => (format!("failed ({kind})"), message.clone()),
                State::Unfinished { stage } => (stage.clone(), String::new()),
            };
            let tone = if message.is_empty() { Tone::Unsure } else { Tone::Bad };
            let state = Text { text: state, tone };
            rows.push(vec![plain(&arm.id), plain(cell.seed.to_string()), state, plain(message)]);
        }
    }
    let head = texts(["Arm", "Seed", "State", "Message"]);
    let right = vec![false, true, false, false];
    (!rows.is_empty()).then_some(Table { head, right, rows, notes: Vec::new() })
}

/// Every value of every seed of an experiment.
pub fn seeds(report: &Report, experiment: &Experiment) -> Table {
    let metrics = experiment.metrics();
    let mut head = texts(["Arm", "Seed"]);
    head.extend(metrics.iter().map(|m| heading(m)));
    let mut rows = Vec::new();
    for arm in &experiment.arms {
        for cell in &arm.cells {
            let kept = if cell.kept { "\u{a0}*" } else { "" };
            let mut row = vec![plain(format!("{}{kept}", arm.id)), plain(cell.seed.to_string())];
            for info in &metrics {
                let value = cell.metrics.get(&info.name);
                row.push(plain(value.map_or("–".into(), |v| number(*v, &info.unit))));
            }
            rows.push(row);
        }
    }
    let right = (0..head.len()).map(|i| i > 0).collect();
    Table { head, right, rows, notes: vec![format::setting(report, experiment)] }
}

/// Where the numbers come from.
pub fn provenance(report: &Report) -> Table {
    let mut rows: Vec<Vec<Text>> = Vec::new();
    let mut put = |key: &str, value: String| rows.push(vec![plain(key), plain(value)]);
    for experiment in &report.experiments {
        if let Some(data) = &experiment.data {
            put(&format!("data of {}", experiment.label()), format::data_set(Some(data)));
            put(&format!("sha256 of {}", data.name), data.sha256.clone());
        }
    }
    let listed = |seeds: Vec<u64>| seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    match report.seed_lists().len() {
        0 | 1 => put("seeds", report.seed_lists().pop().map_or(String::new(), listed)),
        _ => report.experiments.iter().for_each(|e| put(&format!("seeds of {}", e.label()), listed(e.seeds()))),
    }
    for (key, values) in &report.provenance {
        let title = match key.as_str() {
            "git_revision" => "revision",
            "git_dirty" => "uncommitted changes",
            "lockfile_sha256" => "sha256 of Cargo.lock",
            "cpu" => "CPU",
            "os" => "system",
            "burn" => "Burn",
            "cores" => "cores of the machine",
            "threads" => "threads per cell",
            other => other,
        };
        put(title, values.join("; "));
    }
    Table { head: texts(["What", "Value"]), right: vec![false, false], rows, notes: Vec::new() }
}

/// A claim's verdict in words.
pub fn claim_verdict(verdict: &ClaimVerdict) -> Text {
    let (text, tone) = match verdict {
        ClaimVerdict::Holds => ("holds".into(), Tone::Good),
        ClaimVerdict::Fails => ("fails".into(), Tone::Bad),
        ClaimVerdict::Undecided => ("undecided".into(), Tone::Unsure),
        ClaimVerdict::NotJudged(why) => (format!("not judged: {why}"), Tone::Unsure),
    };
    Text { text, tone }
}

/// A target's verdict in words.
pub fn target_verdict(verdict: &TargetVerdict) -> Text {
    let (text, tone) = match verdict {
        TargetVerdict::Reproduced => ("reproduced".into(), Tone::Good),
        TargetVerdict::Better => ("better".into(), Tone::Good),
        TargetVerdict::Worse => ("worse".into(), Tone::Bad),
        TargetVerdict::Different => ("different".into(), Tone::Bad),
        TargetVerdict::Inconclusive => ("inconclusive".into(), Tone::Unsure),
        TargetVerdict::NotComparable(why) => (format!("not comparable: {why}"), Tone::Unsure),
    };
    Text { text, tone }
}

/// The metrics to show where there is room for few: those of claims and targets first,
/// then the experiment's own order.
pub fn main_metrics(report: &Report, experiment: &Experiment, most: usize) -> Vec<String> {
    let sides = report.claims.iter().flat_map(|c| [&c.claim.left, &c.claim.right]);
    let claimed = sides.filter_map(|s| match s {
        Side::Measured { metric, .. } => Some(metric.clone()),
        Side::Number(_) => None,
    });
    let printed = report.targets.iter().map(|t| t.target.metric.clone());
    let known = experiment.metrics();
    let mut names: Vec<String> = Vec::new();
    for name in claimed.chain(printed).chain(known.iter().map(|m| m.name.clone())) {
        if names.len() < most && !names.contains(&name) && known.iter().any(|m| m.name == name) {
            names.push(name);
        }
    }
    names
}

/// The compact table that ends a run: main metrics per arm, claims, printed values.
pub fn terminal_table(report: &Report) -> String {
    let mut out = format!("{} ({})\n", report.title, report.suite);
    for experiment in &report.experiments {
        let main = main_metrics(report, experiment, 3);
        out += &format!("\n{}. {}\n", experiment.label(), format::setting(report, experiment));
        out += &aligned(&results(report, experiment, Some(&main)));
    }
    if !report.claims.is_empty() {
        out += "\nClaims\n";
    }
    for line in &report.claims {
        let difference = line
            .difference
            .as_ref()
            .map_or(String::new(), |e| format!(": {}{}", interval(e, &line.unit), difference_suffix(&line.unit)));
        let (verdict, why) = split(&claim_verdict(&line.verdict).text);
        out += &format!("  {verdict:<14}  {}{difference}{why}\n", line.claim.text);
    }
    if !report.targets.is_empty() {
        out += "\nPrinted values\n";
    }
    for line in &report.targets {
        let ours = line.ours.as_ref().map_or("–".into(), |e| interval(e, &line.unit));
        let printed = number(line.target.value, &line.unit);
        let (verdict, why) = split(&target_verdict(&line.verdict).text);
        out += &format!("  {verdict:<14}  {}: printed {printed}, ours {ours}{why}\n", line.target.text);
    }
    if !report.warnings.is_empty() {
        out += "\nWarnings\n";
    }
    for warning in &report.warnings {
        out += &format!("  {warning}\n");
    }
    out
}

/// A verdict and its reason in brackets.
fn split(verdict: &str) -> (String, String) {
    match verdict.split_once(": ") {
        Some((verdict, why)) => (verdict.into(), format!(" ({why})")),
        None => (verdict.into(), String::new()),
    }
}

/// A table in columns of spaces.
fn aligned(table: &Table) -> String {
    let cells = |row: &[Text]| row.iter().map(|c| c.text.clone()).collect::<Vec<_>>();
    let mut lines = vec![table.head.clone()];
    lines.extend(table.rows.iter().map(|row| cells(row)));
    let width = |i: usize| lines.iter().map(|l| l[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table.head.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let padded =
            line.iter().zip(&widths).zip(&table.right).map(|((text, width), right)| {
                if *right { format!("{text:>width$}") } else { format!("{text:<width$}") }
            });
        out += "  ";
        out += padded.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    out
}

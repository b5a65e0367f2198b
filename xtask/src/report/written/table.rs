//! The tables of a report as plain rows of text, which HTML, Markdown and the terminal
//! each draw in their way.

use plasticity_core::run::record::{MetricInfo, Side, Speaks};
use plasticity_core::stats::{ClaimVerdict, TargetVerdict};

use super::words;
use crate::report::measured::format::{self, heading, number, unit_suffix};
use crate::report::measured::model::{Arm, ClaimLine, DataSet, Experiment, Report, State, TargetLine};
use crate::report::measured::shown::{self, Spread};
use crate::report::measured::{glance, judge, papers};
use crate::text::duration;

/// Metrics of a table on a terminal.
const MAIN: usize = 3;
/// Letters in a line of prose there.
const WIDTH: usize = 100;

/// How a cell of a table is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it stands.
    Plain,
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// News of two sides that are alike.
    Even,
    /// Nothing that could be said.
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
    let timed = experiment.arms.iter().any(|a| a.seconds().is_some());
    // The values come first: a narrow page shows those without scrolling.
    let mut head = texts(["Arm"]);
    head.extend(metrics.iter().map(|m| heading(m)));
    head.extend(texts(["n", "failed"]));
    if unfinished {
        head.push("no result yet".into());
    }
    if timed {
        head.push("time".into());
    }
    let row = |arm: &Arm| {
        let kept = if arm.cells.iter().any(|c| c.kept) { "\u{a0}*" } else { "" };
        let mut row = vec![plain(format!("{}{kept}", arm.id))];
        row.extend(metrics.iter().map(|m| plain(mean_of(experiment, arm, &m.name))));
        row.push(plain(arm.done().to_string()));
        let tone = if arm.failed() > 0 { Tone::Bad } else { Tone::Plain };
        row.push(Text { text: arm.failed().to_string(), tone });
        if unfinished {
            row.push(plain(arm.unfinished().to_string()));
        }
        if timed {
            row.push(plain(arm.seconds().map_or("–".into(), duration)));
        }
        row
    };
    let rows: Vec<_> = experiment.arms.iter().map(row).collect();
    let right = (0..head.len()).map(|i| i > 0).collect();
    let time = if timed { " Time: wall time of a run, the median over seeds." } else { "" };
    let apart = if rows.iter().flatten().any(|cell| cell.text.starts_with("seeds ")) { APART } else { "" };
    let notes = vec![format!("Mean over seeds [95% t interval]. {apart}{}{time}", format::setting(report, experiment))];
    Table { head, right, rows, notes }
}

/// Why a cell lists seeds.
const APART: &str = "Seeds by themselves stand where an interval would leave what the metric can be, or where they fall in \
    two groups. ";

fn mean_of(experiment: &Experiment, arm: &Arm, metric: &str) -> String {
    let (Some(info), Some(found)) = (arm.info(metric), shown::of_arm(experiment, arm, metric)) else {
        return "–".into();
    };
    // The column of n is that of the runs; a result from before a metric was reported lacks it.
    let n = arm.values(metric).iter().flatten().count();
    let fewer = if n == arm.done() { String::new() } else { format!(" (n = {n})") };
    format::spread(&found, &info.unit) + &fewer
}

/// Claims with their verdicts; `None` without any.
pub fn claims(report: &Report, lines: &[&ClaimLine]) -> Option<Table> {
    if lines.is_empty() {
        return None;
    }
    let rows = lines.iter().map(|line| {
        let price = price(report, line).map_or(String::new(), |price| format!("\nPrice: {price}"));
        vec![
            claim_verdict(&line.verdict),
            plain(format!("{}{price}", line.claim.text)),
            plain(speaks(line.claim.speaks)),
            plain(measured(report, line)),
            plain(difference(report, line).unwrap_or("–".into())),
            plain(agreement(report, line).unwrap_or("–".into())),
            plain(&line.formula),
        ]
    });
    Some(Table {
        head: texts([
            "Judgement",
            "Claim",
            "Speaks",
            "Measured",
            "Left minus right [95%]",
            "Seeds agreeing",
            "Formula",
        ]),
        right: vec![false, false, false, false, true, true, false],
        rows: rows.collect(),
        notes: vec![judged(lines)],
    })
}

/// How many of some claims were judged.
pub fn judged(lines: &[&ClaimLine]) -> String {
    let count = lines.iter().filter(|l| !matches!(l.verdict, ClaimVerdict::NotJudged(_))).count();
    format!("{count} of {} judged; not adjusted for multiple comparison.", format::count(lines.len(), "claim"))
}

/// How a claim is judged.
pub const CLAIM_RULE: &str = "A claim holds when the two-sided 95% t interval of the paired difference lies beyond \
    the margin and every seed agrees in direction; it fails when the interval lies on the other side of the margin; \
    else it finds no difference when it says within how much its sides count as equal and the 90% interval lies inside that \
    (two one-sided tests); else it is undecided. Counts are compared as numbers.";

/// How a printed value is judged.
pub const TARGET_RULE: &str = "Reproduced: the 90% interval lies inside the printed value ± tolerance. Better or \
    worse: the 95% interval lies beyond it. Else inconclusive.";

/// What was measured on the two sides of a claim: `BWT: hlop -1.16 %, naive -8.08 %`, and
/// against a number `signs flipped: 714 [678.6, 749.4]; bound 0`.
pub fn measured(report: &Report, line: &ClaimLine) -> String {
    let seeds = judge::common_seeds(report, &line.claim);
    let find = |side: &Side| match side {
        Side::Measured { arm, metric } => {
            let (experiment, arm) = report.arms().find(|(_, a)| a.id == *arm)?;
            let arm = arm.of_seeds(&seeds);
            let info = arm.info(metric)?.clone();
            let found = shown::of_arm(experiment, &arm, metric);
            Some((arm, info, found))
        }
        Side::Number(_) => None,
    };
    let suffix = unit_suffix(&line.unit);
    let value = |arm: &Arm, info: &MetricInfo, found: &Option<Spread>| match (found, arm.summary(&info.name)) {
        (Some(apart @ Spread::Apart(_)), _) => format!("{}{suffix}", format::spread(apart, &line.unit)),
        (_, Some(s)) => format!("{}{suffix}", number(s.mean, &line.unit)),
        (_, None) => "–".into(),
    };
    let sides = [&line.claim.left, &line.claim.right];
    match sides.map(find) {
        [Some((left, a, x)), Some((right, b, y))] if a.name == b.name => {
            format!("{}: {} {}, {} {}", a.title, left.id, value(&left, &a, &x), right.id, value(&right, &b, &y))
        }
        [Some((left, a, x)), Some((right, b, y))] => {
            format!("{}: {}; {}: {}", a.title, value(&left, &a, &x), b.title, value(&right, &b, &y))
        }
        [Some((_, info, found)), None] | [None, Some((_, info, found))] => {
            let found = found.map_or("–".into(), |found| format::spread(&found, &line.unit));
            let bound = sides.into_iter().find_map(|side| match side {
                Side::Number(n) => Some(format!("; bound {}{suffix}", number(*n, &line.unit))),
                Side::Measured { .. } => None,
            });
            format!("{}: {found}{suffix}{}", info.title, bound.unwrap_or_default())
        }
        [None, None] => "–".into(),
    }
}

/// What a claim that holds says of its paper, in a word.
pub fn speaks(speaks: Option<Speaks>) -> &'static str {
    match speaks {
        Some(Speaks::For) => "for",
        Some(Speaks::Against) => "against",
        Some(Speaks::Control) => "control",
        None => "not said",
    }
}

/// What a claim costs, or what does as well: `global accuracy: signs-1-bit 55.24 %, fedavg 85.92 %`. `None` where its
/// suite names nothing, or nothing of that was measured.
pub fn price(report: &Report, line: &ClaimLine) -> Option<String> {
    let price = &line.claim.price;
    // One arm alone, that of the claim, needs no name.
    let of_its_own = price.iter().all(|m| line.arms()[0] == Some(m.arm.as_str()));
    let mut said: Vec<(String, Vec<String>)> = Vec::new();
    for measure in price {
        let (_, arm) = report.arms().find(|(_, arm)| arm.id == measure.arm)?;
        let info = arm.info(&measure.metric)?;
        let value = number(arm.summary(&measure.metric)?.mean, &info.unit);
        let name = if of_its_own { String::new() } else { format!("{} ", arm.id) };
        let value = format!("{name}{value}{}", price_suffix(&info.title, &info.unit));
        match said.iter_mut().find(|(title, _)| *title == info.title) {
            Some((_, values)) => values.push(value),
            None => said.push((info.title.clone(), vec![value])),
        }
    }
    let said: Vec<String> = said.iter().map(|(title, values)| format!("{title}: {}", values.join(", "))).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// The unit behind a value, unless the title before it has said it.
fn price_suffix(title: &str, unit: &str) -> String {
    if !unit.is_empty() && title.contains(unit) { String::new() } else { unit_suffix(unit) }
}

/// Why a claim could not be decided, where the verdict does not say it.
pub fn reason(report: &Report, line: &ClaimLine) -> Option<String> {
    let arms = line.arms().into_iter().flatten();
    let seeds = judge::common_seeds(report, &line.claim);
    let mut failed = arms.filter(|id| report.arms().any(|(_, a)| a.id == *id && a.of_seeds(&seeds).failed() > 0));
    let id = failed.next().filter(|_| line.verdict == ClaimVerdict::Undecided)?;
    Some(format!("A run of `{id}` failed"))
}

/// Left minus right with its interval.
pub fn difference(report: &Report, line: &ClaimLine) -> Option<String> {
    line.difference?;
    Some(format::difference(&shown::of_claim(report, &line.claim)?, &line.unit))
}

/// `5 of 5`: how many seeds agree in direction.
pub fn agreement(report: &Report, line: &ClaimLine) -> Option<String> {
    line.difference.as_ref().map(|_| format!("{} of {}", line.agree, judge::common_seeds(report, &line.claim).len()))
}

/// Printed values beside ours; `None` without any.
pub fn targets(report: &Report, lines: &[&TargetLine]) -> Option<Table> {
    if lines.is_empty() {
        return None;
    }
    let rows = lines.iter().map(|line| {
        let t = &line.target;
        let printed =
            format!("{} ± {}{}", number(t.value, &line.unit), number(t.tolerance, &line.unit), unit_suffix(&line.unit));
        vec![
            target_verdict(&line.verdict),
            plain(&t.text),
            plain(printed),
            plain(glance::ours(report, line).map_or("–".into(), |ours| format::spread(&ours, &line.unit))),
            plain(&t.source),
        ]
    });
    Some(Table {
        head: texts(["Judgement", "Printed value", "Printed ± tolerance", "Ours [95%]", "Source"]),
        right: vec![false, false, true, true, false],
        rows: rows.collect(),
        notes: Vec::new(),
    })
}

/// Cells of an experiment without a result, with the reason; `None` if all are done.
pub fn troubles(experiment: &Experiment) -> Option<Table> {
    let mut rows = Vec::new();
    for arm in &experiment.arms {
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
    let mut sets: Vec<(&DataSet, Vec<&str>)> = Vec::new();
    for experiment in &report.experiments {
        let Some(data) = &experiment.data else { continue };
        match sets.iter_mut().find(|(set, _)| *set == data) {
            Some((_, of)) => of.push(experiment.label()),
            None => sets.push((data, vec![experiment.label()])),
        }
    }
    for (data, of) in sets {
        let of = if report.experiments.len() > 1 { format!(": {}", of.join("; ")) } else { String::new() };
        put("data", format!("{}{of}", format::data_set(Some(data))));
        put(&format!("sha256 of {}", data.name), data.sha256.clone());
    }
    match report.seed_lists().as_slice() {
        [] => put("seeds", String::new()),
        [(seeds, _)] => put("seeds", format::list(seeds)),
        _ => {
            let of_each = report.experiments.iter();
            of_each.for_each(|e| put(&format!("seeds of {}", e.label()), format::list(&e.seeds())));
        }
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

/// A claim's verdict as a mark and in words: colour alone would not do for everyone.
pub fn claim_verdict(verdict: &ClaimVerdict) -> Text {
    let (text, tone) = match verdict {
        ClaimVerdict::Holds => ("✓ holds".into(), Tone::Good),
        ClaimVerdict::Fails => ("✗ fails".into(), Tone::Bad),
        ClaimVerdict::NoDifference => ("≈ no difference".into(), Tone::Even),
        ClaimVerdict::Undecided => ("? undecided".into(), Tone::Unsure),
        ClaimVerdict::NotJudged(why) => (format!("– not judged: {why}"), Tone::Unsure),
    };
    Text { text, tone }
}

/// A target's verdict, likewise.
pub fn target_verdict(verdict: &TargetVerdict) -> Text {
    let (text, tone) = match verdict {
        TargetVerdict::Reproduced => ("✓ reproduced".into(), Tone::Good),
        TargetVerdict::Better => ("✓ better".into(), Tone::Good),
        TargetVerdict::Worse => ("✗ worse".into(), Tone::Bad),
        TargetVerdict::Different => ("✗ different".into(), Tone::Bad),
        TargetVerdict::Inconclusive => ("? inconclusive".into(), Tone::Unsure),
        TargetVerdict::NotComparable(why) => (format!("– not comparable: {why}"), Tone::Unsure),
    };
    Text { text, tone }
}

/// `18 hold, 1 undecided, 2 not judged`: what came of some claims.
pub fn tally(lines: &[&ClaimLine]) -> String {
    let count = |is: fn(&ClaimVerdict) -> bool| lines.iter().filter(|l| is(&l.verdict)).count();
    let hold = count(|v| *v == ClaimVerdict::Holds);
    let fail = count(|v| *v == ClaimVerdict::Fails);
    let kinds = [
        (hold, if hold == 1 { "holds" } else { "hold" }),
        (fail, if fail == 1 { "fails" } else { "fail" }),
        (count(|v| *v == ClaimVerdict::NoDifference), "no difference"),
        (count(|v| *v == ClaimVerdict::Undecided), "undecided"),
        (count(|v| matches!(v, ClaimVerdict::NotJudged(_))), "not judged"),
    ];
    let named = kinds.into_iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}"));
    named.collect::<Vec<_>>().join(", ")
}

/// The metrics to show where there is room for few: those of the experiment's claims and
/// targets first, then its own order.
pub fn main_metrics(report: &Report, number: usize, most: usize) -> Vec<String> {
    let Some(experiment) = report.experiments.get(number) else { return Vec::new() };
    let claims = report.claims_of(Some(number));
    let claimed = claims.iter().flat_map(|c| [&c.claim.left, &c.claim.right]).filter_map(|s| match s {
        Side::Measured { metric, .. } => Some(metric),
        Side::Number(_) => None,
    });
    let targets = report.targets_of(Some(number));
    let printed = targets.iter().map(|t| &t.target.metric);
    let known = experiment.metrics();
    let mut names: Vec<String> = Vec::new();
    for name in claimed.chain(printed).chain(known.iter().map(|m| &m.name)) {
        if names.len() < most && !names.contains(name) && known.iter().any(|m| m.name == *name) {
            names.push(name.clone());
        }
    }
    names
}

/// The compact table that ends a run, paper by paper: main metrics per arm, claims, printed
/// values.
pub fn terminal_table(report: &Report) -> String {
    let mut out = format!("{} ({})\n", report.title, report.suite);
    out += &format::ended(report).map_or(String::new(), |days| format!("Runs ended {days} (UTC).\n"));
    let words = words::at_first_use(report, MAIN);
    for group in papers::groups(report) {
        out += &format!("\n{}", group.title());
        out += &group.arxiv().map_or("\n".into(), |arxiv| format!(" ({arxiv})\n"));
        out += &format!("{}\n", glance::of(report, &group).sentence);
        for &number in &group.experiments {
            let experiment = &report.experiments[number];
            let main = main_metrics(report, number, MAIN);
            out += "\n  ";
            out += &group.heading(experiment).map_or(String::new(), |heading| format!("{heading}. "));
            out += &format!("{}\n", format::setting(report, experiment));
            out += &aligned(&results(report, experiment, Some(&main)));
            if !words[number].main.is_empty() {
                out += &wrapped(&words::line(&words[number].main));
            }
            out += &verdicts(report, &report.claims_of(Some(number)), &report.targets_of(Some(number)));
        }
    }
    out += &verdicts(report, &report.claims_of(None), &report.targets_of(None));
    if !report.warnings.is_empty() {
        out += "\nWarnings\n";
    }
    for warning in &report.warnings {
        out += &format!("  {warning}\n");
    }
    if !report.beside.is_empty() {
        out += "\nBeside these\n";
    }
    for line in &report.beside {
        out += &format!("  {line}\n");
    }
    out
}

/// A line for every claim and printed value.
fn verdicts(report: &Report, claims: &[&ClaimLine], targets: &[&TargetLine]) -> String {
    let mut out = String::new();
    for line in claims {
        out += &format!("  {}\n", verdict(report, line));
    }
    for line in targets {
        let ours = glance::ours(report, line).map_or("–".into(), |ours| format::spread(&ours, &line.unit));
        let printed = number(line.target.value, &line.unit);
        let (verdict, why) = split(&target_verdict(&line.verdict).text);
        out += &format!("  {verdict:<16}  {}: printed {printed}, ours {ours}{why}\n", line.target.text);
    }
    out
}

/// `✓ holds           HLOP ends higher: 2.10 [1.84, 2.36] points`.
pub fn verdict(report: &Report, line: &ClaimLine) -> String {
    let difference = difference(report, line).map_or(String::new(), |d| format!(": {d}"));
    let (verdict, why) = split(&claim_verdict(&line.verdict).text);
    format!("{verdict:<16}  {}{difference}{why}", line.claim.text)
}

/// A verdict and its reason in brackets.
pub fn split(verdict: &str) -> (String, String) {
    match verdict.split_once(": ") {
        Some((verdict, why)) => (verdict.into(), format!(" ({why})")),
        None => (verdict.into(), String::new()),
    }
}

/// A text in lines of a terminal, indented.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut width = WIDTH;
    for word in text.split(' ') {
        let letters = word.chars().count();
        if width + 1 + letters > WIDTH {
            out += if out.is_empty() { "  " } else { "\n  " };
            width = 1 + letters;
        } else {
            out.push(' ');
            width += 1 + letters;
        }
        out += word;
    }
    out + "\n"
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

//! Ratios with intervals, and the block of `docs/performance.md` that holds them.

use anyhow::{Context, Result};
use plasticity_core::stats::t_interval;

use super::lines::{Round, Rounds};
use super::peer::{VARIANTS, Variant};
use super::reasons;

/// A program's rounds.
pub struct Measured {
    /// Of the bench.
    pub program: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// What was measured.
    pub rounds: Rounds,
}

/// Why the mean of a row is above 1 whose interval holds it.
const NO_DIFFERENCE: &str = "no difference is shown: the interval holds 1";

/// The geometric mean of a ratio over rounds, with its 95% t interval where there are two rounds or more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The mean.
    pub mean: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
}

impl Ratio {
    /// Of `pairs` (ours, peer's), one for each round; none without a pair, or where a time was too
    /// short for the clock.
    pub fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let logs: Vec<f64> = pairs.iter().map(|(ours, peer)| (ours / peer).ln()).collect();
        match (t_interval(&logs, 0.95), &logs[..]) {
            (Ok(e), _) => Some(Self { mean: e.mean.exp(), interval: Some((e.low.exp(), e.high.exp())) }),
            (Err(_), [log]) if log.is_finite() => Some(Self { mean: log.exp(), interval: None }),
            _ => None,
        }
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.mean < 0.095 { 3 } else { 2 };
        match self.interval {
            Some((low, high)) => write!(f, "{:.digits$} [{low:.digits$}, {high:.digits$}]", self.mean),
            None => write!(f, "{:.digits$}", self.mean),
        }
    }
}

/// A piece of work with one number of threads, on all sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Of the bench.
    pub program: &'static str,
    /// Of all sides.
    pub threads: usize,
    /// The network, the sizes.
    pub case: String,
    /// What of it.
    pub work: String,
    /// Our milliseconds, the median over rounds.
    pub ours: f64,
    /// Each variant that was measured: its milliseconds, and ours over its.
    pub peers: Vec<(Variant, f64, Ratio)>,
}

impl Row {
    /// The variant of the least milliseconds.
    pub fn best(&self) -> Option<&(Variant, f64, Ratio)> {
        self.peers.iter().min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Whether the best variant is faster than ours.
    pub fn slower(&self) -> bool {
        self.best().is_some_and(|(.., ratio)| ratio.mean > 1.0)
    }

    /// Why it is: as somebody wrote it down, or because the rounds show no difference.
    pub fn reason(&self) -> Option<&'static str> {
        let (best, _, ratio) = self.best()?;
        let no_difference = || ratio.interval.is_some_and(|(low, _)| low <= 1.0).then_some(NO_DIFFERENCE);
        reasons::of(self.program, &self.case, &self.work, self.threads, *best).or_else(no_difference)
    }

    fn peer(&self, variant: Variant) -> Option<&(Variant, f64, Ratio)> {
        self.peers.iter().find(|(other, ..)| *other == variant)
    }
}

/// What both sides measured, by threads, then by program.
pub fn rows(measured: &[Measured]) -> Vec<Row> {
    let mut rows = Vec::new();
    for threads in threads(measured) {
        for Measured { program, rounds, .. } in measured {
            let rounds = rounds.with(threads);
            let Some(first) = rounds.first() else { continue };
            for (case, work, _) in &first.ours.ms {
                let time = |round: &Round| round.ours.time(case, work);
                let Some(ours) = median(rounds.iter().filter_map(|round| time(round)).collect()) else { continue };
                let peers = VARIANTS.iter().filter_map(|variant| {
                    let pair = |round: &&Round| Some((time(round)?, round.peer(*variant)?.time(case, work)?));
                    let pairs: Vec<(f64, f64)> = rounds.iter().filter_map(pair).collect();
                    let ratio = Ratio::of(&pairs)?;
                    Some((*variant, median(pairs.into_iter().map(|(_, peer)| peer).collect())?, ratio))
                });
                let peers: Vec<_> = peers.collect();
                if !peers.is_empty() {
                    rows.push(Row { program, threads, case: case.clone(), work: work.clone(), ours, peers });
                }
            }
        }
    }
    rows
}

fn threads(measured: &[Measured]) -> Vec<usize> {
    let mut threads: Vec<usize> = measured.iter().flat_map(|program| program.rounds.threads()).collect();
    threads.sort_unstable();
    threads.dedup();
    threads
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (n, half) = (values.len(), values.len() / 2);
    let upper = values.get(half)?;
    Some(if n.is_multiple_of(2) { (values[half - 1] + upper) / 2.0 } else { *upper })
}

/// Three digits: `0.179`, `26.4`, `146`.
fn milliseconds(ms: f64) -> String {
    match ms {
        ..1.0 => format!("{ms:.3}"),
        ..10.0 => format!("{ms:.2}"),
        ..100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

fn one_or_more(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// The tables of all programs, and what they were measured on.
pub fn page(measured: &[Measured]) -> String {
    let rows = rows(measured);
    let mut text = String::new();
    for group in rows.chunk_by(|a, b| a.threads == b.threads) {
        text += &format!("### At {}\n\n", one_or_more(group[0].threads));
        text += &times(group);
        text += "\n";
    }
    let parts = [slower(&rows), seconds(measured), notes(measured)];
    text + &parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// All times with one number of threads.
fn times(rows: &[Row]) -> String {
    let names = VARIANTS.map(Variant::name).join(" | ");
    let mut text = format!("| program | case | work | ours | {names} | ours / eager | ours / best |\n");
    text += &format!("| --- | --- | --- |{}\n", " ---: |".repeat(VARIANTS.len() + 3));
    for row in rows {
        let best = row.best().map(|(variant, ..)| *variant);
        let time = |variant: &Variant| match row.peer(*variant) {
            Some((_, ms, _)) if best == Some(*variant) => format!("**{}**", milliseconds(*ms)),
            Some((_, ms, _)) => milliseconds(*ms),
            None => String::new(),
        };
        let ratio = |of: Option<&(Variant, f64, Ratio)>| of.map(|(.., ratio)| ratio.to_string()).unwrap_or_default();
        let mut cells = vec![row.program.to_owned(), row.case.clone(), row.work.clone(), milliseconds(row.ours)];
        cells.extend(VARIANTS.iter().map(time));
        cells.extend([ratio(row.peer(Variant::Eager)), ratio(row.best())]);
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

/// The rows where the best variant is faster than ours, and why.
fn slower(rows: &[Row]) -> Option<String> {
    let mut text = String::from("### Where ours is slower\n\n");
    text += "| threads | program | case | work | ours / best | best | why |\n";
    text += "| ---: | --- | --- | --- | ---: | --- | --- |\n";
    let mut any = false;
    for row in rows.iter().filter(|row| row.slower()) {
        let Some((best, _, ratio)) = row.best() else { continue };
        let (Row { program, threads, case, work, .. }, best) = (row, best.name());
        let why = row.reason().unwrap_or("no reason is written in `xtask/src/bench/reasons.rs` yet");
        text += &format!("| {threads} | {program} | {case} | {work} | {ratio} | {best} | {why} |\n");
        any = true;
    }
    any.then_some(text)
}

/// What `torch.compile` took before anything was timed.
fn seconds(measured: &[Measured]) -> Option<String> {
    let columns: Vec<(usize, Variant)> = threads(measured)
        .into_iter()
        .flat_map(|threads| VARIANTS.into_iter().filter(|variant| variant.compiles()).map(move |v| (threads, v)))
        .collect();
    let head = |(threads, variant): &(usize, Variant)| format!("{}, {}", variant.name(), one_or_more(*threads));
    let mut text = String::from("### Seconds of the first calls, in which `torch.compile` compiles\n\n");
    text += &format!("| program | {} |\n", columns.iter().map(head).collect::<Vec<_>>().join(" | "));
    text += &format!("| --- |{}\n", " ---: |".repeat(columns.len()));
    let mut any = false;
    for Measured { program, rounds, .. } in measured {
        let cell = |(threads, variant): &(usize, Variant)| {
            // Later rounds find what the first one compiled.
            let first = rounds.with(*threads).first().and_then(|round| round.peer(*variant))?;
            Some(format!("{:.0}", first.compile))
        };
        let cells: Vec<Option<String>> = columns.iter().map(cell).collect();
        if cells.iter().any(Option::is_some) {
            let cells: Vec<String> = cells.into_iter().map(Option::unwrap_or_default).collect();
            text += &format!("| {program} | {} |\n", cells.join(" | "));
            any = true;
        }
    }
    any.then_some(text)
}

/// A line for each program: what it does, how far the sides agree, where it was measured.
fn notes(measured: &[Measured]) -> Option<String> {
    let mut notes = Vec::new();
    for Measured { program, about, rounds } in measured {
        let Some(first) = rounds.0.first() else { continue };
        let count = rounds.with(first.threads).len();
        let many = if count == 1 { "round" } else { "rounds" };
        let mut parts = vec![(*about).to_owned(), format!("{count} {many}")];
        if !first.ours.losses.is_empty() {
            let apart = rounds.disagreements().unwrap_or_default().into_iter();
            let each: Vec<String> = apart
                .map(|(variant, apart)| match (variant.name(), apart) {
                    (name, 0.0) => format!("{name} in every digit that is printed"),
                    (name, apart) => format!("{name} to {apart:.0e}"),
                })
                .collect();
            parts.push(format!("what ours computes, the peer does: {}", each.join(", ")));
        }
        parts.extend(
            rounds.left_out().into_iter().map(|(variant, why)| format!("{} is left out: {why}", variant.name())),
        );
        let peer = first.peers.first().map_or("", |(_, side)| &side.machine);
        notes.push(format!("- {program}: {}. {}; {peer}.", parts.join("; "), first.ours.machine));
    }
    let head = "### What was measured, and where\n\nThe machine is said as of the first number of threads.\n";
    (!notes.is_empty()).then(|| format!("{head}\n{}\n", notes.join("\n")))
}

/// `text` with `block` between the two markers of `name`.
///
/// # Errors
/// When a marker is missing, or they stand in the other order.
pub fn between_markers(text: &str, name: &str, block: &str) -> Result<String> {
    let [first, last] = ["begin", "end"].map(|what| format!("<!-- {name}:{what} -->"));
    let begin = text.find(&first).with_context(|| format!("it lacks the line `{first}`"))? + first.len();
    let end = text[begin..].find(&last).with_context(|| format!("it lacks the line `{last}` after `{first}`"))? + begin;
    Ok(format!("{}\n\n{}\n\n{}", &text[..begin], block.trim(), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::lines::Side;

    #[test]
    fn a_ratio_is_the_geometric_mean_with_its_interval() {
        let ratio = Ratio::of(&[(1.0, 2.0), (2.0, 1.0)]).unwrap();
        assert!((ratio.mean - 1.0).abs() < 1e-12, "a half and two make one");
        // Logarithms -ln 2 and ln 2: sd = ln 2 sqrt 2, half width = 12.7062 ln 2.
        let (low, high) = ratio.interval.unwrap();
        assert!((high.ln() / (12.706_204_736 * 2f64.ln()) - 1.0).abs() < 1e-6 && (low * high - 1.0).abs() < 1e-9);
        assert_eq!(Ratio::of(&[(1.0, 4.0)]).unwrap().to_string(), "0.25");
        assert_eq!(Ratio::of(&[(1.0, 40.0)]).unwrap().to_string(), "0.025");
        let steady = Ratio::of(&[(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]).unwrap();
        assert_eq!(steady.to_string(), "0.50 [0.50, 0.50]");
        assert_eq!(Ratio::of(&[]), None);
        assert_eq!(Ratio::of(&[(1.0, 0.0)]), None);
        assert_eq!(Ratio::of(&[(1.0, 2.0), (0.0, 2.0)]), None, "a time of 0 is no measurement");
        assert_eq!([median(vec![4.0, 1.0, 2.0]), median(vec![1.0, 2.0]), median(vec![])], [Some(2.0), Some(1.5), None]);
    }

    /// A round whose sides take `ours` and `peers`, in the order of the variants, for a step.
    fn round(threads: usize, ours: f64, peers: &[f64]) -> Round {
        let side = |text: &str| Side::parse(text).unwrap();
        let peer = |(variant, ms): (&Variant, &f64)| {
            let compile = if variant.compiles() { "\nnaive compile 20.4" } else { "" };
            (*variant, side(&format!("torch 2\nnaive losses 2.0001{compile}\nnaive ms step {ms} loop 7\n")))
        };
        Round {
            threads,
            ours: side(&format!("machine: x\nnaive losses 2.0\nnaive ms step {ours} own 3\n")),
            peers: VARIANTS.iter().zip(peers).map(peer).collect(),
        }
    }

    fn measured(rounds: Vec<Round>) -> [Measured; 1] {
        [Measured { program: "steps", about: "A step", rounds: Rounds(rounds) }]
    }

    #[test]
    fn the_tables_have_what_both_sides_measured() {
        let rounds = vec![
            round(1, 9.0, &[20.0, 15.0]),
            round(2, 5.0, &[8.0, 4.0]),
            round(1, 10.0, &[20.0, 15.0]),
            round(1, 11.5, &[20.0, 15.0]),
        ];
        let page = page(&measured(rounds));
        for part in [
            "### At 1 thread\n\n| program | case | work | ours | eager | compile | autocast | compile+autocast | ours /",
            "| steps | naive | step | 10.0 | 20.0 | **15.0** |  |  | 0.51 [0.37, 0.69] | 0.67 [0.50, 0.92] |",
            "### At 2 threads",
            "| steps | naive | step | 5.00 | 8.00 | **4.00** |  |  | 0.62 | 1.25 |",
            "| 2 | steps | naive | step | 1.25 | compile | no reason is written in",
            "| program | compile, 1 thread | compile+autocast, 1 thread | compile, 2 threads | compile+autocast, 2 threads |",
            "| steps | 20 |  | 20 |  |",
            "- steps: A step; 3 rounds; what ours computes, the peer does: eager to 5e-5, compile to 5e-5. machine: x; torch 2.",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert!(!page.contains("| own |") && !page.contains("loop"), "{page}");
        assert_eq!(page.matches("| 1 | steps").count(), 0, "faster at one thread\n{page}");
    }

    #[test]
    fn the_best_variant_is_that_of_the_least_median() {
        let rows =
            rows(&measured(vec![round(1, 10.0, &[20.0, 9.0, 30.0, 8.0]), round(1, 10.0, &[20.0, 9.0, 30.0, 50.0])]));
        let [row] = &rows[..] else { panic!("{rows:?}") };
        let (best, ms, ratio) = row.best().unwrap();
        assert_eq!((*best, *ms, row.peers.len()), (Variant::Compile, 9.0, 4));
        assert!((ratio.mean - 10.0 / 9.0).abs() < 1e-12 && row.slower());
        assert_eq!(row.reason(), None);
        let rows = super::rows(&measured(vec![round(1, 10.0, &[12.0]), round(1, 12.0, &[9.0])]));
        assert!(rows[0].slower() && rows[0].reason() == Some(NO_DIFFERENCE), "{rows:?}");
    }

    #[test]
    fn what_is_left_out_is_said() {
        let mut one = round(1, 1.0, &[2.0]);
        one.peers.push((Variant::Autocast, Side::parse("torch 2\nleft out: no bf16 here\n").unwrap()));
        let page = page(&measured(vec![one]));
        assert!(page.contains("| steps | naive | step | 1.00 | **2.00** |  |  |  | 0.50 | 0.50 |"), "{page}");
        assert!(page.contains("eager to 5e-5; autocast is left out: no bf16 here. machine: x"), "{page}");
        assert!(!page.contains("Where ours is slower") && !page.contains("Seconds of the first calls"), "{page}");
    }

    #[test]
    fn the_block_between_the_markers_is_replaced() {
        let (begin, end) = ("<!-- a:begin -->", "<!-- a:end -->");
        let text = format!("# Page\n\n{begin}\nold\n{end}\n\nafter\n");
        let once = between_markers(&text, "a", "| new |\n").unwrap();
        assert_eq!(once, format!("# Page\n\n{begin}\n\n| new |\n\n{end}\n\nafter\n"));
        assert_eq!(between_markers(&once, "a", "| new |").unwrap(), once, "writing it again changes nothing");
        assert!(between_markers(&text, "b", "x").is_err());
        for text in ["no markers".to_owned(), format!("{end} {begin}"), format!("{begin} only")] {
            assert!(between_markers(&text, "a", "x").unwrap_err().to_string().contains("it lacks the line"));
        }
    }
}

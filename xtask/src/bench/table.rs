//! Ratios with intervals, and the block of `docs/performance.md` that holds them.

use anyhow::{Context, Result};
use plasticity_core::stats::t_interval;

use super::lines::Rounds;

/// A program's rounds.
pub struct Measured {
    /// Of the bench.
    pub program: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// What was measured.
    pub rounds: Rounds,
}

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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (n, half) = (values.len(), values.len() / 2);
    if n.is_multiple_of(2) { (values[half - 1] + values[half]) / 2.0 } else { values[half] }
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

/// The table of all programs, and what it was measured on.
pub fn page(measured: &[Measured]) -> String {
    let mut text = String::from("| program | case | work | ours, ms | PyTorch, ms | ours / PyTorch |\n");
    text += "| --- | --- | --- | ---: | ---: | ---: |\n";
    let mut notes = Vec::new();
    for Measured { program, about, rounds } in measured {
        let Some((first, peer)) = rounds.0.first() else { continue };
        for (name, what, _) in &first.ms {
            let pairs: Vec<(f64, f64)> = rounds
                .0
                .iter()
                .filter_map(|(ours, peer)| Some((ours.time(name, what)?, peer.time(name, what)?)))
                .collect();
            let Some(ratio) = Ratio::of(&pairs) else { continue };
            let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let (ours, theirs) = (milliseconds(median(ours)), milliseconds(median(theirs)));
            text += &format!("| {program} | {name} | {what} | {ours} | {theirs} | {ratio} |\n");
        }
        let losses = match (first.losses.is_empty(), rounds.disagreement()) {
            (false, Ok(0.0)) => "; the two agree in every digit that is printed".into(),
            (false, Ok(apart)) => format!("; the two agree to {apart:.0e}"),
            _ => String::new(),
        };
        let count = rounds.0.len();
        let many = if count == 1 { "round" } else { "rounds" };
        notes.push(format!("- {program}: {about}; {count} {many}{losses}. {}; {}.", first.machine, peer.machine));
    }
    format!("{text}\n{}\n", notes.join("\n"))
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
    }

    #[test]
    fn the_table_has_what_both_sides_measured() {
        let side = |text: &str| Side::parse(text).unwrap();
        let round = |ours: f64| {
            let ours = format!("machine: x\nnaive losses 2.0\nnaive ms step {ours} ours 3\n");
            (side(&ours), side("torch 2\nnaive losses 2.0001\nnaive ms step 20 loop 7\n"))
        };
        let rounds = Rounds(vec![round(9.0), round(10.0), round(11.5)]);
        let page = page(&[Measured { program: "steps", about: "A step", rounds }]);
        assert!(page.contains("| steps | naive | step | 10.0 | 20.0 | 0.51 ["), "{page}");
        assert!(!page.contains("| ours |") && !page.contains("loop"), "{page}");
        assert!(page.contains("- steps: A step; 3 rounds; the two agree to 5e-5. machine: x; torch 2."), "{page}");
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

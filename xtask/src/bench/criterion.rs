//! The criterion benches of all crates: what a run left behind, its record, and its table.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// The median time of an iteration with its 95% interval, as criterion bootstraps it; nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// `crate/what/sizes/arm`.
    pub id: String,
    /// The median.
    pub median: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A run of all benches.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Where it was measured.
    pub machine: String,
    /// Every bench, by its id.
    pub estimates: Vec<Estimate>,
}

/// What criterion wrote below `home`, its output directory.
pub fn collect(home: &Path) -> Result<Vec<Estimate>> {
    let mut estimates = Vec::new();
    walk(home, &mut estimates)?;
    estimates.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(estimates)
}

fn walk(dir: &Path, found: &mut Vec<Estimate>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry.with_context(|| format!("{}", dir.display()))?.path();
        if !path.is_dir() {
            continue;
        }
        // `base` beside it holds the run before.
        match path.ends_with("new") && path.join("estimates.json").is_file() {
            true => found.push(estimate(&path)?),
            false => walk(&path, found)?,
        }
    }
    Ok(())
}

fn estimate(dir: &Path) -> Result<Estimate> {
    #[derive(Deserialize)]
    struct Benchmark {
        full_id: String,
    }
    #[derive(Deserialize)]
    struct Estimates {
        median: Median,
    }
    #[derive(Deserialize)]
    struct Median {
        point_estimate: f64,
        confidence_interval: Interval,
    }
    #[derive(Deserialize)]
    struct Interval {
        lower_bound: f64,
        upper_bound: f64,
    }
    fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{}", file.display()))
    }
    let Benchmark { full_id } = read(&dir.join("benchmark.json"))?;
    let Median { point_estimate, confidence_interval: at } = read::<Estimates>(&dir.join("estimates.json"))?.median;
    Ok(Estimate { id: full_id, median: point_estimate, low: at.lower_bound, high: at.upper_bound })
}

impl Run {
    /// The record: the machine in a line of its own, then a table with commas.
    pub fn record(&self) -> Result<String> {
        let mut rows = csv::Writer::from_writer(Vec::new());
        for estimate in &self.estimates {
            rows.serialize(estimate)?;
        }
        Ok(format!("# {}\n{}", self.machine, String::from_utf8(rows.into_inner()?)?))
    }

    /// Reads a record.
    pub fn parse(record: &str) -> Result<Self> {
        let (first, rows) = record.split_once('\n').unwrap_or_default();
        let machine = first.strip_prefix("# ").context("its first line does not name the machine")?.to_owned();
        let rows = csv::Reader::from_reader(rows.as_bytes()).into_deserialize();
        let estimates = rows.collect::<Result<Vec<Estimate>, _>>()?;
        if estimates.is_empty() {
            bail!("it holds no bench");
        }
        Ok(Self { machine, estimates })
    }

    /// A table for each crate.
    pub fn page(&self) -> String {
        let mut text = format!("{} benches. {}.\n", self.estimates.len(), self.machine);
        let parts = |estimate: &Estimate| {
            let (krate, rest) = estimate.id.split_once('/').unwrap_or(("", &estimate.id));
            let (work, arm) = rest.rsplit_once('/').unwrap_or((rest, ""));
            (krate.to_owned(), work.to_owned(), arm.to_owned())
        };
        for group in self.estimates.chunk_by(|a, b| parts(a).0 == parts(b).0) {
            let (krate, ..) = parts(&group[0]);
            text += &format!("\n<details>\n<summary>{krate}: {} benches</summary>\n\n", group.len());
            text += "| what/sizes | arm | median [95%] |\n| --- | --- | ---: |\n";
            for estimate in group {
                let (_, work, arm) = parts(estimate);
                text += &format!("| {work} | {arm} | {} |\n", time(estimate));
            }
            text += "\n</details>\n";
        }
        text
    }
}

/// In the unit of the median, by three digits of it: `4.66 [4.61, 4.70] ms`.
fn time(estimate: &Estimate) -> String {
    let (unit, scale) = match estimate.median {
        ..1e3 => ("ns", 1.0),
        ..1e6 => ("µs", 1e3),
        ..1e9 => ("ms", 1e6),
        _ => ("s", 1e9),
    };
    let digits = match estimate.median / scale {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    let [median, low, high] = [estimate.median, estimate.low, estimate.high].map(|ns| ns / scale);
    format!("{median:.digits$} [{low:.digits$}, {high:.digits$}] {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        let estimate =
            |id: &str, median: f64| Estimate { id: id.into(), median, low: median * 0.9, high: median * 1.5 };
        let estimates = vec![
            estimate("core/conv/b64/fused", 4.6612e6),
            estimate("core/conv/b64/flex", 11.4e6),
            estimate("hide/a/b/c", 179e3),
        ];
        Run { machine: "a machine, threads 1".into(), estimates }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = run().record().unwrap();
        assert!(
            record.starts_with("# a machine, threads 1\nid,median,low,high\ncore/conv/b64/fused,4661200.0,"),
            "{record}"
        );
        assert_eq!(Run::parse(&record).unwrap(), run());
        for text in ["", "id,median,low,high\n", "# a machine\nid,median,low,high\n", "# a machine\nid,median\na,1\n"] {
            assert!(Run::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_page_has_a_table_for_each_crate() {
        let page = run().page();
        for part in [
            "3 benches. a machine, threads 1.",
            "<summary>core: 2 benches</summary>",
            "| conv/b64 | fused | 4.66 [4.20, 6.99] ms |",
            "| conv/b64 | flex | 11.4 [10.3, 17.1] ms |",
            "<summary>hide: 1 benches</summary>",
            "| a/b | c | 179 [161, 268] µs |",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
    }

    #[test]
    fn only_the_new_estimates_are_collected() {
        let dir = tempfile::tempdir().unwrap();
        for (name, median) in [("new", 2.0), ("base", 1.0)] {
            let at = dir.path().join("core_conv/b64/fused").join(name);
            std::fs::create_dir_all(&at).unwrap();
            std::fs::write(at.join("benchmark.json"), r#"{"group_id":"x","full_id":"core/conv/b64/fused"}"#).unwrap();
            let interval = r#"{"confidence_level":0.95,"lower_bound":1.5,"upper_bound":2.5}"#;
            let text = format!(r#"{{"median":{{"confidence_interval":{interval},"point_estimate":{median}}}}}"#);
            std::fs::write(at.join("estimates.json"), text).unwrap();
        }
        let expected = Estimate { id: "core/conv/b64/fused".into(), median: 2.0, low: 1.5, high: 2.5 };
        assert_eq!(collect(dir.path()).unwrap(), [expected]);
        assert!(collect(&dir.path().join("none")).is_err());
    }
}

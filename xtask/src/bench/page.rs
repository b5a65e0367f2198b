//! The records of a run, and the parts of `docs/performance.md` that are made of them alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::criterion;
use super::lines::Rounds;
use super::programs::{CRITERION, PROGRAMS, Program};
use super::table::{self, Measured};
use crate::report::save;
use crate::root;

const RECORDS: &str = "experiments/results/performance/bench";
/// The page.
pub const PAGE: &str = "docs/performance.md";

/// Where the records lie.
pub fn records(root: &Path) -> PathBuf {
    root.join(RECORDS)
}

/// The record of a bench that has a peer.
pub fn record_of(root: &Path, name: &str) -> PathBuf {
    records(root).join(format!("{name}.txt"))
}

/// The record of the criterion benches.
pub fn criterion_record(root: &Path) -> PathBuf {
    records(root).join(format!("{CRITERION}.csv"))
}

/// Writes the page's parts; its name.
pub fn write(root: &Path) -> Result<String> {
    let page = root.join(PAGE);
    let text = std::fs::read_to_string(&page).with_context(|| format!("{}", page.display()))?;
    let text = filled(&text, root).with_context(|| format!("{}", page.display()))?;
    save(&page, text.as_bytes())?;
    Ok(root::display(&page))
}

/// The page with the tables that the records give.
fn filled(text: &str, root: &Path) -> Result<String> {
    let text = table::between_markers(text, "bench", &peers_block(root)?)?;
    table::between_markers(&text, CRITERION, &criterion_block(root)?)
}

/// What the records hold.
fn measured(root: &Path) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for Program { name, about, .. } in &PROGRAMS {
        let file = record_of(root, name);
        if !file.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        let rounds = Rounds::parse(&text).map_err(|what| anyhow::anyhow!("{}: {what}", file.display()))?;
        measured.push(Measured { program: name, about, rounds });
    }
    Ok(measured)
}

/// The tables of ours and the peers.
pub fn peers_block(root: &Path) -> Result<String> {
    let measured = measured(root)?;
    Ok(match measured.is_empty() {
        true => "No run of `cargo xtask bench` is recorded yet.".into(),
        false => table::page(&measured),
    })
}

/// The tables of the criterion benches.
fn criterion_block(root: &Path) -> Result<String> {
    let file = criterion_record(root);
    if !file.exists() {
        return Ok("No run of the criterion benches is recorded yet.".into());
    }
    let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    Ok(criterion::Run::parse(&text).with_context(|| format!("{}", file.display()))?.page())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_records_give() {
        let root = root::workspace();
        let text = std::fs::read_to_string(root.join(PAGE)).unwrap();
        let expected = filled(&text, &root).unwrap();
        assert!(text == expected, "a table in {PAGE} is not what the records give: run `cargo xtask bench --page`");
    }

    #[test]
    fn where_ours_is_slower_a_reason_is_written() {
        for row in table::rows(&measured(&root::workspace()).unwrap()).iter().filter(|row| row.slower()) {
            assert!(
                row.reason().is_some(),
                "{}, {}, {}, threads {}: {} is faster than ours; write why in xtask/src/bench/reasons.rs, then `cargo xtask bench --page`",
                row.program,
                row.case,
                row.work,
                row.threads,
                row.best().map_or("no variant", |(variant, ..)| variant.name())
            );
        }
    }

    #[test]
    fn ids_of_criterion_benches_are_of_one_form() {
        let Ok(record) = std::fs::read_to_string(criterion_record(&root::workspace())) else { return };
        for estimate in criterion::Run::parse(&record).unwrap().estimates {
            let parts: Vec<&str> = estimate.id.split('/').collect();
            assert!(parts.len() == 4 && !parts.contains(&""), "{} is not `crate/what/sizes/arm`", estimate.id);
            let krate = parts[0].replace('_', "-");
            assert!(root::workspace().join("crates").join(krate).is_dir(), "{}: no such crate", estimate.id);
        }
    }
}

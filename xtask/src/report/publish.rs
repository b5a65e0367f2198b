//! `report --publish`: the committed summary of a suite, and the pages made from all of
//! them: the table in the README and `docs/reproducibility.md`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use plasticity_core::error::RunError;
use plasticity_core::run::record::FORMAT;

use super::charts::slug;
use super::table;
use super::{Report, album, charts, format, judge, markdown, save};

const BEGIN: &str = "<!-- results:begin -->";
const END: &str = "<!-- results:end -->";
const RESULTS: &str = "experiments/results";
const DOCS: &str = "docs/reproducibility.md";

/// Writes `experiments/results/<suite>/` and regenerates the pages; returns the directory.
///
/// # Errors
/// A suite with cells that have no result yet, a README without the two markers, and
/// files that cannot be read or written.
pub fn publish(report: &Report, root: &Path) -> Result<PathBuf> {
    ensure!(
        report.unfinished() == 0,
        "{} of `{}` have no result yet: `cargo xtask reproduce {}` goes on with them",
        format::count(report.unfinished(), "cell"),
        report.suite,
        report.suite,
    );
    let dir = root.join(RESULTS).join(slug(&report.suite));
    for picture in charts::pictures(report)? {
        save(&dir.join(&picture.file), picture.svg.as_bytes())?;
    }
    // Those of an earlier run may have had other names.
    for old in pictures(report, root).into_iter().filter(|file| file.starts_with("picture-")) {
        let old = dir.join(old);
        std::fs::remove_file(&old).with_context(|| format!("{}", old.display()))?;
    }
    for (name, from) in album::published(&report.albums) {
        let bytes = std::fs::read(&from).with_context(|| format!("{}", from.display()))?;
        save(&dir.join(name), &bytes)?;
    }
    let mut json = serde_json::to_vec_pretty(report)?;
    json.push(b'\n');
    save(&dir.join("summary.json"), &json)?;
    save(&dir.join("report.md"), markdown::page(report)?.as_bytes())?;

    let published = published(root)?;
    save(&root.join(DOCS), docs_page(&published, root).as_bytes())?;
    let readme = root.join("README.md");
    let text = std::fs::read_to_string(&readme).with_context(|| format!("{}", readme.display()))?;
    save(&readme, with_block(&text, &readme_block(&published, root))?.as_bytes())?;
    check_published(root)?;
    Ok(dir)
}

/// Holds the README's table and `docs/reproducibility.md` equal to what the committed
/// summaries give, and the committed verdicts to what the committed values give.
///
/// # Errors
/// What differs, with the command that mends it.
pub fn check_published(root: &Path) -> Result<()> {
    let published = published(root)?;
    if published.is_empty() && !root.join(DOCS).exists() {
        return Ok(());
    }
    for report in &published {
        let claims: Vec<_> = report.claims.iter().map(|l| l.claim.clone()).collect();
        let targets: Vec<_> = report.targets.iter().map(|l| l.target.clone()).collect();
        let again = judge::all(report, &claims, &targets)?;
        ensure!(
            again == (report.claims.clone(), report.targets.clone()),
            "{RESULTS}/{}: a verdict does not follow from the values beside it",
            slug(&report.suite)
        );
    }
    let read = |name: &str| {
        let path = root.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
    };
    let mend = "run `cargo xtask report --publish SUITE`";
    ensure!(read(DOCS)? == docs_page(&published, root), "{DOCS} is not what the summaries give: {mend}");
    let readme = read("README.md")?;
    let expected = with_block(&readme, &readme_block(&published, root))?;
    ensure!(readme == expected, "the table in README.md is not what the summaries give: {mend}");
    Ok(())
}

/// Every committed summary, by name of its directory.
fn published(root: &Path) -> Result<Vec<Report>> {
    let dir = root.join(RESULTS);
    let mut paths = Vec::new();
    if dir.is_dir() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("{}", dir.display()))? {
            let path = entry?.path().join("summary.json");
            if path.is_file() {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| read_summary(path)).collect()
}

fn read_summary(path: &Path) -> Result<Report> {
    let text = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    let value: serde_json::Value = serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?;
    let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if found != FORMAT {
        bail!(RunError::Format { file: path.to_path_buf(), found, expected: FORMAT });
    }
    serde_json::from_value(value).with_context(|| format!("{}", path.display()))
}

/// The README's block: main metrics, claims, printed values, one picture per suite.
fn readme_block(published: &[Report], root: &Path) -> String {
    let mut out = format!("{BEGIN}\n");
    for report in published {
        out += &format!("\n**{}** (`{}`)\n\n", report.title, report.suite);
        for experiment in &report.experiments {
            let main = table::main_metrics(report, experiment, 3);
            out += &markdown::table(&table::results(report, experiment, Some(&main)));
        }
        for part in [table::brief_claims(report), table::targets(report)].into_iter().flatten() {
            out += &markdown::table(&part);
        }
        let files = pictures(report, root);
        let matrix = files.iter().find(|f| f.ends_with("-matrix.svg"));
        if let Some(file) = matrix.or_else(|| files.iter().find(|f| f.starts_with("picture-"))) {
            let dir = slug(&report.suite);
            let alt = if matrix.is_some() { "Accuracy on every task after every task".into() } else { alt(file) };
            out += &format!("![{alt}]({RESULTS}/{dir}/{file})\n\n");
        }
    }
    out + END
}

/// All published suites in full.
fn docs_page(published: &[Report], root: &Path) -> String {
    let mut out = String::from(
        "# Reproducibility\n\n\
         Generated by `cargo xtask report --publish SUITE` from the summaries in \
         `experiments/results/`; a test holds the two equal. \
         `cargo xtask reproduce SUITE` runs a suite again.\n\n",
    );
    for report in published {
        out += &format!("## {}\n\n`cargo xtask reproduce {}`\n\n", report.title, report.suite);
        out += &markdown::body(report, None);
        let dir = slug(&report.suite);
        for file in pictures(report, root) {
            let alt = alt(&file);
            out += &format!("![{alt}](../{RESULTS}/{dir}/{file})\n\n");
        }
        out += &markdown::table(&table::provenance(report));
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

/// The committed pictures of a suite.
fn pictures(report: &Report, root: &Path) -> Vec<String> {
    let dir = root.join(RESULTS).join(slug(&report.suite));
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    let mut files: Vec<String> = names.filter(|name| name.ends_with(".svg") || name.ends_with(".png")).collect();
    files.sort();
    files
}

/// What a published picture shows, from its name.
fn alt(file: &str) -> String {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    // picture-01-arm-name
    let stem = stem.strip_prefix("picture-").and_then(|rest| rest.split_once('-')).map_or(stem, |(_, rest)| rest);
    stem.replace('-', " ")
}

/// A text with the block between the markers replaced.
fn with_block(text: &str, block: &str) -> Result<String> {
    match (text.find(BEGIN), text.find(END)) {
        (Some(begin), Some(end)) if begin < end => Ok(format!("{}{block}{}", &text[..begin], &text[end + END.len()..])),
        _ => bail!("README.md must hold `{BEGIN}` and, below it, `{END}`"),
    }
}

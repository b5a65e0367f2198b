//! The numbers that comments and test names carry: each is a row of its paper's page, and each row is in use.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAPERS: [&str; 4] = ["dale-langevin", "hebbian-snn", "hidenseek", "synaptic-resonance"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All sources below a folder as one text, in which a comment that goes on in the next line is whole.
fn sources(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "py") {
            let mut comment = false;
            for line in fs::read_to_string(&path).unwrap().lines() {
                let line = line.trim();
                let rest = ["///", "//!", "//"].iter().find_map(|mark| line.strip_prefix(mark));
                text.push(if rest.is_some() && comment { ' ' } else { '\n' });
                comment = rest.is_some();
                text += rest.map_or(line, str::trim);
            }
        }
    }
    text
}

/// The numbers of the table whose first column has this head, on a paper's page.
fn table(paper: &str, head: &str) -> BTreeSet<String> {
    let page = fs::read_to_string(root().join(format!("docs/papers/{paper}.md"))).unwrap();
    let lines = page.lines().skip_while(|line| !line.starts_with(&format!("| {head} |"))).skip(2);
    let cells = lines.take_while(|line| line.starts_with('|')).filter_map(|line| line.split('|').nth(1));
    let rows: Vec<&str> = cells.map(str::trim).collect();
    let set: BTreeSet<String> = rows.iter().map(|row| row.trim_start_matches(['O', 'T']).to_owned()).collect();
    assert!(
        set.len() > 8 && set.len() == rows.len(),
        "{paper} has {} rows of {head}, {} of them alike",
        rows.len(),
        rows.len() - set.len()
    );
    set
}

/// The number that a text begins with, of whole numbers between points.
fn number(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let found = text[..end].trim_end_matches('.');
    (!found.is_empty()).then_some(found)
}

/// What follows a word in a text: `sections 3.1, 4 and 5`, `oracles O3 to O19`; of a range both ends.
fn after(text: &str, word: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let lower = text.to_lowercase();
    for (at, _) in lower.match_indices(word) {
        if lower[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let mut rest = lower[at + word.len()..].trim_start_matches('s');
        while let Some(next) = [" and ", ", and ", ", ", " to ", " "].iter().find_map(|mark| rest.strip_prefix(mark)) {
            let next = if word == "oracle" { next.trim_start_matches(['o', 't']) } else { next };
            let Some(digits) = number(next) else { break };
            found.insert(digits.to_owned());
            rest = &next[digits.len()..];
        }
    }
    found
}

/// `o07_...` and `t07_...` in names, `O7` and `T7` in comments.
fn oracles(text: &str) -> BTreeSet<String> {
    let mut found = after(text, "oracle");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for word in words {
        // A test may hold two: `o01_..._o03_...`.
        let parts = word.split('_').filter_map(|part| part.strip_prefix(['o', 't'])).filter(|_| word.contains('_'));
        for digits in parts.filter(|part| part.len() > 1).chain(word.strip_prefix(['O', 'T'])) {
            let digits = digits.trim_end_matches('b');
            if (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
                found.insert(digits.trim_start_matches('0').to_owned());
            }
        }
    }
    found
}

#[test]
fn what_comments_and_names_number_is_on_the_page_and_in_use() {
    let mut faults = Vec::new();
    for paper in PAPERS {
        let text = sources(&root().join("crates").join(paper));
        for (what, used) in [("section", after(&text, "section")), ("oracle", oracles(&text))] {
            let there = table(paper, what);
            assert!(used.len() > 8, "{paper}: only {} uses of a {what}", used.len());
            faults.extend(used.difference(&there).map(|n| format!("{paper}: the page has no {what} {n}")));
            faults.extend(there.difference(&used).map(|n| format!("{paper}: nothing in the crate says {what} {n}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is no crate of a paper has no numbers to refer to, and nobody refers to a text that is not here.
#[test]
fn nothing_refers_to_a_text_that_is_not_in_the_repository() {
    let mut faults = Vec::new();
    let own = sources(&root().join("xtask/src")) + &sources(&root().join("crates/core/src"));
    faults.extend(after(&own, "section").into_iter().map(|n| format!("xtask or core: section {n}")));
    let below = |dir: &str| {
        let files = fs::read_dir(root().join(dir)).unwrap().flatten().map(|entry| entry.path());
        files.filter(|path| path.extension().is_some_and(|kind| kind == "md" || kind == "toml")).collect::<Vec<_>>()
    };
    let mut pages: Vec<PathBuf> =
        ["docs", "docs/guide", "docs/papers", "experiments"].iter().flat_map(|d| below(d)).collect();
    for paper in PAPERS {
        pages.extend(below(&format!("crates/{paper}")));
        pages.extend(
            fs::exists(root().join("experiments").join(paper))
                .unwrap()
                .then(|| below(&format!("experiments/{paper}")))
                .into_iter()
                .flatten(),
        );
        let text = sources(&root().join("crates").join(paper));
        faults
            .extend(text.lines().filter(|line| line.contains("specification")).map(|line| format!("{paper}: {line}")));
    }
    pages.push(root().join("README.md"));
    for page in pages {
        // Generated from records, which say what they said when they were made.
        if page.ends_with("docs/reproducibility.md") {
            continue;
        }
        let text = fs::read_to_string(&page).unwrap();
        let table = text.split("## Numbers in the code").next().unwrap_or_default();
        let name = page.display();
        faults.extend(after(table, "section").into_iter().map(|n| format!("{name}: section {n}")));
        faults.extend(text.contains("our specification").then(|| format!("{name}: our specification")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn lists_and_ranges_are_read() {
    let set = |items: &[&str]| items.iter().map(|s| s.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(after("Sections 3.1, 4 and 5.2 b). A subsection 9.", "section"), set(&["3.1", "4", "5.2"]));
    assert_eq!(after("a cross-section of 7, section 8.", "section"), set(&["8"]));
    assert_eq!(oracles("fn o07_a_o08_b() // Oracles O3 to O5, T22; F32, O1b"), set(&["7", "8", "3", "5", "22", "1"]));
}

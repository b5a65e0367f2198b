//! The pages of `docs/` against the program: what they quote, name and tell a reader to type.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Bench;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The fenced blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(tag)) => open = Some((tag == language, String::new())),
            (Some(_), Some(_)) => found.extend(open.take().filter(|(wanted, _)| *wanted).map(|(_, text)| text)),
            (Some((_, text)), None) => text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    found
}

/// Lines without indentation, and without empty ones.
fn flat(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).fold("\n".into(), |all, line| all + line + "\n")
}

fn quotes(page: &str, blocks: &[String], file: &str) {
    let source = flat(&fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(file)).unwrap());
    for block in blocks {
        assert!(source.contains(&flat(block)), "{page} quotes what {file} does not contain:\n{block}");
    }
}

#[test]
fn the_page_that_says_how_to_add_a_paper_quotes_the_fifth_one() {
    let page = page("docs/architecture.md");
    let (rust, suites) = (blocks(&page, "rust"), blocks(&page, "toml"));
    assert!(rust.len() >= 4 && suites.len() == 1, "{} and {} blocks", rust.len(), suites.len());
    quotes("docs/architecture.md", &rust, "fifth_paper.rs");
    quotes("docs/architecture.md", &suites, "fifth_paper.rs");
}

#[test]
fn the_page_on_mechanisms_quotes_what_is_compiled() {
    let rust = blocks(&page("docs/guide/use-a-mechanism.md"), "rust");
    assert!(rust.len() >= 4, "{} blocks", rust.len());
    quotes("docs/guide/use-a-mechanism.md", &rust, "guide.rs");
}

/// Stations are table rows whose second cell is a file or folder and whose third names functions of it.
#[test]
fn the_stations_of_the_architecture_page_exist() {
    let page = page("docs/architecture.md");
    let mut seen = 0;
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [_, place, functions] = cells.as_slice() else { continue };
        let Some(place) = place.strip_prefix('`').and_then(|p| p.strip_suffix('`')) else { continue };
        if !(place.starts_with("crates/") || place.starts_with("xtask/")) {
            continue;
        }
        let text = sources(&root().join(place));
        assert!(!text.is_empty(), "there is no {place}");
        for function in functions.split('`').skip(1).step_by(2) {
            let name = function.rsplit("::").next().unwrap_or(function);
            let there = |text: &str| text.contains(&format!("fn {name}(")) || text.contains(&format!("fn {name}<"));
            assert!(there(&text), "there is no function {name} in {place}");
            seen += 1;
        }
    }
    assert!(seen >= 20, "only {seen} functions are named");
}

/// `measured`, `drawn`, `written`: each room of the report uses those before it.
#[test]
fn the_rooms_of_the_report_use_each_other_in_one_direction() {
    let rooms = ["measured", "drawn", "written"];
    for (number, room) in rooms.iter().enumerate() {
        let text = sources(&root().join("xtask/src/report").join(room));
        assert!(text.contains("use "), "there is no room {room}");
        // What a test takes of the whole report is no way of the program.
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in lines {
            for behind in &rooms[number + 1..] {
                assert!(!line.contains(&format!("{behind}::")), "{room} uses {behind}: {line}");
            }
        }
    }
}

fn sources(path: &Path) -> String {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().flatten();
        return entries.map(|entry| sources(&entry.path())).collect();
    }
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn the_suite_of_the_guide_is_one_that_the_runner_takes() {
    let suites = blocks(&page("docs/guide/write-a-suite.md"), "toml");
    let whole: Vec<&String> = suites.iter().filter(|text| text.starts_with("schema = 1")).collect();
    assert_eq!(whole.len(), 1);
    let (code, out, err) = Bench::new(whole[0]).run(&["--dry-run", "--offline"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("6 of 6 to run"), "{out}");
}

/// Every page that a reader can come to by links: the README, `docs/` and the crates' own.
fn linked() -> Vec<(String, String)> {
    fn walk(dir: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(root().join(dir)).unwrap().flatten() {
            let name = format!("{dir}/{}", entry.file_name().to_str().unwrap());
            match entry.path().is_dir() {
                true => walk(&name, found),
                false => found.extend(Some(name).filter(|name| name.ends_with(".md"))),
            }
        }
    }
    let mut names = vec!["README.md".to_owned()];
    walk("docs", &mut names);
    for entry in fs::read_dir(root().join("crates")).unwrap().flatten() {
        let name = format!("crates/{}/README.md", entry.file_name().to_str().unwrap());
        names.extend(Some(name).filter(|name| root().join(name).is_file()));
    }
    names.into_iter().map(|name| (name.clone(), page(&name))).collect()
}

/// The lines outside fenced blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let outside = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    outside.collect::<Vec<_>>().join("\n")
}

/// The anchors of a page's headings, as the pages are shown: small letters, digits, hyphens for spaces, and a number
/// behind a heading that there was before.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for line in prose(text).lines().filter(|line| line.starts_with('#')) {
        // Of a link in a heading the words count.
        let mut heading = line.trim_start_matches('#').trim().to_owned();
        while let Some((begin, rest)) = heading.split_once("](") {
            let after = rest.split_once(')').map_or("", |(_, after)| after);
            heading = format!("{begin}{after}");
        }
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase();
        let again = (1..).map(|n| format!("{slug}-{n}"));
        let free = std::iter::once(slug.clone()).chain(again).find(|name| !seen.contains(name));
        seen.extend(free);
    }
    seen
}

#[test]
fn anchors_are_those_of_the_headings() {
    let text = "# A `b`: [c](d.md) (e), 1,000!\n```\n# no heading\n```\n## Data\n## Data\n";
    let expected = ["a-b-c-e-1000", "data", "data-1"].map(str::to_owned);
    assert_eq!(anchors(text), BTreeSet::from(expected));
}

#[test]
fn links_lead_somewhere() {
    let mut seen = 0;
    for (name, text) in linked() {
        let here = root().join(&name);
        for target in prose(&text).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { here.clone() } else { here.parent().unwrap().join(path) };
            assert!(file.exists(), "{name} links to {target}");
            if !anchor.is_empty() {
                let there = fs::read_to_string(&file).unwrap_or_default();
                assert!(anchors(&there).contains(anchor), "{name} links to {target}: there is no such heading");
            }
            seen += 1;
        }
    }
    assert!(seen >= 100, "only {seen} links");
}

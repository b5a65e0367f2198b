//! The pages made of all committed summaries: what the README shows, every claim and printed value in `docs/results.md`,
//! and every table in `docs/reproducibility.md`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use plasticity_core::error::RunError;
use plasticity_core::run::record::{Claim, FORMAT, Profile, Speaks};
use plasticity_core::stats::{ClaimVerdict, TargetVerdict};

use super::files;
use super::markdown::{self, Place};
use super::table::{self, Table, Text, Tone};
use crate::registry;
use crate::report::measured::format::slug;
use crate::report::measured::model::{ClaimLine, PictureLine, Report, TargetLine};
use crate::report::measured::papers::{self, Group};
use crate::report::measured::{format, judge};
use crate::suite;
use crate::text::capital;

/// Where the committed summaries are.
pub const RESULTS: &str = "experiments/results";
const README: &str = "README.md";
const ALL: &str = "docs/results.md";
const DOCS: &str = "docs/reproducibility.md";

/// A part of the README that is made of the summaries: where it begins and ends.
struct Block {
    begin: &'static str,
    end: &'static str,
    /// A README without it is an error.
    needed: bool,
}

/// What came of each paper, with a picture.
const OF_PAPERS: Block = Block { begin: "<!-- results:begin -->", end: "<!-- results:end -->", needed: true };
/// The papers in a table.
const OVERVIEW: Block = Block { begin: "<!-- papers:begin -->", end: "<!-- papers:end -->", needed: false };

/// Writes the README's generated parts and the generated pages of `docs/` again.
///
/// # Errors
/// A README without the markers, and files that cannot be read or written.
pub fn write(root: &Path) -> Result<()> {
    let published = published(root)?;
    for (name, text) in generated(&published) {
        files::save(&root.join(name), text.as_bytes())?;
    }
    let readme = root.join(README);
    let text = std::fs::read_to_string(&readme).with_context(|| format!("{}", readme.display()))?;
    files::save(&readme, with_blocks(&text, &published)?.as_bytes())?;
    check_published(root)
}

/// The names of the pages that [`write`] writes.
pub const WRITTEN: &str = "README.md, docs/results.md, docs/reproducibility.md";

/// Holds the pages equal to what the committed summaries give, and the committed verdicts to what the committed values
/// give.
///
/// # Errors
/// What differs, with the command that mends it.
pub fn check_published(root: &Path) -> Result<()> {
    let published = published(root)?;
    if published.is_empty() && !root.join(DOCS).exists() {
        return Ok(());
    }
    for report in &published {
        let dir = root.join(RESULTS).join(slug(&report.suite));
        for file in report.pictures.iter().flat_map(|p| [Some(&p.file), p.narrow.as_ref()]).flatten() {
            ensure!(dir.join(file).is_file(), "{RESULTS}/{}: {file} is missing", slug(&report.suite));
        }
        let claims: Vec<_> = report.claims.iter().map(|l| l.claim.clone()).collect();
        let targets: Vec<_> = report.targets.iter().map(|l| l.target.clone()).collect();
        let again = judge::all(report, &claims, &targets);
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
    let mend = "run `cargo xtask report --pages`";
    for (name, text) in generated(&published) {
        ensure!(read(name)? == text, "{name} is not what the summaries give: {mend}");
    }
    let readme = read(README)?;
    let expected = with_blocks(&readme, &published)?;
    ensure!(readme == expected, "what {README} shows of the results is not what the summaries give: {mend}");
    Ok(())
}

/// Every committed summary, by name of its directory, its claims as their suite tells them.
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
    let mut reports: Vec<Report> = paths.iter().map(|path| summary(path)).collect::<Result<_>>()?;
    for report in &mut reports {
        let file = root.join(format!("experiments/{}.toml", report.suite));
        if file.is_file() {
            let suite = suite::read(&file, report.suite.clone(), &registry::entries())?;
            tell(report, &suite.claims);
        }
    }
    Ok(reports)
}

/// Reads a committed summary.
///
/// # Errors
/// One that is not there, of another version, or not readable.
pub fn summary(path: &Path) -> Result<Report> {
    let text = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    let value: serde_json::Value = serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?;
    let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if found != FORMAT {
        bail!(RunError::Format { file: path.to_path_buf(), found, expected: FORMAT });
    }
    serde_json::from_value(value).with_context(|| format!("{}", path.display()))
}

/// Takes from the suite's file what it says of each claim to a reader: that may be newer than the runs. A claim is known
/// by what it compares, since its words may have been mended after the runs.
pub fn tell(report: &mut Report, claims: &[Claim]) {
    let compares = |c: &Claim| (c.left.clone(), c.relation.clone(), c.right.clone(), c.margin);
    for line in &mut report.claims {
        let same: Vec<&Claim> = claims.iter().filter(|c| compares(c) == compares(&line.claim)).collect();
        let told = same.iter().find(|c| c.text == line.claim.text).or(same.first());
        if let Some(told) = told {
            // What the words leave out is mended in the suite first.
            line.claim = Claim { text: told.text.clone(), ..line.claim.clone().told_as(told) };
        }
    }
}

/// What a suite says of a paper.
struct Part<'a> {
    report: &'a Report,
    group: Group<'a>,
    claims: Vec<&'a ClaimLine>,
    targets: Vec<&'a TargetLine>,
}

/// The papers in the program's order, then what it does not know; of each what the suites say, full profiles first.
fn of_papers(published: &[Report]) -> Vec<Vec<Part<'_>>> {
    let mut suites: Vec<&Report> = published.iter().collect();
    suites.sort_by_key(|report| report.profile != Profile::Full);
    let mut all: Vec<Vec<Part>> = Vec::new();
    for report in suites {
        for group in papers::groups(report) {
            let mine = |home: Option<usize>| home.is_some_and(|n| group.experiments.contains(&n));
            let claims = report.claims.iter().filter(|l| mine(report.home(l.arms()))).collect();
            let targets = report.targets.iter().filter(|l| mine(report.home([Some(&l.target.arm), None]))).collect();
            let part = Part { report, group: group.clone(), claims, targets };
            match all.iter_mut().find(|parts| parts[0].group.name == group.name) {
                Some(parts) => parts.push(part),
                None => all.push(vec![part]),
            }
        }
    }
    let place = |name: &str| registry::PAPERS.iter().position(|p| p.name == name).unwrap_or(usize::MAX);
    all.sort_by_key(|parts| place(parts[0].group.name));
    all
}

/// Claims that speak for one thing, each with its suite.
fn speaking<'a>(parts: &[Part<'a>], speaks: Option<Speaks>) -> Vec<(&'a Report, &'a ClaimLine)> {
    let all = parts.iter().flat_map(|part| part.claims.iter().map(|line| (part.report, *line)));
    all.filter(|(_, line)| line.claim.speaks == speaks).collect()
}

/// `5 hold, 1 fails`, or `none`.
fn tally(parts: &[Part], speaks: Option<Speaks>) -> String {
    let lines: Vec<&ClaimLine> = speaking(parts, speaks).into_iter().map(|(_, line)| line).collect();
    if lines.is_empty() { "none".into() } else { table::tally(&lines) }
}

/// `Claims for the paper: 5 hold, 1 fails. Against it: none. Controls: 1 holds.`
fn head_line(parts: &[Part]) -> String {
    let kinds = [(Some(Speaks::For), "Claims for the paper"), (Some(Speaks::Against), "Against it")];
    let more = [(Some(Speaks::Control), "Controls"), (None, "Not said for what")];
    let more = more.into_iter().filter(|(speaks, _)| !speaking(parts, *speaks).is_empty());
    let said: Vec<String> =
        kinds.into_iter().chain(more).map(|(speaks, name)| format!("{name}: {}.", tally(parts, speaks))).collect();
    said.join(" ")
}

/// Printed values of a paper that ours were held against, and the others.
fn printed<'a>(parts: &[Part<'a>]) -> (Vec<&'a TargetLine>, usize) {
    let all: Vec<&TargetLine> = parts.iter().flat_map(|part| part.targets.iter().copied()).collect();
    let held = |line: &&TargetLine| !matches!(line.verdict, TargetVerdict::NotComparable(_));
    let compared: Vec<&TargetLine> = all.iter().copied().filter(held).collect();
    let others = all.len() - compared.len();
    (compared, others)
}

/// `2 printed values compared: 2 reproduced; 2 more are not comparable`.
fn printed_line(parts: &[Part]) -> String {
    let (compared, others) = printed(parts);
    let more = match others {
        0 => String::new(),
        n => format!("; {n} more not comparable"),
    };
    match compared.len() {
        0 => format!("no printed value compared{more}"),
        n => format!("{} compared: {}{more}", format::count(n, "printed value"), verdicts(&compared)),
    }
}

/// `2 reproduced, 1 worse`.
fn verdicts(lines: &[&TargetLine]) -> String {
    let words = lines.iter().map(|line| words(&table::target_verdict(&line.verdict)));
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for word in words {
        match kinds.iter_mut().find(|(known, _)| *known == word) {
            Some((_, n)) => *n += 1,
            None => kinds.push((word, 1)),
        }
    }
    kinds.iter().map(|(word, n)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
}

/// A verdict without its mark.
fn words(verdict: &Text) -> String {
    verdict.text.split_once(' ').map_or(verdict.text.as_str(), |(_, words)| words).to_owned()
}

/// The mark of a verdict.
fn mark(verdict: &Text) -> &str {
    verdict.text.split(' ').next().unwrap_or_default()
}

/// The papers in a table, below what was reproduced at all.
fn overview(published: &[Report]) -> String {
    let papers = of_papers(published);
    let mut out = String::from("\n");
    let with = papers.iter().filter(|parts| !printed(parts).0.is_empty()).count();
    let all: Vec<&TargetLine> = papers.iter().flat_map(|parts| printed(parts).0).collect();
    if !all.is_empty() {
        out += &format!(
            "**{} {} compared, of {}: {}.** Of the other {} we had no table, only what the table below says; there, \
             verdicts are on claims.\n\n",
            format::count(all.len(), "printed value"),
            if all.len() == 1 { "is" } else { "are" },
            format::count(with, "paper"),
            verdicts(&all),
            format::count(papers.len() - with, "paper"),
        );
    }
    out += "| crate, paper | what we had of it; printed values compared | claims for the paper | claims against it: ✓ is bad news |\n";
    out += "| --- | --- | --- | --- |\n";
    for parts in &papers {
        let group = &parts[0].group;
        let name = group.name;
        let (title, had) = match group.paper {
            Some(paper) => (
                format!("[`{name}`](crates/{name}): [{}]({})", markdown::inline(paper.title), papers::page(paper)),
                format!("{}; ", markdown::inline(paper.had)),
            ),
            None => (format!("`{name}`"), String::new()),
        };
        let cell = |speaks: Speaks| {
            let shown: Vec<String> =
                speaking(parts, Some(speaks)).into_iter().filter_map(|(r, l)| in_words(r, l)).collect();
            let tally = tally(parts, Some(speaks));
            std::iter::once(tally).chain(shown).collect::<Vec<_>>().join("<br>")
        };
        let row = [title, format!("{had}**{}**", printed_line(parts)), cell(Speaks::For), cell(Speaks::Against)];
        out += &format!("| {} |\n", row.join(" | "));
    }
    out + "\n"
}

/// A claim of the front page in its few words, with the mark of its verdict, and its price where it holds.
fn in_words(report: &Report, line: &ClaimLine) -> Option<String> {
    let words = markdown::inline(line.claim.front.as_ref()?);
    let price = table::price(report, line).filter(|_| line.verdict == ClaimVerdict::Holds);
    let price = price.map_or(String::new(), |price| format!(" (price: {})", markdown::inline(&price)));
    Some(format!("{} {words}{price}{}", mark(&table::claim_verdict(&line.verdict)), seeds(report, line)))
}

/// Of a claim that is undecided, how many seeds go its way: none may.
fn seeds(report: &Report, line: &ClaimLine) -> String {
    let agreement = table::agreement(report, line).filter(|_| line.verdict == ClaimVerdict::Undecided);
    agreement.map_or(String::new(), |agreement| format!(" ({agreement} seeds agree)"))
}

/// What came of each paper: what we had, the claims of the front page by what they speak for, and a picture.
fn readme(published: &[Report]) -> String {
    let mut out = String::from("\n");
    for parts in of_papers(published) {
        out += &markdown::introduction(&parts[0].group, &Place { level: 3, root: Some(""), pictures: "" });
        let name = parts[0].group.name;
        let claims = parts.iter().map(|part| part.claims.len()).sum();
        let all = format!("[All {}]({ALL}#{})", format::count(claims, "claim"), slug(name));
        out += &format!("{}. {all}.\n\n", capital(&printed_line(&parts)));
        let kinds = [(Speaks::For, "For the paper"), (Speaks::Against, "Against it"), (Speaks::Control, "Controls")];
        for (speaks, kind) in kinds {
            let shown =
                speaking(&parts, Some(speaks)).into_iter().filter_map(|(report, line)| front_line(report, line));
            out += &format!("**{kind}: {}.**\n\n", tally(&parts, Some(speaks)));
            let shown: String = shown.collect();
            out += &if shown.is_empty() { shown } else { format!("{shown}\n") };
        }
        out += &picture(&parts).unwrap_or_default();
    }
    out
}

/// `- ✓ Higher accuracy. ACC: hlop 95 %, naive 63 %; difference 32 [26, 38] points. Price: ... (quick)`
fn front_line(report: &Report, line: &ClaimLine) -> Option<String> {
    let front = capital(line.claim.front.as_ref()?);
    let measured = capital(&table::measured(report, line));
    let mut said = format!("{} {front}. {measured}", mark(&table::claim_verdict(&line.verdict)));
    if let ([Some(_), Some(_)], Some(difference)) = (line.arms(), table::difference(report, line)) {
        said += &format!("; difference {difference}");
    }
    said += &seeds(report, line);
    if let Some(price) = table::price(report, line) {
        said += &format!(". Price: {price}");
    }
    Some(format!("- {}. (`{}`)\n", markdown::inline(&said), report.suite))
}

/// The picture that shows the paper's claim best, with what to look for in it; without it the first that there is.
fn picture(parts: &[Part]) -> Option<String> {
    let all = || {
        parts.iter().flat_map(|part| {
            let mine = part.report.pictures.iter().filter(|p| part.group.experiments.contains(&p.experiment));
            mine.map(|picture| (part.report.suite.as_str(), picture))
        })
    };
    let image = |suite: &str, picture: &PictureLine| markdown::image(picture, &format!("{RESULTS}/{}/", slug(suite)));
    if let Some(paper) = parts[0].group.paper {
        let fits = |picture: &PictureLine| picture.alt.contains(paper.picture);
        let best = all().find(|(suite, picture)| *suite == paper.shown && fits(picture));
        if let Some((suite, picture)) = best.or_else(|| all().find(|(_, picture)| fits(picture))) {
            return Some(format!("{}*{}*\n\n", image(suite, picture), markdown::inline(paper.see)));
        }
    }
    all().next().map(|(suite, picture)| image(suite, picture))
}

/// Every claim and every printed value, paper by paper.
fn results_page(published: &[Report]) -> String {
    let mut out = String::from(
        "# Results\n\n\
         Every claim and every printed value of all published suites, paper by paper. Generated from the records in \
         [`experiments/results`](../experiments/results) by `cargo xtask report --pages`; a test holds the two equal. Arms \
         and settings of each suite are in [reproducibility](reproducibility.md), and what is judged how in [read the \
         report](guide/read-the-report.md).\n\n\
         A claim speaks *for* its paper, *against* it, or is a *control*: it says whether the measurement does what it \
         should, or what a part of our own design adds. So a tick under \"against\" is not one for the paper. Behind a claim stands its price: what it costs, or \
         what does as well.\n\n",
    );
    out += &format!("{}\n\n{}\n\n", markdown::inline(table::CLAIM_RULE), markdown::inline(table::TARGET_RULE));
    let papers = of_papers(published);
    out +=
        "| paper | printed values | claims for it | claims against it | controls |\n| --- | --- | --- | --- | --- |\n";
    for parts in &papers {
        let group = &parts[0].group;
        let tallies = [Speaks::For, Speaks::Against, Speaks::Control].map(|speaks| tally(parts, Some(speaks)));
        let title = markdown::inline(group.title());
        let link = slug(group.name);
        out += &format!("| [{title}](#{link}) | {} | {} |\n", printed_line(parts), tallies.join(" | "));
    }
    out.push('\n');
    for parts in &papers {
        out += &of_paper(parts);
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

/// The claims of a paper by what they speak for, and its printed values.
fn of_paper(parts: &[Part]) -> String {
    let group = &parts[0].group;
    let mut out = format!("## {}\n\n", group.name);
    if let Some(paper) = group.paper {
        out += &format!(
            "[{}](../{}) ([arXiv {}]({})). {} {}\n\n",
            markdown::inline(paper.title),
            papers::page(paper),
            paper.arxiv,
            papers::address(paper),
            markdown::inline(paper.claims),
            markdown::inline(paper.known),
        );
    }
    out += &format!("{}\n\n", head_line(parts));
    let kinds = [
        (Some(Speaks::For), "For the paper"),
        (Some(Speaks::Against), "Against the paper"),
        (Some(Speaks::Control), "Controls"),
        (None, "Not said for what"),
    ];
    for (speaks, title) in kinds {
        let mut all: Option<Table> = None;
        for part in parts {
            let lines: Vec<&ClaimLine> = part.claims.iter().copied().filter(|l| l.claim.speaks == speaks).collect();
            append(&mut all, table::claims(part.report, &lines), &["Speaks", "Formula"], &part.report.suite);
        }
        out += &all.map_or(String::new(), |table| format!("### {title}\n\n{}", markdown::table(&table)));
    }
    let mut all: Option<Table> = None;
    for part in parts {
        append(&mut all, table::targets(part.report, &part.targets), &["Source"], &part.report.suite);
    }
    out += &all.map_or(String::new(), |table| format!("### Printed values\n\n{}", markdown::table(&table)));
    let said = parts.iter().filter(|part| !(part.claims.is_empty() && part.targets.is_empty()));
    let settings = said.map(|part| {
        let of_each = part.group.experiments.iter().map(|n| {
            let experiment = &part.report.experiments[*n];
            let title = experiment.title.as_ref().map_or(String::new(), |title| format!("{title}: "));
            title + &format::setting(part.report, experiment)
        });
        let distinct: BTreeSet<String> = of_each.collect();
        let all = distinct.into_iter().collect::<Vec<_>>().join(" ");
        format!("`{}`: {}", part.report.suite, markdown::inline(&all))
    });
    let settings: Vec<String> = settings.collect();
    if !settings.is_empty() {
        out += &format!("{}\n\n", settings.join(" "));
    }
    out
}

/// Adds the rows of a suite's table, without some columns and with the suite's name.
fn append(to: &mut Option<Table>, table: Option<Table>, without: &[&str], suite: &str) {
    let Some(mut table) = table else { return };
    for column in without {
        if let Some(at) = table.head.iter().position(|head| head == column) {
            table.head.remove(at);
            table.right.remove(at);
            table.rows.iter_mut().for_each(|row| drop(row.remove(at)));
        }
    }
    table.head.push("Suite".into());
    table.right.push(false);
    table.rows.iter_mut().for_each(|row| row.push(Text { text: format!("`{suite}`"), tone: Tone::Plain }));
    table.notes.clear();
    match to {
        Some(all) => all.rows.extend(table.rows),
        None => *to = Some(table),
    }
}

/// The pages that are made of nothing but the summaries.
fn generated(published: &[Report]) -> [(&'static str, String); 2] {
    [(ALL, results_page(published)), (DOCS, docs_page(published))]
}

/// All published suites in full.
fn docs_page(published: &[Report]) -> String {
    let mut out = String::from(
        "# Reproducibility\n\n\
         Generated by `cargo xtask report --publish SUITE` from the summaries in \
         `experiments/results/`; a test holds the two equal. \
         `cargo xtask reproduce SUITE` runs a suite again.\n\n",
    );
    for report in published {
        out += &format!("## {}\n\n`cargo xtask reproduce {}`\n\n", report.title, report.suite);
        let from = format!("../{RESULTS}/{}/", slug(&report.suite));
        let pictures: Vec<&PictureLine> = report.pictures.iter().collect();
        out += &markdown::body(report, &pictures, &Place { level: 3, root: Some("../"), pictures: &from });
        out += &markdown::table(&table::provenance(report));
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

/// The README with its generated parts as they should be.
fn with_blocks(text: &str, published: &[Report]) -> Result<String> {
    let text = with_block(text, &OVERVIEW, &overview(published))?;
    with_block(&text, &OF_PAPERS, &readme(published))
}

/// A text with what stands between two markers replaced.
fn with_block(text: &str, block: &Block, inside: &str) -> Result<String> {
    let Block { begin, end, needed } = block;
    match (text.find(begin), text.find(end)) {
        (Some(from), Some(to)) if from < to => {
            Ok(format!("{}{begin}\n{inside}{end}{}", &text[..from], &text[to + end.len()..]))
        }
        (None, None) if !needed => Ok(text.to_owned()),
        _ => bail!("{README} must hold `{begin}` and, below it, `{end}`"),
    }
}

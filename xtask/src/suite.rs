//! Suite files: finding, reading, and checking them against the experiments.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use plasticity_core::config::{Source, Table, empty, merge, nearest};
use plasticity_core::data::manifest::{self, Kind};
use plasticity_core::error::ConfigError;
use plasticity_core::run::record::{Claim, MetricInfo, Plan, Profile, Side, Target};
use plasticity_core::run::{Entry, Prepared};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The version of the suite schema that this program reads.
const SCHEMA: u64 = 1;

/// A suite whose every part has been checked.
pub struct Suite {
    /// `quick`, `hebbian-snn/pmnist`.
    pub name: String,
    pub head: Head,
    pub experiments: Vec<SuiteExperiment>,
    pub claims: Vec<Claim>,
    pub targets: Vec<Target>,
}

/// The keys at the top of a suite.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    schema: u64,
    pub title: String,
    pub profile: Profile,
    pub seeds: Vec<u64>,
    #[serde(default = "one")]
    pub threads: usize,
}

fn one() -> usize {
    1
}

pub struct SuiteExperiment {
    pub entry: Entry,
    /// What tells it from others of the same name.
    pub title: Option<String>,
    /// The suite's, unless it has its own.
    pub seeds: Vec<u64>,
    /// Candidates, the best first.
    pub data: Vec<String>,
    pub arms: Vec<SuiteArm>,
}

pub struct SuiteArm {
    pub id: String,
    pub prepared: Prepared,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExperimentHead {
    name: String,
    title: Option<String>,
    seeds: Option<Vec<u64>>,
    #[serde(default)]
    data: Vec<String>,
}

impl Suite {
    /// Seconds of all its cells one after the other, on one thread of an ordinary machine.
    pub fn seconds(&self) -> f64 {
        let arms = |e: &SuiteExperiment| e.arms.iter().map(|a| a.prepared.plan.seconds).sum::<f64>();
        self.experiments.iter().map(|e| arms(e) * e.seeds.len() as f64).sum()
    }
}

/// The suites below `experiments/`, by name, sorted.
pub fn all(root: &Path) -> Vec<String> {
    fn walk(dir: &Path, prefix: &str, names: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                // Committed summaries, not suites.
                if name != "results" {
                    walk(&entry.path(), &format!("{prefix}{name}/"), names);
                }
            } else if let Some(stem) = name.strip_suffix(".toml") {
                names.push(format!("{prefix}{stem}"));
            }
        }
    }
    let mut names = Vec::new();
    walk(&root.join("experiments"), "", &mut names);
    names.sort();
    names
}

/// The file and the name of a suite given as `quick`, `hebbian-snn/pmnist`, `pmnist` or a path.
pub fn find(root: &Path, wanted: &str) -> Result<(PathBuf, String), ConfigError> {
    let names = all(root);
    let file = |name: &str| root.join("experiments").join(format!("{name}.toml"));
    if let Some(name) = names.iter().find(|name| *name == wanted) {
        return Ok((file(name), name.clone()));
    }
    let short: Vec<&String> = names.iter().filter(|name| name.rsplit('/').next() == Some(wanted)).collect();
    match short.as_slice() {
        [name] => return Ok((file(name), (*name).clone())),
        [] => {}
        several => {
            let several: Vec<&str> = several.iter().map(|s| s.as_str()).collect();
            return Err(ConfigError::new(format!("`{wanted}` could be {}: give the whole name", several.join(" or "))));
        }
    }
    let path = Path::new(wanted);
    if path.extension().is_some_and(|ext| ext == "toml") && path.is_file() {
        // A file below experiments/ keeps its name, whichever way it was given.
        let inside = path.canonicalize().ok().zip(root.join("experiments").canonicalize().ok());
        let inside = inside.and_then(|(path, dir)| path.strip_prefix(dir).ok().map(|p| p.with_extension("")));
        let inside = inside.map(|name| name.to_string_lossy().replace('\\', "/")).filter(|name| names.contains(name));
        // A name becomes that of a directory.
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let plain = |stem: &&str| !stem.starts_with('.') && !stem.chars().any(char::is_control);
        return match inside.or_else(|| stem.filter(plain).map(str::to_owned)) {
            Some(name) => Ok((path.to_path_buf(), name)),
            None => Err(ConfigError::new("the name of this file cannot be that of a directory of runs: rename it")
                .in_file(path)),
        };
    }
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut error = ConfigError::new(format!("there is no suite `{wanted}`; there are {}", known.join(", ")));
    let stems = known.iter().map(|name| name.rsplit('/').next().unwrap_or(name));
    error.suggestion = nearest(wanted, known.iter().copied().chain(stems));
    Err(error)
}

/// Reads and checks a suite.
pub fn read(file: &Path, name: String, entries: &[Entry]) -> Result<Suite, ConfigError> {
    let source = Source::read(file)?;
    let mut table = source.table()?;
    let experiments = take_tables(&source, &mut table, "experiment")?;
    let claims = take_tables(&source, &mut table, "claim")?;
    let targets = take_tables(&source, &mut table, "target")?;
    let head: Head = source.decode(table)?;
    let fault = |message: String| ConfigError::new(message).in_file(file);
    if head.schema != SCHEMA {
        return Err(fault(format!("schema {} is not one that this program reads: use schema = {SCHEMA}", head.schema)));
    }
    check_seeds(&head.seeds).map_err(|e| e.in_file(file))?;
    if head.threads == 0 {
        return Err(fault("`threads` is 0: give at least 1".into()));
    }
    if experiments.is_empty() {
        return Err(fault("no [[experiment]]: a suite needs at least one".into()));
    }
    let experiments: Vec<SuiteExperiment> = experiments
        .into_iter()
        .map(|table| read_experiment(&source, table, &head.seeds, entries))
        .collect::<Result<_, _>>()?;
    let arms: Vec<KnownArm> = experiments
        .iter()
        .flat_map(|e| e.arms.iter().map(|arm| KnownArm { id: &arm.id, seeds: &e.seeds, plan: &arm.prepared.plan }))
        .collect();
    for (i, KnownArm { id, .. }) in arms.iter().enumerate() {
        if arms[..i].iter().any(|other| other.id == *id) {
            return Err(fault(format!("two arms have the id `{id}`: claims could not tell them apart")));
        }
    }

    let mut checked_claims = Vec::new();
    for table in claims {
        let line = source.line(table.span().start);
        let claim: Claim = source.decode(table)?;
        check_claim(&claim, &arms).map_err(|e| e.in_file(file).at_line(line))?;
        checked_claims.push(claim);
    }
    let mut checked_targets = Vec::new();
    for table in targets {
        let line = source.line(table.span().start);
        let target: Target = source.decode(table)?;
        find_metric(&target.arm, &target.metric, &arms).map_err(|e| e.in_file(file).at_line(line))?;
        if target.tolerance.is_nan() || target.tolerance <= 0.0 {
            return Err(fault("`tolerance` must be above 0".into()).at_line(line));
        }
        checked_targets.push(target);
    }
    Ok(Suite { name, head, experiments, claims: checked_claims, targets: checked_targets })
}

/// An arm as claims and targets see it.
struct KnownArm<'a> {
    id: &'a str,
    seeds: &'a [u64],
    plan: &'a Plan,
}

/// A cell's directory is named after its seed, so a seed comes once.
pub fn check_seeds(seeds: &[u64]) -> Result<(), ConfigError> {
    if seeds.is_empty() {
        return Err(ConfigError::new("`seeds` is empty: give at least one, for example seeds = [0, 1, 2]"));
    }
    match seeds.iter().enumerate().find(|(i, seed)| seeds[..*i].contains(seed)) {
        Some((_, seed)) => Err(ConfigError::new(format!("`seeds` lists {seed} twice"))),
        None => Ok(()),
    }
}

fn read_experiment(
    source: &Source,
    mut table: Table<'_>,
    seeds: &[u64],
    entries: &[Entry],
) -> Result<SuiteExperiment, ConfigError> {
    let line = source.line(table.span().start);
    let arms = take_tables(source, &mut table, "arm")?;
    let base = match table.get_mut().remove("config") {
        None => empty(),
        Some(value) => as_table(source, value, "config")?,
    };
    let head: ExperimentHead = source.decode(table)?;
    let seeds = head.seeds.unwrap_or_else(|| seeds.to_vec());
    check_seeds(&seeds).map_err(|e| e.in_file(&source.file).at_line(line))?;
    let Some(entry) = entries.iter().find(|entry| entry.name == head.name) else {
        let known: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
        let message = format!("there is no experiment `{}`; there are {}", head.name, known.join(", "));
        let suggestion = nearest(&head.name, known);
        return Err(ConfigError { suggestion, ..ConfigError::new(message) }.in_file(&source.file).at_line(line));
    };
    if arms.is_empty() {
        let message = format!("experiment `{}` has no [[experiment.arm]]", head.name);
        return Err(ConfigError::new(message).in_file(&source.file).at_line(line));
    }
    let arms = arms
        .into_iter()
        .map(|mut arm| {
            let line = source.line(arm.span().start);
            let id = match arm.get_mut().remove("id").map(Spanned::into_inner) {
                Some(DeValue::String(id)) if is_id(&id) => id.into_owned(),
                _ => {
                    let message = "an arm needs an `id` of lower-case letters, digits and hyphens";
                    return Err(ConfigError::new(message).in_file(&source.file).at_line(line));
                }
            };
            let prepared = entry
                .prepare(source, merge(&base, &arm))
                .map_err(|e| ConfigError { line: e.line.or(Some(line)), ..e.in_file(&source.file) })?;
            let read = reads(&prepared, &head.data).map_err(|why| format!("arm `{id}` of `{}` {why}", entry.name));
            read.map_err(|why| ConfigError::new(why).in_file(&source.file).at_line(line))?;
            Ok((line, SuiteArm { id, prepared }))
        })
        .collect::<Result<Vec<_>, ConfigError>>()?;
    check_columns(&arms).map_err(|(line, why)| ConfigError::new(why).in_file(&source.file).at_line(line))?;
    let arms = arms.into_iter().map(|(_, arm)| arm).collect();
    Ok(SuiteExperiment { entry: *entry, title: head.title, seeds, data: head.data, arms })
}

/// Whether the data sets that an experiment names are what an arm of it reads; what is wrong if not.
fn reads(prepared: &Prepared, names: &[String]) -> Result<(), String> {
    let Some(kind) = prepared.reads else { return Ok(()) };
    let (what, example) = match kind {
        Kind::Images => ("images", "mnist"),
        Kind::Text => ("a text", "tinyshakespeare"),
    };
    if names.is_empty() {
        return Err(format!("reads {what}: give its [[experiment]] `data`, for example data = [\"{example}\"]"));
    }
    // A name that nobody knows is refused where the sets are looked for.
    let known = names.iter().filter_map(|name| manifest::find(name).ok());
    match known.into_iter().find(|manifest| manifest.kind() != kind) {
        Some(other) => {
            Err(format!("reads {what}, and `{}` is {}: name another set in `data`", other.name, other.kind().name()))
        }
        None => Ok(()),
    }
}

/// A report has one column for a metric of all arms of an experiment: under one name they must report one quantity. The
/// line and what is wrong of the first arm that does not.
fn check_columns(arms: &[(usize, SuiteArm)]) -> Result<(), (usize, String)> {
    let mut known: Vec<(&str, &MetricInfo)> = Vec::new();
    for (line, arm) in arms {
        for info in &arm.prepared.plan.metrics {
            match known.iter().find(|(_, other)| other.name == info.name) {
                Some((id, other)) if (&other.title, &other.unit) != (&info.title, &info.unit) => {
                    let what = |info: &MetricInfo| match info.unit.as_str() {
                        "" => info.title.clone(),
                        unit => format!("{} in {unit}", info.title),
                    };
                    let (ours, theirs) = (what(info), what(other));
                    let name = &info.name;
                    return Err((
                        *line,
                        format!(
                            "`{name}` of arm `{}` is {ours}, and of arm `{id}` {theirs}: put the arms into experiments of \
                         their own",
                            arm.id
                        ),
                    ));
                }
                Some(_) => {}
                None => known.push((&arm.id, info)),
            }
        }
    }
    Ok(())
}

/// Ids become names of directories.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn take_tables<'a>(source: &Source, table: &mut Table<'a>, key: &str) -> Result<Vec<Table<'a>>, ConfigError> {
    let Some(value) = table.get_mut().remove(key) else { return Ok(Vec::new()) };
    let line = source.line(value.span().start);
    match value.into_inner() {
        DeValue::Array(items) => items.into_iter().map(|item| as_table(source, item, key)).collect(),
        _ => {
            let message = format!("`{key}` must be written as [[{key}]]");
            Err(ConfigError::new(message).in_file(&source.file).at_line(line))
        }
    }
}

fn as_table<'a>(source: &Source, value: Spanned<DeValue<'a>>, key: &str) -> Result<Table<'a>, ConfigError> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => Ok(Spanned::<DeTable<'a>>::new(span, table)),
        _ => {
            let line = source.line(span.start);
            Err(ConfigError::new(format!("`{key}` must be a table")).in_file(&source.file).at_line(line))
        }
    }
}

fn check_claim(claim: &Claim, arms: &[KnownArm]) -> Result<(), ConfigError> {
    if claim.relation != ">" && claim.relation != "<" {
        return Err(ConfigError::new(format!("relation `{}` must be \">\" or \"<\"", claim.relation)));
    }
    if claim.margin.is_nan() || claim.margin < 0.0 {
        return Err(ConfigError::new("`margin` must not be negative"));
    }
    if claim.equal_within.is_some_and(|within| !(within.is_finite() && within > 0.0)) {
        return Err(ConfigError::new("`equal_within` must be above 0: within how much the two sides count as equal"));
    }
    if claim.front.as_ref().is_some_and(|words| words.trim().is_empty()) {
        return Err(ConfigError::new("`front` is empty: say the claim in a few words, or leave it out"));
    }
    for beside in &claim.price {
        find_metric(&beside.arm, &beside.metric, arms)
            .map_err(|e| ConfigError { message: format!("`price`: {}", e.message), ..e })?;
    }
    let mut bases = Vec::new();
    for side in [&claim.left, &claim.right] {
        if let Side::Measured { arm, metric } = side {
            bases.push((metric, find_metric(arm, metric, arms)?));
        }
    }
    if let (Side::Measured { arm: left, .. }, Side::Measured { arm: right, .. }) = (&claim.left, &claim.right) {
        let seeds = |id: &str| arms.iter().find(|arm| arm.id == id).map_or(&[][..], |arm| arm.seeds);
        let sorted = |id: &str| seeds(id).iter().collect::<BTreeSet<_>>();
        if sorted(left) != sorted(right) {
            return Err(ConfigError::new(format!(
                "a claim compares arms seed by seed: `{left}` has seeds {:?} and `{right}` has seeds {:?}",
                seeds(left),
                seeds(right)
            )));
        }
    }
    match bases.as_slice() {
        [] => Err(ConfigError::new("a claim needs an arm and a metric on at least one side")),
        [(_, left), (_, right)] if left.basis != right.basis || left.unit != right.unit => {
            Err(ConfigError::new(format!(
                "the two sides cannot be compared: {} ({}) and {} ({})",
                left.name, left.basis, right.name, right.basis
            )))
        }
        _ => Ok(()),
    }
}

fn find_metric<'a>(arm: &str, metric: &str, arms: &[KnownArm<'a>]) -> Result<&'a MetricInfo, ConfigError> {
    let Some(KnownArm { plan, .. }) = arms.iter().find(|known| known.id == arm) else {
        let known: Vec<&str> = arms.iter().map(|known| known.id).collect();
        let message = format!("there is no arm `{arm}`; there are {}", known.join(", "));
        return Err(ConfigError { suggestion: nearest(arm, known), ..ConfigError::new(message) });
    };
    plan.metrics.iter().find(|info| info.name == metric).ok_or_else(|| {
        let known: Vec<&str> = plan.metrics.iter().map(|info| info.name.as_str()).collect();
        let message = format!("arm `{arm}` does not report `{metric}`; it reports {}", known.join(", "));
        ConfigError { suggestion: nearest(metric, known), ..ConfigError::new(message) }
    })
}

#[cfg(test)]
mod tests {
    use plasticity_core::config::{Checked, Invalid, Validate};
    use plasticity_core::error::RunError;
    use plasticity_core::run::record::Direction;
    use plasticity_core::run::{Experiment, Outcome, RunContext};

    use super::*;

    /// Reports one metric for every id.
    #[derive(Debug, Default, Deserialize, serde::Serialize)]
    #[serde(deny_unknown_fields, default)]
    struct Config {
        ids: Vec<String>,
        unit: String,
    }

    impl Validate for Config {
        fn validate(&self) -> Result<(), Invalid> {
            Ok(())
        }
    }

    struct Namer;

    impl Experiment for Namer {
        const NAME: &'static str = "namer";
        const ABOUT: &'static str = "a test";
        type Config = Config;

        fn describe(config: &Checked<Config>) -> Plan {
            let metric = |id: &String| MetricInfo {
                name: format!("{id}_mean"),
                title: format!("mean of {id}"),
                unit: config.unit.clone(),
                direction: Direction::Neutral,
                exact: false,
                basis: String::new(),
            };
            Plan { metrics: config.ids.iter().map(metric).collect(), steps: 1, seconds: 0.0, disk: 0 }
        }

        fn run(_: &Checked<Config>, _: &mut RunContext) -> Result<Outcome, RunError> {
            Ok(Outcome::default())
        }
    }

    fn read_text(arms: &str) -> Result<Suite, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s.toml");
        let head = "schema = 1\ntitle = \"t\"\nprofile = \"reduced\"\nseeds = [0]\n[[experiment]]\nname = \"namer\"\n";
        std::fs::write(&file, format!("{head}{arms}")).unwrap();
        read(&file, "s".into(), &[Entry::of::<Namer>()])
    }

    #[test]
    fn two_quantities_under_one_name_are_refused_with_the_arm() {
        let arm = |id: &str, more: &str| format!("[[experiment.arm]]\nid = \"{id}\"\n{more}\n");
        let suite = |more: &str| arm("a", "ids = [\"x\", \"y\"]") + &arm("b", more);
        read_text(&suite("ids = [\"y\", \"z\"]")).unwrap();
        let error = read_text(&suite("ids = [\"y\", \"z\", \"y\"]")).err().unwrap();
        assert_eq!(error.line, Some(10), "{error}");
        assert!(error.to_string().contains("s.toml:10: two metrics of this arm are both called `y_mean`"), "{error}");
        // Two arms share a column.
        let error = read_text(&suite("ids = [\"y\"]\nunit = \"s\"")).err().unwrap();
        assert!(
            error.to_string().contains("s.toml:10: `y_mean` of arm `b` is mean of y in s, and of arm `a` mean of y"),
            "{error}"
        );
    }

    #[test]
    fn a_file_has_a_name_that_a_directory_can_have() {
        let root = tempfile::tempdir().unwrap();
        let find_file = |name: &str| {
            let file = root.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            find(root.path(), file.to_str().unwrap()).map(|(_, name)| name)
        };
        assert_eq!(find_file("a demo.toml").unwrap(), "a demo");
        assert_eq!(find_file("experiments/paper/small.toml").unwrap(), "paper/small");
        // Committed results are no suites.
        assert_eq!(find_file("experiments/results/small.toml").unwrap(), "small");
        assert!(find_file("...toml").unwrap_err().to_string().contains("rename it"));
        assert!(find_file(".hidden.toml").is_err());
    }
}

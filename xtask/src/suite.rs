//! Suite files: finding, reading, and checking them against the experiments.

use std::path::{Path, PathBuf};

use plasticity_core::config::{Source, Table, empty, merge, nearest};
use plasticity_core::data::beside;
use plasticity_core::data::manifest::{self, Manifest};
use plasticity_core::error::ConfigError;
use plasticity_core::run::record::{Claim, Profile, Target};
use plasticity_core::run::{Entry, Prepared};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::check::KnownArm;

mod check;

/// The version of the suite schema that this program reads.
const SCHEMA: u64 = 1;

/// A suite whose every part has been checked.
pub struct Suite {
    /// `quick`, `hebbian-snn/pmnist`.
    pub name: String,
    pub head: Head,
    pub experiments: Vec<SuiteExperiment>,
    /// Those of this program, and those beside the suite that it names.
    pub manifests: Vec<Manifest>,
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

/// The suites below `experiments/`, by name, sorted.
pub fn all(root: &Path) -> Vec<String> {
    fn walk(dir: &Path, prefix: &str, names: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                // Committed summaries and manifests of data sets, not suites.
                if !["results", "datasets"].contains(&name.as_str()) {
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
    if path.extension().is_some_and(|ext| ext == "toml") {
        return Err(ConfigError::new("there is no such file").in_file(path));
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
    let mut manifests = manifest::built_in()?.to_vec();
    let experiments: Vec<SuiteExperiment> = experiments
        .into_iter()
        .map(|table| read_experiment(&source, table, &head.seeds, entries, &mut manifests))
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

    let sets: Vec<&str> = experiments.iter().flat_map(|e| &e.data).map(String::as_str).collect();
    let mut checked_claims = Vec::new();
    for table in claims {
        let claim: Claim = source.decode(table.clone())?;
        check::claim(&claim, &arms).and_then(|()| check::on(&claim, &sets)).map_err(|e| {
            let line = check::line(&e, &source, &table);
            e.in_file(file).at_line(line)
        })?;
        checked_claims.push(claim);
    }
    let mut checked_targets = Vec::new();
    for table in targets {
        let target: Target = source.decode(table.clone())?;
        check::target(&target, &arms).map_err(|e| {
            let line = check::line(&e, &source, &table);
            e.in_file(file).at_line(line)
        })?;
        checked_targets.push(target);
    }
    Ok(Suite { name, head, experiments, manifests, claims: checked_claims, targets: checked_targets })
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
    manifests: &mut Vec<Manifest>,
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
    let known = |name: &&str| !manifests.iter().any(|manifest| manifest.file.is_some() && manifest.name == **name);
    let own = beside(&source.file, head.data.iter().map(String::as_str).filter(known))?;
    manifests.extend(own);
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
            let read = check::reads(&prepared, &head.data, manifests)
                .map_err(|why| format!("arm `{id}` of `{}` {why}", entry.name));
            read.map_err(|why| ConfigError::new(why).in_file(&source.file).at_line(line))?;
            Ok((line, SuiteArm { id, prepared }))
        })
        .collect::<Result<Vec<_>, ConfigError>>()?;
    check::columns(&arms).map_err(|(line, why)| ConfigError::new(why).in_file(&source.file).at_line(line))?;
    let arms = arms.into_iter().map(|(_, arm)| arm).collect();
    Ok(SuiteExperiment { entry: *entry, title: head.title, seeds, data: head.data, arms })
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

#[cfg(test)]
mod tests {
    use plasticity_core::config::{Checked, Invalid, Validate};
    use plasticity_core::error::RunError;
    use plasticity_core::run::record::{Direction, MetricInfo, Plan, Speaks};
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

    /// What a claim says to a reader, and within how much its sides are equal.
    #[test]
    fn what_a_claim_says_of_its_paper_is_checked() {
        let claim = |more: &str| {
            read_text(&format!(
                "[[experiment.arm]]\nid = \"a\"\nids = [\"x\"]\n[[claim]]\ntext = \"t\"\nleft = {{ arm = \"a\", metric = \
                 \"x_mean\" }}\nrelation = \">\"\nright = 1\n{more}\n"
            ))
        };
        let suite = claim(
            "speaks = \"against\"\nequal_within = 0.5\nfront = \"x is large\"\nprice = [{ arm = \"a\", metric = \"x_mean\" }]",
        );
        let claims = suite.unwrap().claims;
        assert_eq!((claims[0].speaks, claims[0].equal_within), (Some(Speaks::Against), Some(0.5)));
        assert_eq!(claim("").unwrap().claims[0].speaks, None);
        for (more, line, said) in [
            ("speaks = \"pro\"", 15, "unknown value `pro`; known are for, against, control"),
            ("equal_within = 0", 15, "`equal_within` must be above 0"),
            ("equal_within = -0.1", 15, "`equal_within` must be above 0"),
            ("front = \" \"", 15, "`front` is empty"),
            ("front = \"a | b\"", 15, "`front` stands in a table"),
            ("on = [\"mnits\"]", 15, "`on`: no experiment of the suite runs on `mnits`"),
            ("price = [{ arm = \"b\", metric = \"x_mean\" }]", 15, "`price`: there is no arm `b`; there are a"),
            ("price = [{ arm = \"a\", metric = \"x_men\" }]", 15, "did you mean `x_mean`?"),
        ] {
            let error = claim(more).err().unwrap();
            let text = error.to_string();
            assert!(text.contains(&format!("s.toml:{line}: ")) && text.contains(said), "{more}: {text}");
        }
        assert!(claim("equal_within = inf").is_err() && claim("equal_within = nan").is_err());
    }

    /// A reader must not have to guess whether a tick is one for the paper.
    #[test]
    fn every_claim_of_the_projects_suites_says_what_it_speaks_for() {
        let root = crate::root::workspace();
        let mut seen = 0;
        for name in all(&root) {
            let (file, name) = find(&root, &name).unwrap();
            for claim in read(&file, name, &crate::registry::entries()).unwrap().claims {
                assert!(claim.speaks.is_some(), "{}: `{}` does not say `speaks`", file.display(), claim.text);
                seen += 1;
            }
        }
        assert!(seen > 50, "only {seen} claims");
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
        let missing = find(root.path(), "nowhere/demo.toml").unwrap_err().to_string();
        assert_eq!(missing, "nowhere/demo.toml: there is no such file");
    }
}

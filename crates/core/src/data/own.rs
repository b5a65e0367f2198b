//! Manifests of a user's own, beside what names them.

use std::path::Path;

use super::manifest::{Manifest, is_file_name, names};
use crate::error::ConfigError;

/// The folder beside a suite that holds manifests, and the files of their sets in a folder each.
const FOLDER: &str = "datasets";

/// The manifests of the data sets of these names that lie beside a file: `datasets/<name>.toml` in its folder, for
/// every name that this program does not know. A name without such a file is left out.
///
/// # Errors
/// When one cannot be used: it is no manifest, it says another name than its file has, or it takes the name of a set
/// that this program knows.
pub fn beside<'a>(file: &Path, wanted: impl IntoIterator<Item = &'a str>) -> Result<Vec<Manifest>, ConfigError> {
    let dir = file.parent().unwrap_or(Path::new("")).join(FOLDER);
    let mut found: Vec<Manifest> = Vec::new();
    for name in wanted.into_iter().filter(|name| is_file_name(name)) {
        let path = dir.join(format!("{name}.toml"));
        if found.iter().any(|manifest| manifest.name == name) || !path.is_file() {
            continue;
        }
        if names().any(|known| known == name) {
            let what =
                format!("`{name}` is a set that this program knows: give yours another name, in it and in the suite");
            return Err(ConfigError::new(what).in_file(&path));
        }
        let manifest = Manifest::read(&path)?;
        if manifest.name != name {
            let what = format!("name: is `{}`, and the file is {name}.toml: they must be the same", manifest.name);
            return Err(ConfigError::new(what).in_file(&path));
        }
        found.push(manifest);
    }
    Ok(found)
}

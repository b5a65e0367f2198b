//! Where the workspace and its runs are.

use std::path::{Path, PathBuf};

/// The root of the workspace: above the manifest that cargo names, else above the
/// current directory, else where this program was built.
pub fn workspace() -> PathBuf {
    let from_cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = std::env::current_dir().ok();
    for start in from_cargo.into_iter().chain(here) {
        if let Some(root) = start.ancestors().find(|dir| dir.join("experiments").is_dir() && dir.join("xtask").is_dir())
        {
            return root.to_path_buf();
        }
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// `path` as a person would type it: relative to the current directory where that is shorter.
pub fn display(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(relative) if relative.as_os_str().is_empty() => ".".into(),
        Ok(relative) => relative.display().to_string(),
        Err(_) => path.display().to_string(),
    }
}

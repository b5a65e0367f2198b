//! Which files of the workspace decide what a crate computes: its manifest, its sources, what these compile in from
//! elsewhere, and the same of the crates that it is built on. What cannot be told is an error of the build, so that
//! nothing that decides a result is left out of a cell's key in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::lexer::{Token, tokens};

/// A crate of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crate {
    /// Name of its folder below `crates/`.
    pub folder: String,
    /// Every file that decides what it computes, relative to the root, sorted.
    pub files: BTreeSet<PathBuf>,
    /// The folders of all crates of the workspace that it is built on, itself among them.
    pub needs: BTreeSet<String>,
}

/// The crates below `root/crates`, by the names of their folders.
pub fn crates(root: &Path) -> Result<Vec<Crate>, String> {
    let dir = root.join("crates");
    let mut folders = Vec::new();
    for entry in fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?.flatten() {
        if entry.path().join("Cargo.toml").is_file() {
            folders.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    folders.sort();
    let manifests: Vec<Manifest> =
        folders.iter().map(|folder| Manifest::read(&dir.join(folder).join("Cargo.toml"))).collect::<Result<_, _>>()?;
    let of_package: BTreeMap<&str, &str> =
        folders.iter().zip(&manifests).map(|(folder, m)| (m.package.as_str(), folder.as_str())).collect();
    check_lock(root, &of_package)?;
    let direct: BTreeMap<&str, Vec<&str>> = folders
        .iter()
        .zip(&manifests)
        .map(|(folder, m)| {
            let needs = m.dependencies.iter().filter_map(|name| of_package.get(name.as_str()).copied());
            (folder.as_str(), needs.collect())
        })
        .collect();
    folders
        .iter()
        .map(|folder| {
            let mut needs = BTreeSet::new();
            let mut open = vec![folder.as_str()];
            while let Some(next) = open.pop() {
                if needs.insert(next.to_owned()) {
                    open.extend(&direct[next]);
                }
            }
            Ok(Crate { folder: folder.clone(), files: files(root, &dir.join(folder))?, needs })
        })
        .collect()
}

/// What Cargo looks at to tell whether the hashes may have changed: the folder of each crate, since a file that is not
/// there yet, such as a build script, can be seen there alone; and what lies elsewhere.
pub fn watched(crates: &[Crate]) -> BTreeSet<PathBuf> {
    let folder = |one: &Crate| Path::new("crates").join(&one.folder);
    let elsewhere = |one: &Crate| one.files.iter().filter(|file| !file.starts_with(folder(one))).cloned().collect();
    crates.iter().flat_map(|one| -> Vec<PathBuf> { [vec![folder(one)], elsewhere(one)].concat() }).collect()
}

/// The files that decide how all crates are compiled, relative to `root`.
pub fn workspace(root: &Path) -> BTreeSet<PathBuf> {
    // The last one sets features of shared dependencies for all of them.
    let configuration = [".cargo/config.toml", ".cargo/config", "crates/unify/Cargo.toml"].map(PathBuf::from);
    let there = configuration.into_iter().filter(|file| root.join(file).is_file());
    there.chain([PathBuf::from("Cargo.toml")]).collect()
}

/// SHA-256 over names and contents of some files below `root`.
pub fn hash(root: &Path, files: &BTreeSet<PathBuf>) -> Result<String, String> {
    let mut hash = Sha256::new();
    for file in files {
        let name = file.to_string_lossy().replace('\\', "/");
        let content = fs::read(root.join(file)).map_err(|e| format!("{}: {e}", file.display()))?;
        for part in [name.as_bytes(), &content] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(hex(&hash.finalize()))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is read of a crate's manifest.
struct Manifest {
    package: String,
    /// Packages that it is built on, by their own names; not those of its tests.
    dependencies: Vec<String>,
}

impl Manifest {
    fn read(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let (mut package, mut dependencies, mut section) = (None, Vec::new(), String::new());
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some(header) = line.strip_prefix('[') {
                section = header.trim_end_matches(']').to_owned();
                // [dependencies.NAME]
                if let Some((table, name)) = section.rsplit_once('.')
                    && is_dependencies(table)
                {
                    dependencies.push(unquoted(name));
                }
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            match (section.as_str(), key.trim()) {
                ("package", "name") => package = Some(unquoted(value)),
                // Sources in a place where they are not looked for.
                ("package", "build") if unquoted(value) != "build.rs" => {
                    return Err(format!("{}: a build script has the name build.rs", file.display()));
                }
                ("lib", "path") if !unquoted(value).starts_with("src/") => {
                    return Err(format!("{}: a library lies in src/", file.display()));
                }
                _ => {}
            }
            if is_dependencies(&section) {
                dependencies.push(unquoted(key.split('.').next().unwrap_or(key)));
            }
            // A dependency under a name of our own.
            if section.contains("dependencies")
                && let Some((_, renamed)) = line.split_once("package")
                && let Some(name) = renamed.split('"').nth(1)
            {
                dependencies.push(name.to_owned());
            }
        }
        let package = package.ok_or_else(|| format!("{}: no name in [package]", file.display()))?;
        Ok(Self { package, dependencies })
    }
}

fn is_dependencies(section: &str) -> bool {
    let last = section.rsplit('.').next().unwrap_or(section);
    matches!(last, "dependencies" | "build-dependencies")
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}

/// A package without a source is one of a path: if it is not ours, nothing would notice its changes.
fn check_lock(root: &Path, of_package: &BTreeMap<&str, &str>) -> Result<(), String> {
    let Ok(text) = fs::read_to_string(root.join("Cargo.lock")) else { return Ok(()) };
    for package in text.split("[[package]]").skip(1).filter(|package| !package.contains("\nsource = ")) {
        let name = package.split('"').nth(1).unwrap_or_default();
        if name != "xtask" && !of_package.contains_key(name) {
            return Err(format!(
                "package `{name}` is not below crates/ and has no checksum: no cell's key would hold it"
            ));
        }
    }
    Ok(())
}

/// The files of one crate, relative to `root`.
fn files(root: &Path, dir: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let mut open = Vec::new();
    collect(&dir.join("src"), &mut open)?;
    open.push(dir.join("Cargo.toml"));
    open.extend(Some(dir.join("build.rs")).filter(|file| file.is_file()));
    let mut found = BTreeSet::new();
    while let Some(file) = open.pop() {
        let relative = file.strip_prefix(root).map_err(|_| format!("{} lies outside the workspace", file.display()))?;
        if found.insert(relative.to_path_buf()) && file.extension().is_some_and(|ext| ext == "rs") {
            let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            let module =
                |t: &[Token]| matches!(t, [Token::Word(word), Token::Word(_), Token::Mark(';')] if word == "mod");
            if file == dir.join("build.rs") && tokens(&text).windows(3).any(module) {
                return Err(format!("{}: a build script is one file", file.display()));
            }
            open.extend(compiled_in(&text, &file, dir)?);
        }
    }
    Ok(found)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    for entry in fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?.flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// The files that a source names: `include_str!`, `include_bytes!`, `include!`, `#[path]`.
///
/// # Errors
/// For a file that is not there or whose name only the compiler could work out, and for `env!` of a variable that is
/// not Cargo's own.
pub fn compiled_in(text: &str, file: &Path, package: &Path) -> Result<Vec<PathBuf>, String> {
    let tokens = tokens(text);
    let fault = |what: &str| Err(format!("{}: {what}", file.display()));
    let mut found = Vec::new();
    for i in 0..tokens.len() {
        let rest = &tokens[i + 1..];
        match &tokens[i] {
            Token::Word(name) if matches!(name.as_str(), "include_str" | "include_bytes" | "include") => {
                let [Token::Mark('!'), Token::Mark('(' | '[' | '{'), arguments @ ..] = rest else { continue };
                match named(arguments, package) {
                    Some(Named::File(name)) => found.push((file.with_file_name(""), name)),
                    // What a build script writes follows from the build script.
                    Some(Named::Generated) => {}
                    None => return fault(&format!("{name}! of a name that is not written out: no key would hold it")),
                }
            }
            Token::Word(name) if matches!(name.as_str(), "env" | "option_env") => {
                let [Token::Mark('!'), Token::Mark(_), Token::Text(variable), ..] = rest else { continue };
                if !variable.starts_with("CARGO_") && variable != "OUT_DIR" {
                    return fault(&format!("{name}!(\"{variable}\"): no key would hold what this variable says"));
                }
            }
            Token::Word(name) if name == "path" && i > 0 && matches!(tokens[i - 1], Token::Mark('[' | ',' | '(')) => {
                let [Token::Mark('='), Token::Text(path), Token::Mark(']' | ')'), ..] = rest else { continue };
                found.push((file.with_file_name(""), path.into()));
            }
            _ => {}
        }
    }
    let resolved = found.into_iter().map(|(base, name)| {
        let path = plain(&base.join(&name));
        if path.is_file() { Ok(path) } else { Err(format!("{}: there is no {}", file.display(), name.display())) }
    });
    resolved.collect()
}

/// What a macro names.
enum Named {
    File(PathBuf),
    Generated,
}

/// The argument of an `include_*!`: a text, or Cargo's folder and a text joined.
fn named(arguments: &[Token], package: &Path) -> Option<Named> {
    match arguments {
        [Token::Text(name), Token::Mark(')' | ']' | '}' | ','), ..] => Some(Named::File(name.into())),
        [
            Token::Word(concat),
            Token::Mark('!'),
            Token::Mark('('),
            Token::Word(env),
            Token::Mark('!'),
            Token::Mark('('),
            Token::Text(variable),
            Token::Mark(')'),
            Token::Mark(','),
            Token::Text(name),
            Token::Mark(')' | ','),
            ..,
        ] if concat == "concat" && env == "env" => match variable.as_str() {
            "OUT_DIR" => Some(Named::Generated),
            "CARGO_MANIFEST_DIR" => Some(Named::File(package.join(name.trim_start_matches('/')))),
            _ => None,
        },
        _ => None,
    }
}

/// A path without `..`, by its letters alone.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

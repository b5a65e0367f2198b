//! Where data sets are looked for, and what is found there.

use std::fmt;
use std::path::{Path, PathBuf};

use super::images::Split;
use super::load::load_from;
use super::manifest::{self, Kind, Manifest, Variant};
use super::resolved::{Place, Resolved};
use super::text::load_text_from;
use super::verify::Folder;
use super::{fetch, verify};
use crate::error::{ConfigError, DataError, Owner};

/// The places where data sets are looked for, in this order: a folder named on the
/// command line, the folder of `PLASTICITY_DATA`, the user's cache, the network. Each
/// folder holds one folder per set: `<root>/mnist/train-images-idx3-ubyte.gz`,
/// `<root>/text/tinyshakespeare/input.txt.gz`. A set of one's own is looked for beside its
/// manifest too, before the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lookup {
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `PLASTICITY_DATA`.
    pub env_dir: Option<PathBuf>,
    /// Where downloads are kept.
    pub cache_dir: Option<PathBuf>,
    /// Nothing is downloaded.
    pub offline: bool,
}

impl Lookup {
    /// The places of this user: `--data-dir` and `--offline` as given, `PLASTICITY_DATA`
    /// from the environment, `plasticity/datasets` in the user's cache directory.
    pub fn from_env(data_dir: Option<PathBuf>, offline: bool) -> Self {
        // A cell's process may have another working directory than the one that planned.
        let absolute = |dir: PathBuf| std::path::absolute(&dir).unwrap_or(dir);
        let env_dir = std::env::var_os("PLASTICITY_DATA").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        Self {
            data_dir: data_dir.map(absolute),
            env_dir: env_dir.map(absolute),
            cache_dir: dirs::cache_dir().map(|dir| dir.join("plasticity").join("datasets")),
            offline,
        }
    }

    /// The folders to look in.
    fn roots(&self) -> impl Iterator<Item = (Source, &PathBuf)> {
        [(Source::DataDir, &self.data_dir), (Source::Environment, &self.env_dir), (Source::Cache, &self.cache_dir)]
            .into_iter()
            .filter_map(|(source, root)| Some((source, root.as_ref()?)))
    }
}

/// Which of the places a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `--data-dir`.
    DataDir,
    /// `PLASTICITY_DATA`.
    Environment,
    /// Beside the manifest of a set of one's own, or where that says.
    Manifest,
    /// The user's cache.
    Cache,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::DataDir => "--data-dir",
            Source::Environment => "PLASTICITY_DATA",
            Source::Manifest => "its manifest",
            Source::Cache => "cache",
        })
    }
}

/// Where one variant of a data set is.
#[derive(Debug)]
pub struct Location {
    /// Name of the variant.
    pub variant: String,
    /// It is the published data, byte for byte.
    pub exact: bool,
    /// Bytes of its files as stored.
    pub bytes: u64,
    /// What was found.
    pub status: Status,
}

/// What was found of a variant.
#[derive(Debug)]
pub enum Status {
    /// Nothing to look for: it is generated.
    BuiltIn,
    /// Complete and verified in this folder.
    Found(Source, PathBuf),
    /// There, and not usable.
    Damaged(DataError),
    /// Not on this machine.
    Missing,
}

/// Finds the first of the named data sets that can be had, and says why those before it
/// were passed over (name and reason). Every file of the set is verified; a set that is
/// in none of the folders is downloaded, unless `lookup` says offline.
///
/// A folder that the user named and that is not there, or that holds a wrong or an
/// incomplete set, is an error, whatever comes after it in the list: nobody means that.
/// A wrong file in the cache is downloaded again.
///
/// # Errors
/// For an unknown name, a fault in a folder that the user named, or when none of the sets can
/// be had.
pub fn resolve(names: &[String], lookup: &Lookup) -> Result<(Resolved, Vec<(String, String)>), DataError> {
    resolve_among(manifest::built_in()?, names, lookup)
}

/// Like [`resolve`], with other manifests than the built-in ones.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_among(
    manifests: &[Manifest],
    names: &[String],
    lookup: &Lookup,
) -> Result<(Resolved, Vec<(String, String)>), DataError> {
    // A misspelt name is an error even where an earlier candidate would do.
    let candidates = names.iter().map(|name| manifest::find_among(manifests, name)).collect::<Result<Vec<_>, _>>()?;
    let (mut passed_over, mut reasons) = (Vec::new(), Vec::new());
    for candidate in &candidates {
        match resolve_one(candidate, lookup) {
            Ok(resolved) => return Ok((resolved, passed_over)),
            Err(
                e @ (DataError::Download { .. }
                | DataError::Offline { .. }
                | DataError::NoFiles { .. }
                | DataError::Packaged { .. }),
            ) if candidates.len() > 1 => {
                // In a plan how often it was tried is enough; an error says where.
                let short = match &e {
                    DataError::Download { file, tried } => {
                        format!("{file} could not be downloaded ({} addresses tried)", tried.len())
                    }
                    other => other.to_string(),
                };
                passed_over.push((candidate.name.clone(), short));
                reasons.push((candidate.name.clone(), e.to_string()));
            }
            Err(e) => return Err(e),
        }
    }
    if reasons.is_empty() {
        return Err(ConfigError::new("data: no data set is named").into());
    }
    Err(DataError::Unresolved(reasons))
}

fn resolve_one(manifest: &Manifest, lookup: &Lookup) -> Result<Resolved, DataError> {
    for variant in &manifest.variants {
        match find(manifest, variant, lookup)? {
            Status::BuiltIn => return Ok(resolved(manifest, variant, Place::BuiltIn)),
            Status::Found(_, dir) => {
                let set = resolved(manifest, variant, Place::Dir(dir));
                check_own(manifest, &set)?;
                return Ok(set);
            }
            Status::Damaged(error) if lookup.offline => return Err(error),
            Status::Damaged(_) | Status::Missing => {}
        }
    }
    let served = |variant: &&Variant| !variant.mirrors.is_empty() || !variant.raw_mirrors.is_empty();
    if let (Some(file), Some(folder)) = (&manifest.file, manifest.own_folder())
        && (lookup.offline || !manifest.variants.iter().any(|variant| served(&variant) || variant.package.is_some()))
    {
        return Err(DataError::NoFiles { name: manifest.name.clone(), file: file.clone(), folder });
    }
    if lookup.offline {
        return Err(DataError::Offline { name: manifest.name.clone(), folder: manifest.folder().into() });
    }
    if let Some(package) = manifest.variants.iter().find_map(|variant| variant.package.as_ref()) {
        return Err(DataError::Packaged { name: manifest.name.clone(), package: package.to_string() });
    }
    let refused =
        |why: &str| DataError::Download { file: manifest.name.clone(), tried: vec![("no mirror".into(), why.into())] };
    let variant = manifest.variants.iter().find(served);
    let variant = variant.ok_or_else(|| refused("the manifest names none"))?;
    let cache = lookup.cache_dir.as_ref().ok_or_else(|| refused("this user has no cache directory"))?;
    let dir = cache.join(manifest.folder());
    fetch::variant(variant, &dir)?;
    Ok(resolved(manifest, variant, Place::Dir(dir)))
}

/// What a manifest of one's own says of its files, which nobody has checked, is held against them while there is
/// somebody to mend it.
fn check_own(manifest: &Manifest, set: &Resolved) -> Result<(), DataError> {
    let Some(manifest_file) = &manifest.file else { return Ok(()) };
    let read = |split| match manifest.kind() {
        Kind::Images => load_from(manifest, set, split, None).map(drop),
        Kind::Text => load_text_from(manifest, set, split).map(drop),
        // Whoever loads it reads it.
        Kind::Model => Ok(()),
    };
    [Split::Train, Split::Test].into_iter().try_for_each(read).map_err(|error| match error {
        DataError::Malformed { file, what, offset } => {
            let what = format!("not as {} says it: {what}", manifest_file.display());
            DataError::Malformed { file, what, offset }
        }
        other => other,
    })
}

fn resolved(manifest: &Manifest, variant: &Variant, place: Place) -> Resolved {
    Resolved {
        name: manifest.name.clone(),
        variant: variant.name.clone(),
        exact: variant.exact,
        place,
        sha256: variant.digest(),
        manifest: (!manifest::is_built_in(manifest)).then(|| Box::new(manifest.clone())),
    }
}

/// Looks through the folders. A fault in a folder that the user named is an error, one
/// in the cache is `Damaged`, since it can be mended.
fn find(manifest: &Manifest, variant: &Variant, lookup: &Lookup) -> Result<Status, DataError> {
    if variant.generator.is_some() {
        return Ok(Status::BuiltIn);
    }
    let mut places = Vec::new();
    for (source, root) in lookup.roots().filter(|(source, _)| *source != Source::Cache) {
        check_root(manifest, variant, source, root)?;
        places.push((source, root.join(manifest.folder())));
    }
    places.extend(manifest.own_folder().map(|dir| (Source::Manifest, dir)));
    places.extend(lookup.cache_dir.as_ref().map(|root| (Source::Cache, root.join(manifest.folder()))));
    for (source, dir) in places {
        let owner = match (source, &manifest.file) {
            (Source::Cache, _) => Owner::Cache,
            (_, Some(_)) => Owner::Own,
            (_, None) => Owner::User,
        };
        match verify::folder(variant, &dir, owner) {
            Ok(Folder::Complete) => return Ok(Status::Found(source, dir)),
            Ok(Folder::Incomplete(missing)) if source != Source::Cache => {
                return Err(DataError::Incomplete { dir, missing });
            }
            Ok(Folder::Incomplete(_) | Folder::Absent) => {}
            Err(error) if source == Source::Cache => return Ok(Status::Damaged(error)),
            Err(error) => return Err(error),
        }
    }
    Ok(Status::Missing)
}

/// A folder that the user named is there, and is the one that holds the folders of the sets and
/// not one of these or one between them.
fn check_root(manifest: &Manifest, variant: &Variant, source: Source, root: &Path) -> Result<(), DataError> {
    if let Err(e) = std::fs::read_dir(root) {
        return Err(DataError::Root { dir: root.to_path_buf(), by: source.to_string(), why: e.to_string() });
    }
    let holds = |dir: &Path| -> Result<bool, DataError> {
        for entry in &variant.files {
            if verify::stored(entry, dir)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    if holds(&root.join(manifest.folder()))? {
        return Ok(());
    }
    // `text/tinyshakespeare` may be cut off behind each of its names.
    let parts: Vec<&str> = manifest.folder().split('/').collect();
    for cut in 1..=parts.len() {
        let (above, below) = (parts[..cut].join("/"), parts[cut..].join("/"));
        if root.ends_with(&above) && holds(&root.join(below))? {
            let parent = root.ancestors().nth(cut).unwrap_or(root).to_path_buf();
            let (dir, by) = (root.to_path_buf(), source.to_string());
            return Err(DataError::Inside { dir, by, name: manifest.name.clone(), parent });
        }
    }
    Ok(())
}

/// Where a data set is, without downloading anything: the place that [`resolve`] would
/// take, `None` if it is not on this machine.
///
/// # Errors
/// For an unknown name, and where what is there is wrong.
pub fn locate(name: &str, lookup: &Lookup) -> Result<Option<Place>, DataError> {
    let mut damage = None;
    for location in locations(manifest::built_in()?, name, lookup)? {
        match location.status {
            Status::BuiltIn => return Ok(Some(Place::BuiltIn)),
            Status::Found(_, dir) => return Ok(Some(Place::Dir(dir))),
            Status::Damaged(error) => damage = damage.or(Some(error)),
            Status::Missing => {}
        }
    }
    damage.map_or(Ok(None), Err)
}

/// Where each variant of a data set is, without downloading anything.
///
/// # Errors
/// For an unknown name only: faults in folders are a status.
pub fn locations(manifests: &[Manifest], name: &str, lookup: &Lookup) -> Result<Vec<Location>, DataError> {
    let manifest = manifest::find_among(manifests, name)?;
    let location = |variant: &Variant| Location {
        variant: variant.name.clone(),
        exact: variant.exact,
        bytes: variant.bytes(),
        status: find(manifest, variant, lookup).unwrap_or_else(Status::Damaged),
    };
    Ok(manifest.variants.iter().map(location).collect())
}

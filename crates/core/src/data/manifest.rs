//! What is known about each data set: this crate's `datasets/*.toml`, built into the program, and manifests of a
//! user's own.

use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::glyphs;
use super::images::Split;
use super::package::Package;
use super::resolved::{Resolved, hex};
use crate::error::{ConfigError, DataError};

pub use super::entry::{FileEntry, Kind, Role};

/// A data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name in suites and folders (`mnist`).
    pub name: String,
    /// Name for people.
    pub title: String,
    /// Licence of the data.
    pub licence: String,
    /// What to cite.
    pub citation: String,
    /// Channels, height, width; none for a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<[usize; 3]>,
    /// Number of classes; none for a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Its folder inside a root (`text/tinyshakespeare`), where that is not the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The folder that holds the files themselves, seen from the manifest's: for a set of one's own that lies below no
    /// root. None: the folder of its name beside the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The file that it was read from; none for one that is built in.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// Forms in which the set comes, the preferred one first.
    #[serde(rename = "variant")]
    pub variants: Vec<Variant>,
}

/// One form of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name (`official`).
    pub name: String,
    /// It is the published data, byte for byte.
    pub exact: bool,
    /// Number of training images; of a text, its first characters; 0 for a model.
    #[serde(default)]
    pub train: usize,
    /// Number of test images; of a text, its last characters; 0 for a model.
    #[serde(default)]
    pub test: usize,
    /// Addresses of folders that hold the files, in the order in which they are tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// Addresses of folders that hold the files decompressed; tried after `mirrors`.
    #[serde(default, rename = "raw-mirrors", skip_serializing_if = "Vec::is_empty")]
    pub raw_mirrors: Vec<String>,
    /// The Python package that holds the files, for what no address serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
    /// What makes the images, for a generated set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<Generator>,
    /// The generator's seed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seed: u64,
    /// The files; none for a generated set.
    #[serde(default, rename = "file", skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileEntry>,
}

/// The generators that this program holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// [`glyphs`].
    Glyphs,
}

impl Generator {
    /// What it makes.
    pub fn kind(self) -> Kind {
        match self {
            Generator::Glyphs => Kind::Images,
        }
    }
}

impl Variant {
    /// The file of a role.
    pub fn file(&self, role: Role) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.role == role)
    }

    /// Number of images, or characters, of a split.
    pub fn count(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train,
            Split::Test => self.test,
        }
    }

    /// Bytes of all its files as stored; 0 for a generated set.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// What it consists of.
    pub fn kind(&self) -> Kind {
        match (self.file(Role::Text), self.file(Role::Model)) {
            (Some(_), _) => Kind::Text,
            (None, Some(_)) => Kind::Model,
            (None, None) => Kind::Images,
        }
    }

    /// Digest over the content of all its files, whatever they are compressed with, and
    /// for a text over its splits, which no file holds; for a generated set over the
    /// generator and its parameters. 64 hex digits.
    pub fn digest(&self) -> String {
        match self.generator {
            Some(Generator::Glyphs) => glyphs::digest(self.seed, self.train, self.test),
            None => {
                let mut hash = Sha256::new();
                for role in self.kind().roles() {
                    let content = self.file(*role).map_or("", |file| &file.raw_sha256);
                    hash.update(format!("{role:?} {content}\n"));
                }
                if self.kind() == Kind::Text {
                    hash.update(format!("train {} test {}\n", self.train, self.test));
                }
                hex(&hash.finalize())
            }
        }
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Manifest {
    /// Reads and checks the manifest of a set of one's own. Its files are looked for beside it as well.
    ///
    /// # Errors
    /// When it cannot be read, is no manifest, or takes the name of a set that this crate knows.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|e| ConfigError::new(e.to_string()).in_file(file))?;
        let manifest = Self::parse(&text, file).map_err(|mut error| {
            if error.message.contains("missing field") {
                error.message += "; `cargo xtask data manifest FOLDER` prints a whole manifest from the files";
            }
            error
        })?;
        if names().any(|name| name == manifest.name) {
            let what = format!("name: `{}` is a set that this program knows: give yours another name", manifest.name);
            return Err(ConfigError::new(what).in_file(file));
        }
        // A cell's process may have another working directory than the one that planned.
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
        Ok(Self { file: Some(file), ..manifest })
    }

    /// The folder beside the manifest, or the one that its `path` says, where its files are looked for after the roots.
    pub(super) fn own_folder(&self) -> Option<PathBuf> {
        let beside = self.file.as_deref()?.parent()?;
        Some(beside.join(self.path.as_deref().unwrap_or(Path::new(self.folder()))))
    }

    /// Reads and checks a manifest; `file` is for error messages.
    ///
    /// # Errors
    /// When it is none; the error names the line or the key.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let manifest: Manifest = toml::from_str(text).map_err(|e| {
            let error = ConfigError::new(e.message()).in_file(file);
            match e.span() {
                Some(span) => error.at_line(text[..span.start].matches('\n').count() + 1),
                None => error,
            }
        })?;
        manifest.check().map_err(|message| ConfigError::new(message).in_file(file))?;
        Ok(manifest)
    }

    /// The variant of that name.
    pub fn variant(&self, name: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// What it consists of.
    pub fn kind(&self) -> Kind {
        match self.variants.first().map(Variant::kind) {
            _ if self.shape.is_some() => Kind::Images,
            Some(Kind::Model) => Kind::Model,
            _ => Kind::Text,
        }
    }

    /// Its folder inside a root.
    pub fn folder(&self) -> &str {
        self.folder.as_deref().unwrap_or(&self.name)
    }

    /// The variant that a plan resolved.
    pub(super) fn planned(&self, resolved: &Resolved) -> Result<&Variant, DataError> {
        let variant = self.variant(&resolved.variant).ok_or_else(|| {
            ConfigError::new(format!("data set `{}` has no variant named `{}`", self.name, resolved.variant))
        })?;
        let (name, found, planned) = (&self.name, variant.digest(), &resolved.sha256);
        if found != *planned {
            let message = format!("is not the one that was planned: its digest is {found}, the plan says {planned}");
            return Err(ConfigError::new(format!("data set `{name}` {message}")).into());
        }
        Ok(variant)
    }

    /// The set was asked for something else than it consists of.
    pub(super) fn is_not(&self, asked: Kind) -> DataError {
        DataError::Kind { name: self.name.clone(), found: self.kind().name(), asked: asked.name() }
    }

    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), String> {
        if !is_file_name(&self.name) {
            return Err(format!("name: `{}` cannot be a folder's name", self.name));
        }
        if !self.folder().split('/').all(is_file_name) {
            return Err(format!("folder: `{}` must be names of folders with / between them", self.folder()));
        }
        match (self.shape, self.classes) {
            (None, None) => {}
            (Some(shape), Some(1..=256)) if !shape.contains(&0) => {}
            (Some(_), Some(_)) => return Err("shape and classes must be above 0, and classes at most 256".into()),
            _ => return Err("shape and classes: images have both, a text and a model have neither".into()),
        }
        if self.variants.is_empty() {
            return Err("variant: there is none".into());
        }
        for variant in &self.variants {
            variant.check(self.kind()).map_err(|what| format!("variant `{}`: {what}", variant.name))?;
        }
        Ok(())
    }
}

impl Variant {
    fn check(&self, kind: Kind) -> Result<(), String> {
        match (kind.unit(), self.train, self.test) {
            (Some(_), 0, _) | (Some(_), _, 0) => return Err("train and test must be above 0".into()),
            (None, 0, 0) | (Some(_), ..) => {}
            (None, ..) => return Err("train and test: there is nothing to count in a model".into()),
        }
        if let Some(generator) = self.generator {
            if generator.kind() != kind {
                let (makes, wanted) = (generator.kind().name(), kind.name());
                return Err(format!("the generator makes {makes}, the manifest describes {wanted}"));
            }
            let bare = self.files.is_empty() && self.mirrors.is_empty() && self.raw_mirrors.is_empty();
            let bare = bare && self.package.is_none();
            return if bare { Ok(()) } else { Err("a generated set has neither files nor mirrors".into()) };
        }
        let roles = kind.roles();
        if self.files.len() != roles.len() || roles.iter().any(|role| self.file(*role).is_none()) {
            return Err(match kind {
                Kind::Images => "there must be one file for each role of images".into(),
                Kind::Text => "a text (there is no shape) has one file, of role text".into(),
                Kind::Model => "a model has one file, of role model".into(),
            });
        }
        if let Some(package) = &self.package {
            package.check()?;
        }
        if let Some(url) = self.mirrors.iter().chain(&self.raw_mirrors).find(|url| !is_folder_url(url)) {
            return Err(format!("mirrors: `{url}` must start with http:// or https:// and end with /"));
        }
        for file in &self.files {
            if !is_file_name(&file.name) {
                return Err(format!("file: `{}` is not the name of a file", file.name));
            }
            if [file.bytes, file.raw_bytes].iter().any(|bytes| !(1..=MOST_BYTES).contains(bytes)) {
                return Err(format!("{}: bytes and raw-bytes must be above 0 and at most {MOST_BYTES}", file.name));
            }
            if !is_sha256(&file.sha256) || !is_sha256(&file.raw_sha256) {
                return Err(format!("{}: a sha256 has 64 lower-case hex digits", file.name));
            }
        }
        Ok(())
    }
}

/// A file of a data set has no more bytes than this.
pub(super) const MOST_BYTES: u64 = 1 << 40;

pub(super) fn is_file_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name)
}

fn is_folder_url(url: &str) -> bool {
    (url.starts_with("http://") || url.starts_with("https://")) && url.ends_with('/')
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Name and text of each built-in manifest.
const BUILT_IN: [(&str, &str); 5] = [
    ("fashion-mnist", include_str!("../../datasets/fashion-mnist.toml")),
    ("glyphs", include_str!("../../datasets/glyphs.toml")),
    ("mnist", include_str!("../../datasets/mnist.toml")),
    ("smollm2-135m", include_str!("../../datasets/smollm2-135m.toml")),
    ("tinyshakespeare", include_str!("../../datasets/tinyshakespeare.toml")),
];

/// The names of the built-in data sets.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.into_iter().map(|(name, _)| name)
}

/// The manifests that are built into the program, by name.
///
/// # Errors
/// When one of them is not a manifest.
pub fn built_in() -> Result<&'static [Manifest], ConfigError> {
    static MANIFESTS: OnceLock<Result<Vec<Manifest>, ConfigError>> = OnceLock::new();
    let parse = |(name, text)| Manifest::parse(text, Path::new(&format!("datasets/{name}.toml")));
    MANIFESTS.get_or_init(|| BUILT_IN.into_iter().map(parse).collect()).as_deref().map_err(ConfigError::clone)
}

/// Whether it is one of those, and not another of the same name.
pub(super) fn is_built_in(manifest: &Manifest) -> bool {
    built_in().is_ok_and(|known| known.contains(manifest))
}

/// The built-in manifest of that name.
///
/// # Errors
/// When there is none; the error suggests the most similar name.
pub fn find(name: &str) -> Result<&'static Manifest, DataError> {
    find_among(built_in()?, name)
}

/// The manifest of that name.
pub(super) fn find_among<'a>(manifests: &'a [Manifest], name: &str) -> Result<&'a Manifest, DataError> {
    manifests.iter().find(|manifest| manifest.name == name).ok_or_else(|| {
        let likeness = |manifest: &&Manifest| (strsim::jaro_winkler(&manifest.name, name) * 1e6) as u64;
        let nearest = manifests.iter().max_by_key(likeness).filter(|manifest| likeness(manifest) > 700_000);
        DataError::UnknownName { name: name.into(), suggestion: nearest.map(|manifest| manifest.name.clone()) }
    })
}

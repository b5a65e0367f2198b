//! What is known about each data set: `datasets/*.toml`, built into the program.

use std::path::{Component, Path};
use std::sync::OnceLock;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Split, glyphs, hex};
use crate::error::{ConfigError, DataError};

/// A data set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Forms in which the set comes, the preferred one first.
    #[serde(rename = "variant")]
    pub variants: Vec<Variant>,
}

/// One form of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name (`official`).
    pub name: String,
    /// It is the published data, byte for byte.
    pub exact: bool,
    /// Number of training images.
    pub train: usize,
    /// Number of test images.
    pub test: usize,
    /// Addresses of folders that hold the files, in the order in which they are tried.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// The files; none for a generated set.
    #[serde(default, rename = "file")]
    pub files: Vec<FileEntry>,
    /// What makes the images, for a generated set.
    #[serde(default)]
    pub generator: Option<Generator>,
    /// The generator's seed.
    #[serde(default)]
    pub seed: u64,
}

/// The generators that this program holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// [`glyphs`].
    Glyphs,
}

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileEntry {
    /// What it holds.
    pub role: Role,
    /// Its name, the same in a folder and on a mirror.
    pub name: String,
    /// Its length as stored.
    pub bytes: u64,
    /// Its SHA-256 as stored, in hex.
    pub sha256: String,
    /// Its length after decompression.
    pub raw_bytes: u64,
    /// The SHA-256 of the decompressed content, in hex.
    pub raw_sha256: String,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Images for training.
    TrainImages,
    /// Labels for training.
    TrainLabels,
    /// Images for testing.
    TestImages,
    /// Labels for testing.
    TestLabels,
}

impl Role {
    /// All of them: a variant with files has one of each.
    pub const ALL: [Role; 4] = [Role::TrainImages, Role::TrainLabels, Role::TestImages, Role::TestLabels];
}

impl FileEntry {
    /// The name of the file once decompressed, if that is another one.
    pub fn raw_name(&self) -> Option<&str> {
        self.name.strip_suffix(".gz")
    }
}

impl Variant {
    /// The file of a role.
    pub fn file(&self, role: Role) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.role == role)
    }

    /// Number of images of a split.
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

    /// Digest over the content of all its files, whatever they are compressed with; for
    /// a generated set over the generator and its parameters. 64 hex digits.
    pub fn digest(&self) -> String {
        match self.generator {
            Some(Generator::Glyphs) => glyphs::digest(self.seed, self.train, self.test),
            None => {
                let mut hash = Sha256::new();
                for role in Role::ALL {
                    let content = self.file(role).map_or("", |file| &file.raw_sha256);
                    hash.update(format!("{role:?} {content}\n"));
                }
                hex(&hash.finalize())
            }
        }
    }
}

impl Manifest {
    /// Reads and checks a manifest; `file` is for error messages.
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

    /// What the types cannot say.
    fn check(&self) -> Result<(), String> {
        if !is_file_name(&self.name) {
            return Err(format!("name: `{}` cannot be a folder's name", self.name));
        }
        if self.shape.contains(&0) || !(1..=256).contains(&self.classes) {
            return Err("shape and classes must be above 0, and classes at most 256".into());
        }
        if self.variants.is_empty() {
            return Err("variant: there is none".into());
        }
        for variant in &self.variants {
            variant.check().map_err(|what| format!("variant `{}`: {what}", variant.name))?;
        }
        Ok(())
    }
}

impl Variant {
    fn check(&self) -> Result<(), String> {
        if self.train == 0 || self.test == 0 {
            return Err("train and test must be above 0".into());
        }
        if self.generator.is_some() {
            let bare = self.files.is_empty() && self.mirrors.is_empty();
            return if bare { Ok(()) } else { Err("a generated set has neither files nor mirrors".into()) };
        }
        if self.files.len() != Role::ALL.len() || Role::ALL.iter().any(|role| self.file(*role).is_none()) {
            return Err("there must be one file for each role".into());
        }
        if let Some(url) = self.mirrors.iter().find(|url| !is_folder_url(url)) {
            return Err(format!("mirrors: `{url}` must start with http:// or https:// and end with /"));
        }
        for file in &self.files {
            if !is_file_name(&file.name) {
                return Err(format!("file: `{}` is not the name of a file", file.name));
            }
            if !is_sha256(&file.sha256) || !is_sha256(&file.raw_sha256) {
                return Err(format!("{}: a sha256 has 64 lower-case hex digits", file.name));
            }
        }
        Ok(())
    }
}

fn is_file_name(name: &str) -> bool {
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
const BUILT_IN: [(&str, &str); 3] = [
    ("fashion-mnist", include_str!("../../../../datasets/fashion-mnist.toml")),
    ("glyphs", include_str!("../../../../datasets/glyphs.toml")),
    ("mnist", include_str!("../../../../datasets/mnist.toml")),
];

/// The names of the built-in data sets.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.into_iter().map(|(name, _)| name)
}

/// The manifests that are built into the program, by name.
pub fn built_in() -> Result<&'static [Manifest], ConfigError> {
    static MANIFESTS: OnceLock<Result<Vec<Manifest>, ConfigError>> = OnceLock::new();
    let parse = |(name, text)| Manifest::parse(text, Path::new(&format!("datasets/{name}.toml")));
    MANIFESTS.get_or_init(|| BUILT_IN.into_iter().map(parse).collect()).as_deref().map_err(ConfigError::clone)
}

/// The built-in manifest of that name.
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

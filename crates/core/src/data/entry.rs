//! A file of a data set, and what it holds.

use serde::{Deserialize, Serialize};

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileEntry {
    /// What it holds.
    pub role: Role,
    /// Its name, the same in a folder and on a mirror (without `.gz` where it is decompressed).
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The whole of a text.
    Text,
    /// The weights of a model, with its settings.
    Model,
}

/// What a data set consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Labelled images.
    Images,
    /// One text.
    Text,
    /// A model of others: no set to learn from.
    Model,
}

impl Kind {
    /// A variant with files has one file of each of these.
    pub fn roles(self) -> &'static [Role] {
        match self {
            Kind::Images => &[Role::TrainImages, Role::TrainLabels, Role::TestImages, Role::TestLabels],
            Kind::Text => &[Role::Text],
            Kind::Model => &[Role::Model],
        }
    }

    /// What `train` and `test` count; nothing of a model.
    pub fn unit(self) -> Option<&'static str> {
        match self {
            Kind::Images => Some("images"),
            Kind::Text => Some("characters"),
            Kind::Model => None,
        }
    }

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Images => "images",
            Kind::Text => "text",
            Kind::Model => "a model",
        }
    }
}

impl FileEntry {
    /// The name of the file once decompressed, if that is another one.
    pub fn raw_name(&self) -> Option<&str> {
        self.name.strip_suffix(".gz")
    }

    /// Name, length and SHA-256 of the decompressed file.
    pub(super) fn raw(&self) -> Form<'_> {
        Form { name: self.raw_name().unwrap_or(&self.name), bytes: self.raw_bytes, sha256: &self.raw_sha256 }
    }

    /// Name, length and SHA-256 of the file as stored.
    pub(super) fn stored(&self) -> Form<'_> {
        Form { name: &self.name, bytes: self.bytes, sha256: &self.sha256 }
    }
}

/// One of the two forms of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form<'a> {
    pub name: &'a str,
    pub bytes: u64,
    pub sha256: &'a str,
}

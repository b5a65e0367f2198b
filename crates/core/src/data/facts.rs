//! What a plan knows of a data set before anything of it is read.

use super::images::Split;
use super::manifest::Variant;
use super::resolved::Resolved;
use crate::error::DataError;

/// What is known of a resolved set without reading it: what a config can be held against
/// when the plan is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Name of the manifest (`mnist`).
    pub name: String,
    /// Channels, height, width; none for a text.
    pub shape: Option<[usize; 3]>,
    /// Number of classes; none for a text.
    pub classes: Option<usize>,
    /// Training images; of a text, its first characters.
    pub train: usize,
    /// Test images; of a text, its last characters.
    pub test: usize,
}

impl Facts {
    /// Images, or characters, of a split.
    pub fn count(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train,
            Split::Test => self.test,
        }
    }
}

impl Resolved {
    /// What its manifest says of it.
    ///
    /// # Errors
    /// When there is no such manifest, or another one was planned with.
    pub fn facts(&self) -> Result<Facts, DataError> {
        let manifest = self.manifest()?;
        let &Variant { train, test, .. } = manifest.planned(self)?;
        Ok(Facts { name: self.name.clone(), shape: manifest.shape, classes: manifest.classes, train, test })
    }
}

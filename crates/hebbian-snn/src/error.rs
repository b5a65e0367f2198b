//! What can be wrong with the input of this crate.

/// A wrong argument or saved state; every text names the field and the mend.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SnnError {
    /// A setting outside its domain.
    #[error("`{field}` is {found}: {expected}")]
    Setting {
        /// Name of the setting.
        field: &'static str,
        /// Its value as text.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// A tensor or a list of another shape.
    #[error("`{field}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Name of the argument.
        field: &'static str,
        /// The shape needed.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// A saved state that lacks a tensor or holds one that nobody reads.
    #[error("saved state: {0}")]
    Saved(String),
    /// An optimiser whose steps leave the projected subspace.
    #[error(
        "optimiser `{0}` scales each weight by itself, so its step leaves the projected subspace \
         and old tasks are forgotten: use `sgd` or `momentum`"
    )]
    NotClosed(&'static str),
}

impl SnnError {
    /// A [`SnnError::Setting`].
    pub fn setting(field: &'static str, found: impl std::fmt::Display, expected: impl Into<String>) -> Self {
        Self::Setting { field, found: found.to_string(), expected: expected.into() }
    }

    /// A [`SnnError::Shape`], where the shapes differ.
    ///
    /// # Errors
    /// When they do.
    pub fn shape(field: &'static str, found: &[usize], expected: &[usize]) -> Result<(), Self> {
        match found == expected {
            true => Ok(()),
            false => Err(Self::Shape { field, expected: expected.to_vec(), found: found.to_vec() }),
        }
    }
}

//! What can be wrong with the input of this crate.

/// A wrong argument; every text names the field and the mend.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DiffusionError {
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
    /// A tensor or a buffer of another shape.
    #[error("`{field}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Name of the argument.
        field: &'static str,
        /// The shape needed.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// A loss, a gradient, a weight or an image that is not finite.
    #[error("`{field}` is not finite at step {step}")]
    NotFinite {
        /// Name of the value.
        field: &'static str,
        /// Step of the sampler, or of training.
        step: usize,
    },
    /// A grid of noise levels that does not fall strictly, or is empty.
    #[error(
        "`levels` does not fall strictly at index {index} ({before} then {after}): list noise levels from high to low"
    )]
    Levels {
        /// Index of the offending level.
        index: usize,
        /// Standard deviation of the level before it.
        before: f64,
        /// Its own standard deviation.
        after: f64,
    },
    /// A tensor of another precision than the one that it goes with.
    #[error("`{field}` is of {found}, expected {expected}")]
    Precision {
        /// Name of the argument.
        field: &'static str,
        /// The type needed.
        expected: String,
        /// The type given.
        found: String,
    },
    /// A model file that cannot be read, or is of another network than the one asked for.
    #[error("model file: {what}")]
    ModelFile {
        /// What is wrong with it.
        what: String,
    },
    /// A pixel outside the domain of the mapping.
    #[error("`images`: pixel {pixel} of image {image} is {value}: {expected}")]
    Pixel {
        /// Index of the image in the batch.
        image: usize,
        /// Index of the pixel in the image.
        pixel: usize,
        /// Its value.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
}

impl DiffusionError {
    /// Refuses a number that is not finite.
    pub(crate) fn finite(field: &'static str, value: f64) -> Result<(), Self> {
        if value.is_finite() { Ok(()) } else { Err(Self::setting(field, value, "a finite number")) }
    }

    /// Refuses a number that is not finite and above 0.
    pub(crate) fn above_zero(field: &'static str, value: f64) -> Result<(), Self> {
        if value > 0.0 && value.is_finite() { Ok(()) } else { Err(Self::setting(field, value, "above 0 and finite")) }
    }

    /// Refuses a number that is not finite and at least 0.
    pub(crate) fn at_least_zero(field: &'static str, value: f64) -> Result<(), Self> {
        if value >= 0.0 && value.is_finite() {
            Ok(())
        } else {
            Err(Self::setting(field, value, "at least 0 and finite"))
        }
    }

    /// A [`DiffusionError::Setting`].
    pub fn setting(field: &'static str, found: impl std::fmt::Display, expected: impl Into<String>) -> Self {
        Self::Setting { field, found: found.to_string(), expected: expected.into() }
    }
}

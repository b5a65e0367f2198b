//! What can be wrong with the input of this crate.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::nn::is_finite;

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
    /// A number that is infinite or none. Whatever computed it has changed nothing.
    #[error("{what}: {value} among them, and nothing was changed; look at the size of the inputs and the rates")]
    NotFinite {
        /// What holds it: `the new weights of layer 2`.
        what: String,
        /// The first one.
        value: f64,
    },
    /// New rows for a subspace whose last ones still learn: they would never be fixed as they end.
    #[error("the rows of a task still learn: `finish_task` ends it, then there can be new ones")]
    Unfinished,
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

    /// A [`SnnError::Setting`], where a tensor is not of the one type that everything here computes in.
    pub(crate) fn is_f32(field: &'static str, found: DType) -> Result<(), Self> {
        match found {
            DType::F32 => Ok(()),
            other => Err(Self::setting(field, format!("of {other:?}"), "a tensor of F32")),
        }
    }

    /// A [`SnnError::NotFinite`], where a value of `x` is not.
    pub(crate) fn finite<const D: usize>(what: impl Fn() -> String, x: &Tensor<D>) -> Result<(), Self> {
        match is_finite(x) {
            true => Ok(()),
            false => Err(Self::not_finite(what(), x)),
        }
    }

    /// The error for a tensor that is known to hold such a value.
    pub(crate) fn not_finite<const D: usize>(what: String, x: &Tensor<D>) -> Self {
        let value = x.to_data().iter::<f64>().find(|x| !x.is_finite()).unwrap_or(f64::NAN);
        Self::NotFinite { what, value }
    }
}

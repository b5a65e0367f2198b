//! What can be wrong with the input of this crate.

use crate::codec::WireError;

/// A wrong argument or message; every text names the field and the mend.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FederationError {
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
    /// A buffer of another length.
    #[error("`{field}` has {found} values, expected {expected}")]
    Length {
        /// Name of the argument.
        field: &'static str,
        /// The length needed.
        expected: usize,
        /// The length given.
        found: usize,
    },
    /// A value that is not finite.
    #[error("`{field}` is not finite{}", in_round(*step))]
    NotFinite {
        /// Name of the value.
        field: &'static str,
        /// The round, from 1; 0 outside rounds.
        step: u64,
    },
    /// A state, or its bytes, that is none of this federation.
    #[error("the state is unusable: {0}")]
    Saved(String),
    /// A message that was refused.
    #[error(transparent)]
    Message(#[from] WireError),
    /// A cut that leaves no weight in a layer (section 3.1).
    #[error("pruning to density {density} empties layer {layer} ({name}): raise `density`, or iterate the saliency")]
    EmptyLayer {
        /// Index of the layer among the prunable ones.
        layer: usize,
        /// Its shape as text.
        name: String,
        /// The density asked for.
        density: f64,
    },
    /// More clients, shots or images than there are, or can be dealt from the data.
    #[error("`{field}`: {needed} are needed, there are {found}: {mend}")]
    NotEnough {
        /// Name of the setting that asks for them.
        field: &'static str,
        /// How many it asks for.
        needed: u64,
        /// How many there are.
        found: u64,
        /// What to change.
        mend: &'static str,
    },
}

/// Outside rounds there is none to name.
fn in_round(step: u64) -> String {
    if step == 0 { String::new() } else { format!(" in round {step}") }
}

impl FederationError {
    /// A [`FederationError::Setting`].
    pub fn setting(field: &'static str, found: impl std::fmt::Display, expected: impl Into<String>) -> Self {
        Self::Setting { field, found: found.to_string(), expected: expected.into() }
    }

    /// Refuses a value that is not finite, outside rounds.
    pub(crate) fn finite(field: &'static str, values: &[f32]) -> Result<(), Self> {
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(Self::setting(field, format!("{} at {at}", values[at]), "finite")),
            None => Ok(()),
        }
    }

    /// The number of survivors of some layers.
    ///
    /// # Errors
    /// When it is beyond what a message can count.
    pub(crate) fn survivors(layers: &[usize]) -> Result<usize, Self> {
        let sum = layers.iter().try_fold(0, |sum: usize, n| sum.checked_add(*n)).filter(|n| *n <= u32::MAX as usize);
        sum.ok_or_else(|| {
            Self::setting("layers", "more than 4,294,967,295 survivors", "as many as a message can count")
        })
    }

    /// Refuses a buffer of another length.
    pub(crate) fn length(field: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if found == expected { Ok(()) } else { Err(Self::Length { field, expected, found }) }
    }
}

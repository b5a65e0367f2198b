//! What can be wrong with a network, a rule or a saved state.

/// An error of this crate's mechanism.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SnnError {
    /// A constant of a neuron is outside its range.
    #[error("neuron: {name} is {value}, it must be {must}")]
    Neuron {
        /// The field.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range.
        must: &'static str,
    },
    /// A width or number of classes of a network is zero.
    #[error("network: {0} must be at least 1")]
    EmptyLayer(&'static str),
    /// One value per weight layer was expected.
    #[error("{what}: {found} values for {expected} layers")]
    Layers {
        /// What the values are.
        what: &'static str,
        /// Number of layers of the network.
        expected: usize,
        /// Number of values.
        found: usize,
    },
    /// A tensor's shape does not fit.
    #[error("{what} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        what: String,
        /// The shape that fits.
        expected: Vec<usize>,
        /// Its shape.
        found: Vec<usize>,
    },
    /// More rows than a layer has inputs: they cannot be orthonormal.
    #[error("a layer of {inputs} inputs cannot have {rows} subspace rows")]
    TooManyRows {
        /// Inputs of the layer.
        inputs: usize,
        /// Rows asked for, the old ones included.
        rows: usize,
    },
    /// A constant of the lateral rule is outside its range.
    #[error("lateral rule: {name} is {value}, it must be {must}")]
    Lateral {
        /// The field.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range.
        must: &'static str,
    },
    /// A saved state lacks a tensor or holds one that nobody reads.
    #[error("saved state: {0}")]
    State(String),
    /// An optimiser whose steps leave the projected subspace.
    #[error(
        "optimiser `{0}` scales each weight by itself, so its step leaves the projected subspace \
         and old tasks are forgotten: use `sgd` or `momentum`"
    )]
    NotClosed(&'static str),
}

//! What group normalisation is made of, in both of its forms.

/// Channels that are normalised together.
pub(super) const GROUP: usize = 4;
/// Added to the variance.
pub(super) const EPSILON: f64 = 1e-5;

//! What the known sets of images have in common: they are made like MNIST.

use crate::config::Invalid;

/// Rows, and columns, of an image.
pub const SIDE: usize = 28;
/// Pixels of an image.
pub const PIXELS: usize = SIDE * SIDE;
/// Number of classes.
pub const CLASSES: usize = 10;
/// Mean of MNIST's training pixels, where white is 1. Protocols normalise every set with it.
pub const MEAN: f32 = 0.1307;
/// Their standard deviation.
pub const DEVIATION: f32 = 0.3081;

/// For configs: the side of the squares of pixels that are averaged into one.
///
/// # Errors
/// When it leaves fewer than 4 pixels of a side, or does not divide it.
pub fn pool(factor: usize) -> Result<(), Invalid> {
    if [1, 2, 4, 7].contains(&factor) {
        return Ok(());
    }
    Err(Invalid::new("pool", format!("must be 1, 2, 4 or 7: it divides the {SIDE} pixels of a side")))
}

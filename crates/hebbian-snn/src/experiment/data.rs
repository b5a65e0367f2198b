//! Streams of tasks made from one set of images: permuted pixels, rotated pictures.

use std::fmt;
use std::path::Path;

use burn::prelude::*;
use plasticity_core::checkpoint::from_json;
use plasticity_core::data::digits::{DEVIATION, MEAN, SIDE};
use plasticity_core::data::{Images, Split};
use plasticity_core::error::RunError;
use plasticity_core::run::RunContext;
use serde::{Deserialize, Serialize};

/// Number of permutations in the protocol.
pub(super) const PERMUTATIONS: usize = 10;
/// Degrees between two tasks of the rotated stream.
const TURN: f64 = 30.0;

/// Tasks of the rotated stream until it has turned once round.
pub(super) const TURNS: usize = 12;

/// Where the tasks come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskStream {
    /// The pixels of each task in another fixed order (section 10.1).
    Permuted,
    /// Task t is the images turned by 30 t degrees (section 6.5).
    Rotated,
}

impl fmt::Display for TaskStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Permuted => "permuted",
            Self::Rotated => "rotated",
        })
    }
}

/// The ten permutations of the reference configuration (seed 2022), the same for every
/// seed of ours: `new[j] = old[permutation[j]]`.
#[derive(Deserialize)]
struct Permutations {
    permutations: Vec<Vec<u16>>,
}

/// The first `limit` images of a split.
pub(super) fn load(ctx: &RunContext, split: Split, limit: usize) -> Result<Images, RunError> {
    let images = ctx.images(split, limit)?;
    let found @ (c, h, w) = (images.channels, images.height, images.width);
    if found != (1, SIDE, SIDE) {
        return Err(RunError::Failed(format!("hebbian-snn needs grey images of {SIDE}x{SIDE}, not {c}x{h}x{w}")));
    }
    Ok(images)
}

/// How the images of one task are made from the images of the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Pixel `j` comes from pixel `permutation[j]`.
    Permuted(Vec<u16>),
    /// Each pixel is a weighted mean of up to four (bilinear); what comes from outside is 0.
    Rotated(Vec<[(u16, f32); 4]>),
}

impl Task {
    /// Task `index` of a stream of 28x28 images.
    ///
    /// # Errors
    /// When the stream has no such task.
    pub fn new(stream: TaskStream, index: usize) -> Result<Self, RunError> {
        match stream {
            TaskStream::Rotated => Ok(Self::Rotated(rotation(SIDE, TURN * index as f64))),
            TaskStream::Permuted => {
                let name = "pmnist_permutations.json";
                let text = include_bytes!("../../fixtures/pmnist_permutations.json");
                let mut all: Permutations = from_json(Path::new(name), text)?;
                if index >= all.permutations.len() {
                    return Err(RunError::Failed(format!("{name} has no permutation {index}")));
                }
                Ok(Self::Permuted(all.permutations.swap_remove(index)))
            }
        }
    }

    /// Writes the normalised image of this task.
    fn write(&self, pixels: &[u8], out: &mut Vec<f32>) {
        let normalise = |value: f32| (value / 255.0 - MEAN) / DEVIATION;
        match self {
            Self::Permuted(permutation) => {
                out.extend(permutation.iter().map(|&from| normalise(f32::from(pixels[usize::from(from)]))));
            }
            Self::Rotated(weights) => out.extend(weights.iter().map(|near| {
                normalise(near.iter().map(|&(from, weight)| weight * f32::from(pixels[usize::from(from)])).sum())
            })),
        }
    }

    /// The images of a batch, `[batch, 784]`, and their labels, `[batch]`.
    ///
    /// # Panics
    /// When the images are not grey and 28x28, an index is past their end, or a task that was made by hand names a
    /// pixel that there is not, as a slice does.
    pub fn batch(&self, images: &Images, indices: &[usize], device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
        let mut pixels = Vec::with_capacity(indices.len() * images.size());
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            self.write(images.image(index), &mut pixels);
            labels.push(i32::from(images.labels[index]));
        }
        let x = Tensor::from_data(TensorData::new(pixels, [indices.len(), images.size()]), device);
        (x, Tensor::from_data(TensorData::new(labels, [indices.len()]), device))
    }
}

/// For each pixel of a square image turned counter-clockwise about its centre, where it
/// comes from.
fn rotation(side: usize, degrees: f64) -> Vec<[(u16, f32); 4]> {
    // The sine and cosine of whole right angles must be exact, or a quarter turn would blur.
    let (sin, cos) = match degrees.rem_euclid(360.0) {
        0.0 => (0.0, 1.0),
        90.0 => (1.0, 0.0),
        180.0 => (0.0, -1.0),
        270.0 => (-1.0, 0.0),
        other => other.to_radians().sin_cos(),
    };
    let centre = (side as f64 - 1.0) / 2.0;
    let mut weights = Vec::with_capacity(side * side);
    for row in 0..side {
        for column in 0..side {
            let (dx, dy) = (column as f64 - centre, row as f64 - centre);
            // Rows count downwards, so this is a counter-clockwise turn of the picture.
            let (x, y) = (centre + cos * dx - sin * dy, centre + sin * dx + cos * dy);
            let (left, top) = (x.floor(), y.floor());
            let mut near = [(0u16, 0f32); 4];
            for (slot, (right, below)) in near.iter_mut().zip([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]) {
                let (column, row) = (left + right, top + below);
                let weight = (1.0 - (x - column).abs()) * (1.0 - (y - row).abs());
                let inside = |at: f64| (0.0..side as f64).contains(&at);
                if weight > 0.0 && inside(column) && inside(row) {
                    *slot = ((row as usize * side + column as usize) as u16, weight as f32);
                }
            }
            weights.push(near);
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(task: &Task, pixels: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        task.write(pixels, &mut out);
        out.iter().map(|x| ((x * DEVIATION + MEAN) * 255.0).round() as u8).collect()
    }
    fn picture() -> Vec<u8> {
        (0..784).map(|i| (i * 37 % 251) as u8).collect()
    }

    #[test]
    fn permutations_are_those_of_the_protocol() {
        let first = |task| match Task::new(TaskStream::Permuted, task).unwrap() {
            Task::Permuted(p) => p[..4].to_vec(),
            Task::Rotated(_) => unreachable!(),
        };
        assert_eq!(first(0), [745, 491, 157, 422]);
        assert_eq!(first(1), [387, 477, 590, 542]);
        assert_eq!(first(2), [459, 385, 661, 642]);
        for task in 0..PERMUTATIONS {
            let Task::Permuted(mut p) = Task::new(TaskStream::Permuted, task).unwrap() else { unreachable!() };
            // No task is the images as they are, the first one neither.
            assert!(p.iter().zip(0..).filter(|(from, to)| *from == to).count() < 10, "task {task}");
            p.sort_unstable();
            assert_eq!(p, (0..784).collect::<Vec<u16>>());
        }
        assert!(Task::new(TaskStream::Permuted, PERMUTATIONS).is_err());
        let pixels = picture();
        assert_eq!(apply(&Task::new(TaskStream::Permuted, 0).unwrap(), &pixels)[0], pixels[745]);
    }

    #[test]
    fn quarter_turns_move_pixels_and_four_of_them_are_nothing() {
        let pixels = picture();
        let quarter = Task::Rotated(rotation(28, 90.0));
        let once = apply(&quarter, &pixels);
        // Counter-clockwise: the right edge becomes the top.
        assert_eq!(once[0], pixels[27]);
        assert_eq!(once[27], pixels[783]);
        let back = (0..3).fold(once, |image, _| apply(&quarter, &image));
        assert_eq!(back, pixels);
        assert_eq!(apply(&Task::Rotated(rotation(28, 0.0)), &pixels), pixels);
    }

    #[test]
    fn a_turn_keeps_a_plane_inside_the_circle() {
        // A bilinear interpolation reproduces a linear picture exactly.
        let pixels: Vec<u8> = (0..784).map(|i| (100 + 3 * (i % 28) + 2 * (i / 28)) as u8).collect();
        let (sin, cos) = 30f64.to_radians().sin_cos();
        let turned = apply(&Task::Rotated(rotation(28, 30.0)), &pixels);
        for (row, column) in [(14, 14), (10, 20), (18, 8), (13, 5)] {
            let (dx, dy) = (f64::from(column) - 13.5, f64::from(row) - 13.5);
            let expected = 100.0 + 3.0 * (13.5 + cos * dx - sin * dy) + 2.0 * (13.5 + sin * dx + cos * dy);
            let found = f64::from(turned[(row * 28 + column) as usize]);
            assert!((found - expected).abs() <= 0.51, "{found} against {expected}");
        }
    }
}

//! Squares of numbers turned in registers.

use super::{Job, Simd};

/// Vectors of a machine's registers, which can turn a square.
pub trait Transpose: Simd {
    /// `to[c * to_step + r] = from[r * from_step + c]` for `rows`, `columns` of at most [`Simd::LANES`].
    ///
    /// # Safety
    /// Both are valid for these sizes.
    unsafe fn transpose(
        self,
        from: *const f32,
        from_step: usize,
        rows: usize,
        columns: usize,
        to: *mut f32,
        to_step: usize,
    );

    /// Runs the job in code compiled for the instruction set.
    fn run<J: Job>(self, job: J) -> J::Out;
}

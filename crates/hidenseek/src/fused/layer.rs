//! A layer's survivors, sparse or dense, and which products serve it.

use super::product::{After, Rows, dense, gather, outer, sparse, sparse_gradient};
use plasticity_core::nn::vector::{LANES, Simd16};

/// A layer is computed densely from this density on: a dense product costs half of a sparse one per weight.
const DENSE: f64 = 0.5;

#[derive(Debug, Clone)]
enum Form {
    Sparse {
        by_output: Rows,
        /// The output of each survivor, and of some that fill the last 16.
        output: Vec<u16>,
        by_input: Rows,
        /// The survivor of each entry of `by_input`.
        turned: Vec<u32>,
    },
    /// All survive: weights and gradient are used as they lie.
    Full,
    Dense {
        /// Where each survivor lies in `[outputs, inputs]`.
        at: Vec<u32>,
    },
}

/// A layer without bias.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    /// Its first survivor among all.
    pub first: usize,
    /// Number of its survivors.
    pub count: usize,
    form: Form,
}

impl Layer {
    /// From its part of the mask; sizes below 65,536.
    pub fn new(inputs: usize, outputs: usize, keep: &[bool], first: usize) -> Self {
        let count = keep.iter().filter(|k| **k).count();
        let survivors = || keep.iter().enumerate().filter(|(_, k)| **k).map(|(i, _)| (i / inputs, i % inputs));
        let form = if count == keep.len() {
            Form::Full
        } else if count as f64 >= DENSE * keep.len() as f64 {
            Form::Dense { at: (0u32..).zip(keep).filter(|(_, k)| **k).map(|(i, _)| i).collect() }
        } else {
            let mut starts = vec![0u32; outputs + 1];
            let mut input_starts = vec![0u32; inputs + 1];
            for (o, i) in survivors() {
                starts[o + 1] += 1;
                input_starts[i + 1] += 1;
            }
            for o in 0..outputs {
                starts[o + 1] += starts[o];
            }
            for i in 0..inputs {
                input_starts[i + 1] += input_starts[i];
            }
            let mut next = input_starts.clone();
            let (mut turned, mut other) = (vec![0u32; count], vec![0u16; count]);
            for (j, (o, i)) in survivors().enumerate() {
                turned[next[i] as usize] = j as u32;
                other[next[i] as usize] = o as u16;
                next[i] += 1;
            }
            let filled = |end: &dyn Fn((usize, usize)) -> usize| {
                let mut all: Vec<u16> = survivors().map(|s| end(s) as u16).collect();
                all.resize(count.next_multiple_of(LANES), 0);
                all
            };
            Form::Sparse {
                by_output: Rows { starts, index: filled(&|s| s.1) },
                output: filled(&|s| s.0),
                by_input: Rows { starts: input_starts, index: other },
                turned,
            }
        };
        Self { inputs, outputs, first, count, form }
    }

    /// Room for [`Layer::spread`].
    pub fn room(&self) -> usize {
        match self.form {
            Form::Sparse { .. } => self.count,
            Form::Full => 0,
            Form::Dense { .. } => self.outputs * self.inputs,
        }
    }

    /// Room for the whole gradient of a dense layer of which not all survives.
    pub fn gradient_room(&self) -> usize {
        if matches!(self.form, Form::Dense { .. }) { self.outputs * self.inputs } else { 0 }
    }

    /// Length of an image in the activations by image that [`Layer::gradient`] needs; 0 where it needs none.
    pub fn image_stride(&self) -> usize {
        if matches!(self.form, Form::Sparse { .. }) { 0 } else { self.inputs.next_multiple_of(LANES) }
    }

    /// Brings the layer's effective weights into the order that the products read.
    pub fn spread(&self, weights: &[f32], to: &mut [f32]) {
        match &self.form {
            Form::Sparse { turned, .. } => {
                gather(weights, turned, to);
            }
            Form::Full => {}
            Form::Dense { at } => {
                for (at, w) in at.iter().zip(weights) {
                    to[*at as usize] = *w;
                }
            }
        }
    }

    /// `out[o] = after(sum over i of w[o, i] x[i])`.
    #[inline(always)]
    pub fn forward<S: Simd16, const NV: usize>(
        &self,
        s: S,
        weights: &[f32],
        spread: &[f32],
        x: &[f32],
        out: &mut [f32],
        after: After<'_>,
    ) {
        let whole = if matches!(self.form, Form::Full) { weights } else { spread };
        // SAFETY: a layer's rows name its own inputs and outputs, and the rooms have its sizes.
        unsafe {
            match &self.form {
                Form::Sparse { by_output, .. } => sparse::<S, NV>(s, by_output, weights, x, out, after),
                _ => dense::<S, NV>(s, (self.outputs, self.inputs), (self.inputs, 1), whole, x, out, after),
            }
        }
    }

    /// `out[i] = after(sum over o of w[o, i] delta[o])`.
    #[inline(always)]
    pub fn backward<S: Simd16, const NV: usize>(
        &self,
        s: S,
        weights: &[f32],
        spread: &[f32],
        delta: &[f32],
        out: &mut [f32],
        after: After<'_>,
    ) {
        let whole = if matches!(self.form, Form::Full) { weights } else { spread };
        // SAFETY: as in the forward pass.
        unsafe {
            match &self.form {
                Form::Sparse { by_input, .. } => sparse::<S, NV>(s, by_input, spread, delta, out, after),
                _ => dense::<S, NV>(s, (self.inputs, self.outputs), (1, self.inputs), whole, delta, out, after),
            }
        }
    }

    /// `grad[j] (+)= sum over the images of delta[o_j] x[i_j]` for every survivor `j`; `x` by feature, `by_image`
    /// the same `[image][stride]` for a dense layer; `room` holds its whole gradient from chunk to chunk.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub fn gradient<S: Simd16, const NV: usize>(
        &self,
        s: S,
        delta: &[f32],
        x: &[f32],
        by_image: &[f32],
        images: usize,
        add: bool,
        room: &mut [f32],
        grad: &mut [f32],
    ) {
        let sizes = (self.outputs, self.inputs);
        // SAFETY: as in the forward pass.
        unsafe {
            match &self.form {
                Form::Sparse { by_output, output, .. } => {
                    sparse_gradient::<S, NV>(s, &by_output.index, output, delta, x, add, grad);
                }
                Form::Full => outer(s, sizes, NV * LANES, delta, by_image, images, add, grad),
                Form::Dense { at } => {
                    outer(s, sizes, NV * LANES, delta, by_image, images, add, room);
                    gather(room, at, grad);
                }
            }
        }
    }
}

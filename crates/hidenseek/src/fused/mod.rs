//! A client's round as one loop over the survivors (section 12): bias-free ReLU perceptrons, on the CPU, in f32.
//!
//! [`Prepared`] holds the sparse form of a subnetwork and is built once per run; [`train`] and [`logits`] are pure
//! functions of it. A layer with many survivors is computed densely, so the same functions serve FedAvg on the whole
//! network. The bytes of a result do not depend on threads, nor on the
//! width of the vectors (but for processors without a fused multiply-add).

mod layer;
mod product;
mod rule;

use plasticity_core::rng::Stream;

use crate::client::{self, ClientData, LocalTraining, Subnetwork, Trainable, Trained};
use crate::error::FederationError;
use crate::network;
use layer::Layer;
use plasticity_core::nn::vector::{Isa, Job16, LANES, Simd16};
use product::After;
use rule::Memory;

/// Images that one pass takes through the network.
const CHUNK: usize = 2 * LANES;

/// The sparse form of a subnetwork.
#[derive(Debug, Clone)]
pub struct Prepared {
    layers: Vec<Layer>,
    /// W0 of the survivors.
    weights: Vec<f32>,
}

impl Prepared {
    /// The sparse form, or none where the network is not a perceptron of linear layers with ReLU between them
    /// (then the composed round is the way).
    pub fn new(sub: &Subnetwork) -> Option<Self> {
        let (architecture, keep) = (sub.architecture(), sub.mask().keep());
        let (mut layers, mut at, mut first) = (Vec::<Layer>::new(), 0, 0);
        for (i, layer) in architecture.layers().iter().enumerate() {
            match *layer {
                network::Layer::Linear { inputs, outputs }
                    if i % 2 == 0
                        && (1..=usize::from(u16::MAX)).contains(&inputs)
                        && (1..=usize::from(u16::MAX)).contains(&outputs) =>
                {
                    layers.push(Layer::new(inputs, outputs, &keep[at..at + inputs * outputs], first));
                    at += inputs * outputs;
                    first += layers.last().map_or(0, |l| l.count);
                }
                network::Layer::Relu if i % 2 == 1 && i + 1 < architecture.layers().len() => {}
                _ => return None,
            }
        }
        let weights = sub.weights().iter().zip(keep).filter(|(_, keep)| **keep).map(|(w, _)| *w).collect();
        Some(Self { layers, weights })
    }

    /// n, the number of survivors.
    pub fn survivors(&self) -> usize {
        self.weights.len()
    }

    /// Values of an image.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.layers[self.layers.len() - 1].outputs
    }
}

/// Trains on one client's images for one round (section 3.3), starting from `values` `[n]`: a new permutation of the
/// images from `stream` for each epoch, batches in that order, the last one may be short; the optimiser begins fresh.
///
/// # Errors
/// When the lengths do not fit, a value or pixel is not finite, a label is no class, or there is no image; when a
/// step's loss, gradient or new value is not finite.
pub fn train(
    prepared: &Prepared,
    trainable: Trainable,
    values: &[f32],
    data: &ClientData,
    training: &LocalTraining,
    stream: &mut Stream,
) -> Result<Trained, FederationError> {
    FederationError::length("values", prepared.survivors(), values.len())?;
    FederationError::finite("values", values)?;
    data.check(prepared.inputs(), prepared.classes())?;
    trainable.check()?;
    training.check()?;
    let (trained, after) = Isa::widest().run16(Train { prepared, trainable, values, data, training, stream });
    *stream = after;
    trained.map_err(|field| FederationError::NotFinite { field, step: 0 })
}

/// Logits `[images, classes]` of `x` `[images, inputs]`; with `rows`, only of these images.
///
/// # Errors
/// When the lengths do not fit, there is no such row, or a value, pixel or logit is not finite.
pub fn logits(
    prepared: &Prepared,
    trainable: Trainable,
    values: &[f32],
    x: &[f32],
    rows: Option<&[u32]>,
) -> Result<Vec<f32>, FederationError> {
    FederationError::finite("x", x)?;
    logits_of(prepared, trainable, values, x, rows)
}

/// [`logits`] of pixels that are known to be finite.
pub(crate) fn logits_of(
    prepared: &Prepared,
    trainable: Trainable,
    values: &[f32],
    x: &[f32],
    rows: Option<&[u32]>,
) -> Result<Vec<f32>, FederationError> {
    FederationError::length("values", prepared.survivors(), values.len())?;
    FederationError::finite("values", values)?;
    trainable.check()?;
    let images = client::images(x, prepared.inputs())?;
    if let Some(row) = rows.and_then(|rows| rows.iter().find(|row| **row as usize >= images)) {
        return Err(FederationError::setting("rows", row, format!("below {images}")));
    }
    client::finite_logits(Isa::widest().run16(Logits { prepared, trainable, values, x, rows, images }))
}

/// Memory of a pass.
struct Room {
    /// The effective weights of the survivors; empty where those are the values themselves.
    effective: Vec<f32>,
    /// The same as each layer reads them.
    spread: Vec<Vec<f32>>,
    /// What goes into each layer, and the logits: `[feature][lane]`.
    x: Vec<Vec<f32>>,
    /// Where a dense layer reads `[image][feature]`.
    by_image: Vec<Vec<f32>>,
    delta: [Vec<f32>; 2],
    grad: Vec<f32>,
    /// Whole gradient of each dense layer of which not all survives.
    dense: Vec<Vec<f32>>,
}

impl Room {
    fn new(prepared: &Prepared, trainable: Trainable, training: bool) -> Self {
        let layers = &prepared.layers;
        let widest = layers.iter().map(|l| l.outputs.max(l.inputs)).max().unwrap_or(0);
        let only = |room: usize| vec![0.0; if training { room } else { 0 }];
        Self {
            effective: vec![0.0; if trainable == Trainable::Weights { 0 } else { prepared.survivors() }],
            spread: layers.iter().map(|l| vec![0.0; l.room()]).collect(),
            x: std::iter::once(prepared.inputs())
                .chain(layers.iter().map(|l| l.outputs))
                .map(|features| vec![0.0; features * CHUNK])
                .collect(),
            by_image: layers.iter().map(|l| only(CHUNK * l.image_stride())).collect(),
            delta: [only(widest * CHUNK), only(widest * CHUNK)],
            grad: only(prepared.survivors()),
            dense: layers.iter().map(|l| only(l.gradient_room())).collect(),
        }
    }

    #[inline(always)]
    fn set(&mut self, prepared: &Prepared, trainable: Trainable, values: &[f32]) {
        rule::effective(trainable, &prepared.weights, values, &mut self.effective);
        let weights = if self.effective.is_empty() { values } else { &self.effective };
        for (layer, spread) in prepared.layers.iter().zip(&mut self.spread) {
            layer.spread(&weights[layer.first..layer.first + layer.count], spread);
        }
    }

    /// Takes a chunk of images through the network; the logits are the last of `x`.
    ///
    /// # Safety
    /// Inside [`Simd::enter`].
    #[inline(always)]
    fn forward<S: Simd16, const NV: usize>(&mut self, s: S, prepared: &Prepared, values: &[f32], images: &[&[f32]]) {
        let wide = NV * LANES;
        let first = &mut self.x[0][..prepared.inputs() * wide];
        for lanes in first.chunks_exact_mut(wide) {
            lanes[images.len()..].fill(0.0);
        }
        product::transpose(images, prepared.inputs(), first, wide);
        for (i, layer) in prepared.layers.iter().enumerate() {
            let (below, above) = self.x.split_at_mut(i + 1);
            let after = if i + 1 < prepared.layers.len() { After::Relu } else { After::Nothing };
            let weights = if self.effective.is_empty() { values } else { &self.effective };
            let weights = &weights[layer.first..layer.first + layer.count];
            let x = &below[i][..layer.inputs * wide];
            let out = &mut above[0][..layer.outputs * wide];
            layer.forward::<S, NV>(s, weights, &self.spread[i], x, out, after);
        }
    }

    /// The chunk's part of the gradient of the effective weights; the loss summed over its images.
    ///
    /// # Safety
    /// Inside [`Simd::enter`].
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn chunk<S: Simd16, const NV: usize>(
        &mut self,
        s: S,
        prepared: &Prepared,
        values: &[f32],
        images: &[&[f32]],
        labels: &[u8],
        batch: usize,
        add: bool,
    ) -> f64 {
        let wide = NV * LANES;
        self.forward::<S, NV>(s, prepared, values, images);
        let depth = prepared.layers.len();
        let out = &mut self.delta[depth % 2][..prepared.classes() * wide];
        out.copy_from_slice(&self.x[depth][..prepared.classes() * wide]);
        let loss = rule::cross_entropy(out, wide, labels, batch);
        for (i, layer) in prepared.layers.iter().enumerate().rev() {
            let x = &self.x[i][..layer.inputs * wide];
            let (even, odd) = self.delta.split_at_mut(1);
            let (delta, below) = if (i + 1) % 2 == 0 { (&even[0], &mut odd[0]) } else { (&odd[0], &mut even[0]) };
            let delta = &delta[..layer.outputs * wide];
            if i > 0 {
                let below = &mut below[..layer.inputs * wide];
                let weights = if self.effective.is_empty() { values } else { &self.effective };
                let weights = &weights[layer.first..layer.first + layer.count];
                layer.backward::<S, NV>(s, weights, &self.spread[i], delta, below, After::Gate(x));
            }
            let by_image = &mut self.by_image[i];
            let stride = layer.image_stride();
            if stride > 0 {
                if i == 0 {
                    for (row, image) in by_image.chunks_exact_mut(stride).zip(images) {
                        row[..layer.inputs].copy_from_slice(image);
                    }
                } else {
                    for (l, four) in x.chunks(4 * wide).enumerate() {
                        let mut rows = [[].as_slice(); 4];
                        rows.iter_mut().zip(four.chunks_exact(wide)).for_each(|(to, row)| *to = row);
                        let rows = &rows[..four.len() / wide];
                        product::transpose(rows, images.len(), &mut by_image[4 * l..], stride);
                    }
                }
            }
            let grad = &mut self.grad[layer.first..layer.first + layer.count];
            let room = &mut self.dense[i];
            layer.gradient::<S, NV>(s, delta, x, by_image, images.len(), add, room, grad);
        }
        loss
    }
}

#[derive(Clone)]
struct Train<'a> {
    prepared: &'a Prepared,
    trainable: Trainable,
    values: &'a [f32],
    data: &'a ClientData,
    training: &'a LocalTraining,
    /// Of the images' order in each epoch.
    stream: &'a Stream,
}

impl Job16 for Train<'_> {
    /// Or the name of what is not finite; and the stream behind the last epoch.
    type Out = (Result<Trained, &'static str>, Stream);

    #[inline(always)]
    fn run<S: Simd16>(self, s: S) -> Self::Out {
        let Self { prepared, trainable, data, training, .. } = self;
        let mut stream = self.stream.clone();
        let n = data.labels.len();
        let inputs = prepared.inputs();
        let mut values = self.values.to_vec();
        let mut room = Room::new(prepared, trainable, true);
        let mut memory = Memory::new(training.optimiser, values.len());
        room.set(prepared, trainable, &values);
        let mut loss = 0.0;
        let (mut images, mut labels) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
        for _ in 0..training.epochs {
            // One epoch's order at a time: a round of any length has the same memory.
            let order = stream.permutation(n);
            loss = 0.0;
            for batch in order.chunks(training.batch) {
                for (c, chunk) in batch.chunks(CHUNK).enumerate() {
                    images.clear();
                    images.extend(chunk.iter().map(|i| &data.x[i * inputs..(i + 1) * inputs]));
                    labels.clear();
                    labels.extend(chunk.iter().map(|i| data.labels[*i]));
                    loss += {
                        if chunk.len() <= LANES {
                            room.chunk::<S, 1>(s, prepared, &values, &images, &labels, batch.len(), c > 0)
                        } else {
                            room.chunk::<S, 2>(s, prepared, &values, &images, &labels, batch.len(), c > 0)
                        }
                    };
                }
                if !loss.is_finite() {
                    return (Err("loss"), stream);
                }
                let rules = (training.optimiser, trainable);
                if !memory.step(rules, &prepared.weights, &mut values, &mut room.grad) {
                    return (Err("gradient"), stream);
                }
                room.set(prepared, trainable, &values);
            }
        }
        // What is not finite once stays so from step to step.
        if !values.iter().all(|value| value.is_finite()) {
            return (Err("values"), stream);
        }
        (Ok(Trained { values, loss: (loss / n as f64) as f32 }), stream)
    }
}

#[derive(Clone, Copy)]
struct Logits<'a> {
    prepared: &'a Prepared,
    trainable: Trainable,
    values: &'a [f32],
    x: &'a [f32],
    rows: Option<&'a [u32]>,
    images: usize,
}

impl Job16 for Logits<'_> {
    type Out = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd16>(self, s: S) -> Vec<f32> {
        let Self { prepared, x, rows, .. } = self;
        let (inputs, classes) = (prepared.inputs(), prepared.classes());
        let mut room = Room::new(prepared, self.trainable, false);
        room.set(prepared, self.trainable, self.values);
        let count = rows.map_or(self.images, <[u32]>::len);
        let mut out = Vec::with_capacity(count * classes);
        let mut images = Vec::with_capacity(CHUNK);
        for start in (0..count).step_by(CHUNK) {
            images.clear();
            let row = |i: usize| rows.map_or(i, |rows| rows[i] as usize);
            let chunk = start..count.min(start + CHUNK);
            images.extend(chunk.map(row).map(|i| &x[i * inputs..(i + 1) * inputs]));
            room.forward::<S, 2>(s, prepared, self.values, &images);
            let logits = &room.x[prepared.layers.len()];
            for lane in 0..images.len() {
                out.extend(logits[lane..].iter().step_by(CHUNK).take(classes));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;

//! The time loop of a layer of DSR LIF neurons.

use plasticity_core::widest;
use rayon::prelude::*;

use crate::neuron::DsrLif;

/// Samples that one task works on: they share the block of weights that is in the cache.
const SAMPLES: usize = 8;

/// The neuron's constants as the loop needs them.
pub(super) struct Constants {
    steps: usize,
    beta: f32,
    gain: f32,
    fires_at: f32,
    threshold: f32,
    rate_weights: Vec<f32>,
}

impl Constants {
    pub(super) fn new(lif: &DsrLif, threshold: f32) -> Self {
        Self {
            steps: lif.steps,
            beta: lif.beta() as f32,
            gain: (1.0 - lif.beta()) as f32,
            fires_at: threshold * lif.alpha as f32,
            threshold,
            rate_weights: rate_weights(lif),
        }
    }
}

pub(super) fn rate_weights(lif: &DsrLif) -> Vec<f32> {
    lif.rate_weights().into_iter().map(|w| w as f32).collect()
}

/// Which neurons fired: one bit per sample, step and neuron.
pub(super) struct Spikes {
    pub(super) batch: usize,
    pub(super) features: usize,
    steps: usize,
    /// `[batch, steps, words]`, neuron `i` in bit `i % 64` of word `i / 64`.
    bits: Vec<u64>,
}

/// What drives a layer.
pub(super) enum Drive<'a> {
    /// The same current at every step, `[batch, features]`.
    Constant(&'a [f32]),
    /// Currents `[batch, steps, features]`.
    Dense(&'a [f32]),
    /// Spikes of the layer before through weights `[in, features]`.
    Events { spikes: &'a Spikes, weights: &'a [f32], amplitude: f32 },
}

impl Spikes {
    fn silent(batch: usize, features: usize, steps: usize) -> Self {
        let bits = vec![0; batch * steps * features.div_ceil(64)];
        Self { batch, features, steps, bits }
    }

    /// The words of one sample, step after step.
    fn words(&self) -> usize {
        self.features.div_ceil(64)
    }

    fn sample(&self, sample: usize) -> &[u64] {
        let size = self.steps * self.words();
        &self.bits[sample * size..][..size]
    }

    /// Spikes per neuron, sample and step.
    pub(super) fn share(&self) -> f64 {
        let spikes: u64 = self.bits.iter().map(|word| u64::from(word.count_ones())).sum();
        spikes as f64 / (self.batch * self.features * self.steps) as f64
    }

    /// The weighted and the plain sum of the output over time, both `[batch, features]`.
    pub(super) fn over_time(&self, amplitude: f32, rate_weights: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let n = self.features;
        let (mut rate, mut sum) = (vec![0.0; self.batch * n], vec![0.0; self.batch * n]);
        rate.par_chunks_mut(n).zip(sum.par_chunks_mut(n)).enumerate().for_each(|(b, (rate, sum))| {
            for (step, weight) in self.sample(b).chunks_exact(self.words()).zip(rate_weights) {
                for_each_bit(step, |i| {
                    rate[i] += weight;
                    sum[i] += 1.0;
                });
            }
            rate.iter_mut().chain(sum).for_each(|x| *x *= amplitude);
        });
        (rate, sum)
    }

    /// The output as it is, `[batch, steps, features]`.
    pub(super) fn expand(&self, amplitude: f32) -> Vec<f32> {
        let n = self.features;
        let mut output = vec![0.0; self.batch * self.steps * n];
        output.par_chunks_mut(n).zip(self.bits.par_chunks(self.words())).for_each(|(out, step)| {
            for_each_bit(step, |i| out[i] = amplitude);
        });
        output
    }
}

/// Calls `f` with the index of every set bit, ascending.
#[inline(always)]
fn for_each_bit(words: &[u64], mut f: impl FnMut(usize)) {
    for (w, &word) in words.iter().enumerate() {
        let mut left = word;
        while left != 0 {
            f(64 * w + left.trailing_zeros() as usize);
            left &= left - 1;
        }
    }
}

/// Runs a layer of `features` neurons from rest. Returns its spikes and the weighted rate of its
/// current, `[batch, features]` (empty for a constant current, which is its own rate).
pub(super) fn run(drive: &Drive<'_>, features: usize, constants: &Constants) -> (Spikes, Vec<f32>) {
    let batch = match drive {
        Drive::Constant(current) => current.len() / features,
        Drive::Dense(currents) => currents.len() / (features * constants.steps),
        Drive::Events { spikes, .. } => spikes.batch,
    };
    let mut out = Spikes::silent(batch, features, constants.steps);
    let constant = matches!(drive, Drive::Constant(_));
    let mut rates = vec![0.0; if constant { 0 } else { batch * features }];
    let bits = out.bits.par_chunks_mut(SAMPLES * constants.steps * features.div_ceil(64));
    if constant {
        bits.enumerate().for_each(|(c, bits)| {
            some_samples(drive, SAMPLES * c, features, constants, bits, &mut []);
        });
    } else {
        let rates = rates.par_chunks_mut(SAMPLES * features);
        bits.zip(rates).enumerate().for_each(|(c, (bits, rates))| {
            some_samples(drive, SAMPLES * c, features, constants, bits, rates);
        });
    }
    (out, rates)
}

// The loop for the samples whose `bits` these are, the first of which is `first`.
widest!(some_samples = all_blocks(
    drive: &Drive<'_>, first: usize, features: usize, constants: &Constants, bits: &mut [u64], rates: &mut [f32]
));

/// Covers the neurons with blocks of 64, 32, 16, 8 and 1: a block's bits lie in one word.
#[inline(always)]
fn all_blocks(
    drive: &Drive<'_>,
    first: usize,
    features: usize,
    constants: &Constants,
    bits: &mut [u64],
    rates: &mut [f32],
) {
    let words = features.div_ceil(64);
    let samples = bits.len() / (constants.steps * words);
    let events = Events::of(drive, first, samples, features, constants.steps);
    let mut layer = Layer { drive, events, first, features, words, constants, bits, rates };
    let mut at = 0;
    while at < features {
        match features - at {
            64.. => at += layer.block::<64>(samples, at),
            32.. => at += layer.block::<32>(samples, at),
            16.. => at += layer.block::<16>(samples, at),
            8.. => at += layer.block::<8>(samples, at),
            _ => at += layer.block::<1>(samples, at),
        }
    }
}

/// The events that drive some samples: for each sample and step the offsets of the weight rows
/// of the neurons that fired, ascending.
struct Events {
    rows: Vec<usize>,
    ends: Vec<usize>,
}

impl Events {
    #[inline(always)]
    fn of(drive: &Drive<'_>, first: usize, samples: usize, features: usize, steps: usize) -> Self {
        let (mut rows, mut ends) = (Vec::new(), Vec::new());
        if let Drive::Events { spikes, .. } = drive {
            ends.reserve(samples * steps + 1);
            ends.push(0);
            for sample in first..first + samples {
                for step in spikes.sample(sample).chunks_exact(spikes.words()) {
                    for_each_bit(step, |i| rows.push(i * features));
                    ends.push(rows.len());
                }
            }
        }
        Self { rows, ends }
    }
}

struct Layer<'a, 'b> {
    drive: &'a Drive<'a>,
    events: Events,
    first: usize,
    features: usize,
    words: usize,
    constants: &'a Constants,
    bits: &'b mut [u64],
    rates: &'b mut [f32],
}

impl Layer<'_, '_> {
    /// Runs neurons `at..at + W` of every sample through time; returns W.
    #[inline(always)]
    fn block<const W: usize>(&mut self, samples: usize, at: usize) -> usize {
        let Constants { steps, beta, gain, fires_at, threshold, .. } = *self.constants;
        let n = self.features;
        for sample in 0..samples {
            let mut m = [0.0f32; W];
            let mut rate = [0.0f32; W];
            let mut x = [0.0f32; W];
            if let Drive::Constant(current) = self.drive {
                x.copy_from_slice(&current[(self.first + sample) * n + at..][..W]);
            }
            for t in 0..steps {
                match self.drive {
                    Drive::Constant(_) => {}
                    Drive::Dense(currents) => {
                        let row = (self.first + sample) * steps + t;
                        x.copy_from_slice(&currents[row * n + at..][..W]);
                    }
                    Drive::Events { weights, amplitude, .. } => {
                        let step = sample * steps + t;
                        let rows = &self.events.rows[self.events.ends[step]..self.events.ends[step + 1]];
                        x = sum_rows::<W>(rows, &weights[at..]);
                        x.iter_mut().for_each(|x| *x *= amplitude);
                    }
                }
                let mut fired = [0u8; W];
                for i in 0..W {
                    let u = beta * m[i] + gain * x[i];
                    let fire = u >= fires_at;
                    fired[i] = u8::from(fire);
                    m[i] = u - if fire { threshold } else { 0.0 };
                }
                self.bits[(sample * steps + t) * self.words + at / 64] |= pack(&fired) << (at % 64);
                if !self.rates.is_empty() {
                    let weight = self.constants.rate_weights[t];
                    for i in 0..W {
                        rate[i] += weight * x[i];
                    }
                }
            }
            if !self.rates.is_empty() {
                self.rates[sample * n + at..][..W].copy_from_slice(&rate);
            }
        }
        W
    }
}

/// The sum of the rows that begin at the given offsets, in their order. Four rows at a time, so
/// that the sums travel to memory and back a quarter as often.
#[inline(always)]
fn sum_rows<const W: usize>(rows: &[usize], weights: &[f32]) -> [f32; W] {
    let mut sum = [0.0f32; W];
    let row = |offset: usize| &weights[offset..][..W];
    let fours = rows.chunks_exact(4);
    let rest = fours.remainder();
    for four in fours {
        let (a, b, c, d) = (row(four[0]), row(four[1]), row(four[2]), row(four[3]));
        for i in 0..W {
            sum[i] = (((sum[i] + a[i]) + b[i]) + c[i]) + d[i];
        }
    }
    for &offset in rest {
        let a = row(offset);
        for i in 0..W {
            sum[i] += a[i];
        }
    }
    sum
}

/// Bit i of the result is byte i, each 0 or 1.
#[inline(always)]
fn pack<const W: usize>(bytes: &[u8; W]) -> u64 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut bits = 0;
    for (i, eight) in eights.iter().enumerate() {
        // The product moves byte j's lowest bit to bit 56 + j, without carries.
        let byte = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits |= byte << (8 * i);
    }
    for (i, &byte) in rest.iter().enumerate() {
        bits |= u64::from(byte) << (8 * eights.len() + i);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_the_order() {
        let mut bytes = [0u8; 64];
        for i in [0, 1, 7, 8, 13, 40, 62, 63] {
            bytes[i] = 1;
        }
        let expected = [0, 1, 7, 8, 13, 40, 62, 63].iter().fold(0u64, |word, i| word | 1 << i);
        assert_eq!(pack(&bytes), expected);
        assert_eq!(pack(&[1u8]), 1);
        let mut seen = Vec::new();
        for_each_bit(&[expected, 2], |i| seen.push(i));
        assert_eq!(seen, [0, 1, 7, 8, 13, 40, 62, 63, 65]);
    }
}

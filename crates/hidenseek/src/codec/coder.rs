//! An adaptive binary arithmetic coder (section 13.2): 32-bit interval, and in each context the probability of
//! Krichevsky and Trofimov from the bits seen so far, `P(1) = (ones + 1/2) / (seen + 1)`.
//!
//! A message is a number in [0, 1), written in binary; the coder narrows an interval of such numbers bit by bit in
//! proportion to the probabilities. Leading digits that all numbers of the interval share are written; while the
//! interval straddles 1/2 within [1/4, 3/4) a digit is owed, and is the opposite of the next one written. At the
//! end 1/2 always lies in the interval: one digit suffices. Zeros at the end are not written and read as 0.

use super::bits;
use super::error::WireError;

const HALF: u32 = 1 << 31;
const QUARTER: u32 = 1 << 30;
/// Counts are halved here, so that a probability stays above the interval's resolution.
const MOST_SEEN: u32 = 1 << 24;
/// Classes of |mean mask| in a layer.
pub const CLASSES: usize = 8;

/// Bits that a fair description of a bit with P(1) = `p` needs, H(p) (O21).
pub fn entropy(p: f64) -> f64 {
    let term = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
    term(p) + term(1.0 - p)
}

/// Which bits are alike: an index below [`Contexts::count`] for each position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contexts {
    of: Vec<u32>,
    count: usize,
}

impl Contexts {
    /// One context for all positions.
    pub fn one() -> Self {
        Self { of: Vec::new(), count: 1 }
    }

    /// By layer and by |mean mask| in eight equal classes of [0, 1]; larger values fall into the last.
    /// `layers` is the number of survivors of each layer, `means` has one value per survivor.
    ///
    /// # Errors
    /// When the numbers of survivors differ.
    pub fn new(layers: &[usize], means: impl ExactSizeIterator<Item = f32>) -> Result<Self, WireError> {
        let (expected, found) = (layers.iter().fold(0, |sum: usize, n| sum.saturating_add(*n)), means.len());
        if expected != found {
            return Err(WireError::Survivors { expected, found });
        }
        let class = |mean: f32| ((mean.abs() * CLASSES as f32) as u32).min(CLASSES as u32 - 1);
        let layer = (0u32..).zip(layers).flat_map(|(layer, n)| std::iter::repeat_n(layer * CLASSES as u32, *n));
        let of = layer.zip(means).map(|(first, mean)| first + class(mean)).collect();
        Ok(Self { of, count: (layers.len() * CLASSES).max(1) })
    }

    /// Number of contexts.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The context of a position; 0 outside.
    pub fn of(&self, position: usize) -> usize {
        self.of.get(position).map_or(0, |context| *context as usize)
    }

    /// About how many bits the coder needs for these: the sum over contexts of n H(ones / n) + log2(n) / 2 + 1 (O20).
    pub fn estimate(&self, bits: &[bool]) -> f64 {
        let mut seen = vec![(0u32, 0u32); self.count];
        for (position, bit) in bits.iter().enumerate() {
            let (n, ones) = &mut seen[self.of(position)];
            *n += 1;
            *ones += u32::from(*bit);
        }
        let bits = |(n, ones): (u32, u32)| {
            let n = f64::from(n);
            n * entropy(f64::from(ones) / n) + n.log2() / 2.0 + 1.0
        };
        seen.into_iter().filter(|(n, _)| *n > 0).map(bits).sum()
    }
}

/// What a context has seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Model {
    zeros: u32,
    ones: u32,
}

impl Model {
    /// The part of an interval that stands for a 0.
    fn zero_part(self, range: u64) -> u64 {
        range * (2 * u64::from(self.zeros) + 1) / (2 * (u64::from(self.zeros) + u64::from(self.ones)) + 2)
    }

    fn see(&mut self, bit: bool) {
        if bit {
            self.ones += 1
        } else {
            self.zeros += 1
        }
        if self.zeros + self.ones >= MOST_SEEN {
            self.zeros /= 2;
            self.ones /= 2;
        }
    }
}

/// The numbers that are still possible, as their next 32 digits.
#[derive(Debug, Clone, Copy)]
struct Interval {
    low: u32,
    high: u32,
    /// Digits owed.
    owed: u64,
}

/// What the interval's widening does to the digits.
enum Digit {
    Write(bool),
    Owe,
}

impl Interval {
    const ALL: Self = Self { low: 0, high: u32::MAX, owed: 0 };

    /// The last number that stands for a 0.
    fn last_zero(&self, model: Model) -> u32 {
        let range = u64::from(self.high - self.low) + 1;
        // At least 2^30 wide, and a probability is at least 2^-26: both parts hold a number.
        (u64::from(self.low) + model.zero_part(range) - 1) as u32
    }

    fn narrow(&mut self, last_zero: u32, bit: bool) {
        if bit { self.low = last_zero + 1 } else { self.high = last_zero }
    }

    /// Doubles the interval where its numbers share a digit or straddle the middle; the offset taken off before.
    fn widen(&mut self) -> Option<(Digit, u32)> {
        let (digit, offset) = if self.high < HALF {
            (Digit::Write(false), 0)
        } else if self.low >= HALF {
            (Digit::Write(true), HALF)
        } else if self.low >= QUARTER && self.high < HALF + QUARTER {
            (Digit::Owe, QUARTER)
        } else {
            return None;
        };
        self.low = (self.low - offset) << 1;
        self.high = (self.high - offset) << 1 | 1;
        self.owed = if matches!(digit, Digit::Owe) { self.owed + 1 } else { 0 };
        Some((digit, offset))
    }

    /// The number written at the end: 0 if that is in, else 1/2, which always is.
    fn end(&self) -> u32 {
        if self.low == 0 && self.owed == 0 { 0 } else { HALF }
    }
}

/// Bits to bytes.
#[derive(Debug)]
pub struct Encoder {
    interval: Interval,
    digits: Vec<bool>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { interval: Interval::ALL, digits: Vec::new() }
    }
}

impl Encoder {
    /// Codes a bit with the model's probability, and lets the model see it.
    pub fn bit(&mut self, model: &mut Model, bit: bool) {
        let last_zero = self.interval.last_zero(*model);
        self.interval.narrow(last_zero, bit);
        model.see(bit);
        let mut owed = self.interval.owed;
        while let Some((digit, _)) = self.interval.widen() {
            if let Digit::Write(digit) = digit {
                self.digits.push(digit);
                self.digits.extend(std::iter::repeat_n(!digit, owed as usize));
            }
            owed = self.interval.owed;
        }
    }

    /// The bytes.
    pub fn finish(mut self) -> Vec<u8> {
        // The digits after this one are 0, the owed ones too.
        self.digits.push(self.interval.end() == HALF);
        let mut bytes = bits::pack(&self.digits);
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        bytes
    }
}

/// Bytes to bits.
#[derive(Debug)]
pub struct Decoder<'a> {
    interval: Interval,
    /// The number's next 32 digits.
    number: u32,
    bytes: &'a [u8],
    /// Digits read.
    read: usize,
}

impl<'a> Decoder<'a> {
    /// Begins with the first digits of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { interval: Interval::ALL, number: 0, bytes, read: 0 };
        for _ in 0..32 {
            decoder.shift();
        }
        decoder
    }

    fn shift(&mut self) {
        let digit = self.bytes.get(self.read / 8).is_some_and(|byte| byte >> (self.read % 8) & 1 == 1);
        self.number = self.number << 1 | u32::from(digit);
        self.read += 1;
    }

    /// The next bit, by the model that coded it.
    pub fn bit(&mut self, model: &mut Model) -> bool {
        let last_zero = self.interval.last_zero(*model);
        let bit = self.number > last_zero;
        self.interval.narrow(last_zero, bit);
        model.see(bit);
        while let Some((_, offset)) = self.interval.widen() {
            self.number -= offset;
            self.shift();
        }
        bit
    }

    /// Whether these are the very bytes that [`Encoder::finish`] gives for the bits decoded.
    ///
    /// # Errors
    /// When they are not: cut, continued or changed.
    pub fn finish(self) -> Result<(), WireError> {
        let unread = self.bytes.iter().skip(self.read.div_ceil(8)).any(|byte| *byte != 0);
        let partly =
            !self.read.is_multiple_of(8) && self.bytes.get(self.read / 8).is_some_and(|b| b >> (self.read % 8) != 0);
        let trailing = self.bytes.last() == Some(&0);
        if unread || partly || trailing || self.number != self.interval.end() {
            return Err(WireError::NotCanonical);
        }
        Ok(())
    }
}

/// Codes bits, each in its context.
pub fn encode(bits: &[bool], contexts: &Contexts) -> Vec<u8> {
    let mut models = vec![Model::default(); contexts.count()];
    let mut encoder = Encoder::default();
    for (position, bit) in bits.iter().enumerate() {
        encoder.bit(&mut models[contexts.of(position)], *bit);
    }
    encoder.finish()
}

/// The `n` bits of [`encode`].
///
/// # Errors
/// When `bytes` is not what [`encode`] gives for any bits, or `n` is more than a message can count.
pub fn decode(bytes: &[u8], n: usize, contexts: &Contexts) -> Result<Vec<bool>, WireError> {
    bits::countable(n)?;
    let mut models = vec![Model::default(); contexts.count()];
    let mut decoder = Decoder::new(bytes);
    let bits = (0..n).map(|position| decoder.bit(&mut models[contexts.of(position)])).collect();
    decoder.finish()?;
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However much a context has seen, both parts of the narrowest interval hold a number.
    #[test]
    fn a_model_never_empties_the_interval() {
        for (zeros, ones) in [(MOST_SEEN - 2, 0), (0, MOST_SEEN - 2), (MOST_SEEN / 2, MOST_SEEN / 2 - 2)] {
            let mut model = Model { zeros, ones };
            for bit in [zeros == 0, zeros == 0, true, false] {
                model.see(bit);
                assert!(model.zeros + model.ones < MOST_SEEN);
                let narrowest = Interval { low: QUARTER, high: 2 * QUARTER, owed: 0 };
                let last_zero = narrowest.last_zero(model);
                assert!(last_zero >= narrowest.low && last_zero < narrowest.high, "{model:?}");
            }
        }
    }
}

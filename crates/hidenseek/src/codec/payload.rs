//! The payload of each kind, written and read. Readers take the number of entries from the receiver, never from
//! the message.
//!
//! An entropy-coded payload begins with a byte that names its scheme: 0 raw, 1 coded in one context, 2 coded by
//! context. The writer picks the shortest by its estimate, so that it never costs more than raw and this byte.

use plasticity_core::bytes::{from_f32s, to_f32s};

use super::bits::{bytes_for, pack, pack_fields, signs, unpack, unpack_fields};
use super::coder::{self, Contexts, Decoder, Encoder, Model};
use super::error::WireError;
use super::message::vote_width;

const RAW: u8 = 0;
const ONE_CONTEXT: u8 = 1;
const BY_CONTEXT: u8 = 2;

/// What both ends of a round know, and never send: made once a round from what the server broadcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Survivors of each layer.
    pub layers: Vec<usize>,
    /// The signs of the broadcast state, n.
    pub signs: Vec<bool>,
    /// Which flips are alike: by layer and |state| / bound.
    pub contexts: Contexts,
}

impl Known {
    /// Of the broadcast `state` (n scores), whose magnitude has the given bound (a, for the mean of masks).
    ///
    /// # Errors
    /// When the numbers of survivors differ.
    pub fn new(layers: &[usize], state: &[f32], bound: f32) -> Result<Self, WireError> {
        let contexts = Contexts::new(layers, state.iter().map(|s| s / bound))?;
        Ok(Self { layers: layers.to_vec(), signs: signs(state), contexts })
    }

    /// n.
    pub fn n(&self) -> usize {
        self.signs.len()
    }

    /// Where `mask` differs from the broadcast signs; its own inverse.
    pub fn xor(&self, mask: &[bool]) -> Vec<bool> {
        mask.iter().zip(&self.signs).map(|(m, s)| m ^ s).collect()
    }
}

/// A mask of bits through the entropy coder, or raw where that is shorter.
pub fn write_coded(bits: &[bool], contexts: &Contexts) -> Vec<u8> {
    let raw = pack(bits);
    let one = Contexts::one();
    let (alone, apart) = (one.estimate(bits), contexts.estimate(bits));
    let (scheme, contexts) = if apart < alone { (BY_CONTEXT, contexts) } else { (ONE_CONTEXT, &one) };
    if alone.min(apart) < 8.0 * raw.len() as f64 {
        let coded = coder::encode(bits, contexts);
        if coded.len() < raw.len() {
            return tagged(scheme, &coded);
        }
    }
    tagged(RAW, &raw)
}

/// The `n` bits of [`write_coded`].
///
/// # Errors
/// When the payload is not one.
pub fn read_coded(payload: &[u8], n: usize, contexts: &Contexts) -> Result<Vec<bool>, WireError> {
    match split_tag(payload)? {
        (RAW, raw) => unpack(raw, n),
        (ONE_CONTEXT, coded) => coder::decode(coded, n, &Contexts::one()),
        (BY_CONTEXT, coded) => coder::decode(coded, n, contexts),
        (scheme, _) => Err(WireError::Scheme(scheme)),
    }
}

/// Finite values, 4 bytes each.
pub fn write_scores(values: &[f32]) -> Vec<u8> {
    from_f32s(values)
}

/// The `n` values of [`write_scores`].
///
/// # Errors
/// When the length is wrong, or a value is not finite.
pub fn read_scores(payload: &[u8], n: usize) -> Result<Vec<f32>, WireError> {
    let needed = 4 * n as u64;
    super::bits::exactly(payload, needed)?;
    let values = to_f32s(payload).ok_or(WireError::Truncated { needed, found: payload.len() as u64 })?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(WireError::NotFinite { index }),
        None => Ok(values),
    }
}

/// The largest code of a vote count: `voters`, and for an even number of voters one more, which stands for a tie
/// whose old sign is minus (an even number always leaves a code free, and a client that holds nothing needs the sign).
pub fn largest_vote(voters: u32) -> u32 {
    if voters.is_multiple_of(2) { voters.saturating_add(1) } else { voters }
}

/// Vote counts in `ceil(log2(voters + 1))` bits each, of which none may be above [`largest_vote`]: higher bits are lost.
pub fn write_votes(counts: &[u32], voters: u32) -> Vec<u8> {
    pack_fields(counts, vote_width(voters))
}

/// The `n` counts of [`write_votes`].
///
/// # Errors
/// When the length or padding is wrong, or a count is above [`largest_vote`].
pub fn read_votes(payload: &[u8], n: usize, voters: u32) -> Result<Vec<u32>, WireError> {
    let counts = unpack_fields(payload, n, vote_width(voters))?;
    below(&counts, largest_vote(voters))?;
    Ok(counts)
}

/// The first 8 bytes of BLAKE3 over a packed prune mask, little-endian; the same as `PruneMask::hash`.
pub fn bitmap_hash(bitmap: &[u8]) -> u64 {
    let mut first = [0u8; 8];
    first.copy_from_slice(&blake3::hash(bitmap).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// The `n` flags of a packed prune mask whose hash is `mask_hash`.
///
/// # Errors
/// When the length or padding is wrong, or the hash is another.
pub fn read_bitmap(payload: &[u8], n: usize, mask_hash: u64) -> Result<Vec<bool>, WireError> {
    let keep = unpack(payload, n)?;
    let found = bitmap_hash(payload);
    if found != mask_hash {
        return Err(WireError::MaskHash { expected: mask_hash, found });
    }
    Ok(keep)
}

/// One scale a layer, then one sign a survivor.
pub fn write_sign_delta(scales: &[f32], signs: &[bool]) -> Vec<u8> {
    let mut payload = write_scores(scales);
    payload.extend(pack(signs));
    payload
}

/// The scales and signs of [`write_sign_delta`].
///
/// # Errors
/// When the length or padding is wrong, or a scale is not finite or below 0.
pub fn read_sign_delta(payload: &[u8], n: usize, layers: usize) -> Result<(Vec<f32>, Vec<bool>), WireError> {
    let (scales, rest) = read_scales(payload, layers)?;
    Ok((scales, unpack(rest, n)?))
}

/// One scale a layer, then the symbols -1, 0, +1 through the entropy coder: first whether it is 0, in a context of
/// the layer and of the symbol before (dead units leave runs of zeros), then its sign; or 2 bits each.
pub fn write_ternary(scales: &[f32], symbols: &[i8], layers: &[usize]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    let mut models = vec![Model::default(); 3 * layers.len().max(1)];
    let mut before = false;
    for (symbol, layer) in symbols.iter().zip(layer_of(layers)) {
        let zero = *symbol == 0;
        encoder.bit(&mut models[3 * layer + usize::from(before)], zero);
        if !zero {
            encoder.bit(&mut models[3 * layer + 2], *symbol > 0);
        }
        before = zero;
    }
    let coded = encoder.finish();
    let mut payload = write_scores(scales);
    if (coded.len() as u64) < bytes_for(symbols.len() as u64, 2) {
        payload.extend(tagged(BY_CONTEXT, &coded));
    } else {
        let fields: Vec<u32> = symbols.iter().map(|symbol| symbol.rem_euclid(3) as u32).collect();
        payload.extend(tagged(RAW, &pack_fields(&fields, 2)));
    }
    payload
}

/// The scales and symbols of [`write_ternary`].
///
/// # Errors
/// When the payload is not one, or a scale is not finite or below 0.
pub fn read_ternary(payload: &[u8], layers: &[usize]) -> Result<(Vec<f32>, Vec<i8>), WireError> {
    let n = layers.iter().fold(0, |sum: usize, n| sum.saturating_add(*n));
    super::bits::countable(n)?;
    let (scales, rest) = read_scales(payload, layers.len())?;
    match split_tag(rest)? {
        (RAW, raw) => {
            let fields = unpack_fields(raw, n, 2)?;
            below(&fields, 2)?;
            Ok((scales, fields.into_iter().map(|field| [0, 1, -1][field as usize % 3]).collect()))
        }
        (BY_CONTEXT, coded) => {
            let mut decoder = Decoder::new(coded);
            let mut models = vec![Model::default(); 3 * layers.len().max(1)];
            let mut before = false;
            let mut symbols = Vec::with_capacity(n);
            for layer in layer_of(layers).take(n) {
                before = decoder.bit(&mut models[3 * layer + usize::from(before)]);
                let positive = !before && decoder.bit(&mut models[3 * layer + 2]);
                symbols.push(i8::from(positive) - i8::from(!before && !positive));
            }
            decoder.finish()?;
            Ok((scales, symbols))
        }
        (scheme, _) => Err(WireError::Scheme(scheme)),
    }
}

fn tagged(scheme: u8, bytes: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(1 + bytes.len());
    payload.push(scheme);
    payload.extend(bytes);
    payload
}

fn split_tag(payload: &[u8]) -> Result<(u8, &[u8]), WireError> {
    payload.split_first().map(|(tag, rest)| (*tag, rest)).ok_or(WireError::Truncated { needed: 1, found: 0 })
}

fn read_scales(payload: &[u8], layers: usize) -> Result<(Vec<f32>, &[u8]), WireError> {
    let needed = 4 * layers;
    let short = WireError::Truncated { needed: needed as u64, found: payload.len() as u64 };
    let (scales, rest) = payload.split_at_checked(needed).ok_or(short)?;
    let scales = read_scores(scales, layers)?;
    // -0.0 too: a scale has one way to be written.
    match scales.iter().position(|scale| scale.is_sign_negative()) {
        Some(index) => Err(WireError::NotFinite { index }),
        None => Ok((scales, rest)),
    }
}

fn below(values: &[u32], most: u32) -> Result<(), WireError> {
    match values.iter().position(|value| *value > most) {
        Some(index) => Err(WireError::Symbol { index, found: values[index], most }),
        None => Ok(()),
    }
}

/// The layer of each survivor, and the last one (or 0) for ever after.
pub(crate) fn layer_of(layers: &[usize]) -> impl Iterator<Item = usize> {
    let last = layers.len().saturating_sub(1);
    layers.iter().enumerate().flat_map(|(layer, n)| std::iter::repeat_n(layer, *n)).chain(std::iter::repeat(last))
}

//! Floats as bytes, exactly: four bytes each, eight for f64, the least significant first.

/// The values, one after the other.
pub fn from_f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The values of [`from_f32s`]; `None` where the number of bytes is no multiple of four.
pub fn to_f32s(bytes: &[u8]) -> Option<Vec<f32>> {
    let (words, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| words.iter().map(|word| f32::from_le_bytes(*word)).collect())
}

/// The values, one after the other.
pub fn from_f64s(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The values of [`from_f64s`]; `None` where the number of bytes is no multiple of eight.
pub fn to_f64s(bytes: &[u8]) -> Option<Vec<f64>> {
    let (words, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| words.iter().map(|word| f64::from_le_bytes(*word)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_to_the_last_bit() {
        let values = [1.5, -0.0, f32::MIN_POSITIVE / 3.0, f32::NAN, f32::INFINITY];
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let bytes = from_f32s(&values);
        assert_eq!(bytes[..4], [0, 0, 0xc0, 0x3f]);
        assert_eq!(bits(&to_f32s(&bytes).unwrap()), bits(&values));
        assert_eq!(to_f32s(&bytes[..7]), None);
        assert_eq!(to_f32s(&[]), Some(Vec::new()));

        let values = [0.1 + 0.2, -0.0, f64::MIN_POSITIVE / 3.0, f64::NEG_INFINITY];
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&to_f64s(&from_f64s(&values)).unwrap()), bits(&values));
        assert_eq!(to_f64s(&[0; 12]), None);
    }
}

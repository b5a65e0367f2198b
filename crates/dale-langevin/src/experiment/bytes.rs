//! Numbers as the bytes of a checkpoint's file.

use plasticity_core::error::RunError;

/// Little-endian bytes.
pub(super) fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The numbers of a file.
pub(super) fn from_bytes(name: &str, bytes: &[u8]) -> Result<Vec<f32>, RunError> {
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(RunError::Checkpoint { file: name.into(), what: "its length is no multiple of 4".into() });
    }
    Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
}

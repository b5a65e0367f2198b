//! Weights as a model has them: inputs first.

use crate::blocks::{BlockError, BlockType};

/// Rows that are turned at once: what they write beside each other fills a line of the cache.
const ROWS: usize = 16;

/// Values row-major.
pub(super) fn values(kind: BlockType, bytes: &[u8], n: usize) -> Result<Vec<f32>, BlockError> {
    let mut values = vec![0.0; n];
    kind.dequantise(bytes, &mut values)?;
    Ok(values)
}

/// A matrix of `rows` x `columns` turned: `[columns, rows]`.
pub(super) fn turned(kind: BlockType, bytes: &[u8], [rows, columns]: [usize; 2]) -> Result<Vec<f32>, BlockError> {
    let size = kind.bytes_of_rows(rows, columns)?;
    if bytes.len() != size {
        let (kind, found) = (kind.name(), bytes.len());
        return Err(BlockError::Bytes { kind, values: rows * columns, expected: size, found });
    }
    let mut out = vec![0.0; rows * columns];
    let mut some = vec![0.0; ROWS.min(rows) * columns];
    let row = size.checked_div(rows).unwrap_or(0);
    for first in (0..rows).step_by(ROWS) {
        let count = ROWS.min(rows - first);
        let some = &mut some[..count * columns];
        kind.dequantise(&bytes[first * row..][..count * row], some)?;
        for (column, to) in out.chunks_exact_mut(rows).enumerate() {
            for (i, to) in to[first..][..count].iter_mut().enumerate() {
                *to = some[i * columns + column];
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_matrix_is_its_transpose() {
        for (rows, columns) in [(1, 64), (3, 32), (16, 32), (37, 96), (64, 32)] {
            let plain: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * 0.37).sin()).collect();
            for kind in BlockType::ALL {
                let bytes = kind.quantise(&plain).unwrap();
                let straight = values(kind, &bytes, rows * columns).unwrap();
                let turned = turned(kind, &bytes, [rows, columns]).unwrap();
                for (i, x) in straight.iter().enumerate() {
                    assert_eq!(turned[i % columns * rows + i / columns].to_bits(), x.to_bits(), "{kind} {i}");
                }
                assert!(super::turned(kind, &bytes[1..], [rows, columns]).is_err());
            }
        }
    }
}

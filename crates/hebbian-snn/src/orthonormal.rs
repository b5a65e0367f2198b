//! Orthonormal rows and extreme eigenvalues, in f64 on the CPU. Matrices are row-major slices.

use plasticity_core::rng::Stream;

/// A row that adds less than this to the span of those before it is dropped; of a row longer than 1, less than this
/// share of its length, where rounding lies.
const RANK_TOLERANCE: f64 = 1e-6;
/// How far rows that are orthonormal but for rounding to F32 may be off.
const ORTHONORMAL_TOLERANCE: f64 = 1e-5;

/// Dot product in eight partial sums, always added in the same order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// Subtracts from `row` its part in the span of orthonormal `basis` rows. Done twice, this leaves
/// nothing but rounding.
fn remove_span(row: &mut [f64], basis: &[f64]) {
    for b in basis.chunks_exact(row.len()) {
        let inside = dot(row, b);
        for (x, y) in row.iter_mut().zip(b) {
            *x -= inside * y;
        }
    }
}

/// An orthonormal basis of the span of `rows` `[k, n]`, by modified Gram-Schmidt done twice, in
/// the rows' order; deficient rows are dropped, so that the result may have fewer.
pub(crate) fn basis(rows: &[f32], n: usize) -> Vec<f32> {
    let rows: Vec<f64> = rows.iter().map(|&x| f64::from(x)).collect();
    basis_f64(&rows, n).into_iter().map(|x| x as f32).collect()
}

fn basis_f64(rows: &[f64], n: usize) -> Vec<f64> {
    let mut basis: Vec<f64> = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(n) {
        let mut row = row.to_vec();
        let length = dot(&row, &row).sqrt();
        remove_span(&mut row, &basis);
        remove_span(&mut row, &basis);
        let norm = dot(&row, &row).sqrt();
        // A row that is not finite has no direction either.
        if norm.is_finite() && norm >= RANK_TOLERANCE * length.max(1.0) {
            basis.extend(row.iter().map(|x| x / norm));
        }
    }
    basis
}

/// Whether `rows` `[k, n]` are orthonormal but for rounding.
pub(crate) fn is_orthonormal(rows: &[f32], n: usize) -> bool {
    let rows: Vec<f64> = rows.iter().map(|&x| f64::from(x)).collect();
    rows.chunks_exact(n).enumerate().all(|(i, row)| {
        let mut others = rows.chunks_exact(n).take(i);
        (dot(row, row) - 1.0).abs() <= ORTHONORMAL_TOLERANCE
            && others.all(|other| dot(row, other).abs() <= ORTHONORMAL_TOLERANCE)
    })
}

/// `k` random orthonormal rows of length `n >= k`: the orthogonal factor of a Gaussian matrix
/// with the sign that makes the triangular factor's diagonal positive, hence uniform.
pub(crate) fn random_rows(k: usize, n: usize, stream: &mut Stream) -> Vec<f32> {
    let mut rows = Vec::with_capacity(k * n);
    while rows.len() < k * n {
        let missing = k - rows.len() / n;
        rows.extend((0..missing * n).map(|_| stream.normal()));
        // Gram-Schmidt keeps each row's own direction positive; a deficient row is redrawn.
        rows = basis_f64(&rows, n);
    }
    rows.into_iter().map(|x| x as f32).collect()
}

/// The share of the sum of squares of `x` `[r, n]` that lies in the span of orthonormal `basis`
/// rows; 0 for an `x` of zeros.
pub(crate) fn energy_inside(x: &[f32], basis: &[f32], n: usize) -> f64 {
    let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let (x, basis) = (wide(x), wide(basis));
    let (mut inside, mut all) = (0.0, 0.0);
    for row in x.chunks_exact(n) {
        all += dot(row, row);
        inside += basis.chunks_exact(n).map(|b| dot(row, b).powi(2)).sum::<f64>();
    }
    if all > 0.0 { inside / all } else { 0.0 }
}

/// The largest eigenvalue of `H H^T` for `rows` `[k, n]`, by Lanczos iteration with full
/// reorthogonalisation, which for a symmetric matrix converges at the ends of the spectrum
/// first; it ends when the estimate no longer moves, or exactly, after k steps.
pub(crate) fn largest_gram_eigenvalue(rows: &[f32], n: usize) -> f64 {
    let k = rows.len() / n;
    if k == 0 {
        return 0.0;
    }
    let rows: Vec<f64> = rows.iter().map(|&x| f64::from(x)).collect();
    let apply = |q: &[f64]| -> Vec<f64> {
        let mut x = vec![0.0; n];
        for (row, q) in rows.chunks_exact(n).zip(q) {
            for (x, r) in x.iter_mut().zip(row) {
                *x += q * r;
            }
        }
        rows.chunks_exact(n).map(|row| dot(row, &x)).collect()
    };
    // A fixed start with a part in every direction.
    let mut stream = Stream::new(0, "hebbian-snn/lanczos", 0);
    let mut q: Vec<f64> = (0..k).map(|_| stream.normal()).collect();
    let norm = dot(&q, &q).sqrt();
    q.iter_mut().for_each(|x| *x /= norm);
    let (mut basis, mut diagonal, mut beside) = (q.clone(), Vec::new(), Vec::<f64>::new());
    let mut best = f64::NEG_INFINITY;
    let mut still = 0;
    loop {
        let mut next = apply(&q);
        diagonal.push(dot(&next, &q));
        remove_span(&mut next, &basis);
        remove_span(&mut next, &basis);
        let norm = dot(&next, &next).sqrt();
        let estimate = largest_tridiagonal_eigenvalue(&diagonal, &beside);
        still = if (estimate - best).abs() <= 1e-12 * estimate.abs() { still + 1 } else { 0 };
        best = estimate;
        if diagonal.len() == k || norm < 1e-12 * best.abs().max(1e-300) || still == 5 {
            return best;
        }
        beside.push(norm);
        next.iter_mut().for_each(|x| *x /= norm);
        basis.extend_from_slice(&next);
        q = next;
    }
}

/// Bisection on the number of negative pivots (Sturm's sequence) of a symmetric tridiagonal
/// matrix, inside Gershgorin's bounds.
fn largest_tridiagonal_eigenvalue(diagonal: &[f64], beside: &[f64]) -> f64 {
    let k = diagonal.len();
    let reach = |i: usize| {
        let left = if i > 0 { beside[i - 1].abs() } else { 0.0 };
        left + beside.get(i).map_or(0.0, |x| x.abs())
    };
    let mut low = diagonal.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut high = (0..k).map(|i| diagonal[i] + reach(i)).fold(f64::NEG_INFINITY, f64::max);
    let all_below = |x: f64| {
        let mut pivot = 1.0;
        (0..k).all(|i| {
            let off = if i > 0 { beside[i - 1] * beside[i - 1] / pivot } else { 0.0 };
            pivot = diagonal[i] - x - off;
            pivot < 0.0
        })
    };
    while high - low > 1e-13 * high.abs().max(low.abs()) {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if all_below(middle) { high = middle } else { low = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependent_row_is_dropped_and_the_span_kept() {
        let rows = [3.0, 0.0, 4.0, 0.0, 6.0, 0.0, 8.0, 0.0, 0.0, 2.0, 0.0, 0.0];
        let basis = basis(&rows, 4);
        let expected = [0.6, 0.0, 0.8, 0.0, 0.0, 1.0, 0.0, 0.0];
        assert!(basis.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7), "{basis:?}");
    }

    // Rounding of a long row is no direction, at any length that F32 has.
    #[test]
    fn a_dependent_row_is_dropped_however_long_it_is() {
        let row = [0.31f32, -0.72, 0.17, 0.53, 0.09];
        for scale in [1e-3, 1.0, 1e3, 1e12, 1e30, 1e38] {
            let long = row.map(|x| x * scale);
            let twice: Vec<f32> = long.iter().chain(&long).chain(&row).copied().collect();
            assert_eq!(basis(&twice, 5).len(), 5, "{scale}");
            // What another row adds to it is kept.
            let two: Vec<f32> = long.iter().copied().chain([0.0, scale, 0.0, 0.0, 0.0]).collect();
            let basis = basis(&two, 5);
            assert!(basis.len() == 10 && is_orthonormal(&basis, 5), "{scale}");
        }
    }

    #[test]
    fn orthonormal_is_what_has_length_1_and_nothing_in_common() {
        let orthonormal = random_rows(40, 64, &mut Stream::new(3, "orthonormal", 0));
        assert!(is_orthonormal(&orthonormal, 64) && is_orthonormal(&[], 64));
        for (rows, is) in [
            ([0.6, 0.8, -0.8, 0.6], true),
            ([0.6, 0.8, 0.6, 0.8], false),
            ([0.6, 0.8, -0.4, 0.3], false),
            ([0.6, 0.8, -1.6, 1.2], false),
            ([0.6, 0.8, f32::NAN, 0.6], false),
        ] {
            assert_eq!(is_orthonormal(&rows, 2), is, "{rows:?}");
        }
    }

    #[test]
    fn largest_eigenvalue_of_a_known_spectrum() {
        // H = S Q with orthonormal Q has the Gram matrix S^2.
        for (k, n) in [(1, 3), (5, 8), (40, 64)] {
            let mut stream = Stream::new(3, "spectrum", k as u64);
            let mut rows = random_rows(k, n, &mut stream);
            for (i, row) in rows.chunks_exact_mut(n).enumerate() {
                row.iter_mut().for_each(|x| *x *= 1.0 + i as f32 / k as f32);
            }
            let largest = (1.0 + (k - 1) as f64 / k as f64).powi(2);
            let found = largest_gram_eigenvalue(&rows, n);
            assert!((found - largest).abs() < 1e-6, "{k}: {found} for {largest}");
        }
    }

    #[test]
    fn equal_rows_double_the_eigenvalue() {
        let rows = [0.6, 0.8, 0.6, 0.8];
        assert!((largest_gram_eigenvalue(&rows, 2) - 2.0).abs() < 1e-6);
    }
}

//! Tests against closed forms.

use super::*;
use plasticity_core::rng::Stream;
use proptest::prelude::*;

fn gaussian(mean: &[f64], diagonal: &[f64]) -> Gaussian {
    Gaussian {
        mean: DVector::from_row_slice(mean),
        covariance: DMatrix::from_diagonal(&DVector::from_row_slice(diagonal)),
    }
}

fn normal(seed: u64, n: usize, width: usize) -> Vec<f32> {
    let mut stream = Stream::new(seed, "rows", 0);
    (0..n * width).map(|i| (stream.normal() * (1 + i % width) as f64) as f32).collect()
}

/// An orthogonal matrix: the first factor of a QR decomposition of random numbers.
fn rotation(seed: u64, width: usize) -> DMatrix<f64> {
    let mut stream = Stream::new(seed, "rotation", 0);
    DMatrix::from_fn(width, width, |_, _| stream.normal()).qr().q()
}

/// A covariance with no structure.
fn random(seed: u64, width: usize) -> Gaussian {
    let mut stream = Stream::new(seed, "covariance", 0);
    let a = DMatrix::from_fn(width, width, |_, _| stream.normal());
    Gaussian { mean: DVector::from_fn(width, |_, _| stream.normal()), covariance: &a * a.transpose() }
}

#[test]
fn diagonal_covariances_have_the_closed_form() {
    let (s, t) = ([4.0, 0.25, 9.0], [1.0, 0.0, 2.0]);
    let (a, b) = (gaussian(&[1.0, -2.0, 0.5], &s), gaussian(&[1.5, 0.0, 0.5], &t));
    let expected: f64 = 0.25 + 4.0 + s.iter().zip(t).map(|(s, t)| (s.sqrt() - t.sqrt()).powi(2)).sum::<f64>();
    assert!((frechet(&a, &b).unwrap() - expected).abs() < 1e-12);
}

/// For two by two matrices, tr sqrt(M) is sqrt(tr M + 2 sqrt(det M)) with M = S1 S2.
#[test]
fn full_covariances_have_the_closed_form_of_two_dimensions() {
    for seed in 0..20 {
        let (mut a, mut b) = (random(seed, 2), random(seed + 100, 2));
        (a.mean, b.mean) = (DVector::zeros(2), DVector::zeros(2));
        let product = &a.covariance * &b.covariance;
        let cross = (product.trace() + 2.0 * product.determinant().sqrt()).sqrt();
        let expected = a.covariance.trace() + b.covariance.trace() - 2.0 * cross;
        assert!((frechet(&a, &b).unwrap() - expected).abs() < 1e-9, "seed {seed}");
    }
}

/// Most eigenvalues of the product are 0, and rounding puts some of them below: for
/// u u' and v v' the trace of the root is |u . v|.
#[test]
fn covariances_of_rank_one_have_the_closed_form() {
    for seed in 0..20 {
        let mut stream = Stream::new(seed, "rank one", 0);
        let mut vector = || DVector::from_fn(8, |_, _| stream.normal());
        let (u, v) = (vector(), vector());
        let flat = |u: &DVector<f64>| Gaussian { mean: DVector::zeros(8), covariance: u * u.transpose() };
        let expected = u.norm_squared() + v.norm_squared() - 2.0 * u.dot(&v).abs();
        let found = frechet(&flat(&u), &flat(&v)).unwrap();
        // An eigenvalue of 0 is found to about 1e-15, its root to about 1e-7.
        assert!((found - expected).abs() < 1e-5, "seed {seed}: {found}, not {expected}");
    }
}

#[test]
fn equal_sets_are_at_distance_zero_and_a_shift_costs_its_square() {
    let rows = normal(1, 300, 6);
    let basis = PcaBasis::fit(&rows, 6, 6).unwrap();
    let one = basis.gaussian(&rows).unwrap();
    assert!(frechet(&one, &one).unwrap() < 1e-10);
    let mut moved = one.clone();
    moved.mean += DVector::from_row_slice(&[1.0, 2.0, -3.0, 0.0, 0.5, 0.25]);
    assert!((frechet(&one, &moved).unwrap() - 14.3125).abs() < 1e-10);
}

#[test]
fn the_divisor_is_n_minus_one() {
    let g = Gaussian::fit(&[1.0_f64, 3.0, 8.0], 1).unwrap();
    assert_eq!((g.mean[0], g.covariance[(0, 0)]), (4.0, 13.0));
}

/// More rows than are multiplied at a time, against sums written out.
#[test]
fn covariance_over_chunks_is_the_plain_sum() {
    let (n, width) = (2 * CHUNK + 37, 3);
    let rows = normal(5, n, width);
    let g = Gaussian::fit(&rows, width).unwrap();
    for i in 0..width {
        for j in 0..width {
            let sum: f64 =
                rows.chunks(width).map(|r| (f64::from(r[i]) - g.mean[i]) * (f64::from(r[j]) - g.mean[j])).sum();
            assert!((g.covariance[(i, j)] - sum / (n - 1) as f64).abs() < 1e-9);
        }
    }
    let basis = PcaBasis::fit(&rows, width, 2).unwrap();
    let whole = basis.project(&rows).unwrap();
    let parts: Vec<f64> = rows.chunks(width * 7).flat_map(|part| basis.project(part).unwrap()).collect();
    assert_eq!(whole.len(), n * 2);
    assert!(whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-9));
}

/// Points on a line along (3, 4) with a little across it.
#[test]
fn components_come_by_variance_with_a_fixed_sign() {
    let rows: Vec<f32> = [(-2.0, 0.1), (-1.0, -0.2), (1.0, 0.2), (2.0, -0.1)]
        .iter()
        .flat_map(|(along, across)| [0.6 * along - 0.8 * across + 7.0, 0.8 * along + 0.6 * across - 1.0])
        .collect();
    let basis = PcaBasis::fit(&rows, 2, 2).unwrap();
    // 2 (4 + 1) / 3 along, 2 (0.01 + 0.04) / 3 across, and 2 (-0.2 + 0.2) / 3 between.
    assert!((basis.variances()[0] - 10.0 / 3.0).abs() < 1e-5 && (basis.variances()[1] - 0.1 / 3.0).abs() < 1e-5);
    let found = basis.project(&rows).unwrap();
    let expected = [-2.0, -0.1, -1.0, 0.2, 1.0, -0.2, 2.0, 0.1];
    assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-5), "{found:?}");
    // Not whitened: the covariance of the projected rows is the variances.
    let g = basis.gaussian(&rows).unwrap();
    assert!((g.covariance[(0, 0)] - basis.variances()[0]).abs() < 1e-9 && g.covariance[(0, 1)].abs() < 1e-9);
    assert_eq!(basis, PcaBasis::fit(&rows, 2, 2).unwrap());
}

#[test]
fn what_cannot_be_compared_is_a_typed_error() {
    let rows = normal(3, 10, 4);
    assert_eq!(PcaBasis::fit(&rows, 4, 5), Err(FrechetError::Components { found: 5, most: 4 }));
    assert_eq!(PcaBasis::fit(&rows, 4, 0), Err(FrechetError::Components { found: 0, most: 4 }));
    assert_eq!(PcaBasis::fit(&rows[..16], 4, 4), Err(FrechetError::TooFewRows { found: 4, needed: 5 }));
    assert_eq!(PcaBasis::fit(&rows[..15], 4, 2), Err(FrechetError::Buffer { values: 15, width: 4 }));
    assert_eq!(Gaussian::fit(&rows, 0), Err(FrechetError::Buffer { values: 40, width: 0 }));
    let basis = PcaBasis::fit(&rows, 4, 3).unwrap();
    assert_eq!(basis.gaussian(&rows[..4]), Err(FrechetError::TooFewRows { found: 1, needed: 2 }));
    assert_eq!(basis.project(&rows[..7]), Err(FrechetError::Buffer { values: 7, width: 4 }));
    let mut broken = rows.clone();
    broken[6] = f32::NAN;
    assert_eq!(basis.project(&broken), Err(FrechetError::NotFinite { row: 1, column: 2 }));
    assert_eq!(PcaBasis::fit(&broken, 4, 3), Err(FrechetError::NotFinite { row: 1, column: 2 }));
    let (two, three) = (gaussian(&[0.0; 2], &[1.0; 2]), gaussian(&[0.0; 3], &[1.0; 3]));
    assert_eq!(frechet(&two, &three), Err(FrechetError::Width { found: 3, expected: 2 }));
}

proptest! {
    #[test]
    fn a_rotation_of_both_changes_nothing(seed in 0_u64..1000, width in 2_usize..7) {
        let (a, b) = (random(seed, width), random(seed + 5000, width));
        let q = rotation(seed, width);
        let turn = |g: &Gaussian| Gaussian { mean: &q * &g.mean, covariance: &q * &g.covariance * q.transpose() };
        let (plain, turned) = (frechet(&a, &b).unwrap(), frechet(&turn(&a), &turn(&b)).unwrap());
        prop_assert!((plain - turned).abs() < 1e-7 * (1.0 + plain), "{plain} {turned}");
        // And it does not matter which side comes first.
        prop_assert!((plain - frechet(&b, &a).unwrap()).abs() < 1e-7 * (1.0 + plain));
    }
}

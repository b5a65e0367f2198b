//! Data for the oracles.

use std::path::Path;

use burn::prelude::*;
use hebbian_snn::hlop::{Hlop, Projection};
use hebbian_snn::network::{Mlp, MlpConfig};
use hebbian_snn::neuron::DsrLif;
use hebbian_snn::subspace::{Consolidate, LateralRule, Subspace};
use plasticity_core::rng::Stream;
use plasticity_core::testing::Golden;

pub fn golden(name: &str) -> Golden {
    Golden::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name))
}

pub fn matrix(data: Vec<f32>, n: usize, device: &Device) -> Tensor<2> {
    let rows = data.len() / n;
    Tensor::from_data(TensorData::new(data, [rows, n]), device)
}

pub fn normal(rows: usize, n: usize, label: &str, device: &Device) -> Tensor<2> {
    matrix(Stream::new(11, label, 0).normal_vec(rows * n), n, device)
}

/// `k` orthonormal rows of length `n`.
pub fn orthonormal(k: usize, n: usize, label: &str, device: &Device) -> Tensor<2> {
    let mut subspace = Subspace::new(n, LateralRule::default(), device).unwrap();
    subspace.grow(k, &mut Stream::new(12, label, 0)).unwrap();
    subspace.h().unwrap()
}

/// Samples whose second moment has the eigenvalues 6, 5, 4, 3.5, 3 and 27 times 0.3, in random
/// directions: `[512, 32]`.
pub fn five_strong_directions(label: &str, device: &Device) -> Tensor<2> {
    let scale: Vec<f32> = (0..32).map(|i| [6.0f32, 5.0, 4.0, 3.5, 3.0].get(i).copied().unwrap_or(0.3).sqrt()).collect();
    let scale = matrix(scale, 32, device);
    (normal(512, 32, label, device) * scale).matmul(orthonormal(32, 32, label, device))
}

/// The five leading eigenvectors of the second moment of `x` `[rows, 32]`, as rows, by orthogonal
/// iteration in f64; the gap of the spectra used here makes 200 iterations plenty.
pub fn leading_five(x: &Tensor<2>) -> Vec<Vec<f64>> {
    let n = x.dims()[1];
    let x = plasticity_core::testing::values(x.clone());
    let mut stream = Stream::new(13, "iteration", 0);
    let mut q: Vec<Vec<f64>> = (0..5).map(|_| (0..n).map(|_| stream.normal()).collect()).collect();
    for _ in 0..200 {
        for row in &mut q {
            let mut next = vec![0.0; n];
            for sample in x.chunks_exact(n) {
                let y = dot(sample, row);
                next.iter_mut().zip(sample).for_each(|(a, b)| *a += y * b);
            }
            *row = next;
        }
        q = gram_schmidt(q);
    }
    q
}

pub fn rows_of(h: Tensor<2>) -> Vec<Vec<f64>> {
    let n = h.dims()[1];
    plasticity_core::testing::values(h).chunks_exact(n).map(<[f64]>::to_vec).collect()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

pub fn gram_schmidt(rows: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for mut row in rows {
        for _ in 0..2 {
            for b in &basis {
                let inside = dot(&row, b);
                row.iter_mut().zip(b).for_each(|(x, y)| *x -= inside * y);
            }
        }
        let norm = dot(&row, &row).sqrt();
        basis.push(row.into_iter().map(|x| x / norm).collect());
    }
    basis
}

/// The sine of the largest principal angle between two spans of equal dimension, bounded from
/// above by the Frobenius norm of what one leaves of the other.
pub fn angle(a: Vec<Vec<f64>>, b: Vec<Vec<f64>>) -> f64 {
    let a = gram_schmidt(a);
    let left: f64 = gram_schmidt(b)
        .into_iter()
        .map(|mut row| {
            for basis in &a {
                let inside = dot(&row, basis);
                row.iter_mut().zip(basis).for_each(|(x, y)| *x -= inside * y);
            }
            dot(&row, &row)
        })
        .sum();
    left.sqrt()
}

/// `max |H H^T - I|`.
pub fn off_orthonormal(h: Tensor<2>) -> f64 {
    let rows = rows_of(h);
    let mut worst = 0.0f64;
    for (i, a) in rows.iter().enumerate() {
        for (j, b) in rows.iter().enumerate() {
            worst = worst.max((dot(a, b) - f64::from(u8::from(i == j))).abs());
        }
    }
    worst
}

/// Lateral connections with rows of a finished task, and new ones that learn.
pub fn with_rows(inputs: &[usize], fixed: &[usize], new: &[usize], projection: Projection, device: &Device) -> Hlop {
    let mut stream = Stream::new(18, "rows", 0);
    let subspaces = inputs.iter().zip(fixed).zip(new).map(|((&n, &fixed), &new)| {
        let mut subspace = Subspace::new(n, LateralRule::default(), device).unwrap();
        subspace.grow(fixed, &mut stream).unwrap();
        subspace.finish_task(Consolidate::None);
        subspace.grow(new, &mut stream).unwrap();
        subspace
    });
    Hlop::from_subspaces(subspaces.collect(), projection, Consolidate::None)
}

pub fn largest(x: Tensor<2>) -> f64 {
    f64::from(x.abs().max().into_scalar::<f32>())
}

pub fn small_mlp(inputs: usize, hidden: &[usize], classes: usize, device: &Device) -> Mlp {
    let config = MlpConfig { inputs, hidden: hidden.to_vec(), classes, lif: DsrLif::default() };
    config.init(&mut Stream::new(14, "weights", 0), device).unwrap()
}

/// Inputs as sparse and as strong as normalised digits: a fifth of the pixels is lit.
pub fn glyphs(batch: usize, n: usize, index: u64, device: &Device) -> Tensor<2> {
    let mut stream = Stream::new(15, "glyphs", index);
    let mut pixel = || {
        if stream.bernoulli(0.19) { stream.uniform_in(0.3, 2.8) } else { -0.4242 }
    };
    matrix((0..batch * n).map(|_| pixel() as f32).collect(), n, device)
}

pub fn labels(batch: usize, classes: u64, index: u64, device: &Device) -> Tensor<1, Int> {
    let mut stream = Stream::new(16, "labels", index);
    let labels: Vec<i64> = (0..batch).map(|_| stream.below(classes) as i64).collect();
    Tensor::from_data(TensorData::new(labels, [batch]), device)
}

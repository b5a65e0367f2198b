//! What the models of this crate do not have, against sums in f64: other rotary pairs and bases, first tokens that stay,
//! SwiGLU, biases, a head of its own; and angles that begin anew.

use plasticity_core::nn::vector::{Isa, Job16, Simd16};
use plasticity_core::testing::peer::Lcg;

use super::group::Group;
use super::small::inner;
use super::*;
use crate::blocks::{BlockType, Matrix};

fn host(halves: bool) -> Host {
    Host {
        width: 32,
        heads: 4,
        groups: 2,
        head_width: 10,
        window: Some(6),
        sinks: 2,
        rope_base: 5e4,
        rope_halves: halves,
        norm_epsilon: 1e-5,
        length: None,
    }
}

/// `x` turned as the token at `position`, by the formula.
fn turned(host: &Host, x: &[f64], position: u64) -> Vec<f64> {
    let width = host.head_width;
    let mut y = x.to_vec();
    for i in 0..width / 2 {
        let (sin, cos) = (position as f64 * host.rope_base.powf(-2.0 * i as f64 / width as f64)).sin_cos();
        let (a, b) = if host.rope_halves { (i, i + width / 2) } else { (2 * i, 2 * i + 1) };
        (y[a], y[b]) = (x[a] * cos - x[b] * sin, x[a] * sin + x[b] * cos);
    }
    y
}

/// Attention of a query to the keys and values of the tokens up to it.
fn attention(host: &Host, q: &[f64], position: u64, of: impl Fn(u64) -> (Vec<f64>, Vec<f64>)) -> Vec<f64> {
    let first = (position + 1).saturating_sub(host.window.unwrap() as u64);
    let seen = (0..(host.sinks as u64).min(first)).chain(first..=position);
    let q = turned(host, q, position);
    let (mut total, mut sum) = (0.0, vec![0.0; host.head_width]);
    for place in seen {
        let (k, v) = of(place);
        let score: f64 = turned(host, &k, place).iter().zip(&q).map(|(k, q)| k * q).sum();
        let weight = (score / (host.head_width as f64).sqrt()).exp();
        total += weight;
        sum.iter_mut().zip(v).for_each(|(sum, v)| *sum += weight * v);
    }
    sum.into_iter().map(|x| x / total).collect()
}

fn close(found: &[f32], exact: &[f64], bound: f64, what: &str) {
    assert_eq!(found.len(), exact.len());
    for (found, exact) in found.iter().zip(exact) {
        assert!((f64::from(*found) - exact).abs() < bound, "{what}: {found} for {exact}");
    }
}

struct Attend<'a>(&'a mut Group, u64, &'a [f32], &'a mut [f32]);

impl Job16 for Attend<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        self.0.attend(s, self.1, self.2, self.3);
    }
}

#[test]
fn attention_is_that_of_the_formula_wherever_angles_begin() {
    let numbers = |position: u64, n: usize| Lcg(position % 977).vector(n, 1.5);
    let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    for halves in [false, true] {
        let host = host(halves);
        let mut group = Group::new(&host, false);
        for position in 0..(2 << 16) + 30u64 {
            let kv = numbers(position, 20);
            group.put(position, &kv[..10], &kv[10..]);
            let near = position % (1 << 16);
            if (12..=(1 << 16) - 3).contains(&near) {
                continue;
            }
            let q = numbers(position + 5, 20);
            let of = |place: u64| {
                let kv = wide(&numbers(place, 20));
                (kv[..10].to_vec(), kv[10..].to_vec())
            };
            for isa in Isa::all() {
                let mut y = vec![f32::NAN; 20];
                isa.run16(Attend(&mut group, position, &q, &mut y));
                for (y, q) in y.chunks(10).zip(q.chunks(10)) {
                    let exact = attention(&host, &wide(q), position, of);
                    close(y, &exact, 4e-6, &format!("{isa:?}, position {position}"));
                }
            }
        }
    }
}

#[test]
fn swiglu_is_that_of_the_formula() {
    let gate: Vec<f32> = (-2000..2000).map(|i| i as f32 / 16.0).collect();
    let up: Vec<f32> = gate.iter().map(|x| (x * 3.0).sin()).collect();
    for isa in Isa::all() {
        let mut y = up.clone();
        inner(isa, &mut y, Some(&gate));
        for ((y, up), gate) in y.iter().zip(&up).zip(&gate) {
            let exact = f64::from(*up) * f64::from(*gate) / (1.0 + (-f64::from(*gate)).exp());
            assert!((f64::from(*y) - exact).abs() <= 5e-7 * exact.abs() + 1e-30, "{isa:?}, {gate}: {y} for {exact}");
        }
    }
}

/// A model whose numbers are at hand.
fn weights(halves: bool) -> Weights {
    let mut seed = 0;
    let mut vector = |n: usize, scale: f64| {
        seed += 1;
        Lcg(seed).vector(n, scale)
    };
    let mut matrix = |rows: usize, columns: usize| {
        let values = vector(rows * columns, (6.0 / columns as f64).sqrt());
        Matrix::quantised(BlockType::F32, rows, columns, &values).unwrap()
    };
    let layer = |i: u64, matrix: &mut dyn FnMut(usize, usize) -> Matrix| Layer {
        norm1: Lcg(100 + i).vector(32, 1.0),
        qkv: [matrix(40, 32), matrix(20, 32), matrix(20, 32)],
        biases: [40, 20, 20].map(|n| Lcg(200 + i).vector(n, 0.5)),
        output: matrix(32, 40),
        norm2: Lcg(300 + i).vector(32, 1.0),
        gate: Some(matrix(70, 32)),
        up: matrix(70, 32),
        down: matrix(32, 70),
        memory: None,
    };
    let layers = (0..2).map(|i| layer(i, &mut matrix)).collect();
    let (embedding, head) = (matrix(50, 32), Some(matrix(50, 32)));
    Weights { host: host(halves), embedding, head, norm: Lcg(400).vector(32, 1.0), layers }
}

fn times(matrix: &Matrix, x: &[f64]) -> Vec<f64> {
    let mut row = vec![0.0; matrix.columns()];
    let product = |r: usize| {
        matrix.row(r, &mut row).unwrap();
        row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()
    };
    (0..matrix.rows()).map(product).collect()
}

fn normalised(x: &[f64], scale: &[f32]) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(scale).map(|(x, scale)| x / (mean + 1e-5).sqrt() * f64::from(*scale)).collect()
}

/// The logits after every token, in f64.
fn exact(weights: &Weights, tokens: &[u32]) -> Vec<Vec<f64>> {
    let host = &weights.host;
    let row = |token: u32| {
        let mut x = vec![0.0; 32];
        weights.embedding.row(token as usize, &mut x).unwrap();
        x.into_iter().map(f64::from).collect::<Vec<f64>>()
    };
    let mut stream: Vec<Vec<f64>> = tokens.iter().map(|token| row(*token)).collect();
    let add = |x: &mut Vec<f64>, y: Vec<f64>| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    for layer in &weights.layers {
        let mixed: Vec<[Vec<f64>; 3]> = stream
            .iter()
            .map(|x| {
                let n = normalised(x, &layer.norm1);
                std::array::from_fn(|i| {
                    let bias = layer.biases[i].iter().map(|b| f64::from(*b));
                    times(&layer.qkv[i], &n).into_iter().zip(bias).map(|(x, b)| x + b).collect()
                })
            })
            .collect();
        for (t, x) in stream.iter_mut().enumerate() {
            let head = |h: usize| {
                let of = |place: u64| {
                    let group = |i: usize| mixed[place as usize][i][h / 2 * 10..][..10].to_vec();
                    (group(1), group(2))
                };
                attention(host, &mixed[t][0][h * 10..][..10], t as u64, of)
            };
            add(x, times(&layer.output, &(0..4).flat_map(head).collect::<Vec<_>>()));
            let n = normalised(x, &layer.norm2);
            let gates = times(layer.gate.as_ref().unwrap(), &n);
            let silu = gates.into_iter().map(|g| g / (1.0 + (-g).exp()));
            let hidden: Vec<f64> = times(&layer.up, &n).into_iter().zip(silu).map(|(up, gate)| up * gate).collect();
            add(x, times(&layer.down, &hidden));
        }
    }
    stream.iter().map(|x| times(weights.output(), &normalised(x, &weights.norm))).collect()
}

#[test]
fn a_model_of_the_llama_family_is_that_of_the_formula() {
    let tokens: Vec<u32> = (0..29).map(|i| (i * i * 3 + i) % 50).collect();
    for halves in [false, true] {
        let weights = weights(halves);
        let exact = exact(&weights, &tokens);
        let mut decoder = Decoder::new(weights).unwrap();
        let mut from = 0;
        for piece in [1, 1, 5, 8, 9, 1, 4] {
            let logits = decoder.feed(&tokens[from..from + piece]).unwrap();
            from += piece;
            let scale = exact[from - 1].iter().fold(1.0f64, |a, x| a.max(x.abs()));
            close(&logits, &exact[from - 1], 1e-5 * scale, &format!("after {from} tokens"));
        }
        assert_eq!(from, tokens.len());
    }
}

//! Inputs of the rule as plain numbers, and the rule in plain loops over them.

use burn::prelude::*;
use burn::tensor::DType;
use plasticity_core::rng::Stream;
pub use plasticity_core::testing::tensor;
use plasticity_core::testing::{assert_close, max_difference, values};
use synaptic_resonance::MemoryError;
use synaptic_resonance::kernel::{Channels, Inputs, Sizes, chunked, forward, recurrent};
use synaptic_resonance::settings::Rule;

pub const RULES: [Rule; 2] = [Rule::Delta, Rule::Hebbian];

pub fn sizes(batch: usize, time: usize, heads: usize, groups: usize, key: usize, value: usize) -> Sizes {
    Sizes { batch, time, heads, groups, key, value }
}

pub fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Normal vectors of length 1.
pub fn unit(stream: &mut Stream, n: usize, width: usize) -> Vec<f64> {
    let draw = |_| {
        let x: Vec<f64> = (0..width).map(|_| stream.normal()).collect();
        let length = norm(&x);
        x.into_iter().map(move |x| x / length)
    };
    (0..n).flat_map(draw).collect()
}

/// Gates of channels, laid out as `Channels`.
#[derive(Debug, Clone, Default)]
pub struct Gates {
    pub log_decay: Option<Vec<f64>>,
    pub erase: Option<Vec<f64>>,
    pub write: Option<Vec<f64>>,
}

/// What the rule reads, laid out as `Inputs` and the state.
#[derive(Debug, Clone)]
pub struct Case {
    pub sizes: Sizes,
    pub q: Vec<f64>,
    pub k: Vec<f64>,
    pub v: Vec<f64>,
    pub beta: Vec<f64>,
    pub log_a: Option<Vec<f64>>,
    pub starts: Option<Vec<f64>>,
    pub s: Vec<f64>,
    pub channels: Gates,
}

/// What the plain rule gives.
pub struct Plain {
    pub out: Vec<f64>,
    pub s: Vec<f64>,
    pub f: Vec<f64>,
    pub surprise: Vec<f64>,
    pub familiarity: Vec<f64>,
    pub norm: Vec<f64>,
}

/// A form of the rule.
pub type Form<'a> = &'a dyn Fn(Inputs, Tensor<4>) -> Result<(Tensor<4>, Tensor<4>), MemoryError>;

impl Case {
    /// Unit keys and queries, normal values, any rate, decays down to 0.82, a state that is not empty.
    pub fn random(seed: u64, sizes: Sizes) -> Self {
        let mut stream = Stream::new(seed, "kernel", 0);
        let Sizes { batch, time, heads, groups, key, value } = sizes;
        let normal = |stream: &mut Stream, n: usize| (0..n).map(|_| stream.normal()).collect::<Vec<f64>>();
        let tokens = batch * time;
        Self {
            sizes,
            q: unit(&mut stream, tokens * heads, key),
            k: unit(&mut stream, tokens * groups, key),
            v: normal(&mut stream, tokens * groups * value),
            beta: (0..tokens * groups).map(|_| stream.uniform()).collect(),
            log_a: Some((0..tokens * groups).map(|_| -0.2 * stream.uniform()).collect()),
            starts: None,
            s: normal(&mut stream, batch * groups * value * key).iter().map(|x| 0.5 * x).collect(),
            channels: Gates::default(),
        }
    }

    /// With the chosen gates of channels, any share and decays down to 0.82: of decay, erasing, writing.
    pub fn gated(mut self, seed: u64, [decay, erase, write]: [bool; 3]) -> Self {
        let mut stream = Stream::new(seed, "channels", 0);
        let mut draw = |n: usize, scale: f64| (0..n).map(|_| scale * stream.uniform()).collect::<Vec<f64>>();
        let (keys, values) = (self.k.len(), self.v.len());
        let (log_decay, erasing, writing) = (draw(keys, -0.2), draw(keys, 1.0), draw(values, 1.0));
        self.channels = Gates {
            log_decay: decay.then_some(log_decay),
            erase: erase.then_some(erasing),
            write: write.then_some(writing),
        };
        self
    }

    pub fn without_decay(mut self) -> Self {
        self.log_a = None;
        self
    }

    pub fn empty(mut self) -> Self {
        self.s.fill(0.0);
        self
    }

    /// Documents start at the tokens that `at` picks, by row and token.
    pub fn starting(mut self, mut at: impl FnMut(usize, usize) -> bool) -> Self {
        let time = self.sizes.time;
        self.starts = Some((0..self.sizes.batch * time).map(|i| f64::from(at(i / time, i % time))).collect());
        self
    }

    /// Tokens `from..from + time` of all rows.
    pub fn part(&self, from: usize, time: usize) -> Self {
        let take = |x: &[f64]| {
            let width = x.len() / (self.sizes.batch * self.sizes.time);
            let rows = x.chunks_exact(width * self.sizes.time);
            rows.flat_map(|row| row[from * width..(from + time) * width].to_vec()).collect::<Vec<f64>>()
        };
        Self {
            sizes: Sizes { time, ..self.sizes },
            q: take(&self.q),
            k: take(&self.k),
            v: take(&self.v),
            beta: take(&self.beta),
            log_a: self.log_a.as_deref().map(take),
            starts: self.starts.as_deref().map(take),
            s: self.s.clone(),
            channels: Gates {
                log_decay: self.channels.log_decay.as_deref().map(take),
                erase: self.channels.erase.as_deref().map(take),
                write: self.channels.write.as_deref().map(take),
            },
        }
    }

    pub fn inputs(&self, device: &Device, dtype: DType) -> (Inputs, Tensor<4>) {
        let Sizes { batch, time, heads, groups, key, value } = self.sizes;
        let rank4 = |x: &[f64], shape: [usize; 4]| tensor(x, shape, device, dtype);
        let inputs = Inputs {
            q: rank4(&self.q, [batch, time, heads, key]),
            k: rank4(&self.k, [batch, time, groups, key]),
            v: rank4(&self.v, [batch, time, groups, value]),
            beta: tensor(&self.beta, [batch, time, groups], device, dtype),
            log_a: self.log_a.as_deref().map(|x| tensor(x, [batch, time, groups], device, dtype)),
            starts: self.starts.as_deref().map(|x| tensor(x, [batch, time], device, dtype)),
            channels: Channels {
                log_decay: self.channels.log_decay.as_deref().map(|x| rank4(x, [batch, time, groups, key])),
                erase: self.channels.erase.as_deref().map(|x| rank4(x, [batch, time, groups, key])),
                write: self.channels.write.as_deref().map(|x| rank4(x, [batch, time, groups, value])),
            },
        };
        (inputs, rank4(&self.s, [batch, groups, value, key]))
    }

    /// Read-outs and last state.
    pub fn run(&self, device: &Device, dtype: DType, form: Form) -> (Vec<f64>, Vec<f64>) {
        let (inputs, s) = self.inputs(device, dtype);
        let (out, s) = form(inputs, s).unwrap();
        (values(out), values(s))
    }

    /// Read-outs, last state, and the gradients of `loss` for q, k, v, beta, S, log a and the gates of channels, in f64.
    pub fn derive(
        &self,
        device: &Device,
        form: Form,
        loss: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<1>,
    ) -> Vec<(&'static str, Vec<f64>)> {
        let (mut inputs, s) = self.inputs(&device.clone().autodiff(), DType::F64);
        inputs.q = inputs.q.require_grad();
        inputs.k = inputs.k.require_grad();
        inputs.v = inputs.v.require_grad();
        inputs.beta = inputs.beta.require_grad();
        inputs.log_a = inputs.log_a.map(Tensor::require_grad);
        let Channels { log_decay, erase, write } = inputs.channels;
        let [log_decay, erase, write] = [log_decay, erase, write].map(|x| x.map(Tensor::require_grad));
        inputs.channels = Channels { log_decay, erase, write };
        let s = s.require_grad();
        let (out, last) = form(inputs.clone(), s.clone()).unwrap();
        let seen = [("out", values(out.clone().inner())), ("state", values(last.clone().inner()))];
        let grads = loss(out, last).backward();
        let of = |x: &Tensor<4>| values(x.grad(&grads).unwrap());
        let of3 = |x: &Tensor<3>| values(x.grad(&grads).unwrap());
        let mut all = seen.to_vec();
        all.extend([("dq", of(&inputs.q)), ("dk", of(&inputs.k)), ("dv", of(&inputs.v))]);
        all.extend([("dbeta", of3(&inputs.beta)), ("ds", of(&s))]);
        all.extend(inputs.log_a.iter().map(|x| ("dlog_a", of3(x))));
        all.extend(inputs.channels.log_decay.iter().map(|x| ("dlog_decay", of(x))));
        // The Hebbian rule does not read it.
        let read = |x: &&Tensor<4>| x.grad(&grads).is_some();
        all.extend(inputs.channels.erase.iter().filter(read).map(|x| ("derase", of(x))));
        all.extend(inputs.channels.write.iter().map(|x| ("dwrite", of(x))));
        all
    }

    /// Section 4.3 in loops over single numbers, with the signals of section 7.1.
    pub fn plain(&self, rule: Rule) -> Plain {
        let Sizes { batch, time, heads, groups, key, value } = self.sizes;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut plain = Plain {
            out: vec![0.0; batch * time * heads * value],
            s: self.s.clone(),
            f: vec![0.0; batch * groups * key],
            surprise: vec![0.0; batch * time * groups],
            familiarity: vec![0.0; batch * time * heads],
            norm: vec![0.0; batch * time * groups],
        };
        for (b, t, g) in (0..batch * time * groups).map(|i| (i / groups / time, i / groups % time, i % groups)) {
            let token = b * time + t;
            let at = token * groups + g;
            let mut a = self.log_a.as_ref().map_or(1.0, |x| x[at].exp());
            if self.starts.as_ref().is_some_and(|x| x[token] == 1.0) {
                a = 0.0;
            }
            let k = &self.k[at * key..][..key];
            let (decay, erase, write) = (&self.channels.log_decay, &self.channels.erase, &self.channels.write);
            let left: Vec<f64> = (0..key).map(|i| decay.as_ref().map_or(a, |x| a * x[at * key + i].exp())).collect();
            let asks: Vec<f64> = (0..key).map(|i| k[i] * erase.as_ref().map_or(1.0, |x| x[at * key + i])).collect();
            let mut shares: Vec<f64> = (0..value).map(|j| write.as_ref().map_or(1.0, |x| x[at * value + j])).collect();
            shares.push(shares.iter().sum::<f64>() / value as f64);
            let s = &mut plain.s[(b * groups + g) * value * key..][..value * key];
            let f = &mut plain.f[(b * groups + g) * key..][..key];
            let rows = s.chunks_exact_mut(key).zip(&self.v[at * value..][..value]);
            for (i, (row, v)) in rows.chain([(f, &1.0)]).enumerate() {
                row.iter_mut().zip(&left).for_each(|(x, left)| *x *= left);
                let error = v - dot(row, k);
                let new = v * shares[i];
                let written = if rule == Rule::Delta { new - dot(row, &asks) } else { new };
                row.iter_mut().zip(k).for_each(|(x, k)| *x += self.beta[at] * written * k);
                if i < value {
                    plain.surprise[at] += error * error;
                    plain.norm[at] += dot(row, row);
                }
            }
            plain.surprise[at] = plain.surprise[at].sqrt();
            plain.norm[at] = plain.norm[at].sqrt();
            for h in (0..heads).filter(|h| h * groups / heads == g) {
                let head = token * heads + h;
                let q = &self.q[head * key..][..key];
                for i in 0..value {
                    plain.out[head * value + i] = dot(&plain.s[((b * groups + g) * value + i) * key..][..key], q);
                }
                plain.familiarity[head] = dot(&plain.f[(b * groups + g) * key..][..key], q);
            }
        }
        plain
    }
}

/// Token by token, in chunks and fused: what the plain loops give, in both precisions.
pub fn assert_any_form(case: &Case, device: &Device, rule: Rule) {
    let expected = case.plain(rule);
    let scale = expected.s.iter().chain(&expected.out).fold(1.0, |max: f64, x| max.max(x.abs()));
    for dtype in [DType::F32, DType::F64] {
        let tolerance = if dtype == DType::F32 { 1e-5 } else { 1e-13 } * scale;
        let forms: [Form; 4] = [
            &|inputs, s| recurrent(inputs, s, rule),
            &|inputs, s| chunked(inputs, s, rule, 32),
            &|inputs, s| chunked(inputs, s, rule, 8),
            &|inputs, s| forward(inputs, s, rule, 32),
        ];
        for form in forms {
            let (out, s) = case.run(device, dtype, form);
            assert_close(&out, &expected.out, tolerance);
            assert_close(&s, &expected.s, tolerance);
        }
    }
}

/// Of all that comes out.
pub fn loss(out: Tensor<4>, s: Tensor<4>) -> Tensor<1> {
    out.sin().sum() + s.cos().sum()
}

/// Derivatives through chunks are finite, and those through the recurrence. `log_decay` says where.
pub fn assert_gradients(case: &Case, device: &Device, rule: Rule, log_decay: f64) {
    let serial = case.derive(device, &|inputs, s| recurrent(inputs, s, rule), loss);
    let parallel = case.derive(device, &|inputs, s| chunked(inputs, s, rule, 16), loss);
    for ((name, a), (_, b)) in parallel.iter().zip(&serial) {
        assert!(a.iter().chain(b).all(|x| x.is_finite()), "{name} at {log_decay}");
        assert!(max_difference(a, b) < 1e-10, "{name} of {rule:?} at {log_decay}");
    }
}

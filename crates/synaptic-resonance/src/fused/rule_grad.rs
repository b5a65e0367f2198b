//! Derivatives of the rule, backwards through time.
//!
//! With S' = a S, e = v - S' k, u = beta e, S_t = S' + u k^T, r = S_t q, and D the gradient of S_t with what later
//! tokens and the read-outs give it:
//!
//! ```text
//! D   += dr q^T         dq = S_t^T dr
//! du   = D k            dbeta = du . e        de = beta du = dv        dk = D^T u - S'^T de
//! D'   = D - de k^T     dlog_a = sum D' S'    D of the token before = a D'
//! ```
//!
//! With gates of channels, S' = S Diag(a c), x = b o k, e = w o v - S' x, what differs is
//!
//! ```text
//! dv   = w o de        dw = v o de         dx = -S'^T de               dk = D^T u + b o dx        db = k o dx
//! D'   = D - de x^T    dlog_c = the diagonal of D'^T S', of which dlog_a is the sum    D of the token before = D' Diag(a c)
//! ```
//!
//! (the Hebbian rule: e = w o v, and no de in dk and D'). A row of D, that of one value, needs no other row. So the layout
//! is that of the state, a row per value; only du is a sum along a row. States are computed again from the errors e
//! that the forward pass has kept: first those at the start of every block of tokens, then, backwards, those inside.

// Loops over registers and rows in step.
#![allow(clippy::needless_range_loop)]

mod gates;

use super::Plan;
use super::rewind::{advance, padded};
use super::rule::{Slices, each_unit};
use crate::inputs::Sizes;
use crate::settings::Rule;
use plasticity_core::nn::vector::{Isa, Job16, LANES, Simd16};

use crate::shared::Shared;

/// Tokens of a block.
const BLOCK: usize = 16;

/// Of the read-outs and of the state after the last token; at least one is there.
#[derive(Clone, Copy)]
pub(super) struct Incoming<'a> {
    pub(super) read: Option<&'a [f32]>,
    pub(super) state: Option<&'a [f32]>,
}

/// Gradients of the inputs; `q` is empty where no gradient of the read-outs came in, gates of channels are where there are
/// none, `log_a` is filled in any case.
pub(super) struct Gradients {
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
    pub(super) beta: Vec<f32>,
    pub(super) log_a: Vec<f32>,
    pub(super) s: Vec<f32>,
    pub(super) log_decay: Vec<f32>,
    pub(super) erase: Vec<f32>,
    pub(super) write: Vec<f32>,
}

/// `errors` are those that [`super::rule::forward`] has kept.
pub(super) fn backward(isa: Isa, plan: &Plan, x: Slices<'_>, errors: &[f32], grad: Incoming<'_>) -> Gradients {
    x.check(plan, grad.read.is_some());
    let Sizes { batch, time, heads, value, .. } = plan.sizes;
    let errors = if plan.keeps() { errors } else { x.v };
    assert!(errors.len() == x.v.len(), "errors");
    assert!(grad.read.is_none_or(|r| r.len() == batch * time * heads * value), "gradient of the read-outs");
    assert!(grad.state.is_none_or(|s| s.len() == x.s.len()), "gradient of the state");
    let zeros = |n: usize| vec![0.0f32; n];
    let mut out = Gradients {
        q: zeros(if grad.read.is_some() { x.q.len() } else { 0 }),
        k: zeros(x.k.len()),
        v: zeros(x.v.len()),
        beta: zeros(x.beta.len()),
        log_a: zeros(x.beta.len()),
        s: zeros(x.s.len()),
        log_decay: zeros(if plan.channels.decay { x.k.len() } else { 0 }),
        erase: zeros(if plan.channels.erase { x.k.len() } else { 0 }),
        write: zeros(if plan.channels.write { x.v.len() } else { 0 }),
    };
    let to = To {
        q: Shared::new(&mut out.q),
        k: Shared::new(&mut out.k),
        v: Shared::new(&mut out.v),
        beta: Shared::new(&mut out.beta),
        log_a: Shared::new(&mut out.log_a),
        s: Shared::new(&mut out.s),
        log_decay: Shared::new(&mut out.log_decay),
        erase: Shared::new(&mut out.erase),
        write: Shared::new(&mut out.write),
    };
    each_unit(plan.sizes, |unit| {
        isa.run16(Backward { plan, x, errors, grad, unit, to });
    });
    out
}

#[derive(Clone, Copy)]
struct To {
    q: Shared,
    k: Shared,
    v: Shared,
    beta: Shared,
    log_a: Shared,
    s: Shared,
    log_decay: Shared,
    erase: Shared,
    write: Shared,
}

struct Backward<'a> {
    plan: &'a Plan,
    x: Slices<'a>,
    errors: &'a [f32],
    grad: Incoming<'a>,
    unit: usize,
    to: To,
}

impl Job16 for Backward<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd16>(self, s: S) {
        // Rows at a time: their states within a block are to stay in the nearest cache.
        unsafe {
            match (self.plan.channels.any(), self.plan.sizes.key.div_ceil(LANES)) {
                (false, 1) => self.unit::<S, 8, 1, false>(s),
                (false, 2) => self.unit::<S, 8, 2, false>(s),
                (false, 4) => self.unit::<S, 4, 4, false>(s),
                (false, _) => self.unit::<S, 4, 0, false>(s),
                (true, 1) => self.unit::<S, 8, 1, true>(s),
                (true, 2) => self.unit::<S, 8, 2, true>(s),
                (true, 4) => self.unit::<S, 4, 4, true>(s),
                (true, _) => self.unit::<S, 4, 0, true>(s),
            }
        }
    }
}

/// Buffers of a block; rows are padded with zeros to whole vectors, `[tokens][padded width]`.
struct Block {
    /// Keys and their gradient.
    k: Vec<f32>,
    dk: Vec<f32>,
    /// Queries of the heads and their gradient.
    q: Vec<f32>,
    dq: Vec<f32>,
    /// u and its gradient.
    u: Vec<f32>,
    du: Vec<f32>,
    /// Gradients of the read-outs of the heads.
    dr: Vec<f32>,
    /// Lanes of the decay's gradient; with gates of channels `[tokens][padded width]`.
    da: Vec<f32>,
    /// With gates of channels: a c, x, and the gradient of x but for a c.
    left: Vec<f32>,
    asks: Vec<f32>,
    dasks: Vec<f32>,
    /// States before and after every token, of some rows.
    past: Vec<f32>,
}

impl Backward<'_> {
    #[inline(always)]
    unsafe fn unit<S: Simd16, const R: usize, const N: usize, const CHANNELS: bool>(&self, s: S) {
        let Sizes { time, heads, groups, key, value, .. } = self.plan.sizes;
        let (wide, high) = (key.next_multiple_of(LANES), value.next_multiple_of(LANES));
        let heads = if self.grad.read.is_some() { heads / groups } else { 0 };
        let decays = self.x.decays(self.plan, self.unit / groups, self.unit % groups);
        let c = match CHANNELS {
            true => self.x.channel_decays(s, self.plan, self.unit / groups, self.unit % groups),
            false => Vec::new(),
        };
        let zeros = |n: usize| vec![0.0f32; n];
        let gates = if CHANNELS { BLOCK * wide } else { 0 };
        let mut block = Block {
            k: zeros(BLOCK * wide),
            dk: zeros(BLOCK * wide),
            q: zeros(BLOCK * heads * wide),
            dq: zeros(BLOCK * heads * wide),
            u: zeros(BLOCK * high),
            du: zeros(BLOCK * high),
            dr: zeros(BLOCK * heads * high),
            da: zeros(BLOCK * if CHANNELS { wide } else { LANES }),
            left: zeros(gates),
            asks: zeros(gates),
            dasks: zeros(gates),
            past: zeros((BLOCK + 1) * R * wide),
        };
        let size = value * key;
        let mut state = padded(&self.x.s[self.unit * size..][..size], key, wide, high);
        let mut grad = match self.grad.state {
            Some(grad) => padded(&grad[self.unit * size..][..size], key, wide, high),
            None => zeros(high * wide),
        };
        let blocks = time.div_ceil(BLOCK);
        let mut begins = vec![0.0f32; blocks * high * wide];
        for (b, begin) in begins.chunks_exact_mut(high * wide).enumerate() {
            begin.copy_from_slice(&state);
            if b + 1 < blocks {
                self.gather(b * BLOCK, BLOCK, wide, high, &mut block);
                if CHANNELS {
                    self.gather_gates(b * BLOCK, BLOCK, wide, &decays, &c, &mut block);
                }
                for j in (0..high).step_by(R) {
                    let rows = unsafe { state.as_mut_ptr().add(j * wide) };
                    let (left, k, u) = (block.left.as_ptr(), block.k.as_ptr(), unsafe { block.u.as_ptr().add(j) });
                    let decays = &decays[b * BLOCK..][..BLOCK];
                    unsafe { advance::<S, R, false, CHANNELS>(s, wide, high, decays, left, k, u, rows, rows) };
                }
            }
        }
        for b in (0..blocks).rev() {
            let (from, n) = (b * BLOCK, BLOCK.min(time - b * BLOCK));
            self.gather(from, n, wide, high, &mut block);
            self.gather_read(from, n, heads, wide, high, &mut block);
            if CHANNELS {
                self.gather_gates(from, n, wide, &decays, &c, &mut block);
            }
            let decays = &decays[from..][..n];
            for j in (0..high).step_by(R) {
                unsafe {
                    let rows = begins.as_mut_ptr().add((b * high + j) * wide);
                    let (left, k, u) = (block.left.as_ptr(), block.k.as_ptr(), block.u.as_ptr().add(j));
                    advance::<S, R, true, CHANNELS>(s, wide, high, decays, left, k, u, rows, block.past.as_mut_ptr());
                    let rows = grad.as_mut_ptr().add(j * wide);
                    self.reverse::<S, R, N, CHANNELS>(s, from, wide, high, heads, decays, &mut block, j, rows);
                }
            }
            self.scatter(s, from, n, heads, wide, high, decays, &block);
            if CHANNELS {
                self.scatter_gates(from, n, wide, high, &mut block);
            }
        }
        for j in 0..value {
            // SAFETY: the state of this unit is nobody else's.
            let to = unsafe { self.to.s.part((self.unit * value + j) * key, key) };
            to.copy_from_slice(&grad[j * wide..][..key]);
        }
    }

    /// Place of a token's vectors for the group, in whole vectors.
    fn token(&self, t: usize) -> usize {
        let Sizes { time, groups, .. } = self.plan.sizes;
        (self.unit / groups * time + t) * groups + self.unit % groups
    }

    /// Keys and what is written.
    fn gather(&self, from: usize, n: usize, wide: usize, high: usize, block: &mut Block) {
        let Sizes { key, value, .. } = self.plan.sizes;
        for t in 0..n {
            let token = self.token(from + t);
            block.k[t * wide..][..key].copy_from_slice(&self.x.k[token * key..][..key]);
            let beta = self.x.beta[token];
            let errors = &self.errors[token * value..][..value];
            block.u[t * high..][..value].iter_mut().zip(errors).for_each(|(u, e)| *u = beta * e);
        }
    }

    /// Queries and the gradients of the read-outs; clears the sums.
    fn gather_read(&self, from: usize, n: usize, heads: usize, wide: usize, high: usize, block: &mut Block) {
        let Sizes { key, value, .. } = self.plan.sizes;
        for x in [&mut block.dk, &mut block.dq, &mut block.da, &mut block.dasks] {
            x.fill(0.0);
        }
        let Some(read) = self.grad.read else { return };
        for t in 0..n {
            for h in 0..heads {
                let (head, row) = (self.token(from + t) * heads + h, t * heads + h);
                block.q[row * wide..][..key].copy_from_slice(&self.x.q[head * key..][..key]);
                block.dr[row * high..][..value].copy_from_slice(&read[head * value..][..value]);
            }
        }
    }

    /// Backwards through a block, for the rows from `j` on of D at `grad`.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn reverse<S: Simd16, const R: usize, const N: usize, const CHANNELS: bool>(
        &self,
        s: S,
        from: usize,
        wide: usize,
        high: usize,
        heads: usize,
        decays: &[f32],
        block: &mut Block,
        j: usize,
        grad: *mut f32,
    ) {
        let wide = if N == 0 { wide } else { N * LANES };
        let vectors = wide / LANES;
        let delta = self.plan.rule == Rule::Delta;
        let at = |r: usize, n: usize| r * wide + n * LANES;
        unsafe {
            for (t, a) in decays.iter().enumerate().rev() {
                let k = block.k.as_ptr().add(t * wide);
                let before = block.past.as_ptr().add(t * R * wide);
                let after = before.add(R * wide);
                let (q, dq) = (block.q.as_ptr(), block.dq.as_mut_ptr());
                let (q, dq) = (q.add(t * heads * wide), dq.add(t * heads * wide));
                let dr = block.dr.as_ptr().add(t * heads * high + j);
                for h in 0..heads {
                    for n in 0..vectors {
                        let to = dq.add(at(h, n));
                        let mut sum = s.load(to);
                        for r in 0..R {
                            sum = s.fma(s.splat(*dr.add(h * high + r)), s.load(after.add(at(r, n))), sum);
                        }
                        s.store(to, sum);
                    }
                }
                let mut du = [s.splat(0.0); R];
                for n in 0..vectors {
                    let k = s.load(k.add(n * LANES));
                    let mut d: [S::V; R] = std::array::from_fn(|r| s.load(grad.add(at(r, n))));
                    for h in 0..heads {
                        let q = s.load(q.add(at(h, n)));
                        for r in 0..R {
                            d[r] = s.fma(s.splat(*dr.add(h * high + r)), q, d[r]);
                        }
                    }
                    for r in 0..R {
                        s.store(grad.add(at(r, n)), d[r]);
                        du[r] = s.fma(d[r], k, du[r]);
                    }
                }
                for r in (0..R).step_by(4) {
                    let sums = s.totals([du[r], du[r + 1], du[r + 2], du[r + 3]]);
                    for (i, sum) in sums.into_iter().enumerate() {
                        du[r + i] = sum;
                        block.du[t * high + j + r + i] = s.first(sum);
                    }
                }
                // -de, and -a de.
                let beta = if delta { self.x.beta[self.token(from + t)] } else { 0.0 };
                let (minus_beta, a) = (s.splat(-beta), s.splat(*a));
                let u = block.u.as_ptr().add(t * high + j);
                let dk = block.dk.as_mut_ptr().add(t * wide);
                for r in 0..R {
                    du[r] = s.mul(minus_beta, du[r]);
                }
                if CHANNELS {
                    let (asks, dasks) = (block.asks.as_ptr().add(t * wide), block.dasks.as_mut_ptr().add(t * wide));
                    let (left, to) = (block.left.as_ptr().add(t * wide), block.da.as_mut_ptr().add(t * wide));
                    for n in (0..wide).step_by(LANES) {
                        let (x, left) = (s.load(asks.add(n)), s.load(left.add(n)));
                        let (mut of_write, mut of_error) = (s.load(dk.add(n)), s.load(dasks.add(n)));
                        let mut da = s.load(to.add(n));
                        for r in 0..R {
                            let row = r * wide + n;
                            let (d, old) = (s.load(grad.add(row)), s.load(before.add(row)));
                            of_write = s.fma(s.splat(*u.add(r)), d, of_write);
                            of_error = s.fma(du[r], old, of_error);
                            let d = s.fma(du[r], x, d);
                            da = s.fma(d, old, da);
                            s.store(grad.add(row), s.mul(left, d));
                        }
                        s.store(dk.add(n), of_write);
                        s.store(dasks.add(n), of_error);
                        s.store(to.add(n), da);
                    }
                    continue;
                }
                let to = block.da.as_mut_ptr().add(t * LANES);
                let mut da = s.load(to);
                for n in 0..vectors {
                    let (k, to) = (s.load(k.add(n * LANES)), dk.add(n * LANES));
                    let (mut of_write, mut of_error) = (s.load(to), s.splat(0.0));
                    for r in 0..R {
                        let (d, old) = (s.load(grad.add(at(r, n))), s.load(before.add(at(r, n))));
                        of_write = s.fma(s.splat(*u.add(r)), d, of_write);
                        of_error = s.fma(du[r], old, of_error);
                        let d = s.fma(du[r], k, d);
                        da = s.fma(d, old, da);
                        s.store(grad.add(at(r, n)), s.mul(a, d));
                    }
                    s.store(to, s.fma(a, of_error, of_write));
                }
                s.store(to, da);
            }
        }
    }

    /// Gradients of a block's inputs.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn scatter<S: Simd16>(
        &self,
        s: S,
        from: usize,
        n: usize,
        heads: usize,
        wide: usize,
        high: usize,
        decays: &[f32],
        block: &Block,
    ) {
        let Sizes { key, value, .. } = self.plan.sizes;
        for t in 0..n {
            let token = self.token(from + t);
            let beta = self.x.beta[token];
            // SAFETY: the gradients of this unit's tokens are nobody else's.
            let (dk, dq, dv, dbeta, dlog_a) = unsafe {
                let (to, queries) = (self.to, heads * key);
                let dq = to.q.part(token * queries, queries);
                (
                    to.k.part(token * key, key),
                    dq,
                    to.v.part(token * value, value),
                    to.beta.part(token, 1),
                    to.log_a.part(token, 1),
                )
            };
            dk.copy_from_slice(&block.dk[t * wide..][..key]);
            for (h, dq) in dq.chunks_exact_mut(key.max(1)).enumerate() {
                dq.copy_from_slice(&block.dq[(t * heads + h) * wide..][..key]);
            }
            let (errors, du) = (&self.errors[token * value..][..value], &block.du[t * high..][..high]);
            let mut along = s.zero();
            for i in (0..value).step_by(LANES) {
                let du = s.read(&du[i..]);
                along = s.fma(du, s.read(&errors[i..]), along);
                s.write(&mut dv[i..], s.mul(s.splat(beta), du));
            }
            (dbeta[0], dlog_a[0]) = (s.total(along), decays[t] * s.total(s.read(&block.da[t * LANES..])));
        }
    }
}

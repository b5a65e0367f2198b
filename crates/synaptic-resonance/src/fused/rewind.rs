//! The states of the rule once more, for its derivatives.

// Loops over registers and rows in step.
#![allow(clippy::needless_range_loop)]

use plasticity_core::nn::vector::{LANES, Simd16};

/// Rows of `[value][key]`, padded with zeros.
pub(super) fn padded(state: &[f32], key: usize, wide: usize, high: usize) -> Vec<f32> {
    let mut out = vec![0.0; high * wide];
    for (to, row) in out.chunks_exact_mut(wide.max(1)).zip(state.chunks_exact(key.max(1))) {
        to[..key].copy_from_slice(row);
    }
    out
}

/// R rows of a state from `rows` through some tokens. With `ALL`, the states before and after every token are written
/// to `to` `[tokens + 1][R][wide]`, else the last one to `to` `[R][wide]`. With `CHANNELS`, `left` `[tokens][wide]` is what
/// is left of each key channel, else `decays` what is left of all.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn advance<S: Simd16, const R: usize, const ALL: bool, const CHANNELS: bool>(
    s: S,
    wide: usize,
    high: usize,
    decays: &[f32],
    left: *const f32,
    k: *const f32,
    u: *const f32,
    rows: *const f32,
    to: *mut f32,
) {
    unsafe {
        for first in (0..wide).step_by(LANES) {
            let mut state = [s.splat(0.0); R];
            for r in 0..R {
                state[r] = s.load(rows.add(r * wide + first));
                if ALL {
                    s.store(to.add(r * wide + first), state[r]);
                }
            }
            for (t, a) in decays.iter().enumerate() {
                let k = s.load(k.add(t * wide + first));
                let a = if CHANNELS { s.load(left.add(t * wide + first)) } else { s.splat(*a) };
                for r in 0..R {
                    state[r] = s.fma(k, s.splat(*u.add(t * high + r)), s.mul(a, state[r]));
                    if ALL {
                        s.store(to.add(((t + 1) * R + r) * wide + first), state[r]);
                    }
                }
            }
            if !ALL {
                for r in 0..R {
                    s.store(to.add(r * wide + first), state[r]);
                }
            }
        }
    }
}

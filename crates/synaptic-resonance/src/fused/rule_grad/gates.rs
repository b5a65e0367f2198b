//! What gates of single channels add to the derivatives of the rule, outside of the loops over a state.

use super::{Backward, Block};
use crate::inputs::Sizes;

impl Backward<'_> {
    /// Gates of channels.
    pub(super) fn gather_gates(
        &self,
        from: usize,
        n: usize,
        wide: usize,
        decays: &[f32],
        c: &[f32],
        block: &mut Block,
    ) {
        let key = self.plan.sizes.key;
        for t in 0..n {
            let (at, row) = (self.token(from + t) * key, t * wide);
            let (a, c) = (decays[from + t], &c[(from + t) * key..][..key]);
            block.left[row..][..key].iter_mut().zip(c).for_each(|(left, c)| *left = a * c);
            block.asks[row..][..key].copy_from_slice(&self.x.k[at..][..key]);
            if self.plan.channels.erase {
                let erase = &self.x.erase[at..][..key];
                block.asks[row..][..key].iter_mut().zip(erase).for_each(|(x, b)| *x *= b);
            }
        }
    }

    /// Gradients of a block's gates of channels, and what these change of the others: after [`Self::scatter`].
    pub(super) fn scatter_gates(&self, from: usize, n: usize, wide: usize, high: usize, block: &mut Block) {
        let (Sizes { key, value, .. }, gated) = (self.plan.sizes, self.plan.channels);
        for t in 0..n {
            let token = self.token(from + t);
            let (of_key, of_value) = (token * key, token * value);
            let left = &block.left[t * wide..][..key];
            let (dasks, da) = (&mut block.dasks[t * wide..][..key], &mut block.da[t * wide..][..key]);
            for i in 0..key {
                dasks[i] *= left[i];
                da[i] *= left[i];
            }
            // SAFETY: the gradients of this unit's tokens are nobody else's; what is not there has no part.
            let (dk, dv, dlog_a, dlog_decay, derase, dwrite) = unsafe {
                let (to, part) = (self.to, |there: bool, at: usize, n: usize| if there { (at, n) } else { (0, 0) });
                let (decay, erase) = (part(gated.decay, of_key, key), part(gated.erase, of_key, key));
                let write = part(gated.write, of_value, value);
                (
                    to.k.part(of_key, key),
                    to.v.part(of_value, value),
                    to.log_a.part(token, 1),
                    to.log_decay.part(decay.0, decay.1),
                    to.erase.part(erase.0, erase.1),
                    to.write.part(write.0, write.1),
                )
            };
            dlog_a[0] = da.iter().sum();
            if gated.decay {
                dlog_decay.copy_from_slice(da);
            }
            if gated.erase {
                let (k, erase) = (&self.x.k[of_key..][..key], &self.x.erase[of_key..][..key]);
                for i in 0..key {
                    dk[i] += erase[i] * dasks[i];
                    derase[i] = k[i] * dasks[i];
                }
            } else {
                dk.iter_mut().zip(&*dasks).for_each(|(dk, x)| *dk += x);
            }
            if gated.write {
                let (v, write) = (&self.x.v[of_value..][..value], &self.x.write[of_value..][..value]);
                let (beta, du) = (self.x.beta[token], &block.du[t * high..][..value]);
                for j in 0..value {
                    dwrite[j] = v[j] * (beta * du[j]);
                    dv[j] *= write[j];
                }
            }
        }
    }
}

//! What a caller of a memory may get wrong.

use burn::prelude::*;

use super::{Finite, Memory, MemoryState, Read, last_places, wide};
use crate::error::MemoryError;
use crate::state::FROM_A_STATE;

impl Memory {
    /// # Errors
    /// When `n` is not `[batch, time, d]` in the numbers and on the device of the parameters.
    pub(super) fn check_input(&self, n: &Tensor<3>) -> Result<(), MemoryError> {
        let [batch, time, _] = n.dims();
        if batch == 0 || time == 0 {
            return Err(MemoryError::setting("n", format!("{batch} x {time}"), "must hold at least one token"));
        }
        MemoryError::shape("n", &n.dims(), &[batch, time, self.write.dims()[0]])?;
        self.check_kind("n", n)
    }

    /// # Errors
    /// When `read` and `state` do not fit the parameters and each other.
    pub(super) fn check(&self, read: &Read, state: &MemoryState) -> Result<(), MemoryError> {
        let Read { n, q, k, v, starts, writes, lengths } = read;
        self.check_input(n)?;
        let ([batch, time, d], width) = (n.dims(), q.dims()[3]);
        let (heads, groups) = (self.heads(), self.groups());
        self.check_parameters(d, width)?;
        MemoryError::shape("q", &q.dims(), &[batch, time, heads, width])?;
        MemoryError::shape("k", &k.dims(), &[batch, time, groups, width])?;
        MemoryError::shape("v", &v.dims(), &[batch, time, groups, width])?;
        for (field, x) in [("q", q), ("k", k), ("v", v)] {
            self.check_kind(field, x)?;
        }
        for (field, x) in [("starts", starts), ("writes", writes)] {
            let Some(x) = x else { continue };
            MemoryError::shape(field, &x.dims(), &[batch, time])?;
            self.check_kind(field, x)?;
            let data = x.clone().inner().into_data();
            if let Some(other) = data.iter::<f64>().find(|flag| *flag != 0.0 && *flag != 1.0) {
                return Err(MemoryError::setting(field, other, "must be 0 or 1 for every token"));
            }
        }
        if let Some(lengths) = lengths {
            MemoryError::shape("lengths", &[lengths.len()], &[batch])?;
            if let Some(length) = lengths.iter().find(|n| **n > time) {
                return Err(MemoryError::setting("lengths", length, format!("a row has {time} tokens")));
            }
        }

        let MemoryState { s, prev_key } = state;
        MemoryError::shape("state.s", &s.dims(), &[batch, groups, width, width])?;
        let (found, needed) = (s.dtype(), wide(n.dtype()));
        if found != needed || s.device() != n.device() {
            let expected = format!("must be of {needed:?} on {:?}", n.device());
            return Err(MemoryError::setting("state.s", format!("of {found:?} on {:?}", s.device()), expected));
        }
        match (prev_key, &self.mu) {
            (Some(key), Some(_)) => {
                MemoryError::shape("state.prev_key", &key.dims(), &[batch, groups, width])?;
                self.check_kind("state.prev_key", key)?;
            }
            (None, None) => {}
            (None, Some(_)) => {
                let expected = "this memory blends its keys: give the state of `start` or of the segment before";
                return Err(MemoryError::setting("state.prev_key", "none", expected));
            }
            (Some(_), None) => {
                return Err(MemoryError::setting("state.prev_key", "given", "this memory does not blend its keys"));
            }
        }
        let mut look = Finite::default();
        look.memory("the state's", state);
        look.end(FROM_A_STATE)
    }

    /// # Errors
    /// When the parameters, which anybody can replace, do not fit each other, or heads of this width.
    fn check_parameters(&self, d: usize, width: usize) -> Result<(), MemoryError> {
        let (heads, groups) = (self.heads(), self.groups());
        if width == 0 || heads == 0 || groups == 0 || !heads.is_multiple_of(groups) {
            let expected = "must be at least 1, and the heads a multiple of the groups";
            let found = format!("{heads} heads, {groups} groups, width {width}");
            return Err(MemoryError::setting("heads", found, expected));
        }
        let vectors = [
            ("write_bias", Some(&self.write_bias), groups),
            ("forget_bias", self.forget_bias.as_ref(), groups),
            ("gate_bias", Some(&self.gate_bias), heads),
            ("gamma", Some(&self.gamma), heads),
        ];
        for (field, found, n) in vectors {
            found.map_or(Ok(()), |x| MemoryError::shape(field, &x.dims(), &[n]))?;
        }
        let own = self.projections.as_ref();
        let matrices = [
            ("forget", self.forget.as_ref(), [d, groups]),
            ("gate", Some(&self.gate), [d, heads]),
            ("mu", self.mu.as_ref(), [groups, width]),
            ("c", self.c.as_ref(), [heads, width]),
            ("projections.q", own.map(|own| &own.q), [d, heads * width]),
            ("projections.k", own.map(|own| &own.k), [d, groups * width]),
            ("projections.v", own.map(|own| &own.v), [d, groups * width]),
        ];
        for (field, found, shape) in matrices {
            found.map_or(Ok(()), |x| MemoryError::shape(field, &x.dims(), &shape))?;
        }
        let gated = self.config.gated().contains(&true);
        if self.channels.is_some() != gated {
            let expected =
                "must be there exactly where `gates` of the config says so: make the memory with `Memory::new`";
            return Err(MemoryError::setting("channels", if gated { "missing" } else { "given" }, expected));
        }
        self.channels.as_ref().map_or(Ok(()), |gates| gates.check(&self.config, [d, groups, width]))
    }

    /// # Errors
    /// When a tensor is not in the numbers of the parameters, or not on their device.
    fn check_kind<const D: usize>(&self, field: &'static str, x: &Tensor<D>) -> Result<(), MemoryError> {
        let of = self.write.val();
        if x.dtype() == of.dtype() && x.device() == of.device() {
            return Ok(());
        }
        let expected = format!("must be of {:?} on {:?}, as the parameters are", of.dtype(), of.device());
        Err(MemoryError::setting(field, format!("of {:?} on {:?}", x.dtype(), x.device()), expected))
    }
}

impl Read {
    /// Some row has padding.
    fn padded(&self) -> Option<&Vec<usize>> {
        let time = self.n.dims()[1];
        self.lengths.as_ref().filter(|lengths| lengths.iter().any(|n| *n < time))
    }

    /// The places of [`super::last_key`].
    pub(super) fn last(&self) -> Option<Tensor<1, Int>> {
        let time = self.n.dims()[1];
        self.padded().map(|lengths| last_places(lengths, time, &self.n.device()))
    }

    /// What may write, padding left out.
    pub(super) fn valid_writes(&self) -> Option<Tensor<2>> {
        let [batch, time, _] = self.n.dims();
        let Some(lengths) = self.padded() else { return self.writes.clone() };
        let valid: Vec<f32> = (0..batch * time).map(|i| f32::from(u8::from(i % time < lengths[i / time]))).collect();
        let device = self.n.device();
        let valid = Tensor::from_data(TensorData::new(valid, [batch, time]), (&device, self.n.dtype()));
        Some(match &self.writes {
            Some(writes) => writes.clone() * valid,
            None => valid,
        })
    }
}

//! What the rule of the memory reads, in every form of it (section 5).

use burn::prelude::*;
use burn::tensor::{DType, FloatDType};

use crate::error::MemoryError;

/// What the rule reads, for every token.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Queries, `[batch, time, heads, key width]`; head h reads the memory of group `h groups / heads`.
    pub q: Tensor<4>,
    /// Keys, `[batch, time, groups, key width]`, of norm at most 1.
    pub k: Tensor<4>,
    /// Values, `[batch, time, groups, value width]`.
    pub v: Tensor<4>,
    /// Write rates in `[0, 1]`, `[batch, time, groups]`; 0 writes nothing (padding).
    pub beta: Tensor<3>,
    /// Logarithms of the decay, at most 0 (-inf forgets everything), `[batch, time, groups]`; none: nothing is forgotten.
    pub log_a: Option<Tensor<3>>,
    /// 1 at the first token of a document, where the state is emptied, else 0, `[batch, time]`; none: no such token.
    pub starts: Option<Tensor<2>>,
    /// Gates of single channels; by default there are none.
    pub channels: Channels,
}

/// Gates of single channels, each multiplied with that of the head: the rule is then
///
/// ```text
/// S' = S Diag(a c),   e = w o v - S' (b o k),   S = S' + beta e k^T,   r = S q
/// ```
///
/// with `a` and `beta` of the head. What is not given is one everywhere, and with nothing given this is the rule of
/// section 4.3. The Hebbian rule has `e = w o v`, and reads no `b`. See [`crate::kernel`] for what others call its cases.
#[derive(Debug, Clone, Default)]
pub struct Channels {
    /// Logarithms of c, the decay of each key channel, at most 0 (-inf forgets everything),
    /// `[batch, time, groups, key width]`.
    pub log_decay: Option<Tensor<4>>,
    /// b, how much of each key channel takes part in reading the old value, in `[0, 1]`,
    /// `[batch, time, groups, key width]`.
    pub erase: Option<Tensor<4>>,
    /// w, how much of each channel of the new value is written, in `[0, 1]`, `[batch, time, groups, value width]`.
    pub write: Option<Tensor<4>>,
}

impl Channels {
    /// There is a gate.
    pub fn any(&self) -> bool {
        self.log_decay.is_some() || self.erase.is_some() || self.write.is_some()
    }
}

/// The type in which the rule computes and its state is kept, for a model in numbers of another: f32, or the model's own
/// where that is wider (section 5.5).
pub(crate) fn wide(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// Sizes of [`Inputs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// B.
    pub batch: usize,
    /// T.
    pub time: usize,
    /// H.
    pub heads: usize,
    /// G.
    pub groups: usize,
    /// Width of keys and queries.
    pub key: usize,
    /// Width of values.
    pub value: usize,
}

impl Inputs {
    /// The sizes, checked against each other and against the state `s` `[batch, groups, value width, key width]`.
    ///
    /// # Errors
    /// When a shape does not fit, or a size is 0.
    pub fn sizes(&self, s: &Tensor<4>) -> Result<Sizes, MemoryError> {
        let [batch, time, heads, key] = self.q.dims();
        let [_, _, groups, value] = self.v.dims();
        let named =
            [("batch", batch), ("time", time), ("heads", heads), ("key", key), ("groups", groups), ("value", value)];
        if let Some((field, _)) = named.iter().find(|(_, size)| *size == 0) {
            return Err(MemoryError::setting(field, 0, "must be at least 1"));
        }
        if !heads.is_multiple_of(groups) {
            return Err(MemoryError::setting("heads", heads, format!("must be a multiple of the groups {groups}")));
        }
        MemoryError::shape("k", &self.k.dims(), &[batch, time, groups, key])?;
        MemoryError::shape("v", &self.v.dims(), &[batch, time, groups, value])?;
        MemoryError::shape("beta", &self.beta.dims(), &[batch, time, groups])?;
        if let Some(log_a) = &self.log_a {
            MemoryError::shape("log_a", &log_a.dims(), &[batch, time, groups])?;
        }
        if let Some(starts) = &self.starts {
            MemoryError::shape("starts", &starts.dims(), &[batch, time])?;
        }
        let Channels { log_decay, erase, write } = &self.channels;
        for (field, gate, width) in
            [("channels.log_decay", log_decay, key), ("channels.erase", erase, key), ("channels.write", write, value)]
        {
            gate.as_ref().map_or(Ok(()), |x| MemoryError::shape(field, &x.dims(), &[batch, time, groups, width]))?;
        }
        MemoryError::shape("s", &s.dims(), &[batch, groups, value, key])?;
        Ok(Sizes { batch, time, heads, groups, key, value })
    }

    /// All in the type of the queries, or in f32 where that is narrower (section 5.5). Nothing is copied where the
    /// types agree.
    pub(crate) fn widened(self, s: Tensor<4>) -> (Self, Tensor<4>) {
        let wide = FloatDType::from(wide(self.q.dtype()));
        let inputs = Self {
            q: self.q.cast(wide),
            k: self.k.cast(wide),
            v: self.v.cast(wide),
            beta: self.beta.cast(wide),
            log_a: self.log_a.map(|x| x.cast(wide)),
            starts: self.starts.map(|x| x.cast(wide)),
            channels: Channels {
                log_decay: self.channels.log_decay.map(|x| x.cast(wide)),
                erase: self.channels.erase.map(|x| x.cast(wide)),
                write: self.channels.write.map(|x| x.cast(wide)),
            },
        };
        (inputs, s.cast(wide))
    }
}

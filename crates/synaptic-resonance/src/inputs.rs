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
        };
        (inputs, s.cast(wide))
    }
}

//! A CPU tensor's values as a slice, without a copy where the backend allows it.

use burn::prelude::*;

/// The values of an f32 tensor, row-major.
pub(super) enum Host {
    /// Flex shares its buffer.
    #[cfg(feature = "flex")]
    Flex(burn::backend::flex::FlexTensor),
    Owned(Vec<f32>),
}

impl Host {
    pub(super) fn new<const D: usize>(x: Tensor<D>) -> Self {
        #[cfg(feature = "flex")]
        if matches!(
            x.device().as_dispatch(),
            burn::backend::DispatchDevice::Flex(_)
        ) && let Ok(x) = x.clone().try_into_primitive::<burn::backend::Flex>()
        {
            let x = x.to_contiguous();
            if x.as_slice::<f32>().is_some() {
                return Self::Flex(x);
            }
        }
        Self::Owned(take(x))
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex(x) => x.as_slice().unwrap_or(&[]),
            Self::Owned(x) => x,
        }
    }
}

/// The tensor's values to own: no copy where nobody else holds the buffer.
pub(super) fn take<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    let data = x.into_data();
    match data.try_into_vec_as::<f32>() {
        Ok(values) => values,
        Err(error) => unreachable!("an f32 tensor has f32 values: {error}"),
    }
}

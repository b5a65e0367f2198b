//! What a kernel written in Rust needs of a CPU tensor: its values as a slice, and loops that
//! are compiled for the registers of the machine.
//!
//! Kernels are called where [`takes_kernels`](crate::device::takes_kernels) is true: f32 on a CPU
//! backend. Anything else panics here.

// Burn marks ndarray as deprecated; see `crate::device`.
#![allow(deprecated)]

use burn::prelude::*;

/// The values of an f32 tensor, row-major, without a copy where the backend allows it.
pub enum Host {
    /// Flex shares its buffer.
    #[cfg(feature = "flex")]
    Flex(burn::backend::flex::FlexTensor),
    /// A copy.
    Owned(Vec<f32>),
}

impl Host {
    /// Of a tensor.
    pub fn new<const D: usize>(x: Tensor<D>) -> Self {
        #[cfg(feature = "flex")]
        if matches!(x.device().as_dispatch(), burn::backend::DispatchDevice::Flex(_))
            && let Ok(x) = x.clone().try_into_primitive::<burn::backend::Flex>()
        {
            return Self::Flex(on_flex::dense(x));
        }
        Self::Owned(take(x))
    }

    /// The values.
    pub fn as_slice(&self) -> &[f32] {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex(x) => on_flex::values(x),
            Self::Owned(x) => x,
        }
    }
}

/// The tensor's values to own: no copy where nobody else holds the buffer.
pub fn take<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    match x.into_data().try_into_vec_as::<f32>() {
        Ok(values) => values,
        Err(error) => unreachable!("kernels take f32 tensors: {error}"),
    }
}

/// Slices of flex tensors. The names are those of [`on_ndarray`], so that the operations of a kernel are written once,
/// in a file that is a module of both backends.
#[cfg(feature = "flex")]
pub mod on_flex {
    pub use burn::backend::Flex as Backend;
    use burn::backend::TensorMetadata;
    use burn::backend::flex::FlexTensor;
    pub use burn::backend::flex::FlexTensor as Tensor;
    use burn::tensor::{Shape, TensorData};

    /// The sizes of a tensor.
    pub fn shape(x: &FlexTensor) -> Shape {
        TensorMetadata::shape(x)
    }

    /// The tensor with its values one after the other; copies a strided view only.
    pub fn dense(x: FlexTensor) -> FlexTensor {
        x.to_contiguous()
    }

    /// The values of a [`dense`] tensor.
    pub fn values(x: &FlexTensor) -> &[f32] {
        match x.as_slice() {
            Some(values) => values,
            None => unreachable!("kernels take f32 tensors, made dense first"),
        }
    }

    /// A tensor of as many values as the shape says.
    pub fn make(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
        FlexTensor::from_data(TensorData::new(values, shape.into()))
    }
}

/// Slices of ndarray tensors.
#[cfg(feature = "ndarray")]
pub mod on_ndarray {
    pub use burn::backend::NdArray as Backend;
    use burn::backend::TensorMetadata;
    pub use burn::backend::ndarray::NdArrayTensor as Tensor;
    use burn::backend::ndarray::{NdArrayTensor, SharedArray};
    use burn::tensor::Shape;

    /// The sizes of a tensor.
    pub fn shape(x: &NdArrayTensor) -> Shape {
        TensorMetadata::shape(x)
    }

    /// The tensor with its values one after the other; copies a strided view only.
    pub fn dense(x: NdArrayTensor) -> SharedArray<f32> {
        match x {
            NdArrayTensor::F32(x) => x.into_shared().as_standard_layout().into_shared(),
            other => unreachable!("kernels take f32 tensors, not {:?}", other.dtype()),
        }
    }

    /// The values of a [`dense`] tensor.
    pub fn values(x: &SharedArray<f32>) -> &[f32] {
        match x.as_slice() {
            Some(values) => values,
            None => unreachable!("kernels take f32 tensors, made dense first"),
        }
    }

    /// A tensor of as many values as the shape says.
    pub fn make(values: Vec<f32>, shape: impl Into<Shape>) -> NdArrayTensor {
        match SharedArray::from_shape_vec(shape.into().to_vec(), values) {
            Ok(array) => array.into(),
            Err(error) => unreachable!("as many values as the shape says: {error}"),
        }
    }
}

/// Compiles an `#[inline(always)]` function for wider registers too, under a second name, which
/// calls the widest form that the machine has: `widest!(sum = sum_plain(x: &[f32]) -> f32);`.
///
/// No fused multiply-add is enabled, so all forms give the same bytes.
#[macro_export]
macro_rules! widest {
    ($name:ident = $plain:ident($($argument:ident: $type:ty),* $(,)?) $(-> $out:ty)?) => {
        #[allow(clippy::too_many_arguments)]
        fn $name($($argument: $type),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
                fn with_avx512($($argument: $type),*) $(-> $out)? {
                    $plain($($argument),*)
                }
                #[target_feature(enable = "avx2")]
                fn with_avx2($($argument: $type),*) $(-> $out)? {
                    $plain($($argument),*)
                }
                if ::std::is_x86_feature_detected!("avx512f")
                    && ::std::is_x86_feature_detected!("avx512bw")
                    && ::std::is_x86_feature_detected!("avx512vl")
                    && ::std::is_x86_feature_detected!("avx512dq")
                {
                    // SAFETY: the features that the function is compiled for are there.
                    return unsafe { with_avx512($($argument),*) };
                }
                if ::std::is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { with_avx2($($argument),*) };
                }
            }
            $plain($($argument),*)
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(always)]
    fn plain(x: &[f32], scale: f32) -> f32 {
        x.iter().map(|x| x * scale + 0.1).sum()
    }
    widest!(wide = plain(x: &[f32], scale: f32) -> f32);

    #[test]
    fn wider_registers_give_the_same_bytes() {
        let x: Vec<f32> = (0..1000).map(|i| (i as f32).sin()).collect();
        assert_eq!(wide(&x, 0.7).to_bits(), plain(&x, 0.7).to_bits());
    }

    #[test]
    fn slices_of_views_are_in_the_order_of_the_view() {
        for device in crate::device::cpus() {
            let x = Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);
            assert_eq!(Host::new(x.clone()).as_slice(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
            assert_eq!(Host::new(x.clone().transpose()).as_slice(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
            assert_eq!(take(x.slice([0..2, 1..2])), [2.0, 5.0]);
        }
    }
}

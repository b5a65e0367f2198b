//! To come: the fused kernels against the composition.

//! The operation on the ndarray backend: `on_cpu.rs` with this backend's tensors.

use plasticity_core::nn::host::on_ndarray as cpu;

#[allow(clippy::duplicate_mod)]
#[path = "on_cpu.rs"]
mod on_cpu;

//! The oracles of the mechanism, by the number they have in the specification. Kernel oracles
//! and golden values run on every CPU backend that is compiled in.

mod kernel;
mod lateral;
mod neuron;
mod projection;
#[cfg(feature = "experiment")]
mod real_data;
#[cfg(feature = "experiment")]
mod resume;
mod support;
mod training;

//! The oracles of the mechanism, by the number they have in the specification. Kernel oracles
//! and golden values run on every CPU backend that is compiled in.

mod kernel;
mod lateral;
mod neuron;
mod projection;
mod support;
mod training;

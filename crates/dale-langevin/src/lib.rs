//! Diffusion by geometric Brownian motion: multiplicative score matching and samplers
//! (arXiv 2510.02730).
//!
//! Nothing is implemented yet: this page keeps the crate's place in the workspace. It
//! will hold the forward process with its closed forms, the losses, the samplers, the
//! score network and the exponentiated-gradient optimiser.

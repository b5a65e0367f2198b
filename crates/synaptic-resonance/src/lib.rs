//! Fast-weight memory in a transformer, reinforced by contextual relevance
//! (arXiv 2502.10699).
//!
//! Nothing is implemented yet: this page keeps the crate's place in the workspace. It
//! will hold the memory in its parallel, one-token and streaming forms, the transformer
//! block around it, and the tasks that test it.

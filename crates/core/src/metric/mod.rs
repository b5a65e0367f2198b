//! Metrics that more than one paper reports.

pub mod frechet;

//! What is drawn: a report's numbers as SVG, and which pictures a report has.
//!
//! Nothing here reads a record, computes a statistic or judges: what is drawn comes from [`measured`](super::measured).
//! Nothing here writes a file or a page: no `use` of [`written`](super::written).

pub mod axis;
pub mod charts;
pub mod heat;
pub mod plot;

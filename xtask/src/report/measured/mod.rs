//! What was measured: the records of a suite read, averaged and judged, up to the [`Report`](model::Report) and the
//! numbers of its curves.
//!
//! Nothing here draws or writes: no colour, no size, no HTML, no Markdown, and no `use` of the other two rooms.

pub mod album;
pub mod chart;
pub mod curves;
pub mod format;
pub mod judge;
pub mod model;
pub mod papers;
pub mod read;
pub mod timing;
pub mod xy;

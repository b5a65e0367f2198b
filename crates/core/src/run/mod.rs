//! Run records.
pub mod record;

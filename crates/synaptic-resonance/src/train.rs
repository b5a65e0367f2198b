//! One training step (section 8.1).

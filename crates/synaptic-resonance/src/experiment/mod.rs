//! The claims as experiments: recall tasks and a character model.

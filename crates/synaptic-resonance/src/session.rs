//! A stream of tokens through a model, with constant memory (section 12.1), saved and restored (section 12.2).

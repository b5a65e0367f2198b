//! The runner as a user meets it: the built program in temporary directories.

mod build;
mod commands;
mod errors;
mod recovery;
mod selftest;
mod support;

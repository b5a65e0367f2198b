//! The runner as a user meets it, the built program in temporary directories; and the pages of `docs/`.

mod build;
mod commands;
mod errors;
mod fifth_paper;
mod guide;
mod keys;
mod pages;
mod recovery;
mod selftest;
mod suites;
mod support;

// What the build script is made of.
#[path = "../../build/lexer.rs"]
mod lexer;
#[path = "../../build/sources.rs"]
mod sources;

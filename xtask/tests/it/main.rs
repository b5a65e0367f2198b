//! The runner as a user meets it, the built program in temporary directories; and the pages of `docs/`.

mod build;
mod commands;
mod costs;
mod damage;
mod errors;
mod fifth_paper;
mod full_disk;
mod guide;
mod kept;
mod keys;
mod numbers;
mod own_data;
mod packaged;
mod pages;
mod recovery;
mod selftest;
mod stops;
mod suites;
mod support;

// What the build script is made of.
#[path = "../../build/lexer.rs"]
mod lexer;
#[path = "../../build/sources.rs"]
mod sources;

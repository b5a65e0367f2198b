//! What is written: tables, pages and files of a report, and what of it is committed.
//!
//! Nothing here computes a statistic or judges; a number that stands in a page stands in the
//! [`Report`](super::measured::model::Report).

pub mod export;
pub mod files;
pub mod html;
pub mod markdown;
pub mod next;
pub mod pages;
pub mod publish;
pub mod table;

//! Finding better schedules: trials that measure some, and the search that says which.
//!
//! A trial is complete in itself ([`Trial`], JSON in and out), so that it can be run by a process of its own, on another
//! machine, or by whatever spreads work over many. Knows workloads, targets and records; no model.

mod host;
mod program;
mod runner;
mod search;
mod trial;

pub use runner::Runner;
pub use search::{Found, Search, budget};
pub use trial::{Answer, Machine, Measured, Trial, TrialError, Unit};

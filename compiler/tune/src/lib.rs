//! Finding better schedules: trials that measure some, and the search that says which.
//!
//! A trial is complete in itself ([`Trial`], JSON in and out), so that it can be run by a process of its own, on another
//! machine, or by whatever spreads work over many ([`Engine`]). Knows workloads, targets and records; no model.

mod correction;
mod engine;
mod host;
mod program;
mod search;
mod session;
mod trial;

pub use engine::{Cluster, Engine, Failure, Limits, Local, Queue, Runner, Stop};
pub use search::{Found, Search};
pub use session::{Budget, Event, Session, Task};
pub use trial::{Answer, Machine, Measured, Trial, TrialError, Unit};

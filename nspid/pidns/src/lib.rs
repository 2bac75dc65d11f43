// SPDX-License-Identifier: GPL-2.0

//! Pid namespaces as a restorer of processes sees them.
//!
//! A task in nested pid namespaces has one pid per level. The pids that the next fork gets come
//! from one cursor per namespace, its *last pid*: the next pid is the next free one above it.
//! [`PidNamespace`] reads and sets the last pids of a namespace and its ancestors in one step, with
//! the `NS_SPECIFIC_IOC` ioctl of Linux kernels that have `CONFIG_PID_NS_IOCTL`. What else it tells
//! of a namespace, other kernels tell too. [`task`] reads from `/proc` which pids a task has.
//!
//! All vectors of pids are ordered from the inside outwards: the first number is for the namespace
//! at hand, the next for its parent, and so on.
//!
//! ```no_run
//! use pidns::{LastPids, PidNamespace};
//!
//! let ns = PidNamespace::of_process(4711)?;
//! println!("{}", ns.last_pids(0)?);
//!
//! // The next fork in there gets pid 4, and 23 and 112 in the two namespaces above.
//! ns.set_last_pids(&"3:22:111".parse::<LastPids>()?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod namespace;
mod sys;
pub mod task;
mod vector;

pub use namespace::{lacks_ioctl, PidNamespace};
pub use sys::{clone_with_pids, Forked};
pub use vector::{next_pid, LastPids, ParseVectorError, MAX_LEVELS, MAX_PID};

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pid namespaces as a restorer of processes sees them.
//!
//! A task in nested pid namespaces has one pid per level. The pids that the next fork gets come
//! from one cursor per namespace, its *last pid*: the next pid is the next free one above it.
//! [`Cursors`] reads and sets the last pids of a namespace and its ancestors: in one step with the
//! `NS_SPECIFIC_IOC` ioctl of Linux kernels that have `CONFIG_PID_NS_IOCTL`, and on other kernels
//! one level after the other, by helper processes that use `/proc/sys/kernel/ns_last_pid`.
//! [`PidNamespace`] has what every kernel tells of a namespace. [`task`] reads from `/proc` which
//! pids a task has. [`fork_with_pids`] makes a task with chosen pids.
//!
//! All vectors of pids are ordered from the inside outwards: the first number is for the namespace
//! at hand, the next for its parent, and so on.
//!
//! ```no_run
//! use pidns::{Cursors, How, PidNamespace, ALL_LEVELS};
//!
//! let cursors = Cursors::open(PidNamespace::of_process(4711)?, How::Auto)?;
//! println!("{}", cursors.get(ALL_LEVELS)?);
//!
//! // The next fork in there gets pid 4, and 23 and 112 in the two namespaces above.
//! cursors.set(&"3:22:111".parse()?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cursors;
mod error;
mod helper;
mod namespace;
mod sys;
pub mod task;
mod user;
mod vector;

pub use cursors::{Cursors, How, ALL_LEVELS};
pub use error::{Error, Step};
pub use namespace::PidNamespace;
pub use sys::{fork_with_owner, fork_with_pids, Forked};
pub use user::UserNamespace;
pub use vector::{next_pid, LastPids, ParseVectorError, MAX_LEVELS, MAX_PID};

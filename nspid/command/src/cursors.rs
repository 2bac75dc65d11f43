// SPDX-License-Identifier: GPL-2.0

//! `get` and `set`.

use std::io;

use pidns::{lacks_ioctl, LastPids, PidNamespace};
use rustix::io::Errno;

use crate::failure::{Failure, Kind};

pub fn get(ns: &PidNamespace, levels: u32) -> Result<(), Failure> {
    println!("{}", ns.last_pids(levels).map_err(|error| explain(&error))?);
    Ok(())
}

pub fn set(ns: &PidNamespace, last_pids: &LastPids) -> Result<(), Failure> {
    ns.set_last_pids(last_pids).map_err(|error| explain(&error))
}

/// What an error of the ioctl means, and what to do.
pub fn explain(error: &io::Error) -> Failure {
    if lacks_ioctl(error) {
        return Failure::new(
            Kind::NoIoctl,
            "this kernel lacks the ioctl for last pids: it needs the pidns-vec patches and \
             CONFIG_PID_NS_IOCTL. Without them a task inside of a namespace can write \
             /proc/sys/kernel/ns_last_pid, for that namespace alone",
        );
    }
    match Errno::from_io_error(error) {
        Some(Errno::PERM) => Failure::new(
            Kind::NotPermitted,
            "not permitted: it takes CAP_CHECKPOINT_RESTORE at and below your own pid namespace, \
             and CAP_SYS_ADMIN above and beside it, in the user namespace that owns each level",
        ),
        Some(Errno::INVAL) => Failure::other(
            "the vector has more levels than there are or a number above the pid_max of its level, \
             or the namespace has no init yet",
        ),
        Some(Errno::SRCH) => Failure::other("the init of the namespace, or of an ancestor, is gone"),
        _ => Failure::other(format!("last pids: {error}")),
    }
}

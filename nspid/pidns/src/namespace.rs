// SPDX-License-Identifier: GPL-2.0

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::thread::{move_into_link_name_space, LinkNameSpaceType};

use crate::{sys, vector::MAX_PID, Forked, LastPids, ParseVectorError};

/// An open pid namespace.
#[derive(Debug)]
pub struct PidNamespace(OwnedFd);

impl PidNamespace {
    /// Opens the pid namespace at `path`, such as `/proc/4711/ns/pid` or where one is mounted.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, or is something else than a pid namespace.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        File::open(path).map(OwnedFd::from).and_then(Self::from_fd)
    }

    /// Opens the pid namespace of a process or thread.
    ///
    /// # Errors
    ///
    /// If there is none, or if the caller may not.
    pub fn of_process(pid: i32) -> io::Result<Self> {
        Self::open(format!("/proc/{pid}/ns/pid"))
    }

    /// Opens the pid namespace of the caller.
    ///
    /// # Errors
    ///
    /// If `/proc` is not mounted.
    pub fn own() -> io::Result<Self> {
        Self::open("/proc/self/ns/pid")
    }

    /// Takes over a file that is open already, as one that was received over a socket.
    ///
    /// # Errors
    ///
    /// If it is something else than a pid namespace.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if sys::ns_type(fd.as_fd()).ok() == Some(libc::CLONE_NEWPID) {
            Ok(Self(fd))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a pid namespace"))
        }
    }

    /// The inode number, as in `pid:[4026531836]`.
    ///
    /// # Errors
    ///
    /// Those of `fstat(2)`.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.0)?.st_ino)
    }

    /// The id that is never used again, on kernels from v6.18.
    ///
    /// # Errors
    ///
    /// `ENOTTY` on other kernels.
    pub fn id(&self) -> io::Result<u64> {
        sys::ns_id(self.as_fd())
    }

    /// The parent, or `None` if there is none that the caller may see.
    ///
    /// # Errors
    ///
    /// Those of `ioctl_ns(2)`.
    pub fn parent(&self) -> io::Result<Option<Self>> {
        match sys::related_ns(self.as_fd(), sys::NS_GET_PARENT) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// This namespace and all ancestors that the caller may see, from the inside outwards.
    ///
    /// # Errors
    ///
    /// Those of `ioctl_ns(2)`.
    pub fn chain(self) -> io::Result<Vec<Self>> {
        let mut chain = vec![self];
        while let Some(parent) = chain.last().map_or(Ok(None), Self::parent)? {
            chain.push(parent);
        }
        Ok(chain)
    }

    /// The user, as the caller sees it, who made the user namespace that owns this one.
    ///
    /// # Errors
    ///
    /// `EPERM` if that user namespace is out of the caller's sight.
    pub fn owner_uid(&self) -> io::Result<u32> {
        let user_ns = sys::related_ns(self.as_fd(), sys::NS_GET_USERNS)?;
        sys::owner_uid(user_ns.as_fd())
    }

    /// What the task with `pid` in this namespace is called in the caller's own.
    ///
    /// # Errors
    ///
    /// `ESRCH` if there is no such task, or none that the caller's own namespace has a pid for.
    /// `ENOTTY` on kernels before v6.11.
    pub fn translate(&self, pid: i32) -> io::Result<i32> {
        sys::pid_from_pidns(self.as_fd(), pid)
    }

    /// Reads the last pids of this namespace and of its ancestors: of at most `levels`, or with 0
    /// of all up to the first that the caller may not set.
    ///
    /// # Errors
    ///
    /// `ENOTTY` if the kernel [lacks the ioctl](lacks_ioctl), `EPERM` if the caller may not set
    /// that of this namespace, `EINVAL` if it has no init yet and `ESRCH` if its init, or that of
    /// an ancestor, is gone.
    pub fn last_pids(&self, levels: u32) -> io::Result<LastPids> {
        let mut text = [0; 264];
        let length = sys::pidns_request(self.as_fd(), sys::GET_LAST_PID_VEC, &mut text, levels)?;
        let text = text.get(..length).and_then(|text| std::str::from_utf8(text).ok());
        text.unwrap_or_default().parse().map_err(|error: ParseVectorError| io::Error::other(error))
    }

    /// Sets the last pids of this namespace and of as many ancestors as `last_pids` has more
    /// numbers, all or none.
    ///
    /// # Errors
    ///
    /// Those of [`last_pids`](Self::last_pids), where `EPERM` can be about any level, and `EINVAL`
    /// if there are fewer levels or if a number is above the `pid_max` of its level.
    pub fn set_last_pids(&self, last_pids: &LastPids) -> io::Result<()> {
        let mut text = last_pids.to_string().into_bytes();
        sys::pidns_request(self.as_fd(), sys::SET_LAST_PID_VEC, &mut text, 0)?;
        Ok(())
    }

    /// Lets the children of the caller come to life in this namespace from now on.
    ///
    /// # Errors
    ///
    /// Those of `setns(2)`: `EINVAL` if this is neither the caller's own namespace nor below it.
    pub fn enter_for_children(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::ProcessID))?)
    }

    /// The `pid_max` of this namespace, in which pids are below it.
    ///
    /// `/proc/sys/kernel/pid_max` tells only that of the reader's own namespace. Here it comes from
    /// which pids `clone3(2)` refuses as too large. None of these calls makes a task: each asks for
    /// pid 1 in the parent, where there is an init. None moves a last pid either.
    ///
    /// # Errors
    ///
    /// `EPERM` without the capability to choose pids here and in the parent; `EBUSY` if the process
    /// has threads.
    pub fn pid_max(&self) -> io::Result<i32> {
        let own = Self::own()?;
        if own.inode()? == self.inode()? {
            let text = std::fs::read_to_string("/proc/sys/kernel/pid_max")?;
            return text.trim().parse().map_err(io::Error::other);
        }

        self.enter_for_children()?;
        let pid_max = lowest_refused_pid();
        own.enter_for_children()?;
        pid_max
    }
}

/// The lowest pid that is too large for the children of the caller.
fn lowest_refused_pid() -> io::Result<i32> {
    let (mut taken, mut refused) = (1, MAX_PID);

    while refused - taken > 1 {
        let pid = (taken + refused) / 2;
        match crate::clone_with_pids(false, &[pid, 1]) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => taken = pid,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = pid,
            Err(error) => return Err(error),
            Ok(Forked::Child) => std::process::exit(0),
            Ok(Forked::Parent(_)) => return Err(io::Error::other("there is no init")),
        }
    }
    Ok(refused)
}

/// Whether an error of [`PidNamespace::last_pids`] says that the kernel lacks the ioctl.
pub fn lacks_ioctl(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOTTY)
}

impl AsFd for PidNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

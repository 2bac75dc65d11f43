// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::thread::{move_into_link_name_space, LinkNameSpaceType};

use crate::{
    sys,
    task::{self, Task},
    UserNamespace,
};

/// An open pid namespace.
///
/// ```
/// use pidns::PidNamespace;
///
/// for (level, ns) in PidNamespace::own()?.chain()?.iter().enumerate() {
///     println!("level {level}: pid:[{}]", ns.inode()?);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
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

    /// Opens the pid namespace that the children of the calling thread come to life in.
    ///
    /// # Errors
    ///
    /// If `/proc` is not mounted, or if that namespace has no init.
    pub fn for_children() -> io::Result<Self> {
        Self::open("/proc/thread-self/ns/pid_for_children")
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

    /// What the task with `pid` in this namespace is called in the caller's own.
    ///
    /// # Errors
    ///
    /// `ESRCH` if there is no such task, or none that the caller's own namespace has a pid for.
    /// `ENOTTY` on kernels before v6.11.
    pub fn translate(&self, pid: i32) -> io::Result<i32> {
        sys::pid_from_pidns(self.as_fd(), pid)
    }

    /// What the task with `pid` in the caller's own namespace is called in this one. It needs no
    /// permission to look at the task.
    ///
    /// # Errors
    ///
    /// `ESRCH` if there is no such task, or if it has no pid here. `ENOTTY` on kernels before v6.11.
    pub fn pid_of(&self, pid: i32) -> io::Result<i32> {
        sys::pid_in_pidns(self.as_fd(), pid)
    }

    /// Lets the children of the caller come to life in this namespace from now on.
    ///
    /// # Errors
    ///
    /// Those of `setns(2)`: `EINVAL` if this is neither the caller's own namespace nor below it.
    pub fn enter_for_children(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::ProcessID))?)
    }

    /// The same for a caller who need not come back. One without privilege who made the user namespace
    /// around it, as that of a rootless container, enters that too: the outermost below his own. Then
    /// he must have no other thread.
    ///
    /// # Errors
    ///
    /// Those of `setns(2)`.
    pub fn enter_for_good(&self) -> io::Result<()> {
        match self.enter_for_children() {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            result => return result,
        }
        let own = UserNamespace::own()?.inode()?;
        let mut owner = UserNamespace::owning(self)?;
        while let Some(parent) = owner.parent()? {
            if parent.inode()? == own {
                owner.enter()?;
                return self.enter_for_children();
            }
            owner = parent;
        }
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }

    /// Whether there is a process with pid 1. Until there is, the first to start is that.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    pub fn has_init(&self) -> io::Result<bool> {
        match self.translate(1) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            Err(_) => {
                let ns = self.inode()?;
                let is_init = |task: &Task| task.ns == Some(ns) && task.pids.first() == Some(&1);
                Ok(task::all()?.iter().any(is_init))
            }
        }
    }

    /// Whether this is the namespace that the kernel started with.
    pub fn is_initial(&self) -> bool {
        // PROC_PID_INIT_INO
        self.inode().is_ok_and(|inode| inode == 0xefff_fffc)
    }

    /// Opens it once more.
    ///
    /// # Errors
    ///
    /// Those of `dup(2)`.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl AsFd for PidNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

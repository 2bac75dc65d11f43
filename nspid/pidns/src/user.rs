// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::thread::{move_into_link_name_space, LinkNameSpaceType};

use crate::{sys, PidNamespace};

/// An open user namespace, as the one that owns a pid namespace.
///
/// ```
/// use pidns::{PidNamespace, UserNamespace};
///
/// let own = UserNamespace::own()?;
/// match UserNamespace::owning(&PidNamespace::own()?) {
///     Ok(owner) if owner.inode()? == own.inode()? => println!("user:[{}]", owner.inode()?),
///     Ok(owner) => println!("made by user {}", owner.owner_uid()?),
///     Err(_) => println!("out of sight"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct UserNamespace(OwnedFd);

impl UserNamespace {
    /// Opens the user namespace of a process or thread.
    ///
    /// # Errors
    ///
    /// If there is none, or if the caller may not.
    pub fn of_process(pid: i32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/ns/user")).map(|file| Self(file.into()))
    }

    /// Opens the user namespace of the caller.
    ///
    /// # Errors
    ///
    /// If `/proc` is not mounted.
    pub fn own() -> io::Result<Self> {
        File::open("/proc/self/ns/user").map(|file| Self(file.into()))
    }

    /// Opens the user namespace that owns a pid namespace.
    ///
    /// # Errors
    ///
    /// `EPERM` if it is out of the caller's sight.
    pub fn owning(ns: &PidNamespace) -> io::Result<Self> {
        sys::related_ns(ns.as_fd(), sys::NS_GET_USERNS).map(Self)
    }

    /// The inode number, as in `user:[4026531837]`.
    ///
    /// # Errors
    ///
    /// Those of `fstat(2)`.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.0)?.st_ino)
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

    /// The user who made it, as the caller's user namespace calls him.
    ///
    /// # Errors
    ///
    /// Those of `ioctl_ns(2)`.
    pub fn owner_uid(&self) -> io::Result<u32> {
        sys::owner_uid(self.as_fd())
    }

    /// Moves the calling process, which must have no other thread, into this namespace.
    ///
    /// # Errors
    ///
    /// Those of `setns(2)`.
    pub fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::User))?)
    }
}

impl AsFd for UserNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

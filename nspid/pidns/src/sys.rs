// SPDX-License-Identifier: GPL-2.0

//! The system calls that rustix does not have.

use std::{
    fs, io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

// include/uapi/linux/nsfs.h
pub(crate) const NS_GET_USERNS: u32 = request(0, 1, 0);
pub(crate) const NS_GET_PARENT: u32 = request(0, 2, 0);
pub(crate) const NS_GET_NSTYPE: u32 = request(0, 3, 0);
pub(crate) const NS_GET_OWNER_UID: u32 = request(0, 4, 0);
pub(crate) const NS_GET_PID_FROM_PIDNS: u32 = request(READ, 6, 4);
pub(crate) const NS_GET_ID: u32 = request(READ, 13, 8);
const NS_SPECIFIC_IOC: u32 = request(READ | WRITE, 14, 24);

const READ: u32 = 2;
const WRITE: u32 = 1;

/// As `_IOC()` does it on most architectures.
const fn request(direction: u32, number: u32, size: u32) -> u32 {
    (direction << 30) | (size << 16) | (0xb7 << 8) | number
}

/// `struct pidns_ioc_req`
#[repr(C)]
pub(crate) struct PidnsRequest {
    pub(crate) req: u32,
    pub(crate) flags: u32,
    pub(crate) data: u64,
    pub(crate) data_size: u32,
    pub(crate) levels: u32,
}

pub(crate) const SET_LAST_PID_VEC: u32 = 1;
pub(crate) const GET_LAST_PID_VEC: u32 = 2;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A request whose argument is not an address.
fn ioctl_value(fd: BorrowedFd<'_>, request: u32, value: libc::c_ulong) -> io::Result<libc::c_int> {
    // SAFETY: `fd` is open, and the kernel takes the argument of these requests as a number.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, value) })
}

/// The type of the namespace, `CLONE_NEW*`.
pub(crate) fn ns_type(fd: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    ioctl_value(fd, NS_GET_NSTYPE, 0)
}

/// What `NS_GET_USERNS` and `NS_GET_PARENT` open.
pub(crate) fn related_ns(fd: BorrowedFd<'_>, request: u32) -> io::Result<OwnedFd> {
    let fd = ioctl_value(fd, request, 0)?;
    // SAFETY: The kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What `pid` in that namespace is called in the caller's own.
pub(crate) fn pid_from_pidns(fd: BorrowedFd<'_>, pid: i32) -> io::Result<i32> {
    ioctl_value(fd, NS_GET_PID_FROM_PIDNS, pid as libc::c_ulong)
}

/// A request that writes one number.
fn ioctl_read<T: Default>(fd: BorrowedFd<'_>, request: u32) -> io::Result<T> {
    let mut number = T::default();
    // SAFETY: `fd` is open, and the size of what the kernel writes is in the request: that of `T`,
    // as the two callers see to.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, ptr::from_mut(&mut number)) })?;
    Ok(number)
}

pub(crate) fn ns_id(fd: BorrowedFd<'_>) -> io::Result<u64> {
    ioctl_read(fd, NS_GET_ID)
}

pub(crate) fn owner_uid(user_ns: BorrowedFd<'_>) -> io::Result<u32> {
    ioctl_read(user_ns, NS_GET_OWNER_UID)
}

/// `data` is what the request reads or writes: the kernel writes no more than its length.
pub(crate) fn pidns_request(
    fd: BorrowedFd<'_>,
    req: u32,
    data: &mut [u8],
    levels: u32,
) -> io::Result<usize> {
    let mut arg = PidnsRequest {
        req,
        flags: 0,
        data: data.as_mut_ptr() as u64,
        data_size: u32::try_from(data.len()).map_err(io::Error::other)?,
        levels,
    };
    // SAFETY: `fd` is open, `arg` has the size that is in the request, and `data` that many bytes.
    let length = check(unsafe {
        libc::ioctl(fd.as_raw_fd(), NS_SPECIFIC_IOC as _, ptr::from_mut(&mut arg))
    })?;
    usize::try_from(length).map_err(io::Error::other)
}

/// Who returns from [`clone_with_pids`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The new task.
    Child,
    /// The task that called, with the pid of its child.
    Parent(i32),
}

/// `struct clone_args`, up to what is used here.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
}

/// Forks, into a new pid namespace if `new_ns` is set, with `pids` at as many levels as there are,
/// the innermost first, or with the pids that are next if it is empty.
///
/// # Errors
///
/// Those of `clone3(2)`, `EEXIST` if a pid is taken among them, and `EBUSY` if this process has
/// threads: the child would have one of them, and all the locks that the others hold.
pub fn clone_with_pids(new_ns: bool, pids: &[i32]) -> io::Result<Forked> {
    let mut threads = fs::read_dir("/proc/self/task")?;
    if threads.nth(1).is_some() {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let args = CloneArgs {
        flags: if new_ns { libc::CLONE_NEWPID as u64 } else { 0 },
        exit_signal: libc::SIGCHLD as u64,
        set_tid: if pids.is_empty() { 0 } else { pids.as_ptr() as u64 },
        set_tid_size: pids.len() as u64,
        ..CloneArgs::default()
    };
    // SAFETY: `args` and `pids` are valid for the call. Without `CLONE_VM` the child has a copy of
    // all memory and goes on from here, and no other thread can hold a lock in it.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, ptr::from_ref(&args), size_of_val(&args)) };
    match i32::try_from(pid).map_err(io::Error::other)? {
        0 => Ok(Forked::Child),
        pid => check(pid).map(Forked::Parent),
    }
}

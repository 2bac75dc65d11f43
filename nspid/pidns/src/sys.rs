// SPDX-License-Identifier: MIT OR Apache-2.0

//! The system calls that rustix does not have.

use std::{
    ffi::c_void,
    fs, io,
    marker::PhantomData,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use rustix::{
    io::Errno,
    ioctl::{ioctl, opcode, Ioctl, IoctlOutput, Opcode},
    process::{waitpid, Pid, WaitOptions},
};

// include/uapi/linux/nsfs.h
const NSIO: u8 = 0xb7;
pub(crate) const NS_GET_USERNS: Opcode = opcode::none(NSIO, 1);
pub(crate) const NS_GET_PARENT: Opcode = opcode::none(NSIO, 2);
const NS_GET_NSTYPE: Opcode = opcode::none(NSIO, 3);
const NS_GET_OWNER_UID: Opcode = opcode::none(NSIO, 4);
const NS_GET_PID_FROM_PIDNS: Opcode = opcode::read::<libc::c_int>(NSIO, 6);
const NS_GET_PID_IN_PIDNS: Opcode = opcode::read::<libc::c_int>(NSIO, 8);
const NS_GET_ID: Opcode = opcode::read::<u64>(NSIO, 13);
const NS_SPECIFIC_IOC: Opcode = opcode::read_write::<PidnsRequest>(NSIO, 14);

/// `struct pidns_ioc_req`
#[repr(C)]
struct PidnsRequest {
    req: u32,
    flags: u32,
    data: u64,
    data_size: u32,
    levels: u32,
}

pub(crate) const SET_LAST_PID_VEC: u32 = 1;
pub(crate) const GET_LAST_PID_VEC: u32 = 2;

/// An ioctl whose return value is wanted.
struct Request<'a> {
    opcode: Opcode,
    argument: *mut c_void,
    lifetime: PhantomData<&'a mut ()>,
}

impl<'a> Request<'a> {
    /// A request that takes `argument` as a number.
    ///
    /// # Safety
    ///
    /// The kernel must not take it for an address.
    unsafe fn with_value(opcode: Opcode, argument: usize) -> Self {
        Self { opcode, argument: argument as *mut c_void, lifetime: PhantomData }
    }

    /// A request that takes the address of a `T`.
    ///
    /// # Safety
    ///
    /// What the kernel writes there must be a valid `T`.
    unsafe fn with_pointer<T>(opcode: Opcode, argument: &'a mut T) -> Self {
        Self { opcode, argument: ptr::from_mut(argument).cast(), lifetime: PhantomData }
    }

    fn call(self, fd: BorrowedFd<'_>) -> io::Result<IoctlOutput> {
        // SAFETY: The two constructors ask for what the kernel needs of the argument.
        Ok(unsafe { ioctl(fd, self) }?)
    }
}

// SAFETY: The opcode and the argument belong together, as the constructors ask for.
unsafe impl Ioctl for Request<'_> {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(output)
    }
}

/// The type of the namespace, `CLONE_NEW*`.
pub(crate) fn ns_type(fd: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    // SAFETY: It takes no argument.
    unsafe { Request::with_value(NS_GET_NSTYPE, 0) }.call(fd)
}

/// What `NS_GET_USERNS` and `NS_GET_PARENT` open.
pub(crate) fn related_ns(fd: BorrowedFd<'_>, opcode: Opcode) -> io::Result<OwnedFd> {
    // SAFETY: They take no argument.
    let fd = unsafe { Request::with_value(opcode, 0) }.call(fd)?;
    // SAFETY: The kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the caller's namespace calls the task with `pid` in that namespace.
pub(crate) fn pid_from_pidns(fd: BorrowedFd<'_>, pid: i32) -> io::Result<i32> {
    // SAFETY: The kernel takes the argument as a pid.
    unsafe { Request::with_value(NS_GET_PID_FROM_PIDNS, pid as usize) }.call(fd)
}

/// What that namespace calls the task with `pid` in the caller's.
pub(crate) fn pid_in_pidns(fd: BorrowedFd<'_>, pid: i32) -> io::Result<i32> {
    // SAFETY: The kernel takes the argument as a pid.
    unsafe { Request::with_value(NS_GET_PID_IN_PIDNS, pid as usize) }.call(fd)
}

pub(crate) fn ns_id(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut id = 0;
    // SAFETY: The kernel writes a `u64`.
    unsafe { Request::with_pointer::<u64>(NS_GET_ID, &mut id) }.call(fd)?;
    Ok(id)
}

pub(crate) fn owner_uid(user_ns: BorrowedFd<'_>) -> io::Result<u32> {
    let mut uid = 0;
    // SAFETY: The kernel writes a `uid_t`.
    unsafe { Request::with_pointer::<libc::uid_t>(NS_GET_OWNER_UID, &mut uid) }.call(user_ns)?;
    Ok(uid)
}

/// Makes a request whose `data` the kernel reads, or writes at most the length of.
pub(crate) fn pidns_request(
    fd: BorrowedFd<'_>,
    req: u32,
    data: &mut [u8],
    levels: u32,
) -> io::Result<usize> {
    let mut argument = PidnsRequest {
        req,
        flags: 0,
        data: data.as_mut_ptr() as u64,
        data_size: u32::try_from(data.len()).map_err(io::Error::other)?,
        levels,
    };
    // SAFETY: `argument` has the size that is in the opcode, and `data` has `data_size` bytes, any
    // of which the kernel may write.
    let length = unsafe { Request::with_pointer(NS_SPECIFIC_IOC, &mut argument) }.call(fd)?;
    usize::try_from(length).map_err(io::Error::other)
}

/// Who returns from [`fork_with_pids`] and [`fork_with_owner`].
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

/// Forks. The child has `pids` at as many levels as there are, the innermost first, and further out
/// the next ones. With `new_ns` it is the init of a new pid namespace.
///
/// ```no_run
/// use pidns::{fork_with_pids, Forked, PidNamespace};
///
/// PidNamespace::of_process(4711)?.enter_for_children()?;
/// match fork_with_pids(false, &[42])? {
///     Forked::Child => std::process::exit(0), // It is 42 in that namespace.
///     Forked::Parent(pid) => println!("here it is {pid}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// Those of `clone3(2)`, such as `EEXIST` for a pid that is taken, and `EBUSY` if this process has
/// threads: the child would have one of them, and all the locks that the others hold.
pub fn fork_with_pids(new_ns: bool, pids: &[i32]) -> io::Result<Forked> {
    check_single_thread()?;
    // SAFETY: There is no other thread that could hold a lock.
    unsafe { clone(if new_ns { libc::CLONE_NEWPID } else { 0 }, libc::SIGCHLD, pids) }
}

/// Forks. The child is the init of a new pid namespace that is owned by a new user namespace, whose
/// maps are empty.
///
/// # Errors
///
/// Those of `clone(2)`, and `EBUSY` if this process has threads.
pub fn fork_with_owner() -> io::Result<Forked> {
    check_single_thread()?;
    // SAFETY: There is no other thread that could hold a lock.
    unsafe { clone(libc::CLONE_NEWPID | libc::CLONE_NEWUSER, libc::SIGCHLD, &[]) }
}

fn check_single_thread() -> io::Result<()> {
    let mut threads = fs::read_dir("/proc/self/task")?;
    match threads.nth(1) {
        Some(_) => Err(io::Error::from_raw_os_error(libc::EBUSY)),
        None => Ok(()),
    }
}

/// A fork, by `clone3()` if `pids` has any, and by `clone()`, which every kernel and every seccomp
/// filter knows, if it is empty.
///
/// # Safety
///
/// If the process has other threads, the child must not use what a lock guards, such as the
/// allocator.
pub(crate) unsafe fn clone(
    flags: libc::c_int,
    exit_signal: libc::c_int,
    pids: &[i32],
) -> io::Result<Forked> {
    let result = if pids.is_empty() {
        let flags = libc::c_long::from(flags | exit_signal);
        // The first two arguments change places on s390x.
        let (first, second) = if cfg!(target_arch = "s390x") { (0, flags) } else { (flags, 0) };
        // SAFETY: Without `CLONE_VM` and with no stack of its own the child goes on from here in a
        // copy of all memory.
        unsafe { libc::syscall(libc::SYS_clone, first, second, 0_usize, 0_usize, 0_usize) }
    } else {
        let args = CloneArgs {
            flags: flags as u64,
            exit_signal: exit_signal as u64,
            set_tid: pids.as_ptr() as u64,
            set_tid_size: pids.len() as u64,
            ..CloneArgs::default()
        };
        // SAFETY: `args` and `pids` are valid for the call, and the rest as above.
        unsafe { libc::syscall(libc::SYS_clone3, ptr::from_ref(&args), size_of_val(&args)) }
    };
    match i32::try_from(result).map_err(io::Error::other)? {
        0 => Ok(Forked::Child),
        ..0 => Err(io::Error::last_os_error()),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Waits for a child of any kind to end.
pub(crate) fn wait(pid: i32) {
    let wait_all = WaitOptions::from_bits_retain(libc::__WALL as u32);
    while matches!(waitpid(Pid::from_raw(pid), wait_all), Err(Errno::INTR)) {}
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! A process in a pid namespace that reads and writes the files of `/proc/sys/kernel` which show
//! each reader its own namespace.

use std::{
    ffi::CStr,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{openat, Mode, OFlags, CWD},
    io::Errno,
    mount::{fsconfig_create, fsmount, fsopen, FsMountFlags, FsOpenFlags, MountAttrFlags},
    net::{recv, send, socketpair, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
    process::{kill_process, set_parent_process_death_signal, Pid, Signal},
};

use crate::{
    error::{Error, Step},
    sys::{self, Forked},
    task::Task,
    PidNamespace, MAX_LEVELS,
};

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Setting {
    LastPid = 0,
    PidMax = 1,
}

impl Setting {
    fn path(self) -> &'static CStr {
        match self {
            Self::LastPid => c"/proc/sys/kernel/ns_last_pid",
            Self::PidMax => c"/proc/sys/kernel/pid_max",
        }
    }

    /// Opens it below `/proc`, and for writing, if that is read-only, in another instance of procfs.
    /// Safe to call after a fork: it does not allocate.
    fn open(self, flags: OFlags) -> Result<OwnedFd, Errno> {
        match openat(CWD, self.path(), flags | OFlags::CLOEXEC, Mode::empty()) {
            Err(error @ (Errno::ROFS | Errno::NOENT)) => {
                let path = self.path().to_bytes_with_nul();
                let relative = path.strip_prefix(b"/proc/").unwrap_or(path);
                let relative = CStr::from_bytes_with_nul(relative).map_err(|_| error)?;
                let procfs = mount_procfs().map_err(|_| error)?;
                openat(procfs, relative, flags | OFlags::CLOEXEC, Mode::empty())
            }
            result => result,
        }
    }

    fn read(self) -> Result<i32, Errno> {
        let mut text = [0; 16];
        let length = rustix::io::read(self.open(OFlags::RDONLY)?, &mut text)?;
        let text = std::str::from_utf8(text.get(..length).unwrap_or_default());
        text.ok().and_then(|text| text.trim().parse().ok()).ok_or(Errno::IO)
    }

    fn write(self, value: i32) -> Result<(), Errno> {
        let mut text = [0; 16];
        let mut rest = &mut text[..];
        write!(rest, "{value}").map_err(|_| Errno::IO)?;
        let length = 16 - rest.len();
        let text = text.get(..length).unwrap_or_default();
        rustix::io::write(self.open(OFlags::WRONLY)?, text).map(|_| ())
    }
}

/// A procfs that is mounted nowhere.
fn mount_procfs() -> Result<OwnedFd, Errno> {
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// What a helper is to do, and what it answers: eight bytes each.
#[derive(Clone, Copy)]
struct Order {
    setting: Setting,
    /// What to write; negative: read.
    value: i32,
}

impl Order {
    fn to_bytes(self) -> [u8; 8] {
        pair(self.setting as i32, self.value)
    }

    fn from_bytes(bytes: [u8; 8]) -> Self {
        let (setting, value) = unpair(bytes);
        let setting = if setting == 0 { Setting::LastPid } else { Setting::PidMax };
        Self { setting, value }
    }

    /// Returns an error number, or 0, and what was read.
    fn carry_out(self) -> [u8; 8] {
        let result = match self.value {
            0.. => self.setting.write(self.value).map(|()| 0),
            _ => self.setting.read(),
        };
        match result {
            Ok(value) => pair(0, value),
            Err(error) => pair(error.raw_os_error(), 0),
        }
    }
}

fn pair(first: i32, second: i32) -> [u8; 8] {
    let mut bytes = [0; 8];
    let (left, right) = bytes.split_at_mut(4);
    left.copy_from_slice(&first.to_ne_bytes());
    right.copy_from_slice(&second.to_ne_bytes());
    bytes
}

fn unpair(bytes: [u8; 8]) -> (i32, i32) {
    let [a, b, c, d, e, f, g, h] = bytes;
    (i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h]))
}

/// Somebody in a pid namespace.
#[derive(Debug)]
pub(crate) enum Helper {
    /// The caller, in its own.
    Caller,
    /// A process that ends with this value.
    Process {
        pid: i32,
        socket: OwnedFd,
        /// How many levels, from its own outwards, gave it the pid that was asked for. Further out
        /// the last pids moved.
        chosen: usize,
        /// How many further processes it took, in the caller's own namespace.
        messengers: usize,
    },
}

/// Pids of `pid_max` are never smaller than this.
const LEAST_PID_MAX: i32 = 301;

/// `clone3()` takes pids for no more levels, one less than there can be.
const MAX_CHOSEN: usize = MAX_LEVELS - 1;

/// How many pids are tried, if each is taken.
const ATTEMPTS: i32 = 290;

impl Helper {
    /// Enters `levels[0]`; the rest are its ancestors up to the caller's own namespace.
    ///
    /// The pids of a helper are chosen where that is permitted, which moves no last pid: near
    /// `pid_max`, where pids are free as a rule, and none that `avoid` names. Where it is not, it
    /// takes the next, unless `may_spend` is false.
    ///
    /// A caller who could not come back from that namespace sends a messenger, a process that takes
    /// a pid in the caller's own namespace.
    pub(crate) fn enter(
        levels: &[PidNamespace],
        may_spend: bool,
        avoid: &dyn Fn(i32) -> bool,
    ) -> Result<Self, Error> {
        let [ns, _, ..] = levels else { return Ok(Self::Caller) };
        let to_error = |error| Error::io(Step::Enter, error);
        let own = PidNamespace::own().map_err(to_error)?;
        let back = PidNamespace::for_children().or_else(|_| own.try_clone()).map_err(to_error)?;
        let flags = SocketFlags::CLOEXEC;
        let (socket, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|error| to_error(error.into()))?;
        let wanted = Wanted { levels: levels.len(), may_spend, avoid };

        if own.enter_for_children().is_ok() {
            let forked = ns.enter_for_children().map_err(cannot_enter);
            let forked = forked.and_then(|()| wanted.fork(0, || ns.has_init()));
            if let Ok((Forked::Child, _)) = forked {
                drop(socket);
                serve(&other);
            }
            back.enter_for_children().map_err(to_error)?;
            return match forked? {
                (Forked::Parent(pid), chosen) => {
                    Ok(Self::Process { pid, socket, chosen, messengers: 0 })
                }
                (Forked::Child, _) => unreachable!("the child serves until it ends"),
            };
        }

        // The messenger must not allocate: it finds out nothing that takes that.
        let has_init = !may_spend || ns.has_init().map_err(to_error)?;
        // SAFETY: The child calls `send_helper()`, which does not allocate, after it has dropped a
        // file.
        let messenger = match unsafe { sys::clone(0, 0, &[]) }.map_err(to_error)? {
            Forked::Parent(messenger) => messenger,
            Forked::Child => {
                drop(socket);
                send_helper(ns, &other, &wanted, has_init)
            }
        };
        sys::wait(messenger);
        drop(other);
        let mut report = [0; 8];
        let length = recv(&socket, &mut report, RecvFlags::empty())
            .map_err(|error| to_error(error.into()))?
            .1;
        if length != report.len() {
            return Err(to_error(io::Error::other("the messenger was killed")));
        }
        let (pid, chosen) = read_report(report)?;
        Ok(Self::Process { pid, socket, chosen, messengers: 1 })
    }

    pub(crate) fn read(&mut self, setting: Setting) -> io::Result<i32> {
        self.carry_out(Order { setting, value: -1 })
    }

    pub(crate) fn write(&mut self, setting: Setting, value: i32) -> io::Result<()> {
        self.carry_out(Order { setting, value }).map(|_| ())
    }

    fn carry_out(&mut self, order: Order) -> io::Result<i32> {
        let mut answer = [0; 8];
        match self {
            Self::Caller => answer = order.carry_out(),
            Self::Process { socket, .. } => {
                send(&*socket, &order.to_bytes(), SendFlags::NOSIGNAL)?;
                if recv(&*socket, &mut answer, RecvFlags::empty())?.1 != answer.len() {
                    return Err(io::Error::other("the helper was killed"));
                }
            }
        }
        match unpair(answer) {
            (0, value) => Ok(value),
            (error, _) => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// How many pids it took in the caller's own namespace besides its own.
    pub(crate) fn messengers(&self) -> usize {
        match self {
            Self::Caller => 0,
            Self::Process { messengers, .. } => *messengers,
        }
    }

    /// The pids that it took from the cursors, from the level that is given on.
    pub(crate) fn spent(&self) -> io::Result<(usize, Vec<i32>)> {
        match self {
            Self::Caller => Ok((0, Vec::new())),
            Self::Process { pid, chosen, .. } => {
                let pids = Task::read_pids(*pid)?;
                Ok((*chosen, pids.into_iter().skip(*chosen).collect()))
            }
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Self::Process { pid, .. } = self {
            // Other helpers can have its socket open too.
            if let Some(process) = Pid::from_raw(*pid) {
                let _ = kill_process(process, Signal::KILL);
            }
            sys::wait(*pid);
        }
    }
}

/// How a helper is to be made.
struct Wanted<'a> {
    /// How many levels there are up to the caller's own.
    levels: usize,
    may_spend: bool,
    avoid: &'a dyn Fn(i32) -> bool,
}

impl Wanted<'_> {
    /// Forks into the namespace that the caller has entered. Returns for how many levels the pid was
    /// chosen.
    fn fork(
        &self,
        flags: libc::c_int,
        has_init: impl FnOnce() -> io::Result<bool>,
    ) -> Result<(Forked, usize), Error> {
        let to_error = |error| Error::io(Step::Enter, error);
        let limit = Setting::PidMax.read().unwrap_or(LEAST_PID_MAX);
        let candidates = |limit| (1..limit).rev().filter(|pid| !(self.avoid)(*pid));
        let (mut pids, mut limit) = (candidates(limit), limit);
        let (mut chosen, mut taken) = (self.levels.min(MAX_CHOSEN), 0);
        let mut next = pids.next();
        while let Some(pid) = next.filter(|_| chosen > 0) {
            // SAFETY: The child calls `serve()`, which does not allocate, after it has dropped files.
            match unsafe { sys::clone(flags, 0, &[pid; MAX_CHOSEN][..chosen]) } {
                Ok(forked) => return Ok((forked, chosen)),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EEXIST) if taken < ATTEMPTS => {
                        taken += 1;
                        next = pids.next();
                    }
                    Some(libc::EPERM) => chosen -= 1,
                    Some(libc::EINVAL) if limit > LEAST_PID_MAX => {
                        limit = LEAST_PID_MAX.max(limit / 2);
                        (pids, taken) = (candidates(limit), 0);
                        next = pids.next();
                    }
                    Some(libc::EINVAL) => return Err(Error::NoInit),
                    Some(libc::ENOSYS) => chosen = 0,
                    Some(libc::ENOMEM) => return Err(Error::InitGone),
                    _ if self.may_spend => break,
                    _ => return Err(to_error(error)),
                },
            }
        }
        if !self.may_spend {
            return Err(Error::NotPermitted { level: None });
        }
        // The first process in a namespace without init would be its init.
        if !has_init().map_err(to_error)? {
            return Err(Error::NoInit);
        }
        // SAFETY: As above.
        match unsafe { sys::clone(flags, 0, &[]) } {
            Ok(forked) => Ok((forked, 0)),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => Err(Error::InitGone),
            Err(error) => Err(to_error(error)),
        }
    }
}

fn cannot_enter(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EPERM) => Error::NotPermitted { level: None },
        Some(libc::EINVAL) => Error::OutOfReach,
        _ => Error::io(Step::Enter, error),
    }
}

/// What a messenger does: it makes a helper, as a child of the caller, and reports. It must not
/// allocate.
fn send_helper(ns: &PidNamespace, socket: &OwnedFd, wanted: &Wanted<'_>, has_init: bool) -> ! {
    let forked = ns.enter_for_good().map_err(cannot_enter);
    let forked = forked.and_then(|()| wanted.fork(libc::CLONE_PARENT, || Ok(has_init)));
    let report = match &forked {
        Ok((Forked::Child, _)) => serve(socket),
        Ok((Forked::Parent(pid), chosen)) => pair(*pid, *chosen as i32),
        Err(Error::NotPermitted { .. }) => pair(NOT_PERMITTED, 0),
        Err(Error::OutOfReach) => pair(OUT_OF_REACH, 0),
        Err(Error::NoInit) => pair(NO_INIT, 0),
        Err(Error::InitGone) => pair(INIT_GONE, 0),
        Err(Error::Io { error, .. }) => pair(FAILED, error.raw_os_error().unwrap_or(libc::EIO)),
        Err(_) => pair(FAILED, libc::EIO),
    };
    let _ = send(socket, &report, SendFlags::NOSIGNAL);
    // SAFETY: It ends the process, without a look at anything that is inherited.
    unsafe { libc::_exit(0) }
}

/// In the report of a messenger, in the place of the helper's pid.
const NOT_PERMITTED: i32 = -1;
const OUT_OF_REACH: i32 = -2;
const NO_INIT: i32 = -3;
const INIT_GONE: i32 = -4;
/// An error number follows.
const FAILED: i32 = -5;

/// Returns the pid of a helper and for how many levels it was chosen.
fn read_report(report: [u8; 8]) -> Result<(i32, usize), Error> {
    match unpair(report) {
        (NOT_PERMITTED, _) => Err(Error::NotPermitted { level: None }),
        (OUT_OF_REACH, _) => Err(Error::OutOfReach),
        (NO_INIT, _) => Err(Error::NoInit),
        (INIT_GONE, _) => Err(Error::InitGone),
        (FAILED, error) => Err(Error::io(Step::Enter, io::Error::from_raw_os_error(error))),
        (pid, chosen) => Ok((pid, chosen as usize)),
    }
}

/// What a helper does until its end. It must not allocate.
fn serve(socket: &OwnedFd) -> ! {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let mut order = [0; 8];
    while recv(socket, &mut order, RecvFlags::empty()) == Ok((order.len(), order.len())) {
        let answer = Order::from_bytes(order).carry_out();
        if send(socket, &answer, SendFlags::NOSIGNAL) != Ok(answer.len()) {
            break;
        }
    }
    // SAFETY: It ends the process, without a look at anything that is inherited.
    unsafe { libc::_exit(0) }
}
